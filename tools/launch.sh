#!/usr/bin/env bash
# Run a step of the study by a launcher such as srun.
# Usage: tools/launch.sh LOGS NAME LAUNCHER ... COMMAND ...        NAME is e.g. mpii/standard/resnet18/topo-s0/train
# What the command prints is added to LOGS/NAME.log. If it fails, its last line is printed and added to LOGS/failed.
set -o pipefail
logs=$1 name=$2
shift 2
log=$logs/$name.log run=${name%/*}
mkdir -p "${log%/*}" || exit
printf '== %s: %s\n' "$(date '+%F %T')" "$*" >>"$log" || exit
begun=$(stat --format=%s "$log")
export SLURM_JOB_NAME=${run##*/}-${name##*/} # squeue shows it
# bash would not pass a signal on to a command in the foreground. Before it has started there is nothing to stop.
trap 'kill -TERM $! 2>/dev/null || exit 143' TERM INT HUP
"$@" >>"$log" 2>&1 </dev/null &
wait $!
code=$?
while kill -0 $! 2>/dev/null; do # a signal ended the waiting
    wait $!
    code=$?
done
if [ $code -ne 0 ]; then
    lines=$(tail --bytes=+$((begun + 1)) "$log" | tr '\r' '\n' | grep .)
    said=$(grep --invert-match '^srun: ' <<<"$lines" | tail --lines=1) # srun only repeats the exit code
    said=${said:-$(tail --lines=1 <<<"$lines")}
    echo "$name: ${said:-exit code $code} ($log)" | tee --append "$logs/failed" >&2
fi
exit $code
