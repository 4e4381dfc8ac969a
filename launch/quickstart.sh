#!/usr/bin/env bash
# The main job on scikit-learn's handwritten digits: prepare, train on two simulated devices, evaluate
# with ten views, predict. A second run reuses what the first one made.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment requirements.txt

export XLA_FLAGS="${XLA_FLAGS:-} --xla_force_host_platform_device_count=2" JAX_PLATFORMS=cpu
alexnet() { .venv/bin/python -m alexnet_jax.main "$@"; }
run=runs/digits
data=runs/data

echo "== prepare"
alexnet prepare --config=configs/digits.py --config.data.dir="$data" --source=digits
echo "== train: each tower on a device of its own"
alexnet train --config=configs/digits.py --config.data.dir="$data" --workdir="$run"
echo "== evaluate: ten views"
alexnet evaluate --workdir="$run"
echo "== predict: the file names begin with the right answer"
.venv/bin/python - <<'PYTHON'
import pathlib

from alexnet_jax.data.sources.detect import open_source

folder = pathlib.Path("runs/digits_test_images")
folder.mkdir(parents=True, exist_ok=True)
tests = ((entry, image) for entry, image in open_source("digits").images() if entry.split == "test")
for _, (entry, image) in zip(range(8), tests):
    (folder / entry.key.replace("/", "_")).write_bytes(image)
PYTHON
alexnet predict --workdir="$run" --output="$run/predictions.png" runs/digits_test_images
echo "== explore: a page to follow an image through the net"
alexnet report --explore --workdir="$run" --config.data.dir="$data"

cat <<END

Made:
  $run/config.json, metrics.jsonl, tensorboard/   the run
  $run/checkpoints/                               its parameters (Orbax, with checksums)
  $run/evaluation.json, predictions.png           its answers
  $run/report/explorer.html                       open it in a browser: how this net sees
Next: a photograph of your own, by a net that comes along and knows ten classes, from airplane to truck:
  .venv/bin/python -m alexnet_jax.main predict --workdir=pretrained:cifar10 PHOTO.jpg
or your own images, a folder with one folder for each class (docs/own_images.md):
  .venv/bin/python -m alexnet_jax.main convert torchvision --output=runs/torchvision
  .venv/bin/python -m alexnet_jax.main --config=configs/finetune.py --source=FOLDER --workdir=runs/mine
or the paper's own recipe: configs/imagenet.py (docs/imagenet.md).
END
