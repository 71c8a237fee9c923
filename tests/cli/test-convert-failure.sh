# SPDX-License-Identifier: MIT
# convert: what it refuses, and that a failure or interruption leaves nothing behind.
. "$TEST_ENV"
. "$top_srcdir/tests/cli/golden.sh"
. "$top_srcdir/tests/cli/convert-lib.sh"

text 999936 >small
make_mixed mixed
ublk-img convert --zstd mixed good.ublk

say "what makes no sense"
run ublk-img convert small
run ublk-img convert -O ublk small -
run ublk-img convert --json small -
run ublk-img convert -O raw --zstd small new.raw
run ublk-img convert -f ublk - new.ublk
run ublk-img convert -f ublk small new.ublk
run ublk-img convert missing new.ublk
run ublk-img convert . new.ublk
run ublk-img convert small missing/new.ublk
run ublk-img convert --force small small
run ublk-img convert --force good.ublk good.ublk
run ublk-img convert --zstd=100 small new.ublk
run ublk-img convert --threads=0 small new.ublk
nothing_left

say "what exists is not touched without --force"
cp small old
run ublk-img convert mixed old
run ublk-img convert -O raw good.ublk old
cmp small old
run ublk-img convert --force mixed old
ublk-img compare --strict mixed old >/dev/null
run ublk-img convert --force -O raw good.ublk old
cmp mixed old
nothing_left
golden convert-failure

# A failure at any point leaves nothing, and with --force the old file.
cp small keep
for fault in convert_read:1 convert_read:9 convert_write:1 convert_write:3 bulk_place:1 \
	bulk_place:4 bulk_finish:1; do
	for options in --zstd '' '--zstd --threads=1'; do
		[ "$fault $options" != 'bulk_place:4 ' ] || continue
		# shellcheck disable=SC2086
		UBLK_IMG_FAULTS=$fault:28 expect_status 1 ublk-img convert $options mixed new.ublk 2>err
		nothing_left
		# shellcheck disable=SC2086
		UBLK_IMG_FAULTS=$fault expect_status 1 ublk-img convert --force $options mixed keep 2>err
		cmp small keep
		nothing_left
	done
done
for fault in convert_read:1 convert_read:9 convert_write:1 convert_write:9 convert_finish:1; do
	UBLK_IMG_FAULTS=$fault expect_status 1 ublk-img convert -O raw good.ublk new.raw 2>err
	UBLK_IMG_FAULTS=$fault expect_status 1 ublk-img convert --force -O raw good.ublk keep 2>err
	cmp small keep
	nothing_left
done
UBLK_IMG_FAULTS=convert_read:9 expect_status 1 ublk-img convert -O raw good.ublk - >part 2>err
cmp -n "$(stat -c %s part)" part mixed

# Damage in the source is an error, not zeros.
cp good.ublk bad.ublk
offset=$(ublk-img map --json good.ublk | jq '[.extents[] | select(.kind == "zstd").file_offset][9]')
noise 64 | patch bad.ublk $((offset + 20))
expect_status 1 ublk-img convert -O raw bad.ublk new.raw 2>err
grep -q 'damaged' err || fail "no reason given: $(cat err)"
expect_status 1 ublk-img convert --zstd bad.ublk new.ublk 2>err
nothing_left

# A reader that goes away is a failure, with nothing more to say.
{ ublk-img convert -O raw good.ublk - 2>err || echo "$?" >status; } | head -c 1000 >/dev/null
[ "$(cat status)" = 1 ]

# interrupted SIGNAL SECONDS: an interruption while the source stalls, and at some time in between.
interrupted() {
	local pid feeder status=0
	mkfifo fifo
	(cat mixed mixed; exec sleep 60) >fifo 2>/dev/null &
	feeder=$!
	env --default-signal=INT,TERM,HUP ublk-img convert --zstd - new.ublk <fifo 2>err &
	pid=$!
	sleep "$2"
	kill "-$1" "$pid"
	wait "$pid" 2>/dev/null || status=$?
	kill "$feeder" 2>/dev/null || true
	wait "$feeder" 2>/dev/null || true
	rm fifo
	[ "$status" -gt 128 ] || fail "exit status $status after SIG$1"
	nothing_left
}
interrupted TERM 1
interrupted INT 0.5
interrupted HUP 0.1

# The same with files; it may also have been faster than the signal.
for delay in 0.01 0.02 0.04 0.07 0.1 0.15 0.2 0.3; do
	status=0
	env --default-signal=INT ublk-img convert --zstd=9 mixed new.ublk 2>err &
	pid=$!
	sleep $delay
	kill -INT $pid 2>/dev/null || true
	wait $pid || status=$?
	if [ $status = 0 ]; then
		sound new.ublk
		rm new.ublk
	fi
	nothing_left
done

# Killed: whatever is left is not under the final name.
ublk-img convert --zstd=19 mixed new.ublk &
pid=$!
sleep 0.2
kill -KILL $pid 2>/dev/null || true
wait $pid 2>/dev/null || [ ! -e new.ublk ] || fail "a half-made image"
rm -f new.ublk .ublk-img*
