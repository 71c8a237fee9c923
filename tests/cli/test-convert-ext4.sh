# SPDX-License-Identifier: MIT
# An ext4 file system of more than 1 GB with real files in it, to an image and back, bit for bit.
. "$TEST_ENV"
. "$top_srcdir/tests/cli/convert-lib.sh"
PATH=$PATH:/usr/sbin:/sbin
require mke2fs -V
require e2fsck -V
[ -z "${UBLK_IMG_VALGRIND:-}" ] || skip "needs hours under valgrind"

# Real files: what this machine has under /usr, from the largest directories down to 1.1 GB.
mkdir files
total=0
while read -r size dir; do
	[ $total -lt 1100 ] || break
	[ $((total + size)) -le 1600 ] || continue
	mkdir -p "files/${dir%/*}"
	cp -a "$dir" "files/${dir%/*}/" 2>/dev/null || continue
	total=$((total + size))
done < <(du -xsm /usr/bin /usr/share/* /usr/lib/* /usr/include /usr/local/* 2>/dev/null | sort -rn)
# A small machine has fewer: then some of them twice.
for ((copy = 0; total < 1100 && total > 0 && copy < 20; copy++)); do
	mkdir "files/copy$copy"
	cp -a files/usr/. "files/copy$copy/"
	total=$((total + $(du -sm "files/copy$copy" | cut -f1)))
done
[ $total -ge 1000 ] || skip "found only $total MiB of files"
mke2fs -q -t ext4 -d files disk.raw $((total * 5 / 4 + 200))M
rm -rf files

ublk-img convert --zstd disk.raw disk.ublk
sound disk.ublk
ublk-img convert -O raw disk.ublk back.raw
cmp disk.raw back.raw
e2fsck -fn back.raw >fsck.out 2>&1 || fail "$(cat fsck.out)"
rm back.raw
if command -v qemu-img >/dev/null; then
	qemu-img convert -f raw -O raw disk.raw qemu.raw
	ublk-img convert --zstd=1 --cluster-size=128K qemu.raw qemu.ublk
	sound qemu.ublk
	ublk-img compare --strict disk.raw qemu.ublk >/dev/null
fi
