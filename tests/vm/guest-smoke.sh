# SPDX-License-Identifier: MIT
# The driver of each kernel names the features that are expected of it, and where there is none that
# is noticed.
. "$TEST_ENV"

PATH=$top_builddir/tests/vm:$PATH
case $(uname -r) in
6.1.*)
	expect_status 1 modprobe -q ublk_drv
	expect_status 1 ublk-features 2>err
	grep -q 'ublk-features: No such file or directory' err || fail "$(cat err)"
	exit
	;;
6.12.*) features=0x1fe ;;
6.18.*) features=0x7fff ;;
7.3.*) features=0x1fffff ;;
*) fail "which features does kernel $(uname -r) have?" ;;
esac

modprobe -q ublk_drv || true # it may be built in
[ -c /dev/ublk-control ]
[ "$(ublk-features)" = "$features" ] || fail "$(ublk-features) instead of $features"
