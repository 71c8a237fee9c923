#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# fetch.sh SERIES: print the directory of the newest stock kernel of a series, such as 6.12, with
#
#   vmlinuz, lib/modules/VERSION/   in parts, unpacked from the distribution's packages, never installed
#   version                         VERSION, as uname -r says it
#   busybox                         a static one, for the initramfs
#
# apt is used with a state, a cache and a list of suites of its own, below the cache directory
# ($XDG_CACHE_HOME/ublk-img-vm); the archive is the one that this machine uses already.  Exit status
# 77: there is no way to get the kernel here.
set -eu -E -o pipefail

suites='bookworm trixie trixie-backports'
# What is kept of the modules' drivers/ and of the rest; sound, graphics and the like are not needed.
drivers='block|char|crypto|dax|md|nvdimm|nvme|scsi|target|vhost|virtio'
others='arch|block|crypto|fs|lib|mm|net|security|virt'
fresh_hours=24 # package lists older than this are fetched again

cache=${XDG_CACHE_HOME:-${HOME:?neither XDG_CACHE_HOME nor HOME is set}/.cache}/ublk-img-vm
apt_dir=$cache/apt

say() {
	echo "vm/fetch: $*" >&2
}

impossible() {
	say "$*"
	exit 77
}

# The URI of the archive that this machine's own suite comes from.
archive() {
	local codename
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	APT_CONFIG='' apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(CREATED_BY) $(REPO_URI)' |
		awk -v codename="$codename" \
			'$1 == codename && $2 == "main" && $3 == "Packages" { print $4; exit }'
}

write_configuration() {
	local uri keyring options='' suite
	uri=$(archive)
	[ -n "$uri" ] || impossible "apt knows no archive of this machine's release"
	for keyring in /usr/share/keyrings/debian-archive-keyring.{pgp,gpg}; do
		if [ -e "$keyring" ]; then
			options="[signed-by=$keyring]"
			break
		fi
	done
	mkdir -p "$apt_dir/lists/partial" "$apt_dir/archives/partial"
	for suite in $suites; do
		echo "deb $options $uri $suite main"
	done >"$apt_dir/sources.list"
	cat >"$apt_dir/apt.conf" <<END
Dir::State "$apt_dir";
Dir::State::status "/dev/null";
Dir::Cache "$apt_dir";
Dir::Etc::sourcelist "$apt_dir/sources.list";
Dir::Etc::sourceparts "/dev/null";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::http::Timeout "60";
END
}

update() {
	if [ -n "$(find "$apt_dir/updated" -mmin "-$((fresh_hours * 60))" 2>/dev/null)" ] &&
		[ "$apt_dir/updated" -nt "$apt_dir/sources.list" ]; then
		return
	fi
	write_configuration
	say "package lists"
	# The commands that a machine's configuration hangs onto an update are about its own lists.
	if ! timeout 600 apt-get -q update \
		-o APT::Update::Post-Invoke::= -o APT::Update::Post-Invoke-Success::= >&2; then
		say "not every package list could be had"
	fi
	touch "$apt_dir/updated"
}

# download PACKAGE...: into the current directory.
download() {
	timeout 1200 apt-get -q download "$@" >&2
}

# unpack DIRECTORY PACKAGE...: what the packages hold, without installing them.
unpack() {
	local dir=$1 scratch deb
	shift
	scratch=$(mktemp -d "$cache/download.XXXXXX")
	(
		cd "$scratch"
		download "$@"
	)
	for deb in "$scratch"/*.deb; do
		dpkg-deb -x "$deb" "$dir"
	done
	rm -rf "$scratch"
}

known() {
	[[ $(apt-cache policy "$1") =~ Candidate:\ [^\(] ]]
}

newest() {
	apt-cache pkgnames "linux-image-$1." | sed 's/^linux-image-//' |
		grep -E '^[0-9.]+(-[0-9]+)?(\+[a-z0-9]+)?-amd64$' | sort -V | tail -n 1
}

get_busybox() {
	local dir
	if [ -x "$cache/busybox" ]; then
		return
	fi
	dir=$(mktemp -d "$cache/unpack.XXXXXX")
	unpack "$dir" busybox-static
	mv "$(find "$dir" -name busybox -type f -perm -100 | head -n 1)" "$cache/busybox"
	rm -rf "$dir"
}

# slim MODULES: what an emulated processor would take long to read is not there or not compressed.
slim() {
	find "$1" "$1/drivers" -mindepth 1 -maxdepth 1 -type d -regextype egrep \
		! -regex ".*/kernel/(drivers|drivers/($drivers)|$others)" -prune -exec rm -rf {} +
	find "$1" -name '*.ko.xz' -exec xz -d {} +
}

# get_kernel SERIES VERSION
get_kernel() {
	local series=$1 version=$2 dir packages=() name old
	# Some versions are one package; others are split into several.
	for name in image base binary modules; do
		if known "linux-$name-$version"; then
			packages+=("linux-$name-$version")
		fi
	done
	say "fetching ${packages[*]}"
	dir=$(mktemp -d "$cache/unpack.XXXXXX")
	unpack "$dir" "${packages[@]}"
	mkdir "$dir/kernel"
	cp "$(find "$dir" -name "vmlinuz*" -type f | head -n 1)" "$dir/kernel/vmlinuz"
	mkdir -p "$dir/kernel/lib/modules"
	mv "$(find "$dir" -path "*/lib/modules/$version" -type d | head -n 1)" "$dir/kernel/lib/modules/"
	slim "$dir/kernel/lib/modules/$version/kernel"
	depmod -b "$dir/kernel" "$version"
	echo "$version" >"$dir/kernel/version"
	cp "$cache/busybox" "$dir/kernel/busybox"
	for old in "$cache/stock/$series".*; do
		rm -rf "$old"
	done
	mv "$dir/kernel" "$cache/stock/$version"
	rm -rf "$dir"
}

[ $# = 1 ] || { echo "usage: fetch.sh SERIES" >&2; exit 2; }
series=$1
[ "$(uname -m)" = x86_64 ] || impossible "only x86-64 machines are known to these tests"
for tool in apt-get apt-cache dpkg-deb; do
	command -v "$tool" >/dev/null || impossible "there is no $tool here"
done
PATH=$PATH:/usr/sbin:/sbin
for tool in depmod xz; do
	command -v "$tool" >/dev/null || impossible "there is no $tool here; try: ./setup deps vm"
done

mkdir -p "$cache/stock"
exec {lock}>"$cache/lock"
flock -w 3000 "$lock" || impossible "another fetch.sh holds $cache/lock"
rm -rf "$cache"/unpack.* "$cache"/download.*
[ -e "$apt_dir/apt.conf" ] || write_configuration
export APT_CONFIG=$apt_dir/apt.conf
update
version=$(newest "$series" || true)
if [ -z "$version" ]; then
	version=$(find "$cache/stock" -mindepth 1 -maxdepth 1 -name "$series.*" -printf '%f\n' | head -n 1)
fi
if [ -z "$version" ]; then
	impossible "no kernel $series in the suites $suites of $(archive)"
fi
if [ ! -e "$cache/stock/$version/version" ]; then
	trap 'impossible "the packages of $version could not be fetched and unpacked"' ERR
	get_busybox
	get_kernel "$series" "$version"
	trap - ERR
fi
echo "$cache/stock/$version"
