#!/bin/bash
# Programs that run when something happens: on a change of value only, once for a burst, again when they fail, given up in the end; never for the wrong secret, never while root has not allowed it.
. "$(dirname "$0")/../support/lib.sh"

programs=$SCRATCH/programs
hooks=$(id -u coffer-hooks)
ran=$SCRATCH/ran
mkdir "$programs" "$ran"
chmod 755 "$programs"
chmod 777 "$ran"
program()
{
	cat >"$programs/$1"
	chmod 755 "$programs/$1"
}
# what a hook notes: a line for each run
program note <<-END
	#!/bin/sh
	name=\$1
	shift
	echo "\$* \$COFFER_EVENT \$COFFER_NAME \$COFFER_VERSION \$(id -u)" >>$ran/\$name
END
lines() { cat "$ran/$1" 2>/dev/null | wc -l; }
has_lines() { [ "$(lines "$1")" = "$2" ]; }
hooks_idle() { [ "$(coffer hook list --output json | jq "[.[] | select(.delivered < $1)] | length")" = 0 ]; }
events() { jq -n "[inputs | select($1)] | length" <"$MNT/.coffer/events"; }
has_events() { [ "$(events "$2")" = "$1" ]; }
end_of_stream() { stat -c %s "$MNT/.coffer/events"; }

vault_start

note "the reload hook: on a new value of what it is for, and on nothing else"
expect_ok coffer hook add --on 'tls-*' --exec "$programs/note reload" --debounce 0s
printf one | coffer put tls-web >/dev/null
wait_for has_lines reload 1
[ "$(cat "$ran/reload")" = ' NewVersionCreated tls-web 1 '"$hooks" ] || fail "$(cat "$ran/reload")"
printf one | coffer put tls-web >/dev/null		# the same value
printf one | coffer put db >/dev/null			# another secret
expect_ok coffer attr tls-web --tag a=b
expect_ok coffer rollback tls-web 1			# the same again
printf two | coffer put tls-web >/dev/null
wait_for has_lines reload 2
[ "$(tail -n 1 "$ran/reload")" = ' NewVersionCreated tls-web 4 '"$hooks" ] || fail "$(cat "$ran/reload")"
audit_has '.operation == "HookRun" and .secret == "tls-web" and .result == "allow" and .caller == null'
audit_has '.operation == "HookCreate" and .result == "allow" and .caller.uid == 0'

note "a burst is one run; with %n %v %e each is its own"
expect_ok coffer hook add --on 'tls-*' --exec "$programs/note burst" --debounce 5s
expect_ok coffer hook add --on '*' --exec "$programs/note each %n %v %e 100%%" --user root --event NewVersionCreated --event BindingChanged --debounce 0s
for ((i = 1; i <= 10; i++)); do printf 'value %d' "$i" | coffer put tls-web >/dev/null; done
expect_ok coffer grant reader user:20001 --on 'web*'
wait_for has_lines each 11
for ((i = 1; i <= 10; i++)); do echo "tls-web $((i + 4)) NewVersionCreated 100% NewVersionCreated tls-web $((i + 4)) 0"; done >"$SCRATCH/want"
echo 'web* 0 BindingChanged 100% BindingChanged web* 0 0' >>"$SCRATCH/want"
diff "$SCRATCH/want" "$ran/each" || fail "other runs"
has_run() { [ "$(lines "$1")" -ge 1 ]; }
wait_for has_run burst
[ "$(lines burst)" -lt 10 ] || fail "a burst of ten was $(lines burst) runs"
[ "$(tail -n 1 "$ran/burst")" = ' NewVersionCreated tls-web 14 '"$hooks" ] || wait_for grep -q 'tls-web 14' "$ran/burst"

note "removed, it runs no more"
id=$(coffer hook list --output json | jq -r '.[] | select(.command | endswith("each %n %v %e 100%%")).id')
expect_ok coffer hook remove "$id"
expect_message "in $STORE/hooks.allow stays"
expect_exit 4 coffer hook remove "$id"
before=$(lines each)
printf changed | coffer put tls-web >/dev/null
wait_for grep -q 'tls-web 15' "$ran/reload"
[ "$(lines each)" = "$before" ] || fail "a removed hook ran"

