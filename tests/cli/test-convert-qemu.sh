# SPDX-License-Identifier: MIT
# convert against qemu-img: raw files that it made, and the same content out of both.
. "$TEST_ENV"
. "$top_srcdir/tests/cli/convert-lib.sh"
require qemu-img --version
require jq --version

make_mixed mixed

# Its raw files have holes of their own making.
for sparse in 0 4k 64k 1M; do
	qemu-img convert -f raw -O raw -S $sparse mixed q.raw
	round_trip q.raw --zstd
	ublk-img compare --strict rt.ublk mixed >/dev/null
done
qemu-img create -q -f raw created.raw 200M
round_trip created.raw --zstd
qemu-img create -q -f raw -o preallocation=full full.raw 32M
round_trip full.raw
[ "$(stat -c %s rt.ublk)" -le 2097152 ] || fail "preallocated zeros take space"

# What comes out of an image is what comes out of a qcow2 of the same disk.
qemu-img convert -f raw -c -O qcow2 -o compression_type=zstd mixed q.qcow2
qemu-img convert -O raw q.qcow2 from-qcow2.raw
ublk-img convert --zstd mixed u.ublk
ublk-img convert -O raw u.ublk from-ublk.raw
cmp from-qcow2.raw from-ublk.raw
qemu-img compare -q -f raw -F qcow2 from-ublk.raw q.qcow2
ublk-img convert -O raw u.ublk - >from-pipe.raw
qemu-img compare -q -s -f raw -F raw from-pipe.raw from-qcow2.raw ||
	qemu-img compare -q -f raw -F raw from-pipe.raw from-qcow2.raw

# Like qemu-img, an odd size is rounded up to a whole sector.
text 1300 >odd
qemu-img convert -f raw -O raw odd odd.qemu
ublk-img convert odd odd.ublk 2>/dev/null
ublk-img convert -O raw odd.ublk odd.raw
cmp odd.qemu odd.raw
