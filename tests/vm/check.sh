#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# check.sh DIRECTORY TEST...: run the guest tests in each kernel of $KERNELS, one guest for each.
#
# A test, a path below tests/, is for the kernels that its line "# Kernels: SERIES..." names, or for all.
# The kernel "uml" is the User Mode Linux kernel $UML, and of the series that it says.
#
# DIRECTORY/SERIES/ gets a result for each test as automake leaves it, NAME.trs with NAME.log, and
# one for the guest itself, guest: it must end by itself, its kernel without a complaint.
set -eu -o pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kernels=${KERNELS:-7.3 6.18 6.12 6.1}
export UBLK_IMG_TEST_TIMEOUT=${UBLK_IMG_VM_TEST_TIMEOUT:-300}
failed=0

# result DIRECTORY NAME STATUS
result() {
	local word
	case $3 in
	0) word=PASS ;;
	77) word=SKIP ;;
	99) word=ERROR ;;
	*) word=FAIL ;;
	esac
	echo ":test-result: $word" >"$1/$2.trs"
	echo "$word: $2, kernel ${1##*/}"
	case $word in
	PASS | SKIP) ;;
	*)
		failed=1
		tail -n 50 "$1/$2.log"
		;;
	esac
}

# tests_for SERIES TEST...: the paths of those that are for that kernel.
tests_for() {
	local series=$1 test wanted
	shift
	if [ "$series" = uml ]; then
		series=$("${UML:?say UML=FILE, a User Mode Linux kernel}" --version | cut -d . -f 1,2)
	fi
	for test; do
		case $test in
		/*) ;;
		*) test=$(dirname "$here")/$test ;;
		esac
		wanted=$(sed -n 's/^# Kernels: //p' "$test")
		case " ${wanted:-$series} " in
		*" $series "*) echo "$test" ;;
		esac
	done
}

# check_kernel SERIES DIRECTORY TEST...
check_kernel() {
	local series=$1 dir=$2 status=0 test name start=$SECONDS
	shift 2
	mkdir -p "$dir"
	"$here/boot.sh" -o "$dir" -t "${UBLK_IMG_VM_TIMEOUT:-900}" "$series" \
		bash "$here/guest-tests.sh" "$@" >"$dir/guest.log" 2>&1 || status=$?
	echo "kernel $series: $((SECONDS - start)) seconds"
	result "$dir" guest "$status"
	if [ ! -e "$dir/serial" ]; then
		return # no guest came up
	fi
	for test; do
		name=$(basename "$test" .sh)
		if [ ! -s "$dir/$name.status" ]; then
			echo "FAIL: the guest ended first" >>"$dir/$name.log"
			echo 1 >"$dir/$name.status"
		fi
		result "$dir" "$name" "$(cat "$dir/$name.status")"
	done
}

[ $# -ge 2 ] || { echo "usage: check.sh DIRECTORY TEST..." >&2; exit 2; }
results=$1
shift
rm -rf "$results"
for kernel in $kernels; do
	mapfile -t tests < <(tests_for "$kernel" "$@")
	check_kernel "$kernel" "$results/$kernel" "${tests[@]}"
done
exit "$failed"
