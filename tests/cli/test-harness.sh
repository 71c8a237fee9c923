# SPDX-License-Identifier: MIT
# run-test.sh, env.sh and count-results.sh notice what they promise to notice.
. "$TEST_ENV"

# try STATUS SECONDS: run the script on standard input as a test of its own; its output is in "log".
try() {
	local want=$1 seconds=$2
	cat >script.sh
	# shellcheck disable=SC2016 # the inner script expands it
	sed -i '1i . "$TEST_ENV"' script.sh
	expect_status "$want" harness "$seconds" bash "$PWD/script.sh"
}
harness() {
	TMPDIR=$PWD UBLK_IMG_TEST_TIMEOUT=$1 bash "$top_srcdir/tests/run-test.sh" "${@:2}" \
		>log 2>&1
}
said() {
	grep -q -- "$1" log || fail "the log does not say \"$1\": $(cat log)"
}
clean() {
	for left in ublk-img-test.*; do
		[ ! -e "$left" ] || fail "left behind: $left"
	done
}

try 0 60 <<'END'
echo content >file
END
clean

# A failure keeps the test's files and names the command.
try 1 60 <<'END'
echo content >file
grep -q other file
END
said "^FAILED: .*, line 3: grep -q other file"
kept=$(sed -n "s/^the test's files are kept in //p" log)
[ "$(cat "$kept/file")" = content ] || fail "the files of a failed test are not kept"
rm -rf "$kept"

try 1 60 <<'END'
false | true
END
try 1 60 <<'END'
value=$(false; echo x)
END
try 1 60 <<'END'
check() { false; true; }
check
END
try 1 60 <<'END'
spawn sh -c 'exit 3'
join
END
try 1 60 <<'END'
spawn false
sleep 0.5
END
said "background process [0-9]* failed"
try 1 60 <<'END'
expect_status 2 true
END
said "exit status 0 instead of 2"

# What a test starts it must end; the daemon has a session of its own.
try 0 60 <<'END'
spawn sleep 1000
END
try 1 60 <<'END'
setsid --fork sh -c 'sleep 1000 & sleep 1001'
sleep 0.5
END
said "left running: process [0-9]*: sleep 1000"
said "left running: process [0-9]*: sleep 1001"

try 124 1 <<'END'
sleep 1000
END
said "TIMEOUT: no result after 1 seconds"
said "process [0-9]*: sleep 1000"

# Skips, and skips that are not allowed.
UBLK_IMG_NO_SKIP=0 try 77 60 <<'END'
require false
END
said "SKIP: needs: false"
UBLK_IMG_NO_SKIP=1 try 99 60 <<'END'
skip nothing to see
END
printf '#!/bin/sh\nexit 77\n' >program
chmod +x program
UBLK_IMG_NO_SKIP=1 expect_status 99 harness 60 ./program
said "forbids skips"

rm -rf ublk-img-test.*
clean

# counts "PASSED FAILED SKIPPED" [STATUS]: what count-results.sh makes of the directory results.
counts() {
	local got
	got=$("$top_srcdir/tests/count-results.sh" results "${@:2}")
	[ "$got" = "$1" ] || fail "count-results.sh prints $got instead of $1"
}
counts "0 1 0"
mkdir -p results/unit
counts "0 1 0"
echo ":test-result: PASS" >results/unit/a.trs
echo ":test-result: SKIP" >results/unit/b.trs
counts "1 0 1" 0
counts "1 1 1" 2
for result in FAIL ERROR XFAIL XPASS; do
	echo ":test-result: $result" >results/$result.trs
done
counts "1 4 1" 2
counts "1 4 1" 0
