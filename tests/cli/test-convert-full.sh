# SPDX-License-Identifier: MIT
# convert into a file system that is too small: a clear error, nothing left behind, and what had
# been there is still there.
. "$TEST_ENV"
. "$top_srcdir/tests/cli/convert-lib.sh"
require unshare -rm true

noise 9000448 >noise
ublk-img convert noise source.ublk
mkdir full
cat >inside <<'INSIDE'
mount -t tmpfs -o size=6m tmpfs full
echo old >full/keep
for force in '' --force; do
	name=new
	[ -z "$force" ] || name=keep
	for command in "noise full/$name" "--zstd noise full/$name" "-O raw source.ublk full/$name" \
		"--zstd - full/$name"; do
		status=0
		ublk-img convert $force $command <noise 2>err || status=$?
		echo "$command: status $status, $(sed "s/[0-9][0-9]*/N/g" err | head -1)"
		[ "$(ls -A full)" = keep ] || echo "left: $(ls -A full)"
		[ "$(cat full/keep)" = old ] || echo "the old file is gone"
	done
done
INSIDE
unshare -rm bash -eu inside >log 2>&1 || fail "$(cat log)"
cat log
[ "$(grep -c 'status 1,.*No space left on device' log)" = 8 ]
! grep -q -e '^left' -e 'is gone' log || fail "not cleaned up"
