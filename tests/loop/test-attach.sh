# SPDX-License-Identifier: MIT
# attach in mode loop: the same commands as on ublk, on any kernel.
. "$TEST_ENV"
. "$top_srcdir/tests/loop/loop-lib.sh"
require jq --version
validate=$top_builddir/tests/cli/validate-json
schemas=$top_srcdir/docs/schema
tree=$top_srcdir
mkdir files mnt
cp -a "$tree"/{common,image,docs} /usr/include/linux files/
find files -name '*.o' -delete
files_of files >want

# attach IMAGE [OPTION...]: $device, and $bridge, the process that serves it.
attach() {
	device=$(ublk-img attach --mode=loop "${@:2}" "$1" 2>err) || fail "$(cat err)"
	bridge=$(ublk-img list --json | jq ".devices[] | select(.device == \"$device\") | .pid")
	[ -n "$bridge" ] || fail "$device is not listed: $(ublk-img list)"
}
detached() {
	[ "$(ublk-img list --json | jq '.devices | length')" = 0 ] || fail "$(ublk-img list)"
	await_unused
}

# Where the kernel has no ublk, loop is chosen, and that is said.
ublk-img create --zstd=1 a.ublk 512M
if [ ! -e /dev/ublk-control ]; then
	device=$(ublk-img attach a.ublk 2>err)
	[[ $device == /dev/loop* ]] || fail "attached as $device"
	grep -q 'loop device on FUSE' err || fail "$(cat err)"
	ublk-img detach "$device"
	detached
fi

# What it is; who has it.
attach a.ublk --name=disk
ublk-img list --json >list.json
"$validate" "$schemas/list.json" <list.json
[ "$(jq -r '.devices[] | [.mode, .name, .read_only, .virtual_size] | join(" ")' list.json)" = \
	"loop disk false 536870912" ] || fail "$(cat list.json)"
[ "$(jq -r '.devices[] | [.state, .recovery, .recovery_reason] | join(" ")' list.json)" = \
	"attached false mode loop has no recovery" ] || fail "$(cat list.json)"
expect_status 1 ublk-img upgrade disk 2>err
grep -q "$device cannot be handed over, since it was attached without recovery" err || fail "$(cat err)"
[ "$(blockdev --getsize64 --getss --getro "$device" | paste -sd ' ')" = "536870912 512 0" ]
[ "$(losetup -n -O DIO "$device" | tr -d ' ')" = 1 ] || fail "$device uses the page cache"
ublk-img info --json a.ublk >info.json
"$validate" "$schemas/info.json" <info.json
[ "$(jq -r .attached.device info.json)" = "$device" ] || fail "$(cat info.json)"
expect_status 1 ublk-img attach --mode=loop a.ublk 2>err
grep -q "a.ublk is attached as $device (pid $bridge); detach it first" err || fail "$(cat err)"

ublk-img create b.ublk 64M
expect_status 1 ublk-img attach --mode=loop --recovery=require b.ublk 2>err
grep -q "that can be recovered is not possible: mode loop has no recovery" err || fail "$(cat err)"
rm b.ublk

# A file system with real files, there after detaching and attaching.
for fs in ext4 xfs; do
	command -v "mkfs.$fs" >/dev/null || continue
	blkdiscard -f "$device"
	"mkfs.$fs" -q "$device" 2>mkfs.err || fail "$(cat mkfs.err)"
	mount "$device" mnt
	cp -a files/. mnt/
	expect_status 1 ublk-img detach disk 2>err
	grep -q "$device is in use: mounted on .*/mnt" err || fail "$(cat err)"
	umount mnt
	exec 9<"$device"
	expect_status 1 ublk-img detach disk 2>err
	grep -q "$device is in use: open in pid $$ (" err || fail "$(cat err)"
	exec 9<&-
	# Who has only had a look, as udev does, is waited for.
	rm -f looking
	(
		exec 9<"$device"
		: >looking
		sleep 0.3
	) &
	until [ -e looking ]; do sleep 0.01; done
	ublk-img detach disk
	wait $!
	detached
	ublk-img check --data a.ublk >/dev/null
	[ "$(ublk-img info --json a.ublk | jq .clusters.zstd)" -gt 10 ] || fail "nothing was compressed"

	attach a.ublk --name=disk --read-only
	[ "$(blockdev --getro "$device")" = 1 ]
	case $fs in
	ext4) e2fsck -fn "$device" >fsck.out 2>&1 || fail "$(cat fsck.out)" ;;
	xfs) xfs_repair -n "$device" >fsck.out 2>&1 || fail "$(cat fsck.out)" ;;
	esac
	mount -o ro "$device" mnt
	files_of mnt >got
	cmp want got
	umount mnt
	ublk-img detach a.ublk
	detached
	attach a.ublk --name=disk
