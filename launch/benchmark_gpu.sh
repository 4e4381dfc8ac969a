#!/usr/bin/env bash
# Everything that is measured on one GPU, in about a quarter of an hour once the data lies prepared (most of it
# goes into torch.compile, a minute a variant):
#
#   bash launch/benchmark_gpu.sh [NAME]
#
# NAME is a dataset of 256 x 256 JPEG records that `prepare` made (config.data.name, in TFDS_DATA_DIR); with it
# training from records is measured too. It leaves runs/gpu/*.json and *.png.
# Variables: EXTRA, JAX's extra for this machine (cuda13; cuda12 for older drivers); BATCHES; PYTHON.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
if [ $# -gt 1 ] || [ "${1:-}" = --help ]; then
  sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit 2
fi
data=${1:-}
prepare_environment requirements.txt
.venv/bin/python -c 'import torch' 2>/dev/null || .venv/bin/python -m pip install --quiet torch
version=$(.venv/bin/python -c 'import jax; print(jax.__version__)')
.venv/bin/python -m pip install --quiet "jax[${EXTRA:-cuda13}]==$version"
.venv/bin/python -c 'import jax, sys; sys.exit(jax.default_backend() != "gpu")' || {
  echo "JAX $version finds no GPU here: EXTRA=cuda12 is for drivers older than 580" >&2
  exit 1
}
mkdir -p runs/gpu
export XLA_PYTHON_CLIENT_MEM_FRACTION=${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.4}  # PyTorch needs its share
alexnet() { .venv/bin/python -m alexnet_jax.main "$@"; }
common=(--config=configs/imagenet.py --config.mesh.model=1 --config.model.compute_dtype=bfloat16)

for batch in ${BATCHES:-128 512 2048}; do
  alexnet benchmark step "${common[@]}" --config.data.batch_size="$batch" --peer=torch \
    --output="runs/gpu/step_$batch.png"
done

if [ -n "$data" ]; then
  # 60 steps; the first thirds fill the buffers and compile.
  records=$(.venv/bin/python - "$data" <<'PYTHON'
import sys

from alexnet_jax.data import records
from configs import imagenet

data = imagenet.get_config().data
data.name = sys.argv[1]
print(records.open_dataset(data).size("train"))
PYTHON
)
  rm -rf runs/gpu/train
  alexnet "${common[@]}" --workdir=runs/gpu/train --config.data.name="$data" --config.model.classes=0 \
    --config.data.batch_size=128 --config.data.validation_split= --config.train.log_every_steps=20 \
    --config.schedule.kind=constant --config.train.epochs="$(python3 -c "print(60 * 128 / $records)")"
  .venv/bin/python - <<'PYTHON'
import json

lines = [json.loads(line) for line in open("runs/gpu/train/metrics.jsonl")]
last = [line for line in lines if "perf/images_per_second" in line][-1]
step = next(row for row in json.load(open("runs/gpu/step_128.json")) if row["name"] == "step.train.b128")
rate = last["perf/images_per_second"]
print(f"training from JPEG records: {rate:,.0f} images/s, {rate / step['median']:.2f} of the resident step; "
      f"waited for input {last['perf/input_wait_fraction']:.0%} of the time")
PYTHON
fi
