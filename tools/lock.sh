#!/usr/bin/env bash
# Make requirements.lock from pyproject.toml: one lock for Python 3.10 and newer. Usage: tools/lock.sh PYTHON
# Versions that are locked already and still serve are kept, so a second run changes no byte; `rm requirements.lock` first
# takes the newest of everything.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$(mktemp -d) && trap 'rm -rf "$tools"' EXIT
"$1" -m venv "$tools"
"$tools/bin/pip" install --quiet --disable-pip-version-check uv==0.13.*
"$tools/bin/uv" pip compile --quiet --universal --python-version 3.10 --generate-hashes --extra dev --no-header \
    --output-file requirements.lock pyproject.toml
