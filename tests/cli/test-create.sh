# SPDX-License-Identifier: MIT
# create: what it makes, what it refuses, and that nothing is left behind when it fails.
. "$TEST_ENV"
. "$top_srcdir/tests/cli/golden.sh"
require jq --version
edit=$top_builddir/tests/cli/edit-image

# only FILE...: the directory holds these and nothing else that create could have made.
only() {
	diff <(printf '%s\n' "$@" | sort) <(find . -mindepth 1 -maxdepth 1 \
		! -name '.bin' ! -name 'run.*' ! -name 'transcript*' -printf '%P\n' | sort) ||
		fail "files are left, or missing"
}

run ublk-img create a.ublk 64G
run ublk-img info a.ublk
run ublk-img create --json --zstd --cluster-size=128k --sector-size=4096 b.ublk 1.5T
run ublk-img info b.ublk
run ublk-img create --json --zstd=-5 c.ublk 0
run ublk-img info c.ublk
run ublk-img create -v d.ublk 1000
run ublk-img create -q e.ublk 1000
run ublk-img check a.ublk
run ublk-img check b.ublk
run ublk-img check c.ublk
run ublk-img info --json d.ublk
golden create

say "the largest of each kind, and one sector more"
run ublk-img create f.ublk 64P
run ublk-img create g.ublk 72057594037928448
run ublk-img create --cluster-size=128K h.ublk 128P
run ublk-img create --cluster-size=256K i.ublk 256P
run ublk-img create --cluster-size=256K j.ublk 288230376151712256
run ublk-img create k.ublk 8E
run ublk-img info i.ublk
run ublk-img map i.ublk
run ublk-img check i.ublk
golden create-limits
only a.ublk b.ublk c.ublk d.ublk e.ublk f.ublk h.ublk i.ublk

for image in f.ublk h.ublk i.ublk; do
	[ "$(stat -c %b "$image")" -le 2048 ] || fail "$image takes more than 1 MiB"
done
rm [!a].ublk

say "what exists is not touched"
cp a.ublk old
run ublk-img create a.ublk 1M
cmp a.ublk old
mkdir dir
run ublk-img create dir 1M
run ublk-img create --force dir 1M
run ublk-img create dir/ 1M
run ublk-img create . 1M
run ublk-img create '' 1M
run ublk-img create missing/x 1M
run ublk-img create a.ublk/x 1M
mkfifo fifo
run ublk-img create --force fifo 1M
ln -s nowhere link
run ublk-img create link 1M
run ublk-img create --force link 1M
[ "$(readlink link)" = nowhere ] || fail "the link was changed"
long=$(printf 'x%.0s' {1..300})
run ublk-img create "$long" 1M
only a.ublk old dir fifo link

say "names as long as they can be"
long=${long:0:255}
run ublk-img create "$long" 1M
run ublk-img create --force "$long" 2M
rm "$long"

say "--force replaces what is not in use"
run ublk-img create --force a.ublk 1M
run ublk-img info --json a.ublk
echo text >text
run ublk-img create --force text 1M
run ublk-img check text
golden create-force
only a.ublk old dir fifo link text

say "in use"
mkfifo go
# shellcheck disable=SC2094
hold() {
	"$edit" a.ublk hold <go >held
}
spawn hold
exec 3>go
while ! grep -q held held; do sleep 0.05; done
before=$(stat -c '%i %s' a.ublk)
run ublk-img create --force a.ublk 1M
exec 3>&-
join
[ "$(stat -c '%i %s' a.ublk)" = "$before" ] || fail "an image in use was replaced"
run ublk-img create --force a.ublk 1M
golden create-in-use
rm held go
only a.ublk old dir fifo link text

say "a failure on the way"
UBLK_IMG_FAULTS=bulk_finish run ublk-img create new 1M
UBLK_IMG_FAULTS=bulk_finish run ublk-img create --force old 1M
golden create-failure
only a.ublk old dir fifo link text
[ "$(ublk-img info --json old | jq .virtual_size)" = 68719476736 ] || fail "old was changed"

if [ "$(id -u)" != 0 ]; then
	mkdir -m 555 sealed
	expect_status 1 ublk-img create sealed/x 1M 2>err
	grep -q 'sealed/x: cannot create: Permission denied' err
	rmdir sealed
fi

# A signal at any moment leaves either nothing or the complete image; timeout sends it twice.
for delay in 0 0.00{1..9} 0.00{1..9}{0..9}; do
	timeout -s TERM "$delay" ublk-img create late 1G || true
	if [ -e late ]; then
		ublk-img check late >/dev/null
		rm late
	fi
done
rm -f err
only a.ublk old dir fifo link text
