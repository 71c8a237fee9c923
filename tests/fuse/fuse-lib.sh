# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# Mounted views, for the scripts of this directory and of loop/:
#
#	. "$top_srcdir/tests/fuse/fuse-lib.sh"
#
# Skips where there is no FUSE.  Whatever is mounted below the test's directory when it ends, and
# every loop device on a file in there, is taken away.

[ -w /dev/fuse ] || skip "needs write access to /dev/fuse"
[ "$(id -u)" = 0 ] || require fusermount3 --version
export UBLK_IMG_RUNTIME_DIR=$UBLK_IMG_TEST_DIR/run

mounts_here() {
	awk -v dir="$UBLK_IMG_TEST_DIR/" 'index($2, dir) == 1 { print $2 }' /proc/self/mounts | tac
}
unmount() {
	if [ "$(id -u)" = 0 ]; then
		umount "$@"
	else
		fusermount3 -u "$@"
	fi
}
end_of_fuse_test() {
	local status=$? dir device
	trap - ERR
	set +e
	while read -r device; do
		losetup -d "$device"
	done < <(losetup -n -O NAME,BACK-FILE 2>/dev/null | awk -v dir="$UBLK_IMG_TEST_DIR/" 'index($2, dir) == 1 { print $1 }')
	while read -r dir; do
		if [ "$status" = 0 ]; then
			echo "FAIL: left mounted: $dir" >&2
			status=1
		fi
		umount -l "$dir" 2>/dev/null || fusermount3 -u -z "$dir"
	done < <(mounts_here)
	cat "$UBLK_IMG_TEST_DIR"/run/view-*.log 2>/dev/null
	(exit "$status")
	end_of_test
}
trap end_of_fuse_test EXIT

# server DIR: the process that serves the view there.
server() {
	getfattr --only-values -n user.ublk-img.server_pid "$1"
}

# await COMMAND...: until it succeeds, 30 seconds at the most.
await() {
	local round
	for ((round = 0; round < 300; round++)); do
		! "$@" || return 0
		sleep 0.1
	done
	fail "never happened: $*"
}
gone() {
	[ ! -e "/proc/$1/exe" ]
}
