# SPDX-License-Identifier: MIT
# What goes wrong in a guest is noticed: a failing test, one that leaves something behind or does not
# end, a kernel that complains, a crash.  Run by make check-vm-harness.
. "$TEST_ENV"

series=${KERNELS:-7.3}
series=${series%% *}
mkdir tests
made() {
	cat >"tests/$1.sh"
	made+=("$PWD/tests/$1.sh")
}
made passes <<<'[ "$(uname -r | cut -d . -f 1,2)" = "$VM_SERIES" ]'
made fails <<<'exit 3'
made skips <<<'exit 77'
made leaves-mount <<<'mkdir /run/left && mount -t tmpfs left /run/left'
made leaves-loop <<<'modprobe loop && truncate -s 1M /run/file && losetup -f /run/file'
made hangs <<<'sleep 1000'
made complains <<<'echo "WARNING: made up" >/dev/kmsg'
made elsewhere <<<'# Kernels: 1.2 3.4'
made crashes <<<'echo c >/proc/sysrq-trigger; sleep 60'
made too-late <<<':'

# That one of them skips is no skip of this test.
unset UBLK_IMG_NO_SKIP
run() {
	KERNELS=$series UBLK_IMG_VM_TEST_TIMEOUT=20 expect_status 1 \
		"$top_srcdir/tests/vm/check.sh" results "$@" >out
}
run "${made[@]}"
cd "results/$series" || exit
if grep -q SKIP guest.trs; then
	skip "$(cat guest.log)"
fi

# ended NAME RESULT [TEXT]: the test has that result, and its log that text.
ended() {
	[ "$(cat "$1.trs")" = ":test-result: $2" ] || fail "$1: $(cat "$1.trs" "$1.log")"
	[ $# = 2 ] || grep -qF -- "$3" "$1.log" || fail "$1: no \"$3\": $(cat "$1.log")"
}
ended passes PASS
ended fails FAIL
ended skips SKIP
ended leaves-mount FAIL '> left /run/left tmpfs'
ended leaves-loop FAIL '> /dev/loop0 /run/file'
ended hangs FAIL 'TIMEOUT: no result after 20 seconds'
ended complains PASS
[ ! -e elsewhere.trs ] || fail "a test for other kernels has run"
ended crashes FAIL 'the guest ended first'
ended too-late FAIL 'the guest ended first'
ended guest FAIL 'the guest ended before its command did'
[ "$(ls ./*.trs | wc -l)" = 10 ]
for text in 'WARNING: made up' 'Kernel panic'; do
	grep -q "$text" complaints || fail "nobody complains of $text"
done

# A complaint is enough.
cd ../..
run "$PWD/tests/complains.sh"
cd "results/$series" || exit
ended complains PASS
ended guest FAIL 'WARNING: made up'
