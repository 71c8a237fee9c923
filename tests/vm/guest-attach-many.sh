# SPDX-License-Identifier: MIT
# Several images at the same time, attached together and all in use; one image only once.
# Kernels: 7.3 6.18 6.12
. "$TEST_ENV"
. "$top_srcdir/tests/vm/attach-lib.sh"

count=$((effort > 1 ? 6 : 3))
for ((i = 0; i < count; i++)); do
	if [ $((i % 2)) = 0 ]; then
		ublk-img create "$i.ublk" 128M
	else
		ublk-img create --zstd "$i.ublk" 128M
	fi
	spawn bash -c "timeout 120 ublk-img attach --queues=1 --log=log --name=disk-$i $i.ublk >$i.device"
done
join
[ "$(sort -u ./*.device | wc -l)" = "$count" ] || fail "$(head ./*.device)"
[ "$(ublk-img list --json | jq '.devices | length')" = "$count" ]

# Each image has one bridge, whose name is told.
for mode in $best copy; do
	expect_status 1 ublk-img attach --mode="$mode" 0.ublk 2>err
	grep -q "0.ublk.*attached as $(cat 0.device) .*pid $(pid_of "$(cat 0.device)")" err || fail "$(cat err)"
done
expect_status 1 ublk-img attach --name=disk-0 --read-only ./../"$(basename "$PWD")"/0.ublk 2>err
grep -q "attached as $(cat 0.device)" err || fail "$(cat err)"
cp 0.ublk copy.ublk
expect_status 1 ublk-img attach --name=disk-1 copy.ublk 2>err
grep -q 'disk-1' err || fail "$(cat err)"

for ((i = 0; i < count; i++)); do
	spawn fio --name="load-$i" --filename="$(cat "$i.device")" --rw=randrw --bsrange=4k-64k \
		--size=$((effort * 8))M --verify=crc32c --verify_fatal=1 --ioengine=libaio --iodepth=8 \
		--direct=1 --randseed="$i" --output="$i.out"
done
join
for ((i = 0; i < count; i++)); do
	dd if="$(cat "$i.device")" of="$i.raw" bs=1M iflag=direct status=none
done
# One that dies does not disturb the others.
kill -9 "$(pid_of "$(cat 0.device)")"
for ((i = 1; i < count; i++)); do
	cmp "$(cat "$i.device")" "$i.raw"
done
[ "$(timeout 100 ublk-img recover --all)" = "$(cat 0.device)" ]
cmp "$(cat 0.device)" 0.raw
detach --all
[ -z "$(ublk-img list)" ]
for ((i = 0; i < count; i++)); do
	ublk-img check --data "$i.ublk" >/dev/null
	ublk-img compare --quiet "$i.ublk" "$i.raw"
done
