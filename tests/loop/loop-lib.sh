# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# Block devices on images by way of FUSE and the loop driver, for the scripts of this directory:
#
#	. "$top_srcdir/tests/loop/loop-lib.sh"
#
# Two ways to have one, "mount" (a view mounted by the user, losetup on its file disk) and "server"
# (fuse/loop.h, as attach uses it).

. "$top_srcdir/tests/fuse/fuse-lib.sh"
PATH=$PATH:/usr/sbin:/sbin
[ "$(id -u)" = 0 ] || skip "needs root"
require losetup --version
[ -e /dev/loop-control ] || skip "needs the loop driver (modprobe loop)"
require mkfs.ext4 -V

# start_server ARGUMENT...: run loop-server, to which $control leads.
start_server() {
	rm -f control device.out
	mkfifo control
	exec {control}<>control
	spawn serve_loop "$@"
	await test -s device.out
	device=$(head -n 1 device.out)
}
serve_loop() {
	exec "$top_builddir/tests/loop/loop-server" "$@" <control >device.out {control}>&-
}

# start_device WAY IMAGE: its name is in $device.
# stop_device WAY: when it returns, the image is closed.
start_device() {
	case $1 in
	mount)
		mkdir -p view
		ublk-img mount -o rw "$2" view
		device=$(losetup --show --direct-io=on -f view/disk)
		;;
	server)
		start_server "$2"
		;;
	esac
	[ "$(losetup -n -O DIO "$device" | tr -d ' ')" = 1 ] || fail "$device uses the page cache"
}
stop_device() {
	case $1 in
	mount)
		losetup -d "$device"
		# The driver closes the file when the last one has closed the device: udev may look at it.
		await_unused
		ublk-img umount view
		;;
	server)
		exec {control}>&-
		join
		;;
	esac
	device=
}
await_unused() {
	await bash -c '! losetup -n -O BACK-FILE "$0" 2>/dev/null | grep -q "/disk"' "$device"
}

# files_of DIR: name, mode and checksum of everything below it.
files_of() {
	(cd "$1" && find . -path ./lost+found -prune -o -type f -print0 | sort -z | xargs -0 sha256sum &&
		find . -path ./lost+found -prune -o -printf '%p %y %m %l\n' | sort)
}
