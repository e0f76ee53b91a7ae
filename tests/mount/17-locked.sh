#!/bin/bash
# The kernel holds a lock that others need while a directory is read or changed, a file written to, its attributes set or its end sought. A uid with more refused opens under way than it has a share must not make such requests
# of its own wait behind them, and everybody else with them.
. "$(dirname "$0")/../support/lib.sh"
CROWD=${CROWD:-1500}
SECRETS=50
intruder=20001 reader=20002

vault_init
expect_ok "$COFFER_SUPPORT/build_store" "$STORE" --secrets $SECRETS --bindings 0
vault_mount
expect_ok coffer grant secrets-user user:$reader --on '*'
install -m 755 "$COFFER_SUPPORT/crowd" "$SCRATCH/bin"
install -m 666 /dev/null "$SCRATCH/count"

# crowd_start NAME KIND N: of the intruder; root's process, for each thread becomes that uid at each step, and so is looked at anew
crowd_start()
{
	crowd "$2" "$MNT" "$3" $SECRETS $intruder 1 >"$SCRATCH/crowd.$1" 2>&1 &
	CROWDS+=($!)
	STARTED+=("$(process_of $!)")
	wait_for -t 120 grep -q begun "$SCRATCH/crowd.$1"
}
CROWDS=()

answered() { od -An -t u8 "$SCRATCH/count" | tr -d ' '; }
all_ask() { [ "$(answered)" -ge $CROWD ]; }

# soon COMMAND…: before two thirds of the crowd, all of which came before it, have had another answer
soon()
{
	local before after
	before=$(answered)
	"$@"
	after=$(answered)
	[ $((after - before)) -lt $((CROWD * 2 / 3)) ] || fail "$((after - before)) of the crowd of $CROWD had an answer before: $*"
}

note "$CROWD opens of one uid are refused again and again"
ulimit -n 8192
CROWD_COUNT=$SCRATCH/count crowd_start opens opens $CROWD
wait_for -t 120 all_ask

note "what the kernel locks for it waits for none of them"
soon expect_errno EACCES as $intruder sysop mkdir "$MNT/mine"
soon expect_errno EPERM as $intruder sysop mkdir "$MNT/-mine"
soon expect_errno EACCES as $intruder sysop rmdir "$MNT/s000001"
soon expect_errno EPERM as $intruder sysop rename "$MNT/s000001" "$MNT/s000002"
soon expect_errno EPERM as $intruder sysop chmod 0444 "$MNT/s000001/current"
soon expect_errno EPERM as $intruder sysop chmod 0444 "$MNT/.coffer/ctl"
soon as $intruder ls "$MNT" >"$SCRATCH/listed"
[ ! -s "$SCRATCH/listed" ] || fail "listed to who may not: $(head -n 3 "$SCRATCH/listed")"

note "and nobody else waits for the locks, though it does such things again and again"
for kind in mkdirs chmods writes lists seeks; do
	crowd_start $kind $kind 4
done
soon expect_ok coffer whoami
soon expect_ok ls "$MNT"
soon as $reader cat "$MNT/s000003/current" >"$SCRATCH/read"
soon expect_ok mkdir "$MNT/ours"
soon expect_ok coffer put ours --file "$SCRATCH/read"

note "it goes, and nothing is left of it"
for crowd in "${CROWDS[@]}"; do
	kill -TERM "$crowd"
done
for crowd in "${CROWDS[@]}"; do
	wait "$crowd" || fail "a crowd ended with $?"
done
for kind in mkdirs lists seeks; do
	[ "$(grep -vcE '^(begun|refused|ok|EACCES) *[0-9]*$' "$SCRATCH/crowd.$kind")" = 0 ] || fail "$kind: $(cat "$SCRATCH/crowd.$kind")"
done
few_open() { [ "$(awk '$1 == "coffer_open_files" { print $2 }' "$MNT/.coffer/metrics")" -le 3 ]; }
wait_for few_open
[ "$(status .restarts)" = 0 ] || fail "a worker ended"
vault_umount
audit_verify
