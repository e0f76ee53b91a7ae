#!/bin/bash
# The stream of events: each change once, in order, across restarts; NearExpiry 30 days ahead and Expired, each once; who may read it; tail -f, inotify, coffer events --follow.
. "$(dirname "$0")/../support/lib.sh"

day=86400
vault_init
"$COFFER_SUPPORT/build_store" "$STORE" --secrets 1 --bindings 0 --prefix near --age $day --expires $((30 * day - 60))
"$COFFER_SUPPORT/build_store" "$STORE" --secrets 1 --bindings 0 --prefix soon --age $day --expires $((30 * day + 4))
"$COFFER_SUPPORT/build_store" "$STORE" --secrets 1 --bindings 0 --prefix far --age $day --expires $((30 * day + 3600))
"$COFFER_SUPPORT/build_store" "$STORE" --secrets 1 --bindings 0 --prefix gone --age $((40 * day)) --expires -60
"$COFFER_SUPPORT/build_store" "$STORE" --secrets 1 --bindings 0 --prefix ending --age $((40 * day)) --expires 6
vault_mount

# events COUNT FILTER: so many events of which the filter of jq is true
events() { jq -n "[inputs | select($1)] | length" <"$MNT/.coffer/events"; }
has_events() { [ "$(events "$2")" = "$1" ]; }
expect_events() { has_events "$@" || fail "$(events "$2") events, not $1: $2"; }

note "NearExpiry fires 30 days ahead, Expired at the end; each once"
wait_for has_events 1 '.event == "NearExpiry" and .name == "near000000" and .version == 1 and .kind == "secret"'
wait_for has_events 1 '.event == "Expired" and .name == "gone000000"'
wait_for has_events 1 '.event == "NearExpiry" and .name == "soon000000"'
wait_for has_events 1 '.event == "Expired" and .name == "ending000000"'
audit_has '.operation == "SecretNearExpiry" and .secret == "near000000" and .caller == null'
audit_has '.operation == "SecretExpired" and .secret == "ending000000" and .caller == null'
expect_events 0 '.name == "far000000" and .event != "NewVersionCreated"'
expect_ok coffer vault set --near-expiry 31
wait_for has_events 1 '.event == "NearExpiry" and .name == "far000000"'
[ "$(coffer vault show --output json | jq .near_expiry_days)" = 31 ] || fail "$(coffer vault show)"
expect_exit 2 coffer vault set --near-expiry 0
expect_exit 2 coffer vault set --near-expiry 366

note "another expiry is another event; another version too"
expect_ok coffer attr near000000 --expires 20d
wait_for has_events 2 '.event == "NearExpiry" and .name == "near000000"'
printf x | coffer put near000000 --expires 5d
wait_for has_events 1 '.event == "NearExpiry" and .name == "near000000" and .version == 2'

note "each change is one event, in its order, and none for what was refused"
tail -f -n +1 "$MNT/.coffer/events" >"$SCRATCH/tail" 2>/dev/null &
STARTED+=("$(process_of $!)")
coffer events --follow --secret db >"$SCRATCH/follow" &
STARTED+=("$(process_of $!)")
inotifywait -m -q -e modify --format '%e' "$MNT/.coffer/events" >"$SCRATCH/inotify" 2>/dev/null &
STARTED+=("$(process_of $!)")
inotify_ready() { grep -qs '^inotify wd' "/proc/${1%:*}"/fdinfo/*; }
wait_for inotify_ready "${STARTED[-1]}"
printf one | coffer put db >/dev/null
as 20001 sh -c 'printf two >"$1"' - "$MNT/db/current" 2>/dev/null && fail "a stranger wrote"
expect_ok coffer grant secrets-officer user:20001 --on db
as 20001 sh -c 'printf two >"$1"' - "$MNT/db/current"
expect_ok coffer revoke secrets-officer user:20001 --on db
expect_ok coffer rollback db 1
jq -c 'select(.name == "db") | [.event, .version]' <"$MNT/.coffer/events" >"$SCRATCH/got"
diff - "$SCRATCH/got" <<-'END' || fail "other events"
	["NewVersionCreated",1]
	["BindingChanged",null]
	["NewVersionCreated",2]
	["BindingChanged",null]
	["NewVersionCreated",3]
END
heard_modify() { [ "$(grep -c MODIFY "$SCRATCH/inotify")" -ge 1 ]; }
wait_for heard_modify
tail_has_all() { cmp -s "$SCRATCH/tail" "$MNT/.coffer/events"; }
wait_for tail_has_all
followed() { [ "$(grep -c 'db/\|BindingChanged' "$SCRATCH/follow")" = 5 ]; }
wait_for followed

note "who may: audit/read"
expect_errno EACCES as 20002 sysop open r "$MNT/.coffer/events"
expect_exit 3 as 20002 coffer events
expect_message 'grant auditor'
expect_ok coffer grant auditor user:20002 --on '*'
expect_ok as 20002 coffer events
! grep -q ' $' "$OUT" || fail "a line ends in a blank: $(grep -m 1 ' $' "$OUT")"
audit_has '.operation == "EventsRead" and .caller.uid == 20002 and .result == "deny"'
audit_has '.operation == "EventsRead" and .caller.uid == 20002 and .result == "allow"'
expect_errno EACCES sysop open w "$MNT/.coffer/events"
[ "$(stat -c %s "$MNT/.coffer/events")" = "$(wc -c <"$MNT/.coffer/events")" ] || fail "another size than content"
coffer events --since 1h --output json | jq -e 'length > 5' >/dev/null || fail "coffer events --since"
expect_exit 2 coffer events --since yesterday

note "across restarts: nothing is told again, and the lines go on where they were"
cp "$MNT/.coffer/events" "$SCRATCH/before"
for process in "${STARTED[@]}"; do end_process "$process"; done
vault_umount
vault_mount
DEATHS_EXPECTED=1
kill -9 "$(status .processes.worker)"
printf three | coffer put db >/dev/null
wait_for has_events 1 '.name == "db" and .version == 4'
size=$(stat -c %s "$SCRATCH/before")
cmp -n "$size" "$SCRATCH/before" "$MNT/.coffer/events" || fail "the stream changed"
expect_events 3 '.event == "NearExpiry" and (.name == "near000000")'
[ "$(jq -s 'map(.at) == (map(.at) | sort) and (map(.at) | unique | length) == length' <"$MNT/.coffer/events")" = true ] || fail "places in the stream are not in order"
vault_umount
expect_ok coffer fsck "$STORE"
audit_verify
