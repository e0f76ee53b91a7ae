#!/bin/bash
# Old versions that go by themselves: what a rule keeps, who may set it, what must never go, and kills in the middle.
. "$(dirname "$0")/../support/lib.sh"

day=86400
vault_init
"$COFFER_SUPPORT/build_store" "$STORE" --secrets 3 --bindings 0 --prefix old --age $((100 * day)) --value 16
vault_mount
has_versions() { [ "$(coffer versions "$1" --output json | jq -c '[.[] | select(.destroyed | not) | .version]')" = "$2" ]; }
events() { jq -n "[inputs | select($1)] | length" <"$MNT/.coffer/events"; }
fill() { for ((i = 1; i <= $2; i++)); do printf '%s' "$1-$i" | coffer put "$1" >/dev/null || fail "put $1"; done; }

note "who may: secrets/purge on the scope"
coffer grant secrets-user user:20001 --on '*' >/dev/null
coffer grant purge-operator user:20002 --on 'db*' >/dev/null
expect_exit 3 as 20001 coffer history set db --keep-versions 2
expect_message 'secrets/purge'
expect_exit 3 as 20002 coffer history set '*' --keep-versions 2
expect_exit 3 as 20002 coffer vault set --keep-versions 2
expect_ok as 20002 coffer history set 'db*' --keep-for 1000d
expect_exit 2 coffer history set db
expect_exit 2 coffer history set -- -x --keep-versions 1
expect_exit 2 coffer history set db --keep-versions 0
expect_exit 2 coffer history set db --keep-for yesterday
expect_exit 2 coffer history set new --keep-versions none
expect_exit 4 coffer history remove new

note "newest three; both numbers are promises; said in show, event and record"
fill db 5
fill dbx 3
expect_ok coffer history set db --keep-versions 3
grep -q 'keeps the newest 3 versions$' "$OUT" || fail "$(cat "$OUT")"
gone() { has_versions db '[3,4,5]'; }
wait_for gone
has_versions dbx '[1,2,3]' || fail "a rule for another name: $(coffer versions dbx)"
[ "$(cat "$MNT/db/versions/3")" = db-3 ] || fail "the third is not what it was"
expect_exit 4 coffer get db --version 1
[ "$(coffer show db --output json | jq -c '.history | [.scope, .keep_versions, .keep_for]')" = '["db",3,null]' ] || fail "$(coffer show db)"
[ "$(coffer show dbx --output json | jq -c '.history | [.scope, .keep_versions, .keep_for]')" = '["db*",null,"1000d"]' ] || fail "$(coffer show dbx)"
[ "$(coffer show old000000 --output json | jq .history)" = null ] || fail "$(coffer show old000000)"
told() { [ "$(events '.event == "VersionDestroyed" and .name == "db"')" = 2 ]; }
wait_for told
audit_has '.operation == "SecretDestroy" and .secret == "db" and .version == 2 and .result == "allow" and (.detail | test("keeps 3 versions"))'
audit_has '.operation == "HistorySet" and .secret == "db" and .caller.uid == 0'
expect_ok coffer attr db --keep-for 90d
fill db 3
has_versions db '[3,4,5,6,7,8]' || fail "younger than the promise, and gone: $(coffer versions db)"

note "by time, as both clocks have it; the one that current serves stays, however old"
for i in 0 1 2; do printf new | coffer put old00000$i >/dev/null; done
expect_ok coffer disable old000001 --version 2
expect_ok coffer history set 'old*' --keep-for 90d
expect_ok coffer history set old000002 --keep-for 2s
gone() { has_versions old000002 '[2]'; }
wait_for gone
has_versions old000000 '[1,2]' || fail "replaced a moment ago, and gone: $(coffer versions old000000)"
expect_ok coffer history set old000001 --keep-versions 1
sleep_events=$(events '.event == "VersionDestroyed" and .name == "old000001"')
[ "$sleep_events" = 0 ] && has_versions old000001 '[1,2]' || fail "what current serves: $(coffer versions old000001)"
[ "$(coffer vault show --output json | jq -c 'has("keep_versions")')" = false ] || fail "$(coffer vault show)"
expect_ok coffer vault set --keep-versions 50
[ "$(coffer vault show --output json | jq .keep_versions)" = 50 ] || fail "$(coffer vault show)"

note "a backup carries the rules"
expect_ok coffer history list
grep -q 'old\*' "$OUT" || fail "$(cat "$OUT")"
printf pass >"$SCRATCH/pass"
coffer backup --all --passphrase-file "$SCRATCH/pass" >"$SCRATCH/backup" 2>/dev/null || fail "backup"
before=$(coffer history list --output json | jq -c '[.[] | [.scope, .keep_versions, .keep_for]] | sort')
expect_ok coffer history remove 'old*'
expect_ok coffer history remove db
signer=$(coffer status --output json | jq -r .signer)
coffer restore --signer "$signer" --passphrase-file "$SCRATCH/pass" --existing skip --with-grants <"$SCRATCH/backup" >/dev/null || fail "restore"
[ "$(coffer history list --output json | jq -c '[.[] | [.scope, .keep_versions, .keep_for]] | sort')" = "$before" ] || fail "$(coffer history list)"
coffer fsck "$STORE" >/dev/null || fail "fsck"

note "killed at each step: each version goes once, with one event"
fill k 30
DEATHS_EXPECTED=1
expect_ok coffer history set k --keep-versions 1
for ((i = 0; i < 6; i++)); do
	kill_worker
	sleep 0.05	# a part of the work, whatever part that is
done
gone() { has_versions k '[30]'; }
wait_for -t 60 gone
[ "$(cat "$MNT/k/current")" = k-30 ] || fail "current: $(cat "$MNT/k/current")"
told() { [ "$(events '.event == "VersionDestroyed" and .name == "k"')" = 29 ]; }
wait_for told
[ "$(jq -r 'select(.event == "VersionDestroyed" and .name == "k") | .version' <"$MNT/.coffer/events" | sort | uniq -d | wc -l)" = 0 ] || fail "told twice"

note "never under purge protection"
expect_ok coffer vault set --purge-protection on
fill p 4
expect_ok coffer history set p --keep-versions 1
expect_message 'purge protection is on'
fill q 1	# the same thread has been there since
has_versions p '[1,2,3,4]' || fail "$(coffer versions p)"
coffer fsck "$STORE" --deep >/dev/null || fail "fsck"
