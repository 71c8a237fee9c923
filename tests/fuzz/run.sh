#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# run.sh CORPUS SECONDS TARGET...: libFuzzer on each target for that long, in the build directory.
# New inputs go to fuzz/new/TARGET; what breaks a target to fuzz/found/, and then the exit status is
# 1.  Copy such an input, reduced by -minimize_crash=1, into the corpus together with the fix.
set -u

corpus=$1
seconds=$2
shift 2
status=0
mkdir -p fuzz/found
for target; do
	name=${target##*/fuzz-}
	mkdir -p "fuzz/new/$name"
	echo "== $name, $seconds seconds"
	"./$target" -max_total_time="$seconds" -max_len=20000 -len_control=0 -timeout=60 \
		-rss_limit_mb=3000 -print_final_stats=1 -verbosity=0 \
		-artifact_prefix="fuzz/found/$name-" "fuzz/new/$name" "$corpus/$name" || status=1
done
exit $status
