#!/bin/bash
# Hooks: quotes make words and no shell reads them, 100ms is a span, what failed is said while it is tried, and no limit of processor time is passed on.
. "$(dirname "$0")/../support/lib.sh"

programs=$SCRATCH/programs
ran=$SCRATCH/ran
mkdir "$programs" "$ran"
chmod 755 "$programs"
chmod 777 "$ran"
program() { cat >"$programs/$1"; chmod 755 "$programs/$1"; }
program words <<-END
	#!/bin/sh
	for word; do printf '<%s>' "\$word"; done >>$ran/words
	echo >>$ran/words
	ulimit -t >$ran/limit
END
program fails <<-END
	#!/bin/sh
	[ -e $ran/good ] && exit 0
	echo "the value is s3cret" >&2
	exit 3
END
vault_init
vault_mount
events() { jq -n "[inputs | select($1)] | length" <"$MNT/.coffer/events"; }

note "words as a shell has them"
expect_ok coffer hook add --on w --exec "$programs/words 'a b' \"c %n\" d\\ e ''" --debounce 100ms
[ "$(coffer hook list --output json | jq '.[0].debounce_ms')" = 100 ] || fail "$(coffer hook list)"
printf x | coffer put w >/dev/null
said() { [ "$(cat "$ran/words" 2>/dev/null)" = '<a b><c w><d e><>' ]; }
wait_for said
limited() { [ -s "$ran/limit" ]; }
wait_for limited
[ "$(cat "$ran/limit")" = unlimited ] || fail "a limit of processor time: $(cat "$ran/limit")"
expect_ok coffer hook add --on other --exec "$programs/words"
[ "$(coffer hook list --output json | jq '.[1].debounce_ms')" = 200 ] || fail "$(coffer hook list)"
expect_exit 2 coffer hook add --on w --exec "$programs/words \$HOME"
expect_message 'means something to a shell'
expect_exit 2 coffer hook add --on w --exec "$programs/words | cat"

note "a program that is missing: one exit code, by whole path and by name, and nothing is allowed"
for missing in "$programs/gone %n" "$programs/words/below" no-such-program; do
	expect_exit 4 coffer hook add --on w --exec "$missing"
	expect_message 'there is no program'
	expect_exit 4 coffer rotation set w --every 90d --hook "$missing"
done
grep -q gone "$STORE/hooks.allow" && fail "a program that is missing was allowed"
program short-lived <<<'#!/bin/sh'
expect_ok coffer hook add --on unused --exec "$programs/short-lived"
rm "$programs/short-lived"
expect_exit 4 coffer hook add --on unused --exec "$programs/short-lived"
expect_exit 3 coffer hook add --on w --exec "$programs"
expect_exit 2 coffer hook add --on w --exec "'$programs/words' a"
expect_exit 2 coffer hook add --on w --exec "$programs/words" --debounce 100msx
expect_exit 2 coffer hook add --on w --exec "$programs/words" --debounce 2h
expect_exit 2 coffer hook add --on w --exec "$programs/words 'a"
expect_exit 2 coffer hook add --on w --exec "$programs/words %x"

note "what failed, and why, while it is tried; what the program said is for the daemon's log"
expect_ok coffer hook add --on f --exec "$programs/fails" --debounce 0s
printf x | coffer put f >/dev/null
failing() { coffer hook list --output json | jq -e '.[] | select(.command | endswith("fails")) | .failed == "the program ended with status 3" and .attempts >= 1 and .retry != null' >/dev/null; }
wait_for failing
told() { [ "$(events '.event == "HookFailed" and (.detail | test("status 3; it is tried again"))')" = 1 ]; }
wait_for told
grep -q s3cret "$MNT/.coffer/events" && fail "what a program said is in the events"
touch "$ran/good"
well() { coffer hook list --output json | jq -e '.[] | select(.command | endswith("fails")) | .failed == null and .attempts == 0' >/dev/null; }
wait_for well
[ "$(events '.event == "HookFailed"')" = 1 ] || fail "$(events '.event == "HookFailed"') events for one run that failed"
coffer fsck "$STORE" >/dev/null || fail "fsck"
