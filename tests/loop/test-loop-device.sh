# SPDX-License-Identifier: MIT
# The loop device of a view: what it tells the block layer, discards, who may take it away and when,
# and what becomes of it when its server is killed.
. "$TEST_ENV"
. "$top_srcdir/tests/loop/loop-lib.sh"
require jq --version

queue() {
	cat "/sys/block/${device#/dev/}/queue/$1"
}
ublk-img create a.ublk 64M
ublk-img create --sector-size=4096 b.ublk 64M

start_device server a.ublk
[ "$(queue logical_block_size)" = 512 ]
[ "$(queue write_cache)" = "write back" ]
[ "$(queue discard_max_bytes)" -gt 0 ]
[ "$(blockdev --getsize64 "$device")" = 67108864 ]
# Discards and zeroes read back as zeros, and give space back.
dd if=/dev/urandom of="$device" bs=1M count=64 oflag=direct status=none
blkdiscard -o 0 -l 32M "$device"
blkdiscard -z -o 32M -l 16M "$device"
cmp -n 50331648 "$device" /dev/zero
stop_device server
[ "$(ublk-img info --json a.ublk | jq .raw_bytes)" = 16777216 ]

# In use: it says so, and goes on; then it ends in order.
mkdir mnt
start_device server a.ublk
mkfs.ext4 -q "$device"
mount "$device" mnt
echo >&"$control"
await grep -q busy device.out
echo kept >mnt/file
umount mnt
stop_device server

# Taken away by force: the user gets errors, the image is closed.
start_device server a.ublk
mount "$device" mnt
[ "$(cat mnt/file)" = kept ]
echo force >&"$control"
join
exec {control}>&-
ls mnt/file >/dev/null 2>&1 || true
umount mnt
await_unused
ublk-img info a.ublk | grep -q '^state: *clean$'

# Read-only, and with blocks of 4096 bytes.
start_server -r -b 4096 b.ublk
[ "$(queue logical_block_size)" = 4096 ]
[ "$(blockdev --getro "$device")" = 1 ]
expect_status 1 dd if=/dev/zero of="$device" bs=4096 count=1 2>/dev/null
cmp -n 67108864 "$device" /dev/zero
exec {control}>&-
join

# The server is killed: I/O fails, and never hangs; the device goes away; the image opens.
rm control device.out
mkfifo control
exec {control}<>control
serve_loop a.ublk &
pid=$!
await test -s device.out
device=$(head -n 1 device.out)
exec {file}<>"$device"
dd if=/dev/urandom of="$device" bs=4096 count=1 oflag=direct conv=fsync status=none
kill -KILL "$pid"
expect_status 137 wait "$pid"
expect_status 1 timeout 20 dd if="$device" of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null
exec {file}>&- {control}>&-
await_unused
ublk-img check a.ublk >/dev/null
