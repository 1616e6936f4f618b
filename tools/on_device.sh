#!/usr/bin/env bash
# Run the command of a heavy step on a device that no other step uses. If all are in use, wait for one.
# Usage: tools/on_device.sh LOCK "DEVICE ..." COMMAND ...
# It runs COMMAND ... --device DEVICE, and the command holds the lock of the device, a file beside LOCK, until it ends.
# A device is cuda:N, cpu, or cpu@CORES, which is the processor with these cores only (e.g. cpu@0-3,8).
set -euo pipefail
lock=$1 devices=$2
shift 2
while true; do
    for device in $devices; do
        exec {held}>"$lock-${device%%[,-]*}"
        code=0
        flock --nonblock --conflict-exit-code 75 "$held" || code=$?
        case $code:$device in
        0:cpu@*) exec taskset --cpu-list "${device#cpu@}" "$@" --device cpu ;;
        0:*) exec "$@" --device "$device" ;;
        75:*) exec {held}>&- ;;
        *) exit $code ;; # flock has said why: a disk without locks, for example
        esac
    done
    sleep 0.5
done
