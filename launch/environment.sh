# shellcheck shell=bash
# Sourced by the scripts of this folder: goes to the project's folder and makes its .venv ready.
# PYTHON names another interpreter than python3; it must be 3.11 or newer.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

# prepare_environment FILE... installs the requirement files unless exactly they are installed already.
prepare_environment() {
  local python=${PYTHON:-python3} stamp wanted
  if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then  # a killed venv has no pip
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
      echo "$python is older than Python 3.11: name another one with PYTHON=..." >&2
      return 2
    }
    echo "making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv || return 1
  fi
  stamp=".venv/installed-$(printf '%s' "$*" | tr '/ ' '__')"
  wanted=$(cat "$@")
  if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    local arguments=() file
    for file in "$@"; do arguments+=(-r "$file"); done
    echo "installing $*"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "${arguments[@]}" || return 1
    printf '%s\n' "$wanted" >"$stamp"
  fi
}
