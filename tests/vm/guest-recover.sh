# SPDX-License-Identifier: MIT
# A bridge that is killed at any time, and another one that takes its device back: no error, and
# nothing that was acknowledged is lost, flushed or not.
# Kernels: 7.3 6.18 6.12
. "$TEST_ENV"
. "$top_srcdir/tests/vm/attach-lib.sh"
. "$top_srcdir/tests/vm/recover-lib.sh"

# On three emulated kernels it is 60 in all.
# shellcheck disable=SC2086 # a list
set -- $modes
rounds=$(((effort == 1 ? 20 : 52) / $#))
total=0
dd if=/dev/urandom of=noise bs=1M count=8 status=none

for mode in $modes; do
	kind=empty-raw
	[ $((total % 4)) = 0 ] || kind=empty-zstd
	echo "--- $mode, $kind: $rounds deaths under load"
	rm -f a.ublk
	make_image a.ublk "$kind"
	attach a.ublk "--mode=$mode" --queues=2
	load_begin a --rw=randwrite --bsrange=4k-256k --iodepth=16 --size=6M
	load_begin b --rw=randwrite --bsrange=512-16k --blockalign=512 --iodepth=4 --offset=64M --size=2M
	for ((round = 0; round < rounds; round++)); do
		sleep "0.$((RANDOM % 4))$((RANDOM % 10))"
		kill_bridge
		recover
		total=$((total + 1))
	done
	load_end
	echo "turns: $(cat turns-* | tr '\n' ' ')"
	detach "$device"
	ublk-img check --data a.ublk
done
echo "$total deaths"

# All that is written is in the first 64 MiB.
same_start() {
	cmp <(dd if="$device" bs=1M count=64 iflag=direct status=none) <(head -c 64M plain) ||
		fail "$device differs from what was written"
}
for mode in $modes; do
	echo "--- $mode: acknowledged, never flushed"
	rm -f a.ublk plain
	make_image a.ublk empty-zstd
	truncate -s 256M plain
	attach a.ublk "--mode=$mode" --queues=2
	for round in 1 2 3; do
		for target in "$device" plain; do
			dd if=noise of="$target" bs=64k seek=$((round * 150)) conv=notrunc oflag=direct status=none
			dd if=noise of="$target" bs=512 seek=$((round * 40001)) count=777 conv=notrunc \
				oflag=direct status=none
		done
		# Discarded, and written with zeros.
		blkdiscard -o $((round * 150 * 65536)) -l 1M "$device"
		blkdiscard -z -o $((round * 150 * 65536 + (2 << 20))) -l 1M "$device"
		for at in 0 2; do
			dd if=/dev/zero of=plain bs=1M count=1 oseek=$((round * 150 * 65536 + (at << 20)))B \
				conv=notrunc status=none
		done
		kill_bridge
		recover
		same_start
	done
	# It is durable as well, now that it was recovered.
	detach "$device"
	attach a.ublk --read-only
	same_bytes plain
	detach "$device"
	ublk-img check --data a.ublk
done
mode=$best

echo "--- while snapshots are deleted"
rm -f a.ublk
make_image a.ublk empty-raw
attach a.ublk --name=data
for i in 1 2 3; do
	dd if=noise of="$device" bs=64k oseek=$((i * 7)) oflag=direct status=none
	ublk-img snapshot create data "s$i"
done
sum=$(head -c 16M "$device" | sha256sum)
for i in 2 1 3; do
	ublk-img snapshot delete data "s$i"
	kill_bridge
	recover
	[ "$(head -c 16M "$device" | sha256sum)" = "$sum" ] || fail "the disk has changed"
done
for i in {1..100}; do
	[ -n "$(ublk-img snapshot list --json data | jq -r '.snapshots[]')" ] || break
	sleep 0.1
done
detach data
ublk-img check --data a.ublk
[ "$(ublk-img info --json a.ublk | jq .snapshots)" = 0 ] || fail "$(ublk-img info --json a.ublk)"

echo "--- while it recovers"
attach a.ublk
load_begin a --rw=randwrite --bsrange=4k-64k --iodepth=8 --size=4M
for i in {1..8}; do
	sleep 0.2
	kill_bridge
	spawn ublk-img recover -q "$device" >/dev/null 2>&1
	recovery=$spawned_pid
	unset "spawned[-1]"
	sleep "0.0$((i * 12))"
	# Whichever process has begun to.
	pkill -9 -x -P "$recovery" ublk-bridge || true
	wait "$recovery" || true
	if [ "$(state_of "$device")" = attached ]; then
		# shellcheck disable=SC2034 # for kill_bridge
		bridge=$(pid_of "$device")
	else
		recover
	fi
done
load_end
detach "$device"
ublk-img check --data a.ublk
[ -z "$(find run -type f)" ] || fail "$(find run)"
