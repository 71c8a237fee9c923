# SPDX-License-Identifier: MIT
# A bridge that nobody uses has given back the memory that requests took.
. "$TEST_ENV"
. "$top_srcdir/tests/loop/loop-lib.sh"
require jq --version

ublk-img create --zstd a.ublk 1T
kib() {
	sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$pid/status"
}
idle() {
	[ "$(kib)" -lt $(((first + busy) / 2)) ]
}
# all_at_once DD-OPTION...: each thread has requests of a MiB.
all_at_once() {
	local i jobs=()
	for i in {1..4}; do
		dd bs=1M count=16 status=none "${@//AT/$((16 * i))}" &
		jobs+=($!)
	done
	wait "${jobs[@]}"
}
# check_idle ATTACH-OPTION...
check_idle() {
	local device pid first busy
	device=$(ublk-img attach --mode=loop "$@" a.ublk)
	pid=$(ublk-img list --json | jq -r '.devices[0].pid')
	first=$(kib)
	[ $# -gt 0 ] || all_at_once if=/dev/urandom of="$device" seek=AT oflag=direct
	all_at_once if="$device" of=/dev/null skip=AT iflag=direct
	busy=$(kib)
	echo "attached $* $first KiB, busy $busy KiB"
	# A sanitizer has memory of its own, and keeps what is freed.
	if ! grep -q 'lib[a-z]*san' "/proc/$pid/maps"; then
		await idle
		echo "idle $(kib) KiB"
		[ "$(kib)" -lt $((48 << 10)) ]
	fi
	ublk-img detach a.ublk
}
check_idle
check_idle --read-only
