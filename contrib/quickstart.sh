#!/bin/bash
# From a fresh checkout to a secret that is read with cat, refused to somebody else, and both in the log.
#
#   sudo ./contrib/quickstart.sh [--prefix DIR]
#
# Installs the packages that the build needs, builds a release, installs coffer and cofferd, makes the system users, has updatedb leave vaults out (PRUNEFS in /etc/updatedb.conf, where there
# is one), makes a vault in /var/lib/coffer/default with its key in /etc/coffer/default.kek, mounts it at /vault and stores a demonstration secret. Run it again whenever you like: what is there is left as it is.
# With --prefix DIR everything lies under DIR, which must be root's like all that is above it, or nothing is done: DIR/bin, DIR/sbin, DIR/var/lib/coffer/default, DIR/etc/coffer/default.kek, mounted at DIR/vault.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
root=
demo=demo
PATH=$PATH:/usr/sbin:/sbin
unset COFFER_MOUNT
umask 022		# what is installed and made is root's to change, and everybody's to run

step() { printf '\n== %s\n' "$*"; }

# die WHAT IS WRONG; WHAT TO DO
die()
{
	echo "quickstart: $*" >&2
	exit 1
}

usage()
{
	sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | grep -v '^set'
}

while [ $# -gt 0 ]; do
	case $1 in
	--prefix)
		[ -n "${2:-}" ] || die "--prefix wants a directory; for example --prefix /opt/coffer"
		root=$2
		shift
		;;
	--prefix=?*) root=${1#--prefix=} ;;
	-h | --help)
		usage
		exit 0
		;;
	*) die "unknown argument $1; $0 --help says what there is" ;;
	esac
	shift
done

[ "$(id -u)" = 0 ] || die "this installs packages, makes users and mounts: run it as root, with sudo $0"
[ "$(uname -s)" = Linux ] || die "this is for Linux; here is $(uname -s)"

# set_places: what lies where, from $root
set_places()
{
	prefix=${root:-/usr/local}
	store=$root/var/lib/coffer/default
	kek=$root/etc/coffer/default.kek
	mount=$root/vault
}

