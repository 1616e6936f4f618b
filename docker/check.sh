#!/usr/bin/env bash
# Build docker/Dockerfile and run the study in it, without a container daemon. Usage, as root: docker/check.sh
#
# Debian is put into a folder and takes the place of the CUDA base; buildah builds and runs, isolated by chroot.
# What differs from the real image, all of it by build arguments:
#     BASE          Debian bookworm made by debootstrap; real: Ubuntu 24.04 with CUDA 13.0, pinned by digest
#     APT_OPTIONS   none, for Debian's apt knows no --snapshot: its packages are today's; real: those of one day
# and what follows from it: Python 3.11 (real: 3.12), no GPU driver. The steps, the lock and the code are the same.
#
# In the image, with a uid that no user has, code that it may not write, and no network: pose-topo doctor, a tiny
# make demo, make figures, the tests. A warning about the home folder or a cache is an error, and so is an output that
# does not belong to that uid or that names a place of the image or the day. All that was made is removed.
# Then doctor and the tiny demo once more as Apptainer would run the image, which is not here: with a read-only root, no
# HOME, and nothing that can be written but the folders that are bound.
# Needs 20 GB of disk below ${TMPDIR:-/tmp}.
#     SUITE, MIRROR       Debian's release and its server for debootstrap [bookworm, debootstrap's own]
#     PIP_CERT, PIP_INDEX_URL   as pip knows them; also read from its configuration
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
uid=54321
tiny=(DEMO_PEOPLE=60 EPOCHS=1 TRAIN=--input-size=64 OUT=/results/out RUNS=/results/runs CACHE=/results/cache)

die() { echo "check: $*" >&2 && exit 1; }
say() { echo "== $* (at ${SECONDS} s)"; }

[ "$(id -u)" = 0 ] || die "must run as root (debootstrap and chroot need it)"
for tool in debootstrap buildah unshare ip; do
    command -v "$tool" >/dev/null ||
        die "$tool is missing: apt-get update && apt-get install -y buildah debootstrap iproute2"
done

work=$(mktemp -d "${TMPDIR:-/tmp}/pose-topo-image.XXXXXX")
b() { buildah --root "$work/storage" --runroot "$work/run" "$@"; }
clean_up() {
    awk -v below="$work/" 'index($2, below) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount || true
    rm -rf --one-file-system "$work" || echo "check: $work could not be removed" >&2
}
trap clean_up EXIT

# what this machine's network asks of pip; it reaches the build as a mount and a secret, never the image
network=()
of_pip() { python3 -m pip config get "global.$1" 2>/dev/null || true; }
{
    echo "[global]"
    cert=${PIP_CERT:-$(of_pip cert)} index=${PIP_INDEX_URL:-$(of_pip index-url)}
    [ -z "$cert" ] || { echo "cert = /mnt/certificates.crt" && network+=(--volume "$cert:/mnt/certificates.crt:ro"); }
    [ -z "$index" ] || echo "index-url = $index"
} >"$work/pip.conf"

say "base: Debian ${SUITE:-bookworm}"
debootstrap --variant=minbase "${SUITE:-bookworm}" "$work/base" ${MIRROR:+"$MIRROR"} >"$work/log" 2>&1 ||
    die "debootstrap failed: $(tail -3 "$work/log")"
tar -C "$work/base" -cf "$work/base.tar" . && rm -rf "$work/base"
scratch=$(b from scratch)
b add --quiet "$scratch" "$work/base.tar" / >/dev/null
b commit --quiet --format docker --rm "$scratch" stand-in >/dev/null
rm "$work/base.tar"

say "image: docker/Dockerfile"
b build --isolation chroot --network host --format docker --build-arg BASE=localhost/stand-in --build-arg APT_OPTIONS= \
    --secret "id=pip.conf,src=$work/pip.conf" ${network[@]+"${network[@]}"} --tag checked \
    --file "$root/docker/Dockerfile" "$root" >"$work/log" 2>&1 || die "the build failed: $(tail -20 "$work/log")"
say "image: $(b images --format '{{.Size}}' checked)"

