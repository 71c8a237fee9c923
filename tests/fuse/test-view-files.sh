# SPDX-License-Identifier: MIT
# The files of a mounted view say what the commands say, and have sizes that can be relied upon.
. "$TEST_ENV"
. "$top_srcdir/tests/cli/make-images.sh"
. "$top_srcdir/tests/fuse/fuse-lib.sh"
require jq --version
require getfattr --version

make_image raw.ublk
make_image zstd.ublk --zstd
chmod 640 raw.ublk
mkdir m
for image in raw.ublk zstd.ublk; do
	make_raw "$image" plain
	ublk-img mount "$image" m
	diff <(printf '%s\n' disk info.json map metrics snapshots stats.json) <(ls m)
	[ "$(stat -f -c %T m)" = fuseblk ] || [ "$(stat -f -c %T m)" = fuse ] ||
		fail "file system type $(stat -f -c %T m)"
	grep -q " $PWD/m fuse.ublk-img ro," /proc/self/mounts || fail "not mounted read-only"
	if [ "$(id -u)" = 0 ]; then
		grep " $PWD/m fuse.ublk-img " /proc/self/mounts | grep -q allow_other ||
			fail "other users are kept out"
	fi
	[ "$(stat -c '%a %U' m/disk)" = "$(stat -c '%a %U' "$image" | sed 's/^64/44/')" ] ||
		fail "$(stat -c '%A %a %U' m/disk "$image")"

	# The same documents, but for what reading the image may change.
	diff <(ublk-img info --json "$image" | jq -S .) <(jq -S . m/info.json)
	diff <(ublk-img map "$image" | awk 'NR > 1 { print $1, $2, $3, $4, $5 }') \
		<(awk '!/^#/ { print $1, $2, $3, $4, $5 }' m/map)
	awk '!/^#/ && ($6 != "-" || NF != 6) { exit 1 }' m/map || fail "odd line in map"
	jq -e '.schema == 1 and .view.read.requests == 0 and (.image_io | length > 5)' m/stats.json >/dev/null
	# docs/view.md has each member.
	jq -r 'paths(scalars) | map(tostring)[-1]' m/stats.json | sort -u | while read -r member; do
		grep -q "\`$member\`" "$top_srcdir/docs/view.md" || fail "docs/view.md does not tell of $member"
	done
	cmp plain m/disk
	jq -e --argjson size "$(stat -c %s plain)" '.view.read.bytes >= $size' m/stats.json >/dev/null ||
		fail "reading was not counted: $(cat m/stats.json)"

	# Prometheus: a type line before each sample, names and values as they must be.
	awk '/^#/ { if ($2 != "TYPE" || ($4 != "counter" && $4 != "gauge")) bad = 1; name = $3; next }
		$0 !~ /^[a-z_]+\{uuid="[0-9a-f-]+"\} [0-9]+$/ || index($0, name "{") != 1 { bad = 1 }
		END { exit bad || NR < 40 }' m/metrics || fail "$(cat m/metrics)"
	grep -q "^ublk_img_virtual_size{.*} $(stat -c %s plain)$" m/metrics

	# Sizes: as soon as a file was read, and before it ever was.
	for file in info.json stats.json metrics map; do
		[ "$(stat -c %s "m/$file")" -gt 100 ] || fail "m/$file seems to be empty"
		cat "m/$file" >copy
		[ "$(stat -c %s copy)" = "$(stat -c %s "m/$file")" ] || fail "size of m/$file"
		cp "m/$file" copy2
		[ -s copy2 ]
	done
	tar cf files.tar m/info.json m/map
	tar xOf files.tar m/info.json | jq -e .virtual_size >/dev/null
	[ "$(tar xOf files.tar m/map | wc -l)" = "$(wc -l <m/map)" ]

	# Extended attributes.
	[ "$(getfattr --only-values -n user.ublk-img.virtual_size m/disk)" = "$(stat -c %s plain)" ]
	getfattr -d m/disk >attributes
	for name in clean clusters.raw features.incompat uuid; do
		grep -q "^user.ublk-img.$name=\"$(jq -r ".$name" m/info.json)\"$" attributes ||
			fail "attribute $name: $(cat attributes)"
	done
	expect_status 1 getfattr -n user.ublk-img.nothing m/disk 2>/dev/null

	# Holes: the disk's are found, and copying it keeps them.
	cp --sparse=auto m/disk copy
	cmp copy plain
	stored=$(jq '.raw_bytes + .compressed_bytes' m/info.json)
	[ "$(($(stat -c %b m/disk) * 512 - stored))" -lt 512 ] || fail "$(stat -c %b m/disk) blocks, $stored bytes"
	[ "$(stat -c %b copy)" -lt 16000 ] || fail "the copy has no holes: $(stat -c %b copy) blocks"

	# Nothing can be changed.
	for change in 'echo x >m/disk' 'echo x >m/map' 'echo x >m/new' 'rm m/disk' 'mkdir m/d' \
		'truncate -s 1 m/disk' 'chmod 777 m/disk' 'mv m/map m/x' 'ln m/map m/x'; do
		if bash -c "$change" 2>/dev/null; then
			fail "allowed: $change"
		fi
	done
	ublk-img umount m
	rm plain copy copy2
done
