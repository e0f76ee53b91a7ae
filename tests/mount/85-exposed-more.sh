#!/bin/bash
# coffer exposed errs on the side of more: readers that a supplementary group let in, backups, and callers of whom the log cannot tell.
. "$(dirname "$0")/../support/lib.sh"

vault_start
(umask 077; coffer recipient keygen "$SCRATCH/keys/safe" >"$SCRATCH/safe.pub" 2>/dev/null) || fail keygen
chmod 644 "$SCRATCH/safe.pub"
for name in db web api ssh; do printf %s "$name" | expect_ok coffer put "$name"; done
printf db-2 | expect_ok coffer put db
is() { local filter=$1; shift; "$@" 2>/dev/null | jq -e "$filter" >/dev/null || fail "not $filter: $("$@")"; }

note "a reader whom a supplementary group lets in"
expect_ok coffer grant secrets-user group:20050,group:20051 --on db
expect_output db-2 as 20001:20001:20050,20051 cat "$MNT/db/current"
audit_has '.operation == "SecretGet" and .caller.uid == 20001 and .caller.gid == 20001 and .caller.groups == [20050,20051] and .principal == "group:20050,group:20051"'
expect_output db coffer exposed group:20050
[ ! -s "$ERR" ] || fail "$(cat "$ERR")"
is '.[0].versions == [2] and .[0].certain' coffer exposed group:20051 --output json
expect_output '' coffer exposed group:20052
expect_output db coffer exposed user:20001,group:20050
expect_output '' coffer exposed user:20002,group:20050

note "a reader with more groups than the log lists: possibly in each, but for the one that let it in"
many=$(seq -s, 21000 21040)
expect_ok coffer grant secrets-user group:21040 --on web
expect_output web as "20002:20002:$many" cat "$MNT/web/current"
audit_has '.operation == "SecretGet" and .caller.uid == 20002 and (.caller.groups | length) == 25 and .caller.groups[24] == "..." and .principal == "group:21040"'
is 'map(select(.name == "web"))[0].certain' coffer exposed group:21040 --output json
is 'map(select(.name == "web"))[0].certain' coffer exposed group:21003 --output json
is 'map(select(.name == "web"))[0].certain == false' coffer exposed group:21039 --output json
expect_output web coffer exposed group:29999
expect_message '1 of these possibly'

note "a backup is a read of each version in it"
expect_ok coffer recipient add safe --public-key "$SCRATCH/safe.pub"
expect_ok coffer role create keeper secrets/backup secrets/get
expect_ok coffer grant keeper user:20003 --on '*'
as 20003 coffer backup db api --recipient safe >"$SCRATCH/backup" 2>"$ERR" || fail "$(cat "$ERR")"
expect_output $'api\ndb' coffer exposed user:20003
is 'map(select(.name == "db"))[0] | .versions == [1,2] and .backups == 2 and .reads == 0' coffer exposed user:20003 --output json
as 20003 coffer backup ssh --public-key "$SCRATCH/safe.pub" >"$SCRATCH/backup" 2>"$ERR" || fail "$(cat "$ERR")"
expect_output $'api\ndb\nssh' coffer exposed user:20003
coffer backup --all --recipient safe >"$SCRATCH/backup" 2>"$ERR" || fail "$(cat "$ERR")"
expect_output $'api\ndb\nssh\nweb' coffer exposed user:0
[ ! -s "$ERR" ] || fail "$(cat "$ERR")"
vault_umount
audit_verify
