#!/usr/bin/env bash
# Make .venv from requirements.lock. Usage: tools/setup.sh PYTHON lock|cpu
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1 torch=$2

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    echo "setup: $("$python" --version) is too old: Python 3.10 or newer is needed (make PYTHON=python3.11 ...)" >&2
    exit 1
fi
[ -x .venv/bin/python ] || "$python" -m venv .venv
install=(.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input)

case $torch in
lock) "${install[@]}" --require-hashes --only-binary :all: --no-deps -r requirements.lock ;;
cpu)
    # the CPU wheels stand on PyTorch's own index under the same versions, with hashes of their own
    rest=$(mktemp) && trap 'rm -f "$rest"' EXIT
    .venv/bin/python tools/without_torch.py requirements.lock >"$rest"
    versions=$(grep -oE '^(torch|torchvision)==[^ ;\\]+' requirements.lock)
    "${install[@]}" --require-hashes --only-binary :all: --no-deps -r "$rest"
    # shellcheck disable=SC2086
    "${install[@]}" --no-deps --index-url https://download.pytorch.org/whl/cpu $versions
    ;;
*) echo "setup: TORCH=$torch: give lock or cpu" >&2 && exit 2 ;;
esac
"${install[@]}" --no-deps --no-build-isolation --editable .
.venv/bin/python -m pip check --quiet
