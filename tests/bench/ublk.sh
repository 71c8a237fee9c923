#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The block device against others that show the same bytes, on a kernel with ublk, as root:
#
#	tests/bench/ublk.sh [-d DIR] [-n ROUNDS] [-s SECONDS] [-m MIB] [-k KUBLK] [BUILD]
#
#   * zero copy against --mode=copy, on the same image; and once more on storage that moves data by
#     itself, as a disk does by DMA: a file system in memory whose blocks with the image's data are
#     on a null device (null_blk, with configfs), so that copies by the processor are the bridge's
#   * the loop target of the kernel's selftest server (KUBLK, built by hand from the kernel's
#     sources), with automatic zero copy, on a copy of the same file
#   * qemu-nbd and the kernel's nbd, on a qcow2 with the same content and compression
#
# BUILD is the build tree (default: build/ beside tests/).  DIR (default: TMPDIR) holds the images.
# Each side has a queue for each processor.  In each round both sides run in turn, SECONDS each.
# Printed are the tables of docs/performance.md: the median of either side, and of the ratios of the
# rounds their median and quartiles.  SECTIONS in the environment
# chooses among "zero dma selftest zstd fresh".  Peers that are not there are left out, which is said.
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
	! mountpoint -q "$work/dma" || umount "$work/dma"
	dmsetup remove ublk-img-bench >/dev/null 2>&1 || true
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

# quantile FRACTION
quantile() {
	sort -g | awk -v q="$1" '{ a[NR] = $1 } END { i = 1 + q * (NR - 1); j = int(i); print a[j] + (i - j) * (a[j < NR ? j + 1 : j] - a[j]) }'
}

# report WHAT OURS THEIRS: a row from the two files of figures, a line for each round.
report() {
	paste "$2" "$3" | awk '{ print $2 ? $1 / $2 : 0 }' >"$work/ratios"
	printf '| %s | %.0f | %.0f | %.2f (%.2f to %.2f) |\n' "$1" "$(quantile 0.5 <"$2")" \
		"$(quantile 0.5 <"$3")" "$(quantile 0.5 <"$work/ratios")" \
		"$(quantile 0.25 <"$work/ratios")" "$(quantile 0.75 <"$work/ratios")"
}

