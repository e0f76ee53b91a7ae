#!/bin/bash
# Names that there are, could be and cannot be; operations that the file system has and has not: each with the errno of the manual.
. "$(dirname "$0")/../support/lib.sh"

vault_start
printf 'one' | coffer put db
expect_ok coffer grant secrets-officer user:20001 --on '*'
expect_ok coffer grant secrets-user user:20002 --on db

long=$(printf 'n%.0s' {1..127})

note "lookup"
expect_errno ENOENT sysop stat "$MNT/nothing"
expect_errno ENOENT sysop stat "$MNT/-dash-first"
expect_errno ENOENT sysop stat "$MNT/.hidden"
expect_errno ENOENT sysop stat "$MNT/a space"
expect_errno ENOENT sysop stat "$MNT/"$'new\nline'
expect_errno ENOENT sysop stat "$MNT/"$'\xc3\xa9'
expect_errno ENOENT sysop stat "$MNT/$long"
expect_errno ENAMETOOLONG sysop stat "$MNT/${long}n"
expect_errno ENOENT sysop stat "$MNT/db/other"
expect_errno ENOENT sysop stat "$MNT/db/versions/2"
expect_errno ENOENT sysop stat "$MNT/db/versions/01"
expect_errno ENOENT sysop stat "$MNT/db/versions/0"
expect_errno ENOTDIR sysop stat "$MNT/db/current/x"

note "an existing name resolves for everybody, who asks decides the rest"
expect_errno ok as 20003 sysop stat "$MNT/db/current"
expect_errno EACCES as 20003 sysop readdir "$MNT/db/versions"
expect_errno ok as 20002 sysop readdir "$MNT/db/versions"
expect_errno ok as 20003 sysop readdir "$MNT"

note "mkdir"
for name in -dash-first .hidden 'a space' $'new\nline' $'\xc3\xa9' 'a:b' $'tab\t'; do
	expect_errno EPERM as 20001 sysop mkdir "$MNT/$name"
done
expect_errno ENAMETOOLONG as 20001 sysop mkdir "$MNT/${long}n"
expect_errno EEXIST as 20001 sysop mkdir "$MNT/db"
expect_errno EACCES as 20002 sysop mkdir "$MNT/mine"
expect_errno ok as 20001 sysop mkdir "$MNT/$long"
expect_errno ok as 20001 sysop mkdir "$MNT/new"

note "a secret without a version: there, empty, and nothing to read"
expect_output "$(printf 'current\nversions')" as 20001 ls "$MNT/new"
expect_exit 0 as 20001 sysop stat "$MNT/new/current"
[[ $(cat "$OUT") == 'ok file 0600 20001 20001 0 1 '* ]] || fail "$(cat "$OUT")"
expect_errno ENOENT as 20001 sysop open r "$MNT/new/current"
expect_errno EACCES as 20003 sysop open r "$MNT/new/current"

note "what the file system does not have"
expect_errno EPERM as 20001 sysop open w,c "$MNT/file"
expect_errno EPERM as 20001 sysop open w,c "$MNT/db/9"
expect_errno EPERM as 20001 sysop open w,c "$MNT/db/versions/other"
expect_errno EACCES as 20003 sysop open w,c "$MNT/db/other"
expect_errno EPERM as 20001 sysop unlink "$MNT/db/current"
expect_errno EPERM as 20001 sysop unlink "$MNT/db/versions/1"
expect_errno EPERM as 20001 sysop link "$MNT/db/current" "$MNT/db/other"
expect_errno EPERM as 20001 sysop symlink current "$MNT/db/other"
expect_errno EPERM as 20001 sysop mknod "$MNT/db/pipe"
expect_errno EPERM as 20001 sysop rename "$MNT/db/current" "$MNT/db/other"
expect_errno EPERM as 20001 sysop rename "$MNT/db" "$MNT/other"
expect_errno EPERM as 20001 sysop rename-exchange "$MNT/db" "$MNT/new"
expect_errno EPERM as 20001 sysop rmdir "$MNT/db/versions"

note "attributes: what changes nothing succeeds for who may set, the rest is EPERM"
expect_errno ok as 20001 sysop utimens "$MNT/db/current"
expect_errno ok as 20001 sysop chmod 600 "$MNT/db/current"
expect_errno ok as 20001 sysop chown 20001 20001 "$MNT/db/current"
expect_errno EPERM as 20001 sysop chmod 644 "$MNT/db/current"
expect_errno EPERM as 20001 sysop chown 20002 20002 "$MNT/db/current"
expect_errno EPERM as 20002 sysop chmod 600 "$MNT/db/current"
expect_errno EPERM as 20002 sysop utimens "$MNT/db/current"
expect_errno ENODATA as 20001 sysop getxattr security.selinux "$MNT/db/current"
expect_errno ENODATA as 20001 sysop getxattr user.other "$MNT/db/current"
expect_output 'ok 1' as 20001 sysop getxattr user.coffer.version "$MNT/db/current"

note "access answers by policy"
expect_errno ok as 20002 sysop access r "$MNT/db/current"
expect_errno EACCES as 20002 sysop access w "$MNT/db/current"
expect_errno ok as 20001 sysop access rw "$MNT/db/current"
expect_errno EACCES as 20003 sysop access r "$MNT/db/current"

note "who may not use a secret sees neither when it changed nor how many there are; its length is the same for everybody"
started=$(stat -c %.9Y "$MNT/.coffer")
[ "$(as 20001 stat -c %.9Y "$MNT/db/current")" != "$started" ] || fail "who may read it does not see its time"
[ "$(as 20003 stat -c '%.9Y %.9Z' "$MNT/db/current")" = "$started $started" ] || fail "$(as 20003 stat -c '%.9Y %.9Z' "$MNT/db/current"), not $started"
[ "$(as 20003 stat -c '%.9Y %.9Z' "$MNT/db/versions/1")" = "$started $started" ] || fail "the time of a version is seen by everybody"
[ "$(as 20003 stat -c %s "$MNT/db/current")" = "$(as 20001 stat -c %s "$MNT/db/current")" ] || fail "lengths differ"
for name in "$MNT/db" "$MNT/db/versions"; do
	[ "$(as 20003 stat -c '%.9Y %.9Z' "$name")" = "$started $started" ] || fail "the time of $name is seen by everybody"
done
expect_output '268435455 268435455' stat -f -c '%c %d' "$MNT"	# whatever is in it

note "versions cannot be written, and nothing of it has changed anything"
expect_errno EPERM as 20001 sysop open w "$MNT/db/versions/1"
expect_output 'one' as 20001 cat "$MNT/db/current"
expect_output '1' as 20001 ls "$MNT/db/versions"
