# SPDX-License-Identifier: MIT
# The systemd unit: nothing is left to be filled in, and the command line in it is one that this
# program takes.
. "$TEST_ENV"
unit=$top_builddir/systemd/ublk-img@.service

[ -s "$unit" ] || fail "there is no $unit"
if grep -E '@[a-z]+@' "$unit"; then
	fail "placeholders are left"
fi
# What it starts, with the specifiers filled in as systemd does.
read -r -a start <<<"$(sed -n 's/^ExecStart=//p' "$unit" | sed 's,%f,/nowhere/disk.ublk,; s,\$UBLK_IMG_OPTIONS,--name=data,')"
[ "$(basename "${start[0]}")" = ublk-img ]
expect_status 1 ublk-img "${start[@]:1}" 2>err
grep -q "/nowhere/disk.ublk: cannot find the file" err || fail "$(cat err)"
# Without these two a bridge that has died, or was handed over, is not started again.
grep -qx 'Restart=on-failure' "$unit"
[[ " ${start[*]} " = *" --restart "* ]]
# The service manager is told when the device answers.
grep -qx 'Type=notify' "$unit"
if command -v systemd-analyze >/dev/null; then
	sed "s,^ExecStart=[^ ]*,ExecStart=$(command -v true)," "$unit" >ublk-img@.service
	systemd-analyze verify --man=no "./ublk-img@.service" 2>err || fail "$(cat err)"
fi
