#!/bin/bash
# Manners of the command: it proposes nothing that changes or stops something, asks before what cannot be undone, names the mount in each hint, and the least role; and it says why a name is refused.
. "$(dirname "$0")/../support/lib.sh"

vault_init
vault_mount
unset COFFER_MOUNT
plain=$(command -v "$COFFER_BIN/coffer")
here() { "$plain" -m "$MNT" "$@"; }
# at a terminal: at ANSWER COMMAND…; what it says is in $SCRATCH/said
at() { local answer=$1; shift; printf '%s\n' "$answer" | script -qec "$plain -m $MNT $*" /dev/null >"$SCRATCH/said" 2>&1; }

note "never proposed: what changes or stops"
for word in read sael purg destroyy puts delet unsea revok restor shred; do
	expect_exit 2 "$plain" "$word"
	grep -Eq 'mean (seal|unseal|purge|destroy|put|delete|revoke|restore|disable|enable|block)' "$ERR" && fail "$word: $(cat "$ERR")"
done
expect_exit 2 "$plain" lst
expect_message 'did you mean list\?'
expect_exit 2 "$plain" role
expect_message 'role alone is no command; what begins with it: role create'
expect_exit 2 "$plain" block user:1 --forse
grep -q 'mean --force' "$ERR" && fail "$(cat "$ERR")"
expect_exit 2 here put x --trin
expect_message 'did you mean --trim\?'

note "asked at a terminal, and only there"
for i in 1 2 3; do printf '%s' "$i" | here put db >/dev/null; done
at n destroy db --version 1 && fail "destroyed without a yes"
grep -q 'nothing was done' "$SCRATCH/said" || fail "$(cat "$SCRATCH/said")"
[ "$(here get db --version 1)" = 1 ] || fail "destroyed without a yes"
at y destroy db --version 1 || fail "$(cat "$SCRATCH/said")"
expect_exit 4 here get db --version 1
at '' destroy db --version 2 --yes || fail "$(cat "$SCRATCH/said")"
expect_ok here destroy db --version 3
at n history set db --keep-versions 1 && fail "a rule without a yes"
at n vault set --purge-protection on && fail "purge protection without a yes"
[ "$(here vault show --output json | jq .purge_protection)" = false ] || fail "purge protection is on"
at no seal && fail "sealed without a yes"
[ "$(here status --output json | jq .sealed)" = false ] || fail "sealed"
expect_ok here delete db
at n purge db && fail "purged without a yes"
expect_ok here recover db
expect_ok here delete db
at yes purge db || fail "$(cat "$SCRATCH/said")"
expect_ok here seal
expect_ok here unseal

note "hints name the mount, in one way"
expect_exit 4 here recover nothing
expect_message "see: coffer -m $MNT list --deleted"
expect_exit 2 here versions db x
expect_exit 2 here get db --version x
expect_message "see: coffer -m $MNT versions NAME"
expect_exit 2 env COFFER_MOUNT="$MNT" "$plain" get db --version x
expect_message "see: coffer -m $MNT versions NAME"
expect_exit 2 "$plain" --vault test get db --version x
expect_message 'see: coffer --vault test versions NAME'
expect_exit 2 "$plain" get db --version x
expect_message 'see: coffer versions NAME'

note "the least role, and never everything for what less can do"
expect_exit 3 bash -c "printf x | setpriv --reuid 20001 --regid 20001 --clear-groups '$plain' -m '$MNT' put new"
expect_message "coffer -m $MNT grant secrets-writer user:20001 --on new;"
expect_ok here grant secrets-writer user:20001 --on 'new*'
expect_ok bash -c "printf x | setpriv --reuid 20001 --regid 20001 --clear-groups '$plain' -m '$MNT' put new"
expect_exit 13 as 20001 bash -c "cat '$MNT/new/current' || exit 13"
expect_exit 3 as 20001 "$plain" -m "$MNT" vault set --value-max 1K
expect_message "coffer -m $MNT role create vault-update vault/update && coffer -m $MNT grant vault-update user:20001 --on '\*'"
grep -q 'grant administrator' "$ERR" && fail "$(cat "$ERR")"
expect_ok here role create vault-update vault/update
expect_exit 3 as 20001 "$plain" -m "$MNT" vault set --value-max 1K
expect_message "run: coffer -m $MNT grant vault-update user:20001 --on '\*'"

note "what nothing serves is no yes"
expect_exit 3 here can-i keys/sign db
grep -q '^no: nothing serves keys/sign yet; binding 1 (administrator) gives it' "$OUT" || fail "$(cat "$OUT")"
expect_exit 3 here can-i keys/sign db --output json
[ "$(jq -c '[.allowed, .served]' "$OUT")" = '[false,false]' ] || fail "$(cat "$OUT")"
expect_ok here grant crypto-user user:20002 --on db
expect_message 'nothing serves what this role gives yet'
expect_ok here role create signer keys/sign secrets/list
expect_message 'nothing serves keys/sign yet'
expect_ok here grant secrets-user user:20002 --on db
grep -q 'nothing serves' "$ERR" && fail "$(cat "$ERR")"

note "names that are none: the command says why"
expect_exit 2 bash -c "printf x | '$plain' -m '$MNT' put prod/db"
expect_message 'no folders yet: write prod-db for prod/db'
expect_exit 2 bash -c "printf x | '$plain' -m '$MNT' put user@example.com"
expect_message 'user-at-example.com'
expect_exit 2 here get user@example.com
expect_message 'user-at-example.com'
