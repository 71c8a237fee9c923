# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154 # of and for boot.sh
#
# The machine of boot.sh, which sources this: the User Mode Linux kernel $UML.
#
#	machine_prepare		what is needed is there; ends the script when it is not
#	machine_run SECONDS	one guest, to its end; what it says is in $work/messages

machine_prepare() {
	kernel=
	[ -n "${UML:-}" ] || { say "say UML=FILE, a User Mode Linux kernel; see docs/testing.md"; exit 2; }
	[ -x "$UML" ] || impossible "$UML is no program"
}

machine_run() {
	# The guest's memory is a file, which is best not on a disk.
	# "share" is for uml-init.sh.
	TMPDIR=$([ -w /dev/shm ] && echo /dev/shm || echo "$work") \
		timeout --foreground -k 10 "$1" "$UML" rootfstype=hostfs rootflags=/ rw mem="$memory" ncpus=2 \
		seccomp=auto umid=guest "uml_dir=$work/" con=null con0=null,fd:1 ssl=null \
		panic=-1 oops=panic $limits "init=$here/uml-init.sh" "share=$out" \
		>"$out/serial" 2>"$work/messages" </dev/null &
	running=$!
	wait "$running"
}
