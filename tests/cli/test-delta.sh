# SPDX-License-Identifier: MIT
# Deltas: made of two snapshots and applied to a copy of the one, they give the other; nothing takes
# them for disks; what is not where they begin is refused; who is interrupted can finish.
. "$TEST_ENV"
. "$top_srcdir/tests/cli/golden.sh"
. "$top_srcdir/tests/cli/edit-lib.sh"
require jq --version

export UBLK_IMG_RUNTIME_DIR=$PWD/run

refused() {
	expect_status 1 "${@:2}" 2>err
	grep -qF -- "$1" err || fail "${*:2}: $(cat err)"
}

# What does not depend on the order in which threads came, or on the version of zstd.
about() {
	ublk-img info "$1" | grep -A 3 -E '^(delta from|same as|interrupted):'
}
changes() {
	ublk-img map "$1" | awk '{ print $1, $2, $3 == "zstd" ? "data" : $3 }'
}

say "a disk with two snapshots, a copy of the one, and what changed until the other"
ublk-img create --zstd a.ublk 16M
"$edit" a.ublk text 0 $((3 * m)) 1 write $((4 * m)) $m 2 text $((8 * m)) $m 3
run ublk-img snapshot create a.ublk one
"$edit" a.ublk text $((64 * k)) 4096 4
"$edit" a.ublk discard $m $((512 * k)) write $((12 * m)) 8192 5 zero $((4 * m)) $((128 * k))
run ublk-img snapshot create a.ublk two
"$edit" a.ublk text $((2 * m)) $((64 * k)) 6
run ublk-img convert a.ublk@one copy.ublk
run ublk-img convert -O raw a.ublk@one copy.raw
run ublk-img convert --zstd --since one a.ublk@two two.delta
run ublk-img convert -O raw --since one --from-snapshot two a.ublk two.raw
run about two.delta
run changes two.delta
run cat two.raw.extents
sound two.delta
[ "$(stat -c %s two.raw)" = $((16 * m)) ]
[ "$(($(stat -c %b two.raw) * 512))" -lt $m ]

say "no disks"
run ublk-img convert two.delta x
run ublk-img convert two.raw x
run ublk-img compare two.delta copy.raw
run ublk-img compare copy.raw two.raw
run ublk-img attach two.delta
run ublk-img resize two.delta +1M
run ublk-img snapshot list two.delta
run ublk-img mount two.delta .
run ublk-img measure two.delta
run ublk-img measure two.raw
run ublk-img convert --since one a.ublk two.delta
run ublk-img convert -O raw --since one a.ublk two.raw
run ublk-img convert -O raw --since one --force a.ublk copy.raw
run ublk-img convert --since one a.ublk -
run ublk-img convert -O raw --since one a.ublk -
run ublk-img convert --since one - x
run ublk-img convert --since nobody a.ublk x
run ublk-img convert --since one --from-snapshot nobody a.ublk x
run ublk-img convert --since one --from-snapshot two a.ublk@two x
run ublk-img convert --from-snapshot two a.ublk x
run ublk-img convert --since one copy.raw x
run ublk-img apply a.ublk copy.ublk
run ublk-img apply copy.raw copy.ublk
run ublk-img apply --force two.delta two.raw
run ublk-img apply --force two.delta two.delta
run ublk-img apply two.delta nothing
[ ! -e x ]
[ ! -e copy.raw.extents ]

say "applied"
cp copy.ublk copy-2.ublk
run about copy.ublk
run ublk-img apply -v two.delta copy.ublk
same a.ublk@two copy.ublk
sound copy.ublk
run about copy.ublk
run ublk-img apply -v two.delta copy.ublk
run ublk-img apply two.delta copy.raw
run ublk-img apply --force two.delta copy.raw
same a.ublk@two copy.raw
ublk-img apply --force two.raw copy.raw
same a.ublk@two copy.raw
run ublk-img apply -v two.raw copy-2.ublk
same a.ublk@two copy-2.ublk
sound copy-2.ublk

say "the other way, and to a disk that has the snapshot"
ublk-img convert --since two a.ublk@one back.delta
ublk-img apply back.delta copy.ublk
same a.ublk@one copy.ublk
cp a.ublk b.ublk
run ublk-img apply two.delta b.ublk
run ublk-img snapshot rollback --discard-current b.ublk one
run ublk-img apply -v two.delta b.ublk
same a.ublk@two b.ublk
ublk-img snapshot rollback --discard-current b.ublk two
run ublk-img apply -v two.delta b.ublk

