#!/usr/bin/env bash
# Print how long the targets that do not exist yet will take. Usage: tools/left.sh FILE, as `tools/costs.py expect` wrote it
[ -f "$1" ] || exit 0
left=0
while read -r seconds target; do
    [ -e "$target" ] || left=$((left + ${seconds%.*}))
done <"$1"
if [ $left -lt 90 ]; then echo "(about $left s left)"; else echo "(about $(((left + 30) / 60)) min left)"; fi