done

# Its view is mounted while it is attached: by any of its names, more than once; it shows what is
# written, and goes when the device does.
mkdir view1 view2
ublk-img mount "$device" view1
ublk-img mount disk view2
expect_status 1 ublk-img mount --foreground a.ublk mnt 2>err
grep -q "process $bridge serves the view" err || fail "$(cat err)"
expect_status 1 ublk-img mount a.ublk view1 2>err
grep -q "mounted there already" err || fail "$(cat err)"
[ "$(jq -r .attached.device view1/info.json)" = "$device" ]
[ "$(stat -c '%a %s' view1/disk)" = "$(stat -c %a a.ublk | tr 2367 0145) 536870912" ] || fail "$(stat view1/disk)"
for _ in 1 2; do
	head -c 3M /dev/urandom >bytes
	dd if=bytes of="$device" bs=1M seek=7 oflag=direct conv=fsync status=none
	for view in view1 view2; do
		dd if=$view/disk bs=1M skip=7 count=3 status=none | cmp - bytes
	done
done
# Six reads of 1 MiB; the kernel may have asked for them in smaller pieces.
[ "$(jq .view.read.bytes view2/stats.json)" -ge $((6 << 20)) ] || fail "$(cat view2/stats.json)"
[ "$(jq .image_io.clusters_allocated view2/stats.json)" -gt 0 ]
jq -e '.engine.requests | has("read")' view1/stats.json >/dev/null
grep -q '^ublk_img_image_io_commits_total' view1/metrics
ublk-img umount view1
[ "$(ublk-img list --json | jq '.devices | length')" = 1 ]
[ "$(jq -r .attached.device view2/info.json)" = "$device" ]
ublk-img mount a.ublk view1
ublk-img detach disk
[ -z "$(mounts_here)" ] || fail "left mounted: $(mounts_here)"
detached
attach a.ublk --name=disk

# SIGTERM: what is cached gets into the image.
echo cached | dd of="$device" bs=512 conv=notrunc,sync status=none
kill "$bridge"
await gone "$bridge"
detached
ublk-img info a.ublk | grep -q '^state: *clean$' || fail "$(ublk-img info a.ublk)"

# Killed: the device fails, nothing hangs, and what was flushed is in the image.
attach a.ublk
[ "$(head -c 6 "$device")" = cached ] || fail "not written"
echo flushed | dd of="$device" bs=512 conv=notrunc,sync,fsync oflag=direct status=none
exec {user}<"$device"
kill -KILL "$bridge"
await gone "$bridge"
status=0
timeout 20 dd bs=4k count=1 skip=1000 iflag=direct status=none <&"$user" >got 2>err || status=$?
[ "$status" = 1 ] || fail "read without a server: $status"
grep -q 'Input/output error' err || fail "$(cat err)"
exec {user}<&-
detached
[ "$(blockdev --getsize64 "$device")" = 0 ] || fail "$device is still there"
attach a.ublk
[ "$(head -c 7 "$device")" = flushed ] || fail "lost"
ublk-img detach "$device"
ublk-img check --data a.ublk >/dev/null

# Sectors of 4096 bytes; several at once.
ublk-img create --sector-size=4096 b.ublk 64M
attach b.ublk
[ "$(blockdev --getss "$device")" = 4096 ]
attach a.ublk
[ "$(ublk-img list --json | jq '.devices | length')" = 2 ]
# One that fails does not keep the others from it.
expect_status 1 ublk-img upgrade --all --json >json 2>err
"$validate" "$schemas/upgrade.json" <json
[ "$(jq -c .devices json)" = '[]' ] || fail "$(cat json)"
[ "$(grep -c 'cannot be handed over' err)" = 2 ] || fail "$(cat err)"
devices=$(ublk-img list --json | jq -c '[.devices[].device] | sort')
mkfs.ext4 -q "$device"
mount "$device" mnt
expect_status 1 ublk-img detach --all --json >json 2>err
umount mnt
"$validate" "$schemas/detach.json" <json
[ "$(jq -c ".devices + [\"$device\"] | sort" json)" = "$devices" ] || fail "$(cat json err)"
ublk-img detach --all --json >json
[ "$(jq -c .devices json)" = "[\"$device\"]" ] || fail "$(cat json)"
detached

# In the foreground, as service managers run it.
spawn ublk-img attach --mode=loop --foreground b.ublk >device.out
await test -s device.out
device=$(head -n 1 device.out)
head -c 1M /dev/urandom >bytes
dd if=bytes of="$device" bs=64k oflag=direct status=none
kill -TERM "$spawned_pid"
join
detached
[ "$(ublk-img info --json b.ublk | jq .clusters.raw)" = 16 ] || fail "$(ublk-img info b.ublk)"
