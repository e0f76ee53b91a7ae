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
	crowd "$2" "$MNT" "$3" "$SECRETS" "$intruder" 1 >"$SCRATCH/crowd.$1" 2>&1 &
	CROWDS[$1]=$!
	STARTED+=("$(process_of $!)")
	wait_for -t 120 grep -q begun "$SCRATCH/crowd.$1"
}
crowd_end()
{
	kill -TERM "${CROWDS[$1]}"
	wait "${CROWDS[$1]}" || fail "the crowd of $1 ended with $?: $(cat "$SCRATCH/crowd.$1")"
	unset "CROWDS[$1]"
}
declare -A CROWDS=()

answered() { od -An -t u8 "$SCRATCH/$1" | tr -d ' '; }
has_answers() { [ "$(answered "$1")" -ge "$2" ]; }

note "$CROWD opens of one uid are refused again and again"
ulimit -n 8192
CROWD_COUNT=$SCRATCH/count crowd_start opens opens "$CROWD"
wait_for -t 120 has_answers count "$CROWD"

note "what the kernel locks for the same uid waits for none of them"
for kind in mkdirs chmods writes lists seeks; do
	rm -f "$SCRATCH/own"
	CROWD_COUNT=$SCRATCH/own CROWD_WATCH=$SCRATCH/count crowd_start "$kind" "$kind" 1
	wait_for -t 120 has_answers own 30
	crowd_end "$kind"
	[ "$(grep -vcE '^((ok|EACCES|EPERM|EAGAIN|meanwhile) [0-9]+|begun|refused)$' "$SCRATCH/crowd.$kind")" = 0 ] || fail "$kind: $(cat "$SCRATCH/crowd.$kind")"
	meanwhile=$(sed -n 's/^meanwhile //p' "$SCRATCH/crowd.$kind")
	[ "$meanwhile" -le $((CROWD / 3)) ] || fail "of $CROWD that came before it $meanwhile had an answer before each of $kind, in the median"
done

note "the kernel itself opens a file while it sets its flags"
expect_ok coffer grant secrets-user user:$intruder --on s000000
rm -f "$SCRATCH/own"
CROWD_COUNT=$SCRATCH/own CROWD_WATCH=$SCRATCH/count crowd_start flags flags 1
wait_for -t 120 grep -q 'open 1' "$SCRATCH/crowd.flags"
expect_ok coffer disable s000000
wait_for -t 120 has_answers own 10
crowd_end flags
meanwhile=$(sed -n 's/^meanwhile //p' "$SCRATCH/crowd.flags")
[ "$meanwhile" -le $((CROWD / 3)) ] || fail "of $CROWD that came before it $meanwhile had an answer before each of flags, in the median: $(cat "$SCRATCH/crowd.flags")"
expect_ok coffer revoke secrets-user user:$intruder --on s000000

expect_errno EACCES as $intruder sysop mkdir "$MNT/mine"
expect_errno EPERM as $intruder sysop mkdir "$MNT/-mine"
expect_errno EACCES as $intruder sysop rmdir "$MNT/s000001"
expect_errno EPERM as $intruder sysop rename "$MNT/s000001" "$MNT/s000002"
expect_errno EPERM as $intruder sysop chmod 0444 "$MNT/s000001/current"
expect_errno EPERM as $intruder sysop chmod 0444 "$MNT/.coffer/whoami"
as $intruder ls "$MNT" >"$SCRATCH/listed"
[ ! -s "$SCRATCH/listed" ] || fail "listed to who may not: $(head -n 3 "$SCRATCH/listed")"

note "and others get what they came for, though it does such things again and again"
for kind in mkdirs chmods writes lists seeks; do
	crowd_start "$kind" "$kind" 4
done
expect_ok coffer whoami
expect_ok ls "$MNT"
as $reader cat "$MNT/s000003/current" >"$SCRATCH/read"
expect_ok mkdir "$MNT/ours"
expect_ok coffer put ours --file "$SCRATCH/read"

note "it goes, and nothing is left of it"
for kind in "${!CROWDS[@]}"; do
	crowd_end "$kind"
done
few_open() { [ "$(awk '$1 == "coffer_open_files" { print $2 }' "$MNT/.coffer/metrics")" -le 3 ]; }
wait_for few_open
[ "$(status .restarts)" = 0 ] || fail "a worker ended"
vault_umount
audit_verify
