# SPDX-License-Identifier: MIT
# A bridge that is killed, of a device without recovery: requests on it fail, nobody hangs, what was
# flushed is in the image, and what is left of the device goes with the next command.
# Kernels: 7.3 6.18 6.12
. "$TEST_ENV"
. "$top_srcdir/tests/vm/attach-lib.sh"

dd if=/dev/urandom of=noise bs=1M count=16 status=none
for mode in $modes; do
	for round in 1 2 3; do
		rm -f a.ublk
		make_image a.ublk empty-zstd
		attach a.ublk "--mode=$mode" --queues=2 --recovery=off
		dd if=noise of="$device" bs=1M oflag=direct conv=fsync status=none
		# Load from all sides, which must come to an end, and notice; what begins too late must not
		# make a file of that name.
		for kind in direct,nonblock dsync; do
			spawn expect_status 1 timeout 60 dd if=/dev/urandom of="$device" bs=64k seek=512 \
				oflag="$kind" conv=nocreat status=none 2>/dev/null
		done
		spawn expect_status 1 timeout 60 bash -c \
			"while dd if=$device of=/dev/null bs=128k count=256 iflag=direct status=none; do :; done; exit 1" \
			2>/dev/null
		sleep "0.$round"
		kill -9 "$bridge"
		join
		wait_ended "$bridge"

		# The image opens, with all that was flushed.
		ublk-img check --data a.ublk
		[ -z "$(ublk-img list)" ] || fail "$(ublk-img list)"
		[ ! -e "/dev/ublkc${device#/dev/ublkb}" ] || fail "the dead device is still there"
		attach a.ublk "--mode=$mode"
		cmp -n 16M "$device" noise || fail "flushed data was lost"
		detach "$device"
	done

	# While it is mounted.
	attach a.ublk "--mode=$mode" --recovery=off
	mkfs.ext4 -q "$device"
	mkdir -p mnt
	mount "$device" mnt
	cp -a /usr/include/linux mnt/
	sync -f mnt
	kill -9 "$bridge"
	wait_ended "$bridge"
	expect_status 1 timeout 60 dd if=noise of=mnt/new bs=1M count=4 conv=fsync status=none 2>/dev/null
	timeout 60 umount mnt
	attach a.ublk "--mode=$mode"
	mount "$device" mnt # replays the file system's journal
	diff -r /usr/include/linux mnt/linux
	umount mnt
	fsck.ext4 -fn "$device"
	detach "$device"
	ublk-img check --data a.ublk
done
