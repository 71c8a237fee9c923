# SPDX-License-Identifier: MIT
# A ublk device on an image on top of others: what comes from a raw backing is not copied; commit and
# rebase while it is in use.
# Kernels: 7.3 6.18 6.12
. "$TEST_ENV"
. "$top_srcdir/tests/vm/attach-lib.sh"

figure() {
	ublk-img mount data view
	jq ".engine.$1" view/stats.json
	ublk-img umount view
}

mkdir mnt view
head -c 64M /dev/urandom >base.raw
ublk-img convert --zstd base.raw lower.ublk
ublk-img create --backing base.raw over.ublk
attach over.ublk --name=data
cmp "$device" base.raw
if [ "$(ublk-img list --json | jq -r '.devices[0].mode')" = zero-copy ]; then
	[ "$(figure copied)" = 0 ] || fail "bytes were copied: $(figure copied)"
	[ "$(figure zero_copy_read)" -ge $((64 << 20)) ]
fi
[ "$(figure backing_read)" -ge $((64 << 20)) ]
detach data

for backing in base.raw lower.ublk; do
	echo "--- on $backing"
	ublk-img create --force --zstd --backing "$backing" over.ublk
	attach over.ublk --name=data
	cmp "$device" base.raw
	mkfs.ext4 -q "$device"
	mount "$device" mnt
	cp -a /usr/include/linux mnt/before
	sync -f mnt
	cp -a /usr/include/linux mnt/meanwhile &
	copy=$!
	ublk-img commit data
	wait "$copy"
	cp -a /usr/include/linux mnt/between
	ublk-img rebase --no-backing "$device"
	for tree in before meanwhile between; do
		diff -r /usr/include/linux mnt/$tree
	done
	umount mnt
	fsck.ext4 -fn "$device" >fsck.out 2>&1 || fail "$(cat fsck.out)"
	detach data
	ublk-img check --data over.ublk
	rm "$backing"
	attach over.ublk --name=data --read-only
	fsck.ext4 -fn "$device" >fsck.out 2>&1 || fail "$(cat fsck.out)"
	detach data
	[ -e base.raw ] || ublk-img convert -O raw lower.ublk base.raw
done
