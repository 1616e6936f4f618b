#!/usr/bin/env bash
# Make .venv from requirements.lock, with uv where it is installed and with pip otherwise. Usage: tools/setup.sh PYTHON lock|cpu
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1 torch=$2

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    echo "setup: $("$python" --version) is too old: Python 3.10 or newer is needed (make PYTHON=python3.11 ...)" >&2
    exit 1
fi
if command -v uv >/dev/null; then
    [ -x .venv/bin/python ] || uv venv --quiet --python "$python" .venv
    pip=(env VIRTUAL_ENV="$PWD/.venv" uv pip)
    install=("${pip[@]}" install --quiet)
else
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    pip=(.venv/bin/python -m pip)
    install=("${pip[@]}" install --quiet --disable-pip-version-check --no-input)
fi

case $torch in
lock) "${install[@]}" --require-hashes --only-binary :all: --no-deps -r requirements.lock ;;
cpu)
    # PyTorch's own index has the CPU wheels under the same versions, with other hashes; they need no CUDA packages
    rest=$(mktemp) && trap 'rm -f "$rest"' EXIT
    # a requirement is a line and the indented lines after it
    awk '/^[^ \t#]/ { skip = /^(torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==/ } !skip' \
        requirements.lock >"$rest"
    versions=$(grep -oE '^(torch|torchvision)==[^ ;\\]+' requirements.lock)
    "${install[@]}" --require-hashes --only-binary :all: --no-deps -r "$rest"
    # shellcheck disable=SC2086
    "${install[@]}" --no-deps --index-url https://download.pytorch.org/whl/cpu $versions
    ;;
*) echo "setup: TORCH=$torch: give lock or cpu" >&2 && exit 2 ;;
esac
"${install[@]}" --no-deps --no-build-isolation --editable .
"${pip[@]}" check --quiet
