# SPDX-License-Identifier: MIT
# What holds no whole disk is not taken for one when an image is put on top of it; a raw file may end
# anywhere.
. "$TEST_ENV"

edit=$top_builddir/tests/cli/edit-image

refused() {
	expect_status 1 "${@:2}" 2>err
	grep -qF -- "$1" err || fail "${*:2}: $(cat err)"
}

ublk-img create a.ublk 4M
"$edit" a.ublk write 0 1048576 1
ublk-img snapshot create a.ublk one >/dev/null
"$edit" a.ublk write 65536 65536 2
ublk-img snapshot create a.ublk two >/dev/null
ublk-img convert --since one a.ublk@two two.delta
ublk-img convert -O raw --since one a.ublk@two two.raw
printf 'QFI\373\0\0\0\3' >q.qcow2
truncate -s 1M q.qcow2
ublk-img create over.ublk 4M

for make in "create new.ublk" "rebase over.ublk" "rebase --unsafe over.ublk"; do
	read -ra words <<<"$make"
	refused 'is no whole disk but a delta' ublk-img "${words[@]}" --backing two.delta
	refused 'is no whole disk but a delta' ublk-img "${words[@]}" --backing two.raw
	refused 'is no whole disk but a delta' \
		ublk-img "${words[@]}" --backing two.raw --backing-format=raw
	refused 'is a qcow2 file' ublk-img "${words[@]}" --backing q.qcow2
	[ ! -e new.ublk ] || fail "something was made"
done
[ "$(ublk-img info --json over.ublk | tr -d ' ' | grep -c '"backing":null')" = 1 ]
# Bytes are bytes, for who says so.
ublk-img create --backing q.qcow2 --backing-format=raw new.ublk
ublk-img convert -O raw new.ublk new.raw
cmp q.qcow2 new.raw

# Nor is what is on its way from one to another.
ublk-img convert a.ublk@one copy.ublk
UBLK_IMG_FAULTS=apply_content expect_status 1 ublk-img apply two.delta copy.ublk 2>err
refused 'was interrupted' ublk-img create --force --backing copy.ublk new.ublk

# A copy that a commit wrote to is no copy any more.
ublk-img convert --force a.ublk@one copy.ublk
ublk-img create --force --backing copy.ublk new.ublk
"$edit" new.ublk write 0 4096 3
ublk-img commit new.ublk
refused 'is not known to be at' ublk-img apply two.delta copy.ublk

# What a disk that was smaller had not shown of a file that ends within a sector.
"$edit" a.ublk read 0 1048576 | head -c 1000001 >odd.raw
ublk-img create --force --backing odd.raw new.ublk 512K
ublk-img resize new.ublk 4M
"$edit" new.ublk write 65536 4096 4
ublk-img convert --force -O raw new.ublk before.raw
ublk-img commit new.ublk
ublk-img convert --force -O raw new.ublk after.raw
cmp before.raw after.raw
cmp before.raw odd.raw

# Nor is there room for its last sector.
"$edit" a.ublk read 0 1048576 | head -c 1000001 >odd.raw
ublk-img create --force --backing odd.raw new.ublk
"$edit" new.ublk write 999936 512 5
ublk-img convert --force -O raw new.ublk before.raw
ublk-img commit new.ublk
ublk-img convert --force -O raw new.ublk after.raw
cmp before.raw after.raw
cmp before.raw odd.raw

# What is said to hold the same is smaller, and becomes as large as the disk.
ublk-img create --force small.ublk 1M
"$edit" small.ublk write 0 1048576 6
"$edit" small.ublk read 0 1048576 >small.raw
for small in small.raw small.ublk; do
	ublk-img create --force --backing a.ublk new.ublk
	ublk-img rebase --unsafe --backing $small new.ublk
	"$edit" new.ublk write 3145728 65536 7
	ublk-img convert --force -O raw new.ublk before.raw
	ublk-img commit new.ublk
	ublk-img compare --strict new.ublk before.raw >/dev/null
	ublk-img compare --strict $small before.raw >/dev/null
done
