# SPDX-License-Identifier: MIT
# Three files on top of each other: a commit into the middle one changes what that one reads as, and
# nothing else; the lowest is not touched by it.
. "$TEST_ENV"
. "$top_srcdir/tests/cli/edit-lib.sh"
require jq --version

# both IMAGE WORD...: the same operations of edit-image on an image and on its copy, which stands
# alone.
both() {
	"$edit" "$1.ublk" "${@:2}"
	"$edit" "$1.copy" "${@:2}"
}
some_changes() { # IMAGE SIZE
	random_actions "$2" whole
	both "$1" "${actions[@]}"
}
# intact: both read as they have to, and whoever is lowest is as it was.
intact() {
	local image
	for image in upper middle; do
		ublk-img compare --strict $image.ublk $image.want >compare.out ||
			fail "$image: $(cat compare.out)"
		ublk-img check --data $image.ublk >check.out || fail "$image: $(cat check.out)"
	done
	cmp low.raw low.saved
	[ "$low" = low.raw ] || cmp low.ublk low.ublk.saved
}
# What a commit makes of the middle one.
committed() {
	dd if=upper.want of=middle.want bs=64K conv=notrunc status=none
}

ublk-img create --zstd base.ublk 4M
"$edit" base.ublk text 0 $((3 * m)) 1 write $((3 * m + 512 * k)) $((256 * k)) 2
ublk-img convert -O raw base.ublk base.raw
truncate -s $((4 * m - 1000)) base.raw # within a sector

# chain LOW MIDDLE-SIZE UPPER-SIZE MIDDLE-OPTIONS UPPER-OPTIONS
chain() {
	local low=$1 middle=$2 upper=$3 round pid
	echo "on $*"
	rm -f low.* middle.* upper.* short.ublk
	cp base.raw low.raw
	if [ "$low" = low.ublk ]; then
		ublk-img convert --zstd low.raw low.ublk
		cp low.ublk low.ublk.saved
	fi
	cp low.raw low.saved
	# Of the middle one: data, zeros over data, and what shows from below.
	# shellcheck disable=SC2086
	ublk-img create $4 --backing "$low" middle.ublk "$middle"
	# shellcheck disable=SC2086
	ublk-img convert $4 middle.ublk middle.copy
	both middle write $((64 * k)) $((128 * k)) 3 discard $((512 * k)) $((256 * k)) \
		text $m $((64 * k)) 4
	some_changes middle "$middle"
	# A snapshot of it keeps what it shows.
	ublk-img snapshot create middle.ublk before >/dev/null
	# Over that, and over what is lowest.
	# shellcheck disable=SC2086
	ublk-img create $5 --backing middle.ublk upper.ublk "$upper"
	# shellcheck disable=SC2086
	ublk-img convert $5 upper.ublk upper.copy
	both upper discard 0 $((256 * k)) write $((64 * k)) 4096 5 zero $((128 * k)) $((64 * k)) \
		write $((512 * k + 4096)) 4096 6 zero $((1280 * k)) $((256 * k))
	some_changes upper "$upper"
	ublk-img convert -O raw middle.copy middle.want
	ublk-img convert -O raw upper.copy upper.want
	cp middle.want before.want
	intact

	# Killed at any time, it reads the same, and another commit finishes it.
	for round in 1 2 3; do
		ublk-img commit upper.ublk 2>/dev/null &
		pid=$!
		sleep 0.0$((RANDOM % 90 + 10))
		kill -9 $pid 2>/dev/null || true
		wait $pid 2>/dev/null || true
		ublk-img compare --strict upper.ublk upper.want >compare.out 2>err ||
			fail "round $round: $(cat compare.out err)"
	done
	ublk-img commit upper.ublk
	[ "$(ublk-img info --json upper.ublk | jq '.clusters | .raw + .zstd + .zero')" = 0 ] ||
		fail "$(ublk-img info upper.ublk)"
	committed
	intact
	ublk-img compare --strict middle.ublk@before before.want >/dev/null

	# Once more, with what there is now.
	some_changes upper "$upper"
	ublk-img convert --force -O raw upper.copy upper.want
	intact
	ublk-img commit upper.ublk
	committed
	intact
	ublk-img compare --strict middle.ublk@before before.want >/dev/null

	# Without the middle one, which is copied as far as it differs.
	cp upper.ublk short.ublk
	ublk-img rebase --backing "$low" short.ublk
	ublk-img compare --strict short.ublk upper.want >/dev/null

	# The middle one into the lowest, which only who is no longer there could mind.
	expect_status 1 ublk-img commit middle.ublk 2>err
	grep -q 'snapshot' err || fail "$(cat err)"
	ublk-img snapshot delete middle.ublk before
	ublk-img rebase --unsafe --backing middle.ublk upper.ublk
	intact
	ublk-img commit middle.ublk
	ublk-img compare --strict middle.ublk middle.want >/dev/null
	ublk-img convert -O raw "$low" low.now
	cmp -n "$middle" low.now middle.want
	expect_status 2 ublk-img compare upper.ublk upper.want 2>err
	grep -q 'is not what it was' err || fail "$(cat err)"
	ublk-img rebase --unsafe --backing middle.ublk upper.ublk
	ublk-img compare --strict upper.ublk upper.want >/dev/null
}
chain low.raw $((4 * m)) $((4 * m)) "" ""
chain low.ublk $((4 * m)) $((6 * m)) --zstd --cluster-size=128K
chain low.raw $((2 * m)) $((5 * m)) --cluster-size=256K --zstd
chain low.ublk $((4 * m)) $((3 * m)) "--sector-size=4096 --zstd" --sector-size=4096
