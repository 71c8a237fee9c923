# SPDX-License-Identifier: MIT
# snapshot create --freeze: what it freezes, that the snapshot holds all that was written, and that
# nothing stays frozen, whoever is killed.
. "$TEST_ENV"
. "$top_srcdir/tests/loop/loop-lib.sh"
require jq --version
require dumpe2fs -V
require fsfreeze --version

says() {
	expect_status 1 "${@:2}" 2>"$UBLK_IMG_TEST_DIR/err"
	grep -qF -- "$1" "$UBLK_IMG_TEST_DIR/err" || fail "${*:2}: $(cat "$UBLK_IMG_TEST_DIR/err")"
}
# thawed DIR: it can be written, soon.
thawed() {
	timeout 5 touch "$1/thawed" || fail "$1 is frozen"
}
needs_recovery() {
	dumpe2fs -h "$device" 2>/dev/null | grep -q needs_recovery
}
# take OPTION... NAME: a snapshot of a file that was just written, and not synced.
take() {
	head -c 3M /dev/urandom >m/file
	sha256sum <m/file >"${*: -1}.sum"
	ublk-img snapshot create "${@:1:$#-1}" data "${*: -1}" >/dev/null
	thawed m
}
attach() {
	device=$(ublk-img attach --mode=loop --name=data a.ublk 2>err) || fail "$(cat err)"
}

mkdir m n other
here=$(realpath .)
ublk-img create --zstd a.ublk 256M
says "a.ublk: is not attached" ublk-img snapshot create --freeze=m a.ublk x
ublk-img snapshot create --freeze --json a.ublk idle | jq -e '.frozen == []' >/dev/null
expect_status 2 ublk-img snapshot create --freeze=nowhere a.ublk x 2>err
grep -q -- '--freeze: nowhere: No such file' err || fail "$(cat err)"
expect_status 2 ublk-img snapshot create --freeze=err a.ublk x 2>err

attach
ublk-img snapshot create --freeze -v data unmounted 2>err >/dev/null
grep -q "nothing is mounted" err || fail "$(cat err)"
mkfs.ext4 -q "$device"
mount -o commit=300 "$device" m
mount --bind m n
ublk-img snapshot create --json --freeze data first >json
"$top_builddir/tests/cli/validate-json" "$top_srcdir/docs/schema/snapshot-create.json" <json
[ "$(jq -c .frozen json)" = "[\"$here/m\"]" ] || fail "$(cat json)"
ublk-img snapshot create --json --freeze=n data second | jq -e '.frozen == ["n"]' >/dev/null
says "other: is not on $device" ublk-img snapshot create --freeze=other data x
for way in --freeze --freeze=m --freeze=n; do
	take "$way" "with$way"
done
take without

# What fails leaves nothing frozen.
says "there is a snapshot 'without' already" ublk-img snapshot create --freeze data without
thawed m
fsfreeze --freeze m
says "is frozen already" timeout 20 ublk-img snapshot create --freeze data x
fsfreeze --unfreeze m
thawed m

# A mount that another one hides is not mistaken for it.
mount --bind other n
says "n: is not on $device" ublk-img snapshot create --freeze=n data x
umount n
mount -t tmpfs none m
ublk-img snapshot create --json --freeze data third | jq -e --arg n "$here/n" '.frozen == [$n]' >/dev/null
umount n
says "cannot open what is mounted there" ublk-img snapshot create --freeze data x
umount m # the tmpfs

# Whoever is killed at whatever time: the file system is thawed, and soon.
load() {
	while [ -e go ]; do
		head -c 200k /dev/urandom >m/load 2>/dev/null || return 1
	done
}
touch go
spawn load
frozen=0
for i in $(seq 40); do
	ublk-img snapshot create --freeze data "kill-$i" >/dev/null 2>&1 &
	pid=$!
	sleep "0.0$((i % 5))$((i * 7 % 10))"
	# Its children first, then itself, or the other way round; the last of them thaws.
	child=$(pgrep -P "$pid" || true)
	[ -z "$child" ] || frozen=$((frozen + 1))
	case $((i % 4)) in
	0) kill -KILL "$pid" 2>/dev/null || true ;;
	1) [ -z "$child" ] || kill -KILL "$child" 2>/dev/null || true ;;
	2) kill -INT "$pid" 2>/dev/null || true ;;
	3)
		kill -STOP "$pid" 2>/dev/null || true
		sleep 0.05
		kill -KILL "$pid" 2>/dev/null || true
		;;
	esac
	wait "$pid" || true
	thawed m
done
rm go
join
[ "$frozen" -gt 2 ] || fail "nothing was killed while it froze"

# The snapshots hold what was written.  Of those that were killed a process may have it open yet.
await bash -c 'umount m 2>/dev/null'
for name in with--freeze with--freeze=m with--freeze=n; do
	ublk-img snapshot rollback --discard-current data "$name"
	if needs_recovery; then fail "$name was not frozen"; fi
	mount -o ro "$device" m
	sha256sum <m/file | cmp - "$name.sum" || fail "$name does not hold what was written"
	umount m
	fsck.ext4 -fn "$device" >fsck.out 2>&1 || fail "$(cat fsck.out)"
done
# The same would be seen of one that was not frozen.
ublk-img snapshot rollback --discard-current data without
needs_recovery || fail "without --freeze the snapshot is the same"
ublk-img detach data
ublk-img check --data a.ublk >/dev/null
