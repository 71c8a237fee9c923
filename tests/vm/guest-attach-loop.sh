# SPDX-License-Identifier: MIT
# A kernel without ublk: attach takes loop by itself, and the main job is the same.
# Kernels: 6.1
. "$TEST_ENV"
modprobe fuse
modprobe loop
. "$top_srcdir/tests/loop/loop-lib.sh"
require jq --version

mkdir mnt
ublk-img create --zstd a.ublk 512M
device=$(ublk-img attach a.ublk 2>err)
grep -q 'loop device' err || fail "$(cat err)"
[[ $device == /dev/loop* ]] || fail "$device"
[ "$(ublk-img list --json | jq -r '.devices[].mode')" = loop ]
expect_status 1 ublk-img attach --mode=zero-copy a.ublk 2>err
mkfs.ext4 -q "$device" 200M
mount "$device" mnt
cp -a /usr/include/linux mnt/
umount mnt
fsck.ext4 -fn "$device" >fsck.out 2>&1 || fail "$(cat fsck.out)"
fio --name=verify --filename="$device" --offset=256M --size=32M --rw=randwrite --bsrange=512-128k \
	--verify=crc32c --verify_fatal=1 --ioengine=psync --direct=1 --output=fio.out || fail "$(cat fio.out)"
ublk-img detach "$device"
await_unused
ublk-img check --data a.ublk >/dev/null
device=$(ublk-img attach a.ublk 2>err)
mount "$device" mnt
diff -r --no-dereference /usr/include/linux mnt/linux
umount mnt
ublk-img detach --all
await_unused
