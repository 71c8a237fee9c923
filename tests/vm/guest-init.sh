#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Process 1 of the guest, after the initramfs: runs one job and powers off; see boot.sh.
#
# /run/vm/share is the host's directory: environment, job and cwd come from there; output, status
# and dmesg go there.  /run/vm/scratch, also TMPDIR, is a disk of its own with ext4 on it, under User
# Mode Linux a tmpfs.
set -u

share=/run/vm/share
uml=${1:-} # "uml": started by uml-init.sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
export DM_DISABLE_UDEV=1 # nobody would answer: nodes are made by devtmpfs

# Whatever runs after the host's files are gone dies, and process 1 with a panic: so it becomes a
# program that lies in memory and calls the kernel.  User Mode Linux has the files to the end.
power_off() {
	sync
	if [ -e /run/vm/busybox ]; then
		exec /run/vm/busybox poweroff -f
	fi
	exec perl -e 'syscall(169, 0xfee1dead, 0x28121969, 0x4321fedc, 0)' # reboot(2)
}

stop() {
	echo "vm/guest-init: $*" >/dev/kmsg
	[ ! -e /proc/sysrq-trigger ] || echo o >/proc/sysrq-trigger # there may be no busybox yet
	[ -z "$uml" ] || power_off
	while :; do :; done
}

blocked_tasks() {
	local task
	for task in /proc/[0-9]*/task/[0-9]*; do
		if grep -q '^State:.D' "$task/status" 2>/dev/null; then
			echo "$task $(cat "$task/comm") $(tr '\n' ' ' <"$task/stack")"
		fi
	done
}

# What stood where, when the time is up: the host ends the guest soon after.
report_hang() {
	sleep "$1"
	echo "vm/guest-init: the job has run for $1 seconds; blocked tasks:" >/dev/kmsg
	if [ -e /proc/sysrq-trigger ]; then
		echo w >/proc/sysrq-trigger
	else
		blocked_tasks >/dev/kmsg
	fi
	dmesg >$share/dmesg
	power_off
}

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o mode=755 run /run
mkdir -p /dev/shm /dev/pts /run/lock /run/vm/share /run/vm/scratch
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t devpts devpts /dev/pts
mount -t cgroup2 cgroup /sys/fs/cgroup 2>/dev/null
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
if [ -n "$uml" ]; then
	mount --move /mnt $share && umount -l /srv # as uml-init.sh leaves them
else
	mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=none share $share
fi || stop "the share cannot be mounted"
hostname vm

# shellcheck source=/dev/null
. $share/environment
if [ -n "$uml" ]; then
	mount -t tmpfs -o size=90% scratch /run/vm/scratch
else
	cp "$VM_KERNEL/busybox" /run/vm/busybox
	/run/vm/busybox ip link set lo up
	# The modules of the guest's kernel are in the host's cache.
	mkdir -p /lib/modules
	ln -sfn "$VM_KERNEL/lib/modules/$(uname -r)" "/lib/modules/$(uname -r)"
	mkfs.ext4 -q -E lazy_itable_init=1,lazy_journal_init=1 /dev/vda ||
		stop "no file system on the disk"
	mount /dev/vda /run/vm/scratch || stop "the disk cannot be mounted"
	rmdir /run/vm/scratch/lost+found
fi
chmod 1777 /run/vm/scratch
export TMPDIR=/run/vm/scratch

report_hang "$VM_SECONDS" &
# A child of process 1 whose own parent is gone is reaped by bash.
cd "$VM_CWD" || stop "no directory $VM_CWD"
bash $share/job >$share/output 2>&1 </dev/null
status=$?
dmesg >$share/dmesg
echo $status >$share/status
power_off
