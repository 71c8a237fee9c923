# SPDX-License-Identifier: MIT
# Incremental backups of a disk while it is in use, and to one that is attached.
. "$TEST_ENV"
. "$top_srcdir/tests/loop/loop-lib.sh"
require jq --version
require fsck.ext4 -V

says() {
	expect_status 1 "${@:2}" 2>"$UBLK_IMG_TEST_DIR/err"
	grep -qF -- "$1" "$UBLK_IMG_TEST_DIR/err" || fail "${*:2}: $(cat "$UBLK_IMG_TEST_DIR/err")"
}
same() {
	ublk-img compare --strict "$1" "$2" >compare.out || fail "$1 and $2: $(cat compare.out)"
}
attach() { # NAME IMAGE
	device=$(ublk-img attach --mode=loop --name="$1" "${@:3}" "$2" 2>err) || fail "$(cat err)"
}
detach() {
	ublk-img detach "$1"
	await_unused
}

mkdir m old
ublk-img create --zstd a.ublk 200M
attach data a.ublk
mkfs.ext4 -q "$device"
mount "$device" m
cp -a /usr/include/linux m/tree
ublk-img snapshot create --freeze data 0 >/dev/null
ublk-img convert --zstd data@0 copy.ublk
ublk-img convert -O raw data@0 copy.raw
ublk-img convert --zstd data@0 slow.ublk

# Each time with somebody at work on the disk, who must not be in what was taken before.
for i in 1 2 3; do
	(while :; do head -c 1M /dev/urandom >m/busy; done) &
	load=$!
	rm -rf "m/tree-$((i - 1))"
	cp -a m/tree "m/tree-$i"
	head -c $((i * 100000)) /dev/urandom >"m/file-$i"
	files_of "m/tree-$i" >"tree-$i"
	ublk-img snapshot create --freeze data $i >/dev/null
	ublk-img convert --zstd --since $((i - 1)) data@$i $i.delta
	ublk-img convert -O raw --since $((i - 1)) --from-snapshot $i "$device" $i.raw
	kill "$load"
	wait "$load" || true
	ublk-img apply $i.delta copy.ublk
	ublk-img apply --force $i.raw copy.raw
	same data@$i copy.ublk
	same data@$i copy.raw
	ublk-img check --data copy.ublk >/dev/null
	[ "$(stat -c %s $i.delta)" -lt "$(stat -c %s copy.ublk)" ]
	# What a file system says to that.
	mount -o loop,ro,noload copy.raw old
	files_of "old/tree-$i" | cmp - "tree-$i"
	cmp "m/file-$i" "old/file-$i"
	umount old
	fsck.ext4 -fn copy.raw >fsck.out 2>&1 || fail "$(cat fsck.out)"
done
# What was made of the attached image is what is made of it detached; and of two steps at once.
ublk-img convert --zstd --since 0 data@3 03.delta
says "and changes: name a snapshot of it" ublk-img convert --since 3 data x
says "there is no snapshot 'nobody'" ublk-img convert --since nobody data@3 x
says "there is no snapshot 'nobody'" ublk-img convert --since 1 data@nobody x
unmounted() {
	umount m 2>/dev/null
}
await unmounted
detach data
ublk-img convert -O raw --since 2 a.ublk@3 3b.raw
cmp 3.raw 3b.raw
cmp 3.raw.extents 3b.raw.extents
ublk-img apply 03.delta slow.ublk
same a.ublk@3 slow.ublk

# To a device: of an image that has the snapshot, and that nobody uses.
cp a.ublk b.ublk
ublk-img snapshot rollback --discard-current b.ublk 2
attach other b.ublk
mount "$device" m
says "is in use" ublk-img apply 3.delta other
says "is in use" ublk-img apply --force 3.delta "$device"
umount m # which writes to it
says "it has been written to since" ublk-img apply 3.delta other
ublk-img snapshot rollback --discard-current other 2
ublk-img apply --json 3.delta "$device" | jq -e '.applied' >/dev/null
cmp "$device" copy.raw
# Again: it is elsewhere now.
says "it has been written to since" ublk-img apply 3.delta b.ublk
ublk-img apply --force 3.raw b.ublk
cmp "$device" copy.raw
detach other
same a.ublk@3 b.ublk
ublk-img check --data b.ublk >/dev/null
attach other copy.ublk
says "it has no such snapshot, and is attached" ublk-img apply 3.delta other
detach other
attach other b.ublk --read-only
says "read-only" ublk-img apply --force 3.delta other
ublk-img convert --since 2 other x
ublk-img info --json x | jq -e '.content.base.name == "2"' >/dev/null
detach other

# Another size, and a device of another kind.
ublk-img resize a.ublk 220M
"$top_builddir/tests/cli/edit-image" a.ublk write $((210 << 20)) 100352 1
ublk-img snapshot create a.ublk larger >/dev/null
ublk-img convert --since 3 a.ublk@larger larger.delta
ublk-img snapshot rollback --discard-current b.ublk 3
attach other b.ublk
says "its size would change" ublk-img apply larger.delta other
detach other
head -c 260M /dev/urandom >disk
dd if=copy.raw of=disk conv=notrunc status=none bs=1M
loop=$(losetup --show -f disk)
says "--force" ublk-img apply larger.delta "$loop"
ublk-img apply --force larger.delta "$loop"
losetup -d "$loop"
ublk-img convert -O raw a.ublk@larger larger.raw
cmp -n $((220 << 20)) disk larger.raw
