#!/bin/bash
# coffer holders, wait-drained and exposed: who has a secret open, when nobody has it any more, and what somebody has read.
. "$(dirname "$0")/../support/lib.sh"

vault_start
put() { printf %s "$2" | coffer put "$1" >/dev/null || fail "put $1"; }
put db one
put web one
put db two
expect_ok coffer grant secrets-user user:20001 --on '*'
expect_ok coffer grant secrets-user user:20002 --on db
holders() { coffer holders "$@" --output json; }
# is FILTER COMMAND…: jq's verdict on what the command prints
is() { local filter=$1; shift; "$@" | jq -e "$filter" >/dev/null || fail "not $filter: $("$@")"; }

note "holders: each process with each version, since when"
is 'length == 0' holders db
hold old 20001
hold new 20002
hold blind 0
expect_held ok old open r "$MNT/db/versions/1"
expect_held ok new open r "$MNT/db/current"
expect_held ok blind open w "$MNT/db/current"
is 'length == 2' holders db
is '.[0].uid == 20001 and .[0].version == 1 and .[0].comm == "sysop" and .[0].files == 1 and .[0].running and (.[0].since | fromdateiso8601? // 1) > 0' holders db
is 'map(select(.uid == 20002)) | .[0].version == 2' holders db
is 'length == 1 and .[0].uid == 20001' holders db --version 1
is 'length == 0' holders web
is '[.[].pid] | all(. > 1)' holders db
expect_exit 4 coffer holders nothing
expect_exit 4 coffer holders db --version 9
expect_exit 3 as 20001 coffer holders db
audit_has '.operation == "HolderList" and .result == "deny" and .caller.uid == 20001 and .secret == "db"'
audit_has '.operation == "HolderList" and .result == "allow" and .caller.uid == 0'

note "they outlive a worker"
DEATHS_EXPECTED=1
kill -9 "$(status .processes.worker)"
is 'length == 2 and all(.[]; .running)' holders db

note "a descriptor that was handed on is shown by who opened it, and that he is gone"
install -m 666 /dev/null "$SCRATCH/child"
as 20001 sh -c 'exec 5<"$1"; sleep 300 </dev/null >/dev/null 2>&1 & echo $! >"$2"' sh "$MNT/web/current" "$SCRATCH/child"
child=$(cat "$SCRATCH/child")
STARTED+=("$(process_of "$child")")
is 'length == 1 and .[0].running == false and .[0].comm == "sh"' holders web

note "wait-drained: until the last one has closed, through a worker's death"
expect_exit 4 coffer wait-drained db --version 9
expect_exit 2 coffer wait-drained db
expect_exit 2 coffer wait-drained db --version 1 --timeout soon
expect_exit 7 coffer wait-drained db --version 1 --timeout 1s
expect_message 'still open in 1 place'
expect_exit 3 as 20009 coffer wait-drained db --version 1
before=$(audit_count '.operation == "HolderList"')
(coffer wait-drained db --version 1 && : >"$SCRATCH/drained") &
waiter=$!
STARTED+=("$(process_of $waiter)")
kill -9 "$(status .processes.worker)"
is 'length == 2' holders db
[ ! -e "$SCRATCH/drained" ] || fail "drained while it is open"
let_go old
wait "$waiter" || fail "wait-drained failed"
[ -e "$SCRATCH/drained" ] || fail "not drained"
expect_ok coffer wait-drained db --version 1
[ "$(audit_count '.operation == "HolderList"')" -le $((before + 1)) ] || fail "waiting fills the log"
let_go new
let_go blind
kill "$child"
expect_ok coffer wait-drained web --version 1 --timeout 60s

note "exposed: what was read, by whom, since when; names alone for a pipe"
expect_errno ok as 20001 sysop open r "$MNT/db/current" + read
expect_errno ok as 20002:20002:20050 sysop open r "$MNT/db/versions/1" + read
expect_errno EACCES as 20002 sysop open r "$MNT/web/current"
expect_output "db
web" coffer exposed user:20001
expect_output db coffer exposed user:20002
is '.[0].name == "db" and .[0].versions == [1,2] and .[0].reads == 2' coffer exposed user:20001 --output json
is '.[0].versions == [2,1]' coffer exposed user:20002,group:20002 --output json
is 'length == 0' coffer exposed user:20001,group:20002 --output json
is 'length == 2' coffer exposed everyone --output json
expect_exit 0 coffer exposed user:20001 --since 1h
grep -qx db "$OUT" || fail "nothing in the last hour"
expect_exit 0 coffer exposed user:20001 --since 2099-01-01T00:00:00Z
[ ! -s "$OUT" ] || fail "read in the future: $(cat "$OUT")"
expect_exit 0 coffer exposed container:docker:none --since 1h
[ ! -s "$OUT" ] || fail "read in a container that is not"
expect_exit 2 coffer exposed host
expect_exit 2 coffer exposed user:1 --since soon
expect_exit 4 coffer exposed user:nobody-of-this-name
expect_exit 3 as 20001 coffer exposed user:20002
expect_exit 0 coffer exposed user:20001 --output table
grep -q VERSIONS "$OUT" || fail "no table: $(cat "$OUT")"
