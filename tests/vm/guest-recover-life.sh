# SPDX-License-Identifier: MIT
# What becomes of a device whose bridge has died: who may use its image, who takes it back, and how
# it is removed when nobody can.
# Kernels: 7.3 6.18 6.12
. "$TEST_ENV"
. "$top_srcdir/tests/vm/attach-lib.sh"
. "$top_srcdir/tests/vm/recover-lib.sh"
validate=$top_builddir/tests/cli/validate-json
schemas=$top_srcdir/docs/schema

dd if=/dev/urandom of=noise bs=1M count=4 status=none
mkdir mnt
make_image a.ublk empty-zstd

echo "--- refusals, and a mounted file system"
attach a.ublk --name=data
mkfs.ext4 -q "$device"
mount "$device" mnt
cp -a /usr/include/linux mnt/
kill_bridge
spawn cp -a /usr/include/linux mnt/again
[ "$(state_of "$device")" = "awaiting recovery" ] || fail "$(ublk-img list)"
ublk-img list --json >list.json
"$validate" "$schemas/list.json" <list.json
ublk-img list | grep -q "^$device .*awaiting recovery" || fail "$(ublk-img list)"
for command in "attach a.ublk" "detach a.ublk" "detach data" "detach --all" "snapshot create a.ublk s" \
	"resize a.ublk +1G" "mount a.ublk mnt" "check a.ublk" "convert a.ublk copy.raw" "info a.ublk" "upgrade data"; do
	# shellcheck disable=SC2086 # words
	expect_status 1 timeout 60 ublk-img $command 2>err
	grep -q "ublk-img recover $device" err || fail "$command: $(cat err)"
done
timeout 100 ublk-img recover --json data >json
"$validate" "$schemas/recover.json" <json
[ "$(jq -r '.devices[]' json)" = "$device" ]
bridge=$(pid_of "$device")
join
sync -f mnt
diff -r /usr/include/linux mnt/again
# One that lives needs no recovery.
expect_status 1 ublk-img recover data 2>err
grep -q "is served by the bridge with pid $bridge" err || fail "$(cat err)"
umount mnt
fsck.ext4 -fn "$device"
detach data
ublk-img check --data a.ublk

echo "--- a supervisor"
attach a.ublk --restart
supervisor=$(ps -o ppid= -p "$bridge" | tr -d ' ')
[ "$(cat "/proc/$supervisor/comm")" = ublk-supervisor ]
load_begin a --rw=randwrite --bsrange=4k-64k --iodepth=8 --size=4M
# served_again OLD: another process serves the device; fails when the supervisor has given up.
served_again() {
	local i
	for i in {1..600}; do
		bridge=$(pid_of "$device")
		case $bridge in
		"$1" | '' | 0) [ -d "/proc/$supervisor" ] || return 1 ;;
		*) return 0 ;;
		esac
		sleep 0.1
	done
	fail "nobody serves $device after $i tries"
}
start=$SECONDS
for deaths in {1..6}; do
	sleep 0.3
	kill_bridge
	served_again "$bridge" || break
done
if [ -d "/proc/$supervisor" ]; then
	# On a slow machine they were not within a minute.
	[ $((SECONDS - start)) -ge 60 ] || fail "started again after $deaths deaths"
else
	[ "$deaths" = 6 ] || fail "given up after $deaths deaths"
	grep -q "has died 6 times within 60 seconds and is not started again" log || fail "$(cat log)"
	recover
fi
load_end
# Its successor is supervised as well; a clean end is the end of both.
supervisor=$(ps -o ppid= -p "$bridge" | tr -d ' ')
[ "$(cat "/proc/$supervisor/comm")" = ublk-supervisor ]
detach "$device"
wait_ended "$supervisor"

echo "--- in the foreground, under a service manager"
foreground() {
	rm -f out
	spawn ublk-img attach --foreground --restart --queues=2 a.ublk >out 2>>foreground.log
	for i in {1..300}; do
		[ ! -s out ] || break
		sleep 0.1
	done
	device=$(cat out)
	bridge=$spawned_pid
}
foreground
first=$device
dd if=noise of="$device" bs=1M oflag=direct status=none
kill_bridge
wait "$bridge" || true
# shellcheck disable=SC2034 # of env.sh
spawned=()
foreground
[ "$device" = "$first" ] || fail "$device instead of $first"
cmp -n 4M noise "$device"
kill -TERM "$bridge"
join

echo "--- what is cached is written when the bridge is told to end"
for how in TERM force; do
	attach a.ublk
	sfdisk -q "$device" <<<$'start=2048, size=200000\nstart=204800'
	part=${device}p
	for i in {1..50}; do
		[ ! -b "${part}2" ] || break
		sleep 0.1
	done
	mkfs.ext4 -q "${part}1"
	mount "${part}1" mnt
	exec 9<>"${part}2"
	dd if=noise of=mnt/file bs=1M status=none
	dd if=noise of=/dev/fd/9 bs=1M status=none
	if [ "$how" = TERM ]; then
		kill -TERM "$bridge"
	else
		detach --force "$device"
	fi
	wait_ended "$bridge"
	exec 9<&-
	umount mnt
	attach a.ublk
	for i in {1..50}; do
		[ ! -b "${part}2" ] || break
		sleep 0.1
	done
	mount "${part}1" mnt
	cmp noise mnt/file
	cmp -n 4M noise "${part}2"
	umount mnt
	wipefs -q -a "$device"
	detach "$device"
done

