# SPDX-License-Identifier: MIT
# A device in each mode: its limits, its bytes, its life and death.
# Kernels: 7.3 6.18 6.12
. "$TEST_ENV"
. "$top_srcdir/tests/vm/attach-lib.sh"
validate=$top_builddir/tests/cli/validate-json
schemas=$top_srcdir/docs/schema

# The queue limits are what bridge/params.c asks for.
check_limits() {
	local name want
	while read -r name want; do
		[ "$(limit "$name")" = "$want" ] ||
			fail "$1: $name is $(limit "$name") instead of $want"
	done <<-END
		logical_block_size $2
		physical_block_size 4096
		minimum_io_size 4096
		optimal_io_size 65536
		max_hw_sectors_kb 1024
		discard_granularity 4096
		discard_max_hw_bytes 1073741824
		write_zeroes_max_bytes 1073741824
		write_cache write back
		fua 1
	END
	case $1 in
	zero-copy*)
		[ "$(limit max_segments)" = 256 ]
		[ "$(limit max_segment_size)" = 1048576 ]
		;;
	esac
}

mkdir mnt
for mode in $modes; do
	echo "--- $mode"
	rm -f a.ublk
	make_image a.ublk empty-zstd
	attach a.ublk "--mode=$mode" "--name=name-$mode" --queues=2 --depth=32
	check_limits "$mode" 512
	[ "$(blockdev --getsize64 "$device")" = $((256 << 20)) ] || fail "wrong size"
	[ "$(cat /sys/block/"${device#/dev/}"/queue/nr_requests)" -ge 32 ]

	# Who it is.
	ublk-img list --json >list.json
	"$validate" "$schemas/list.json" <list.json
	[ "$(jq -r '.devices[] | [.mode, .name, .read_only, .virtual_size] | join(" ")' list.json)" = \
		"$mode name-$mode false 268435456" ] || fail "$(cat list.json)"
	[ "$(cat /proc/"$bridge"/comm)" = ublk-bridge ]

	ublk-img info --json a.ublk >info.json
	"$validate" "$schemas/info.json" <info.json
	[ "$(jq -r '.attached | [.device, .mode, .queues, .depth] | join(" ")' info.json)" = \
		"$device $mode 2 32" ] || fail "$(cat info.json)"
	ublk-img info a.ublk | grep -q "^state: *attached as $device (pid $bridge, mode $mode)"
	expect_status 1 ublk-img convert a.ublk copy.raw 2>err
	grep -q "a.ublk is attached as $device (pid $bridge), and changes" err
	[ "$(ublk-img map a.ublk | awk 'NR > 1 { end = $1 + $2 } END { print end }')" = $((256 << 20)) ]

	# Written at odd places in all kinds of sizes; then the same from a plain file.
	dd if=/dev/urandom of=noise bs=1M count=8 status=none
	rm -f plain
	truncate -s 256M plain
	while read -r at len; do
		for target in "$device" plain; do
			dd if=noise of="$target" bs=512 skip="$((at % 1000))" seek="$at" count="$len" \
				conv=notrunc,fsync status=none
		done
	done <<-END
		0 1
		1 1
		7 9
		100 1000
		3000 129
		10000 4097
		524287 1
	END
	same_bytes plain

	# A second attach is refused, with the holder's name; a name is given once.
	expect_status 1 ublk-img attach a.ublk 2>err
	grep -q "a.ublk is attached as $device (pid $bridge)" err || fail "$(cat err)"
	make_image b.ublk empty-raw
	expect_status 1 ublk-img attach "--name=name-$mode" b.ublk 2>err
	grep -q 'is taken by another device' err || fail "$(cat err)"
	rm b.ublk

	# While it is mounted it stays.
	mkfs.ext4 -q "$device"
	mount "$device" mnt
	cp -a /usr/include/linux mnt/
	expect_status 1 ublk-img detach "name-$mode" 2>err
	grep -q "$device is in use: mounted on $PWD/mnt" err || fail "$(cat err)"
	umount mnt
	exec 9<"$device"
	expect_status 1 ublk-img detach "$device" 2>err
	grep -q "$device is in use: open in pid $$ (" err || fail "$(cat err)"
	exec 9<&-
	detach --json a.ublk >json
	"$validate" "$schemas/detach.json" <json
	wait_ended "$bridge"
	[ ! -e "$device" ] || fail "$device is still there"
	ublk-img check --data a.ublk
	ublk-img info a.ublk | grep -q '^state: *clean'

	# It is all in the image.
	attach a.ublk --read-only "--mode=$mode"
	[ "$(limit write_cache)" = "write through" ]
	[ "$(blockdev --getro "$device")" = 1 ]
	expect_status 1 dd if=noise of="$device" bs=4k count=1 status=none 2>/dev/null
	fsck.ext4 -fn "$device"
	mount -o ro,noload "$device" mnt
	diff -r /usr/include/linux mnt/linux
	umount mnt
	ublk-img check a.ublk # beside the device: nobody writes
	before=$(sha256sum <a.ublk)
	detach "$device"
	[ "$before" = "$(sha256sum <a.ublk)" ] || fail "a read-only device changed the image"
done

echo "--- memory"
rm -f a.ublk
ublk-img create --zstd a.ublk 1T
kib() {
	sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$bridge/status"
}
# What requests took is given back when none has come for a while.
for mode in $modes; do
	attach a.ublk "--mode=$mode" --queues=2 --depth=64
	for rw in randwrite randread; do
		fio --name=load --filename="$device" --direct=1 --ioengine=io_uring --iodepth=64 --numjobs=2 \
			--bs=1M --rw="$rw" --size=64M --offset_increment=512G --output=fio.log
	done
	busy=$(kib)
	for i in {1..60}; do
		[ "$(kib)" -ge $((48 << 10)) ] || break
		sleep 1
	done
	echo "$mode: busy $busy KiB, idle after $i s $(kib) KiB"
	[ "$i" -lt 60 ] || fail "$(grep -e Rss -e Vm "/proc/$bridge/status")"
	detach a.ublk
done

echo "--- automatic choice"
attach a.ublk
[ "$(ublk-img list --json | jq -r '.devices[0] | .mode + .mode_reason' | cut -d ' ' -f 1)" = "$best" ] ||
	[ "$best" = user-copy ] || fail "$(ublk-img list --json)"
detach --all

echo "--- 4096-byte sectors"
rm -f a.ublk
ublk-img create --sector-size=4096 a.ublk 256M
attach a.ublk
check_limits "$best" 4096
detach "$device"

echo "--- foreground, and signals"
for signal in TERM INT; do
	spawn ublk-img attach --foreground --json a.ublk >json
	for i in {1..100}; do
		[ ! -s json ] || break
		sleep 0.1
	done
	"$validate" "$schemas/attach.json" <json
	device=$(jq -r .device json)
	# What is only cached is written before the device goes.
	dd if=noise of="$device" bs=1M status=none
	kill "-$signal" "$(pid_of "$device")"
	join
	rm json
	ublk-img info a.ublk | grep -q '^state: *clean'
	attach a.ublk
	cmp -n 8M "$device" noise
	detach "$device"
done

echo "--- detach --force of a mounted device"
attach a.ublk
mkfs.ext4 -q "$device"
mount "$device" mnt
detach --force "$device"
wait_ended "$bridge"
umount mnt
ublk-img check a.ublk

# Nothing stays behind.
[ -z "$(find run -name '*.sock' -o -path 'run/names/*')" ] || fail "$(find run)"
