#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# boot.sh [-t SECONDS] [-o DIRECTORY] SERIES COMMAND [ARGUMENT...]: run a command as root in a
# virtual machine with the newest stock kernel of a series (fetch.sh), print its output, exit with
# its status.  The series "uml" is the User Mode Linux kernel in the file $UML.
#
# The guest sees this machine's files; what it writes is lost, except to /run/vm/share, which is
# DIRECTORY (default: a temporary one) and where this script leaves, as well:
#
#   output   of the command      dmesg    of the guest's kernel, at the end
#   serial   its console         status   the command's exit status
#
# TMPDIR is a disk of 16 GiB with ext4, under User Mode Linux a tmpfs.  Variables UBLK_IMG_* and
# TEST_* are passed on.  The whole is
# bounded by SECONDS (default 900).  A complaint of the kernel, such as an oops, a WARNING or a hung
# task, makes the exit status 98 when it would have been 0; so does a guest that ends before its
# command does.  77: this machine cannot run the guest, which UBLK_IMG_NO_SKIP=1 turns into 99.
# shellcheck disable=SC2034,SC2317 # for the machine's part
set -eu -o pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
memory=${UBLK_IMG_VM_MEMORY:-4G}

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
machine=qemu
[ "$series" != uml ] || machine=uml
# shellcheck source=/dev/null
. "$here/machine-$machine.sh"
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
machine_prepare
write_environment >"$out/environment"

status=0
limits=sysctl.kernel.hung_task_timeout_secs=60
machine_run "$seconds" || status=$?
if [ ! -e "$out/output" ] && [ $((seconds - SECONDS)) -gt 60 ]; then
	# No fault of what is tested, which has not begun.
	say "the guest did not come up ($machine: exit status $status); once more.  Its console:"
	tail -n 60 "$work/messages" "$out/serial" >&2
	status=0
	machine_run $((seconds - SECONDS)) || status=$?
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
	say "the guest ended before its command did ($machine: exit status $status); its console:"
	tail -n 60 "$work/messages" "$out/serial" >&2
	exit 98
fi
command_status=$(cat "$out/status")
if [ "$command_status" != 0 ]; then
	exit "$command_status"
fi
exit "$status"
