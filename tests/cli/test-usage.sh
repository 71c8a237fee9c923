# SPDX-License-Identifier: MIT
# What wrong usage gets: messages that name the thing, and the exit status of wrong usage.
. "$TEST_ENV"
. "$top_srcdir/tests/cli/golden.sh"

run ublk-img
run ublk-img --version
run ublk-img crate
run ublk-img inf
run ublk-img frobnicate
run ublk-img --frobnicate
run ublk-img --debug
run ublk-img --debug=jurnal info x
run ublk-img --debug=store, info x
run ublk-img help frobnicate
run ublk-img help --pod --json
run ublk-img help create info
golden usage-main

say "unknown, ambiguous and wrongly used options"
run ublk-img create --frobnicate x 1M
run ublk-img create --frob=1 x 1M
run ublk-img create --jsn x 1M
run ublk-img create --s=512 --clust=64k --z=x x 1M
run ublk-img create --ve x 1M
run ublk-img create -x x 1M
run ublk-img create --json=yes x 1M
run ublk-img map --offset
run ublk-img compare -f

say "operands"
run ublk-img create
run ublk-img create x
run ublk-img create x 1M 2M
run ublk-img info
run ublk-img info x y
run ublk-img map
run ublk-img resize x
run ublk-img resize x +1 +2
run ublk-img measure
say "check and compare have other exit statuses for wrong usage: 2 and 1 mean something else"
run ublk-img check
run ublk-img check x y
run ublk-img check --frobnicate x
run ublk-img compare x
run ublk-img compare --frobnicate x y
golden usage-commands

say "sizes"
for size in '' x -1 1.5 1.G .5G 1X 1KB 1kib '1 G' 0x10 8E 9223372036854775807 \
	9223372036854775808 99999999999999999999999999 1.9999999999999999999999E 1e3 1,5G; do
	run ublk-img map --offset="$size" missing
done
say "other values"
for level in x '' 23 -129 3.5 ' 3' 99999999999999999999; do
	run ublk-img create --zstd="$level" new 1M
done
run ublk-img create --cluster-size=32K new 1M
run ublk-img create --cluster-size=512K new 1M
run ublk-img create --cluster-size=65537 new 1M
run ublk-img create --cluster-size=x new 1M
run ublk-img create --sector-size=1K new 1M
run ublk-img create --sector-size= new 1M
run ublk-img check --threads=0 x
run ublk-img check --threads=257 x
run ublk-img check --threads=two x
run ublk-img check --progress=sometimes x
run ublk-img compare --format=qcow2 x y
run ublk-img compare --format-b=qcow2 x y
run ublk-img measure --format= x
golden usage-values

[ ! -e new ] || fail "a command with wrong usage made a file"
