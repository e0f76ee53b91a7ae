#!/bin/bash
# Whose share a caller uses: a user of the machine with all its subordinate uids is one neighbour, in and out of user namespaces; a container that root made is one, whatever it makes inside.
. "$(dirname "$0")/../support/lib.sh"

alice=20101 bob=20102 alices=1410065408 bobs=1410130944 nobodys=1410196480
subordinate_uids "$alice:$alices:65536
$bob:$bobs:65536
no-such-user-$$:$nobodys:65536"

vault_start
printf 'the value' >"$SCRATCH/value"
expect_ok coffer put db --file "$SCRATCH/value"
[ "$(jq -r .host <"$MNT/.coffer/whoami")" = true ] || { echo "this machine's tests run in a container themselves: no caller is host"; exit 77; }
as 20101 unshare --user true 2>/dev/null || { echo "users may make no user namespaces here"; exit 77; }

# sees COMMAND…: the neighbour that what this command starts is
sees() { "$@" jq -r .neighbour "$MNT/.coffer/whoami"; }
owned_by() { "$@" jq -r .owner "$MNT/.coffer/whoami"; }
expect_neighbour()
{
	local want=$1
	shift
	[ "$(sees "$@")" = "$want" ] || fail "$(sees "$@"), not $want: $*"
}

note "users, and root of the host"
expect_neighbour user:0 env
expect_neighbour user:$alice as $alice
expect_neighbour user:20103 as 20103

note "a subordinate uid in the initial namespace, as a setuid file gives it: the user; /etc/subuid is followed"
expect_neighbour user:$alice as $((alices + 5))
expect_neighbour user:$alice as $((alices + 65535))
expect_neighbour user:$bob as $((bobs))
expect_neighbour "subordinate-uids-from:$nobodys" as $((nobodys + 7))
[ "$(owned_by as $((alices + 5)))" = $alice ] || fail "the owner of a subordinate uid"
[ "$(owned_by as $((nobodys + 7)))" = null ] || fail "an owner that nobody knows"
grep -q '/etc/subuid: .* names a user that /etc/passwd does not have (line [0-9]*)' "$DAEMON_LOG" || fail "the log does not name the line"
subordinate_uids_away
wait_for expect_neighbour "user:$((alices + 5))" as $((alices + 5))
subordinate_uids_back
wait_for expect_neighbour user:$alice as $((alices + 5))

note "user namespaces of a user: made by it, with one uid or with all, and nested"
expect_neighbour user:$alice as $alice unshare --user --map-root-user
expect_neighbour user:$alice as $alice unshare --user
expect_neighbour user:$alice as $alice unshare --user --map-root-user unshare --user --map-root-user unshare --user --pid --fork --mount
# in_namespace UID_OWNER COMMAND…: a namespace of that user's in which its 65,536 subordinate uids are 1 to 65536, as newuidmap makes it; the command runs in it, with the words of nsenter first
in_namespace()
{
	local owner=$1 range=$2 pid
	shift 2
	caller_words "$owner"
	start setpriv "${CALLER_WORDS[@]}" unshare --user sleep 600
	pid=$!
	other_namespace() { [ "$(readlink "/proc/$pid/ns/user")" != "$(readlink /proc/self/ns/user)" ] && [ "$(readlink "/proc/$pid/exe")" != "$(command -v unshare)" ]; }
	wait_for other_namespace
	printf '0 %s 1\n1 %s 65536\n' "$owner" "$range" >"$SCRATCH/map"
	cat "$SCRATCH/map" >"/proc/$pid/uid_map"	# in one write, as the kernel wants it
	cat "$SCRATCH/map" >"/proc/$pid/gid_map"
	NAMESPACE=$pid
}
in_namespace $alice $alices
inside() { local uid=$1; shift; nsenter --target "$NAMESPACE" --user --setuid "$uid" --setgid "$uid" "$@"; }
[ "$(inside 5 jq -r .uid "$MNT/.coffer/whoami")" = $((alices + 4)) ] || fail "the namespace is not as it should be"
for uid in 0 1 5 65536; do
	expect_neighbour user:$alice inside $uid
	[ "$(owned_by inside $uid)" = $alice ] || fail "the owner in a user's namespace"
