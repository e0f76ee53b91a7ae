#!/bin/bash
# A worker that SIGKILL does not end, for a thread of it waits in the kernel: the next one takes over all the same, unless that thread is at a write, and answers what it was at, again and again; and the dead one is reaped when the kernel lets it go.
. "$(dirname "$0")/../support/lib.sh"
DEATHS_EXPECTED=1
[ -n "${COFFER_HOOKS_BIN:-}" ] || { echo "COFFER_HOOKS_BIN is not set: this needs a build with the preset hooks"; exit 77; }
install -m 755 "$COFFER_HOOKS_BIN/cofferd" "$SCRATCH/bin"
export COFFER_TEST_DIE=$SCRATCH/die COFFER_TEST_STUCK=$SCRATCH/audit/file	# what is written there could be the log
touch "$SCRATCH/die"
chmod 666 "$SCRATCH/die"
mkdir "$SCRATCH/audit"
reader=20001 READ=15
echo "the value" >"$SCRATCH/value"

# stuck_begins, stuck_ends: the file system that the thread waits for
stuck_begins()
{
	start "$COFFER_SUPPORT/stuckfs" "$SCRATCH/audit" >"$SCRATCH/reads"
	stuck=${STARTED[-1]}
	wait_for test -e "$SCRATCH/audit/file"
}
stuck_ends()
{
	kill -TERM "${stuck%:*}"
	wait_for dead "$stuck"
}

standby_ready() { [ "$(status .processes.standby)" != null ]; }
# After SIGKILL: in the kernel, whatever it was sent.
threads_stuck() { cat /proc/"$worker"/task/*/stat 2>/dev/null | sed 's/.*) //' | grep -c '^D' || true; }
left_behind() { grep -q "worker $worker was killed and cannot be reaped" "$DAEMON_LOG"; }
other_serves() { [ "$(status .processes.worker)" != "$worker" ]; }

# round HOW: what ends the worker whose thread is stuck in a READ
round()
{
	wait_for standby_ready
	worker=$(status .processes.worker)
	: >"$SCRATCH/die"
	echo "stuck $READ 1" >"$SCRATCH/die"
	timeout 100 setpriv --reuid=$reader --regid=$reader --clear-groups cat "$MNT/db/current" >"$SCRATCH/got" 2>&1 &
	caller=$!
	wait_for grep -q 'a read waits' "$SCRATCH/reads"
	[ "$1" = watchdog ] || kill -KILL "$worker"
	wait "$caller" || fail "who waited for the answer: $(cat "$SCRATCH/got")"
	cmp "$SCRATCH/value" "$SCRATCH/got" || fail "another answer"
	wait_for left_behind
	wait_for other_serves
	[ "$(threads_stuck)" = 1 ] || fail "the worker that was to be unreapable is gone"
}

served()
{
	local i
	for ((i = 0; i < 20; i++)); do
		expect_output "the value" as $reader cat "$MNT/db/current"
	done
	expect_ok coffer put db --file "$SCRATCH/value"
	expect_errno ok sysop mkdir "$MNT/made$made"
	expect_errno ok sysop rmdir "$MNT/made$made"
	made=$((made + 1))
}

# writes N: puts without pause, so that the worker dies in the midst of one; each has to succeed
writes()
{
	local i
	for ((i = 0; i < 400; i++)); do
		[ ! -e "$SCRATCH/written" ] || return 0
		timeout 100 coffer put "written-$1" --file "$SCRATCH/value" >"$SCRATCH/put-$1" 2>&1 || {
			touch "$SCRATCH/unwritten"
			return 0
		}
	done
}

made=0
for options in watchdog=0 noresend,watchdog=0 watchdog=1; do
	note "-o $options"
	stuck_begins
	if [ ! -d "$STORE" ]; then
		vault_init
		vault_mount -o "$options"
		expect_ok coffer put db --file "$SCRATCH/value"
		expect_ok coffer grant secrets-user user:$reader --on db
	else
		vault_mount -o "$options"
	fi
	hammer_start reads $reader read "$MNT/db/versions/1" "$SCRATCH/value"
	round "${options%=1}"
	served
	note "another death, while the first is not over"
	kill_worker
	wait_for standby_ready
	served
	[ "$(threads_stuck)" = 1 ] || fail "the worker that was to be unreapable is gone"
	hammer_stop reads
	[ "$(status .supervision.requests_given_up)" = 0 ] || fail "a request was given up: $(status .supervision)"

	note "let go, it is reaped"
	stuck_ends
	gone() { [ ! -e "/proc/$worker" ]; }
	wait_for gone
	served
	vault_umount
done
note "one that was killed in the midst of a transaction keeps its locks of the database: the next one writes all the same"
for ((deaths = 0; deaths < ${COFFER_UNREAPABLE_DEATHS:-5}; deaths++)); do
	stuck_begins
	vault_mount -o watchdog=0
	rm -f "$SCRATCH/written"
	writers=()
	for ((i = 0; i < 4; i++)); do
		writes "$i" &
		writers+=($!)
	done
	round watchdog=0
	served
	touch "$SCRATCH/written"
	wait "${writers[@]}"
	[ ! -e "$SCRATCH/unwritten" ] || fail "what was written meanwhile failed: $(cat "$SCRATCH"/put-*)"
	stuck_ends
	gone() { [ ! -e "/proc/$worker" ]; }
	wait_for gone
	served
	vault_umount
done
for how in stuck-writing stuck-placing; do
	note "one that waits at a write is waited for ($how): what it writes behind the next one's back could be a record"
	stuck_begins
	vault_mount -o watchdog=0
	wait_for standby_ready
	worker=$(status .processes.worker)
	echo "$how $READ 1" >"$SCRATCH/die"
	timeout 100 setpriv --reuid=$reader --regid=$reader --clear-groups cat "$MNT/db/current" >"$SCRATCH/got" 2>&1 &
	caller=$(process_of $!)
	wait_for grep -q 'a write waits' "$SCRATCH/reads"
	kill -KILL "$worker"
	does_not_end() { grep -q "worker $worker was killed and does not end" "$DAEMON_LOG"; }
	wait_for does_not_end
	! left_behind || fail "it was left behind"
	dead "$caller" && fail "somebody served meanwhile: $(cat "$SCRATCH/got")"
	stuck_ends
	wait "${caller%:*}" || fail "who waited for the answer: $(cat "$SCRATCH/got")"
	cmp "$SCRATCH/value" "$SCRATCH/got" || fail "another answer"
	served
	vault_umount
done

[ -z "$(all_records | jq -r 'select(.request != null and .operation == "SecretGet") | .request' | sort | uniq -d)" ] || fail "a request is recorded twice"
audit_verify
expect_ok coffer fsck "$STORE"
