#!/bin/bash
# Programs run as a user of their own, coffer-hooks: what one prints is a new value, and every process of the same user could take the pipe's end. Never as nobody, whom everybody shares.
. "$(dirname "$0")/../support/lib.sh"

programs=$SCRATCH/programs
mkdir "$programs"
chmod 755 "$programs"
install -m 755 "$COFFER_SUPPORT/steal" "$SCRATCH/bin"
install -d -m 777 "$SCRATCH/run"
hooks=$(id -u coffer-hooks 2>/dev/null || echo none)
# makes a value in two steps, between which it waits
cat >"$programs/slow" <<-END
	#!/bin/sh
	echo \$\$ >$SCRATCH/run/pid
	until [ -e $SCRATCH/run/go ]; do sleep 0.05; done
	printf fresh
END
printf '#!/bin/sh\nid -u >>%s/run/ran\n' "$SCRATCH" >"$programs/note"
chmod 755 "$programs/slow" "$programs/note"
doctor() { coffer doctor >"$OUT" 2>"$ERR" || true; }
doctor_says() { doctor; grep -q "$1" "$OUT" || fail "doctor does not say $1: $(cat "$OUT")"; }

vault_start
printf old | expect_ok coffer put db
expect_ok coffer rotation set db --every 90d --hook "$programs/slow" --timeout 60s

note "a process of nobody cannot take the end of the pipe that the new value goes through"
coffer rotate db >"$SCRATCH/rotated" 2>&1 &
rotating=$!
STARTED+=("$(process_of $rotating)")
wait_for test -s "$SCRATCH/run/pid"
pid=$(cat "$SCRATCH/run/pid")
as 65534 "$SCRATCH/bin/steal" "$pid" 1 stolen 2>"$ERR" || true
: >"$SCRATCH/run/go"
wait "$rotating" || fail "$(cat "$SCRATCH/rotated")"
expect_output fresh cat "$MNT/db/current"
[ "$hooks" != none ] || fail "there is no user coffer-hooks: tests/support/users.sh"
[ "$(coffer rotation list --output json | jq .[0].user)" = "$hooks" ] || fail "it runs as $(coffer rotation list --output json | jq .[0].user)"
grep -qx "$hooks $programs/slow %n" "$STORE/hooks.allow" || fail "$(cat "$STORE/hooks.allow")"

note "nobody is refused, by each way to name it"
for user in nobody 65534; do
	expect_exit 2 coffer rotation set db --every 90d --hook "$programs/slow" --user "$user"
	expect_message 'nobody.*--user'
	expect_exit 2 coffer hook add --on db --exec "$programs/note" --user "$user"
done

note "a line and a rule of an older coffer: refused when it is due, in one line that says what to do; doctor and status say so"
expect_ok coffer rotation remove db
expect_ok "$COFFER_SUPPORT/old_rules" "$STORE" old "$programs/note"
echo "65534 $programs/note" >>"$STORE/hooks.allow"
counted() { [ "$(status .programs_as_nobody)" = 2 ]; }
wait_for counted
printf one | expect_ok coffer put old
expect_exit 3 coffer rotate old
expect_message 'is nobody.*without --user'
wait_for grep -q 'hook .*is nobody' "$DAEMON_LOG"
[ ! -e "$SCRATCH/run/ran" ] || fail "a program ran as $(cat "$SCRATCH/run/ran")"
doctor_says 'warn  programs .*hooks.allow.*nobody.*coffer hook add'

note "the daemon's default is the same, for clients that name no user"
expect_ok coffer hook add --on 'web*' --exec "$programs/note" --debounce 0s
[ "$(coffer hook list --output json | jq .[-1].user)" = "$hooks" ] || fail "$(coffer hook list --output json)"
printf x | expect_ok coffer put web
wait_for grep -qx "$hooks" "$SCRATCH/run/ran"

note "doctor warns of what shares the user, and of a kernel that lets processes of one user look into each other"
grep -q "programs .*$hooks.*2 programs" <(doctor; cat "$OUT") || fail "doctor does not warn of two programs: $(cat "$OUT")"
STARTED_SLEEP=$(setpriv --reuid="$hooks" --regid="$hooks" --clear-groups sh -c 'sleep 600 >/dev/null 2>&1 & echo $!')
STARTED+=("$(process_of "$STARTED_SLEEP")")
doctor_says "programs .*process $STARTED_SLEEP (sleep).*$hooks"
if [ "$(cat /proc/sys/kernel/yama/ptrace_scope 2>/dev/null || echo 0)" = 0 ]; then
	doctor_says 'programs .*kernel.yama.ptrace_scope'
fi
vault_umount
audit_verify