done
expect_neighbour user:$alice inside 5 unshare --user --map-root-user
note "one that a subordinate uid made, inside and outside of the user's"
expect_neighbour user:$alice as $((alices + 9)) unshare --user --map-root-user
[ "$(owned_by as $((alices + 9)) unshare --user --map-root-user)" = $alice ] || fail "the owner of a namespace of a subordinate uid"
expect_neighbour user:$bob as $((bobs + 9)) unshare --user --map-root-user
note "without a line in /etc/subuid a namespace still tells"
subordinate_uids_away
expect_neighbour user:$alice inside 5
wait_for expect_neighbour "user:$((alices + 9))" as $((alices + 9)) unshare --user --map-root-user
subordinate_uids_back
wait_for expect_neighbour user:$alice as $((alices + 5))

note "what root made: each is a neighbour of its own, and what is made inside it is inside"
first=$(sees unshare --user --map-root-user)
[[ $first = user-namespace:* ]] || fail "a user namespace of root's is $first"
start unshare --pid --fork --kill-child --mount-proc sleep 600
pid_namespace_made() { PID_INIT=$(cat "/proc/$1/task/$1/children") && [ -n "$PID_INIT" ] && [ "$(readlink "/proc/${PID_INIT% }/exe")" = "$(readlink -f "$(command -v sleep)")" ]; }
leader=$!
wait_for pid_namespace_made $leader
pid_namespace_made $leader
in_pid() { nsenter --target "${PID_INIT% }" --pid --mount "$@"; }
box=$(sees in_pid)
[[ $box = pid-namespace:* ]] || fail "root's pid namespace is $box"
expect_neighbour "$box" in_pid unshare --user --map-root-user
expect_neighbour "$box" in_pid unshare --pid --fork
note "  a user that a program of root's put there is the user still; in a container's cgroup all are the container"
in_pid_as() { in_pid setpriv --reuid="$1" --regid="$1" --clear-groups "${@:2}"; }
expect_neighbour user:$alice in_pid_as $alice
expect_neighbour user:$bob in_pid_as $((bobs + 1)) unshare --user --map-root-user
id=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
cgroup=
leave_cgroup() { [ -z "$cgroup" ] || rmdir "$cgroup" 2>/dev/null || true; }
AT_EXIT+=(leave_cgroup)
for root in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup/pids /sys/fs/cgroup; do
	if [ -w "$root/cgroup.procs" ] && mkdir "$root/docker-$id.scope" 2>/dev/null; then
		cgroup=$root/docker-$id.scope
		break
	fi
done
if [ -n "$cgroup" ]; then
	# shellcheck disable=SC2016
	contained() { bash -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$cgroup" "$@"; }
	boxed() { contained nsenter --target "${PID_INIT% }" --pid --mount setpriv --reuid="$1" --regid="$1" --clear-groups "${@:2}"; }
	expect_neighbour "$box" boxed $alice
	expect_neighbour "$box" boxed $((bobs + 1))
	expect_neighbour "$box" boxed $alice unshare --user --map-root-user unshare --user --pid --fork
	[[ $(sees contained unshare --mount) = container:* ]] || fail "root in a container of the host's pid namespace is $(sees contained unshare --mount)"
	expect_neighbour user:$alice contained setpriv --reuid=$alice --regid=$alice --clear-groups
	note "  in one of the host's pid namespace all uids are the container, and what they make is theirs; a user's mount namespace, and one of root's without a container, are no container"
	hosts_pid() { contained unshare --mount setpriv --reuid="$1" --regid="$1" --clear-groups "${@:2}"; }
	host_box=$(sees contained unshare --mount)
	expect_neighbour "$host_box" hosts_pid $alice
	expect_neighbour "$host_box" hosts_pid $((bobs + 1))
	expect_neighbour "$host_box" hosts_pid 20199
	expect_neighbour "$host_box" contained unshare --mount unshare --mount setpriv --reuid=20199 --regid=20199 --clear-groups
	expect_neighbour user:$alice contained setpriv --reuid=$alice --regid=$alice --clear-groups unshare --user --map-root-user --mount
	expect_neighbour user:$alice unshare --mount setpriv --reuid=$alice --regid=$alice --clear-groups
fi
expect_neighbour user:$alice as $alice unshare --user --map-root-user --pid --fork --mount
third=$(sees unshare --mount)
[[ $third = mount-namespace:* ]] || fail "root in a mount namespace of its own is $third"

note "a worker that takes over knows the same"
DEATHS_EXPECTED=1
kill_worker
expect_neighbour user:$alice inside 5
expect_neighbour user:$alice as $((alices + 5))
expect_neighbour "$box" in_pid
