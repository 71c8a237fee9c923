#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# count-results.sh DIRECTORY [STATUS]: print "PASSED FAILED SKIPPED" from the results that automake
# left under DIRECTORY.  What is neither a pass nor a skip has failed; and when nothing failed there,
# but make ended with another STATUS than 0 or no test has run at all, then that is one failure.
set -eu -o pipefail

results=
if [ -d "$1" ]; then
	results=$(find "$1" -name '*.trs' -exec sed -n 's/^:test-result: *\([A-Z]*\).*/\1/p' {} +)
fi
passed=$(grep -c '^PASS$' <<<"$results" || true)
skipped=$(grep -c '^SKIP$' <<<"$results" || true)
failed=$(grep -c -v -e '^PASS$' -e '^SKIP$' -e '^$' <<<"$results" || true)
if [ "$failed" = 0 ] && { [ "${2:-0}" != 0 ] || [ "$passed" = 0 ]; }; then
	failed=1
fi
echo "$passed $failed $skipped"
