#!/bin/bash
# Installs what the tests need, builds with ASan and UBSan, runs all of them, and closes with ctest's summary.
#
#   sudo ./tests/run.sh [OPTION OF CTEST…]        for example -R mount-, or -L unit
#
# The builds are .build/asan and, for what cannot be seen through a sanitizer (the scan of memory), .build/release, and .build/hooks, whose worker looks into its own memory. Fails, too, when a mount or a process is left behind.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin

die()
{
	echo "tests/run.sh: $*" >&2
	exit 1
}

case ${1:-} in
-h | --help)
	sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | grep -v '^set'
	exit 0
	;;
esac
[ "$(id -u)" = 0 ] || die "the tests mount and change users: run them as root, with sudo $0"

# ---- what is needed, as "how it is looked for", "what", "the package of Debian and Ubuntu that has it" ----

needs=(
	command gcc gcc
	command cmake cmake
	command ninja ninja-build
	command pkg-config pkgconf
	header fuse3 libfuse3-dev
	header sqlite3 libsqlite3-dev
	header libcrypto libssl-dev
	header jansson libjansson-dev
	header libcap libcap-dev
	header check check
	command setpriv util-linux
	command useradd passwd
	command jq jq
	command getfattr attr
	command chattr e2fsprogs
	command inotifywait inotify-tools
	command busybox busybox-static
	command ssh-keygen openssh-client
	command sqlite3 sqlite3
	command podman podman
	command crun crun
	command man man-db
)

missing_packages()
{
	local i
	for ((i = 0; i < ${#needs[@]}; i += 3)); do
		case ${needs[i]} in
		command) command -v "${needs[i + 1]}" >/dev/null ;;
		header) pkg-config --exists "${needs[i + 1]}" 2>/dev/null ;;
		esac || echo "${needs[i + 2]}"
	done
}

mapfile -t missing < <(missing_packages)
if [ ${#missing[@]} -gt 0 ]; then
	command -v apt-get >/dev/null || die "these are missing, and there is no apt-get here to install them: ${missing[*]}"
	echo "installing ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	apt-get -qq update || die "apt-get update failed; look at the network and at /etc/apt/sources.list"
	apt-get -qq install -y --no-install-recommends libc6-dev "${missing[@]}" >/dev/null || die "apt-get could not install ${missing[*]}; its words are above"
fi
tests/support/users.sh

# ---- build ----

jobs=$(nproc)
cmake --preset asan >/dev/null
cmake --build .build/asan -j "$jobs"
cmake --preset release >/dev/null
cmake --build .build/release -j "$jobs"
COFFER_RELEASE_BIN=$(dirname "$(find "$top/.build/release" -type f -name cofferd -perm -u+x -print -quit)")
export COFFER_RELEASE_BIN
cmake --preset hooks >/dev/null
cmake --build .build/hooks -j "$jobs" --target cofferd coffer
export COFFER_HOOKS_BIN=$top/.build/hooks/fs

# ---- run ----

coffer_mounts() { grep -c ' fuse\.coffer ' /proc/self/mounts || true; }

# The daemon's processes: "pid start-time"
coffer_processes()
{
	local comm stat
	for comm in /proc/[0-9]*/comm; do
		[ "$(cat "$comm" 2>/dev/null)" = cofferd ] || continue
		stat=$(cat "${comm%comm}stat" 2>/dev/null) || continue
		read -r -a stat <<<"${stat##*) }"
		[ "${stat[0]}" = Z ] || echo "$(basename "${comm%/comm}") ${stat[19]}"
	done | sort
}

mounts_before=$(coffer_mounts)
processes_before=$(coffer_processes)

status=0
ctest --test-dir .build/asan --output-on-failure -j 2 "$@" </dev/null || status=$?

left=$(comm -13 <(echo "$processes_before") <(coffer_processes))
if [ -n "$left" ]; then
	echo "tests/run.sh: processes of cofferd are left behind (pid, start time):" >&2
	echo "$left" >&2
	status=1
fi
if [ "$(coffer_mounts)" -gt "$mounts_before" ]; then
	echo "tests/run.sh: mounts are left behind:" >&2
	grep ' fuse\.coffer ' /proc/self/mounts >&2
	status=1
fi
exit "$status"
