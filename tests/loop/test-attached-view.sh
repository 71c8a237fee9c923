# SPDX-License-Identifier: MIT
# The view of an image that is attached: served by the bridge, follows the device, ends with it, and
# the bridge outlives it.  In mode loop, which every kernel has; nothing of it depends on the mode.
. "$TEST_ENV"
. "$top_srcdir/tests/loop/loop-lib.sh"
require jq --version
require getfattr --version

# says TEXT COMMAND...: the command fails with status 1 and a message that contains the text.
says() {
	expect_status 1 "${@:2}" 2>"$UBLK_IMG_TEST_DIR/err"
	grep -qF -- "$1" "$UBLK_IMG_TEST_DIR/err" || fail "${*:2}: $(cat "$UBLK_IMG_TEST_DIR/err")"
}
# put TEXT AT: a sector of the device, durably.
put() {
	echo "$1" | dd of="$device" bs=512 seek="$2" conv=notrunc,sync,fsync oflag=direct status=none
}
# shows TEXT AT DIR
shows() {
	local got
	got=$(dd if="$3/disk" bs=512 skip="$2" count=1 status=none | head -n 1)
	[ "$got" = "$1" ] || fail "sector $2 of $3/disk is \"$got\", not \"$1\""
}
threads() {
	find "/proc/$bridge/task" -mindepth 1 -maxdepth 1 | wc -l
}

mkdir m n "o p"
ublk-img create --zstd a.ublk 64M
chmod 644 a.ublk
device=$(ublk-img --verbose attach --mode=loop --name=data --log=log a.ublk 2>err) || fail "$(cat err)"
bridge=$(ublk-img list --json | jq '.devices[].pid')
before=$(threads)

# By the image, the device, the name; all show what is on the device, as it is now.
put first 7
ublk-img mount a.ublk m
ublk-img mount "$device" n
ublk-img mount data "o p"
for dir in m n "o p"; do
	shows first 7 "$dir"
	[ "$(stat -c %s "$dir/disk")" = $((64 << 20)) ]
	[ "$(stat -c %a "$dir/disk")" = 444 ] || fail "$(stat -c %a "$dir/disk")"
done
put second 7
put third 100000
for dir in m n "o p"; do
	shows second 7 "$dir"
	shows third 100000 "$dir"
done
head -c 4M /dev/urandom >bytes
dd if=bytes of="$device" bs=64k seek=100 oflag=direct conv=fsync status=none
cmp -n $((4 << 20)) bytes m/disk 0 $((100 * 65536)) || fail "disk differs from the device"
cmp m/disk "$device"

# What it tells of the image is what info tells, the device included.
jq -e --arg device "$device" '.attached.device == $device' m/info.json >/dev/null || fail "$(cat m/info.json)"
cmp <(ublk-img info --json a.ublk) m/info.json
[ "$(jq -r .image n/info.json)" = "$device" ]
jq -e '.view.read.bytes > 4194304' m/stats.json >/dev/null || fail "$(cat m/stats.json)"
grep -q '^ublk_img_attached_read_only{' m/metrics || fail "$(cat m/metrics)"
[ "$(sort -n m/map | awk '!/^#/ { at = $1 + $2 } END { print at }')" = $((64 << 20)) ]

# It is for reading, and no process of its own.
mkdir q
says "nothing to be done with --foreground" ublk-img mount --foreground a.ublk q
says "m: a view is mounted there already" ublk-img mount a.ublk m
if : 2>/dev/null >>m/disk; then fail "m/disk was opened for writing"; fi
[ -z "$(getfattr --only-values -n user.ublk-img.server_pid m 2>/dev/null)" ] || fail "umount would wait"

# Unmounted: the bridge and the other views go on; nothing of the view stays in the bridge.
ublk-img umount n
umount "o p"
put fourth 7
shows fourth 7 m
ublk-img umount m
settled() {
	[ "$(threads)" = "$before" ]
}
await settled
for ((round = 0; round < 10; round++)); do
	ublk-img mount data n
	shows fourth 7 n
	ublk-img umount n
done
await settled
[ "$(find "/proc/$bridge/fd" -lname /dev/fuse | wc -l)" = 1 ] || fail "$(ls -l "/proc/$bridge/fd")"

# Open files keep the view from being unmounted, and not the device from going; then the views go
# with it.
ublk-img mount a.ublk m
ublk-img mount a.ublk "o p"
exec {file}<m/disk
says "m: cannot unmount: a file in it is open" ublk-img umount m
ublk-img detach data 2>err || fail "$(cat err)"
for dir in m "o p"; do
	grep -q "the view on .*/$dir has ended with the device" err || fail "$(cat err)"
done
[ -z "$(mounts_here)" ] || fail "still mounted: $(mounts_here)"
if head -c 1 <&"$file" >got 2>/dev/null; then fail "read without a server"; fi
exec {file}<&-
await_unused
grep -q "the view on .*/m has ended" log || fail "$(cat log)"
ublk-img check --data a.ublk >/dev/null

# With -o rw snapshots can be changed; the disk is the device's.
device=$(ublk-img attach --mode=loop --name=data a.ublk 2>err) || fail "$(cat err)"
bridge=$(ublk-img list --json | jq '.devices[].pid')
ublk-img mount data m
if mkdir m/snapshots/one 2>/dev/null; then fail "a snapshot through a read-only view"; fi
ublk-img umount m
ublk-img mount -o rw data m
if : 2>/dev/null >>m/disk; then fail "m/disk was opened for writing"; fi
mkdir m/snapshots/one
[ "$(ublk-img snapshot list --json data | jq -r '.snapshots[].name')" = one ]
put fifth 7
ublk-img snapshot create data two >/dev/null
put sixth 7
shows fourth 7 m/snapshots/one
shows fifth 7 m/snapshots/two
shows sixth 7 m
mv m/snapshots/two m/snapshots/three
ublk-img snapshot delete data one
[ "$(ls m/snapshots)" = three ] || fail "$(ls m/snapshots)"
if cmp -s m/disk m/snapshots/three/disk; then fail "the snapshot follows the disk"; fi
exec {file}<m/snapshots/three/disk
rmdir m/snapshots/three
dd bs=512 skip=7 count=1 status=none <&"$file" | head -n 1 | grep -qx fifth || fail "gone while it was open"
exec {file}<&-
put fourth 7
ublk-img detach data 2>err
await_unused
[ -z "$(mounts_here)" ] || fail "still mounted: $(mounts_here)"
ublk-img check --data a.ublk >/dev/null

# A bridge that is killed leaves dead mounts, which are named and can be removed; a signal that ends
# it as well, as there is no command to take them away.
for signal in KILL TERM; do
	device=$(ublk-img attach --mode=loop a.ublk 2>err) || fail "$(cat err)"
	bridge=$(ublk-img list --json | jq '.devices[].pid')
	ublk-img mount a.ublk m
	shows fourth 7 m
	kill "-$signal" "$bridge"
	await gone "$bridge"
	await_unused
	if cat m/info.json >got 2>/dev/null; then fail "served by nobody"; fi
	says '"ublk-img umount m" removes it' ublk-img mount a.ublk m
	ublk-img umount m
done
ublk-img check --data a.ublk >/dev/null

# A device that cannot be written: the same.
device=$(ublk-img attach --mode=loop --read-only a.ublk 2>err) || fail "$(cat err)"
ublk-img mount "$device" m
shows fourth 7 m
cmp m/disk "$device"
ublk-img detach --all 2>err
[ -z "$(mounts_here)" ] || fail "still mounted: $(mounts_here)"
await_unused
