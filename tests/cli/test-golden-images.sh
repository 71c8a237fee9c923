# SPDX-License-Identifier: MIT
# Images of the released format stay readable for ever: compressed, as it is, and one that was not
# closed, with a journal to replay.
. "$TEST_ENV"

# golden NAME SHA256: the image of that name is sound and holds just this.
golden() {
	local found
	gzip -dc "$top_srcdir/tests/golden/v1/$1.ublk.gz" | dd of="$1.ublk" bs=64K conv=sparse status=none
	ublk-img check --data "$1.ublk" >check.out 2>&1 || fail "$1: $(cat check.out)"
	found=$(ublk-img convert -O raw "$1.ublk" - | sha256sum | cut -d' ' -f1)
	[ "$found" = "$2" ] || fail "$1 holds $found"
}

golden zstd a0f02aca9a45b5caa559cc9aba9c285b41ec7d0d424250abfa35e2bad4082b65
golden raw a0f02aca9a45b5caa559cc9aba9c285b41ec7d0d424250abfa35e2bad4082b65
golden journal bec28736b36dcaaf214d79b0bfc710b7d26d5dce33ba3c8a19f2108e6418f126
ublk-img info journal.ublk | grep -q '3 transactions to replay'

# Opening it to write recovers it, and what follows is sound as well.
ublk-img resize journal.ublk +1M
ublk-img info journal.ublk | grep -q 'clean$'
ublk-img check --data journal.ublk >check.out 2>&1 || fail "recovered: $(cat check.out)"
ublk-img convert -O raw journal.ublk recovered
truncate -s 8M recovered
found=$(sha256sum <recovered | cut -d' ' -f1)
[ "$found" = bec28736b36dcaaf214d79b0bfc710b7d26d5dce33ba3c8a19f2108e6418f126 ]
