# SPDX-License-Identifier: MIT
# The same writes, discards and zeroing, on a device and on a plain file, leave the same bytes; in
# every mode, on disks of every kind; also after the image was attached again.
# Kernels: 7.3 6.18 6.12
. "$TEST_ENV"
. "$top_srcdir/tests/vm/attach-lib.sh"

replay=$top_builddir/tests/fuse/replay
operations=$((effort * 200))
seed=1
for mode in $modes; do
	for kind in empty-raw empty-zstd mixed; do
		echo "--- $mode, $kind, seed $seed, $operations operations in each of 4 threads"
		rm -f a.ublk a.ublk.raw
		make_image a.ublk "$kind"
		[ -e a.ublk.raw ] || truncate -s 256M a.ublk.raw
		attach a.ublk "--mode=$mode"
		"$replay" "$device" a.ublk.raw "$seed" "$operations" 4 $((4096 << seed % 7))
		same_bytes a.ublk.raw
		detach "$device"
		ublk-img check --data a.ublk >/dev/null
		expect_status 0 ublk-img compare --quiet a.ublk a.ublk.raw
		seed=$((seed + 1))
	done
done
