#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The block device against others that show the same bytes, on a kernel with ublk, as root:
#
#	tests/bench/ublk.sh [-d DIR] [-n ROUNDS] [-s SECONDS] [-m MIB] [-k KUBLK] [BUILD]
#
#   * zero copy against --mode=copy, on the same image
#   * the loop target of the kernel's selftest server (KUBLK, built by hand from the kernel's
#     sources), with automatic zero copy, on a file of the same size
#   * qemu-nbd and the kernel's nbd, on a qcow2 with the same content and compression
#
# BUILD is the build tree (default: build/ beside tests/).  DIR (default: TMPDIR) holds the images.
# In each round both sides run in turn, SECONDS each; medians and ratios are printed as the tables of
# docs/performance.md.  Peers that are not there are left out, which is said.
set -euo pipefail

rounds=5 seconds=3 mib=512 dir='' kublk=''
while getopts d:n:s:m:k: opt; do
	case $opt in
	d) dir=$OPTARG ;;
	n) rounds=$OPTARG ;;
	s) seconds=$OPTARG ;;
	m) mib=$OPTARG ;;
	k) kublk=$OPTARG ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
src=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:-$src/build}" && pwd)
ublk_img=$build/cli/ublk-img
[ -x "$ublk_img" ] || ublk_img=$build/ublk-img
for program in "$ublk_img" fio jq qemu-img; do
	command -v "$program" >/dev/null || { echo "ublk.sh: no $program" >&2; exit 1; }
done
work=$(mktemp -d "${dir:-${TMPDIR:-/tmp}}/bench-ublk.XXXXXX")
nbd=/dev/nbd0

finish() {
	"$ublk_img" detach --all --force >/dev/null 2>&1 || true
	[ -z "$kublk" ] || "$kublk" del -a >/dev/null 2>&1 || true
	nbd-client -d $nbd >/dev/null 2>&1 || true
	rm -rf "$work"
}
trap finish EXIT

# run DEVICE RW BS DEPTH [OPTION...]: IO per second.
run() {
	local device=$1 rw=$2 bs=$3 depth=$4
	shift 4
	fio --name=b --filename="$device" --rw="$rw" --bs="$bs" --iodepth="$depth" --direct=1 \
		--ioengine=io_uring --runtime="$seconds" --time_based --size="${mib}M" \
		--output-format=json "$@" |
		jq '.jobs[0] | .read.iops + .write.iops'
}

median() {
	sort -g | awk '{ a[NR] = $1 } END { print (a[int((NR + 1) / 2)] + a[int(NR / 2) + 1]) / 2 }'
}

# report WHAT OURS THEIRS: a row from the two files of figures.
report() {
	local ours theirs
	ours=$(median <"$2") theirs=$(median <"$3")
	awk -v what="$1" -v a="$ours" -v b="$theirs" \
		'BEGIN { printf "| %s | %.0f | %.0f | %.2f |\n", what, a, b, b ? a / b : 0 }'
}

# compare WHAT A B RW BS DEPTH: devices A and B in turn.
compare() {
	local what=$1 a=$2 b=$3 i
	shift 3
	: >"$work/a"
	: >"$work/b"
	for ((i = 0; i < rounds; i++)); do
		run "$a" "$@" >>"$work/a"
		run "$b" "$@" >>"$work/b"
	done
	report "$what" "$work/a" "$work/b"
}

heading() {
	echo
	echo "$1"
	echo
	echo "| IO per second | $2 | $3 | ratio |"
	echo "|---|---|---|---|"
}

# qcow2 FILE: shown by qemu-nbd as $nbd.
start_nbd() {
	qemu-nbd --fork --persistent --socket="$work/nbd.sock" --cache=none --aio=io_uring \
		--discard=unmap -f qcow2 "$1" || return 1
	nbd-client -unix "$work/nbd.sock" $nbd -b 512 >/dev/null
}

stop_nbd() {
	nbd-client -d $nbd >/dev/null
	pkill -f "$work/nbd.sock" || true
	while pgrep -f "$work/nbd.sock" >/dev/null; do sleep 0.1; done
}

have_nbd() {
	command -v nbd-client >/dev/null && command -v qemu-nbd >/dev/null && [ -b $nbd ]
}

raw_image() {
	"$ublk_img" create "$work/$1" "${mib}M" >/dev/null
	device=$("$ublk_img" attach --queues=1 "$work/$1")
	dd if=/dev/urandom of="$device" bs=1M count="$mib" oflag=direct status=none
	"$ublk_img" detach "$device" >/dev/null
}

