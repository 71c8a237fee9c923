# SPDX-License-Identifier: MIT
# A device that is handed from one bridge to the next under load: nobody notices.
# Kernels: 7.3 6.18 6.12
. "$TEST_ENV"
. "$top_srcdir/tests/vm/attach-lib.sh"
. "$top_srcdir/tests/vm/recover-lib.sh"

upgrade() {
	local old=$bridge
	timeout 200 ublk-img upgrade "$@" "$device"
	bridge=$(pid_of "$device")
	if [ "$bridge" = "$old" ] || [ -z "$bridge" ]; then
		fail "the bridge is the same: $(ublk-img list)"
	fi
	# The old one, but where a supervisor has it, is gone.
	[ ! -e "/proc/$old" ] || wait_ended "$old"
}

# Each by a process of its own, so that there are always new requests.
late_writes() {
	local i
	for i in {1..60}; do
		dd if=pattern of="$device" bs=4k count=1 skip="$i" seek=$((24576 + i)) \
			conv=notrunc oflag=direct status=none &
		sleep 0.02
	done
	wait
}

# The new bridge dies when its queues are ready: kernels have given it requests, which it has done.
half_upgrade() {
	late_writes &
	late=$!
	expect_status 1 env UBLK_IMG_FAULTS=end_recovery timeout 200 ublk-img upgrade "$device" 2>err
	grep -q 'still awaits recovery' err || fail "$(cat err)"
	# Nobody else opens the image meanwhile.
	expect_status 1 ublk-img resize a.ublk +1M
	recover
	wait "$late"
	cmp -n $((60 * 4096)) -i 4096:$((24577 << 12)) pattern "$device"
}

mkdir mnt view
head -c 256K /dev/urandom >pattern
for mode in $modes; do
	echo "--- $mode"
	rm -f a.ublk
	make_image a.ublk empty-zstd
	attach a.ublk "--mode=$mode" --queues=2 --depth=32
	load_begin a --rw=randwrite --bsrange=4k-256k --iodepth=32 --size=8M
	load_begin b --rw=randwrite --bsrange=512-16k --blockalign=512 --iodepth=4 --offset=64M --size=2M
	for _ in 1 2 3; do
		sleep 0.5
		upgrade
	done
	[ "$(ublk-img info --json a.ublk | jq -r '.attached | "\(.mode) \(.queues) \(.depth)"')" = "$mode 2 32" ] ||
		fail "$(ublk-img info --json a.ublk)"
	half_upgrade
	# The one after that dies.
	sleep 0.2
	kill_bridge
	recover
	load_end
	detach "$device"
	ublk-img check --data a.ublk
done

# dies POINT COMMAND...: the command starts a bridge that is killed there.
dies() {
	local point=$1
	shift
	expect_status 1 env "UBLK_IMG_FAULTS=$point:1:kill" timeout 200 "$@" 2>err
	[ "$(state_of "$device")" = "awaiting recovery" ] || fail "$point: $(ublk-img list; cat err)"
	# Nobody else opens the image meanwhile.
	expect_status 1 ublk-img resize a.ublk +1M
}
# survives: nothing is lost that was written meanwhile.
survives() {
	wait "$late"
	cmp -n $((60 * 4096)) -i 4096:$((24577 << 12)) pattern "$device"
	detach "$device"
	ublk-img check --data a.ublk
}

# Where queues cannot be stopped, the old bridge leaves nothing but what the next one replays.
drains=true
case $(uname -r) in 6.12.*) drains=false ;; esac
for point in hand_over_drained hand_over_closed; do
	echo "--- the old bridge is killed: $point"
	$drains || continue
	UBLK_IMG_FAULTS=$point:1:kill attach a.ublk --queues=2
	late_writes &
	late=$!
	upgrade 2>err
	grep -q 'its bridge has died instead' err || fail "$(cat err)"
	survives
done
# Perhaps with tags of one queue fetched and not of the other, which 6.18 does not get over.
fetched=fetched
case $(uname -r) in 6.18.*) fetched='' ;; esac
for point in take_back_claimed take_back_opened take_back_journal $fetched end_recovery; do
	echo "--- the new bridge is killed: $point"
	attach a.ublk --queues=2
	late_writes &
	late=$!
	dies "$point" ublk-img upgrade "$device"
	dies "$point" ublk-img recover "$device"
	recover
	survives
done
# As when another version of the program had been the old bridge.
for point in take_back_changes take_back_opened take_back_journal $fetched end_recovery; do
	echo "--- there is no journal, and the new bridge is killed: $point"
	$drains || continue
	attach a.ublk --queues=2
	late_writes &
	late=$!
	dies take_back_claimed ublk-img upgrade "$device"
	rm run/*.vj
	dies "$point" ublk-img recover "$device"
	recover
	survives
done

echo "--- a mounted file system, and a mounted view"
rm -f a.ublk
make_image a.ublk empty-zstd
attach a.ublk --name=data
mkfs.ext4 -q "$device"
mount "$device" mnt
spawn cp -a /usr/include/linux mnt/
ublk-img mount data view
expect_status 1 ublk-img upgrade data 2>err
grep -q "views of the image are mounted, on $PWD/view" err || fail "$(cat err)"
upgrade --force 2>err
grep -q "the view on $PWD/view has ended" err || fail "$(cat err)"
join
sync -f mnt
diff -r /usr/include/linux mnt/linux
umount mnt
fsck.ext4 -fn "$device"

detach data

echo "--- under a service manager"
foreground() {
	ublk-img attach --foreground --restart --queues=2 a.ublk 2>>foreground.log
}
# As systemd does with Restart=on-failure.
manager() {
	local status=0
	while foreground >>out || status=$?; do
		[ "$status" != 0 ] || return 0
		status=0
	done
}
rm -f out
spawn manager
for i in {1..300}; do
	[ ! -s out ] || break
	sleep 0.1
done
device=$(head -n 1 out)
bridge=$(pid_of "$device")
load_begin a --rw=randwrite --bsrange=4k-64k --iodepth=8 --size=4M
for _ in 1 2; do
	sleep 0.3
	upgrade
done
touch stop
detach_later() {
	local turn
	for turn in {1..300}; do
		[ -e "turns-a" ] && ! pgrep -x fio >/dev/null && break
		sleep 0.1
	done
	detach "$device"
}
detach_later
join || fail "$(tail -n 5 fio-*.out)"
ublk-img check --data a.ublk

echo "--- supervised"
attach a.ublk --restart
upgrade
supervisor=$(ps -o ppid= -p "$bridge" | tr -d ' ')
[ "$(cat "/proc/$supervisor/comm")" = ublk-supervisor ]
kill_bridge
for i in {1..300}; do
	[ "$(state_of "$device")" != attached ] || [ "$(pid_of "$device")" = "$bridge" ] || break
	sleep 0.1
done
[ "$(pid_of "$device")" != "$bridge" ]
detach "$device"
[ -z "$(find run -type f)" ] || fail "$(find run)"
