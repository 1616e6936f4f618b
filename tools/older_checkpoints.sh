#!/usr/bin/env bash
# Say which finished runs were trained by older code than is here. They are kept: only deleting a run trains it again.
# Usage: tools/older_checkpoints.sh RUN...
set -euo pipefail
cd "$(dirname "$0")/.."
newest=$(find pose_topo/training pose_topo/models pose_topo/data -name '*.py' -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2-)
older=0
for run in "$@"; do
    if [ -f "$run/provenance.json" ] && [ "$newest" -nt "$run/provenance.json" ]; then older=$((older + 1)) first=${first:-$run}; fi
done
if [ "$older" -gt 0 ]; then
    echo "note: $older of $# checkpoints are older than $newest (the first: $first). They were not trained again; delete a run's folder to do so."
fi
