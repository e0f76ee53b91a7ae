#!/bin/bash
# Soft delete, recovery and purge as file operations: what each does, who may, what becomes of open files, of shells that stand inside, and of mounts.
. "$(dirname "$0")/../support/lib.sh"

vault_start
officer=20001 user=20002 purger=20003 stranger=20004 deleter=20005
expect_ok coffer grant secrets-officer user:$officer --on '*'
expect_ok coffer grant secrets-user user:$user --on '*'
expect_ok coffer grant purge-operator user:$purger --on '*'
expect_ok coffer role create deleter secrets/delete
expect_ok coffer grant deleter user:$deleter --on 'd-*'
deleted=$MNT/.coffer/deleted

put() { printf '%s' "$2" | expect_ok coffer put "$1"; }

# stand NAME DIRECTORY: a shell of the officer that stands there; stood NAME COMMAND…: what it prints, and then its exit status
stand()
{
	local in out
	mkfifo "$SCRATCH/$1.in" "$SCRATCH/$1.out"
	exec {in}<>"$SCRATCH/$1.in" {out}<>"$SCRATCH/$1.out"
	HOLD_IN[$1]=$in HOLD_OUT[$1]=$out
	# shellcheck disable=SC2016
	setpriv --reuid=$officer --regid=$officer --clear-groups bash -c 'cd "$0" && echo "here 0"; while read -r line; do said=$(eval "$line" 2>&1); status=$?; echo $said $status; done' \
		"$2" <"$SCRATCH/$1.in" >"$SCRATCH/$1.out" &
	HOLD_PROCESS[$1]=$(process_of $!)
	STARTED+=("$(process_of $!)")
	read -r -t 30 line <&"${HOLD_OUT[$1]}" || fail "$1 does not stand in $2"
}
expect_stood()
{
	local want=$1 name=$2 got
	shift 2
	got=$(held "$name" "$@")
	[ "$got" = "$want" ] || fail "'$got', not '$want': $*"
}

note "who may delete"
put db one
put db two
expect_errno EACCES as $user sysop rmdir "$MNT/db"
expect_errno EACCES as $stranger sysop rmdir "$MNT/db"
expect_errno EACCES as $purger sysop rmdir "$MNT/db"
expect_errno EACCES as $deleter sysop rmdir "$MNT/db"
expect_errno ENOENT as $officer sysop rmdir "$MNT/none"
expect_errno EPERM as $officer sysop rmdir "$MNT/db/versions"
expect_errno EPERM as $officer sysop rmdir "$MNT/.coffer"
expect_errno EPERM as $officer sysop rmdir "$deleted"
expect_errno ENOTDIR as $officer sysop rmdir "$MNT/db/current"
audit_has '.operation == "SecretDelete" and .result == "deny" and .secret == "db" and .caller.uid == 20002'

put d-1 x
expect_errno EACCES as $deleter sysop open r "$MNT/d-1/current"
expect_output 'd-1 deleted' sh -c 'setpriv --reuid=20005 --regid=20005 --clear-groups coffer delete d-1 | cut -d ";" -f 1'
expect_exit 3 as $deleter coffer recover d-1
expect_exit 3 as $deleter coffer purge d-1
expect_errno ok sysop rmdir "$deleted/d-1"

note "rmdir deletes, though it is not empty; open files are revoked at the next read"
hold reader $user
expect_held ok reader open r "$MNT/db/current"
expect_held ok reader read
hold writer $officer
expect_held ok writer open w "$MNT/db/current"
expect_held ok writer write lost
stand inside "$MNT/db"
expect_errno ok as $officer sysop rmdir "$MNT/db"
expect_held EKEYREVOKED reader read
expect_held EKEYREVOKED reader pread 0 3
audit_has '.operation == "SecretDelete" and .result == "allow" and .secret == "db" and .caller.uid == 20001 and .role == "secrets-officer"'
let_go writer
let_go reader

note "the name is taken"
expect_errno ENOENT as $officer sysop stat "$MNT/db"
expect_output '' as $user ls "$MNT"
expect_errno EEXIST as $officer sysop mkdir "$MNT/db"
expect_exit 5 coffer put db <<<x
expect_message 'db was deleted.*keeps its name until it is recovered or purged'
expect_message 'coffer.* recover db.*coffer.* purge db'

