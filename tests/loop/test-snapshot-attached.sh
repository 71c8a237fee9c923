# SPDX-License-Identifier: MIT
# Snapshots, and another size, of an image that is attached and in use.
. "$TEST_ENV"
. "$top_srcdir/tests/loop/loop-lib.sh"
require jq --version
require fio --version
require fsck.ext4 -V

says() {
	expect_status 1 "${@:2}" 2>"$UBLK_IMG_TEST_DIR/err"
	grep -qF -- "$1" "$UBLK_IMG_TEST_DIR/err" || fail "${*:2}: $(cat "$UBLK_IMG_TEST_DIR/err")"
}
names() {
	ublk-img snapshot list --json "$1" | jq -r '.snapshots[] | select(.deleting | not).name'
}
attach() {
	device=$(ublk-img attach --mode=loop --name=data "$@" a.ublk 2>err) || fail "$(cat err)"
}
detach() {
	ublk-img detach data
	await_unused
}

mkdir m
ublk-img create --zstd a.ublk 256M
attach
mkfs.ext4 -q "$device"
mount "$device" m
ublk-img snapshot create data empty >/dev/null

# While the disk is written to and read again; the file system's log is at any point.
fio --name=load --filename=m/load --size=48M --rw=randrw --bsrange=4k-64k --verify=crc32c --time_based \
	--runtime=6 --ioengine=psync --numjobs=1 --output=fio.out &
load=$!
for i in 1 2 3 4 5 6 7 8; do
	ublk-img snapshot create "$device" "during-$i" >/dev/null
	sleep 0.4
	[ "$i" -lt 4 ] || ublk-img snapshot delete a.ublk "during-$((i - 2))"
done
ublk-img snapshot rename data during-1 first
wait "$load" || fail "$(cat fio.out)"
diff <(names data) <(printf '%s\n' empty first during-7 during-8)
cp -a /usr/include/linux m/tree
sync -f m
files_of m/tree >tree
ublk-img snapshot create data tree >/dev/null
rm -rf m/tree
sync -f m

# Not under a file system.
says "mounted on" ublk-img snapshot rollback data first
umount m
[ "$(ublk-img snapshot diff data tree | grep -c ' data$\| zero$')" -gt 0 ]
ublk-img snapshot diff --json data empty tree | jq -e '.extents | length > 2' >/dev/null
says "there is no snapshot 'nobody'" ublk-img snapshot diff data nobody

# Every one of them can be mounted, as after a power failure, and nothing stale is seen.
for name in empty first during-7 during-8 tree; do
	dd if="$device" of=before bs=1M count=16 status=none
	ublk-img snapshot rollback --discard-current "$device" "$name"
	mount "$device" m
	umount m
	fsck.ext4 -fn "$device" >fsck.out 2>&1 || fail "$name: $(cat fsck.out)"
done
mount "$device" m
files_of m/tree | cmp - tree
umount m
# Written, not synced, by nobody who has it open: gone with what is rolled back.
head -c 1M /dev/urandom >bytes
dd if=bytes of="$device" bs=64k status=none
kept=$(ublk-img snapshot rollback data tree)
[[ $kept == before-rollback-* ]]
mount "$device" m # replays the file system's log
umount m
fsck.ext4 -fn "$device" >fsck.out 2>&1 || fail "$(cat fsck.out)"
ublk-img snapshot rollback --discard-current data "$kept"
cmp -n 1048576 bytes "$device" || fail "what was kept is not what was written last"
ublk-img snapshot rollback --discard-current data tree

# Read while the disk is in use: converted, compared, mapped.
mount "$device" m
(while :; do head -c 1M /dev/urandom >m/busy; done) &
load=$!
ublk-img convert -O raw data@tree tree.raw
ublk-img convert --zstd "$device@tree" tree.ublk
if cmp -s tree.raw tree.ublk; then fail "not converted"; fi
ublk-img compare --strict tree.raw tree.ublk >/dev/null
ublk-img compare --strict a.ublk@tree tree.raw >/dev/null
expect_status 1 ublk-img compare --strict a.ublk@empty tree.raw >/dev/null
fsck.ext4 -fn tree.raw >fsck.out 2>&1 || fail "$(cat fsck.out)"
ublk-img map a.ublk@tree >attached.map
ublk-img map --json a.ublk@tree | jq -e '.virtual_size == 268435456' >/dev/null
ublk-img info --json a.ublk@tree >attached.info
[ "$(ublk-img map a.ublk | awk 'NR > 1 { end = $1 + $2 } END { print end }')" = $((256 << 20)) ]
says "there is no snapshot 'nobody'" ublk-img convert data@nobody x
says "and changes: name a snapshot of it" ublk-img convert a.ublk x
kill "$load"
wait "$load" || true
unmounted() {
	umount m 2>/dev/null # the last one of those programs may still be there
}
await unmounted
detach
ublk-img map a.ublk@tree | diff attached.map -
diff <(jq 'del(.snapshot.open)' attached.info) <(ublk-img info --json a.ublk@tree | jq 'del(.snapshot.open)')
ublk-img compare --strict a.ublk@tree tree.raw >/dev/null
attach

# A larger disk, while it is mounted.
mount "$device" m
ublk-img resize data +256M
[ "$(blockdev --getsize64 "$device")" = $((512 << 20)) ]
ublk-img resize --json "$device" 768M | jq -e '.old_virtual_size == 512 * 1048576' >/dev/null
says "can only become more" ublk-img resize --shrink a.ublk 1M
says "--shrink allows" ublk-img resize a.ublk 1M
files_of m/tree | cmp - tree
umount m
[ "$(blockdev --getsize64 "$device")" = $((768 << 20)) ]
e2fsck -fy "$device" >fsck.out 2>&1 || fail "$(cat fsck.out)"
resize2fs "$device" >out 2>&1 || fail "$(cat out)"
mount "$device" m
[ $(($(stat -f -c '%b * %S' m))) -gt $((600 << 20)) ]
files_of m/tree | cmp - tree
umount m
fsck.ext4 -fn "$device" >fsck.out 2>&1 || fail "$(cat fsck.out)"
# A snapshot has the size that it had.
ublk-img snapshot rollback --keep=large data tree
[ "$(blockdev --getsize64 "$device")" = $((256 << 20)) ] || fail "$(blockdev --getsize64 "$device")"
ublk-img snapshot rollback --discard-current data large
[ "$(blockdev --getsize64 "$device")" = $((768 << 20)) ]
fsck.ext4 -fn "$device" >fsck.out 2>&1 || fail "$(cat fsck.out)"

# Deleted in the background, and done with in the end.
names data | xargs ublk-img snapshot delete data
[ -z "$(names data)" ]
freed() {
	[ "$(ublk-img snapshot list --json data | jq '.snapshots | length')" = 0 ]
}
await freed
mount "$device" m
files_of m/tree | cmp - tree
umount m
detach
ublk-img check --data a.ublk >/dev/null

# Read-only.
ublk-img snapshot create a.ublk last >/dev/null
attach --read-only
[ "$(names data)" = last ]
says "read-only" ublk-img snapshot create data x
says "read-only" ublk-img snapshot delete data last
says "read-only" ublk-img snapshot rollback data last
detach
