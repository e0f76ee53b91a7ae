#!/bin/bash
# The promise in one script: a secret is a file, for those who may; the others are refused; the log knows of both.
. "$(dirname "$0")/../support/lib.sh"

note "a new vault, with the key and the verify key beside each other and root's alone"
vault_init
for file in "$KEK" "${KEK%.kek}.verify"; do
	[ "$(stat -c '%a %u' "$file")" = '600 0' ] || fail "$file: $(stat -c '%a %u' "$file")"
done
vault_mount
expect_output '' ls "$MNT"
expect_errno ok sysop stat "$MNT/.coffer/ctl"

note "put, grant, cat"
printf 'correct horse' >"$SCRATCH/value"
expect_ok coffer put db --file "$SCRATCH/value"
expect_ok coffer grant secrets-user user:20001 --on db --reason 'the first test'
expect_output 'correct horse' as 20001 cat "$MNT/db/current"
expect_content "$SCRATCH/value" as 20001 sysop open r "$MNT/db/versions/1" + read

note "a reader sees itself as owner; others see root and no mode; the size is the same for all"
expect_exit 0 as 20001 sysop stat "$MNT/db/current"
[[ $(cat "$OUT") == 'ok file 0400 20001 20001 13 1 '* ]] || fail "$(cat "$OUT")"
expect_exit 0 as 20002 sysop stat "$MNT/db/current"
[[ $(cat "$OUT") == 'ok file 0000 0 0 13 1 '* ]] || fail "$(cat "$OUT")"

note "another uid is refused, and sees no name in a listing"
expect_errno EACCES as 20002 sysop open r "$MNT/db/current"
expect_errno EACCES as 20002 sysop open r "$MNT/db/versions/1"
expect_exit 1 as 20002 cat "$MNT/db/current"
expect_exit 3 as 20002 coffer get db
expect_output '' as 20002 ls "$MNT"
expect_output 'db' as 20001 ls "$MNT"

note "root has no rights beyond its bindings, but init made it administrator"
expect_output 'correct horse' cat "$MNT/db/current"

note "both are in the log, with who, what and by which right"
audit_has '.operation == "SecretGet" and .result == "allow" and .secret == "db" and .version == 1 and .caller.uid == 20001 and .caller.comm == "cat" and .role == "secrets-user" and .binding != null'
audit_has '.operation == "SecretGet" and .result == "deny" and .errno == "EACCES" and .secret == "db" and .caller.uid == 20002 and .binding == null'
audit_has '.operation == "SecretSet" and .result == "allow" and .secret == "db"'
audit_has '.operation == "BindingCreate" and .result == "allow" and .caller.uid == 0'
! grep -q 'correct horse' "$MNT/.coffer/audit" || fail "a value stands in the log"
! as 20002 cat "$MNT/.coffer/audit" >/dev/null 2>&1 || fail "anybody may read the log"
expect_ok coffer audit --secret db --denied
audit_verify

note "all of it outlives the daemon"
vault_umount
expect_errno ok sysop readdir "$MNT"
vault_mount
expect_output 'correct horse' as 20001 cat "$MNT/db/current"
expect_errno EACCES as 20002 sysop open r "$MNT/db/current"
vault_umount
audit_verify
