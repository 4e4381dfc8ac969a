#!/usr/bin/env bash
# Trains on a Cloud TPU VM, of one machine or a slice of several. From a computer with gcloud:
#
#   TPU=my-tpu ZONE=us-west4-a WORKDIR=/mnt/shared/runs/imagenet DATA=/mnt/shared/tfds \
#     bash launch/train_tpu_vm.sh [--config.key=value ...]
#
# It copies this folder to every machine, installs what is needed there, and starts one process on each: they
# find each other by the TPU's metadata. WORKDIR must lie on a file system that all machines see (Filestore);
# DATA there too, or a copy on each. When a process dies the others end within a minute; the same command
# resumes from the last checkpoint. DRY_RUN=1 prints what would run.
#
# Make the TPU first, such as: gcloud compute tpus tpu-vm create my-tpu --zone=us-west4-a \
#   --accelerator-type=v5litepod-16 --version=v2-alpha-tpuv5-lite
# Change: CONFIG (default configs/imagenet.py); PYTHON, an interpreter of 3.11 or newer that is on the machines.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
: "${TPU:?the name of the TPU VM, such as TPU=my-tpu}"
: "${ZONE:?its zone, such as ZONE=us-west4-a}"
: "${WORKDIR:?the folder of the run, seen by all its machines, such as WORKDIR=/mnt/shared/runs/imagenet}"
: "${DATA:?the folder with the prepared dataset there, such as DATA=/mnt/shared/tfds}"

run() {
  if [ -n "${DRY_RUN:-}" ]; then
    printf 'would run:'
    printf ' %q' "$@"
    echo
  else
    "$@"
  fi
}
everywhere() { run gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all --command="$1"; }

train=$(printf ' %q' -m alexnet_jax.main train "--config=${CONFIG:-configs/imagenet.py}" \
  "--config.data.dir=$DATA" "--workdir=$WORKDIR" "$@")
archive=$(mktemp --suffix=.tar.gz)
trap 'rm -f "$archive"' EXIT
run tar -czf "$archive" alexnet_jax configs launch requirements.txt
run gcloud compute tpus tpu-vm scp "$archive" "$TPU:alexnet.tar.gz" --zone="$ZONE" --worker=all
everywhere "mkdir -p alexnet && tar -xzf alexnet.tar.gz -C alexnet"
everywhere ". alexnet/launch/environment.sh && PYTHON=${PYTHON:-python3} prepare_environment requirements.txt && \
.venv/bin/python -m pip install --quiet 'jax[tpu]>=0.10.1,<0.13'"
everywhere "cd alexnet && exec .venv/bin/python$train"