zero_copy_against_copy() {
	local zero copy bs
	heading "Raw extents: zero copy against \`--mode=copy\`, one queue, depth 16" \
		zero-copy copy
	raw_image zero.img
	raw_image copy.img
	zero=$("$ublk_img" attach --queues=1 "$work/zero.img")
	copy=$("$ublk_img" attach --queues=1 --mode=copy "$work/copy.img")
	for bs in 4k 64k 256k 512k 1M; do
		compare "read, sequential, $bs" "$zero" "$copy" read $bs 16
		compare "write in place, sequential, $bs" "$zero" "$copy" write $bs 16
	done
	"$ublk_img" detach "$copy" >/dev/null
	"$ublk_img" detach "$zero" >/dev/null
}

against_selftest() {
	local ours theirs=/dev/ublkb
	heading "Raw extents: against the kernel's selftest server (loop target, automatic zero copy), one queue, depth 16" \
		ublk-img kublk
	[ -f "$work/zero.img" ] || raw_image zero.img
	dd if=/dev/urandom of="$work/plain" bs=1M count="$mib" oflag=direct status=none
	ours=$("$ublk_img" attach --queues=1 "$work/zero.img")
	"$kublk" add -t loop -q 1 -d 128 --auto_zc "$work/plain" >"$work/kublk.out"
	theirs+=$(sed -n 's/^dev id \([0-9]*\):.*/\1/p' "$work/kublk.out")
	compare "read, random, 4k" "$ours" "$theirs" randread 4k 16
	compare "write in place, random, 4k" "$ours" "$theirs" randwrite 4k 16
	compare "read, sequential, 512k" "$ours" "$theirs" read 512k 16
	compare "write in place, sequential, 512k" "$ours" "$theirs" write 512k 16
	"$ublk_img" detach "$ours" >/dev/null
	"$kublk" del -a
}

# Content that compresses: files of this machine.
make_content() {
	find /usr/bin /usr/lib -type f -size +64k -print0 2>/dev/null | sort -z |
		xargs -0 cat 2>/dev/null | head -c "${mib}M" >"$work/content" || true
	truncate -s "${mib}M" "$work/content"
}

zstd_against_nbd() {
	local ours
	heading "zstd, one queue: against qemu-nbd on a qcow2 compressed with zstd, and the kernel's nbd" \
		ublk-img qemu-nbd
	make_content
	"$ublk_img" convert --quiet --zstd "$work/content" "$work/zstd.img"
	qemu-img convert -c -O qcow2 -o compression_type=zstd -f raw "$work/content" "$work/zstd.qcow2"
	rm "$work/content"
	ours=$("$ublk_img" attach --queues=1 "$work/zstd.img")
	start_nbd "$work/zstd.qcow2"
	compare "read, random, 4k, depth 16" "$ours" $nbd randread 4k 16
	compare "read, sequential, 128k, depth 16" "$ours" $nbd read 128k 16
	compare "read, sequential, 128k, depth 1" "$ours" $nbd read 128k 1
	stop_nbd
	"$ublk_img" detach "$ours" >/dev/null
}

# Each block is written once, so every round needs new images.
fresh_against_nbd() {
	local ours i once=(--time_based=0 --runtime=0 --size="$((mib / 4))M" --norandommap=0)
	heading "First writes, 4 KiB, random, depth 16, one queue: against qemu-nbd on a new qcow2" \
		ublk-img qemu-nbd
	: >"$work/a"
	: >"$work/b"
	for ((i = 0; i < rounds; i++)); do
		"$ublk_img" create "$work/fresh.img" 64G >/dev/null
		ours=$("$ublk_img" attach --queues=1 "$work/fresh.img")
		run "$ours" randwrite 4k 16 "${once[@]}" >>"$work/a"
		"$ublk_img" detach "$ours" >/dev/null
		qemu-img create -q -f qcow2 "$work/fresh.qcow2" 64G
		start_nbd "$work/fresh.qcow2"
		run $nbd randwrite 4k 16 "${once[@]}" >>"$work/b"
		stop_nbd
		rm "$work/fresh.img" "$work/fresh.qcow2"
	done
	report "write, random, 4k" "$work/a" "$work/b"
}

echo "machine: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) processors," \
	"Linux $(uname -r), $(df --output=fstype "$work" | tail -n 1), $(fio --version)," \
	"$(qemu-img --version | head -1); $mib MiB, medians of $rounds rounds of $seconds s"
zero_copy_against_copy
if [ -n "$kublk" ]; then
	against_selftest
else
	echo "no KUBLK given: the selftest server is left out"
fi
if have_nbd; then
	zstd_against_nbd
	fresh_against_nbd
else
	echo "no qemu-nbd, nbd-client or $nbd: left out"
fi
