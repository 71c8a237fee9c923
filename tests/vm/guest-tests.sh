#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# guest-tests.sh TEST...: in the guest, run each test, a path of a script, under the rules of run-test.sh.  For each,
# NAME.status and NAME.log go to the share.  A test that leaves a mount or a configured device behind
# has failed.
set -u

tests=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
results=/run/vm/share

# Mounts and devices in use, one a line.
in_use() {
	local path
	cut -d ' ' -f 1-3 /proc/self/mounts
	losetup --noheadings --list --output NAME,BACK-FILE 2>/dev/null
	for path in /sys/block/ublkb* /sys/class/ublk-char/* /sys/block/dm-* /sys/block/nbd*/pid; do
		if [ -e "$path" ]; then
			echo "$path"
		fi
	done
}

for test; do
	name=$(basename "$test" .sh)
	echo "vm/guest-tests: $name" >/dev/kmsg
	in_use >/run/vm/before
	bash "$tests/run-test.sh" bash "$test" >"$results/$name.log" 2>&1
	status=$?
	in_use >/run/vm/after
	if ! diff /run/vm/before /run/vm/after >/run/vm/left; then
		echo "FAIL: left behind (>) or taken away (<):"
		cat /run/vm/left
		status=1
	fi >>"$results/$name.log"
	echo "$status" >"$results/$name.status"
done
