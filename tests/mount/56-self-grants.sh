#!/bin/bash
# Who grants a right to itself, by whatever name, is told of: an event of its own, and a word in the record. To forbid it would not hold.
. "$(dirname "$0")/../support/lib.sh"

alice=20121 alices=1412065280
subordinate_uids "$alice:$alices:65536"

vault_start
expect_ok coffer put db --file /etc/hostname
expect_ok coffer grant data-access-administrator "user:$alice" --on '*'
events() { jq -r 'select(.event == "SelfGranted") | .detail' <"$MNT/.coffer/events"; }
# granted COUNT PRINCIPAL COMMAND…: after it there are so many events
granted()
{
	local want=$1 principal=$2
	shift 2
	expect_ok "$@" coffer grant secrets-user "$principal" --on db
	[ "$(events | wc -l)" = "$want" ] || fail "$(events | wc -l) events SelfGranted, not $want, after a grant to $principal: $(events)"
}
told() { [ "$(events | wc -l)" = "$1" ]; }

note "to others: nothing of the kind"
granted 0 user:20122 as $alice
granted 0 group:20122 as $alice
granted 0 "user:$((alices + 65536))" as $alice

note "to itself: by uid, group, a subordinate uid, with host, and by everyone"
expect_errno EACCES as $alice sysop open r "$MNT/db/current"
granted 1 "user:$alice" as $alice
expect_errno ok as $alice sysop open r "$MNT/db/current"
granted 2 "user:$alice,host" as $alice
granted 3 group:20129 as $alice:$alice:20129
granted 4 "user:$((alices + 7))" as $alice
granted 5 "group:$alice" as $alice
granted 6 "user:$alice,group:20129" as $alice:$alice:20129
granted 7 everyone as $alice
grep -qx "user:$alice granted secrets-user to everyone, which can mean itself" <(events) || fail "$(events)"
note "also when it asks by a subordinate uid itself, and out of a namespace"
expect_ok coffer grant data-access-administrator "user:$((alices + 3))" --on '*'
granted 8 "user:$alice,group:20128,group:20129" as "$((alices + 3)):20129:20128"
granted 9 "user:$((alices + 9)),host" as $((alices + 3))
granted 10 host as $alice

note "the record says so, and only of these"
audit_has '.operation == "BindingCreate" and .self == true and .caller.uid == 20121 and (.detail | contains("to everyone"))'
audit_has_not '.operation == "BindingCreate" and .self == true and (.detail | contains("user:20122"))'
[ "$(audit_count '.self == true')" = 10 ] || fail "$(audit_count '.self == true') records with self"

note "hooks can hear of it, and events show it"
expect_exit 2 coffer hook add --on '*' --exec /bin/true --event NoSuchEvent
expect_message 'SelfGranted'
expect_ok coffer events
grep -q SelfGranted "$OUT" || fail "coffer events does not show it: $(cat "$OUT")"

note "a restore that brings such a binding is told of, too; a dry run is not"
echo 'a long enough phrase for a backup' >"$SCRATCH/phrase"
signer=$(status .signer)
coffer backup --all --passphrase-file "$SCRATCH/phrase" >"$SCRATCH/all.backup" 2>"$ERR" || fail "$(cat "$ERR")"
expect_ok coffer revoke secrets-user everyone --on db
bring() { coffer restore --signer "$signer" --passphrase-file "$SCRATCH/phrase" --existing skip --with-grants "$@" <"$SCRATCH/all.backup"; }
expect_ok bring --dry-run
told 10 || fail "a dry run raised an event: $(events)"
expect_ok bring
told 11 || fail "no event: $(events)"
[ "$(events | tail -n 1)" = 'user:0 granted secrets-user to everyone, which can mean itself' ] || fail "$(events | tail -n 1)"
audit_has '.operation == "SecretRestore" and .self == true and .result == "allow"'
vault_umount
audit_verify
