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

# bin ANSWER UID NAME: what a soft delete is
bin() { expect_errno "$1" as "$2" sysop rename "$MNT/$3" "$deleted/$3"; }
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
for who in $user $stranger $purger $deleter; do
	bin EACCES $who db
	expect_errno EACCES as $who sysop rmdir "$MNT/db"
done
bin ENOENT $officer none
expect_errno EPERM as $officer sysop rename "$MNT/db" "$deleted/other"
expect_errno EPERM as $officer sysop rename "$MNT/db/current" "$deleted/current"
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

note "mv deletes; open files are revoked at the next read"
hold reader $user
expect_held ok reader open r "$MNT/db/current"
expect_held ok reader read
hold writer $officer
expect_held ok writer open w "$MNT/db/current"
expect_held ok writer write lost
stand inside "$MNT/db"
expect_ok as $officer mv "$MNT/db" "$deleted/"
expect_held EKEYREVOKED reader read
expect_held EKEYREVOKED reader pread 0 3
audit_has '.operation == "SecretDelete" and .result == "allow" and .secret == "db" and .caller.uid == 20001 and .role == "secrets-officer"'
let_go writer

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

note "who stood in it stands in what was deleted, and can read nothing there"
expect_stood "$deleted/db 0" inside /bin/pwd
expect_stood 'current versions 0' inside ls -A
expect_stood 'drwxr-xr-x 0' inside stat -c %A .
expect_stood 'cat: current: No such file or directory 1' inside cat current

note "who may recover, and how"
expect_errno EACCES as $user sysop rename "$deleted/db" "$MNT/db"
expect_errno EACCES as $purger sysop rename "$deleted/db" "$MNT/db"
expect_errno EPERM as $officer sysop rename "$deleted/db" "$MNT/other"
expect_errno EPERM as $officer sysop rename "$deleted/db" "$deleted/other"
put other x
expect_errno EPERM as $officer sysop rename-exchange "$deleted/db" "$MNT/other"
expect_errno EPERM as $officer sysop rename-exchange "$MNT/other" "$deleted/db"
expect_errno EPERM as $officer sysop rename "$MNT/other" "$deleted/another"
expect_errno EPERM as $officer sysop rename "$MNT/other" "$MNT/another"
stand waiting "$deleted/db"
expect_ok as $officer mv "$deleted/db" "$MNT/db"
audit_has '.operation == "SecretRecover" and .result == "allow" and .secret == "db" and .caller.uid == 20001'
audit_has '.operation == "SecretRecover" and .result == "deny" and .secret == "db" and .caller.uid == 20002'
expect_output two as $user cat "$MNT/db/current"
expect_output one as $user cat "$MNT/db/versions/1"
expect_output '' as $officer ls "$deleted"

note "whoever stood in it goes on, from before or after the deletion, and so does an open file"
expect_stood 'two 0' waiting cat current
expect_stood '1 2 0' waiting ls versions
for shell in waiting inside; do
	expect_stood "$MNT/db 0" $shell /bin/pwd
	expect_stood 'two 0' $shell cat current
done
expect_held ok reader pread 0 3
let_go reader

standing=(inside waiting)
note "again and again, with shells in it from before and after each deletion"
for round in 1 2 3 4 5; do
	stand "old$round" "$MNT/db"
	standing+=("old$round" "new$round")
	bin ok $officer db
	stand "new$round" "$deleted/db"
	expect_stood "$deleted/db 0" "old$round" /bin/pwd
	expect_errno ok as $officer sysop "$([ $((round % 2)) = 0 ] && echo rename || echo rename-noreplace)" "$deleted/db" "$MNT/db"
	expect_output two as $user cat "$MNT/db/current"
done
for shell in "${standing[@]}"; do
	expect_stood 'two 0' "$shell" cat current
done
expect_ok as $officer sh -c "printf three >$MNT/db/current"
expect_stood 'three 0' new5 cat current
expect_stood 'three 0' old1 cat current

note "a secret that never had a version goes for good"
expect_errno ok as $officer sysop mkdir "$MNT/empty"
expect_errno ok as $officer sysop rmdir "$MNT/empty"
expect_errno ENOENT as $officer sysop stat "$deleted/empty"
expect_errno ok as $officer sysop mkdir "$MNT/empty"
expect_exit 0 as $officer coffer delete empty
grep -q 'never had a version' "$OUT" || fail "$(cat "$OUT")"
expect_errno ok as $officer sysop mkdir "$MNT/empty"
bin ok $officer empty
gone() { [ ! -e "$deleted/$1" ]; }
wait_for gone empty
expect_errno ok as $officer sysop mkdir "$MNT/empty"
expect_errno ok as $officer sysop rmdir "$MNT/empty"

