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
# Side by side, but for those that measure or kill.
.venv/bin/python -m pytest -m "$tests and not alone" --numprocesses=auto --maxprocesses=4 --dist=loadfile
.venv/bin/python -m pytest -m "$tests and alone"
