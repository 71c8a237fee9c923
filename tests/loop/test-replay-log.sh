# SPDX-License-Identifier: MIT
# Power cuts under real file systems: what the file of an image may hold after one, at each sync of a
# workload, is an image that is sound, with a file system that is, and in which all is that was synced.
#
# All that a server does to its image is logged (tests/lib/log_store.h).  REPLAY_POINTS moments of each
# workload are looked at (0: all), with REPLAY_SEEDS ways each in which a disk may have lost what was
# not yet synced.
. "$TEST_ENV"
. "$top_srcdir/tests/loop/loop-lib.sh"
require jq --version
require fsck.ext4 -V

points=${REPLAY_POINTS:-12}
seeds=${REPLAY_SEEDS:-1}
seed=${SEED:-$RANDOM}
echo "SEED=$seed"
RANDOM=$seed
edit=$top_builddir/tests/cli/edit-image
replay=$top_builddir/tests/loop/replay-log

fsck_of() { # FS DEVICE
	case $1 in
	ext4) e2fsck -fn "$2" ;;
	xfs) xfs_repair -n "$2" ;;
	esac
}

ask() {
	local reply
	echo "$*" >&"$control"
	lines=$((lines + 1))
	until reply=$(sed -n "${lines}p" device.out) && [ -n "$reply" ]; do sleep 0.02; done
	[ "$reply" = "done" ] || fail "$*: $reply"
}

# record FS OPTION...: a workload with FS on a new image.  Afterwards there are base, the image before
# it; log; end, the image after it; want/N, for N = 1, 2, ..., the files synced before mark N; and
# deleted, the snapshots deleted before a mark, "MARK NAME".
record() {
	local fs=$1 n
	shift
	rm -rf base end log want deleted
	mkdir -p want mnt
	ublk-img create "$@" a.ublk 400M
	start_server a.ublk
	"mkfs.$fs" -q "$device" 2>mkfs.err || fail "$(cat mkfs.err)"
	stop_device server
	cp --sparse=always a.ublk base

