# SPDX-License-Identifier: MIT
# snapshots/ of a mounted view: what is there, and what mkdir, rmdir and mv do.
. "$TEST_ENV"
. "$top_srcdir/tests/fuse/fuse-lib.sh"
require jq --version
require getfattr --version
require perl --version

# fails TEXT COMMAND...: with that of errno.
fails() {
	if LC_ALL=C "${@:2}" >out 2>err; then fail "${*:2}: succeeded"; fi
	grep -q "$1" err || fail "${*:2}: $(cat err)"
}
# write CLUSTER...: something new there.
write() {
	local cluster
	for cluster in "$@"; do
		head -c 65536 /dev/urandom | dd of=m/disk bs=64k seek="$cluster" conv=notrunc status=none
	done
}

mkdir m
ublk-img create --zstd a.ublk 64M
ublk-img mount -o rw a.ublk m
[ -z "$(ls m/snapshots)" ]
write 0 5 900
cp --sparse=always m/disk one
mkdir m/snapshots/one
write 5 6
fallocate -p -o $((900 * 65536)) -l 65536 m/disk
cp --sparse=always m/disk two
mkdir "m/snapshots/the second"
write 0 1 2
diff <(ls m/snapshots) <(printf '%s\n' one 'the second')
diff <(ls m/snapshots/one) <(printf '%s\n' diff disk info.json map)

# What is in them.
cmp one m/snapshots/one/disk
cmp two "m/snapshots/the second/disk"
ublk-img umount m
ublk-img mount a.ublk m # read-only, from the file
cmp one m/snapshots/one/disk
cmp two "m/snapshots/the second/disk"
for name in one 'the second'; do
	diff <(ublk-img snapshot list --json a.ublk | jq --arg n "$name" '.snapshots[] | select(.name == $n) | del(.open)') \
		<(jq 'del(.open)' "m/snapshots/$name/info.json")
done
diff <(ublk-img snapshot diff a.ublk one 'the second') "m/snapshots/the second/diff"
diff <(awk '{ print $1, $2, $3 }' "m/snapshots/the second/diff") - <<END
# offset length
327680 131072 data
58982400 65536 zero
END
diff <(awk '!/^#/ { print $1, $2, $3 }' m/snapshots/one/diff) - <<END
0 65536 data
327680 65536 data
58982400 65536 data
END
diff <(awk '!/^#/ { print $1, $2, $3 }' m/snapshots/one/map) - <<END
0 65536 raw
65536 262144 hole
327680 65536 raw
393216 58589184 hole
58982400 65536 raw
59047936 8060928 hole
END
[ "$(stat -c '%s %b' m/snapshots/one/disk)" = "67108864 384" ] || fail "$(stat m/snapshots/one/disk)"
cp --sparse=auto m/snapshots/one/disk copy # looks for holes
cmp one copy
[ "$(du -k copy | cut -f 1)" -lt 300 ] || fail "$(du -k copy)"
for file in info.json map diff; do
	[ "$(stat -c %s "m/snapshots/one/$file")" = "$(wc -c <"m/snapshots/one/$file")" ] || fail "size of $file"
done
# Extended attributes tell the same.
for file in one one/disk; do
	[ "$(getfattr --only-values -n user.ublk-img.virtual_size "m/snapshots/$file")" = 67108864 ]
	[ "$(getfattr --only-values -n user.ublk-img.uuid "m/snapshots/$file")" = "$(jq -r .uuid m/snapshots/one/info.json)" ]
	[ "$(getfattr -m '^user' "m/snapshots/$file" | grep -c '^user.ublk-img.')" = "$(jq length m/snapshots/one/info.json)" ]
done
[ -z "$(getfattr -m '^user' m/snapshots/one/map m/snapshots)" ] || fail "$(getfattr -m '^user' m/snapshots/one/map m/snapshots)"

fails 'Read-only file system' mkdir m/snapshots/three
fails 'Read-only file system' rmdir m/snapshots/one
fails 'Read-only file system' mv m/snapshots/one m/snapshots/two
fails 'No such file' ls m/snapshots/nobody
ublk-img umount m

# What is refused.
ublk-img mount -o rw a.ublk m
fails 'File exists' mkdir m/snapshots/one
fails 'Invalid argument' mkdir "m/snapshots/$(printf '%128s' x)"
fails 'Invalid argument' mkdir m/snapshots/$'\xff'
fails 'not permitted' mkdir m/directory
fails 'not permitted' mkdir m/snapshots/one/directory
fails 'No such file' rmdir m/snapshots/nobody
fails 'File exists' mv -T m/snapshots/one "m/snapshots/the second"
fails 'not permitted\|Invalid' mv m/snapshots/one m/elsewhere
fails . rm m/snapshots/one/disk
fails . touch m/snapshots/file
fails 'Read-only file system' dd of=m/snapshots/one/disk if=/dev/zero bs=512 count=1 conv=notrunc

