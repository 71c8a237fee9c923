# SPDX-License-Identifier: MIT
# Images on top of others: what they read as, who may be a backing, commit and rebase.
. "$TEST_ENV"
. "$top_srcdir/tests/cli/golden.sh"
. "$top_srcdir/tests/cli/make-images.sh"
require jq --version

# made FILE SIZE SEED: a raw file with data and a hole, changed last in 2020.
made() {
	ublk-img create --force made.tmp 4M
	"$edit" made.tmp write 0 1048576 "$3" write 2097152 65536 "$3"
	"$edit" made.tmp read 0 4194304 | dd of="$1" bs=64K iflag=fullblock conv=sparse status=none
	truncate -s "$2" "$1"
	touch -d '2020-02-02 02:02:02 UTC' "$1"
}

# both WORD...: the same operations of edit-image on the overlay and on a plain image.
both() {
	"$edit" over.ublk "$@"
	"$edit" plain.ublk "$@"
}

# same IMAGE [OTHER]: they read the same, whoever reads, and the image is sound.
same() {
	ublk-img compare -s "$1" "${2:-plain.ublk}" >/dev/null || fail "$1 reads differently"
	ublk-img convert --force -O raw "$1" flat.raw
	ublk-img convert --force -O raw "${2:-plain.ublk}" flat2.raw
	cmp flat.raw flat2.raw
	ublk-img check "${1%@*}" >/dev/null
}

# ---- making them, and what they tell ----------------------------------------------------------
made base.raw 4M 7
run ublk-img create --backing base.raw over.ublk
run ublk-img info over.ublk
run ublk-img map over.ublk
run ublk-img create --backing base.raw --backing-format raw larger.ublk 6M
run ublk-img map larger.ublk
run ublk-img create --backing base.raw smaller.ublk 1M
run ublk-img map smaller.ublk
run ublk-img create nothing.ublk
run ublk-img create --backing nowhere nothing.ublk
run ublk-img create --backing base.raw@one nothing.ublk
run ublk-img rebase over.ublk
golden backing-create

# ---- what they read as ------------------------------------------------------------------------
for shift in 64K 256K; do
	made base.raw 4M 7
	for codec in "" --zstd; do
		cp --preserve=timestamps base.raw below.raw
		# shellcheck disable=SC2086
		ublk-img create --force --cluster-size=$shift $codec --backing below.raw over.ublk
		ublk-img convert --force below.raw plain.ublk
		same over.ublk
		both write 4608 512 2 write 65536 65536 3 text 300032 299520 4 \
			write 1048064 1024 5 zero 131072 65536 zero 199680 5120 \
			discard 262144 262144 write 2097152 4096 6 zero 2101248 8192
		same over.ublk
		# Snapshots of it show the backing as well.
		ublk-img snapshot create over.ublk one >/dev/null
		ublk-img snapshot create plain.ublk one >/dev/null
		both write 8192 4096 8 discard 0 524288 write 3145728 512 9
		same over.ublk
		same over.ublk@one plain.ublk@one
		# Cut off is cut off, for the disk as it is.
		for image in over.ublk plain.ublk; do
			ublk-img resize --shrink $image 600K
			ublk-img resize $image 5M
		done
		same over.ublk
		same over.ublk@one plain.ublk@one
		ublk-img snapshot diff --json over.ublk one >diff.json
		for image in over.ublk plain.ublk; do
			ublk-img snapshot rollback --keep=two $image one >/dev/null
		done
		same over.ublk
		same over.ublk@two plain.ublk@two
		for image in over.ublk plain.ublk; do
			ublk-img snapshot delete $image one
			ublk-img snapshot delete $image two
		done
		same over.ublk
		# The backing was never touched.
		cmp below.raw base.raw
		# Flat.
		cp over.ublk flat.ublk
		ublk-img rebase --no-backing flat.ublk
		same flat.ublk
		[ "$(ublk-img info --json flat.ublk | jq .backing)" = null ]
		# Onto the same content elsewhere, onto another, and onto nothing.
		made other.raw 3M 9
		ublk-img rebase --backing other.raw over.ublk
		same over.ublk
		rm below.raw
		same over.ublk
		# Down into it.
		ublk-img commit over.ublk
		same over.ublk
		[ "$(ublk-img info --json over.ublk | jq '.clusters | .raw + .zstd + .zero')" = 0 ]
		ublk-img convert --force -O raw plain.ublk flat.raw
		cmp other.raw flat.raw
	done
done

