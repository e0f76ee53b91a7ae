#!/bin/bash
# A condition of principals that a number and a row have brought (policy/condition.c, in the build with test hooks) is served from end to end: grants, decisions, can-i, blocks, records, the canonical text.
. "$(dirname "$0")/../support/lib.sh"

[ -n "${COFFER_HOOKS_BIN:-}" ] || { echo "COFFER_HOOKS_BIN names no build with hooks"; exit 77; }
expect_exit 2 coffer grant secrets-user primary:20005 --on db	# no other build knows it
install -m 755 "$COFFER_HOOKS_BIN/coffer" "$COFFER_HOOKS_BIN/cofferd" "$SCRATCH/bin"
vault_start
expect_ok coffer put db --file <(printf secret)
reader=20001 group=20005

note "a binding: whoever has it as its primary group, and nobody else"
expect_ok coffer grant secrets-user primary:$group --on db
expect_output secret as $reader:$group cat "$MNT/db/current"
expect_errno EACCES as $reader sysop open r "$MNT/db/current"
expect_errno EACCES as $reader:$reader:$group sysop open r "$MNT/db/current"
audit_has ".operation == \"SecretGet\" and .result == \"allow\" and .principal == \"primary:$group\""
[ "$(coffer can-i secrets/get db --as primary:$group --output json | jq .allowed)" = true ] || fail "can-i says no"
[ "$(coffer can-i secrets/get db --as group:$group --output json | jq .allowed)" = false ] || fail "can-i says yes of a supplementary group"

note "with others, in the canonical order; once"
expect_ok coffer grant secrets-user "primary:$group,user:$reader" --on db
coffer bindings --output json | jq -e --arg p "user:$reader,primary:$group" 'any(.. | .principal? // empty; . == $p)' >/dev/null || fail "$(coffer bindings --output json)"
expect_exit 2 coffer grant secrets-user "primary:1,primary:2" --on db

note "a block of it denies, and is lifted"
expect_ok coffer block primary:$group --reason test
expect_errno EACCES as $reader:$group sysop open r "$MNT/db/current"
expect_ok coffer unblock "$(coffer blocks --output json | jq 'first(.. | .id? // empty)')"
expect_output secret as $reader:$group cat "$MNT/db/current"

note "after a restart"
vault_umount
vault_mount
expect_output secret as $reader:$group cat "$MNT/db/current"
audit_verify
expect_ok coffer fsck "$STORE"
