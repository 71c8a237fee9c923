#!/bin/bash
# SPDX-License-Identifier: MIT
#
# info and check of an image of a 1 TiB disk with 100 GiB mapped, against qemu-img check of a qcow2
# image of the same disk with the same clusters mapped.
#
#	tests/bench/check.sh [-d DIR] [-n ROUNDS] [BUILD]
#
# BUILD is the build tree (default: the directory build/ next to this source tree's tests/).  Both
# images hold metadata only, their data is a hole; bench/bigimage makes them.  Each round runs the
# two programs one after the other, on files that are in the page cache; medians of the rounds are
# printed as rows of the table in docs/performance.md.
set -euo pipefail

rounds=9
dir=
while getopts d:n: opt; do
	case $opt in
	d) dir=$OPTARG ;;
	n) rounds=$OPTARG ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
src=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:-$src/build}" && pwd)
ublk_img=$build/cli/ublk-img
bigimage=$build/tests/bench/bigimage
[ -x "$ublk_img" ] || ublk_img=$build/ublk-img
for program in "$ublk_img" qemu-img /usr/bin/time; do
	command -v "$program" >/dev/null || { echo "check.sh: no $program" >&2; exit 1; }
done
[ -x "$bigimage" ] || make -s -C "$build/tests" bench/bigimage

work=$(mktemp -d "${dir:-${TMPDIR:-/tmp}}/bench-check.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Run a command and add a line to a file: milliseconds of time, of processor time, KiB of memory.
measure() {
	local out=$1 TIMEFORMAT='%3R %3U %3S'
	shift
	{ time /usr/bin/time -f %M -o "$work/memory" "$@" >/dev/null; } 2>"$work/time"
	awk -v memory="$(cat "$work/memory")" \
		'{ print $1 * 1000, ($2 + $3) * 1000, memory }' "$work/time" >>"$out"
}

# The median of a column of a file, by the value in it.
median() {
	sort -n -k"$2,$2" "$1" | awk -v c="$2" '{ v[NR] = $c } END { print v[int((NR + 1) / 2)] }'
}

row() {
	local kind=$1 layout=$2
	"$bigimage" ublk "$kind" "$layout" 1T 100G "$work/image" >"$work/what"
	"$bigimage" qcow2 "$kind" "$layout" 1T 100G "$work/qcow2" >/dev/null
	rm -f "$work"/{info,check,qemu}
	# Once for the page cache, and to see that both find nothing.
	"$ublk_img" check "$work/image" >/dev/null
	qemu-img check "$work/qcow2" >/dev/null
	for _ in $(seq "$rounds"); do
		measure "$work/check" "$ublk_img" check "$work/image"
		measure "$work/qemu" qemu-img check "$work/qcow2"
		measure "$work/info" "$ublk_img" info "$work/image"
	done
	awk -v what="$kind, $layout, $(sed 's/.*, //' "$work/what")" \
		-v info="$(median "$work/info" 1)" -v memory="$(median "$work/info" 3)" \
		-v check="$(median "$work/check" 1)" -v cpu="$(median "$work/check" 2)" \
		-v qemu="$(median "$work/qemu" 1)" -v qemu_cpu="$(median "$work/qemu" 2)" 'BEGIN {
		printf "| %s | %d ms, %.1f MiB | %d ms, %d ms | %d GiB/s | %d ms, %d ms | %.1f | %.1f |\n",
			what, info, memory / 1024, check, cpu, 100000 / check, qemu, qemu_cpu,
			qemu / check, qemu_cpu / cpu }'
	rm -f "$work/image" "$work/qcow2"
}

echo "machine: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) processors," \
	"$(stat -f -c %T "$work"), load $(cut -d' ' -f1 /proc/loadavg), $(qemu-img --version | head -1)"
echo "medians of $rounds rounds"
echo
echo "| 100 GiB mapped of 1 TiB | info: time, memory | check: time, processor time |" \
	"mapped disk | qemu-img check: the same | ratio of times | of processor times |"
echo "|---|---|---|---|---|---|---|"
for kind in raw zstd; do
	for layout in dense spread; do
		row "$kind" "$layout"
	done
done
