# SPDX-License-Identifier: MIT
# The file disk takes any operation that a file takes, with the result that a file would have, also
# from several writers at once and after it was opened again; its size stays.
#
# TEST_FUSE_SEED=n makes another run.
. "$TEST_ENV"
. "$top_srcdir/tests/fuse/fuse-lib.sh"
replay=$top_builddir/tests/fuse/replay
seed=${TEST_FUSE_SEED:-1}
echo "TEST_FUSE_SEED=$seed"

mkdir m
for kind in raw zstd; do
	for grain in 777 70001; do
		rm -f a.ublk plain
		# Not a whole number of clusters.
		options=()
		[ "$kind" = raw ] || options=(--zstd=1)
		ublk-img create "${options[@]}" a.ublk 8389120
		truncate -s 8389120 plain
		for round in 1 2; do
			ublk-img mount -o rw a.ublk m
			"$replay" m/disk plain "$seed" 1500 4 "$grain"
			cmp m/disk plain
			seed=$((seed + 1))
			ublk-img umount m
			ublk-img check --data a.ublk >/dev/null
		done
		ublk-img mount a.ublk m
		cmp m/disk plain
		ublk-img umount m
	done
done

ublk-img create --zstd b.ublk 8M
ublk-img mount -o rw b.ublk m
# The size is what it is.
for size in 0 1 100M; do
	expect_status 1 truncate -s "$size" m/disk 2>err
	grep -q 'Operation not permitted' err || fail "$(cat err)"
done
truncate -s 8M m/disk
[ "$(stat -c %s m/disk)" = 8388608 ]
expect_status 1 dd if=/dev/zero of=m/disk bs=1M conv=notrunc count=9 2>err
grep -q 'No space left' err || fail "$(cat err)"
grep -q '8+0 records out' err || fail "$(cat err)"
expect_status 1 fallocate -l 8M m/disk 2>err
expect_status 1 fallocate -z -o 8M -l 1M m/disk 2>err
touch m/disk
expect_status 1 chown 1:1 m/disk 2>/dev/null
# What is punched is zero and takes no space.
head -c 8M /dev/urandom >noise
dd if=noise of=m/disk conv=notrunc,fsync status=none
cmp noise m/disk
fallocate -p -o 1M -l 6M m/disk
cmp -n 1048576 noise m/disk
cmp -n 6291456 m/disk /dev/zero 1048576 0
fallocate -z -o 0 -l 8M m/disk
cmp -n 8388608 m/disk /dev/zero
unmount m
await ublk-img info b.ublk
ublk-img info --json b.ublk | jq -e '.raw_bytes + .compressed_bytes == 0' >/dev/null
ublk-img mount -o rw b.ublk m
[ "$(stat -c %b m/disk)" = 0 ]
ublk-img umount m
