#!/bin/bash
# .coffer/at/EPOCH/NAME/current: every secret as of one epoch, with the rights and the records of the version that lies there.
. "$(dirname "$0")/../support/lib.sh"

vault_start
at=$MNT/.coffer/at
epoch() { ls "$at"; }
put() { printf %s "$2" | coffer put "$1" >/dev/null || fail "put $1"; }
# shows PATH TEXT
shows() { [ "$(cat "$1")" = "$2" ] || fail "$1 has '$(cat "$1")', not '$2'"; }

e0=$(epoch)
put db db-1
e1=$(epoch)
put web web-1
put db db-2
e2=$(epoch)
put db db-3
put web web-2
e3=$(epoch)
[ "$(status .epoch)" = "$e3" ] || fail "at/ lists $e3, status says $(status .epoch)"

note "each epoch shows what was current then"
shows "$at/$e1/db/current" db-1
shows "$at/$e2/db/current" db-2
shows "$at/$e2/web/current" web-1
shows "$at/$e3/db/current" db-3
shows "$at/$e3/web/current" web-2
[ "$(ls "$at/$e0")" = "" ] || fail "secrets before there were any"
[ "$(ls "$at/$e1")" = db ] || fail "at/$e1 lists $(ls "$at/$e1")"
[ "$(ls "$at/$e3" | sort | tr '\n' ' ')" = "db web " ] || fail "at/$e3 lists $(ls "$at/$e3")"
[ "$(ls "$at/$e3/db")" = current ] || fail "a secret's directory lists $(ls "$at/$e3/db")"
expect_exit 0 coffer get db --at "$e1"
[ "$(cat "$OUT")" = db-1 ] || fail "get --at gives $(cat "$OUT")"
expect_exit 4 coffer get web --at "$e1"
expect_exit 4 coffer get web --at 999999
expect_exit 2 coffer get web --at x
expect_exit 2 coffer get web --at 1 --version 1

note "what has no name there"
for path in 0 "0$e1" "$((e3 + 1))" x 99999999999999999999 "$e1/web" "$e1/nothing" "$e1/db/versions" "$e1/.coffer"; do
	expect_errno ENOENT sysop stat "$at/$path"
done
expect_errno EPERM sysop mkdir "$at/$e1/new"
expect_errno EPERM sysop rmdir "$at/$e1/db"
expect_errno EPERM sysop unlink "$at/$e1/db/current"
expect_errno EPERM sysop open w,t "$at/$e1/db/current"

note "a second name of the version: same inode, same rights, same records"
[ "$(stat -c %i "$at/$e1/db/current")" = "$(stat -c %i "$MNT/db/versions/1")" ] || fail "another inode"
expect_errno EACCES as 20001 sysop open r "$at/$e1/db/current"
audit_has '.operation == "SecretGet" and .result == "deny" and .caller.uid == 20001 and .secret == "db" and .version == 1'
expect_ok coffer grant secrets-user user:20001 --on db
expect_errno ok as 20001 sysop open r "$at/$e1/db/current" + read
expect_errno EACCES as 20001 sysop open r "$at/$e2/web/current"
audit_has '.operation == "SecretGet" and .result == "allow" and .caller.uid == 20001 and .secret == "db" and .version == 1'
[ "$(as 20001 ls "$at/$e3")" = db ] || fail "names that the caller may not list"
audit_has '.operation == "SecretList" and .caller.uid == 20001 and .result == "allow"'
[ -n "$(as 20002 ls "$at")" ] || fail "the present epoch is not for everybody"

note "a version that was withdrawn since is refused, not replaced by an older one; what was withdrawn before is passed over"
expect_ok coffer disable db --version 3
e4=$(epoch)
expect_errno EACCES sysop open r "$at/$e3/db/current"
shows "$at/$e4/db/current" db-2
shows "$at/$e2/db/current" db-2
expect_ok coffer enable db --version 3
shows "$at/$e3/db/current" db-3
shows "$at/$e4/db/current" db-3

note "a version that was destroyed is gone from its epochs, and nothing older stands in for it; a deleted secret is gone from all"
put db db-4
e5=$(epoch)
expect_ok coffer destroy db --version 4
e6=$(epoch)
expect_errno ENOENT sysop stat "$at/$e5/db/current"
shows "$at/$e6/db/current" db-3
shows "$at/$e3/db/current" db-3
put gone x
e7=$(epoch)
shows "$at/$e7/gone/current" x
expect_ok coffer delete gone
expect_errno ENOENT sysop stat "$at/$e7/gone/current"
! ls "$at/$e7" | grep -q gone || fail "a deleted secret is listed"
expect_ok coffer recover gone
shows "$at/$e7/gone/current" x

note "the same numbers after a worker died, and after a new start"
ino=$(stat -c %i "$at/$e2/db")
cd "$at/$e2/db"
DEATHS_EXPECTED=1
kill -9 "$(status .processes.worker)"
shows current db-2
shows "$at/$e2/db/current" db-2
cd /
vault_umount
vault_mount
[ "$(stat -c %i "$at/$e2/db")" = "$ino" ] || fail "another inode number"
shows "$at/$e2/db/current" db-2

note "sealed: names stand, values do not"
expect_ok coffer seal
expect_errno ok sysop stat "$at/$e2/db/current"
expect_errno ENOKEY sysop open r "$at/$e2/db/current"
