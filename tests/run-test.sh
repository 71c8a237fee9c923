#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# run-test.sh COMMAND [ARGUMENT...]: run one test under the rules that every test obeys.
#
#   * It has a directory of its own (UBLK_IMG_TEST_DIR, also TMPDIR), removed when the test passes
#     and kept, with its path printed, when it fails.
#   * It has UBLK_IMG_TEST_TIMEOUT seconds (default 900).  Then the stacks of everything it started
#     are printed, all of it is killed, and the test has failed.
#   * A process that outlives the test is killed, and the test has failed.
#   * Exit status 77 is a skip; with UBLK_IMG_NO_SKIP=1 it becomes 99, a hard error.
#
# Processes are found by a mark in their environment, so that a daemon that left the process group
# is found as well.
set -u

limit=${UBLK_IMG_TEST_TIMEOUT:-900}
parent=${TMPDIR:-/var/tmp}
[ $# -gt 0 ] || { echo "usage: run-test.sh COMMAND [ARGUMENT...]" >&2; exit 99; }

dir=$(mktemp -d "$parent/ublk-img-test.XXXXXX") || exit 99
mark=UBLK_IMG_TEST_DIR=$dir

started_here() {
	grep -lsz -x -F -- "$mark" /proc/[0-9]*/environ | sed 's,^/proc/\([0-9]*\)/.*,\1,'
}

describe() {
	tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline"
}

print_stacks() {
	local pid task
	for pid in $(started_here); do
		echo "--- process $pid: $(describe "$pid")"
		case $(cat "/proc/$pid/comm" 2>/dev/null) in
		bash | sh | sleep | timeout) continue ;;
		esac
		if command -v gdb >/dev/null; then
			timeout -k 5 60 gdb -p "$pid" -batch -nx -ex 'thread apply all bt' 2>&1 |
				grep -v -e '^\[New LWP' -e '^warning:'
		else
			echo "(no gdb; what each thread waits for in the kernel:)"
			for task in /proc/"$pid"/task/*; do
				echo "${task##*/}: $(cat "$task/wchan" 2>/dev/null)"
				cat "$task/stack" 2>/dev/null
			done
		fi
	done
}

kill_all() {
	local pids round
	for round in 1 2 3 4 5 6 7 8 9 10; do
		pids=$(started_here)
		[ -n "$pids" ] || return 0
		# shellcheck disable=SC2086 # a list of numbers
		kill "-$([ "$round" -le 2 ] && echo TERM || echo KILL)" $pids 2>/dev/null
		sleep 0.2
	done
}

trap 'trap "" INT TERM HUP; kill_all; echo "interrupted; files are in $dir"; exit 1' INT TERM HUP

# The watchdog's input ends when the test does, or when this script is killed.  It leaves a note,
# because a killed test may have any exit status.
note=$dir.timeout
watchdog() {
	local status=0
	read -r -t "$limit" || status=$?
	if [ "$status" -gt 128 ]; then
		: >"$note"
		echo "TIMEOUT: no result after $limit seconds"
		print_stacks
		kill_all
	fi
}
exec {running}> >(watchdog)
watchdog_pid=$!

(
	exec {running}>&-
	export UBLK_IMG_TEST_DIR="$dir" TMPDIR="$dir"
	exec "$@" </dev/null
) &
wait $!
status=$?
exec {running}>&-
wait "$watchdog_pid"

if [ -e "$note" ]; then
	rm -f "$note"
	status=124
else
	left=$(started_here)
	if [ -n "$left" ]; then
		for pid in $left; do
			echo "FAIL: left running: process $pid: $(describe "$pid")"
		done
		kill_all
		status=1
	fi
fi

if [ "$status" = 77 ] && [ "${UBLK_IMG_NO_SKIP:-}" = 1 ]; then
	echo "ERROR: skipped, and UBLK_IMG_NO_SKIP=1 forbids skips"
	status=99
fi
case $status in
0 | 77) rm -rf "$dir" ;;
*) rmdir "$dir" 2>/dev/null || echo "the test's files are kept in $dir" ;;
esac
exit "$status"
