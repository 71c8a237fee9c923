# SPDX-License-Identifier: MIT
# resize: larger, smaller, by how much, and what it refuses.
. "$TEST_ENV"
. "$top_srcdir/tests/cli/golden.sh"
. "$top_srcdir/tests/cli/make-images.sh"
require jq --version

size() {
	# Not with jq, which rounds above 2^53.
	ublk-img info --json "$1" | sed -n 's/.*"virtual_size": \([0-9]*\),/\1/p'
}

make_image a.ublk --zstd
make_raw a.ublk raw
run ublk-img resize a.ublk +256M
run ublk-img resize --json a.ublk 1T
run ublk-img resize -v a.ublk 1T
run ublk-img resize a.ublk +0
run ublk-img check a.ublk
[ "$(size a.ublk)" = 1099511627776 ] || fail "wrong size"
# Only zeros were added.
expect_status 0 ublk-img compare a.ublk raw >/dev/null

say "smaller only with --shrink"
cp a.ublk before
run ublk-img resize a.ublk 1G
run ublk-img resize a.ublk -1G
run ublk-img resize a.ublk -2T
run ublk-img resize --shrink a.ublk -2T
cmp a.ublk before
run ublk-img resize --shrink --json a.ublk -1T
run ublk-img resize a.ublk 0
run ublk-img resize --shrink a.ublk -- 1049088
run ublk-img check --data a.ublk
[ "$(size a.ublk)" = 1049088 ] || fail "wrong size"
# What was cut off does not come back.
run ublk-img resize a.ublk 256M
truncate -s 1049088 raw
expect_status 0 ublk-img compare a.ublk raw >/dev/null

say "odd sizes, and the limit"
run ublk-img resize a.ublk +1
run ublk-img resize a.ublk 64P
run ublk-img resize a.ublk +512
run ublk-img resize a.ublk 65P
run ublk-img resize a.ublk 7E
run ublk-img resize a.ublk x
run ublk-img resize a.ublk +x
run ublk-img resize a.ublk -x
run ublk-img resize a.ublk ''
run ublk-img resize a.ublk +
run ublk-img resize -1G a.ublk
run ublk-img resize missing +1G
[ "$(size a.ublk)" = 72057594037927936 ] || fail "wrong size"
run ublk-img check --data a.ublk
sed -i -E -e 's/ in [0-9.]+ [KM]iB,/ in ...,/' -e 's/; .* of the file in use/; .../' transcript
golden resize
