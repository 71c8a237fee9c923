# SPDX-License-Identifier: MIT
# check: its exit statuses, what it prints, and that it notices damage of each kind.
. "$TEST_ENV"
. "$top_srcdir/tests/cli/golden.sh"
. "$top_srcdir/tests/cli/make-images.sh"
require jq --version

make_image good.ublk --zstd
run ublk-img check good.ublk
run ublk-img check --data --threads=2 --progress=never good.ublk
run ublk-img check --quiet good.ublk
run ublk-img check --json good.ublk
# The sizes of compressed clusters depend on the version of zstd.
sed -i -E -e 's/ in [0-9.]+ [KM]iB,/ in ...,/' -e 's/; .* of the file in use/; .../' \
	-e 's/("(compressed_bytes|used_units)": )[0-9]+/\1.../' transcript
golden check

# damaged STATUS NAME OFFSET [OPTION...]: a copy of the image in which the byte at OFFSET is another.
damaged() {
	cp good.ublk "$2.ublk"
	corrupt "$2.ublk" "$3"
	expect_status "$1" ublk-img check "${@:4}" "$2.ublk" >"$2.out" 2>"$2.err"
	[ -s "$2.out" ] || [ -s "$2.err" ] || fail "$2: nothing was said"
	status=0
	ublk-img check --json "${@:4}" "$2.ublk" >"$2.json" 2>/dev/null || status=$?
	[ "$status" = "$1" ] || fail "$2: exit status $status with --json"
	jq -e '.corruptions > 0 and (.problems | length) > 0' "$2.json" >/dev/null ||
		fail "$2: $(cat "$2.json")"
}

root=$(ublk-img info --json good.ublk | jq .generation)
root=$(ublk-img info --blocks good.ublk | sed -n "/^generation: $root$/,/^root:/s/^root: node unit \([0-9]*\) .*/\1/p" | head -n 1)
blob=$(ublk-img map --json good.ublk | jq '[.extents[] | select(.kind == "zstd").file_offset][0]')
table=$(ublk-img info --blocks good.ublk | sed -n 's/^\[group table at byte \([0-9]*\)\]/\1/p')

damaged 2 identification 100
damaged 2 node $((root * 4096 + 5))
damaged 2 alloc $((table + 4))
damaged 2 blob $((blob + 100)) --data
grep -q "$(printf 0x%x "$blob")" blob.out || fail "the damaged blob is not named: $(cat blob.out)"
expect_status 0 ublk-img check blob.ublk >/dev/null

# All superblocks, two pairs of copies: too damaged to be opened, and still an image.
cp good.ublk supers.ublk
for slot in 1 2 3 4; do corrupt supers.ublk $((slot * 65536 + 64)); done
run ublk-img check supers.ublk
run ublk-img check --json supers.ublk
run ublk-img info supers.ublk
expect_status 0 ublk-img info --blocks supers.ublk >blocks
[ "$(grep -c '^damaged: ' blocks)" = 2 ] || fail "info --blocks does not say what is damaged"

say "what is no image has not been checked"
echo text >text
run ublk-img check text
run ublk-img check missing
# Checksums depend on the image's random identity.
sed -i -E 's/0x[0-9a-f]{8}/0x.../g' transcript
golden check-damaged