say "not where it begins"
ublk-img convert --since two a.ublk three.delta
run ublk-img apply three.delta copy.ublk
ublk-img apply two.delta copy.ublk
# Snapshots of the copy do not matter; somebody who may write to it does.
ublk-img snapshot create copy.ublk mine >/dev/null
ublk-img snapshot rename copy.ublk mine yours
cp copy.ublk written.ublk
cp copy.ublk rolled.ublk
ublk-img apply three.delta copy.ublk
same a.ublk copy.ublk
same a.ublk@two copy.ublk@yours
ublk-img snapshot delete copy.ublk yours
sound copy.ublk
run ublk-img apply three.delta copy.ublk
"$edit" written.ublk flush
run ublk-img apply three.delta written.ublk
run ublk-img apply --force three.delta written.ublk
same a.ublk written.ublk
ublk-img snapshot rollback --discard-current rolled.ublk yours
run ublk-img apply three.delta rolled.ublk
ublk-img create other.ublk 32M
run ublk-img apply --force three.delta other.ublk
truncate -s 32M other.raw
run ublk-img apply --force three.delta other.raw
say "a delta that is damaged: an intact one of the same finishes what it began"
cp two.delta damaged.delta
ublk-img convert a.ublk@one fresh.ublk
at=$(ublk-img map --json two.delta | jq '[.extents[] | select(.kind == "zstd").file_offset][0]')
printf x | dd of=damaged.delta bs=1 seek=$((at + 20)) conv=notrunc status=none
refused "its checksum does not match" ublk-img apply damaged.delta fresh.ublk
run ublk-img compare fresh.ublk a.ublk@one
run ublk-img apply three.delta fresh.ublk
ublk-img apply two.delta fresh.ublk
same a.ublk@two fresh.ublk

# A raw delta whose document is damaged.
for change in '.extents[0].offset = 1' '.extents[0].length = 99999999999' '.extents[0].length = 512' \
	'.extents[1].offset = 0' 'del(.extents)' '.base.uuid = "x"' '.target.virtual_size = 1' \
	'.cluster_size = 4096' '.schema = 2' '.extents[0].zero = 0'; do
	ln -f two.raw bad.raw
	jq "$change" two.raw.extents >bad.raw.extents
	expect_status 1 ublk-img apply --force bad.raw copy.raw 2>err
done
same a.ublk@two copy.raw
golden delta

