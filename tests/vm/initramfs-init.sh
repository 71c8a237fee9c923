#!/bin/busybox sh
# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# /init of the guest's initramfs; see boot.sh.  The guest's root is the host's, read-only, with
# everything that is written to it kept in memory.

stop() {
	echo "vm/initramfs: $*" >/dev/kmsg
	busybox poweroff -f
}

busybox mkdir -p /proc /sys /dev /lower /upper /root
busybox mount -t devtmpfs dev /dev
busybox mount -t proc proc /proc

# What boot.sh asks before it relies on an accelerator: does the guest come this far?
if busybox grep -qw vm_probe /proc/cmdline; then
	stop "alive"
fi

while read -r module; do
	busybox insmod "/modules/$module" || stop "module $module cannot be loaded"
done </modules/order

busybox mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=262144,cache=loose root /lower ||
	stop "the host's root cannot be mounted"
busybox mount -t tmpfs -o mode=755 upper /upper
busybox mkdir /upper/data /upper/work
busybox mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work root /root ||
	stop "the overlay cannot be mounted"
busybox umount /proc
busybox mount --move /dev /root/dev
guest_init=$(busybox cat /guest-init)
exec busybox switch_root /root /bin/bash "$guest_init"
