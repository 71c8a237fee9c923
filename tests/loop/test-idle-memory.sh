# SPDX-License-Identifier: MIT
# A bridge that nobody uses has given back the memory that requests took.
. "$TEST_ENV"
. "$top_srcdir/tests/loop/loop-lib.sh"
require jq --version

ublk-img create --zstd a.ublk 1T
device=$(ublk-img attach --mode=loop a.ublk)
pid=$(ublk-img list --json | jq -r '.devices[0].pid')
kib() {
	sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$pid/status"
}
idle() {
	[ "$(kib)" -lt $(((first + busy) / 2)) ]
}
first=$(kib)

jobs=()
# Each thread has requests of a MiB to write, to compress and to read.
for i in {1..4}; do
	dd if=/dev/urandom of="$device" bs=1M count=16 seek=$((16 * i)) oflag=direct status=none &
	jobs+=($!)
done
wait "${jobs[@]}"
jobs=()
for i in {1..4}; do
	dd if="$device" of=/dev/null bs=1M count=16 skip=$((16 * i)) iflag=direct status=none &
	jobs+=($!)
done
wait "${jobs[@]}"
busy=$(kib)
echo "attached $first KiB, busy $busy KiB"
# A sanitizer has memory of its own, and keeps what is freed.
if ! grep -q 'lib[a-z]*san' "/proc/$pid/maps"; then
	await idle
	echo "idle $(kib) KiB"
	[ "$(kib)" -lt $((48 << 10)) ]
fi
ublk-img detach a.ublk
