# SPDX-License-Identifier: MIT
# The unit ublk-img@.service under a real systemd, which is process 1 of a namespace of its own: the
# service starts when the device answers, comes back with its device after every death, and ends in
# order.
# Kernels: 7.3 6.18 6.12
. "$TEST_ENV"
. "$top_srcdir/tests/vm/attach-lib.sh"
[ -x /lib/systemd/systemd ] || skip "needs systemd"
require nsenter --version

# Outside: the manager, with this unit and nothing else that would begin by itself.
if [ -z "${in_namespace:-}" ]; then
	unshare --pid --fork true || skip "this kernel has no namespaces of processes"
	mkdir -p /run/systemd/system
	sed "s,^ExecStart=[^ ]*,ExecStart=$(command -v ublk-img)," \
		"$top_builddir/systemd/ublk-img@.service" >/run/systemd/system/ublk-img@.service
	printf '[Unit]\nDefaultDependencies=no\n' >/run/systemd/system/nothing.target
	for other in systemd-journald.service systemd-journald.socket systemd-udevd.service; do
		ln -sf /dev/null "/run/systemd/system/$other"
	done
	env -i PATH="$PATH" container=other SYSTEMD_LOG_TARGET=kmsg unshare --pid --fork --mount-proc \
		--kill-child /lib/systemd/systemd --system --unit=nothing.target --show-status=no &
	unshare=$!
	for _ in {1..600}; do
		[ ! -S /run/systemd/private ] || break
		sleep 0.1
	done
	manager=$(pgrep -P "$unshare") || fail "systemd has not started"
	status=0
	in_namespace=1 nsenter --target "$manager" --pid --mount --wd="$PWD" bash "$0" || status=$?
	kill -9 "$manager"
	wait "$unshare" || true
	exit "$status"
fi

. "$top_srcdir/tests/vm/recover-lib.sh"
unset UBLK_IMG_RUNTIME_DIR # the service has none either
unit=$(systemd-escape --path --template=ublk-img@.service "$PWD/a.ublk")
show() {
	systemctl show --property="$1" --value "$unit"
}
# served_by_another PID: somebody else serves the device now.
served_by_another() {
	for _ in {1..900}; do
		bridge=$(pid_of "$device")
		case $bridge in
		"$1" | '' | 0 | null) sleep 0.1 ;;
		*) return ;;
		esac
	done
	fail "nobody has taken $device back: $(systemctl status --no-pager "$unit")"
}

make_image a.ublk empty-zstd
timeout 200 systemctl start "$unit" || fail "$(systemctl status --no-pager "$unit")"
[ "$(show ActiveState)" = active ]
device=$(ublk-img list --json | jq -r '.devices[].device')
bridge=$(pid_of "$device")
[ -b "$device" ] || fail "no device: $(ublk-img list)"
mkfs.ext4 -q "$device"
mkdir mnt
mount "$device" mnt
load_on_file() {
	device=mnt/data load a --filename=mnt/data --rw=randwrite --bsrange=4k-64k --iodepth=8 --size=8M
}
rm -f stop
spawn load_on_file

echo "--- the bridge is killed"
kill_bridge
served_by_another "$bridge"
echo "--- all of the service is killed"
before=$(show NRestarts)
systemctl kill --signal=KILL "$unit"
served_by_another "$bridge"
[ "$(show NRestarts)" -gt "$before" ] || fail "systemd has not started it again"
for _ in {1..100}; do
	[ "$(show ActiveState)" != active ] || break
	sleep 0.1
done
[ "$(show ActiveState)" = active ] || fail "$(systemctl status --no-pager "$unit")"
echo "--- upgraded"
old=$bridge
timeout 200 ublk-img upgrade "$device"
served_by_another "$old"
[ "$(show ActiveState)" = active ] || fail "$(systemctl status --no-pager "$unit")"
load_end
cat turns-a

echo "--- stopped"
umount mnt
timeout 200 systemctl stop "$unit"
[ "$(show ActiveState)" = inactive ] || fail "$(systemctl status --no-pager "$unit")"
[ ! -e "$device" ] || fail "$device is still there"
[ "$(ublk-img list --json | jq '.devices | length')" = 0 ]
ublk-img check --data a.ublk
[ "$(ublk-img info --json a.ublk | jq -r .clean)" = true ] || fail "$(ublk-img info --json a.ublk)"
