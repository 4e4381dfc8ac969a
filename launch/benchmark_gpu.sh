#!/usr/bin/env bash
# What is measured on one GPU, in nine minutes once everything is installed, the most telling first:
#
#   bash launch/benchmark_gpu.sh [SOURCES]
#
# SOURCES is a folder; of what lies in it are measured: cifar10.tar.xz (an epoch, and the seconds to cuda-convnet's
# 26 %), mnist/ (an epoch), photos/ or photos.tar.xz (training from 256 x 256 JPEG records). It leaves
# runs/gpu/*.json, each as soon as it is measured. Whatever begins after SECONDS_IN_ALL (540) is left out, and said.
# Variables: EXTRA, JAX's extra for this machine (cuda13; cuda12 for older drivers); BATCHES; PYTHON.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
if [ $# -gt 1 ] || [ "${1:-}" = --help ]; then
  sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit 2
fi
sources=${1:-}
prepare_environment requirements.txt
.venv/bin/python -c 'import torch' 2>/dev/null || .venv/bin/python -m pip install --quiet torch
version=$(.venv/bin/python -c 'import jax; print(jax.__version__)')
.venv/bin/python -m pip install --quiet "jax[${EXTRA:-cuda13}]==$version"
.venv/bin/python -c 'import jax, sys; sys.exit(jax.default_backend() != "gpu")' || {
  echo "JAX $version finds no GPU here: EXTRA=cuda12 is for drivers older than 580" >&2
  exit 1
}
mkdir -p runs/gpu
export TFDS_DATA_DIR=$PWD/runs/gpu/data
export XLA_PYTHON_CLIENT_MEM_FRACTION=${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.4}  # PyTorch needs its share
SECONDS=0

# measure NAME FLAG... runs the program where there is time left; what fails is said, and the rest goes on.
measure() {
  local name=$1 left=$((${SECONDS_IN_ALL:-540} - SECONDS))
  shift
  if [ "$left" -lt 10 ]; then
    echo "== $name: left out, the time is over"
    return
  fi
  echo "== $name (after $SECONDS s)"
  timeout "$left" .venv/bin/python -m alexnet_jax.main "$@" || echo "== $name: not measured (exit code $?)"
}

paper=(--config=configs/imagenet.py --config.mesh.model=1 --peer=torch)
for batch in ${BATCHES:-128 512 2048}; do
  measure "step, bfloat16, $batch" benchmark step "${paper[@]}" --config.model.compute_dtype=bfloat16 \
    --config.data.batch_size="$batch" --output="runs/gpu/step_bfloat16_$batch.json"
done

if [ -e "$sources/cifar10.tar.xz" ]; then
  cifar=(--config=configs/cifar10.py --config.data.validation_split=test)
  measure "CIFAR-10, prepared" prepare --config=configs/cifar10.py --source="$sources/cifar10.tar.xz"
  measure "CIFAR-10, an epoch" benchmark loop "${cifar[@]}" --peer=torch --output=runs/gpu/loop_cifar10.json
  rm -rf runs/gpu/cifar10
  began=$SECONDS
  measure "cuda-convnet's 26 % net, whole" --config=configs/cifar10.py --workdir=runs/gpu/cifar10
  echo "== it took $((SECONDS - began)) s, start and compilation included (cuda-convnet: 80 s on a GTX 580)"
  measure "its error" evaluate --workdir=runs/gpu/cifar10
fi
if [ -e "$sources/mnist" ]; then
  measure "MNIST, prepared" prepare --config=configs/mnist.py --source="$sources/mnist"
  measure "MNIST, an epoch" benchmark loop --config=configs/mnist.py --peer=torch --output=runs/gpu/loop_mnist.json
fi
for photos in "$sources/photos" "$sources/photos.tar.xz"; do
  if [ -e "$photos" ]; then
    data=(--config=configs/imagenet.py --config.data.name=photos --config.model.classes=0)
    measure "photographs, prepared" prepare "${data[@]}" --source="$photos"
    rm -rf runs/gpu/train
    # The first lines of the log fill the buffers and compile.
    measure "training from records" "${data[@]}" --workdir=runs/gpu/train --config.mesh.model=1 \
      --config.model.compute_dtype=bfloat16 --config.data.resident=never --config.train.log_every_steps=20 \
      --config.schedule.kind=constant --config.data.validation_split= --config.train.epochs=8.0
    .venv/bin/python - <<'PYTHON'
import json

lines = [json.loads(line) for line in open("runs/gpu/train/metrics.jsonl")]
last = [line for line in lines if "perf/images_per_second" in line][-1]
step = next(
    row for row in json.load(open("runs/gpu/step_bfloat16_128.json")) if row["name"] == "step.train.b128"
)
rate = last["perf/images_per_second"]
print(f"training from JPEG records: {rate:,.0f} images/s, {rate / step['median']:.2f} of the resident step; "
      f"waited for input {last['perf/input_wait_fraction']:.0%} of the time")
PYTHON
  fi
done
for batch in ${BATCHES:-128 512 2048}; do
  measure "step, TF32, $batch" benchmark step "${paper[@]}" --config.data.batch_size="$batch" \
    --output="runs/gpu/step_tf32_$batch.json"
done
echo "== $SECONDS s"