note "who may: vault/update to add and remove, vault/status to see; and a line in hooks.allow"
expect_exit 3 as 20002 coffer hook add --on 'tls-*' --exec /bin/true
expect_exit 3 as 20002 coffer hook remove 1
expect_exit 3 as 20002 coffer hook list
expect_ok coffer grant administrator user:20003 --on '*'
expect_exit 3 as 20003 coffer hook add --on 'tls-*' --exec /bin/true
expect_message 'hooks.allow has no line "'"$hooks"' /'
expect_ok as 20003 coffer hook add --on 'other-*' --exec "$programs/note reload"
expect_exit 3 as 20003 coffer hook add --on 'other-*' --exec "$programs/note reload" --user root
expect_exit 2 coffer hook add --on 'tls-*' --exec ''
expect_exit 4 coffer hook add --on 'tls-*' --exec 'no-such-program-anywhere'
expect_exit 2 coffer hook add --on 'tls-*' --exec /bin/true --event Nonsense
expect_exit 2 coffer hook add --on 'tls-*' --exec /bin/true --event HookFailed
expect_exit 2 coffer hook add --on 'tls-*' --exec /bin/true --timeout 2h
expect_exit 2 coffer hook add --on 'tls-*' --exec '/bin/true %x'
expect_exit 4 coffer hook add --on 'tls-*' --exec /bin/true --user nobody-of-this-name

note "one that fails is run again; what it says is in the daemon's log; in the end it is given up, which is an event"
program flaky <<-END
	#!/bin/sh
	echo run >>$ran/flaky
	[ "\$(wc -l <$ran/flaky)" -ge 3 ] && exit 0
	echo "cannot reach the server" >&2
	exit 1
END
expect_ok coffer hook add --on flaky --exec "$programs/flaky" --debounce 0s
printf x | coffer put flaky >/dev/null
wait_for has_lines flaky 3
wait_for grep -q 'failed: the program ended with status 1: cannot reach the server' "$DAEMON_LOG"
audit_has '.operation == "HookRun" and .result == "error"'
attempts_over() { [ "$(coffer hook list --output json | jq '[.[] | select(.attempts > 0)] | length')" = 0 ]; }
wait_for attempts_over

note "one that hangs is killed with what it began, and holds up nobody else"
nap=$((100000 + $$))	# nobody else's
program hanging <<-END
	#!/bin/sh
	sleep $nap &
	sleep $nap
END
expect_ok coffer hook add --on tls-web --exec "$programs/hanging" --timeout 1s --debounce 0s
printf hang | coffer put tls-web >/dev/null
wait_for grep -q 'tls-web 16' "$ran/reload"
wait_for grep -q 'did not end in time' "$DAEMON_LOG"
expect_ok coffer hook remove "$(coffer hook list --output json | jq -r '.[] | select(.command | endswith("hanging")).id')"
none_sleep() { ! grep -qsxz "$nap" /proc/[0-9]*/cmdline; }
wait_for none_sleep

note "one that floods its stderr, or exits at once, or is no program"
program flooding <<-'END'
	#!/bin/sh
	head -c 3000000 /dev/zero | tr '\0' x >&2
	echo flooded >>RAN/flooding
END
sed -i "s|RAN|$ran|" "$programs/flooding"
expect_ok coffer hook add --on flood --exec "$programs/flooding" --debounce 0s
printf x | coffer put flood >/dev/null
wait_for has_lines flooding 1
program garbage <<<$'\x7fELF nonsense'
expect_ok coffer hook add --on garbage --exec "$programs/garbage" --debounce 0s
printf x | coffer put garbage >/dev/null
wait_for grep -q 'could not be executed' "$DAEMON_LOG"

note "across restarts: what was not delivered is, once"
expect_ok coffer hook add --on late --exec "$programs/note late" --debounce 8s
printf x | coffer put late >/dev/null
vault_umount
[ "$(lines late)" = 0 ] || fail "the debounce time was not waited for"
vault_mount
wait_for has_lines late 1
expect_ok coffer hook add --on late --exec "$programs/note later" --debounce 0s
before=$(lines reload)
DEATHS_EXPECTED=1
kill_worker
printf y | coffer put late >/dev/null
wait_for has_lines later 1
[ "$(lines late)" = 1 ] || [ "$(tail -n 1 "$ran/late")" = ' NewVersionCreated late 2 '"$hooks" ] || fail "delivered again: $(cat "$ran/late")"
[ "$(lines reload)" = "$before" ] || fail "what was delivered before was delivered again"
vault_umount
expect_ok coffer fsck "$STORE"
audit_verify
