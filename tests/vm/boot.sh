#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# boot.sh [-t SECONDS] [-o DIRECTORY] SERIES COMMAND [ARGUMENT...]: run a command as root in a
# virtual machine with the newest stock kernel of a series (fetch.sh), print its output, exit with
# its status.
#
# The guest sees this machine's files; what it writes is lost, except to /run/vm/share, which is
# DIRECTORY (default: a temporary one) and where this script leaves, as well:
#
#   output   of the command      dmesg    of the guest's kernel, at the end
#   serial   its console         status   the command's exit status
#
# TMPDIR is a disk of 16 GiB with ext4.  Variables UBLK_IMG_* and TEST_* are passed on.  The whole is
# bounded by SECONDS (default 900).  A complaint of the kernel, such as an oops, a WARNING or a hung
# task, makes the exit status 98 when it would have been 0; so does a guest that ends before its
# command does.  77: this machine cannot run the guest, which UBLK_IMG_NO_SKIP=1 turns into 99.
set -eu -o pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
qemu='qemu-system-x86_64'
memory=${UBLK_IMG_VM_MEMORY:-4G}
probe_seconds=20

say() {
	echo "vm/boot: $*" >&2
}

impossible() {
	say "$*"
	if [ "${UBLK_IMG_NO_SKIP:-}" = 1 ]; then
		exit 99
	fi
	exit 77
}

# make_initramfs KERNEL FILE
make_initramfs() {
	local kernel=$1 root module path version
	version=$(cat "$kernel/version")
	root=$work/initramfs
	mkdir -p "$root/bin" "$root/modules"
	cp "$kernel/busybox" "$root/bin/busybox"
	cp "$here/initramfs-init.sh" "$root/init"
	chmod +x "$root/init"
	echo "$here/guest-init.sh" >"$root/guest-init"
	for module in virtio_pci virtio_blk 9p 9pnet_virtio overlay ext4; do
		modprobe -d "$kernel" -S "$version" --show-depends "$module"
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$work/modules"
	while read -r path; do
		module=${path##*/}
		case $module in
		*.xz) xz -dc "$path" >"$root/modules/${module%.xz}" ;;
		*) cp "$path" "$root/modules/" ;;
		esac
		echo "${module%.xz}"
	done <"$work/modules" >"$root/modules/order"
	# The kernel opens its first console before there is a devtmpfs.
	(cd "$root" && find . | "$kernel/busybox" cpio -o -H newc 2>/dev/null) >"$2"
}

# start SECONDS APPEND ARGUMENT...: run the guest to its end.
start() {
	local seconds=$1 append=$2
	shift 2
	timeout --foreground -k 10 "$seconds" $qemu -nodefaults -nographic -no-reboot -smp 2 -m "$memory" \
		-kernel "$kernel/vmlinuz" -initrd "$work/initrd" \
		-append "console=ttyS0 loglevel=6 panic=-1 oops=panic mitigations=off init_on_alloc=0 $append" \
		"$@" </dev/null &
	running=$!
	wait "$running"
}

# /dev/kvm may be there and not work: a guest has to come up.
accelerator() {
	if [ -w /dev/kvm ]; then
		start "$probe_seconds" vm_probe -accel kvm -cpu host -serial "file:$work/probe" \
			>"$work/probe.messages" 2>&1 || true
		if grep -q 'vm/initramfs: alive' "$work/probe" 2>/dev/null; then
			echo "-accel kvm -cpu host"
			return
		fi
	fi
	# Emulated, these features make the guest slower.
	echo "-accel tcg,thread=multi -cpu max,-avx,-avx2,-la57"
}

write_environment() {
	local name
	printf 'export VM_KERNEL=%q; VM_SECONDS=%q VM_CWD=%q\n' "$kernel" $((seconds - 30)) "$PWD"
	printf 'export VM_SERIES=%q\n' "$series"
	for name in "${!UBLK_IMG_@}" "${!TEST_@}"; do
		printf 'export %s=%q\n' "$name" "${!name}"
	done
}

seconds=900 out=
while getopts t:o: option; do
	case $option in
	t) seconds=$OPTARG ;;
	o) out=$OPTARG ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
[ $# -ge 2 ] || { echo "usage: boot.sh [-t SECONDS] [-o DIRECTORY] SERIES COMMAND..." >&2; exit 2; }
series=$1
shift

PATH=$PATH:/usr/sbin:/sbin
for tool in $qemu modprobe xz; do
	command -v "$tool" >/dev/null || impossible "there is no $tool here; try: ./setup deps vm"
done
status=0
kernel=$(bash "$here/fetch.sh" "$series") || status=$?
case $status in
0) ;;
77) impossible "no kernel $series" ;;
*) exit "$status" ;;
esac

work=$(mktemp -d "${TMPDIR:-/var/tmp}/ublk-img-vm.XXXXXX")
running=
clean_up() {
	if [ -n "$running" ]; then
		kill "$running" 2>/dev/null || true
		wait "$running" || true
	fi
	rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM HUP
out=${out:-$work/share}
mkdir -p "$out"
out=$(cd "$out" && pwd)
rm -f "$out"/{output,serial,dmesg,status,complaints}
printf '%q ' "$@" >"$out/job"
write_environment >"$out/environment"
make_initramfs "$kernel" "$work/initrd"
truncate -s 16G "$work/disk"
if [ -z "${UBLK_IMG_VM_ACCEL:-}" ]; then
	UBLK_IMG_VM_ACCEL=$(accelerator)
fi

# guest SECONDS: one guest, to its end.
guest() {
	# rcu and lockup detectors measure wall time, of which an emulated CPU may get little.
	# shellcheck disable=SC2086 # several arguments
	start "$1" "watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=120 $limits" \
		$UBLK_IMG_VM_ACCEL -serial "file:$out/serial" \
		-virtfs local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap \
		-virtfs "local,path=$out,mount_tag=share,security_model=none,multidevs=remap" \
		-drive "file=$work/disk,format=raw,if=virtio,cache=unsafe,discard=unmap" \
		>"$work/messages" 2>&1
}

limits=sysctl.kernel.hung_task_timeout_secs=60
guest "$seconds" || status=$?
if [ ! -e "$out/output" ] && [ $((seconds - SECONDS)) -gt 60 ]; then
	# No fault of what is tested, which has not begun.
	say "the guest did not come up (qemu: exit status $status); once more.  Its console:"
	tail -n 60 "$work/messages" "$out/serial" >&2
	status=0
	guest $((seconds - SECONDS)) || status=$?
fi
if [ -e "$out/output" ]; then
	cat "$out/output"
fi

# The console has what came before a crash, dmesg what the console's level hides.
complaints='cut here|BUG:|WARNING:|Oops|general protection fault|Kernel panic|blocked for more than'
complaints+='|detected stall|self-detected|soft lockup|hard LOCKUP|KASAN|UBSAN|refcount_t:'
if cat "$out/serial" "$out/dmesg" 2>/dev/null | tr -d '\r' |
	grep -E -A 30 "$complaints" >"$out/complaints"; then
	say "the guest's kernel complains ($out/complaints):"
	head -n 100 "$out/complaints" >&2
	status=98
fi
if [ ! -s "$out/status" ]; then
	say "the guest ended before its command did (qemu: exit status $status); its console:"
	tail -n 60 "$work/messages" "$out/serial" >&2
	exit 98
fi
command_status=$(cat "$out/status")
if [ "$command_status" != 0 ]; then
	exit "$command_status"
fi
exit "$status"