	start_server -l log a.ublk
	lines=1
	mount -o discard "$device" mnt
	head -c 3M /dev/zero >mnt/inplace
	sync mnt/inplace
	for n in $(seq 24); do
		# What nobody waits for: new, larger, smaller, renamed, deleted, overwritten in place.
		cp "$top_srcdir"/cli/*.c mnt/ 2>/dev/null
		mkdir -p "mnt/d$n"
		cp "$top_srcdir"/image/[a-d]*.c "mnt/d$n"
		head -c $((RANDOM * 20)) /dev/urandom >"mnt/part-$((n % 5))"
		truncate -s $((RANDOM * 4)) "mnt/part-$((RANDOM % 5))"
		mv "mnt/d$n" "mnt/e$n"
		[ "$n" -lt 4 ] || rm -rf "mnt/e$((n - 3))"
		dd if=/dev/urandom of=mnt/inplace bs=4k count=$((RANDOM % 20)) seek=$((RANDOM % 600)) \
			conv=notrunc oflag=direct status=none
		[ $((n % 6)) != 0 ] || fstrim mnt
		# What somebody does.
		{
			head -c $((RANDOM * 3)) /dev/urandom
			head -c $((RANDOM * 9)) "$top_builddir/cli/ublk-img"
		} >"want/$n"
		cp "want/$n" "mnt/keep-$n"
		sync "mnt/keep-$n"
		case $((n % 4)) in
		1) ask snapshot "$n" ;;
		3) [ $((n % 8)) = 3 ] || { ask delete $((n - 2)) && echo "$n s$((n - 2))" >>deleted; } ;;
		esac
		ask mark "$n"
	done
	umount mnt
	stop_device server
	mv a.ublk end
	ublk-img check --data end >check.out || fail "$(cat check.out)"
	"$replay" log list >list
	echo "$fs $*: $(wc -l <list) moments, $(stat -c %s log) bytes of log"
	[ "$(wc -l <list)" -ge 100 ]
}

# Those that users see; one that was deleted a moment ago may still be in the table.
snapshots() { # FILE
	ublk-img snapshot list --json "$1" | jq -r '.snapshots[] | select(.deleting | not).name'
}

# sound FS FILE MARK: says nothing if all is well with the image FILE, in which what was synced before
# MARK has to be, and else what is wrong.
sound() {
	local fs=$1 image=$2 mark=$3 n name loop
	# As it is found, and by who goes on with it.
	ublk-img check --data "$image" >check.out 2>&1 || { echo "check: $(tail -3 check.out)"; return; }
	"$edit" "$image" flush 2>err || { echo "cannot be opened for writing: $(cat err)"; return; }
	ublk-img check --data "$image" >check.out 2>&1 || { echo "check after recovery: $(tail -3 check.out)"; return; }
	# Snapshots that were taken, unless they are deleted somewhen, are what they were in the end.
	for name in $(snapshots end); do
		[ "${name#s}" -le "$mark" ] || continue
		ublk-img compare --strict "$image@$name" "end@$name" >err 2>&1 || { echo "snapshot $name: $(cat err)"; return; }
	done
	for name in $(awk -v mark="$mark" '$1 <= mark { print $2 }' deleted); do
		! grep -qx "$name" <<<"$(snapshots "$image")" || { echo "snapshot $name is back"; return; }
	done
	rm -f disk
	ublk-img convert -O raw "$image" disk 2>err || { echo "cannot be read: $(cat err)"; return; }
	loop=$(losetup --show -f disk)
	if ! mount "$loop" mnt 2>err; then
		losetup -d "$loop"
		echo "cannot be mounted: $(cat err)"
		return
	fi
	for n in $(seq "$mark"); do
		cmp "want/$n" "mnt/keep-$n" >err 2>&1 || { echo "lost: keep-$n, at mark $mark: $(cat err)"; break; }
	done
	umount mnt
	fsck_of "$fs" "$loop" >fsck.out 2>&1 || echo "fsck: $(grep -v '^Pass\|^Phase' fsck.out | head -5)"
	losetup -d "$loop"
}

# look FS HOW MOMENT MARK SEED
look() {
	cp --sparse=always base image
	"$replay" log "$2" image "$3" "$5" >replay.out
	sound "$1" image "$4"
}

# Moments at which a sync has just ended, and others between it and the next.
moments() {
	local total every
	total=$(wc -l <list)
	every=$((points ? (total + points - 1) / points : 1))
	awk -v every=$every -v start=$((RANDOM % every)) 'NR > 1 && (NR + start) % every == 0' list
}

try() {
	local fs=$1 moment mark next problem looked=0 found at how s
	record "$@"
	while read -r moment mark; do
		next=$(awk -v m="$moment" '$1 > m { print $1 - m; exit }' list)
		for s in $(seq "$seeds"); do
			at=$((moment + 1))
			[ $((looked % 2)) = 0 ] || at=$((at + RANDOM % ${next:-1}))
			problem=$(look "$fs" make $at "$mark" $((RANDOM + s)))
			[ -z "$problem" ] || fail "$fs, at $at after mark $mark: $problem"
			looked=$((looked + 1))
		done
	done < <(moments)
	echo "$fs: $looked power cuts, nothing lost"
	# It would be noticed if syncs did nothing, or a single one was left out: not at each moment.
	for how in make-without-syncs make-without-last; do
		found=0
		while read -r moment mark; do
			problem=$(look "$fs" $how $((moment + 1)) "$mark" $RANDOM)
			if [ -n "$problem" ]; then
				found=1
				echo "$how: $(head -1 <<<"$problem")"
				break
			fi
		done < <(points=100 && moments)
		[ $found = 1 ] || fail "$fs: nobody noticed: $how"
	done
}

try ext4 --zstd=1
if command -v mkfs.xfs >/dev/null; then
	try xfs --zstd=1
fi