case $root in
'' | /*) ;;
*) root=$PWD/$root ;;
esac
[ -z "$root" ] || [ "$(realpath -m -- "$root")" != / ] || die "--prefix / would fill the top of the file system; leave it away, or choose a directory; nothing was changed"
set_places

# Who is to read the secret: whoever called sudo, else root. Who is to be refused: nobody.
user_id=${SUDO_UID:-0}
group_id=${SUDO_GID:-0}

case $user_id$group_id in
*[!0-9]*) die "SUDO_UID and SUDO_GID are no numbers; unset them, or call this with sudo" ;;
esac
user_name=$(getent passwd "$user_id" | cut -d : -f 1)
stranger_id=$(id -u nobody 2>/dev/null || echo 65534)

as_uid()
{
	setpriv --reuid="$1" --regid="$2" --clear-groups -- "${@:3}"
}

as_user()
{
	if [ "$user_id" = 0 ]; then
		"$@"
	else
		as_uid "$user_id" "$group_id" "$@"
	fi
}

# ---- the way to where all will lie ----

# Whoever can write to a directory on the way can put another in its place: root's programs, the key and the vault would be that user's. So this is looked at before anything is done.

# why_weak DIRECTORY [PASSED]: why another than root can change what lies in it; nothing if nobody can, or if it is not there yet. In one with the sticky bit nobody takes away or renames what is root's: it may be passed,
# not filled.
why_weak()
{
	local uid mode type
	read -r uid mode type < <(stat -c '%u %a %F' -- "$1" 2>/dev/null) || return 0
	if [ "$uid" != 0 ]; then
		echo "$1 belongs to uid $uid"
	elif [ "$type" = 'symbolic link' ]; then
		:
	elif [ "$type" != directory ]; then
		echo "$1 is not a directory"
	elif [ $((8#$mode & 8#22)) != 0 ] && { [ -z "$2" ] || [ $((8#$mode & 8#1000)) = 0 ]; }; then
		echo "others than root may write to $1"
	fi
}

# weak_step PATH: what is weak first, from the root directory on; PATH itself is to be filled
weak_step()
{
	local rest=${1#/} at='' why step
	why=$(why_weak / passed)
	while [ -z "$why" ] && [ -n "$rest" ]; do
		step=${rest%%/*}
		rest=${rest#"$step"}
		rest=${rest#"${rest%%[!/]*}"}
		at=$at/$step
		why=$(why_weak "$at" "${rest:+passed}")
	done
	printf %s "$why"
}

# check_way PATH: as it is written, and where links lead to
check_way()
{
	local why
	why=$(weak_step "$1")
	[ -n "$why" ] || why=$(weak_step "$(realpath -m -- "$1")")
	[ -n "$why" ] || return 0
	case $why in
	"others than root may write to $1") [ -z "$root" ] || [ ! -k "$1" ] || die "$why; choose a directory in it, such as --prefix $1/coffer; nothing was changed" ;;
	esac
	die "$why, so nothing below it would be root's alone; ${root:+choose another --prefix, or }give it to root (chown root, chmod go-w); nothing was changed"
}

# What is filled below --prefix, besides the store and the key.
filled=(
	bin sbin etc var var/lib var/lib/coffer
	lib lib/systemd lib/systemd/system lib/sysusers.d lib/tmpfiles.d
	share share/doc share/doc/coffer share/man share/man/man1 share/man/man5 share/man/man8
	share/bash-completion share/bash-completion/completions share/zsh share/zsh/site-functions
)

check_ways()
{
	local below
	check_way "$store"
	check_way "$(dirname "$kek")"
	check_way "$mount"
	# without --prefix it is /usr/local, which some distributions give to a group
	[ -n "$root" ] || return 0
	check_way "$root"
	for below in "${filled[@]}"; do
		[ -e "$root/$below" ] || [ -L "$root/$below" ] || continue
		check_way "$root/$below"
	done
}

# Others must reach the prefix to see anything in the vault. What is made below is passable.
check_reach()
{
	local up
	up=$(dirname "$root")
	while [ ! -d "$up" ]; do
		up=$(dirname "$up")
	done
	! command -v setpriv >/dev/null || as_uid "$stranger_id" "$stranger_id" test -x "$up" ||
		die "other users cannot reach what lies in $up, and so would see no vault there; chmod a+x it and the directories above it, or choose another --prefix; nothing was changed"
}

# make_way DIRECTORY: one step after the other, for mkdir -p would follow what somebody has put there since it was looked at
make_way()
{
	[ -d "$1" ] || { make_way "$(dirname "$1")" && mkdir -- "$1"; }
}

check_ways
if [ -n "$root" ]; then
	check_reach
	make_way "$root" || die "$root cannot be made; choose another --prefix"
	check_ways
	root=$(cd -- "$root" && pwd)
	set_places
fi

# How the command is typed by a person.
typed=coffer
where="man coffer"
if [ -n "$root" ]; then
	typed="$root/bin/coffer -m $mount"
	where="man -l $root/share/man/man1/coffer.1"
fi

# Shows a command the way that it could be typed, runs it, and sets what it printed off.
show()
{
	local who=$1 status=0 words
	shift
	words=$*
	printf '%s$ %s\n' "$who" "${words/#"${on[*]}"/$typed}"
	case $who in
	root) "$@" ;;
	nobody) as_uid "$stranger_id" "$stranger_id" "$@" ;;
	*) as_user "$@" ;;
	esac 2>&1 | awk '{ print "    " $0 }' || status=$?
	return "$status"
}

# ---- packages ----

# What a build needs, as "how it is looked for", "what", "the package of Debian and Ubuntu that has it".
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
	header libseccomp libseccomp-dev
	command setpriv util-linux
	command useradd passwd
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

step "packages"
mapfile -t missing < <(missing_packages)
if [ ${#missing[@]} -gt 0 ]; then
	command -v apt-get >/dev/null || die "these are missing, and there is no apt-get here to install them: ${missing[*]}; install what your distribution calls them, and run this again"
	echo "installing ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	apt-get -qq update || die "apt-get update failed; look at the network and at /etc/apt/sources.list, and run this again"
	apt-get -qq install -y --no-install-recommends libc6-dev "${missing[@]}" >/dev/null || die "apt-get could not install ${missing[*]}; its words are above"
	mapfile -t missing < <(missing_packages)
	[ ${#missing[@]} -eq 0 ] || die "still missing after apt-get: ${missing[*]}; install them by hand, and run this again"
else
	echo "everything that the build needs is there"
fi
pkg-config --atleast-version=3.13 fuse3 || die "libfuse $(pkg-config --modversion fuse3) is too old, 3.13 is needed; Debian 12 and Ubuntu 24.04 have it"
[ -c /dev/fuse ] || modprobe fuse 2>/dev/null || true
[ -c /dev/fuse ] || die "/dev/fuse is missing; modprobe fuse, or give the container the device (--device /dev/fuse --cap-add SYS_ADMIN)"

# ---- build and install ----

step "build"
log=$(mktemp "${TMPDIR:-/tmp}/coffer-quickstart.XXXXXX")
trap 'rm -f "$log"' EXIT
build=$top/.build/release
if ! { cmake -S "$top" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release && cmake --build "$build"; } >"$log" 2>&1; then
	tail -n 30 "$log" >&2
	die "the build failed; its last words are above"
fi
# whoever owns the checkout goes on building in it
chown -hR --reference="$top" "$top/.build"
cmake --install "$build" --prefix "$prefix" >"$log" 2>&1 || {
	tail -n 5 "$log" >&2
	die "installing to $prefix failed; its last words are above"
}
coffer=$prefix/bin/coffer
cofferd=$prefix/sbin/cofferd
{ [ -x "$coffer" ] && [ -x "$cofferd" ]; } || die "the build installed no $coffer or no $cofferd; remove $build, and run this again"
echo "$coffer and $cofferd: $("$coffer" --version)"

# ---- users ----

step "system users"
for user in coffer coffer-keys coffer-helper coffer-hooks; do
	if getent passwd "$user" >/dev/null; then
		echo "$user is there"
	else
		useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$user" ||
			die "user $user could not be made; its reason is above"
		echo "$user made: no login, no home"
	fi
done

# ---- indexers ----

# updatedb runs as root, who may list the vault, and shows what it found to whoever runs locate.
conf=/etc/updatedb.conf
if [ -f "$conf" ]; then
	step "$conf"
	if grep -q '^[[:space:]]*PRUNEFS[[:space:]]*=.*["[:space:]]fuse\.coffer["[:space:]]' "$conf"; then
		echo "updatedb leaves vaults out already"
	elif grep -q '^[[:space:]]*PRUNEFS[[:space:]]*=[[:space:]]*"[^"]*"' "$conf"; then
		sed -i --follow-symlinks 's/^\([[:space:]]*PRUNEFS[[:space:]]*=[[:space:]]*"[^"]*\)"/\1 fuse.coffer"/' "$conf" || die "fuse.coffer could not be added to PRUNEFS in $conf; its reason is above"
		echo "fuse.coffer added to PRUNEFS, so that updatedb leaves vaults out"
	else
		printf 'PRUNEFS="fuse.coffer"\n' >>"$conf" || die "$conf could not be written to; its reason is above"
		echo "PRUNEFS added, so that updatedb leaves vaults out"
	fi
fi

# ---- vault ----

step "vault"
if [ -n "$root" ]; then
	# a mount that nobody can reach shows nothing
	for directory in "$root" "$mount"; do
		mkdir -p "$directory"
		if [ "$(stat -c %u "$directory")" = 0 ] && ! mountpoint -q "$directory" && ! as_uid "$stranger_id" "$stranger_id" test -x "$directory"; then
			chmod a+x "$directory"
		fi
	done
	as_uid "$stranger_id" "$stranger_id" test -x "$root" ||
		die "other users cannot reach $root, and so would see no vault in it; chmod a+x the directories above it, or choose another --prefix"
	mkdir -p "$root/var/lib" "$root/etc"
fi
if [ -e "$store/vault.conf" ]; then
	echo "$store is a vault already and stays as it is"
else
	# what init would say of the next step is done below
	"$coffer" init "$store" --kek "file:$kek" >"$log" 2>&1 || {
		grep -q -e '--admin user:0$' "$log" || {
			cat "$log" >&2
			die "no vault was made in $store; the reason is above"
		}
		echo "this is a container, or a mount namespace of its own, where nobody counts as host: its root is made the administrator"
		"$coffer" init "$store" --kek "file:$kek" --admin user:0 >"$log" || die "no vault was made in $store; the reason is above"
	}
	grep -v '^next:' "$log"
fi

mounted=$(findmnt -n -o SOURCE --mountpoint "$mount" 2>/dev/null || true)
if [ "$mounted" = "coffer:$(realpath "$store")" ]; then
	echo "$mount is mounted already"
elif [ -n "$mounted" ]; then
	die "$mounted is mounted at $mount; umount $mount first, or choose another place with --prefix DIR"
else
	mkdir -p "$mount"
	"$cofferd" "$store" "$mount" || die "the vault was not mounted at $mount; the reason is above"
	echo "$store is mounted at $mount"
fi

# ---- demonstration ----

step "a secret"
on=("$coffer" -m "$mount")
fresh=
if [ -d "$mount/$demo" ]; then
	echo "$demo is there already and stays as it is"
else
	# Through a pipe: an argument or a variable could be seen by others.
	echo "root\$ printf %s ... | $typed put $demo"
	printf %s 'this is the demonstration secret' | "${on[@]}" put "$demo" --content-type text/plain || die "the secret was not stored; sudo $coffer -m $mount doctor says more"
	fresh=yes
fi
principal=user:$user_id
# root is administrator on the host only, if there is one: a container's root is uid 0 too
if [ "$user_id" = 0 ] && "${on[@]}" whoami --output json | grep -q '"host": *true'; then
	principal=user:0,host
fi
if [ -z "$fresh" ] && as_user "${on[@]}" can-i secrets/get "$demo" >/dev/null 2>&1; then
	echo "${user_name:-uid $user_id} may read it already"
else
	show root "${on[@]}" grant secrets-user "$principal" --on "$demo" --reason quickstart || die "the right was not granted; sudo $coffer -m $mount doctor says more"
fi

step "read by ${user_name:-uid $user_id}"
show "${user_name:-$user_id}" cat "$mount/$demo/current" || die "${user_name:-uid $user_id} could not read it; sudo $coffer -m $mount audit --secret $demo says why"

step "refused to nobody"
! show nobody cat "$mount/$demo/current" || die "nobody could read it: who granted that? $coffer -m $mount bindings --on $demo"

step "both are in the log"
show root "${on[@]}" audit --secret "$demo" || die "the log could not be read; sudo $coffer -m $mount doctor says more"

cat <<END

== done. What next?

  your own secret       printf %s 'the value' | sudo $typed put NAME
  somebody who reads    sudo $typed grant secrets-user user:NAME --on SECRET
  who may, and why      sudo $typed can-i secrets/get SECRET --as user:NAME
  the log               sudo $typed audit --follow
  more                  $typed --help; $where

  unmount               sudo umount $mount
  mount again           sudo $cofferd $store $mount

  Keep a copy of $kek in a safe place: without it nothing in the vault can be decrypted.
  Move ${kek%.kek}.verify off this machine: it verifies the log from its first record on.
END
