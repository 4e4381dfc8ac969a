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
    # Most of their time is LLVM's optimisation of small programs that run once. The slower tests, which compare with
    # PyTorch too, compile as a user does.
    export XLA_FLAGS="${XLA_FLAGS:-} --xla_backend_optimization_level=0"
    ;;
  slow) tests="slow" ;;
  *) exec .venv/bin/python -m pytest "$@" ;;
esac
slowest=(--durations=15 --durations-min=5)
# Side by side in the order of tests/conftest.py, the longest files first; then those that need the machine.
.venv/bin/python -m pytest -m "$tests and not alone" --numprocesses=auto --maxprocesses=4 --dist=loadfile \
  --no-loadscope-reorder "${slowest[@]}"
.venv/bin/python -m pytest -m "$tests and alone" "${slowest[@]}"