# A chain: full exports, then deltas of either kind, sizes and clusters of all kinds.
change_at_random() { # IMAGE SIZE
	random_actions "$2"
	"$edit" "$1" "${actions[@]}"
}
for options in "" "--zstd --cluster-size=128K" "--sector-size=4096"; do
	rm -f c.ublk t1 t2 t3 ./*.d ./*.e ./*.e.extents
	size=$((20 * m))
	# shellcheck disable=SC2086
	ublk-img create $options c.ublk $size
	change_at_random c.ublk $size
	ublk-img snapshot create c.ublk 0 >/dev/null
	ublk-img convert --sector-size="$(ublk-img info --json c.ublk | jq .sector_size)" c.ublk@0 t1
	ublk-img convert --zstd --cluster-size=256K --sector-size=4096 c.ublk@0 t2
	ublk-img convert -O raw c.ublk@0 t3
	for i in 1 2 3 4; do
		# Larger, smaller, no whole cluster.
		new=$(((16 + RANDOM % 8) * m + RANDOM % 100 * 4096))
		[ $i != 3 ] || new=$size
		[ $((RANDOM % 2)) = 0 ] || change_at_random c.ublk "$size"
		ublk-img resize --shrink c.ublk $new
		size=$new
		change_at_random c.ublk $size
		ublk-img snapshot create c.ublk $i >/dev/null
		ublk-img convert --zstd --since $((i - 1)) c.ublk@$i $i.d
		ublk-img convert -O raw --since $((i - 1)) --from-snapshot $i c.ublk $i.e
		sound $i.d
		ublk-img apply $i.d t1
		ublk-img apply $i.e t2
		ublk-img apply --force $i.e t3
		for t in t1 t2 t3; do
			same c.ublk@$i $t
		done
	done
	sound t1
	sound t2
	# Back to an older one, across a branch.
	ublk-img snapshot rollback --keep=kept c.ublk 2
	change_at_random c.ublk "$(ublk-img info --json c.ublk | jq .virtual_size)"
	ublk-img snapshot create c.ublk branch >/dev/null
	ublk-img convert --since 4 c.ublk@branch branch.d
	ublk-img apply branch.d t1
	same c.ublk@branch t1
done

# Interrupted anywhere, by a failure or by a signal: neither the one nor the other, and the same
# command finishes it.
rm -f t1 t3 ./*.d
ublk-img create big.ublk 64M
"$edit" big.ublk text 0 $((40 * m)) 1
ublk-img snapshot create big.ublk one >/dev/null
"$edit" big.ublk text $((5 * m)) $((30 * m)) 2 discard 0 $((3 * m)) text $((50 * m)) $((9 * m)) 3
ublk-img resize big.ublk 70M
"$edit" big.ublk text $((66 * m)) $((4 * m)) 4
ublk-img snapshot create big.ublk two >/dev/null
"$edit" big.ublk text 0 4096 9
ublk-img snapshot create big.ublk three >/dev/null
ublk-img convert --zstd big.ublk@one full
ublk-img convert -O raw big.ublk@one full.raw
ublk-img convert --since one big.ublk@two two.d
ublk-img convert --since two big.ublk@three three.d
# between T: what may be said of it now.
between() {
	refused "holds neither 'one' nor 'two'" ublk-img convert "$1" x
	expect_status 2 ublk-img compare "$1" full.raw 2>err
	refused "holds neither 'one' nor 'two'" ublk-img resize "$1" +1M
	refused "repeat that first" ublk-img apply --force three.d "$1"
	refused "interrupted; repeat that first" ublk-img snapshot create "$1" x
	ublk-img info "$1" | grep -q '^interrupted: *.one' || fail "$(ublk-img info "$1")"
	sound "$1"
}
for fault in apply_content apply_done convert_write convert_write:20 convert_finish; do
	cp full t1
	UBLK_IMG_FAULTS=$fault expect_status 1 ublk-img apply two.d t1 2>err
	between t1
	ublk-img apply two.d t1
	same big.ublk@two t1
	sound t1
	ublk-img apply three.d t1
	same big.ublk@three t1
done
# A raw file says so, too, where its file system lets it.
if touch marked && setfattr -n user.test -v 1 marked 2>/dev/null; then
	for fault in convert_write convert_write:9 convert_finish; do
		cp full.raw t3
		UBLK_IMG_FAULTS=$fault expect_status 1 ublk-img apply --force two.d t3 2>err
		refused "is between two snapshots" ublk-img convert t3 x
		refused "repeat that first" ublk-img apply --force three.d t3
		ublk-img apply --force two.d t3
		same big.ublk@two t3
	done
fi
# Who gives up goes back to a snapshot.
cp full t1
ublk-img snapshot create t1 before >/dev/null
UBLK_IMG_FAULTS=convert_write:30 expect_status 1 ublk-img apply two.d t1 2>err
same big.ublk@one t1@before
ublk-img snapshot rollback --discard-current t1 before
same big.ublk@one t1
refused "is not known to be at 'one'" ublk-img apply two.d t1
ublk-img apply --force two.d t1
same big.ublk@two t1

start=$(date +%s%N)
cp full t1
ublk-img apply two.d t1
took=$((($(date +%s%N) - start) / 1000000 + 1))
killed=0 finished=0
for round in $(seq "${DELTA_KILLS:-8}"); do
	cp full t1
	cp full.raw t3
	for target in t1 t3; do
		ublk-img apply --force two.d $target 2>/dev/null &
		pid=$!
		sleep "$(printf '0.%03d' $((RANDOM % (took < 900 ? took : 900))))"
		kill -9 $pid 2>/dev/null || true
		if wait $pid 2>/dev/null; then
			finished=$((finished + 1))
		else
			killed=$((killed + 1))
		fi
	done
	# At the one, at the other, or known to be neither.
	state=$(ublk-img info --json t1 | jq -r '.content.state + " " + .content.target.name')
	case $state in
	"at one") same big.ublk@one t1 ;;
	"at two") same big.ublk@two t1 ;;
	"applying two") between t1 ;;
	*) fail "round $round: state $state" ;;
	esac
	echo "round $round: $state"
	ublk-img apply two.d t1
	ublk-img apply --force two.d t3
	same big.ublk@two t1
	same big.ublk@two t3
	sound t1
done
echo "$killed killed, $finished had finished"