# ---- on images, and on their snapshots -----------------------------------------------------------
made base.raw 4M 7
ublk-img convert --zstd base.raw lower.ublk
ublk-img snapshot create lower.ublk kept >/dev/null
ublk-img create --force --backing lower.ublk@kept over.ublk
"$edit" lower.ublk write 0 65536 99
ublk-img convert --force base.raw plain.ublk
same over.ublk
both write 65536 4096 1 discard 131072 131072
same over.ublk
ublk-img snapshot rename lower.ublk kept renamed
same over.ublk
run ublk-img commit over.ublk
ublk-img snapshot delete lower.ublk renamed
run ublk-img compare over.ublk plain.ublk
# A live disk, and what is on top of that.
ublk-img create --force --backing lower.ublk middle.ublk
ublk-img create --force --backing middle.ublk --zstd over.ublk 8M
ublk-img convert --force lower.ublk plain.ublk
ublk-img resize plain.ublk 8M
both write 65536 4096 1 text 5000192 199680 2
same over.ublk
run ublk-img map over.ublk
ublk-img commit over.ublk
same over.ublk
same middle.ublk
"$edit" middle.ublk write 0 512 3
run ublk-img compare over.ublk plain.ublk
golden backing-images

# ---- refused ---------------------------------------------------------------------------------------
made base.raw 4M 7
ublk-img create --force --backing base.raw over.ublk
touch -d '2021-02-02 02:02:02.5 UTC' base.raw
run ublk-img compare over.ublk base.raw
run ublk-img map over.ublk
made base.raw 3M 7
run ublk-img convert -O raw over.ublk no.raw
mv base.raw moved.raw
run ublk-img convert -O raw over.ublk no.raw
made moved.raw 4M 7
run ublk-img rebase --unsafe --backing moved.raw over.ublk
run ublk-img compare over.ublk moved.raw
ublk-img snapshot create over.ublk one >/dev/null
run ublk-img commit over.ublk
run ublk-img rebase --no-backing over.ublk
ublk-img snapshot delete over.ublk one
run ublk-img rebase --no-backing --unsafe over.ublk
run ublk-img commit over.ublk
[ -e no.raw ] && fail "something was written"
say Another image under the same name.
ublk-img convert --force moved.raw lower.ublk
ublk-img create --force --backing lower.ublk over.ublk
ublk-img convert --force moved.raw lower.ublk
run ublk-img compare over.ublk moved.raw
golden backing-refused

say Paths out of the directory.
mkdir inside
mv moved.raw outside.raw
run ublk-img create --backing outside.raw inside/over.ublk
run ublk-img compare inside/over.ublk outside.raw
run ublk-img compare --allow-backing inside/over.ublk outside.raw
UBLK_IMG_ALLOW_BACKING=1 run ublk-img compare inside/over.ublk outside.raw
say Not by a link either.
cp --preserve=timestamps outside.raw inside/own.raw
ublk-img create --force --backing inside/own.raw inside/over.ublk
rm inside/own.raw
ln -s ../outside.raw inside/own.raw
run ublk-img compare inside/over.ublk outside.raw
say By a link that stays inside.
cp --preserve=timestamps outside.raw inside/real.raw
ln -sf real.raw inside/own.raw
run ublk-img compare inside/over.ublk outside.raw
say In a circle, and too deep.
ublk-img create --force a.ublk 1M
ublk-img create --force --backing a.ublk b.ublk
run ublk-img rebase --unsafe --backing b.ublk a.ublk
ublk-img create 1.ublk 1M
for i in $(seq 2 16); do
	ublk-img create --backing $((i - 1)).ublk "$i.ublk"
done
run ublk-img compare 16.ublk 1.ublk
run ublk-img create --backing 16.ublk 17.ublk
ublk-img create 0.ublk 1M
ublk-img rebase --unsafe --backing 0.ublk 1.ublk
for i in $(seq 2 16); do
	ublk-img rebase --unsafe --backing $((i - 1)).ublk "$i.ublk" 2>/dev/null || true
done
run ublk-img compare 16.ublk 0.ublk
golden backing-paths

# ---- in use ------------------------------------------------------------------------------------------
made base.raw 4M 7
ublk-img create --force --backing base.raw over.ublk
ublk-img create --force --backing base.raw over2.ublk
if [ -c /dev/fuse ] && [ "$(id -u)" = 0 ]; then
	mkdir -p m
	ublk-img mount over2.ublk m
	expect_status 1 ublk-img commit over.ublk 2>err
	grep -q 'in use' err || fail "$(cat err)"
	ublk-img umount m
	same over.ublk over2.ublk
fi
"$edit" over.ublk write 0 4096 5
ublk-img commit over.ublk
expect_status 1 ublk-img convert -O raw over2.ublk no.raw 2>err
grep -q 'not what it was' err || fail "$(cat err)"
