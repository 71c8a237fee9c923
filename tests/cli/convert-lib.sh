# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# For the scripts that test convert:   . "$top_srcdir/tests/cli/convert-lib.sh"

# noise BYTES: does not compress.  text BYTES: does.  Both are the same on every run.
noise() {
	perl -e '
		my $left = shift;
		srand 7;
		for (; $left > 0; $left -= 65536) {
			my $some = pack "V*", map { int rand 4294967296 } 1 .. 16384;
			print substr $some, 0, $left;
		}' "$1"
}
text() {
	{ seq "$1" 1000000000 || true; } 2>/dev/null | head -c "$1"
}

# patch FILE OFFSET: standard input goes there.
patch() {
	dd of="$1" bs=64K oflag=seek_bytes seek="$2" conv=notrunc iflag=fullblock status=none
}

# make_mixed FILE: 40 MiB and a bit with all kinds of clusters, holes, and an end inside a cluster.
make_mixed() {
	truncate -s $((40 * 1024 * 1024 + 53248)) "$1"
	text 5000000 | patch "$1" 0
	noise 3000000 | patch "$1" 5242880
	head -c 2000000 /dev/zero | patch "$1" 9000000
	printf x | patch "$1" 13000000
	for ((i = 0; i < 40; i++)); do
		noise $((1000 + 3000 * i)) | patch "$1" $((15000000 + 150000 * i))
		text $((500 + 2500 * i)) | patch "$1" $((15000000 + 150000 * i + 70000))
	done
	printf y | patch "$1" $((30 * 1024 * 1024 - 1))
	text 100000 | patch "$1" $((40 * 1024 * 1024 - 48800))
}

# compact FILE: its length is the space that it takes, to within 1 %, the 2 MiB at its beginning of
# which hardly any is used, and what comes of aligning a cluster of 256 KiB.
compact() {
	local length usage
	length=$(stat -c %s "$1")
	usage=$(($(stat -c %b "$1") * 512))
	[ "$length" -le $((usage + usage / 100 + 2097152 + 262144)) ] ||
		fail "$1 has $length bytes, but takes $usage"
	[ "$usage" -le $((length + 65536)) ] || fail "$1 takes $usage, more than its $length bytes"
}

# sound IMAGE: check finds nothing wrong, in the data neither; and it is compact.
sound() {
	ublk-img check --data "$1" >check.out 2>&1 || fail "$1: $(cat check.out)"
	compact "$1"
}

# round_trip RAW [OPTION...]: RAW to an image and back, three ways.
round_trip() {
	rm -f rt.*
	ublk-img convert "${@:2}" "$1" rt.ublk
	sound rt.ublk
	ublk-img compare --strict "$1" rt.ublk >/dev/null || fail "$1 and its image differ"
	ublk-img convert -O raw rt.ublk rt.raw
	cmp "$1" rt.raw
	ublk-img convert -O raw rt.ublk - >rt.piped
	cmp "$1" rt.piped
	rm -f rt.piped
}

# nothing_left: no temporary file, no new.* file.
nothing_left() {
	local left
	left=$(find . -maxdepth 1 \( -name '.ublk-img*' -o -name 'new.*' \) -print)
	[ -z "$left" ] || fail "left behind: $left"
}
