# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034 # for tests
#
# For scripts that change images at random:   . "$top_srcdir/tests/cli/edit-lib.sh"
#
#	$edit			edit-image
#	$k, $m			1024, and its square
#	same IMAGE IMAGE	they read as the same, and have holes at the same places
#	sound IMAGE		it is as the format promises
#
# What is random is so again with the same SEED.

edit=$top_builddir/tests/cli/edit-image
k=1024
m=$((k * k))
seed=${SEED:-$RANDOM}
echo "SEED=$seed"
RANDOM=$seed

same() {
	ublk-img compare --strict "$1" "$2" >compare.out || fail "$1 and $2: $(cat compare.out)"
}
sound() {
	ublk-img check --data "$1" >check.out || fail "$1: $(cat check.out)"
}
