# SPDX-License-Identifier: MIT
# attach, detach and list as far as they go without a device: wrong usage, and a kernel that cannot.
. "$TEST_ENV"

export UBLK_IMG_RUNTIME_DIR=$PWD/run
ublk-img create disk.ublk 64M

# says STATUS TEXT COMMAND...: the command exits so, saying that on standard error, and nothing on
# standard output.
says() {
	expect_status "$1" "${@:3}" >out 2>err
	[ ! -s out ] || fail "printed: $(cat out)"
	grep -qF -- "$2" err || fail "\"$2\" is not in: $(cat err)"
}

says 2 'operands are missing' ublk-img attach
says 2 'unexpected operand' ublk-img attach disk.ublk disk.ublk
for name in '' . .x -x a/b 'a b' "$(printf 'n%.0s' {1..64})"; do
	says 2 'cannot be the name of a device' ublk-img attach "--name=$name" disk.ublk
done
for n in 0 65 -1 x ''; do
	says 2 --queues ublk-img attach "--queues=$n" disk.ublk
done
for n in 0 1025 1.5; do
	says 2 --depth ublk-img attach "--depth=$n" disk.ublk
done
says 2 --mode ublk-img attach --mode=fast disk.ublk
says 1 'missing: cannot find the file: No such file' ublk-img attach missing

says 2 'give either' ublk-img detach
says 2 'give either' ublk-img detach --all disk.ublk
says 2 'cannot be empty' ublk-img detach ''
says 1 'no such device, image or name is attached' ublk-img detach disk.ublk
says 1 'no such device, image or name is attached' ublk-img detach /dev/ublkb0
says 2 'unexpected operand' ublk-img list disk.ublk

says 2 --recovery ublk-img attach --recovery=maybe disk.ublk
says 2 'needs recovery' ublk-img attach --restart --recovery=off disk.ublk
for command in recover upgrade; do
	says 2 'give either' ublk-img "$command"
	says 2 'give either' ublk-img "$command" --all disk.ublk
	says 2 'cannot be empty' ublk-img "$command" ''
	expect_status 0 ublk-img "$command" --all
done
says 2 'for one device' ublk-img recover --all --foreground
says 1 'no such device, image or name awaits recovery' ublk-img recover disk.ublk
says 1 'no such device, image or name is attached' ublk-img upgrade disk.ublk

# Without devices there is nothing to list, nor to detach.
[ -z "$(ublk-img list)" ] || fail "$(ublk-img list)"
expect_status 0 ublk-img detach --all
[ ! -e run ] || fail "the directory of sockets was made"

# A directory in which others could put sockets is not trusted.
mkdir -m 0777 run
chmod 0777 run
says 1 'writable for nobody else' ublk-img list
says 1 'writable for nobody else' ublk-img attach disk.ublk
rmdir run

# Where the kernel cannot, the message says what to do, within a bounded time; nothing stays behind.
if [ ! -e /dev/ublk-control ]; then
	for mode in zero-copy zero-copy-explicit user-copy copy; do
		says 1 'modprobe ublk_drv' timeout 30 ublk-img attach "--mode=$mode" disk.ublk
		says 1 'modprobe ublk_drv' timeout 30 ublk-img attach --foreground \
			"--mode=$mode" disk.ublk
	done
	says 1 'modprobe ublk_drv' ublk-img attach --mode=copy --log=log --name=n disk.ublk
	grep -q 'ublk-bridge\[[0-9]*\]: error: .*modprobe' log || fail "log: $(cat log)"
	[ -z "$(find run -type f -o -type s)" ] || fail "left: $(ls -R run)"
	# The lock is free again, the image closed.
	ublk-img info disk.ublk | grep -q '^state: *clean'
	ublk-img resize disk.ublk +1M
fi

# What a bridge has left of a device that the kernel does not have is removed by whoever finds it: here
# there is no driver.
if [ ! -e /dev/ublk-control ]; then
	uuid=$(ublk-img info --json disk.ublk | jq -r .uuid)
	mkdir -p run
	# leave DEVICE BOOT: what the bridge of a device has left
	leave() {
		jq -n --arg image "$PWD/disk.ublk" --arg uuid "${uuid//-/}" --arg boot "$2" \
			--argjson id "${1#ublkb}" '{form: 1, device: "/dev/ublkb\($id)", id: $id, mark: 1,
			boot: $boot, image: $image, log: "", uuid: $uuid, image_device: 1, image_inode: 1,
			name: "", mode: "copy", mode_reason: "", read_only: false, foreground: false,
			restart: false, allow_backing: false, size: 1, since: 1, pid: 1, closed: false, mtime: 1}' >"run/$1.json"
	}
	boot=$(cat /proc/sys/kernel/random/boot_id)
	leave ublkb3 "$boot"
	[ -z "$(ublk-img list)" ]
	[ ! -e run/ublkb3.json ] || fail "what is left of ublkb3 stays"
	leave ublkb3 "$boot"
	says 1 'no such device, image or name awaits recovery' ublk-img recover ublkb3
	[ ! -e run/ublkb3.json ] || fail "what is left of ublkb3 stays"
	# What cannot be understood is left alone.
	echo '{' >run/ublkb4.json
	ublk-img list 2>err
	grep -q 'what is known of /dev/ublkb4 cannot be read' err || fail "$(cat err)"
	[ -e run/ublkb4.json ] || fail "$(ls run)"
	rm run/*.json
fi

# What is in use is so also for attach, and what is damaged is not attached.
mkdir bad
head -c 1M /dev/urandom >bad/random
says 1 'bad/random' ublk-img attach bad/random
says 1 'cannot open the log file' ublk-img attach --log=/nowhere/log disk.ublk
