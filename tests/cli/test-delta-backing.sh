# SPDX-License-Identifier: MIT
# Deltas of images that stand on top of others: they hold what changed on the disk, of which the
# backing shows a part, and need no backing; and such an image is as good a target as any.
. "$TEST_ENV"
. "$top_srcdir/tests/cli/edit-lib.sh"
require jq --version

# both WORD...: the same operations of edit-image on the overlay and on a copy that stands alone.
both() {
	"$edit" over.ublk "$@"
	"$edit" plain.ublk "$@"
}
both_sizes() {
	local image
	for image in over.ublk plain.ublk; do
		ublk-img resize --shrink $image "$1"
	done
}
# both_snapshot NAME: it shows the same in both.
both_snapshot() {
	ublk-img snapshot create over.ublk "$1" >/dev/null
	ublk-img snapshot create plain.ublk "$1" >/dev/null
	same over.ublk@"$1" plain.ublk@"$1"
}
change_at_random() { # SIZE
	random_actions "$1" whole
	both "${actions[@]}"
}
# step SINCE UNTIL: full copies and other overlays that are at the one come to be at the other.
step() {
	rm -f one.d one.r one.r.extents
	ublk-img convert --zstd --since "$1" over.ublk@"$2" one.d
	ublk-img convert -O raw --since "$1" --from-snapshot "$2" over.ublk one.r
	[ "$(ublk-img info --json one.d | jq .backing)" = null ] || fail "a delta has a backing"
	sound one.d
	# Without what is below it.
	mkdir -p away
	mv below.* away/
	ublk-img apply one.d copy.ublk
	ublk-img apply --force one.r copy.raw
	mv away/below.* .
	ublk-img apply one.d twin.ublk
	ublk-img apply --force one.r other.ublk
	for target in copy.ublk copy.raw twin.ublk other.ublk; do
		same plain.ublk@"$2" $target
	done
	sound twin.ublk
}

ublk-img create --zstd base.ublk 12M
"$edit" base.ublk text 0 $((3 * m)) 1 write $((5 * m)) $m 2 text $((8 * m)) $((4 * m)) 3
ublk-img convert -O raw base.ublk base.raw
# Ends within a sector of whatever size.
truncate -s $((12 * m - 1111)) base.raw

round() { # BELOW OPTION...
	local below=$1 size=$((11 * m)) i fault
	echo "on $*"
	rm -f below.* over.ublk plain.ublk copy.* twin.ublk other.ublk
	shift
	case $below in
	below.raw)
		cp base.raw below.raw
		;;
	*)
		# It has a backing, too, of which not all shows.
		cp base.raw below.raw
		ublk-img create --backing below.raw below.ublk 10M
		"$edit" below.ublk text $((4 * m)) $((512 * k)) 4 discard $m $((256 * k))
		ublk-img snapshot create below.ublk kept >/dev/null
		[ $below != below.ublk@kept ] || "$edit" below.ublk write 0 $((12 * k)) 5
		;;
	esac
	ublk-img create "$@" --backing "$below" over.ublk "$size"
	ublk-img convert "$@" over.ublk plain.ublk
	both write $((64 * k)) 4096 6 discard $((2 * m)) $((256 * k))
	both_snapshot 0
	ublk-img convert over.ublk@0 copy.ublk
	ublk-img convert -O raw over.ublk@0 copy.raw
	# By its snapshots a copy as well; and one that shows the same of something else.
	cp over.ublk twin.ublk
	cp copy.raw below.other.raw
	ublk-img create "$@" --backing below.other.raw other.ublk

	# Nothing has changed, and so there is nothing of what is below either.
	both_snapshot same
	ublk-img convert --since 0 over.ublk@same none.d
	[ "$(ublk-img map --json none.d | jq '[.extents[] | select(.kind != "hole")] | length')" = 0 ] ||
		fail "$(ublk-img map none.d)"
	ublk-img apply none.d copy.ublk
	ublk-img apply none.d twin.ublk
	rm none.d

	# Data over data of the backing, zeros over it, and what has been zeros before.
	both text $((3 * m)) $((128 * k)) 7 zero 0 $((64 * k)) discard $((8 * m + 256 * k)) $m \
		write $((2 * m + 8192)) 4096 8
	both_snapshot 1
	step same 1
	[ "$(jq '[.extents[].length] | add' one.r.extents)" -lt $((2 * m)) ] ||
		fail "a delta holds what has not changed"

	# Cut off, and there again, where nothing of the image itself has changed.
	both_sizes $((6 * m + 8192))
	both_sizes "$size"
	both_snapshot 2
	step 1 2

	# Smaller, larger than ever.
	both_sizes $((7 * m + 4096))
	both_snapshot 3
	step 2 3
	both_sizes $((13 * m))
	both write $((12 * m + 4096)) 8192 9
	both_snapshot 4
	step 3 4

	for i in 5 6; do
		change_at_random $((13 * m))
		both_snapshot $i
		step $((i - 1)) $i
	done

	# Backwards, and across all of it.
	step 6 2
	step 2 0
	step 0 6
	# The disk as it is, and going back by a snapshot of its own.
	ublk-img snapshot rollback --keep=kept over.ublk 2
	ublk-img snapshot rollback --keep=kept plain.ublk 2
	change_at_random "$size"
	same over.ublk plain.ublk
	ublk-img convert --since 6 over.ublk live.d
	ublk-img apply live.d copy.ublk
	ublk-img apply live.d twin.ublk
	same plain.ublk copy.ublk
	same plain.ublk twin.ublk
	# Interrupted, on top of a backing.
	ublk-img snapshot rollback --keep=mine twin.ublk 0
	rm -f live.d one.d
	ublk-img convert --since 0 over.ublk@5 one.d
	for fault in apply_content convert_write:3 convert_finish apply_done; do
		cp twin.ublk broken.ublk
		UBLK_IMG_FAULTS=$fault expect_status 1 ublk-img apply one.d broken.ublk 2>err
		sound broken.ublk
		ublk-img apply one.d broken.ublk
		same plain.ublk@5 broken.ublk
	done
	rm -f one.d broken.ublk
	sound over.ublk
	sound copy.ublk
	sound other.ublk
	same over.ublk plain.ublk
}
round below.raw --zstd --sector-size=4096
round below.ublk
round below.ublk@kept --zstd --cluster-size=128K