# compare WHAT A B RW BS DEPTH: devices A and B in turn, each first in every other round.
compare() {
	local what=$1 a=$2 b=$3 i
	shift 3
	: >"$work/a"
	: >"$work/b"
	for ((i = 0; i < rounds; i++)); do
		if ((i % 2)); then
			run "$b" "$@" >>"$work/b"
			run "$a" "$@" >>"$work/a"
		else
			run "$a" "$@" >>"$work/a"
			run "$b" "$@" >>"$work/b"
		fi
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

# raw_image FILE: an image whose disk is random bytes; for two that are alike, copy it.
raw_image() {
	head -c "${mib}M" /dev/urandom >"$work/random"
	"$ublk_img" convert --quiet "$work/random" "$1"
	rm "$work/random"
}

zero_against_copy() {
	local zero copy bs
	raw_image "$1/zero.img"
	cp --sparse=never "$1/zero.img" "$1/copy.img"
	[ "$1" != "$work/dma" ] || data_to_null_device "$1/zero.img" "$1/copy.img"
	zero=$("$ublk_img" attach "$1/zero.img")
	copy=$("$ublk_img" attach --mode=copy "$1/copy.img")
	for bs in 4k 64k 256k 512k 1M; do
		compare "read, sequential, $bs" "$zero" "$copy" read $bs 16
		compare "write in place, sequential, $bs" "$zero" "$copy" write $bs 16
	done
	"$ublk_img" detach "$copy" >/dev/null
	"$ublk_img" detach "$zero" >/dev/null
	rm "$1/zero.img" "$1/copy.img"
}

zero_copy_against_copy() {
	heading "Raw extents: zero copy against \`--mode=copy\`, depth 16" zero-copy copy
	zero_against_copy "$work"
}

# null_device NAME MEMORY_BACKED: its path is in $null.
null_device() {
	local at=/sys/kernel/config/nullb/$1
	mkdir "$at"
	echo $((3 * mib)) >"$at/size"
	echo "$2" >"$at/memory_backed"
	echo 512 >"$at/blocksize"
	echo 0 >"$at/irqmode"
	echo 1 >"$at/power"
	null=/dev/$1
	[ -b "$null" ] || null=/dev/nullb$(cat "$at/index")
}

have_null_devices() {
	mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config 2>/dev/null
	[ -d /sys/kernel/config/nullb ] && command -v dmsetup filefrag >/dev/null
}

# data_to_null_device IMAGE...: the blocks with their data are from now on those of the null device.
data_to_null_device() {
	local image
	sync
	for image; do
		"$ublk_img" map --json "$image" |
			jq -r '.extents[] | select(.kind == "raw") | "\(.file_offset) \(.length)"' >"$work/raw"
		filefrag -b4096 -e "$image" | tr -d '.:' | awk '$1 ~ /^[0-9]+$/ { print $2, $4, $6 }' >"$work/frags"
		# Where an extent of the file and a raw one of the image overlap.
		awk 'NR == FNR { from[NR] = $1 / 4096; to[NR] = ($1 + $2) / 4096; n = NR; next }
			{ for (i = 1; i <= n; i++) {
				a = from[i] > $1 ? from[i] : $1; b = to[i] < $1 + $3 ? to[i] : $1 + $3
				if (a < b) print ($2 + a - $1) * 8, (b - a) * 8
			} }' "$work/raw" "$work/frags"
	done | sort -n >"$work/data"
	umount "$work/dma"
	awk -v size="$(blockdev --getsz "$memory")" -v memory="$memory" -v null="$nothing" '
		BEGIN { at = 0 }
		function part(from, to, on) { if (from < to) print from, to - from, "linear", on, from }
		{ part(at, $1, memory); part($1, $1 + $2, null); at = $1 + $2 }
		END { part(at, size, memory) }' "$work/data" >"$work/table"
	dmsetup remove ublk-img-bench
	dmsetup create ublk-img-bench <"$work/table"
	mount "$dma" "$work/dma"
}

zero_copy_against_copy_by_dma() {
	local null memory nothing dma=/dev/mapper/ublk-img-bench
	if ! have_null_devices; then
		echo "no null_blk with configfs, or no dmsetup or filefrag: left out"
		return
	fi
	heading "The same where the storage moves the data itself" zero-copy copy
	null_device ublk-img-bench-memory 1
	memory=$null
	null_device ublk-img-bench-null 0
	nothing=$null
	dmsetup create ublk-img-bench --table "0 $(blockdev --getsz "$memory") linear $memory 0"
	dmsetup mknodes
	mkfs.ext4 -q "$dma"
	mkdir "$work/dma"
	mount "$dma" "$work/dma"
	zero_against_copy "$work/dma"
	umount "$work/dma"
	dmsetup remove ublk-img-bench
	rmdir /sys/kernel/config/nullb/ublk-img-bench-{memory,null}
}

against_selftest() {
	local ours theirs=/dev/ublkb
	heading "Raw extents: against the kernel's selftest server (loop target, automatic zero copy), depth 16" \
		ublk-img kublk
	raw_image "$work/ours.img"
	cp --sparse=never "$work/ours.img" "$work/theirs"
	# Direct I/O to what is in the page cache as well is another, slower thing.
	sync
	echo 3 >/proc/sys/vm/drop_caches
	ours=$("$ublk_img" attach "$work/ours.img")
	"$kublk" add -t loop -q "$(nproc)" -d 128 --auto_zc "$work/theirs" >"$work/kublk.out"
	theirs+=$(sed -n 's/^dev id \([0-9]*\):.*/\1/p' "$work/kublk.out")
	compare "read, random, 4k" "$ours" "$theirs" randread 4k 16
	compare "write in place, random, 4k" "$ours" "$theirs" randwrite 4k 16
	compare "read, sequential, 512k" "$ours" "$theirs" read 512k 16
	compare "write in place, sequential, 512k" "$ours" "$theirs" write 512k 16
	"$ublk_img" detach "$ours" >/dev/null
	"$kublk" del -a
	rm "$work/ours.img" "$work/theirs"
}

# Content that compresses: files of this machine.
make_content() {
	find /usr/bin /usr/lib -type f -size +64k -print0 2>/dev/null | sort -z |
		xargs -0 cat 2>/dev/null | head -c "${mib}M" >"$work/content" || true
	truncate -s "${mib}M" "$work/content"
}

zstd_against_nbd() {
	local ours
	heading "zstd: against qemu-nbd on a qcow2 compressed with zstd, and the kernel's nbd" \
		ublk-img qemu-nbd
	make_content
	"$ublk_img" convert --quiet --zstd "$work/content" "$work/zstd.img"
	qemu-img convert -c -O qcow2 -o compression_type=zstd -f raw "$work/content" "$work/zstd.qcow2"
	rm "$work/content"
	ours=$("$ublk_img" attach "$work/zstd.img")
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
	heading "First writes, 4 KiB, random, depth 16: against qemu-nbd on a new qcow2" \
		ublk-img qemu-nbd
	: >"$work/a"
	: >"$work/b"
	for ((i = 0; i < rounds; i++)); do
		"$ublk_img" create "$work/fresh.img" 64G >/dev/null
		ours=$("$ublk_img" attach "$work/fresh.img")
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
sections=${SECTIONS:-zero dma selftest zstd fresh}
[[ $sections != *zero* ]] || zero_copy_against_copy
[[ $sections != *dma* ]] || zero_copy_against_copy_by_dma
if [[ $sections != *selftest* ]]; then
	:
elif [ -n "$kublk" ]; then
	against_selftest
else
	echo "no KUBLK given: the selftest server is left out"
fi
if have_nbd; then
	[[ $sections != *zstd* ]] || zstd_against_nbd
	[[ $sections != *fresh* ]] || fresh_against_nbd
else
	echo "no qemu-nbd, nbd-client or $nbd: left out"
fi
