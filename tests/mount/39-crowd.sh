#!/bin/bash
# More callers of one uid than can wait: those beyond are answered EAGAIN at once, the others get what they came for, and nobody else notices.
. "$(dirname "$0")/../support/lib.sh"
CROWD=2300	# 2,048 may wait (PARKED_PER_UID), some are being worked on
SECRETS=200

vault_init
expect_ok "$COFFER_SUPPORT/build_store" "$STORE" --secrets $SECRETS --bindings 0
vault_mount -o watchdog=0	# which would wake the key holder
expect_ok coffer grant secrets-user user:20001 --on '*'
expect_ok coffer grant secrets-user user:20002 --on '*'
expect_ok as 20002 cat "$MNT/s000000/current"	# its key is known then
install -m 755 "$COFFER_SUPPORT/crowd" "$SCRATCH/bin"

note "$CROWD callers of one uid while the key holder is stopped"
kill -STOP "$(status .processes.keyholder)"
(ulimit -n 5000 && exec setpriv --reuid=20001 --regid=20001 --clear-groups crowd "$MNT" $CROWD $SECRETS) >"$SCRATCH/crowd" 2>&1 &
crowd=$!
STARTED+=("$(process_of $crowd)")
wait_for -t 120 grep -q begun "$SCRATCH/crowd"
wait_for grep -q refused "$SCRATCH/crowd"

note "others are served meanwhile, and an administrator"
expect_ok as 20002 cat "$MNT/.coffer/whoami"
expect_ok as 20002 cat "$MNT/s000000/current"
expect_errno EACCES as 20003 sysop open r "$MNT/s000000/current"
expect_ok coffer status

note "when it goes on, each has one of two answers"
kill -CONT "$(status .processes.keyholder)"
wait $crowd || fail "$(cat "$SCRATCH/crowd")"
count() { sed -n "s/^$1 //p" "$SCRATCH/crowd"; }
served=$(count ok) refused=$(count EAGAIN) late=$(count ETIMEDOUT)
note "$served served, $refused refused, ${late:-0} too late for the key holder's deadline"
[ "$((served + refused + ${late:-0}))" = $CROWD ] || fail "other answers: $(cat "$SCRATCH/crowd")"
[ "$served" -ge 1000 ] || fail "only $served of 2,048 who may wait were served"

note "and nothing is left of it"
expect_ok as 20001 cat "$MNT/s000001/current"
[ "$(status .restarts)" = 0 ] || fail "a worker ended"
few_open() { [ "$(awk '$1 == "coffer_open_files" { print $2 }' "$MNT/.coffer/metrics")" -le 3 ]; }
wait_for few_open
vault_umount
audit_verify
