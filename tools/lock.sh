#!/usr/bin/env bash
# Make requirements.lock from pyproject.toml: one lock for Python 3.10 and newer. Usage: tools/lock.sh PYTHON
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$(mktemp -d) && trap 'rm -rf "$tools"' EXIT
"$1" -m venv "$tools"
"$tools/bin/pip" install --quiet --disable-pip-version-check uv==0.13.*
"$tools/bin/uv" pip compile --quiet --universal --python-version 3.10 --generate-hashes --extra dev --no-header \
    --output-file requirements.lock pyproject.toml