container=$(b from checked)
mkdir "$work/results" && chown "$uid:$uid" "$work/results"
# options of buildah until --, then a command: as that uid, behind the image's door, with no network but the loopback
inside() {
    local options=(--isolation chroot --hostname localhost --user "$uid:$uid" --volume "$work/results:/results")
    while [ "$1" != -- ]; do options+=("$1") && shift; done
    # shellcheck disable=SC2016
    unshare --net sh -c 'ip link set lo up && exec "$@"' - buildah --root "$work/storage" --runroot "$work/run" \
        run "${options[@]}" "$container" -- /opt/venv/bin/enter "${@:2}"
}
logged() { # a name, then what `inside` takes; its words are shown if it fails, and kept
    say "$1"
    inside "${@:2}" >"$work/$1.log" 2>&1 || { tail -40 "$work/$1.log" >&2 && die "$1 failed in the image"; }
}

# shellcheck disable=SC2016
logged confined -- sh -c 'test "$(id -u)" = '$uid' && ! touch Makefile && ! touch pose_topo/new'
logged offline -- python -c 'import socket; assert [name for _, name in socket.if_nameindex()] == ["lo"]'
logged doctor -- pose-topo doctor
cat "$work/doctor.log"
logged doctor-of-a-checkout --volume "$root:/opt/pose_topo:ro" -- pose-topo doctor
grep -q '^ok .*lock:' "$work/doctor.log" || die "the image's packages are not those of requirements.lock"
logged demo -- make demo "${tiny[@]}"
papers() { (cd "$work/results" && find out -path '*/paper/*' -type f ! -name .runs ! -name 'verdict.*' | sort); }
drawn=$(papers)
rm -r "$work"/results/out/*/*/resnet18/paper
logged figures -- make figures DATA=data/synthetic-60 PROTOCOL=demo "${tiny[@]}"
[ -n "$drawn" ] && [ "$(papers)" = "$drawn" ] || die "make figures did not draw again what make demo drew"

# as Apptainer runs an image: the environment of the image but for HOME, a read-only root, and these folders bound
bound=(home/pose tmp opt/pose_topo/data opt/pose_topo/out opt/pose_topo/runs opt/pose_topo/cache)
mounted=$(b mount "$container")
for place in "${bound[@]}"; do
    mkdir -p "$work/bound/$place" && chown "$uid:$uid" "$work/bound/$place"
done
variables='{{range .OCIv1.Config.Env}}{{println .}}{{end}}'
mapfile -t environment < <(b inspect --format "$variables" "$container" | grep -v '^HOME=')
read_only() { # a command, in the image's folder of the code
    # shellcheck disable=SC2016
    unshare --net --mount --pid --ipc --uts --kill-child sh -euc '
        root=$1 bound=$2 places=$3 uid=$4; shift 4
        ip link set lo up && hostname localhost
        mount --make-rprivate / && mount --bind "$root" "$root"
        for place in $places; do mount --bind "$bound/$place" "$root/$place"; done
        mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev"
        mount -o remount,bind,ro "$root"
        exec chroot --userspec="$uid:$uid" "$root" env -i "$@"
    ' - "$mounted" "$work/bound" "${bound[*]}" "$uid" "${environment[@]}" sh -euc 'cd /opt/pose_topo && exec enter "$@"' - "$@"
}
as_apptainer() { # a name and a command
    say "$1"
    read_only "${@:2}" >"$work/$1.log" 2>&1 || { tail -40 "$work/$1.log" >&2 && die "$1 failed on a read-only root"; }
}
# shellcheck disable=SC2016
as_apptainer confined-read-only sh -c 'test -z "${HOME-}" && test "$(id -u)" = '$uid' && touch /tmp/new &&
    ! touch /var/tmp/new && ! touch /opt/venv/new'
as_apptainer doctor-read-only pose-topo doctor
as_apptainer demo-read-only make demo "${tiny[@]:0:3}"
[ -s "$work/bound/opt/pose_topo/out/synthetic-60/report.html" ] || die "the demo on a read-only root left no report"
logged tests -- make test
tail -3 "$work/tests.log"

say "warnings, owners"
! grep -inE 'warn|not writable|cannot|could not|denied' "$work"/{doctor,demo,figures}*.log || die "warnings, see above"
! grep -inE '(home|cache|writ|getpw|config).*(warn|denied|cannot|could not)|CacheWarning' "$work/tests.log" ||
    die "the tests warn about a home or a cache, see above"
strange=$(find "$work/results" "$work/bound/opt/pose_topo/"* ! -uid "$uid" | head -3)
[ -z "$strange" ] || die "not owned by $uid: $strange"
told=$(grep -rlE --include=*.{json,csv,md,tex,toml} "/opt/|/home/|$(date +%F)" "$work/results" | head -3) || true
[ -z "$told" ] || die "places or dates in $told"
say "passed: $(find "$work/results" -type f | wc -l) outputs"
