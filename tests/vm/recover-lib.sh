# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # of attach-lib.sh
#
# For tests of bridges that die, sourced behind attach-lib.sh.
#
#	kill_bridge		kill -9 of $bridge
#	recover			has the device taken back; sets $bridge
#	state_of DEVICE		as list --json tells: attached, awaiting recovery, or nothing
#	load_begin NAME OPTION...	fio writes and verifies on $device, again and again
#	load_end		stops that; fails if fio has met an error, or other data than it wrote

kill_bridge() {
	kill -9 "$bridge"
}

recover() {
	timeout 100 ublk-img recover "$@" "$device" >recovered || fail "$device is not recovered"
	[ "$(cat recovered)" = "$device" ] || fail "recovered: $(cat recovered)"
	bridge=$(pid_of "$device")
}

state_of() {
	ublk-img list --json | jq -r --arg d "$1" '.devices[] | select(.device == $d).state'
}

# Each turn writes all of its part once, in random order and sizes, and reads it back.
load() {
	local name=$1 turn=0
	shift
	while [ ! -e stop ]; do
		turn=$((turn + 1))
		fio --name="$name" --filename="$device" --verify=crc32c --verify_fatal=1 --direct=1 \
			--ioengine=libaio --randseed="$turn" --buffer_compress_percentage=60 \
			--refill_buffers --output-format=terse "$@" >"fio-$name.out" 2>&1 || {
			cat "fio-$name.out"
			return 1
		}
		echo "$turn" >"turns-$name"
	done
}

load_begin() {
	rm -f stop
	spawn load "$@"
}

load_end() {
	touch stop
	join || fail "the load has failed: $(tail -n 5 fio-*.out)"
}
