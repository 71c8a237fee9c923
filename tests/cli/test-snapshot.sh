# SPDX-License-Identifier: MIT
# The snapshot commands on an image that is not attached: what they say, and what is then in it.
. "$TEST_ENV"
. "$top_srcdir/tests/cli/golden.sh"
require jq --version

names() {
	ublk-img snapshot list --json "$1" | jq -r '.snapshots[].name'
}
used() {
	ublk-img info --json "$1" | jq .used_units
}
edit=$top_builddir/tests/cli/edit-image
# state N CLUSTER...: these clusters get new content; what the disk holds then is in state-N.
seed=0
state() {
	local cluster
	for cluster in "${@:2}"; do
		seed=$((seed + 1))
		"$edit" a.ublk text $((cluster * 65536)) 65536 "$seed"
	done
	"$edit" a.ublk read 0 $((16 << 20)) >"state-$1"
}
is_state() {
	ublk-img compare --strict a.ublk "state-$1" >/dev/null || fail "the disk is not as in state $1"
}

export UBLK_IMG_RUNTIME_DIR=$PWD/run
ublk-img create --zstd a.ublk 16M
"$edit" a.ublk text 0 $((16 << 20)) 99
"$edit" a.ublk discard 0 $((16 << 20))
empty=$(used a.ublk) # with a journal
run ublk-img snapshot list a.ublk
[ -z "$(ublk-img snapshot list a.ublk)" ]
state 1 0 1 2 100
[ "$(ublk-img snapshot create a.ublk one)" = one ]
state 2 1 2 3
[ "$(ublk-img snapshot create a.ublk "t w\o")" = "t w\o" ]
state 3 2 200
now=$(ublk-img snapshot create a.ublk)
[[ $now =~ ^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z$ ]] || fail "named $now"
ublk-img snapshot rename a.ublk "$now" three
diff <(names a.ublk) <(printf '%s\n' one 't w\o' three)
ublk-img check --data a.ublk >/dev/null
is_state 3
[ "$(ublk-img snapshot list --json a.ublk | jq -c '[.snapshots[] | [.id, .parent, .current]]')" = \
	'[[1,null,false],[2,1,false],[3,2,true]]' ] || fail "$(ublk-img snapshot list a.ublk)"

say "what differs"
run ublk-img snapshot diff a.ublk one "t w\o"
run ublk-img snapshot diff a.ublk "t w\o" three
run ublk-img snapshot diff a.ublk one three
run ublk-img snapshot diff --json a.ublk three
run ublk-img snapshot diff a.ublk three nobody

say "snapshots as sources"
state=0
for n in one "t w\o" three; do
	state=$((state + 1))
	ublk-img compare --strict "a.ublk@$n" "state-$state" >/dev/null
	ublk-img compare --strict "state-$state" "a.ublk@$n" >/dev/null
	rm -f raw new.ublk
	ublk-img convert -O raw "a.ublk@$n" raw
	cmp raw "state-$state"
	ublk-img convert --zstd "a.ublk@$n" new.ublk
	ublk-img compare --strict new.ublk "state-$state" >/dev/null
	[ "$(ublk-img map "a.ublk@$n" | awk 'NR > 1 { end = $1 + $2 } END { print end }')" = $((16 << 20)) ]
done
expect_status 1 ublk-img compare a.ublk@one a.ublk@three >/dev/null
ublk-img info a.ublk@one >out
grep -q '^data: *256 KiB' out || fail "$(cat out)"
grep -q '^created: *20' out || fail "$(cat out)"
run ublk-img map a.ublk@nobody
run ublk-img convert -O raw a.ublk@nobody raw2
run ublk-img compare a.ublk@ state-1
run ublk-img convert -O raw nothing@one raw2
# A file of that name comes first, an image whose name has an @ is found.
cp state-2 a.ublk@one
ublk-img compare --strict a.ublk@one state-2 >/dev/null
rm a.ublk@one
cp a.ublk b@c.ublk
ublk-img compare --strict b@c.ublk@one state-1 >/dev/null
ublk-img snapshot create a.ublk x@y >/dev/null
ublk-img compare --strict a.ublk@x@y state-3 >/dev/null
ublk-img snapshot delete a.ublk x@y
rm b@c.ublk

