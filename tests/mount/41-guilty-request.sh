#!/bin/bash
# A build whose worker dies where a test says: each request gets its right answer from the next one; one that two workers died on gets EIO, and raises the alarm.
. "$(dirname "$0")/../support/lib.sh"
DEATHS_EXPECTED=1
[ -n "${COFFER_HOOKS_BIN:-}" ] || { echo "COFFER_HOOKS_BIN is not set: this needs a build with the preset hooks"; exit 77; }
install -m 755 "$COFFER_HOOKS_BIN/cofferd" "$SCRATCH/bin"
touch "$SCRATCH/die"
chmod 666 "$SCRATCH/die"
export COFFER_TEST_DIE=$SCRATCH/die

# die POINT NUMBER TIMES: at the next request that comes there
die()
{
	DEATHS=$(($(status .restarts) + $3))
	echo "$1 $2 $3" >"$SCRATCH/die"
}

# Until all of these deaths are over: a worker says that it dies before it does. If the next test began then, its request would have seen the end of two workers, and would rightly be given up.
died()
{
	used_up() { grep -q ' 0$' "$SCRATCH/die"; }	# RELEASE is not waited for
	wait_for used_up
	: >"$SCRATCH/die"
	all_dead() { [ "$(status .restarts)" -ge "$DEATHS" ]; }
	wait_for all_dead
}

standby_ready() { [ "$(status .processes.standby)" != null ]; }

LOOKUP=1 GETATTR=3 SETATTR=4 MKDIR=9 RMDIR=11 OPEN=14 READ=15 WRITE=16 RELEASE=18 GETXATTR=22 FLUSH=25 OPENDIR=27 READDIRPLUS=44 RENAME2=45

reader=20001 writer=20002 officer=20003
echo "the value" >"$SCRATCH/value"
vault_init
vault_mount "$@"
expect_ok coffer put db --file "$SCRATCH/value"
expect_ok coffer grant secrets-user user:$reader --on db
expect_ok coffer grant secrets-officer user:$writer --on '*'

