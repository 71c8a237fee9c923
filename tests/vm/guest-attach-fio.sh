# SPDX-License-Identifier: MIT
# What fio writes is what it reads, in every mode: requests of 512 bytes to 1 MiB, random and
# sequential, direct and through the page cache, one at a time and many, on images whose data is
# raw, compressed and both.
# Kernels: 7.3 6.18 6.12
. "$TEST_ENV"
. "$top_srcdir/tests/vm/attach-lib.sh"

size=$((effort < 4 ? 6 * effort : 24))M
# verify NAME OPTION...: writes a part of the device, then reads it and compares.
verify() {
	local name=$1
	shift
	fio --name="$name" --filename="$device" --size="$size" --verify=crc32c --verify_fatal=1 \
		--ioengine=libaio --randseed=7 --buffer_compress_percentage=60 --refill_buffers \
		--output-format=terse "$@" >fio.out 2>&1 || fail "$mode $kind $name: $(cat fio.out)"
}

for mode in $modes; do
	for kind in empty-raw raw zstd mixed; do
		echo "--- $mode, $kind"
		rm -f a.ublk
		make_image a.ublk "$kind"
		attach a.ublk "--mode=$mode"
		# Where nothing was written before, and where something was.
		verify random --rw=randwrite --bsrange=512-1M --blockalign=512 --iodepth=16 --direct=1
		verify single --rw=randwrite --bsrange=512-64k --iodepth=1 --direct=1 --offset=24M
		verify deep --rw=randwrite --bs=4k --iodepth=64 --direct=1 --offset=48M
		verify sequential --rw=write --bs=1M --iodepth=4 --direct=1 --offset=72M
		verify buffered --rw=randwrite --bsrange=512-128k --direct=0 --offset=96M --end_fsync=1
		detach "$device"
		ublk-img check --data a.ublk

		# It is in the image, in another mode as well; what fio left alone is as it was.
		attach a.ublk --read-only --mode=copy
		for part in "deep 48M 4k" "sequential 72M 1M"; do
			read -r name offset bs <<<"$part"
			rw=$([ "$name" = deep ] && echo randread || echo read)
			verify "$name" "--rw=$rw" "--bs=$bs" "--offset=$offset" --direct=1 \
				--iodepth=8 --verify_only
		done
		[ ! -e a.ublk.raw ] || cmp -i 120M "$device" a.ublk.raw
		detach "$device"
	done
done
