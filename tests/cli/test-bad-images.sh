# SPDX-License-Identifier: MIT
# What each command says to a file that is no image, is damaged, cut, in use, or not there.
. "$TEST_ENV"
. "$top_srcdir/tests/cli/golden.sh"
. "$top_srcdir/tests/cli/make-images.sh"

make_image good.ublk --zstd
mkdir dir
mkfifo fifo
: >empty
printf x >one-byte
head -c 1M /dev/zero >zeros
head -c 100000 /bin/sh >foreign
head -c 4096 good.ublk >head-only
head -c 1M good.ublk >cut-early
head -c 16M good.ublk >cut-later
cp good.ublk newer
# Major version 2, in a block whose checksum is right, is not a damaged image: see test-validate.
corrupt newer 12

for file in missing missing/x dir fifo /dev/null empty one-byte zeros foreign head-only cut-early cut-later \
	newer; do
	say "$file"
	run timeout 20 ublk-img info $file
	run timeout 20 ublk-img map $file
	run timeout 20 ublk-img check $file
	run timeout 20 ublk-img resize $file +1G
done
# Checksums depend on the image's random identity.
sed -i -E -e 's/timeout 20 //' -e 's/0x[0-9a-f]{8}/0x.../g' transcript
golden bad-images

say "in use"
mkfifo go
hold() {
	"$edit" good.ublk hold <go >held
}
spawn hold
exec 3>go
while ! grep -q held held; do sleep 0.05; done
run ublk-img info good.ublk
run ublk-img map good.ublk
run ublk-img check good.ublk
run ublk-img resize good.ublk +1G
run ublk-img compare good.ublk zeros
run ublk-img measure good.ublk
expect_status 0 ublk-img info --blocks good.ublk >/dev/null
exec 3>&-
join
expect_status 0 ublk-img check good.ublk >/dev/null
golden in-use

if [ "$(id -u)" != 0 ]; then
	chmod 0 good.ublk
	expect_status 1 ublk-img info good.ublk 2>err
	grep -q 'good.ublk: .*Permission denied' err
fi