note "it is in .coffer/deleted, with its dates, for those who may list it"
expect_output db as $officer ls "$deleted"
expect_output '' as $purger ls "$deleted"
expect_output '' as $stranger ls "$deleted"
expect_output 'current
versions' as $officer ls "$deleted/db"
expect_output '1
2' as $officer ls "$deleted/db/versions"
audit_has '.operation == "SecretListDeleted" and .result == "allow" and .caller.uid == 20001'
audit_has '.operation == "SecretListDeleted" and .result == "deny" and .caller.uid == 20004'
day() { date -u -d "$1" +%F; }
at=$(as $officer getfattr --absolute-names --only-values -n user.coffer.deleted "$deleted/db")
purge=$(as $officer getfattr --absolute-names --only-values -n user.coffer.purge "$deleted/db")
[ $(($(date +%s) - $(date -d "$at" +%s))) -lt 300 ] || fail "deleted at $at"
[ $(($(date -d "$purge" +%s) - $(date -d "$at" +%s))) = $((90 * 86400)) ] || fail "deleted at $at, purged at $purge"
expect_errno ENODATA as $stranger sysop getxattr user.coffer.purge "$deleted/db"
expect_output ok as $stranger sysop listxattr "$deleted/db"

note "only list, recover and purge work on it"
expect_errno ENOENT as $officer sysop open r "$deleted/db/current"
expect_errno ENOENT as $officer sysop open w "$deleted/db/current"
expect_errno ENOENT as $officer sysop open r "$deleted/db/versions/1"
expect_errno EPERM as $officer sysop mkdir "$deleted/x"
expect_errno EPERM as $officer sysop mkdir "$deleted/db/x"
expect_errno EPERM as $officer sysop unlink "$deleted/db/current"
for command in 'get db' 'show db' 'versions db' 'disable db' 'rollback db 1' 'attr db --tag a=b' 'destroy db --version 1'; do
	expect_exit 4 coffer $command
done
[ "$(stat -c '%U %a' "$deleted/db/current")" = 'root 0' ] || fail "$(stat "$deleted/db/current")"

note "the old directory is an empty one, and stays where it is"
expect_stood 0 inside ls -A
expect_stood 0 inside 'ls -A . | cat'
expect_stood 'drwxr-xr-x 0' inside stat -c %A .
expect_stood 1 inside test -e current
expect_stood 1 inside test -e versions

note "who may recover, and how"
expect_errno EACCES as $user sysop rename "$deleted/db" "$MNT/db"
expect_errno EACCES as $purger sysop rename "$deleted/db" "$MNT/db"
expect_errno EPERM as $officer sysop rename "$deleted/db" "$MNT/other"
expect_errno EPERM as $officer sysop rename "$deleted/db" "$deleted/other"
put other x
expect_errno EPERM as $officer sysop rename-exchange "$deleted/db" "$MNT/other"
expect_errno EPERM as $officer sysop rename "$MNT/other" "$deleted/other"
expect_errno EPERM as $officer sysop rename "$MNT/other" "$MNT/another"
stand waiting "$deleted/db"
expect_ok as $officer mv "$deleted/db" "$MNT/db"
audit_has '.operation == "SecretRecover" and .result == "allow" and .secret == "db" and .caller.uid == 20001'
audit_has '.operation == "SecretRecover" and .result == "deny" and .secret == "db" and .caller.uid == 20002'
expect_output two as $user cat "$MNT/db/current"
expect_output one as $user cat "$MNT/db/versions/1"
expect_output '' as $officer ls "$deleted"

note "a shell that stood in deleted/NAME goes on, one in the old directory sees an empty one"
expect_stood 'two 0' waiting cat current
expect_stood '1 2 0' waiting ls versions
expect_stood "$MNT/db 0" waiting /bin/pwd
expect_stood 0 inside ls -A

standing=(inside waiting)
note "again and again, with shells in each incarnation"
for round in 1 2 3 4 5; do
	stand "old$round" "$MNT/db"
	standing+=("old$round" "new$round")
	expect_errno ok as $officer sysop rmdir "$MNT/db"
	stand "new$round" "$deleted/db"
	expect_stood 0 "old$round" ls -A
	expect_errno ok as $officer sysop "$([ $((round % 2)) = 0 ] && echo rename || echo rename-noreplace)" "$deleted/db" "$MNT/db"
	expect_stood 'two 0' "new$round" cat current
	expect_output two as $user cat "$MNT/db/current"
done
for round in 1 2 3 4; do
	expect_stood 0 "old$round" ls -A
	expect_stood 0 "new$round" ls -A
done
expect_stood 'two 0' new5 cat current
expect_ok as $officer sh -c "printf three >$MNT/db/current"
expect_stood 'three 0' new5 cat current