echo "--- removed by force"
attach a.ublk
mkfs.ext4 -q "$device"
mount "$device" mnt
echo text >mnt/file
sync -f mnt
dd if=noise of=mnt/new bs=1M oflag=direct status=none
kill_bridge
spawn expect_status 1 timeout 200 dd if=noise of=mnt/more bs=1M conv=fsync status=none 2>/dev/null
expect_status 1 ublk-img detach "$device" 2>err
grep -q -- "--force removes it" err || fail "$(cat err)"
timeout 170 ublk-img detach --force "$device" 2>err # the sum of its bounds
grep -q "$device is removed; [0-9]* changes that it had acknowledged" err || fail "$(cat err)"
join
timeout 100 umount mnt
[ ! -e "$device" ] || fail "$device is still there"
[ -z "$(find run -type f)" ] || fail "$(find run)"
ublk-img check --data a.ublk
attach a.ublk
mount "$device" mnt
[ "$(cat mnt/file)" = text ]
umount mnt
detach "$device"

echo "--- volatile journals that are refused"
# refuse REASON: the device is not recovered, goes on waiting, and can be removed.
refuse() {
	expect_status 1 timeout 100 ublk-img recover "$device" 2>err
	grep -q -- "$1" err || fail "$1: $(cat err)"
	grep -q "$device still awaits recovery" err || fail "$(cat err)"
	[ "$(state_of "$device")" = "awaiting recovery" ] || fail "$(ublk-img list)"
	timeout 170 ublk-img detach --force "$device" 2>err
	[ -z "$(find run -type f)" ] || fail "$(find run)"
	ublk-img check --data a.ublk
}
begin() {
	attach a.ublk
	dd if=noise of="$device" bs=1M oflag=direct status=none iseek=$((RANDOM % 3))
	kill_bridge
	wait_ended "$bridge"
	journal=$(find run -name '*.vj')
}
begin
printf '\001' | dd of="$journal" bs=1 oseek=136 conv=notrunc status=none
refuse "had stopped after a failed write"
begin
rm "$journal"
refuse "there is no volatile journal"
begin
printf '\001' | dd of="$journal" bs=1 oseek=40 conv=notrunc status=none
refuse "cannot be used"
begin
truncate -s 1M "$journal"
refuse "truncated"
begin
UBLK_IMG_RUNTIME_DIR=$PWD/other ublk-img snapshot create a.ublk elsewhere
refuse "was opened for writing since"

echo "--- read-only"
for how in same changed replaced; do
	rm -f b.ublk
	ublk-img convert noise b.ublk
	attach b.ublk --read-only
	[ -z "$(find run -name '*.vj')" ] || fail "$(find run)"
	cmp -n 4M "$device" noise
	kill_bridge
	if [ "$how" = same ]; then
		recover
		cmp -n 4M "$device" noise
		[ "$(blockdev --getro "$device")" = 1 ]
		detach "$device"
	else
		case $how in
		changed) touch b.ublk ;;
		replaced) cp -p b.ublk b.copy && mv b.copy b.ublk ;;
		esac
		expect_status 1 ublk-img recover "$device" 2>err
		grep -q "b.ublk has been changed or replaced since" err || fail "$(cat err)"
		ublk-img detach --force "$device"
	fi
done

echo "--- without recovery"
attach a.ublk --recovery=off 2>/dev/null
[ "$(ublk-img list --json | jq -r '.devices[] | "\(.recovery) \(.recovery_reason)"')" = "false --recovery=off" ] ||
	fail "$(ublk-img list --json)"
expect_status 1 ublk-img upgrade "$device" 2>err
grep -q "was attached without recovery" err || fail "$(cat err)"
kill_bridge
wait_ended "$bridge"
[ -z "$(ublk-img list)" ] || fail "$(ublk-img list)"
# No space for a volatile journal.
mkdir small
mount -t tmpfs -o size=1M,mode=0755 none small
export UBLK_IMG_RUNTIME_DIR=$PWD/small
expect_status 1 ublk-img attach --recovery=require a.ublk 2>err
grep -q "that can be recovered is not possible" err || fail "$(cat err)"
attach a.ublk 2>err
grep -q "cannot be recovered" err || fail "$(cat err)"
[ "$(ublk-img list --json | jq -r '.devices[].recovery')" = false ]
detach "$device"
umount small
export UBLK_IMG_RUNTIME_DIR=$PWD/run

echo "--- nothing is recorded any more"
attach a.ublk
kill_bridge
rm -r run
expect_status 1 ublk-img detach "$device" 2>err
grep -q "no such device" err || fail "$(cat err)"
timeout 60 ublk-img detach --force "$device" 2>err
grep -q "is removed; what its bridge had recorded" err || fail "$(cat err)"
[ ! -e "/sys/block/${device#/dev/}" ] || fail "$device is still there"
# Nobody takes away what is served.
attach a.ublk
mv run elsewhere
expect_status 1 timeout 60 ublk-img detach --force "$device" 2>err
grep -q "no such device" err || fail "$(cat err)"
mv elsewhere run
detach "$device"

echo "--- all at once"
for i in 1 2 3; do
	ublk-img create "c$i.ublk" 256M
	attach "c$i.ublk" "--name=name$i" --queues=1
	kill_bridge
done
[ "$(ublk-img list --json | jq '[.devices[] | select(.state == "awaiting recovery")] | length')" = 3 ]
[ "$(timeout 100 ublk-img recover --all | wc -l)" = 3 ]
[ "$(ublk-img list --json | jq '[.devices[] | select(.state == "attached")] | length')" = 3 ]
expect_status 1 ublk-img attach --name=name1 a.ublk 2>err
grep -q 'is taken by another device' err || fail "$(cat err)"
detach --all
[ -z "$(find run -type f)" ] || fail "$(find run)"
