# SPDX-License-Identifier: MIT
# What fio writes to a loop device it reads back: sizes from a sector to a megabyte, random and
# sequential, direct and buffered, one and many at a time, on raw and compressed images.
. "$TEST_ENV"
. "$top_srcdir/tests/loop/loop-lib.sh"
require fio --version

for kind in raw zstd; do
	options=()
	[ "$kind" = raw ] || options=(--zstd=1)
	rm -f a.ublk
	ublk-img create "${options[@]}" a.ublk 96M
	start_device server a.ublk
	while read -r name rest; do
		echo "$kind: $name $rest"
		# shellcheck disable=SC2086
		fio --name="$name" --filename="$device" --verify=crc32c --verify_fatal=1 \
			--buffer_compress_percentage=50 --refill_buffers --do_verify=1 --minimal $rest \
			>fio.out 2>&1 || fail "$(tail -n 5 fio.out)"
	done <<'END'
random --rw=randwrite --bsrange=512-128k --bs_unaligned=0 --size=48M --direct=1 --ioengine=libaio --iodepth=16
single --rw=randwrite --bs=4k --size=8M --direct=1 --ioengine=psync
large --rw=write --bs=1M --size=96M --direct=1 --ioengine=libaio --iodepth=64
buffered --rw=randwrite --bsrange=512-64k --size=32M --direct=0 --ioengine=psync --end_fsync=1
mixed --rw=randrw --bs=8k --size=16M --direct=1 --ioengine=libaio --iodepth=32
END
	stop_device server
	ublk-img check --data a.ublk >/dev/null
done
