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
	command clang-format-14 clang-format-14
	command shellcheck shellcheck
	command cmake cmake
	command ninja ninja-build
	command pkg-config pkgconf
	header fuse3 libfuse3-dev
	header sqlite3 libsqlite3-dev
	header libcrypto libssl-dev
	header jansson libjansson-dev
	header libcap libcap-dev
	header libseccomp libseccomp-dev
	header check check
	command setpriv util-linux
	command useradd passwd
	command jq jq
	command getfattr attr
	command setfacl acl
	command chattr e2fsprogs
	command inotifywait inotify-tools
	command fswatch fswatch
	command rsyslogd rsyslog
	file /usr/lib/python3/dist-packages/watchdog python3-watchdog
	command busybox busybox-static
	command ssh-keygen openssh-client
	command sqlite3 sqlite3
	command openssl openssl
	command podman podman
	command crun crun
	command catatonit catatonit
	file /usr/lib/podman/netavark netavark
	command fuse-overlayfs fuse-overlayfs
	command systemd-analyze systemd
	command vim.tiny vim-tiny
	command nano nano
	command nvi nvi
	command ed ed
	command git git
	command python3 python3
	command perl perl-base
	command node nodejs
	command smbd samba
	command smbclient smbclient
	command restic restic
	command prometheus-node-exporter prometheus-node-exporter
	command curl curl
	command rsync rsync
	command plocate plocate
)

missing_packages()
{
	local i
	for ((i = 0; i < ${#needs[@]}; i += 3)); do
		case ${needs[i]} in
		command) command -v "${needs[i + 1]}" >/dev/null ;;
		header) pkg-config --exists "${needs[i + 1]}" 2>/dev/null ;;
		file) [ -e "${needs[i + 1]}" ] ;;
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

# All scratch directories lie here, so that what is left behind can be told from what others run. A short name: podman takes no runroot of more than 50 bytes.
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/ct.XXXXXX")
export TMPDIR
chmod 755 "$TMPDIR"
# ctest has limits of its own; a busy machine is no hanging test
export CK_TIMEOUT_MULTIPLIER=${CK_TIMEOUT_MULTIPLIER:-10}

# Processes, but for the dying, whose program or working directory lies in the scratch directory: "pid program".
processes_left()
{
	local process program
	for process in /proc/[0-9]*; do
		program=$(readlink "$process/exe") || continue
		case "$program $(readlink "$process/cwd")" in
		*"$TMPDIR"/*) echo "${process#/proc/} $program" ;;
		esac
	done 2>/dev/null
}

mounts_left() { grep -F " $TMPDIR/" /proc/self/mounts || true; }

# Ends what a broken test left, so that the next run starts clean.
# shellcheck disable=SC2317  # called by the trap
clean_up()
{
	local process mount
	trap - EXIT
	set +e
	processes_left | while read -r process _; do
		kill -KILL "$process"
	done
	mounts_left | tac | while read -r _ mount _; do
		umount -l "$mount"
	done
	chattr -R -a "$TMPDIR"
	rm -rf --one-file-system "$TMPDIR"
} 2>/dev/null
trap clean_up EXIT
trap 'exit 130' INT TERM

status=0
ctest --test-dir .build/asan --output-on-failure -j 2 --output-log "$TMPDIR/ctest.log" "$@" </dev/null || status=$?

# What could not run was not tested. A machine of one's own may lack something; what CI runs on may not.
skipped=$(sed -n 's/.*Test *#[0-9]*: \([^ ]*\) .*\*\*\*Skipped.*/\1/p' "$TMPDIR/ctest.log" | tr '\n' ' ')
if [ -n "$skipped" ]; then
	echo "tests/run.sh: skipped: $skipped" >&2
	[ "${CI:-}" != true ] || status=1
fi

left=$(mounts_left; processes_left)
if [ -n "$left" ]; then
	echo "tests/run.sh: mounts or processes are left behind:" >&2
	echo "$left" >&2
	status=1
fi
exit "$status"
