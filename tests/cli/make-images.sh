# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# Images and raw files with the same known content, for the scripts of this directory.

edit=$top_builddir/tests/cli/edit-image

# make_image NAME [OPTION...]: NAME is an image of a disk of 256 MiB with some of everything in it,
# made by the same steps each time.
make_image() {
	ublk-img create "${@:2}" "$1" 256M
	"$edit" "$1" \
		write 0 65536 1 \
		write 131072 262144 2 \
		text 1048576 524288 3 \
		write 16777216 4096 4 \
		write 16789504 8192 5 \
		text 200000000 0 6 \
		zero 1114112 65536 \
		discard 196608 65536 \
		text 268369920 65536 7
}

# make_raw IMAGE RAW: what is on the image's disk, as a sparse file that did not exist.
make_raw() {
	local size
	size=$(ublk-img info --json "$1" | jq .virtual_size)
	"$edit" "$1" read 0 "$size" | dd of="$2" bs=1M iflag=fullblock conv=sparse status=none
	truncate -s "$size" "$2"
	[ "$(stat -c %s "$2")" = "$size" ] || fail "$2 has the wrong size"
}

# corrupt FILE OFFSET: another value for the byte there.
corrupt() {
	local byte
	byte=$(od -An -tu1 -j "$2" -N 1 "$1")
	# shellcheck disable=SC2059
	printf "\\x$(printf %02x $((byte ^ 0xff)))" |
		dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
