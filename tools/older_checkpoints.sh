#!/usr/bin/env bash
# Say which finished runs were trained by older code than is here. They are kept: only deleting a run trains it again.
# Usage: tools/older_checkpoints.sh FOLDER_OF_RUNS
set -euo pipefail
newest=$(find pose_topo/training pose_topo/models pose_topo/data pose_topo/study/{config,backbones,protocols,lattice}.py -name '*.py' -printf '%T@ %p\n' | sort -rn | sed -n '1s/^[^ ]* //p')
mapfile -t older < <(find "$1" -name provenance.json ! -newer "$newest" | sort)
if [ "${#older[@]}" -gt 0 ]; then
    echo "note: ${#older[@]} checkpoints are older than the training code ($newest), the first of them $(dirname "${older[0]}")."
    echo "      They are kept as they are; delete a run's folder to have it trained again."
fi
