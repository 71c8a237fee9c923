# SPDX-License-Identifier: MIT
# Snapshots of a ublk device that is in use: with file systems that are frozen, on the device, on a
# partition, and on a volume; rolled back; and a disk that grows.
# Kernels: 7.3 6.18 6.12
. "$TEST_ENV"
. "$top_srcdir/tests/vm/attach-lib.sh"

sums() {
	(cd "$1" && find . -type f ! -name 'load*' -print0 | sort -z | xargs -0 sha256sum)
}
load() {
	local i=0
	while [ -e go ]; do
		head -c "$((i % 7 * 50))k" /dev/urandom >"mnt/load$((i % 5))"
		i=$((i + 1))
		[ $((i % 10)) != 0 ] || sync -f mnt
	done
}
has_fs() {
	grep -qw "$1" /proc/filesystems || modprobe "$1" 2>/dev/null
}
# check FS DEVICE: by reading alone.
check() {
	case $1 in
	ext4) fsck.ext4 -fn "$2" ;;
	xfs) xfs_repair -n "$2" ;;
	btrfs) btrfs check --readonly "$2" ;;
	esac >fsck.out 2>&1 || fail "$1: $(cat fsck.out)"
}
# What the log of ext4 would have to bring back, as after a power failure.
needs_recovery() {
	dumpe2fs -h "$device" 2>/dev/null | grep -q needs_recovery
}

mkdir mnt
for fs in ext4 xfs btrfs; do
	echo "--- $fs"
	has_fs "$fs" || continue
	rm -f a.ublk
	ublk-img create --zstd a.ublk 1G
	attach a.ublk --name=data
	"mkfs.$fs" -q "$device"
	mount "$device" mnt
	touch go
	spawn load
	for i in 1 2 3; do
		cp -a "/usr/include/linux" "mnt/tree$i"
		ublk-img snapshot create --json --freeze data "frozen$i" >json
		[ "$(jq -r '.frozen[]' json)" = "$PWD/mnt" ] || fail "$(cat json)"
		timeout 10 touch mnt/thawed
		ublk-img snapshot create data "plain$i"
	done
	rm go
	join
	sums mnt >list
	umount mnt
	for i in 1 2 3; do
		ublk-img snapshot rollback --discard-current "$device" "frozen$i"
		if [ "$fs" = ext4 ] && needs_recovery; then fail "frozen$i was not frozen"; fi
		# XFS leaves counters, and nothing else, to its log when it is frozen.
		[ "$fs" = xfs ] || check "$fs" "$device"
		case $fs in
		ext4) mount -o ro,noload "$device" mnt ;;
		xfs) mount -o ro,norecovery "$device" mnt ;;
		btrfs) mount -o ro "$device" mnt ;;
		esac
		grep -E "tree[1-$i]/" list | diff - <(sums mnt | grep tree)
		umount mnt
		# After a power failure: the log is replayed.
		ublk-img snapshot rollback --discard-current "$device" "plain$i"
		mount "$device" mnt
		umount mnt
		check "$fs" "$device"
	done
	ublk-img snapshot list data
	detach data
	ublk-img check --data a.ublk
done

echo "--- partition and volume"
rm -f a.ublk
ublk-img create a.ublk 512M
attach a.ublk --name=data
sfdisk -q "$device" <<<$'start=2048, size=400000\nstart=500000'
part=${device}p
for i in {1..50}; do
	[ ! -b "${part}2" ] || break
	sleep 0.1
done
mkfs.ext4 -q "${part}1"
mount "${part}1" mnt
want=("$PWD/mnt")
mkdir vol
if dmsetup version >/dev/null 2>&1; then
	dmsetup create vol --table "0 200000 linear ${part}2 0" >/dev/null
	dmsetup mknodes
	mkfs.ext4 -q /dev/mapper/vol
	mount /dev/mapper/vol vol
	want+=("$PWD/vol")
	echo volume >vol/file
fi
echo partition >mnt/file
ublk-img snapshot create --json --freeze data both >json
diff <(printf '%s\n' "${want[@]}") <(jq -r '.frozen[]' json)
if expect_status 1 ublk-img snapshot rollback data both 2>err; then grep "in use" err; fi
umount "${want[@]}"
[ ${#want[@]} = 1 ] || dmsetup remove vol
ublk-img snapshot rollback --discard-current data both
mount -o ro,noload "${part}1" mnt
[ "$(cat mnt/file)" = partition ]
umount mnt
if [ ${#want[@]} = 2 ]; then
	mount -o ro,noload "${part}2" mnt
	[ "$(cat mnt/file)" = volume ]
	umount mnt
fi
detach data

echo "--- growing"
rm -f a.ublk
ublk-img create a.ublk 256M
attach a.ublk --name=data
mkfs.ext4 -q "$device"
mount "$device" mnt
ublk-img snapshot create data small
if ublk-img resize data 1G 2>err; then
	[ "$(blockdev --getsize64 "$device")" = $((1 << 30)) ]
	# Some kernels let nobody write to a device that is mounted, as resize2fs would.
	umount mnt
	e2fsck -fy "$device" >fsck.out 2>&1 || fail "$(cat fsck.out)"
	resize2fs "$device" >out 2>&1 || fail "$(cat out)"
	mount "$device" mnt
	[ $(($(stat -f -c '%b * %S' mnt))) -gt $((800 << 20)) ]
	head -c 300M /dev/urandom >mnt/file
	sha256sum <mnt/file >sum
	umount mnt
	check ext4 "$device"
	# Back to the old size, and to the new one.
	kept=$(ublk-img snapshot rollback data small)
	[ "$(blockdev --getsize64 "$device")" = $((256 << 20)) ]
	mount "$device" mnt
	umount mnt
	check ext4 "$device"
	ublk-img snapshot rollback --discard-current data "$kept"
	[ "$(blockdev --getsize64 "$device")" = $((1 << 30)) ]
	mount -o ro "$device" mnt
	sha256sum <mnt/file | cmp - sum
	umount mnt
else
	cat err
	case $(uname -r) in
	6.12.*) grep -q "cannot change the size of a device in use" err ;;
	*) fail "the device does not grow" ;;
	esac
	[ "$(ublk-img info --json a.ublk | jq .virtual_size)" = $((256 << 20)) ]
	umount mnt
fi
detach data
ublk-img check --data a.ublk