made=0
round()
{
	local before op where twice
	note "workers that die in a handler, before it and after its answer ($1)"
	for where in before after; do
		for op in $OPEN $READ $RELEASE; do
			wait_for standby_ready
			die $where $op 1
			expect_output "the value" as $reader cat "$MNT/db/current"
			died
		done
		wait_for standby_ready
		die $where $GETATTR 1
		expect_ok as $reader stat "$MNT/db/versions/1"
		died
		wait_for standby_ready
		die $where $LOOKUP 1
		expect_errno ENOENT as $reader sysop stat "$MNT/nothing"	# what is there is cached
		died
		wait_for standby_ready
		die $where $OPENDIR 1
		[ "$(as $reader ls "$MNT")" = db ] || fail "a listing under $where"
		died
		wait_for standby_ready
		die $where $READDIRPLUS 1
		[ "$(as $reader ls "$MNT")" = db ] || fail "a listing under $where"
		died
		wait_for standby_ready
		die $where $GETXATTR 1
		expect_ok as $reader sysop getxattr user.coffer.version "$MNT/db/current"
		died
		for op in $WRITE $FLUSH $SETATTR; do
			wait_for standby_ready
			die $where $op 1
			as $writer sh -c "printf 'by $where $op' >$MNT/db/current; touch $MNT/db/current" || fail "a write under $where $op"
			died
			expect_output "by $where $op" as $writer cat "$MNT/db/current"
			expect_ok as $writer coffer put db --file "$SCRATCH/value"
		done
		wait_for standby_ready
		die $where $MKDIR 1
		made=$((made + 1))
		expect_errno ok as $writer sysop mkdir "$MNT/new$made"
		died
		wait_for standby_ready
		die $where $RMDIR 1
		expect_errno ok as $writer sysop rmdir "$MNT/new$made"
		died
		[ ! -e "$MNT/new$made" ] || fail "rmdir under $where"
		expect_ok as $writer coffer put "gone$made" --file "$SCRATCH/value"
		wait_for standby_ready
		die $where $RENAME2 1
		expect_ok as $writer mv "$MNT/gone$made" "$MNT/.coffer/deleted/"
		died
		wait_for standby_ready
		die $where $RENAME2 1
		expect_ok as $writer mv "$MNT/.coffer/deleted/gone$made" "$MNT/gone$made"
		died
		expect_output "the value" as $writer cat "$MNT/gone$made/current"
		expect_ok as $writer mv "$MNT/gone$made" "$MNT/.coffer/deleted/"

		# a request to ctl: its line, its execution, its answer
		for op in $OPEN $WRITE $READ; do
			before=$(as $writer ls "$MNT/db/versions" | wc -l)
			wait_for standby_ready
			die $where $op 1
			expect_ok as $writer coffer put db --file "$SCRATCH/value"
			died
			[ "$(as $writer ls "$MNT/db/versions" | wc -l)" = $((before + 1)) ] || fail "coffer put under $where $op made no version, or two"
		done
	done

	note "before and after the record, before and after the commit"
	for where in record-before record-after; do
		wait_for standby_ready
		die $where 0 1
		expect_output "the value" as $reader cat "$MNT/db/current"
		died
	done
	for where in record-before record-after commit-before commit-after; do
		wait_for standby_ready
		before=$(as $writer ls "$MNT/db/versions" | wc -l)
		die $where 0 1
		as $writer cp "$SCRATCH/value" "$MNT/db/current" || fail "a write under $where"
		died
		[ "$(as $writer ls "$MNT/db/versions" | wc -l)" = $((before + 1)) ] || fail "a write under $where made no version, or two"
	done
	# closed by another process than the one that opened it: RELEASE makes the version, and does not come again
	for where in record-before record-after commit-before commit-after; do
		wait_for standby_ready
		before=$(as $writer ls "$MNT/db/versions" | wc -l)
		rm -f "$SCRATCH/go" && mkfifo -m 666 "$SCRATCH/go"
		as $writer sh -c "exec 3>$MNT/db/current; (read -r go <$SCRATCH/go; printf 'late under $where' >&3) &"
		die $where 0 1
		echo >"$SCRATCH/go"
		died
		late() { [ "$(as $writer cat "$MNT/db/current")" = "late under $where" ]; }
		wait_for late
		[ "$(as $writer ls "$MNT/db/versions" | wc -l)" = $((before + 1)) ] || fail "a close by another under $where made two versions"
		[ "$(all_records | jq -n "[inputs | select(.operation == \"SecretSet\" and .result == \"allow\" and .secret == \"db\" and .version == $((before + 1)))] | length")" = 1 ] || fail "a close by another under $where is recorded twice"
	done
	# and by one who has another uid: his WRITE, which is the last one, has a record of its own
	wait_for standby_ready
	before=$(as $writer ls "$MNT/db/versions" | wc -l)
	rm -f "$SCRATCH/wrote" && mkfifo -m 666 "$SCRATCH/wrote"
	sh -c "exec 3>$MNT/db/current; (exec setpriv --reuid=$writer --regid=$writer --clear-groups sh -c 'read -r go <$SCRATCH/go; printf two >&3; echo >$SCRATCH/wrote; read -r go <$SCRATCH/go') &"
	echo >"$SCRATCH/go"
	read -r _ <"$SCRATCH/wrote"
	die record-before 0 1
	echo >"$SCRATCH/go"
	died
	by_two() { [ "$(as $writer cat "$MNT/db/current")" = two ]; }
	wait_for by_two
	[ "$(all_records | jq -n "[inputs | select(.operation == \"SecretSet\" and .result == \"allow\" and .secret == \"db\" and .version == $((before + 1)))] | length")" = 1 ] || fail "a version of two is not recorded"

	# a request to ctl that takes away what it needs, or is not done with its commit
	expect_ok coffer grant reader user:$officer --on db
	wait_for standby_ready
	die commit-after 0 1
	expect_ok coffer revoke "$(coffer bindings --output json | jq '.[] | select(.role == "reader").id')"
	died
	expect_ok coffer grant administrator user:$officer --on '*'
	wait_for standby_ready
	die commit-after 0 1
	expect_ok as $officer coffer revoke administrator user:$officer --on '*'
	died
	[ -z "$(all_records | jq -r 'select(.operation == "BindingDelete" and .result != "allow").request')" ] || fail "what was done is recorded as refused, too"
	wait_for standby_ready
	die commit-after 0 1
	expect_ok coffer seal
	died
	[ "$(status .sealed)" = true ] || fail "the vault was said to be sealed, and is not"
	expect_ok coffer unseal
	expect_ok as $writer coffer put db --file "$SCRATCH/value"
	# sent again, a request may be answered otherwise (a caller whom the machine was too busy to look at is refused): then its second record says so. The same is never recorded twice.
	twice=$(all_records | jq -r 'select(.request != null and .operation == "SecretGet") | "\(.request) \(.result) \(.errno)"' | sort | uniq -d)
	[ -z "$twice" ] || fail "requests are recorded twice: $twice; $(all_records | jq -c --arg twice "$twice" 'select(.request != null and (.request as $r | $twice | contains($r)))')"
}
round "sent again by the kernel"

note "two workers die on one request, by a crash or killed: EIO for its caller, nothing for the others"
[ "$(status .supervision.requests_given_up)" = 0 ] || fail "given up already: $(status .supervision)"
for how in before crash; do
	wait_for standby_ready
	die $how $READ 2
	expect_errno EIO as $reader sysop open r "$MNT/db/current" + read
	died
	expect_output "the value" as $reader cat "$MNT/db/current"
done
[ "$(status .supervision.requests_given_up)" = 2 ] || fail "$(status .supervision)"
grep -q 'coffer_requests_given_up_total 2$' "$MNT/.coffer/metrics" || fail "metrics do not count it"
audit_has ".operation == \"RequestGiveUp\" and .result == \"error\" and .errno == \"EIO\" and .caller.uid == $reader and .secret == \"db\""
grep -q 'is given up with EIO' "$DAEMON_LOG" || fail "the log does not say so"

note "others that were at work meanwhile are innocent, and get their answers"
for ((i = 0; i < 4; i++)); do
	hammer_start "h$i" $writer read "$MNT/db/current" "$SCRATCH/value"
done
for how in before crash; do
	wait_for standby_ready
	die $how $GETXATTR 2
	expect_errno EIO as $reader sysop getxattr user.coffer.version "$MNT/db/current"
	died
done
for ((i = 0; i < 4; i++)); do
	hammer_stop "h$i"
done
[ "$(status .supervision.requests_given_up)" = 4 ] || fail "$(status .supervision)"

note "a worker that hangs in a request is ended by the watchdog"
vault_umount
vault_mount -o watchdog=1
wait_for standby_ready
die hang $READ 1
timeout 60 setpriv --reuid=$reader --clear-groups cat "$MNT/db/current" >"$OUT" 2>"$ERR" &
held_up=$!
watched() { grep -q 'has been at one request' "$DAEMON_LOG"; }
wait_for watched
died
wait $held_up || fail "the reader of a worker that hung: $(cat "$ERR")"
[ "$(cat "$OUT")" = "the value" ] || fail "$(cat "$OUT")"
vault_umount
audit_verify

note "the same replayed from memory"
vault_mount -o noresend
wait_for standby_ready
die before $READ 2
expect_errno EIO as $reader sysop open r "$MNT/db/current" + read
died
expect_output "the value" as $reader cat "$MNT/db/current"
round "replayed from memory"
vault_umount
audit_verify
expect_ok coffer fsck "$STORE"
