# SPDX-License-Identifier: MIT
# measure: says what convert will make, to the byte where it says so.
. "$TEST_ENV"
. "$top_srcdir/tests/cli/golden.sh"
. "$top_srcdir/tests/cli/make-images.sh"
require jq --version

make_image a.ublk
make_raw a.ublk raw

run ublk-img measure raw
run ublk-img measure a.ublk
run ublk-img measure --json raw
run ublk-img measure --exact raw
run ublk-img measure --exact --threads=3 --cluster-size=256K --json a.ublk
: >empty
run ublk-img measure empty
run ublk-img measure --zstd empty
truncate -s 1T huge
run ublk-img measure --zstd=19 huge
ublk-img create b.ublk 1P
run ublk-img measure --exact b.ublk
run ublk-img measure missing
run ublk-img measure -f ublk raw
run ublk-img measure /dev/null
golden measure

# near A B BYTES: A and B are no more than that apart.
near() {
	[ "$1" -le $(($2 + $3)) ] || fail "$1 is much more than $2"
	[ "$2" -le $(($1 + $3)) ] || fail "$1 is much less than $2"
}
measured() {
	ublk-img measure --json "$@" | jq .required_size
}
method() {
	ublk-img measure --json "$@" | jq -r .method
}
converted() {
	rm -f out.ublk
	ublk-img convert "${@:2}" "$1" out.ublk
	stat -c %s out.ublk
}

# With raw clusters the answer is exact, whatever the source.
for source in raw a.ublk; do
	for option in --cluster-size=64K --cluster-size=128K --cluster-size=256K; do
		got=$(measured --exact $option "$source")
		want=$(converted "$source" $option)
		[ "$got" = "$want" ] || fail "$source $option: measured $got, converted $want"
	done
done

# Compressed, threads decide which clusters share a batch: within a few units for each batch.
[ "$(method --zstd raw)" = exact ] || fail "so few clusters are all read"
got=$(measured --zstd raw)
want=$(converted raw --zstd)
near "$got" "$want" 65536

# A sample: half of the clusters compress, half do not.
truncate -s 1G large
"$edit" b.ublk text 0 134217728 1 write 134217728 134217728 2 text 268435456 134217728 3
"$edit" b.ublk read 0 402653184 | dd of=large bs=1M conv=notrunc status=none iflag=fullblock
[ "$(method --zstd large)" = sample ] || fail "a large source is sampled"
[ "$(method --zstd --exact large)" = exact ] || fail "--exact is not exact"
got=$(measured --zstd large)
want=$(measured --zstd --exact large)
near "$got" "$want" $((want / 50))
