#!/bin/bash
# Everything that can happen to the daemon's processes, at random, while clients work: for SOAK_SECONDS (short here; by hand: hours). A fault that can be repeated: SOAK_SEED, which it prints.
. "$(dirname "$0")/../support/lib.sh"
SOAK_SECONDS=${SOAK_SECONDS:-10}
RANDOM=${SOAK_SEED:=$((SRANDOM % 32768))}
DEATHS_EXPECTED=1
reader=20001 writer=20002
head -c 4096 /dev/urandom >"$SCRATCH/value"
head -c 200000 /dev/urandom >"$SCRATCH/large"

note "$SOAK_SECONDS s, seed $SOAK_SEED"
vault_init
vault_mount "$@"
expect_ok coffer put db --file "$SCRATCH/value"
expect_ok coffer put large --file "$SCRATCH/large"
expect_errno ok sysop mkdir "$MNT/written"
expect_ok coffer grant secrets-user user:$reader --on '*'
expect_ok coffer grant secrets-officer user:$writer --on written
hammer_start read $reader read "$MNT/db/current" "$SCRATCH/value"
hammer_start large $reader pread "$MNT/large/current" "$SCRATCH/large"
hammer_start stat $reader stat "$MNT/db/current" 400
hammer_start list $reader list "$MNT" db
hammer_start write $writer write "$MNT/written/current"

# the status is asked by who may be refused while a helper is away
process() { status ".processes.$1" 2>/dev/null || echo null; }
standby_ready() { [ "$(process standby)" != null ]; }
keyholder_answers() { [ "$(status .kek 2>/dev/null || echo null)" != null ]; }

declare -A done_so_far=()
for fault in kill-worker kill-standby stop-worker stop-standby kill-resolver stop-resolver kill-bell stop-bell kill-keyholder stop-keyholder upgrade rotate; do
	done_so_far[$fault]=0
done
faults=("${!done_so_far[@]}")
end=$((SECONDS + SOAK_SECONDS))
while [ $SECONDS -lt $end ]; do
	fault=${faults[RANDOM % ${#faults[@]}]}
	case $fault in
	upgrade)
		wait_for standby_ready
		install -m 755 "$COFFER_BIN/cofferd" "$SCRATCH/bin/new" && mv "$SCRATCH/bin/new" "$SCRATCH/bin/cofferd"
		kill -HUP "${DAEMON%:*}"
		;;
	rotate)
		wait_for coffer put db --file "$SCRATCH/value"
		;;
	*-worker)
		wait_for standby_ready	# a death without a standby is a longer pause, and not what is looked for here
		;;&
	*)
		signal=KILL
		[ "${fault%%-*}" = kill ] || signal=STOP
		pid=$(process "${fault#*-}")
		[ "$pid" = null ] || kill -$signal "$pid" 2>/dev/null || true
		# one outage of the key holder is over before callers' deadline; one after the other would rightly be ETIMEDOUT
		[ "${fault#*-}" != keyholder ] || wait_for keyholder_answers
		;;
	esac
	done_so_far[$fault]=$((done_so_far[$fault] + 1))
	sleep 0.$((RANDOM % 4))$((RANDOM % 10))
done
for fault in "${faults[@]}"; do
	echo "   $fault: ${done_so_far[$fault]}"
done
for name in large stat list read; do
	hammer_stop $name
	echo "   $name: $HAMMERED"
done
hammer_stop write
echo "   write: $HAMMERED"
[ "$(ls "$MNT/written/versions" | wc -l)" = "$HAMMERED" ] || fail "$(ls "$MNT/written/versions" | wc -l) versions of $HAMMERED writes"
wait_for standby_ready
[ "$(status .supervision.requests_given_up)" = 0 ] || fail "requests were given up: $(status .supervision)"
all_records >"$SCRATCH/log"
[ -z "$(jq -r 'select(.request != null) | .request' "$SCRATCH/log" | sort | uniq -d | head -n 3)" ] || fail "requests that are recorded twice"
vault_umount
audit_verify
expect_ok coffer fsck "$STORE"
