# SPDX-License-Identifier: MIT
# A result that cannot be written is a failure, with the status that the command has for failures.
. "$TEST_ENV"
. "$top_srcdir/tests/cli/golden.sh"
. "$top_srcdir/tests/cli/make-images.sh"

make_image a.ublk --zstd
full() {
	"$@" >/dev/full
}
closed() {
	"$@" >&-
}

for command in --help --version 'help' 'help --pod' 'help --bash-completion' 'help --json' \
	'info --help' 'info a.ublk' 'info --json a.ublk' 'info --blocks a.ublk' 'map a.ublk' \
	'map --json a.ublk' 'check a.ublk' 'check --json a.ublk' 'resize --json a.ublk +0' \
	'compare a.ublk a.ublk' 'compare --json a.ublk a.ublk' 'measure a.ublk' 'measure --json a.ublk' \
	'create --json b.ublk 1M'; do
	# shellcheck disable=SC2086
	run full ublk-img $command
done
sed -i 's/^\$ full \(.*\)/$ \1 >\/dev\/full/' transcript
golden stdout-full

# Commands that print nothing do not mind.
full ublk-img create c.ublk 1M
closed ublk-img create --force c.ublk 1M
full ublk-img resize c.ublk +1M

# A long list stops when its reader goes away: quietly, and not with success.
ublk-img create long.ublk 64M
actions=()
for ((i = 0; i < 512; i++)); do actions+=(write $((i * 131072)) 4096 "$i"); done
"$edit" long.ublk "${actions[@]}"
[ "$(ublk-img map long.ublk | wc -l)" -gt 1000 ] || fail "the map is short"
for option in '' --json; do
	{
		# shellcheck disable=SC2086
		ublk-img map $option long.ublk 2>err && status=0 || status=$?
		echo "$status" >status
	} | true
	sleep 0.1
done
{
	sleep 0.2
	ublk-img map long.ublk 2>err && status=0 || status=$?
	echo "$status" >status
} | true
[ "$(cat status)" = 1 ] || fail "exit status $(cat status) although nobody read the map"
[ ! -s err ] || fail "said: $(cat err)"
