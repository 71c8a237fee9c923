#!/bin/bash
# SPDX-License-Identifier: MIT
#
# How long it takes from kill -9 of the process that serves an image, 100 GiB mapped of 1 TiB, to the
# first request that its successor has completed, without the kernel's part of it.
#
#	tests/bench/recovery.sh [-d DIR] [-s STATE] [-n ROUNDS] [BUILD]
#
# BUILD is the build tree (default: the directory build/ next to this source tree's tests/).  DIR has
# to be on a file system with direct I/O, STATE on a tmpfs (default: /dev/shm).  Prints a table for
# docs/performance.md.
set -euo pipefail

rounds=5
dir=
state=/dev/shm
while getopts d:n:s: opt; do
	case $opt in
	d) dir=$OPTARG ;;
	n) rounds=$OPTARG ;;
	s) state=$OPTARG ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
src=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:-$src/build}" && pwd)
make -s -C "$build/tests" bench/bigimage bench/recoverbench
work=$(mktemp -d "${dir:-${TMPDIR:-/tmp}}/bench-recovery.XXXXXX")
state=$(mktemp -d "$state/bench-recovery.XXXXXX")
trap 'rm -rf "$work" "$state"' EXIT
cd "$work"

# column FILE N: its median and its most.
column() {
	sort -n -k"$2,$2" "$1" | awk -v c="$2" '{ v[NR] = $c } END { print v[int((NR + 1) / 2)] ", " v[NR] }'
}

echo "machine: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) processors," \
	"$(stat -f -c %T .), load $(cut -d' ' -f1 /proc/loadavg)"
echo "medians and most of $rounds rounds"
echo
echo "| killed | process gone, ms | image open, ms | first write and read, ms | transactions replayed | records only in the volatile journal | writes before |"
echo "|---|---|---|---|---|---|---|"
for layout in dense spread; do
	for flush in 0 64; do
		rm -f image
		"$build/tests/bench/bigimage" ublk raw $layout 1T 100G image >/dev/null
		"$build/tests/bench/recoverbench" image "$state" "$rounds" 4 $flush >rows
		printf '| %s, %s |' $layout "$([ $flush = 0 ] && echo "no flushes" || echo "a flush behind each $flush writes")"
		for c in 1 2 3 4 5 6; do
			printf ' %s |' "$(column rows $c)"
		done
		echo
	done
done
