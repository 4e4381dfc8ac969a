#!/usr/bin/env bash
# Lint, types and the quick tests; `bash launch/test.sh slow`: the slower tests. Other arguments go to pytest:
# `bash launch/test.sh tests/model -k lrn`.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment requirements.txt tests/requirements.txt

case "${1:-quick}" in
  quick)
    .venv/bin/ruff check .
    .venv/bin/ruff format --check .
    .venv/bin/mypy
    .venv/bin/shellcheck -x launch/*.sh launch/*.sbatch .ci/run
    tests="not slow"
    ;;
  slow) tests="slow" ;;
  *) exec .venv/bin/python -m pytest "$@" ;;
esac
# Most of the tests' time goes into compiling small programs that run once: without LLVM's optimisation and, where
# this version of XLA still has the choice, without its own emitters of fused loops.
export QUICK_XLA_FLAGS="--xla_backend_optimization_level=0"
emitters="--xla_cpu_use_fusion_emitters=false"
if XLA_FLAGS=$emitters .venv/bin/python -c "import jax; jax.devices('cpu')" >/dev/null 2>&1; then
  QUICK_XLA_FLAGS+=" $emitters"
fi
if [ "$tests" = "not slow" ]; then  # the slower tests, which compare with PyTorch too, compile as a user does
  export XLA_FLAGS="${XLA_FLAGS:-} $QUICK_XLA_FLAGS"
fi
slowest=(--durations=15 --durations-min=5)
# Side by side in the order of tests/conftest.py, the longest files first; then those that need the machine.
.venv/bin/python -m pytest -m "$tests and not alone" --numprocesses=auto --maxprocesses=4 --dist=loadfile \
  --no-loadscope-reorder "${slowest[@]}"
.venv/bin/python -m pytest -m "$tests and alone" "${slowest[@]}"
