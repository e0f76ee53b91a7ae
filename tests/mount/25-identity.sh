#!/bin/bash
# Who is host and who only looks like it: namespaces, containers' cgroups, overlays. What is in doubt is denied.
. "$(dirname "$0")/../support/lib.sh"

vault_start
printf 'the value' >"$SCRATCH/value"
expect_ok coffer put db --file "$SCRATCH/value"
expect_ok coffer put all --file "$SCRATCH/value"
expect_ok coffer grant secrets-user user:20001,host --on db
expect_ok coffer grant secrets-user user:20001 --on all
sees() { jq -r "$1" <"$MNT/.coffer/whoami"; }

[ "$(sees .host)" = true ] || { echo "this machine's tests run in a container themselves: no caller is host"; exit 77; }

# expect_host BOOL COMMAND…: what the daemon sees of what this command starts, and what it gives to it as root (the administrator is narrowed to host)
expect_host()
{
	local want=$1
	shift
	expect_output "$want" "$@" jq -r .host "$MNT/.coffer/whoami"
	if [ "$want" = true ]; then
		expect_errno ok "$@" sysop open r "$MNT/db/current"
	else
		expect_errno EACCES "$@" sysop open r "$MNT/db/current"
	fi
}

note "root of the host is; in a pid, mount or user namespace of its own it is not"
expect_host true env
expect_host false unshare --pid --fork
expect_host false unshare --mount
expect_host false unshare --pid --fork --mount --mount-proc
expect_host true unshare --net --uts --ipc
if unshare --user --map-root-user true 2>/dev/null; then
	expect_host false unshare --user --map-root-user
	expect_host false unshare --user
fi

note "a user on the host, and in namespaces; where host is not asked, the uid is enough"
expect_errno ok as 20001 sysop open r "$MNT/db/current"
expect_errno EACCES unshare --pid --fork setpriv --reuid=20001 --regid=20001 --clear-groups sysop open r "$MNT/db/current"
expect_errno ok unshare --pid --fork setpriv --reuid=20001 --regid=20001 --clear-groups sysop open r "$MNT/all/current"

note "root of a user namespace is who it is outside"
if as 20001 unshare --user --map-root-user true 2>/dev/null; then
	expect_output 20001 as 20001 unshare --user --map-root-user jq -r .uid "$MNT/.coffer/whoami"
	expect_errno ok as 20001 unshare --user --map-root-user sysop open r "$MNT/all/current"
	expect_errno EACCES as 20001 unshare --user --map-root-user sysop open r "$MNT/db/current"
	expect_errno EACCES as 20003 unshare --user --map-root-user sysop open r "$MNT/all/current"
fi
if unshare --user --map-users=0,100000,1000 --map-groups=0,100000,1000 true 2>/dev/null; then
	expect_errno EACCES unshare --user --map-users=0,100000,1000 --map-groups=0,100000,1000 --setuid 0 --setgid 0 sysop open r "$MNT/all/current"
fi

note "a caller outside the daemon's pid namespace, which the kernel calls pid 0"
mkdir "$SCRATCH/inner"
expect_ok coffer init "$SCRATCH/store/inner" --kek "file:$SCRATCH/keys/inner.kek" --admin user:0
start unshare --pid --fork --kill-child=TERM cofferd -f "$SCRATCH/store/inner" "$SCRATCH/inner" 2>>"$DAEMON_LOG"
wait_for grep -q " $SCRATCH/inner fuse.coffer " /proc/self/mounts
MOUNTED+=("$SCRATCH/inner")
expect_errno ok sysop readdir "$SCRATCH/inner"
expect_errno EACCES sysop open r "$SCRATCH/inner/.coffer/status"
expect_errno EACCES sysop open r "$SCRATCH/inner/.coffer/whoami"
expect_errno EACCES sysop mkdir "$SCRATCH/inner/new"
unmount_extra
wait_for eval '! grep -q " $SCRATCH/inner " /proc/self/mounts'

note "a process in a container's cgroup is no host, though it shares every namespace (as with --pid=host)"
id=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
cgroups=()
leave_cgroups()
{
	local process dir
	for process in "${STARTED[@]}"; do
		end_process "$process"
	done
	for dir in "${cgroups[@]}"; do
		rmdir "$dir" 2>/dev/null || true
	done
}
AT_EXIT+=(leave_cgroups)
for root in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup/pids /sys/fs/cgroup; do
	[ -w "$root/cgroup.procs" ] || continue
	for name in "docker-$id.scope" "libpod-$id.scope" "cri-containerd-$id.scope"; do
		mkdir "$root/$name" 2>/dev/null || continue
		cgroups+=("$root/$name")
		# shellcheck disable=SC2016
		inside() { bash -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$root/$name" "$@"; }
		expect_host false inside
		expect_output "${id:0:12}" inside jq -r '.container | sub("^[a-z]+:"; "") | .[0:12]' "$MNT/.coffer/whoami"
		wait_for rmdir "$root/$name"
		unset 'cgroups[-1]'
	done
done
audit_has ".result == \"deny\" and .secret == \"db\" and .caller.container != null"

note "an overlay over the vault reads with its mounter's rights: denied, for the task is somebody else"
mkdir "$SCRATCH/upper" "$SCRATCH/work" "$SCRATCH/merged"
if mount -t overlay overlay -o "lowerdir=$MNT,upperdir=$SCRATCH/upper,workdir=$SCRATCH/work" "$SCRATCH/merged" 2>/dev/null; then
	MOUNTED+=("$SCRATCH/merged")
	expect_errno EACCES as 20003 sysop open r "$SCRATCH/merged/db/current" + read
	expect_errno EACCES as 20003 sysop open r "$SCRATCH/merged/all/current" + read
	expect_errno EACCES as 20001 sysop open r "$SCRATCH/merged/all/current" + read
	[[ $(as 20003 cat "$SCRATCH/merged/db/current" 2>/dev/null) != 'the value' ]] || fail "an overlay gives its mounter's value away"
	unmount_extra
fi

note "and the ones who may are not disturbed by any of it"
expect_output 'the value' as 20001 cat "$MNT/db/current"
expect_host true env
