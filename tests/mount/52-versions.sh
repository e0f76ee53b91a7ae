#!/bin/bash
# One version: enabled, disabled, destroyed, rolled back; its times and its attributes.
. "$(dirname "$0")/../support/lib.sh"

vault_start
officer=20001 user=20002 purger=20003
expect_ok coffer grant secrets-officer user:$officer --on '*'
expect_ok coffer grant secrets-user user:$user --on '*'
expect_ok coffer grant purge-operator user:$purger --on '*'
for value in one two three; do
	printf '%s' $value | expect_ok as $officer coffer put db
done
d=$MNT/db
attribute() { as $user getfattr --absolute-names --only-values -n "user.coffer.$2" "$d/$1"; }

note "disable and enable"
expect_ok as $officer coffer disable db --version 3
expect_output two as $user cat "$d/current"
expect_errno EACCES as $user sysop open r "$d/versions/3"
[ "$(attribute versions/3 enabled)" = false ] || fail "version 3 is $(attribute versions/3 enabled)"
[ "$(attribute current version)" = 2 ] || fail "current is $(attribute current version)"
expect_ok as $officer coffer enable db --version 3
expect_output three as $user cat "$d/current"
[ "$(attribute versions/3 enabled)" = true ] || fail "version 3 is $(attribute versions/3 enabled)"

note "destroy: who may, and that it is for ever"
expect_exit 3 as $user coffer destroy db --version 3
expect_message 'secrets/purge'
expect_exit 2 as $purger coffer destroy db
expect_message 'Give --version N'
hold reader $user
expect_held ok reader open r "$d/versions/3"
expect_held ok reader read
hold current $user
expect_held ok current open r "$d/current"
expect_output 'db version 3 destroyed; current is version 2' as $purger coffer destroy db --version 3
expect_held EKEYREVOKED reader read
expect_held EKEYREVOKED current read
let_go reader
let_go current
expect_output two as $user cat "$d/current"
expect_output '1
2' as $user ls "$d/versions"
expect_errno ENOENT as $user sysop stat "$d/versions/3"
expect_errno ENOENT as $user sysop open r "$d/versions/3"
expect_errno ENODATA as $user sysop getxattr user.coffer.version "$d/versions/3"
for command in 'enable db --version 3' 'attr db --version 3 --expires none' 'rollback db 3' 'destroy db --version 3' 'get db --version 3'; do
	expect_exit 4 as $officer coffer $command
done
as $user coffer versions db --output json | jq -e '[.[] | [.version, .enabled, .destroyed]] == [[1, true, false], [2, true, false], [3, false, true]]' >/dev/null || fail "$(coffer versions db)"
audit_has '.operation == "SecretDestroy" and .result == "allow" and .secret == "db" and .version == 3 and .caller.uid == 20003'
audit_has '.operation == "SecretDestroy" and .result == "deny" and .caller.uid == 20002'

note "its number is never used again; rollback makes a new one"
expect_ok as $officer coffer rollback db 1
expect_output one as $user cat "$d/current"
expect_output '1
2
4' as $user ls "$d/versions"
expect_ok as $officer coffer delete db
expect_ok as $officer coffer recover db
expect_output '1
2
4' as $user ls "$d/versions"

note "when none is left nothing is served"
for version in 1 2 4; do
	expect_ok as $purger coffer destroy db --version $version
done
grep -q 'no version is served' "$OUT" || fail "$(cat "$OUT")"
expect_errno ENOENT as $user sysop open r "$d/current"
[ "$(stat -c %s "$d/current")" = 0 ] || fail "a size without a version"
printf five | expect_ok as $officer coffer put db
expect_output five as $user cat "$d/current"
[ "$(attribute current version)" = 5 ] || fail "version $(attribute current version)"

note "not-before and expires are information, until the vault enforces them"
expect_ok as $officer coffer attr db --not-before 2001-02-03T04:05:06Z --expires 2002-02-03T04:05:06Z
expect_message 'warning: expires lies in the past'
[ "$(attribute current expires)" = 2002-02-03T04:05:06Z ] || fail "expires $(attribute current expires)"
[ "$(attribute current not-before)" = 2001-02-03T04:05:06Z ] || fail "not before $(attribute current not-before)"
expect_output five as $user cat "$d/current"
printf '{"op":"vault","id":"%s","enforce_validity":true}\n' "$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')" >"$SCRATCH/request"
expect_ok sysop open rw "$MNT/.coffer/ctl" + put "$SCRATCH/request" 65536 + text
expect_errno EKEYEXPIRED as $user sysop open r "$d/current"
expect_exit 3 as $user coffer get db
expect_message 'has expired, or is not valid yet'
expect_exit 2 as $officer coffer attr db --expires 2000-01-01T00:00:00Z
expect_message 'would expire before it is valid'
expect_ok as $officer coffer attr db --expires none
expect_output five as $user cat "$d/current"
expect_ok as $officer coffer attr db --not-before 90d
expect_errno EKEYEXPIRED as $user sysop open r "$d/current"
expect_ok as $officer coffer attr db --not-before none

audit_verify
vault_umount
expect_ok coffer fsck "$STORE" --deep