# Renamed and deleted while it is open.
exec {open}<m/snapshots/one/disk
[ "$(jq .open m/snapshots/one/info.json)" = 1 ] || fail "open $(jq .open m/snapshots/one/info.json) times"
exec {info}<m/snapshots/one/info.json {diff}<"m/snapshots/the second/diff"
size=$(stat -L -c %s "/proc/self/fd/$diff")
mv m/snapshots/one m/snapshots/first
diff <(ls m/snapshots) <(printf '%s\n' first 'the second')
cmp one m/snapshots/first/disk
fails 'No such file' cat m/snapshots/one/info.json
rmdir m/snapshots/first
[ "$(ls m/snapshots)" = 'the second' ]
fails 'No such file' cat m/snapshots/first/info.json
mkdir m/snapshots/first # another one
write 0 5 900 6 7 8
cmp one "/proc/self/fd/$open" || fail "a deleted snapshot that is open has changed"
[ "$(stat -L -c %s "/proc/self/fd/$open")" = 67108864 ]
# What was opened shows what it was, and has the size that it had, whatever became of the snapshot and of its parent.
[ "$(stat -L -c %s "/proc/self/fd/$info")" -gt 100 ]
[ "$(jq -r .name <&"$info")" = one ]
[ "$(stat -L -c %s "/proc/self/fd/$diff")" = "$size" ]
[ "$(wc -c <&"$diff")" = "$size" ]
exec {open}<&- {info}<&- {diff}<&-
if cmp -s one m/snapshots/first/disk; then fail "the old one under its name"; fi
cmp two "m/snapshots/the second/disk"
rmdir "m/snapshots/the second"
fails 'No such file' stat "m/snapshots/the second"

# A snapshot in the middle is deleted: what changed since the one before it includes what had changed in between, at
# once, and not only when it is gone.
ublk-img umount m
ublk-img create b.ublk 64M
ublk-img mount -o rw b.ublk m
write 0 5
mkdir m/snapshots/a
write 1
fallocate -p -o 0 -l 65536 m/disk
mkdir m/snapshots/b
write 9
mkdir m/snapshots/c
exec {open}<m/snapshots/b/disk # it stays as long
rmdir m/snapshots/b
cat >want <<END
# offset length
0 65536 zero
65536 65536 data
589824 65536 data
END
diff <(awk '{ print $1, $2, $3 }' m/snapshots/c/diff) want
exec {open}<&-
is_gone() {
	ublk-img umount m
	[ "$(ublk-img snapshot list --json b.ublk | jq '.snapshots | length')" = 2 ] || { ublk-img mount -o rw b.ublk m && sleep 1 && return 1; }
}
await is_gone
ublk-img mount -o rw b.ublk m
diff <(awk '{ print $1, $2, $3 }' m/snapshots/c/diff) want

# Texts that are made in pieces: 40,000 lines.
ublk-img umount m
ublk-img create c.ublk 8G
ublk-img mount -o rw c.ublk m
mkdir m/snapshots/empty
perl -e 'open(my $disk, "+<:unix", "m/disk") or die; for (0 .. 39999) { sysseek($disk, $_ * 131072, 0); syswrite($disk, "data") == 4 or die }'
mkdir m/snapshots/many
# lines LENGTH: of each.
lines() {
	awk -v len="$1" '!/^#/ { if ($1 != n * 131072 || $2 != len || $3 != "data") { print "line", NR, $0; exit 1 } n++ }
		END { if (n != 40000) { print n " lines"; exit 1 } }' m/snapshots/many/diff
	[ "$(stat -c %s m/snapshots/many/diff)" = "$(wc -c <m/snapshots/many/diff)" ] || fail "size of diff"
}
lines 65536 # whole clusters differ
rmdir m/snapshots/empty
lines 4096 # what is stored
tail -c +1500000 m/snapshots/many/diff >end
cat m/snapshots/many/diff >all
cmp end <(tail -c +1500000 all)
ublk-img umount m
ublk-img mount -o rw a.ublk m

# A file system in a snapshot, while the disk is in use.
if [ "$(id -u)" = 0 ] && [ -e /dev/loop-control ] && mkfs.ext4 -V >/dev/null 2>&1; then
	mkdir live old
	mkfs.ext4 -q -F m/disk
	live=$(losetup --show --direct-io=on -f m/disk)
	mount "$live" live
	cp -a /usr/include/linux live/
	sync -f live
	mkdir m/snapshots/tree
	rm -rf live/linux
	head -c 20M /dev/urandom >live/noise
	sync -f live
	mount -o loop,ro,noload m/snapshots/tree/disk old
	rmdir m/snapshots/tree
	head -c 20M /dev/urandom >live/noise
	sync -f live
	diff -r --no-dereference /usr/include/linux old/linux
	umount old
	umount live
	losetup -d "$live"
fi
umount_view() {
	ublk-img umount m 2>err
}
await umount_view
ublk-img check --data a.ublk >/dev/null
[ "$(ublk-img snapshot list --json a.ublk | jq -r '[.snapshots[] | select(.deleting | not).name] | join(" ")')" = first ]

# Many.
ublk-img mount -o rw a.ublk m
for ((i = 0; i < 300; i++)); do mkdir "m/snapshots/s$i"; done
[ "$(find m/snapshots -mindepth 1 -maxdepth 1 | wc -l)" = 301 ]
[ "$(find m/snapshots -name disk | wc -l)" = 301 ]
rmdir m/snapshots/s*
[ "$(ls m/snapshots)" = first ]
ublk-img umount m
ublk-img check --data a.ublk >/dev/null
