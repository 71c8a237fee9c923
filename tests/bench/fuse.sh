#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The file disk of a mounted view of a raw-extent image against the FUSE export of
# qemu-storage-daemon of the same data as qcow2.
#
#	tests/bench/fuse.sh [-d DIR] [-j JOBS] [-n ROUNDS] [-s SIZE-MIB] [-t SECONDS] [BUILD]
#
# BUILD is the build tree (default: the directory build/ next to this source tree's tests/).  Both
# images are mounted read-only at the same time; each round runs every job on one and then on the
# other; with JOBS, a pattern, only those whose row begins with what matches.  Prints medians of the
# rounds and their ratios as rows of the table in docs/performance.md.  Needs root.
set -euo pipefail

rounds=15
dir=
jobs=
size=1024
seconds=1
while getopts d:j:n:s:t: opt; do
	case $opt in
	d) dir=$OPTARG ;;
	j) jobs=$OPTARG ;;
	n) rounds=$OPTARG ;;
	s) size=$OPTARG ;;
	t) seconds=$OPTARG ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
src=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:-$src/build}" && pwd)
ublk_img=$build/cli/ublk-img
for program in "$ublk_img" qemu-img qemu-storage-daemon fio jq; do
	command -v "$program" >/dev/null || { echo "fuse.sh: no $program" >&2; exit 1; }
done

work=$(mktemp -d "${dir:-${TMPDIR:-/var/tmp}}/bench-fuse.XXXXXX")
daemon=
finish() {
	"$ublk_img" umount "$work/view" 2>/dev/null || umount -l "$work/view" 2>/dev/null || true
	[ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
	wait
	rm -rf "$work"
}
trap finish EXIT

head -c "${size}M" /dev/urandom >"$work/raw"
"$ublk_img" convert "$work/raw" "$work/image" >/dev/null
qemu-img convert -O qcow2 "$work/raw" "$work/qcow2"
mkdir "$work/view"
: >"$work/export"
"$ublk_img" mount --foreground "$work/image" "$work/view" &
view=$!
qemu-storage-daemon \
	--blockdev "driver=file,node-name=file,filename=$work/qcow2,read-only=on,cache.direct=${DIRECT:-off},aio=${AIO:-threads}" \
	--blockdev driver=qcow2,node-name=disk,file=file,read-only=on \
	--export "type=fuse,id=e,node-name=disk,mountpoint=$work/export" &
daemon=$!
for _ in $(seq 100); do
	[ "$(stat -c %s "$work/export")" = "$((size << 20))" ] && [ -e "$work/view/disk" ] && break
	sleep 0.1
done
cmp "$work/view/disk" "$work/export"

# Processor time of a process so far, in ticks.
ticks() {
	awk '{ print $14 + $15 }' "/proc/$1/stat"
}
# job OUT PID FILE OPTION...: run a fio job on the file that the process serves, and append to OUT:
# MiB/s, operations/s, microseconds of the server's processor time for each operation.
job() {
	local out=$1 pid=$2 file=$3 before
	shift 3
	before=$(ticks "$pid")
	fio --name=job --filename="$file" --readonly --output-format=json --time_based \
		--runtime="$seconds" --size="${size}M" --norandommap --randrepeat=0 "$@" >"$work/json"
	jq -r '.jobs[0].read | "\(.bw_bytes / 1048576) \(.iops) \(.total_ios)"' "$work/json" |
		awk -v ticks=$(($(ticks "$pid") - before)) -v hz="$(getconf CLK_TCK)" \
			'{ print $1, $2, ticks / hz * 1e6 / $3 }' >>"$out"
}
median() {
	sort -n -k"$2,$2" "$1" | awk -v c="$2" '{ v[NR] = $c } END { print v[int((NR + 1) / 2)] }'
}
# row NAME COLUMN OPTION...: COLUMN is what counts, 1 or 2.
row() {
	local name=$1 column=$2
	shift 2
	# shellcheck disable=SC2053 # a pattern
	[[ $name = $jobs* ]] || return 0
	rm -f "$work"/{ours,theirs}
	for _ in $(seq "$rounds"); do
		job "$work/ours" "$view" "$work/view/disk" "$@"
		job "$work/theirs" "$daemon" "$work/export" "$@"
	done
	awk -v name="$name" -v ours="$(median "$work/ours" "$column")" \
		-v theirs="$(median "$work/theirs" "$column")" \
		-v cpu="$(median "$work/ours" 3)" -v their_cpu="$(median "$work/theirs" 3)" 'BEGIN {
		printf "| %s | %.0f, %.0f us | %.0f, %.0f us | %.2f | %.2f |\n", name, ours, cpu,
			theirs, their_cpu, ours / theirs, their_cpu / cpu }'
}

echo "machine: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) processors," \
	"Linux $(uname -r), $(stat -f -c %T "$work"), load $(cut -d' ' -f1 /proc/loadavg)," \
	"$(qemu-storage-daemon --version | head -1)"
echo "medians of $rounds rounds of $seconds s"
echo
echo "| | ublk-img: rate, processor time of an operation | qemu-storage-daemon: the same |" \
	"ratio of rates | of processor times |"
echo "|---|---|---|---|---|"
row "128 KiB sequential, direct, depth 1, MiB/s" 1 --rw=read --bs=128k --direct=1 --ioengine=psync
row "128 KiB sequential, direct, depth 8, MiB/s" 1 --rw=read --bs=128k --direct=1 --ioengine=libaio --iodepth=8
# Once through the file: a second time it would come from the cache.
row "128 KiB sequential, buffered, cold, MiB/s" 1 --rw=read --bs=128k --direct=0 --ioengine=psync --invalidate=1 \
	--time_based=0 --runtime=0
row "4 KiB random, direct, depth 1, operations/s" 2 --rw=randread --bs=4k --direct=1 --ioengine=psync
row "4 KiB random, direct, depth 16, operations/s" 2 --rw=randread --bs=4k --direct=1 --ioengine=libaio --iodepth=16
