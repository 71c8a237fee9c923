# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# For tests of attached devices, sourced behind $TEST_ENV.
#
#	$modes			the modes that this kernel must offer, best first
#	attach IMAGE OPTION...	attaches; sets $device, and $bridge to the process that serves it
#	detach WHAT...		detaches; the bridge has ended cleanly
#	make_image NAME KIND	an image of 256 MiB: empty-raw, empty-zstd, or full of data that is
#				stored raw, zstd or mixed, with the same content in NAME.raw
#	same_bytes FILE		the device's bytes are the file's
#	$effort			how much is to be done: 1 under emulation, $TEST_EFFORT elsewhere
#
# The bridges' messages are in ./log.  What a test leaves behind is detached at its end.

export UBLK_IMG_RUNTIME_DIR=$PWD/run

case $(uname -r) in
6.1.*) modes='' ;;
6.12.*) modes='user-copy copy' ;;
6.18.* | 7.*) modes='zero-copy zero-copy-explicit user-copy copy' ;;
*) fail "which modes does kernel $(uname -r) have?" ;;
esac
[ -n "$modes" ] || skip "this kernel has no ublk"
modprobe ublk_drv 2>/dev/null || [ -c /dev/ublk-control ] || fail "there is no ublk driver"
# shellcheck disable=SC2034 # for tests
best=${modes%% *}
# shellcheck disable=SC2034 # for tests
effort=${TEST_EFFORT:-1}

attach() {
	local image=$1
	shift
	device=$(timeout 120 ublk-img attach --log=log "$@" "$image")
	[ -b "$device" ] || fail "attach printed \"$device\""
	# shellcheck disable=SC2034 # for tests
	bridge=$(pid_of "$device")
}

# The process that serves a device.
pid_of() {
	ublk-img list --json | jq -r --arg d "$1" '.devices[] | select(.device == $d).pid'
}

detach() {
	timeout 200 ublk-img detach "$@"
}

# What is in /proc does not always go in the moment in which the parent is told.
wait_ended() {
	local i
	for i in {1..300}; do
		if [ ! -e "/proc/$1" ] || [ "$(ps -o stat= -p "$1" | cut -c 1)" = Z ]; then
			return
		fi
		sleep 0.1
	done
	fail "process $1 is still there after $i tries"
}

make_image() {
	local name=$1 kind=$2 options=()
	case $kind in
	*raw) ;;
	*) options=(--zstd) ;;
	esac
	case $kind in
	empty-*) ublk-img create "${options[@]}" "$name" 256M && return ;;
	esac
	# Text, as source code is, and noise, in turns of 1 MiB; with holes.
	rm -f "$name" "$name.raw"
	truncate -s 256M "$name.raw"
	fill "$kind" "$name.raw"
	ublk-img convert "${options[@]}" "$name.raw" "$name"
}

fill() {
	local i text=/dev/zero
	[ "$1" = raw ] || text=text
	[ -e text ] || (find /usr/include /usr/share/perl* -type f -exec cat {} + 2>/dev/null || true) |
		dd of=text bs=1M count=24 iflag=fullblock status=none
	for i in {0..23}; do
		case $1.$((i % 2)) in
		raw.* | mixed.1) dd if=/dev/urandom of="$2" bs=1M count=1 seek=$((i * 3)) conv=notrunc status=none ;;
		*) dd if="$text" of="$2" bs=1M count=1 skip="$i" seek=$((i * 3)) conv=notrunc status=none ;;
		esac
	done
}

same_bytes() {
	cmp <(dd if="$device" bs=1M iflag=direct status=none) "$1" || fail "$device differs from $1"
}

# limit NAME: of the device's queue.
limit() {
	cat "/sys/block/${device#/dev/}/queue/$1"
}

leave_nothing() {
	local status=$?
	trap - ERR
	set +e
	grep -o " ${UBLK_IMG_TEST_DIR}[^ ]*" /proc/self/mounts | tac | xargs -r -n 1 umount -l
	ublk-img detach --all --force
	if [ "$status" != 0 ] && [ -s log ]; then
		echo "messages of the bridges:"
		tail -n 40 log
	fi
	(exit "$status")
	end_of_test
}
trap leave_nothing EXIT
