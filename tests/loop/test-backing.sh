# SPDX-License-Identifier: MIT
# A file system lives on an image on top of another: changed, committed while it is mounted, and made
# to stand alone while it is mounted.
. "$TEST_ENV"
. "$top_srcdir/tests/loop/loop-lib.sh"
require jq --version

mkdir files mnt view
cp -a "$top_srcdir"/{common,image,docs} files/
find files -name '*.o' -delete
files_of files >want
[ "$(wc -l <want)" -gt 50 ]

# fill DEVICE: a file system with the files.
fill() {
	mkfs.ext4 -q "$1"
	mount "$1" mnt
	cp -a files/. mnt/
	umount mnt
}

# A raw backing, an image, and a snapshot of one, which all hold the same.
truncate -s 256M base.raw
lower=$(losetup --show -f base.raw)
fill "$lower"
losetup -d "$lower"
ublk-img convert --zstd base.raw lower.ublk
ublk-img snapshot create lower.ublk kept >/dev/null
cp base.raw base.saved

for backing in base.raw lower.ublk lower.ublk@kept; do
	echo "on $backing"
	ublk-img create --force --backing "$backing" over.ublk
	start_device mount over.ublk
	mount "$device" mnt
	files_of mnt >got
	cmp want got
	rm -rf mnt/docs
	cp -a files/image mnt/image2
	umount mnt
	e2fsck -fn "$device" >fsck.out 2>&1 || fail "$(cat fsck.out)"
	stop_device mount
	cmp base.raw base.saved
	ublk-img check over.ublk >/dev/null
	start_device mount over.ublk
	mount "$device" mnt
	diff -r files/image mnt/image2
	[ ! -e mnt/docs ]
	umount mnt
	# What the file disk tells of its holes is what there is.
	dd if=view/disk of=whole.raw bs=1M status=none
	cp --sparse=always view/disk sparse.raw
	cmp whole.raw sparse.raw
	stop_device mount
	ublk-img convert --force -O raw over.ublk flat.raw
	cmp whole.raw flat.raw
done

# Down into the backing, and the file system is still there.
ublk-img create --force --backing base.raw over.ublk
start_device mount over.ublk
mount "$device" mnt
cp -a files/image mnt/image3
umount mnt
stop_device mount
ublk-img commit over.ublk
lower=$(losetup --show -f base.raw)
e2fsck -fn "$lower" >fsck.out 2>&1 || fail "$(cat fsck.out)"
mount "$lower" mnt
diff -r files/image mnt/image3
umount mnt
losetup -d "$lower"

# The same while it is attached and written to; then flat, and its backing goes away.
require fio --version
attach() {
	device=$(ublk-img attach --mode=loop --name=data over.ublk 2>err) || fail "$(cat err)"
}
cp base.saved base.raw
ublk-img convert --force base.raw lower.ublk
for backing in base.raw lower.ublk; do
	echo "attached on $backing"
	ublk-img create --force --zstd --backing "$backing" over.ublk
	attach
	mount "$device" mnt
	fio --name=load --filename=mnt/load --size=32M --rw=randrw --bsrange=4k-64k \
		--verify=crc32c --time_based --runtime=8 --ioengine=psync --output=fio.out &
	load=$!
	sleep 1
	ublk-img commit --json data | jq -e '.moved_bytes > 0' >/dev/null
	ublk-img commit "$device"
	ublk-img rebase --no-backing data
	expect_status 1 ublk-img commit data 2>err
	grep -q 'no backing file' err || fail "$(cat err)"
	wait "$load" || fail "$(cat fio.out)"
	rm mnt/load
	files_of mnt >got
	cmp want got
	umount mnt
	await ublk-img detach data
	await_unused
	ublk-img check --data over.ublk >/dev/null
	[ "$(ublk-img info --json over.ublk | jq .backing)" = null ]
	rm "$backing"
	attach
	mount "$device" mnt
	files_of mnt >got
	cmp want got
	umount mnt
	await ublk-img detach data
	await_unused
done
