#!/usr/bin/env bash
# Lint, types, tests. Arguments go to pytest: `bash launch/test.sh -m slow` runs the slower ones.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment requirements.txt tests/requirements.txt

if [ $# -eq 0 ]; then
  .venv/bin/ruff check .
  .venv/bin/ruff format --check .
  .venv/bin/mypy
  .venv/bin/shellcheck -x launch/*.sh launch/*.sbatch .ci/run
  set -- -m "not slow"
fi
.venv/bin/python -m pytest "$@"