note "a secret that never had a version goes for good"
expect_errno ok as $officer sysop mkdir "$MNT/empty"
expect_errno ok as $officer sysop rmdir "$MNT/empty"
expect_errno ENOENT as $officer sysop stat "$deleted/empty"
expect_errno ok as $officer sysop mkdir "$MNT/empty"
expect_errno ok as $officer sysop rmdir "$MNT/empty"

note "who may purge; the name is free then, and nothing of the old one is there"
expect_errno ok as $officer sysop rmdir "$MNT/db"
expect_errno EACCES as $user sysop rmdir "$deleted/db"
expect_errno EACCES as $stranger sysop rmdir "$deleted/db"
expect_errno ok as $purger sysop rmdir "$deleted/db"
audit_has '.operation == "SecretPurge" and .result == "allow" and .secret == "db" and .role == "purge-operator"'
audit_has '.operation == "SecretPurge" and .result == "deny" and .caller.uid == 20002'
expect_errno ENOENT as $officer sysop stat "$deleted/db"
expect_stood 0 new5 ls -A
put db fresh
expect_output 1 as $user ls "$MNT/db/versions"
expect_output fresh as $user cat "$MNT/db/current"

note "mounts: EBUSY where one stands in this name space; elsewhere it is let go; a bind of current comes back with the secret"
mkdir "$SCRATCH/there" && touch "$SCRATCH/file"
mount_extra --bind "$MNT/db/current" "$SCRATCH/file"
expect_output fresh as $user cat "$SCRATCH/file"
mount -t tmpfs none "$MNT/db" || fail "cannot mount on $MNT/db"
expect_errno EBUSY as $officer sysop rmdir "$MNT/db"
expect_exit 5 coffer delete db
expect_message 'mounted'
umount "$MNT/db"
mount_extra --bind "$MNT/db" "$SCRATCH/there"
expect_errno ok as $officer sysop rmdir "$MNT/db"
expect_errno ENOENT as $user sysop open r "$SCRATCH/file"
expect_output '' ls -A "$SCRATCH/there"
expect_errno ok as $officer sysop rename "$deleted/db" "$MNT/db"
expect_output fresh as $user cat "$SCRATCH/file"
expect_output '' ls -A "$SCRATCH/there"
expect_output fresh as $user cat "$MNT/db/current"

note "a mount on it in another mount name space is let go"
unshare -m --propagation private sleep 300 &
other=$!
STARTED+=("$(process_of $other)")
apart() { [ "$(readlink /proc/$other/ns/mnt)" != "$(readlink /proc/self/ns/mnt)" ]; }
wait_for apart
in_other() { nsenter -m -t $other -- "$@"; }
in_other mount -t tmpfs none "$MNT/db" || fail "cannot mount in the other name space"
in_other grep -q " $MNT/db tmpfs" /proc/self/mounts || fail "there is no mount to let go"
expect_errno ok as $officer sysop rmdir "$MNT/db"
! in_other grep " $MNT/db tmpfs" /proc/self/mounts >&2 || fail "the mount is still there"
expect_errno ok as $officer sysop rename "$deleted/db" "$MNT/db"
end_process "$(process_of $other)"

note "watchers of the directories hear of it"
if command -v inotifywait >/dev/null; then
	start inotifywait -m -e delete,delete_self,moved_from,moved_to --format '%e %w%f' "$MNT" "$MNT/db" "$deleted" >"$SCRATCH/heard" 2>"$SCRATCH/watching"
	heard() { grep -q "^$1" "$SCRATCH/heard"; }
	wait_for grep -q 'Watches established' "$SCRATCH/watching"
	expect_errno ok as $officer sysop rmdir "$MNT/db"
	wait_for heard "DELETE_SELF $MNT/db"
	wait_for heard "DELETE,ISDIR $MNT/db"
	expect_errno ok as $officer sysop rename "$deleted/db" "$MNT/db"
	wait_for heard "MOVED_FROM,ISDIR $deleted/db"
	wait_for heard "MOVED_TO,ISDIR $MNT/db"
	expect_errno ok as $officer sysop rmdir "$MNT/db"
	expect_errno ok as $purger sysop rmdir "$deleted/db"
	wait_for heard "DELETE,ISDIR $deleted/db"
fi

note "what is left is whole"
for shell in "${standing[@]}"; do
	let_go "$shell"
done
unmount_extra
audit_verify
vault_umount
expect_ok coffer fsck "$STORE" --deep
