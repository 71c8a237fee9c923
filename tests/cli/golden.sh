# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# Transcripts, for the scripts of this directory:   . "$top_srcdir/tests/cli/golden.sh"
#
#	run COMMAND...		runs it and appends what was seen to the transcript
#	say TEXT...		appends a comment
#	golden NAME		compares the transcript so far with tests/golden/cli/NAME.txt and
#				begins a new one; with UPDATE_GOLDEN=1 writes the file instead
#
# What differs from run to run, or from one file system to the next, is replaced: UUIDs, process
# ids, the test's directory, the program's version, the space that a file takes.

: >transcript

# normalise: standard input with such things replaced.
normalise() {
	sed -E \
		-e "s,$UBLK_IMG_TEST_DIR,DIR,g" \
		-e 's/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/UUID/g' \
		-e 's/(process |pid )[0-9]+/\1PID/g' \
		-e 's/^(disk usage: *).*/\1.../' \
		-e 's/("disk_usage": )[0-9]+/\1.../' \
		-e 's/\.ublk-img-[0-9]+\.tmp/.ublk-img-PID.tmp/g' \
		-e 's/ublk-img [0-9]+\.[0-9]+\.[0-9]+[a-z0-9.~-]*/ublk-img VERSION/g'
}

say() {
	printf '# %s\n' "$*" >>transcript
}

run() {
	local status=0
	"$@" >run.out 2>run.err || status=$?
	{
		printf '$'
		printf ' %q' "$@"
		echo
		cat run.out
		sed 's/^/2> /' run.err
		[ "$status" = 0 ] || echo "exit status $status"
		echo
	} >>transcript
}

golden() {
	local file=$top_srcdir/tests/golden/cli/$1.txt
	normalise <transcript >transcript.normal
	: >transcript
	if [ "${UPDATE_GOLDEN:-}" = 1 ]; then
		cp transcript.normal "$file"
	else
		diff -u "$file" transcript.normal ||
			fail "not as in $file; with UPDATE_GOLDEN=1 that file is rewritten"
	fi
}
