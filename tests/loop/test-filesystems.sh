# SPDX-License-Identifier: MIT
# File systems live in images: made, filled with real files, unmounted, checked; and the same after
# the image was opened again.
. "$TEST_ENV"
. "$top_srcdir/tests/loop/loop-lib.sh"
require jq --version

# A real tree of some ten megabytes.
tree=$top_srcdir
mkdir files mnt
cp -a "$tree"/{common,codecs,image,engine,cli,docs,tests} files/ 2>/dev/null
find files -name '*.o' -delete
cp "$(command -v bash)" /usr/include/*.h files/
files_of files >want
[ "$(wc -l <want)" -gt 200 ]

fsck_of() {
	case $1 in
	ext4) e2fsck -fn "$device" ;;
	xfs) xfs_repair -n "$device" ;;
	esac >fsck.out 2>&1 || fail "$(cat fsck.out)"
}

run() {
	local fs=$1 way=$2
	shift 2
	echo "$fs, $way, $*"
	rm -f a.ublk
	ublk-img create "$@" a.ublk 512M
	start_device "$way" a.ublk
	"mkfs.$fs" -q "$device" 2>mkfs.err || fail "$(cat mkfs.err)"
	mount "$device" mnt
	cp -a files/. mnt/
	umount mnt
	fsck_of "$fs"
	stop_device "$way"
	ublk-img check --data a.ublk >/dev/null

	start_device "$way" a.ublk
	mount "$device" mnt
	files_of mnt >got
	cmp want got
	rm -rf mnt/image mnt/tests
	[ "$fs" != ext4 ] || fstrim mnt
	umount mnt
	fsck_of "$fs"
	stop_device "$way"
	ublk-img check --data a.ublk >/dev/null
	if [ $# -gt 0 ]; then
		[ "$(ublk-img info --json a.ublk | jq .clusters.zstd)" -gt 10 ] || fail "nothing was compressed"
	fi
}

for way in mount server; do
	run ext4 "$way"
	run ext4 "$way" --zstd=1
	if command -v mkfs.xfs >/dev/null; then
		run xfs "$way" --zstd=1
	fi
done
command -v mkfs.xfs >/dev/null || skip "only ext4 was tested: needs mkfs.xfs"
