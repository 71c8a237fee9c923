# SPDX-License-Identifier: MIT
# compare: each kind of disk on either side, exit statuses, offsets, sizes, and agreement with cmp.
. "$TEST_ENV"
. "$top_srcdir/tests/cli/golden.sh"
. "$top_srcdir/tests/cli/make-images.sh"
require jq --version

make_image a.ublk
make_image b.ublk --zstd --cluster-size=128K
make_raw a.ublk raw

say "identical"
run ublk-img compare a.ublk b.ublk
run ublk-img compare a.ublk raw
run ublk-img compare raw b.ublk
run ublk-img compare raw raw
run ublk-img compare --strict --threads=3 --json a.ublk raw
cp --sparse=never raw full
run ublk-img compare raw full

say "an image as the raw file that it is"
run ublk-img compare -f raw -F raw a.ublk a.ublk
run ublk-img compare -f raw a.ublk raw
run ublk-img compare -f ublk raw raw
run ublk-img compare -F ublk a.ublk raw

say "different"
cp --sparse=always raw other
corrupt other 131073
corrupt other 250000000
run ublk-img compare raw other
run ublk-img compare a.ublk other
run ublk-img compare --json other b.ublk
cp --sparse=always raw late
corrupt late 268435455
run ublk-img compare late a.ublk

say "sizes"
cp --sparse=always raw longer
truncate -s 300M longer
run ublk-img compare a.ublk longer
run ublk-img compare longer a.ublk
run ublk-img compare -s longer a.ublk
run ublk-img compare --json -s longer a.ublk
corrupt longer 299999999
run ublk-img compare a.ublk longer
: >empty
run ublk-img compare empty empty
ublk-img create empty.ublk 0
run ublk-img compare empty empty.ublk
truncate -s 1000 odd
run ublk-img compare empty odd
run ublk-img compare -s empty odd
ublk-img create odd.ublk 1000 2>/dev/null
run ublk-img compare odd odd.ublk
printf x | dd of=odd bs=1 seek=999 conv=notrunc status=none
run ublk-img compare odd odd.ublk

say "no disks"
mkdir dir
mkfifo fifo
run ublk-img compare a.ublk missing
run ublk-img compare missing a.ublk
run ublk-img compare a.ublk dir
run ublk-img compare fifo raw
run ublk-img compare /dev/null raw
golden compare

# Differences at random places, as cmp sees them.
RANDOM=${SEED:-$$}
echo "SEED=$RANDOM"
for i in 1 2 3 4 5 6 7 8; do
	cp --sparse=always raw changed
	for ((j = 0; j < i; j++)); do
		corrupt changed $(((RANDOM << 13 | RANDOM) % 268435456))
	done
	want=$(cmp raw changed | sed 's/.*: [a-z]* \([0-9]*\),.*/\1/' || true)
	got=$(ublk-img compare --json --threads=$i b.ublk changed | jq .first_difference || true)
	[ "$got" = $((want - 1)) ] || fail "the first difference is at $((want - 1)), not at $got"
done
