# SPDX-License-Identifier: MIT
# Every document that --json prints is as docs/schema/ says, and docs/json.md describes every member.
. "$TEST_ENV"
. "$top_srcdir/tests/cli/make-images.sh"
validate=$top_builddir/tests/cli/validate-json
schemas=$top_srcdir/docs/schema
require jq --version

# valid SCHEMA COMMAND...: the command's output is such a document, whatever its exit status.
used=()
valid() {
	used+=("$1")
	"${@:2}" >document 2>err || true
	"$validate" "$schemas/$1.json" <document || fail "${*:2}: $(cat document err)"
	jq -e '.schema == 1' document >/dev/null
}

make_image raw.ublk
make_image zstd.ublk --zstd
make_raw zstd.ublk raw
corrupt raw 1000
cp zstd.ublk broken.ublk
corrupt broken.ublk 70000
corrupt broken.ublk 131100
bad=$(ublk-img map --json zstd.ublk | jq '[.extents[] | select(.kind == "zstd").file_offset][0]')
cp zstd.ublk badblob.ublk
corrupt badblob.ublk $((bad + 50))
odd=$(printf 'b\xff\xc3\x28d\x01\xed\xa0\x80.ublk')

valid help ublk-img help --json
valid create ublk-img create --json a.ublk 1M
valid create ublk-img create --json --zstd "$odd" 1M
[ "$(jq -r .image document)" = $'b\xef\xbf\xbd\xef\xbf\xbd(d\x01\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd.ublk' ] ||
	fail "odd file name: $(jq .image document)"
for image in raw.ublk zstd.ublk a.ublk "$odd"; do
	valid info ublk-img info --json "$image"
	valid info-blocks ublk-img info --blocks --json "$image"
	valid map ublk-img map --json "$image"
	valid check ublk-img check --json --data "$image"
	valid measure ublk-img measure --json "$image"
	valid measure ublk-img measure --json --zstd=1 "$image"
	valid resize ublk-img resize --json "$image" +1M
done
valid info-blocks ublk-img info --blocks --json broken.ublk
valid check ublk-img check --json --data badblob.ublk
valid compare ublk-img compare --json raw.ublk zstd.ublk
valid compare ublk-img compare --json raw.ublk raw
valid compare ublk-img compare --json -s raw.ublk a.ublk
valid map ublk-img map --json --offset=8K --length=0 zstd.ublk
[ ! -e "$schemas/convert.json" ] || valid convert ublk-img convert --json raw new.ublk

valid create ublk-img create --json --backing raw overlay.ublk
valid info ublk-img info --json overlay.ublk
valid info-blocks ublk-img info --blocks --json overlay.ublk
valid map ublk-img map --json overlay.ublk
valid commit ublk-img commit --json overlay.ublk
valid rebase ublk-img rebase --json --no-backing overlay.ublk

valid snapshot-create ublk-img snapshot create --json zstd.ublk one
valid snapshot-create ublk-img snapshot create --json zstd.ublk $'b\x01\xc3\xa4'
valid snapshot-list ublk-img snapshot list --json zstd.ublk
valid info-snapshot ublk-img info --json zstd.ublk@one
valid map ublk-img map --json zstd.ublk@one
valid snapshot-rename ublk-img snapshot rename --json zstd.ublk one two
valid snapshot-rollback ublk-img snapshot rollback --json --keep=three zstd.ublk two
valid snapshot-rollback ublk-img snapshot rollback --json --discard-current zstd.ublk two
valid snapshot-list ublk-img snapshot list --json zstd.ublk
valid snapshot-diff ublk-img snapshot diff --json zstd.ublk two three
valid snapshot-diff ublk-img snapshot diff --json zstd.ublk two
valid convert ublk-img convert --json zstd.ublk@three copy.ublk
valid info ublk-img info --json copy.ublk
valid convert ublk-img convert --json --zstd --since three zstd.ublk@two two.delta
valid info ublk-img info --json two.delta
valid convert ublk-img convert --json -O raw --since three zstd.ublk two.raw
valid delta-extents cat two.raw.extents
valid apply ublk-img apply --json two.delta copy.ublk
valid apply ublk-img apply --json two.delta copy.ublk
jq -e '.applied | not' document >/dev/null
valid snapshot-delete ublk-img snapshot delete --json zstd.ublk three two

# Devices: none here.  tests/vm/guest-attach.sh has documents with some.
UBLK_IMG_RUNTIME_DIR=$PWD/run valid list ublk-img list --json
UBLK_IMG_RUNTIME_DIR=$PWD/run valid detach ublk-img detach --all --json
UBLK_IMG_RUNTIME_DIR=$PWD/run valid recover ublk-img recover --all --json
UBLK_IMG_RUNTIME_DIR=$PWD/run valid upgrade ublk-img upgrade --all --json
used+=(attach)

# No schema was forgotten, nor a command that has --json.
diff <(printf '%s\n' "${used[@]}" | sort -u) <(cd "$schemas" && printf '%s\n' *.json | sed 's/\.json$//' | sort)
diff <(ublk-img help --json | jq -r '.commands[] | select(any(.options[]; .name == "json")).name' | sort) \
	<(jq -r .properties.command.const "$schemas"/*.json | grep -v -- - | sort -u)

# docs/json.md has a section for each schema, which names every member, and no others.
while read -r name; do
	section=$(awk -v h="## $name" '/^## / { on = ($0 == h) } on' "$top_srcdir/docs/json.md")
	[ -n "$section" ] || fail "docs/json.md has no section $name"
	diff <("$validate" --names "$schemas/$name.json" | grep -vxE 'schema|command' | sort -u) \
		<(# shellcheck disable=SC2016
		sed -nE 's/^\| `([a-z_.]+)` .*/\1/p' <<<"$section" | sed 's/.*\.//' | sort -u) ||
		fail "docs/json.md, section $name"
done < <(printf '%s\n' "${used[@]}" | sort -u)

# The validator itself notices things.
schema=$schemas/resize.json
document='{"schema":1,"command":"resize","image":"x","old_virtual_size":1,"virtual_size":2}'
"$validate" "$schema" <<<"$document"
for change in 'del(.image)' '.image=1' '.virtual_size=-1' '.virtual_size=1.5' '.virtual_size="1"' \
	'.schema=2' '.command="info"' '.extra=1'; do
	expect_status 1 "$validate" "$schema" < <(jq "$change" <<<"$document") 2>/dev/null
done
jq '.properties.image.maxLength = 3' "$schema" >unknown.json
expect_status 1 "$validate" unknown.json <<<"$document" 2>/dev/null
