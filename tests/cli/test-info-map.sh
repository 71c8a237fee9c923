# SPDX-License-Identifier: MIT
# info and map say what is in an image, in text and in JSON, and agree with each other.
. "$TEST_ENV"
. "$top_srcdir/tests/cli/golden.sh"
. "$top_srcdir/tests/cli/make-images.sh"
require jq --version

make_image raw.ublk
make_image zstd.ublk --zstd
make_image large.ublk --zstd=1 --cluster-size=256K --sector-size=4096

for image in raw.ublk zstd.ublk large.ublk; do
	run ublk-img info "$image"
	run ublk-img map "$image"
done
# Where things are put is the allocator's choice, and how small they become that of zstd's version.
mask() {
	sed -i -E -e 's/^([ 0-9]{16} [ 0-9]{16}  (raw|zstd)) .*/\1 .../' \
		-e 's/^(stored in|ratio|file length|generation|state):.*/\1: .../' \
		-e 's/("(file_length|used_units|generation)": )[0-9]+/\1.../' \
		-e 's/"file_offset":[0-9]+/"file_offset":.../' \
		-e 's/^((crc|generation|journal_[a-z]*|phys_regions|used_units|root\[0\]): ).*/\1.../' \
		-e 's/^((entry [0-9]*|root): node unit ).*/\1.../' -e 's/^(\[.* at byte ).*/\1...]/' \
		-e 's/^(region [0-9]+: [a-z]+), .*/\1 .../' transcript
}
mask
golden info-map

run ublk-img info --json raw.ublk
run ublk-img map --json raw.ublk
run ublk-img info --blocks raw.ublk
mask
golden info-map-json

say "parts of the map"
run ublk-img map --offset=64K --length=128K raw.ublk
run ublk-img map --offset=65537 --length=1 raw.ublk
run ublk-img map --offset=16M --length=16K raw.ublk
run ublk-img map --offset=256M raw.ublk
run ublk-img map --offset=268435457 raw.ublk
run ublk-img map --offset=255M --length=1P raw.ublk
run ublk-img map --length=0 raw.ublk
run ublk-img map --json --offset=256M raw.ublk
mask
golden map-parts

# The two forms of the map are one, it has no gaps, and its sums are those of info.
for image in raw.ublk zstd.ublk large.ublk; do
	ublk-img map "$image" | awk 'NR > 1 { print $1, $2, $3, $4, $5 }' >text
	ublk-img map --json "$image" | jq -r '.extents[] |
		"\(.offset) \(.length) \(.kind) \(.file_offset // "-") \(.stored // "-")"' >json
	diff text json
	ublk-img map --json "$image" | jq -e '
		([.extents[].length] | add) == .virtual_size and
		([foreach .extents[] as $e ({next: 0}; {ok: (.next == $e.offset), next: ($e.offset + $e.length)}; .ok)] | all)' >/dev/null ||
		fail "$image: the map has gaps"
	map_sums=$(ublk-img map --json "$image" | jq -c '[
		([.extents[] | select(.kind == "raw").stored] | add // 0),
		([.extents[] | select(.kind == "zstd").stored] | add // 0),
		([.extents[] | select(.kind == "raw" or .kind == "zstd").length] | add // 0)]')
	info_sums=$(ublk-img info --json "$image" | jq -c '[.raw_bytes, .compressed_bytes, .mapped_bytes]')
	[ "$map_sums" = "$info_sums" ] || fail "$image: map $map_sums, info $info_sums"
	ublk-img info --json "$image" | jq -e '
		([.clusters[]] | add) == .virtual_size / .cluster_size' >/dev/null ||
		fail "$image: clusters are missing"
done
[ "$(ublk-img info --json zstd.ublk | jq '.clusters.zstd >= 8 and .ratio > 1')" = true ] ||
	fail "nothing was compressed"

# What the map says is where the bytes are.
make_raw raw.ublk raw
ublk-img map --json raw.ublk | jq -r '.extents[] | select(.kind == "raw") |
	"\(.offset) \(.length) \(.file_offset)"' >extents
[ -s extents ] || fail "the map has no raw extents"
while read -r offset length file_offset; do
	cmp -n "$length" raw raw.ublk "$offset" "$file_offset"
done <extents

# An image that was not closed: what was flushed is there, and opening read-only changes nothing.
"$edit" raw.ublk write 33554432 65536 8 flush crash
cp raw.ublk copy
run ublk-img info raw.ublk
run ublk-img map --offset=32M --length=64K raw.ublk
ublk-img info --blocks raw.ublk >blocks
grep -q '^\[transaction at byte ' blocks || fail "info --blocks shows no transaction"
grep -q ': map ' blocks || grep -q 'map' blocks || fail "the transaction has no record"
cmp raw.ublk copy
grep -q '^state: .*not closed cleanly; [0-9]* transactions* to replay' transcript
mask
golden info-unclean
