#!/bin/bash
# Measures what a backup and a restore of a whole vault take, in time and in memory, and prints tables. Nothing here passes or fails by time.
#
#   tests/bench/restore.sh [--build DIR] [--value BYTES] [SECRETS…]
#
#   --build DIR    a build tree to take the programs from (default: .build/bench, which is built first)
#   --value BYTES  of each secret (default: 256)
#   SECRETS        how many, one vault each (default: 10000 20000 50000 100000)
#
# As root, with some 3 KiB of disk for each secret. Restored is offline (coffer restore --into), into a mounted vault without a secret, and into the same again (--existing append). Memory is what VmHWM says,
# the most that was resident at one time, of the process that restores; less what it was before, and less what a vault without a secret takes. Some 190 bytes a secret are the tables that any worker
# has, so "opened", of one that opens the restored vault and has the tables twice for a moment, is there to compare with: what a restore adds must not grow.
set -euo pipefail

top=$(cd "$(dirname "$0")/../.." && pwd)
build="" value=256 sizes=()

die()
{
	echo "restore: $*" >&2
	exit 1
}

while [ $# -gt 0 ]; do
	case $1 in
	--build) build=${2:?}; shift ;;
	--value) value=${2:?}; shift ;;
	[0-9]*) sizes+=("$1") ;;
	*) die "unknown option $1; see the head of $0" ;;
	esac
	shift
done
[ ${#sizes[@]} -gt 0 ] || sizes=(10000 20000 50000 100000)
[ "$(id -u)" = 0 ] || die "mounting needs root; run it with sudo"
[ -c /dev/fuse ] || die "/dev/fuse is missing; modprobe fuse, or give the container the device"
if [ -z "$build" ]; then
	build=$top/.build/bench
	cmake -S "$top" --preset bench >/dev/null
	cmake --build "$build" --target coffer cofferd build_store >/dev/null
fi
"$top/tests/support/users.sh"

work=$(mktemp -d "${TMPDIR:-/tmp}/coffer-restore.XXXXXX")
mkdir "$work/bin" "$work/store" "$work/keys" "$work/vault"
chmod 755 "$work" "$work/bin" "$work/store" "$work/vault"
chmod 700 "$work/keys"
install -m 755 "$(find "$build" -type f -name coffer -perm -u+x -print -quit)" "$(find "$build" -type f -name cofferd -perm -u+x -print -quit)" \
	"$(find "$build" -type f -name build_store -perm -u+x -print -quit)" "$work/bin"
PATH=$work/bin:$PATH
export COFFER_MOUNT=$work/vault
daemon=

stop()
{
	[ -n "$daemon" ] || return 0
	umount "$work/vault" 2>/dev/null || umount -l "$work/vault" 2>/dev/null || true
	wait "$daemon" || true
	daemon=
}

clean_up()
{
	stop
	# segments of a log are append-only where the file system can do that
	chattr -R -a "$work" 2>/dev/null || true
	rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

start()
{
	cofferd -f "$work/store/$1" "$work/vault" </dev/null 2>"$work/log" &
	daemon=$!
	until grep -q " $work/vault fuse" /proc/self/mounts; do
		[ -d "/proc/$daemon" ] || die "no vault was mounted: $(cat "$work/log")"
		sleep 0.01
	done
}

status() { coffer status --output json | jq -r "$1"; }
kib() { awk -v key="$2:" '$1 == key { print $2 }' "/proc/$1/status"; }
now() { echo "${EPOCHREALTIME/[.,]/}"; }
make() { coffer init "$work/store/$1" --kek "file:$work/keys/$1.kek" >/dev/null; }

# The most that a process of its own has resident until it ends
peak_until_end()
{
	local pid=$1 most=0 now
	while now=$(kib "$pid" VmHWM 2>/dev/null); do
		[ -n "$now" ] || break
		most=$now
		sleep 0.005
	done
	wait "$pid" || die "restore failed: $(cat "$work/log")"
	echo "$most" >"$work/peak"
}

restore() { coffer restore --signer "$signer" --key "$work/keys/safe.key" "$@" <"$work/backup" >/dev/null 2>"$work/log"; }
# in the place of the subshell that it is run in
exec_restore() { exec coffer restore --signer "$signer" --key "$work/keys/safe.key" "$@" <"$work/backup" >/dev/null 2>"$work/log"; }
rate() { awk -v n="$1" -v us="$2" 'BEGIN { printf "%d", n * 1000000 / us }'; }
forget_peak() { echo 5 >"/proc/$1/clear_refs"; }

# What a worker needs to open and serve a vault
opened()
{
	local worker
	start "$1"
	worker=$(status .processes.worker)
	kib "$worker" VmHWM
	stop
}

# Into the mounted vault: the time and the memory
took=0 grew=0
restore_online()
{
	local worker before began
	worker=$(status .processes.worker)
	forget_peak "$worker"
	before=$(kib "$worker" VmRSS)
	began=$(now)
	restore --with-grants "$@" || die "restore failed: $(cat "$work/log")"
	took=$(($(now) - began))
	grew=$(($(kib "$worker" VmHWM) - before))
}

# One vault of $1 secrets: the line of the table. First without a secret, for what everybody begins with.
measure()
{
	local n=$1 began backup_us offline_us online_us append_us offline online append vault restarts
	make from
	make into
	make online
	[ "$n" = 0 ] || build_store "$work/store/from" --secrets "$n" --bindings 10 --value "$value" >/dev/null
	chown -R --reference="$work/store/from/db" "$work/store/from/db"
	start from
	coffer recipient add safe --public-key "$work/safe.pub" >/dev/null
	signer=$(status .signer)
	began=$(now)
	coffer backup --all --recipient safe >"$work/backup" 2>"$work/log"
	backup_us=$(($(now) - began))
	stop

	began=$(now)
	exec_restore --into "$work/store/into" &
	peak_until_end $!
	offline_us=$(($(now) - began))
	offline=$(cat "$work/peak")
	vault=$(opened into)

	start online
	restore_online
	online_us=$took online=$grew
	restore_online --existing append
	append_us=$took append=$grew
	restarts=$(status .restarts)
	[ "$restarts" = 0 ] || echo "workers were restarted $restarts times" >&2
	[ "$(status .secrets)" = "$n" ] || die "there are $(status .secrets) secrets, not $n"
	stop
	chattr -R -a "$work/store" 2>/dev/null || true
	rm -rf --one-file-system "$work/store"/* "$work/keys"/*.kek "$work/keys/"*.verify 2>/dev/null || true
	if [ "$n" = 0 ]; then
		none_offline=$offline none_online=$online none_append=$append none_vault=$vault
		return
	fi
	printf '%8s %9s %9s %9s %9s  %8s %8s %8s %8s\n' "$n" "$(rate "$n" "$backup_us")" "$(rate "$n" "$offline_us")" "$(rate "$n" "$online_us")" "$(rate "$n" "$append_us")" \
		"$((vault - none_vault))" "$((offline - none_offline))" "$((online - none_online))" "$((append - none_append))"
}

coffer recipient keygen "$work/keys/safe.key" >"$work/safe.pub" 2>/dev/null
echo "secrets a second, with values of $value bytes; and KiB of memory beyond what 0 secrets take"
printf '%8s %9s %9s %9s %9s  %8s %8s %8s %8s\n' secrets backup offline online append opened offline online append
for n in 0 "${sizes[@]}"; do
	measure "$n"
done
