#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What snapshots cost: taking one of a large disk, writing behind it, flushing, deleting; against
# qemu-img and qcow2.
#
#	[SECTIONS="taking writing flushing deleting"] tests/bench/snapshot.sh [-d DIR] [-n ROUNDS] [BUILD]
#
# BUILD is the build tree (default: the directory build/ next to this source tree's tests/).  DIR has
# to be on a file system with direct I/O.  Prints tables for docs/performance.md.
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
for program in "$ublk_img" qemu-img qemu-io strace; do
	command -v "$program" >/dev/null || { echo "snapshot.sh: no $program" >&2; exit 1; }
done
make -s -C "$build/tests" bench/bigimage bench/snapbench
bench=$build/tests/bench/snapbench
work=$(mktemp -d "${dir:-${TMPDIR:-/tmp}}/bench-snapshot.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

ms() {
	local begin end
	begin=$(date +%s%N)
	"$@" >/dev/null
	end=$(date +%s%N)
	echo $(((end - begin) / 1000))
}
# median FILE [COLUMN]
median() {
	sort -n -k"${2:-1},${2:-1}" "$1" | awk -v c="${2:-1}" '{ v[NR] = $c } END { print v[int((NR + 1) / 2)] }'
}
most() {
	sort -n -k"$2,$2" "$1" | awk -v c="$2" '{ v = $c } END { print v }'
}
ratio() {
	awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'
}

echo "machine: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) processors," \
	"$(stat -f -c %T .), load $(cut -d' ' -f1 /proc/loadavg), $(qemu-img --version | head -1)"
echo "medians of $rounds rounds"
taking() {
	echo
	echo "| take a snapshot, 100 GiB mapped of 1 TiB | ublk-img | qemu-img snapshot -c | ratio |"
	echo "|---|---|---|---|"
	for layout in dense spread; do
		"$build/tests/bench/bigimage" ublk raw $layout 1T 100G image >/dev/null
		"$build/tests/bench/bigimage" qcow2 raw $layout 1T 100G qcow2 >/dev/null
		rm -f ours theirs
		for i in $(seq "$rounds"); do
			ms "$ublk_img" snapshot create image "s$i" >>ours
			ms qemu-img snapshot -c "s$i" qcow2 >>theirs
		done
		"$bench" image create 20 >stall
		echo "| $layout: the command, ms | $(ratio "$(median ours)" 1000) | $(ratio "$(median theirs)" 1000) | $(ratio "$(median theirs)" "$(median ours)") |"
		echo "| $layout: while the image is open, ms | $(median stall 1) | | |"
		echo "| $layout: longest 4 KiB write meanwhile, median and most of 20, ms | $(median stall 2), $(most stall 2) | | |"
		rm -f image qcow2
	done
}

writing() {
	echo
	echo "| 4 KiB writes, each into another cluster of 64 KiB, depth 16, operations/s | before the snapshot | behind it | ratio |"
	echo "|---|---|---|---|"
	step=$((65536 * 37 + 4096))
	count=8192 # a quarter of the clusters
	for i in $(seq "$rounds"); do
		rm -f image qcow2
		"$ublk_img" create image 2G
		"$bench" image fill
		sync
		"$bench" image write $count 16 $step >>ours.before
		"$ublk_img" snapshot create image s >/dev/null
		sync
		"$bench" image write $count 16 $step >>ours.behind
		"$ublk_img" convert -O raw image raw
		qemu-img convert -O qcow2 raw qcow2
		rm raw
		sync
		qemu-img bench -w -n -t none -f qcow2 -c $count -d 16 -s 4096 -S $step qcow2 |
			sed -n 's/.*completed in \([0-9.]*\).*/\1/p' | awk -v n=$count '{ print n / $1 }' >>theirs.before
		qemu-img snapshot -c s qcow2
		sync
		qemu-img bench -w -n -t none -f qcow2 -c $count -d 16 -s 4096 -S $step qcow2 |
			sed -n 's/.*completed in \([0-9.]*\).*/\1/p' | awk -v n=$count '{ print n / $1 }' >>theirs.behind
	done
	for side in ours theirs; do
		name=$([ $side = ours ] && echo ublk-img || echo "qcow2 (qemu-img bench)")
		printf '| %s | %.0f | %.0f | %s |\n' "$name" "$(median $side.before)" "$(median $side.behind)" \
			"$(ratio "$(median $side.behind)" "$(median $side.before)")"
	done
	echo "| ratio | $(ratio "$(median ours.before)" "$(median theirs.before)") | $(ratio "$(median ours.behind)" "$(median theirs.behind)") | |"
}

flushing() {
	echo
	echo "| 4 KiB into a fresh cluster and a flush, 256 times | writes | bytes written | syncs and synchronous writes |"
	echo "|---|---|---|---|"
	# count_calls FILE: of an strace, per flush.
	count_calls() {
		awk '/pwrite|pwritev/ && /= [0-9]+$/ { n++; bytes += $NF; if (/RWF_DSYNC/) syncs++ }
			/fdatasync|fsync/ && /= 0/ { syncs++ }
			END { printf "%.2f | %.0f | %.2f", n / 256, bytes / 256, syncs / 256 }' "$1"
	}
	rm -f image qcow2
	"$ublk_img" create image 2G
	"$bench" image flush 1 # it has a journal then
	strace -f -o trace -e trace=pwrite64,pwritev,pwritev2,fdatasync,fsync "$bench" image flush 256
	echo "| ublk-img | $(count_calls trace) |"
	qemu-img create -q -f qcow2 qcow2 2G
	for i in $(seq 0 255); do
		echo "write -q $((i * 69632)) 4096"
		echo "flush"
	done >script
	strace -f -o trace -e trace=pwrite64,pwritev,pwritev2,fdatasync,fsync qemu-io -f qcow2 -t none qcow2 <script >/dev/null
	echo "| qcow2 (qemu-io) | $(count_calls trace) |"
}

deleting() {
	echo
	echo "| delete a snapshot of 100 GiB mapped of 1 TiB, of which has changed since | time, ms | steps | nodes read |"
	echo "|---|---|---|---|"
	for changed in 64 1024; do # leaves
		rm -f image
		"$build/tests/bench/bigimage" ublk raw dense 1T 100G image >/dev/null
		"$ublk_img" snapshot create image s >/dev/null
		"$bench" image write $changed 1 $((16 << 20)) >/dev/null
		read -r time steps nodes < <("$bench" image delete s)
		echo "| $changed leaves of 6400 | $time | $steps | $nodes |"
		rm -f image
	done
}

for section in ${SECTIONS:-taking writing flushing deleting}; do
	"$section"
done
