#!/bin/bash
# SPDX-License-Identifier: MIT
#
# convert against qemu-img: a raw image of an ext4 file system with about 2 GB of this machine's own
# files, to a compressed image and back.  And how long create takes.
#
#	tests/bench/convert.sh [-d DIR] [-n ROUNDS] [BUILD]
#
# BUILD is the build tree (default: the directory build/ next to this source tree's tests/).  Each
# round runs the programs in turn, the source being in the page cache; medians and ratios are printed
# as the tables of docs/performance.md.  qemu-img runs twice: as it is by default, which leaves the
# target in the page cache and does not wait for it, and with -t none, which writes it directly.
set -euo pipefail

rounds=5
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
[ -x "$ublk_img" ] || ublk_img=$build/ublk-img
for program in "$ublk_img" qemu-img mke2fs; do
	command -v "$program" >/dev/null || { echo "convert.sh: no $program" >&2; exit 1; }
done
work=$(mktemp -d "${dir:-${TMPDIR:-/tmp}}/bench-convert.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Real files, up to 2 GB.
make_source() {
	mkdir "$work/files"
	for from in /usr/bin /usr/include /usr/share /usr/lib/x86_64-linux-gnu /usr/lib; do
		[ "$(du -sm "$work/files" | cut -f1)" -lt 2000 ] || break
		cp -a "$from" "$work/files/" 2>/dev/null || true
		while [ "$(du -sm "$work/files" | cut -f1)" -gt 2400 ]; do
			find "$work/files" -type f -size +4M | tail -n 20 | xargs -r -d '\n' rm -f
		done
	done
	truncate -s 3G "$work/raw"
	mke2fs -q -t ext4 -E root_owner=0:0 -d "$work/files" "$work/raw"
	files=$(du -sm "$work/files" | cut -f1)
	rm -rf "$work/files"
	sync "$work/raw"
	cat "$work/raw" >/dev/null
}

# measure FILE COMMAND...: a line with milliseconds of time and of processor time.
measure() {
	local out=$1 TIMEFORMAT='%3R %3U %3S'
	shift
	{ time "$@" >/dev/null; } 2>"$work/time"
	awk '{ print $1 * 1000, ($2 + $3) * 1000 }' "$work/time" >>"$out"
}

median() {
	sort -n -k"$2,$2" "$1" | awk -v c="$2" '{ v[NR] = $c } END { print v[int((NR + 1) / 2)] }'
}

space() {
	echo $(($(stat -c %b "$1") * 512))
}

# row WHAT OURS THEIRS
row() {
	awk -v what="$1" -v a="$(median "$2" 1)" -v ac="$(median "$2" 2)" -v b="$(median "$3" 1)" \
		-v bc="$(median "$3" 2)" 'BEGIN {
		printf "| %s | %.2f s, %.2f s | %.2f s, %.2f s | %.2f | %.2f |\n",
			what, a / 1000, ac / 1000, b / 1000, bc / 1000, a / b, ac / bc }'
}

make_source
for _ in $(seq "$rounds"); do
	rm -f "$work/image" "$work/qcow2"
	sync
	measure "$work/in" "$ublk_img" convert --zstd=3 --threads=2 "$work/raw" "$work/image"
	sync
	measure "$work/qemu-in" qemu-img convert -c -O qcow2 -o compression_type=zstd -m 2 -W \
		"$work/raw" "$work/qcow2"
	rm -f "$work/direct"
	sync
	measure "$work/qemu-in-direct" qemu-img convert -c -O qcow2 -o compression_type=zstd -m 2 -W \
		-t none "$work/raw" "$work/direct"
	rm -f "$work/direct" "$work/out"
	sync
	measure "$work/back" "$ublk_img" convert -O raw --threads=2 "$work/image" "$work/out"
	rm -f "$work/out"
	sync
	measure "$work/qemu-back-direct" qemu-img convert -m 2 -W -O raw -t none "$work/qcow2" "$work/out"
	rm -f "$work/out"
	sync
	measure "$work/qemu-back" qemu-img convert -m 2 -W -O raw "$work/qcow2" "$work/out"
done
cmp "$work/raw" "$work/out"
rm -f "$work/out"
for _ in $(seq "$rounds"); do
	rm -f "$work/new"
	measure "$work/create" "$ublk_img" create --zstd "$work/new" 64T
done

echo "machine: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) processors," \
	"Linux $(uname -r), $(df --output=fstype "$work" | tail -n 1), load $(cut -d' ' -f1 /proc/loadavg)," \
	"$(qemu-img --version | head -1)"
echo "source: ext4 with $files MiB of files, $(space "$work/raw") bytes in use; medians of $rounds rounds"
echo
echo "| | ublk-img: time, processor time | qemu-img: the same | ratio of times | of processor times |"
echo "|---|---|---|---|---|"
row "raw to zstd level 3" "$work/in" "$work/qemu-in"
row "raw to zstd level 3, -t none" "$work/in" "$work/qemu-in-direct"
row "back to raw" "$work/back" "$work/qemu-back"
row "back to raw, -t none" "$work/back" "$work/qemu-back-direct"
echo
echo "| | ublk-img | qemu-img | ratio |"
echo "|---|---|---|---|"
awk -v a="$(space "$work/image")" -v b="$(space "$work/qcow2")" \
	'BEGIN { printf "| space of the image, bytes | %d | %d | %.4f |\n", a, b, a / b }'
awk -v a="$(stat -c %s "$work/image")" -v b="$(stat -c %s "$work/qcow2")" \
	'BEGIN { printf "| length of the image, bytes | %d | %d | %.4f |\n", a, b, a / b }'
echo
echo "create, 64 TiB: $(median "$work/create" 1) ms, $(space "$work/new") bytes on disk"
