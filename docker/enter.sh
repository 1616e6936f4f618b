#!/bin/sh
# The image's door: the code may be a mounted checkout, the environment is the image's; both must be of one lock.
set -eu
code=${VENV%/*}/pose_topo
if ! cmp -s "$code/requirements.lock" "$VENV/requirements.lock"; then
    echo "image: the requirements.lock in $code is not the one this image was built from: run \`make image\`" >&2
    exit 1
fi
exec "$@"