note "who may purge; the name is free then, and nothing of the old one is there"
bin ok $officer db
expect_errno EACCES as $user sysop rmdir "$deleted/db"
expect_errno EACCES as $stranger sysop rmdir "$deleted/db"
expect_errno ok as $purger sysop rmdir "$deleted/db"
audit_has '.operation == "SecretPurge" and .result == "allow" and .secret == "db" and .role == "purge-operator"'
audit_has '.operation == "SecretPurge" and .result == "deny" and .caller.uid == 20002'
expect_errno ENOENT as $officer sysop stat "$deleted/db"
put db fresh
for shell in "${standing[@]}"; do
	expect_stood 0 "$shell" ls -A
	expect_stood 'cat: current: No such file or directory 1' "$shell" cat current
	expect_stood 1 "$shell" test -e current
done
expect_output 1 as $user ls "$MNT/db/versions"
expect_output fresh as $user cat "$MNT/db/current"

note "mounts: EBUSY where one stands in this name space; binds of the directory and of the file come back with the secret"
mkdir "$SCRATCH/there" && touch "$SCRATCH/file"
mount_extra --bind "$MNT/db/current" "$SCRATCH/file"
expect_output fresh as $user cat "$SCRATCH/file"
mount -t tmpfs none "$MNT/db" || fail "cannot mount on $MNT/db"
bin EBUSY $officer db
expect_exit 5 coffer delete db
expect_message 'mounted'
umount "$MNT/db"
mount_extra --bind "$MNT/db" "$SCRATCH/there"
bin ok $officer db
for file in file there/current there/versions/1; do
	expect_errno ENOENT as $user sysop open r "$SCRATCH/$file"
done
expect_errno ok as $officer sysop rename "$deleted/db" "$MNT/db"
for file in file there/current there/versions/1; do
	expect_output fresh as $user cat "$SCRATCH/$file"
done

note "and so they do in another mount name space, where a mount on it goes with it"
unshare -m --propagation private sleep 300 &
other=$!
STARTED+=("$(process_of $other)")
apart() { [ "$(readlink /proc/$other/ns/mnt)" != "$(readlink /proc/self/ns/mnt)" ]; }
wait_for apart
in_other() { nsenter -m -t $other -- "$@"; }
in_other mount -t tmpfs none "$MNT/db" || fail "cannot mount in the other name space"
in_other sh -c "mkdir $MNT/db/x" || fail "it cannot be written to"
for round in 1 2 3; do
	bin ok $officer db
	in_other test -d "$deleted/db/x" || fail "the mount did not go with the directory"
	expect_errno ENOENT in_other setpriv --reuid=$user --regid=$user --clear-groups sysop open r "$SCRATCH/there/current"
	expect_errno ok as $officer sysop rename "$deleted/db" "$MNT/db"
	in_other test -d "$MNT/db/x" || fail "the mount did not come back with the directory"
	expect_output fresh in_other setpriv --reuid=$user --regid=$user --clear-groups cat "$SCRATCH/there/current"
done
end_process "$(process_of $other)"

note "watchers hear of it: of the directories by the kernel, of the file by the bell"
if command -v inotifywait >/dev/null; then
	start inotifywait -m -e delete,delete_self,moved_from,moved_to,move_self,close_write --format '%e %w%f' "$MNT" "$MNT/db" "$deleted" >"$SCRATCH/heard" 2>"$SCRATCH/watching"
	start inotifywait -m -e modify,close_write,delete_self --format '%e' "$MNT/db/current" >"$SCRATCH/heard.file" 2>"$SCRATCH/watching.file"
	heard() { grep -q "^$1" "$SCRATCH/heard"; }
	rung() { [ "$(grep -c CLOSE_WRITE "$SCRATCH/heard.file")" -ge "$1" ]; }
	wait_for grep -q 'Watches established' "$SCRATCH/watching"
	wait_for grep -q 'Watches established' "$SCRATCH/watching.file"
	bin ok $officer db
	wait_for heard "MOVED_FROM,ISDIR $MNT/db"
	wait_for heard "MOVED_TO,ISDIR $deleted/db"
	wait_for heard "MOVE_SELF $MNT/db"
	wait_for rung 1
	expect_errno ok as $officer sysop rename "$deleted/db" "$MNT/db"
	wait_for heard "MOVED_FROM,ISDIR $deleted/db"
	wait_for heard "MOVED_TO,ISDIR $MNT/db"
	wait_for rung 2
	expect_ok as $officer sh -c "printf fresh >$MNT/db/current"
	wait_for rung 3
	! grep DELETE "$SCRATCH/heard.file" >&2 || fail "the watch on the file has ended"
	bin ok $officer db
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
