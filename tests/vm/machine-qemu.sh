# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154
#
# The machine of boot.sh, which sources this: QEMU with a stock kernel (fetch.sh).
#
#	machine_prepare		what is needed is there; ends the script when it is not
#	machine_run SECONDS	one guest, to its end; what QEMU itself says is in $work/messages

qemu='qemu-system-x86_64'
probe_seconds=20

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

machine_prepare() {
	local tool status=0
	for tool in $qemu modprobe xz; do
		command -v "$tool" >/dev/null || impossible "there is no $tool here; try: ./setup deps vm"
	done
	kernel=$(bash "$here/fetch.sh" "$series") || status=$?
	case $status in
	0) ;;
	77) impossible "no kernel $series" ;;
	*) exit "$status" ;;
	esac
	make_initramfs "$kernel" "$work/initrd"
	truncate -s 16G "$work/disk"
	if [ -z "${UBLK_IMG_VM_ACCEL:-}" ]; then
		UBLK_IMG_VM_ACCEL=$(accelerator)
	fi
}

machine_run() {
	# rcu and lockup detectors measure wall time, of which an emulated CPU may get little.
	# shellcheck disable=SC2086 # several arguments
	start "$1" "watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=120 $limits" \
		$UBLK_IMG_VM_ACCEL -serial "file:$out/serial" \
		-virtfs local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap \
		-virtfs "local,path=$out,mount_tag=share,security_model=none,multidevs=remap" \
		-drive "file=$work/disk,format=raw,if=virtio,cache=unsafe,discard=unmap" \
		>"$work/messages" 2>&1
}
