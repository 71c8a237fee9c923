# SPDX-License-Identifier: MIT
# What is built on a device: partitions, dm-crypt, volumes of LVM; and that such a device is in use.
# Kernels: 7.3 6.18 6.12
. "$TEST_ENV"
. "$top_srcdir/tests/vm/attach-lib.sh"
require sfdisk --version

# filled DEVICE: a file system with files, found again.
files() {
	mkfs.ext4 -q "$1"
	mount "$1" mnt
	cp -a /usr/include/linux mnt/
	umount mnt
	fsck.ext4 -fn "$1" >fsck.out 2>&1 || fail "$1: $(cat fsck.out)"
}
same_files() {
	mount -o ro "$1" mnt
	diff -r --no-dereference /usr/include/linux mnt/linux || fail "$1: other files"
	umount mnt
}
in_use() {
	expect_status 1 ublk-img detach "$device" 2>err
	grep -q "in use: .*$1" err || fail "in use by $1: $(cat err)"
}

mkdir mnt
echo "--- partitions, of disks with sectors of 512 and 4096 bytes"
for sector in 512 4096; do
	rm -f a.ublk
	ublk-img create --zstd --sector-size="$sector" a.ublk 512M
	attach a.ublk
	printf 'label: gpt\nsize=256M\nsize=128M\n' | sfdisk -q --wipe=always "$device"
	blockdev --rereadpt "$device"
	[ -b "${device}p2" ] || fail "no partitions: $(ls "$device"*)"
	[ "$(blockdev --getsize64 "${device}p1")" = $((256 << 20)) ]
	files "${device}p1"
	files "${device}p2"
	mount "${device}p2" mnt
	in_use "mounted on"
	umount mnt
	detach "$device"
	attach a.ublk
	same_files "${device}p1"
	same_files "${device}p2"
	detach "$device"
	ublk-img check --data a.ublk >/dev/null
done

attach a.ublk
if cryptsetup --version >/dev/null 2>&1 && { modprobe dm_crypt 2>/dev/null || dmsetup targets | grep -q ^crypt; }; then
	echo "--- dm-crypt"
	head -c 64 /dev/urandom >key
	# The header of LUKS wants a key derivation, which takes its time under emulation.
	crypt=(cryptsetup --batch-mode --type=plain --cipher=aes-xts-plain64 --key-size=512 --key-file=key)
	"${crypt[@]}" open "$device" secret
	files /dev/mapper/secret
	in_use "dm-"
	cryptsetup close secret
	detach "$device"
	attach a.ublk
	"${crypt[@]}" open "$device" secret
	same_files /dev/mapper/secret
	cryptsetup close secret
	if mount -o ro "$device" mnt 2>/dev/null; then fail "not encrypted"; fi
else
	echo "this kernel has no dm-crypt, or there is no cryptsetup"
fi
detach "$device"

if lvm version >/dev/null 2>&1; then
	echo "--- LVM"
	rm -f a.ublk
	ublk-img create --zstd a.ublk 512M
	attach a.ublk
	lvm() {
		command lvm "$@" --config "devices { filter=[\"a|^$device\$|\", \"r|.*|\"] use_devicesfile=0 } activation { udev_sync=0 udev_rules=0 verify_udev_operations=1 }"
	}
	lvm pvcreate -qq "$device"
	lvm vgcreate -qq vg "$device"
	lvm lvcreate -qq -y -L 128M -n one vg
	lvm lvcreate -qq -y -L 64M -n two vg
	files /dev/vg/one
	files /dev/vg/two
	lvm lvextend -qq -L +64M vg/one
	in_use "dm-"
	lvm vgchange -qq -an vg
	detach "$device"
	attach a.ublk
	lvm vgchange -qq -ay vg
	same_files /dev/vg/one
	same_files /dev/vg/two
	lvm lvremove -qq -y vg/two
	lvm vgchange -qq -an vg
	detach "$device"
	ublk-img check --data a.ublk >/dev/null
else
	echo "there is no lvm here"
fi