say "back and forth"
cp a.ublk before
[ "$(ublk-img snapshot rollback --keep=kept a.ublk one)" = kept ]
is_state 1
[ "$(ublk-img snapshot list --json a.ublk | jq -r '.snapshots[] | select(.current).name')" = one ]
ublk-img snapshot rollback --discard-current a.ublk kept >out
[ ! -s out ] || fail "$(cat out)"
is_state 3
ublk-img snapshot rollback --discard-current a.ublk "t w\o"
is_state 2
automatic=$(ublk-img snapshot rollback a.ublk three)
[[ $automatic == before-rollback-20* ]] || fail "kept as $automatic"
is_state 3
ublk-img check --data a.ublk >/dev/null
# A disk has the size that it had.
ublk-img resize a.ublk 32M
ublk-img snapshot create a.ublk larger >/dev/null
ublk-img snapshot rollback --discard-current a.ublk three
[ "$(ublk-img info --json a.ublk | jq .virtual_size)" = $((16 << 20)) ]
ublk-img snapshot rollback --discard-current a.ublk larger
[ "$(ublk-img info --json a.ublk | jq .virtual_size)" = $((32 << 20)) ]
ublk-img snapshot rollback --discard-current a.ublk three

say "deletion gives space back"
ublk-img snapshot delete --json a.ublk larger "$automatic" kept | jq -e .freed >/dev/null
ublk-img snapshot delete a.ublk one "t w\o"
ublk-img check --data a.ublk >/dev/null
[ "$(names a.ublk)" = three ]
is_state 3
ublk-img snapshot delete --json a.ublk three | jq -e .freed >/dev/null
[ -z "$(names a.ublk)" ]
is_state 3
"$edit" a.ublk discard 0 $((16 << 20))
[ "$(used a.ublk)" -le $((empty + 2)) ] || fail "$(used a.ublk) units used, $empty when it was new"

say "what is refused"
cp before a.ublk
run ublk-img snapshot create a.ublk one
run ublk-img snapshot create a.ublk a/b
run ublk-img snapshot create a.ublk .
run ublk-img snapshot create a.ublk ''
run ublk-img snapshot create a.ublk "$(printf '%128s' x)"
run ublk-img snapshot create a.ublk $'\xff'
run ublk-img snapshot rename a.ublk one three
run ublk-img snapshot rename a.ublk nobody four
run ublk-img snapshot delete a.ublk nobody
run ublk-img snapshot rollback a.ublk nobody
run ublk-img snapshot rollback --keep=one a.ublk three
run ublk-img snapshot rollback --keep=a/b a.ublk three
run ublk-img snapshot rollback --keep=x --discard-current a.ublk three
run ublk-img snapshot list nothing
run ublk-img snapshot list state-1
run ublk-img snapshot
run ublk-img snapshot --bad
run ublk-img snapshot take a.ublk x
run ublk-img snapshot create
run ublk-img snapshot rename a.ublk one
diff <(ublk-img snapshot list a.ublk) <(ublk-img snapshot list before)
chmod a-w a.ublk
[ "$(id -u)" = 0 ] || expect_status 1 ublk-img snapshot create a.ublk x 2>/dev/null
# A name that was deleted is free at once.
chmod u+w a.ublk
ublk-img snapshot delete a.ublk one
ublk-img snapshot create a.ublk one >/dev/null
diff <(names a.ublk) <(printf '%s\n' 't w\o' three one)
# Nothing that a terminal would obey.
ublk-img snapshot create a.ublk $'\e[31mred\n' >/dev/null
ublk-img snapshot list a.ublk >out
grep -q '?\[31mred?' out || fail "$(cat -v out)"
if grep -q $'\e' out; then fail "$(cat -v out)"; fi
golden snapshot
