# SPDX-License-Identifier: MIT
# Who may mount what where, what is said when not, and how a view ends.
. "$TEST_ENV"
. "$top_srcdir/tests/fuse/fuse-lib.sh"
require getfattr --version

# says TEXT COMMAND...: the command fails with status 1 and a message that contains the text.
says() {
	expect_status 1 "${@:2}" 2>"$UBLK_IMG_TEST_DIR/err"
	grep -qF -- "$1" "$UBLK_IMG_TEST_DIR/err" || fail "${*:2}: $(cat "$UBLK_IMG_TEST_DIR/err")"
}

ublk-img create a.ublk 64M
mkdir m n
says "gone: cannot mount there: No such file" ublk-img mount a.ublk gone
says "a.ublk: cannot mount there: not a directory" ublk-img mount a.ublk a.ublk
says "nothing.ublk: cannot open the image: No such file" ublk-img mount nothing.ublk m
head -c 1M /dev/zero >zeros
says "zeros" ublk-img mount zeros m
says "m: no view is mounted there" ublk-img umount m
says "gone: cannot unmount" ublk-img umount gone
[ -z "$(mounts_here)" ]

# Readers share, a writer is alone.
ublk-img mount a.ublk m
says "m: a view is mounted there already" ublk-img mount a.ublk m
ublk-img mount a.ublk n
mkdir o
expect_status 1 ublk-img mount -o rw a.ublk o 2>"$UBLK_IMG_TEST_DIR/err"
grep -qE "a.ublk is in use by pid ($(server m)|$(server n)) " err || fail "the holder is not named: $(cat err)"
ublk-img umount n
ublk-img umount m
ublk-img mount -o rw a.ublk m
expect_status 1 ublk-img mount a.ublk o 2>"$UBLK_IMG_TEST_DIR/err"
grep -q "a.ublk is in use by pid $(server m) " err || fail "the holder is not named: $(cat err)"
expect_status 1 ublk-img resize a.ublk +1M 2>"$UBLK_IMG_TEST_DIR/err"
# The kernel reads further ahead than by default, where it lets itself be told.
read_ahead=/sys/class/bdi/$(stat -c %Hd:%Ld m)/read_ahead_kb
[ ! -w "$read_ahead" ] || [ "$(cat "$read_ahead")" = 1024 ]
ublk-img umount m

# After umount the next command can open the image, each time; umount(8) does not wait, but ends
# the process as well.
for ((round = 0; round < 10; round++)); do
	ublk-img mount -o rw a.ublk m
	echo "round $round" | dd of=m/disk conv=notrunc status=none
	ublk-img umount m
	ublk-img info a.ublk | grep -q '^state: *clean$'
done
ublk-img mount -o rw a.ublk m
pid=$(server m)
unmount m
await gone "$pid"
ublk-img info a.ublk | grep -q '^state: *clean$'

# An open file keeps the view: refused, nothing changed.
ublk-img mount -o rw a.ublk m
exec {file}<>m/disk
says "m: cannot unmount: a file in it is open" ublk-img umount m
[ "$(head -c 7 m/disk)" = "round 9" ]
exec {file}>&-
ublk-img umount m

# Signals end it cleanly, also with a file open.
for signal in TERM INT HUP; do
	ublk-img mount -o rw a.ublk m
	pid=$(server m)
	exec {file}<>m/disk
	echo "signal $signal" >&"$file"
	kill "-$signal" "$pid"
	await gone "$pid"
	[ -z "$(mounts_here)" ] || fail "still mounted after SIG$signal"
	if echo x >&"$file"; then fail "written without a server"; fi 2>/dev/null
	exec {file}>&-
	ublk-img info a.ublk | grep -q '^state: *clean$' || fail "$(ublk-img info a.ublk)"
	ublk-img mount a.ublk m
	[ "$(head -n 1 m/disk)" = "signal $signal" ]
	ublk-img umount m
done

# In the foreground.
spawn ublk-img mount --foreground -o rw a.ublk m
await test -e m/disk
echo foreground | dd of=m/disk conv=notrunc status=none
kill -TERM "$spawned_pid"
join
ublk-img mount a.ublk m
[ "$(head -n 1 m/disk)" = foreground ]
ublk-img umount m

# A process that is killed leaves a dead mount, which is named and can be removed; what was synced
# is in the image.
ublk-img mount -o rw a.ublk m
pid=$(server m)
echo survivor | dd of=m/disk conv=notrunc,fsync status=none
kill -KILL "$pid"
await gone "$pid"
says "ublk-img umount m" ublk-img mount a.ublk m
ublk-img umount m
ublk-img check a.ublk >/dev/null
ublk-img mount a.ublk m
[ "$(head -n 1 m/disk)" = survivor ]
ublk-img umount m

# What goes wrong when the image is closed reaches who unmounts; nothing is left behind.
UBLK_IMG_FAULTS=image_close ublk-img mount -o rw a.ublk m
pid=$(server m)
says "not closed cleanly" ublk-img umount m
grep -q "m: the view did not end well" err || fail "$(cat err)"
await gone "$pid"
[ -z "$(ls run)" ] || fail "left in the directory: $(ls run)"
# In the foreground it is the exit status.
spawn expect_status 1 env UBLK_IMG_FAULTS=image_close ublk-img mount --foreground -o rw a.ublk m
await test -e m/disk
ublk-img umount m 2>"$UBLK_IMG_TEST_DIR/err"
join
ublk-img check a.ublk >/dev/null

# What cannot even start says so to who started it, and leaves nothing.
UBLK_IMG_FAULTS=view_thread:3 says "cannot start a thread" ublk-img mount a.ublk m
[ -z "$(mounts_here)$(ls run)" ]

# Names with odd characters.
odd=$'a, b\\c\td'
mkdir "$odd"
cp a.ublk "$odd/i,m\\g.ublk"
mkdir "$odd/m m"
ublk-img mount "$odd/i,m\\g.ublk" "$odd/m m"
says "is mounted there already" ublk-img mount "$odd/i,m\\g.ublk" "$odd/m m"
cmp a.ublk "$odd/i,m\\g.ublk"
[ "$(head -n 1 "$odd/m m/disk")" = survivor ]
ublk-img umount "$odd/m m"

# Relative names, from elsewhere than where the view was mounted.
(cd m && ublk-img mount ../a.ublk ../n)
cd n || exit
says "n: cannot unmount: a file" ublk-img umount ../n
cd ..
ublk-img umount "$PWD/n/"
