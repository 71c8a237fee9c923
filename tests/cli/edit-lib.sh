# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034 # for tests
#
# For scripts that change images at random:   . "$top_srcdir/tests/cli/edit-lib.sh"
#
#	$edit			edit-image
#	$k, $m			1024, and its square
#	same IMAGE IMAGE	they read as the same, and have holes at the same places
#	sound IMAGE		it is as the format promises
#	random_actions SIZE [whole]
#				$actions: words for $edit, on a disk of at least 2 MiB; with "whole", discards
#				are of whole clusters, since it is open what a part of one reads as
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

random_actions() {
	local off len
	actions=()
	for _ in 1 2 3 4 5 6 7; do
		off=$((RANDOM * 8 % ($1 / 4096 - 300) * 4096)) len=$((RANDOM % 250 * 4096 + 4096))
		case $((RANDOM % 5))${2:-} in
		0whole) actions+=(discard $((off >> 18 << 18)) $((256 * k))) ;;
		0*) actions+=(discard "$off" "$len") ;;
		1*) actions+=(zero "$off" "$len") ;;
		2*) actions+=(write "$off" 4096 $RANDOM) ;;
		3*) actions+=(write "$off" "$len" $RANDOM) ;;
		4*) actions+=(text "$off" "$len" $RANDOM) ;;
		esac
	done
}
