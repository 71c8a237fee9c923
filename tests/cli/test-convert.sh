# SPDX-License-Identifier: MIT
# convert: what goes in comes out, bit for bit, whatever the content, geometry and number of threads.
. "$TEST_ENV"
. "$top_srcdir/tests/cli/convert-lib.sh"
require jq --version

make_mixed mixed
for options in '' --zstd '--zstd=19 --cluster-size=256K' '--zstd=-3 --cluster-size=128K' \
	'--cluster-size=256K' '--zstd --threads=1' '--cluster-size=128K --threads=7'; do
	# shellcheck disable=SC2086
	round_trip mixed $options
done

head -c $((39 * 1024 * 1024 + 4096)) mixed >mixed4k
round_trip mixed4k --sector-size=4096 --zstd

# Extremes of content and size.  A size that is no multiple of 4 KiB is no problem.
truncate -s 0 empty
truncate -s 512 hole512
truncate -s 1T huge
printf end | patch huge $((1024 * 1024 * 1024 * 1024 - 3))
printf middle | patch huge 500000000000
text 512 >sector
text 66048 >cluster-and-sector
noise 3000832 >noise
head -c 5000192 /dev/zero >zeros
head -c 20000256 /dev/zero | tr '\0' 'x' >same
for raw in empty hole512 sector cluster-and-sector noise zeros same; do
	round_trip "$raw" --zstd
	round_trip "$raw"
done
[ "$(stat -c %b rt.raw)" -gt 0 ]

# Zeros and holes take no space in the image, and none in a raw file made from it.
ublk-img convert zeros z.ublk
[ "$(stat -c %s z.ublk)" -le 2097152 ] || fail "zeros take space"
[ "$(ublk-img map --json z.ublk | jq '[.extents[] | select(.kind != "hole")] | length')" = 0 ]
ublk-img convert -O raw z.ublk z.raw
[ "$(stat -c '%s %b' z.raw)" = '5000192 0' ] || fail "zeros are no hole"

# A disk of 1 TiB with two clusters in it is a matter of moments.
ublk-img convert --zstd huge huge.ublk
sound huge.ublk
ublk-img convert -O raw huge.ublk huge.raw
[ "$(stat -c %b huge.raw)" -le 1024 ] || fail "the raw file is not sparse"
ublk-img compare --strict huge huge.raw >/dev/null

# Every number of threads makes a sound image of the same content.
for threads in 1 2 3 4 5 6 7 8; do
	ublk-img convert --zstd --threads=$threads mixed t$threads.ublk
	sound t$threads.ublk
	ublk-img convert -O raw --threads=$threads t$threads.ublk t.raw
	cmp mixed t.raw
	ublk-img convert -O raw --threads=$threads t$threads.ublk - | cmp mixed
	rm t$threads.ublk t.raw
done

# Through pipes, of known and unknown length, fast and slow.
for raw in mixed empty sector cluster-and-sector noise; do
	rm -f p.ublk
	ublk-img convert --zstd - p.ublk <"$raw"
	sound p.ublk
	ublk-img convert -O raw p.ublk - | cmp "$raw"
done
(head -c 1000000 mixed; sleep 0.3; tail -c +1000001 mixed) | ublk-img convert - p2.ublk
ublk-img compare --strict p2.ublk mixed >/dev/null
ublk-img convert - - <mixed | cmp mixed
tail -c +1 mixed | ublk-img convert -O raw - p.raw
cmp mixed p.raw
[ "$(stat -c %b p.raw)" -lt "$(($(stat -c %s p.raw) / 512))" ] || fail "no holes were made"

# Image to image, with another geometry.
ublk-img convert --zstd mixed i1.ublk
ublk-img convert --zstd=1 --cluster-size=256K i1.ublk i2.ublk
ublk-img convert i2.ublk i3.ublk
sound i2.ublk
sound i3.ublk
ublk-img compare --strict i3.ublk mixed >/dev/null
[ "$(ublk-img info --json i3.ublk | jq .compression)" = null ]

# What looks like an image is read as raw when asked to, and raw to raw copies.
ublk-img convert -f raw i1.ublk nested.ublk
ublk-img convert -O raw nested.ublk nested.raw
cmp i1.ublk nested.raw
ublk-img convert -f raw -O raw i1.ublk copy.raw
cmp i1.ublk copy.raw

# An odd number of bytes: the disk is rounded up, and that is said; raw copies are exact.
text 1000 >odd
ublk-img convert odd odd.ublk 2>err
grep -q 'zeros' err || fail "rounding was not mentioned: $(cat err)"
ublk-img convert -O raw odd.ublk odd.raw
cmp <(cat odd; head -c 24 /dev/zero) odd.raw
text 5000 >odd2
ublk-img convert --sector-size=4096 odd2 odd2.ublk 2>/dev/null
[ "$(ublk-img info --json odd2.ublk | jq .virtual_size)" = 8192 ]
ublk-img convert - odd3.ublk <odd
[ "$(ublk-img info --json odd3.ublk | jq .virtual_size)" = 1024 ]
ublk-img convert -O raw odd odd4.raw
cmp odd odd4.raw
ublk-img convert - - <odd | cmp odd

# The report adds up.
ublk-img convert --json --zstd mixed j.ublk >json
[ "$(jq .source_size json)" = "$(stat -c %s mixed)" ]
[ "$(jq .file_length json)" = "$(stat -c %s j.ublk)" ]
[ "$(jq .compressed_bytes json)" -gt 0 ] && [ "$(jq .raw_bytes json)" -gt 0 ]
