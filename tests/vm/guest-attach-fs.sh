# SPDX-License-Identifier: MIT
# File systems on a device: made, filled with a real tree, checked, found again after the image was
# detached and attached; and what they discard gives space back.
# Kernels: 7.3 6.18 6.12
. "$TEST_ENV"
. "$top_srcdir/tests/vm/attach-lib.sh"

sums() {
	(cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum)
}

# Bytes that the image takes.
usage() {
	echo $(($(stat -c %b a.ublk) * 512))
}

tree=/usr/include
sums $tree >list
mkdir mnt
for fs in ext4 xfs btrfs; do
	echo "--- $fs"
	if ! grep -qw "$fs" /proc/filesystems && ! modprobe "$fs" 2>/dev/null; then
		echo "this kernel has no $fs"
		continue
	fi
	rm -f a.ublk
	ublk-img create --zstd a.ublk 2G
	attach a.ublk
	"mkfs.$fs" -q "$device"
	mount "$device" mnt
	cp -a $tree mnt/
	sums mnt/include | diff list -
	umount mnt
	case $fs in
	ext4) fsck.ext4 -fn "$device" ;;
	xfs) xfs_repair -n "$device" ;;
	btrfs) btrfs check --readonly "$device" ;;
	esac >fsck.out 2>&1 || fail "$(cat fsck.out)"
	detach "$device"
	ublk-img check --data a.ublk

	attach a.ublk
	mount "$device" mnt
	sums mnt/include | diff list -
	full=$(usage)
	rm -r mnt/include
	sync
	fstrim mnt
	umount mnt
	detach "$device"
	ublk-img check a.ublk
	[ "$(usage)" -lt $((full / 2 + (16 << 20))) ] ||
		fail "$fs: $(usage) bytes after fstrim, $full before"
done

# The kernel drops the parts of a discard that are smaller than its granularity.
echo "--- blkdiscard, write zeroes"
make_image b.ublk mixed
attach b.ublk
blkdiscard -o 3M -l 10M "$device"
blkdiscard -z -o 20M -l 5M "$device"
blkdiscard -z -o $((31 << 20 | 1536)) -l 70144 "$device"
for range in "3145728 10485760" "20971520 5242880" "32507392 70144"; do
	read -r off len <<<"$range"
	dd if=/dev/zero of=b.ublk.raw bs=512 seek=$((off / 512)) count=$((len / 512)) conv=notrunc status=none
done
same_bytes b.ublk.raw
detach "$device"
attach b.ublk
same_bytes b.ublk.raw
blkdiscard "$device"
detach "$device"
ublk-img check b.ublk
[ "$(ublk-img info --json b.ublk | jq .mapped_bytes)" = 0 ]
