# SPDX-License-Identifier: MIT
# convert from and to block devices: loop devices over files.
. "$TEST_ENV"
. "$top_srcdir/tests/cli/convert-lib.sh"
PATH=$PATH:/usr/sbin:/sbin
[ "$(id -u)" = 0 ] || skip "needs root"
require losetup --version
require jq --version

devices=()
detach() {
	local d
	for d in "${devices[@]}"; do
		losetup -d "$d" || true
	done
	end_of_test
}
# attach FILE [OPTION...]: the device is in $device.
attach() {
	device=$(losetup -f --show "${@:2}" "$1") || skip "no loop device can be had"
	devices+=("$device")
}
trap detach EXIT

make_mixed mixed
truncate -s $((42 * 1024 * 1024)) mixed
cp mixed source
attach source
source=$device
noise $((48 * 1024 * 1024)) >target
cp target old
attach target
target=$device

# From a device.
ublk-img convert --zstd "$source" a.ublk
sound a.ublk
ublk-img compare --strict mixed a.ublk >/dev/null

# To a device only when told so, and never an image.
expect_status 1 ublk-img convert -O raw a.ublk "$target" 2>err
grep -q -e --force err
expect_status 2 ublk-img convert -O ublk --force mixed "$target" 2>err
expect_status 1 ublk-img convert --force "$source" "$source" 2>err
losetup -d "$target"
cmp target old
devices=("$source")
attach target
target=$device

# What was there is gone, holes included; what lies beyond stays.
for from in a.ublk mixed "$source"; do
	noise $((48 * 1024 * 1024)) | dd of="$target" bs=1M oflag=direct iflag=fullblock status=none
	ublk-img convert --force "$from" "$target"
	cmp -n $((42 * 1024 * 1024)) mixed "$target"
	cmp -i $((42 * 1024 * 1024)) old "$target"
done
ublk-img convert --force - "$target" <mixed
cmp -n $((42 * 1024 * 1024)) mixed "$target"

# Too small, or in use.
truncate -s 8M tiny
attach tiny
expect_status 1 ublk-img convert --force a.ublk "$device" 2>err
grep -q 'too few' err || fail "$(cat err)"
if command -v mkfs.ext4 >/dev/null && mkfs.ext4 -q "$target" && mkdir mnt && mount "$target" mnt 2>err; then
	expect_status 1 ublk-img convert --force a.ublk "$target" 2>err || { umount mnt; exit 1; }
	umount mnt
	grep -q 'busy' err || fail "$(cat err)"
fi
