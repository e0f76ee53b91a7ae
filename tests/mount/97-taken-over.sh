#!/bin/bash
# What a worker was at when it died, in the next one's hands: a request that waits for the bell is to blame for no death, what the bell asks is answered meanwhile, and what was answered already is not done again.
. "$(dirname "$0")/../support/lib.sh"
# shellcheck disable=SC2034	# lib.sh's
DEATHS_EXPECTED=1

[ -n "${COFFER_HOOKS_BIN:-}" ] || { echo "COFFER_HOOKS_BIN names no build with hooks"; exit 77; }
install -m 755 "$COFFER_HOOKS_BIN/coffer" "$COFFER_HOOKS_BIN/cofferd" "$SCRATCH/bin"
export COFFER_TEST_DIE=$SCRATCH/die
: >"$COFFER_TEST_DIE"
chmod 666 "$COFFER_TEST_DIE"
writer=20001
f=$MNT/db/current

die_says() { [ "$(cat "$COFFER_TEST_DIE")" = "$1" ]; }
no_stages() { [ "$(sqlite3 "file:$STORE/db/vault.db?mode=ro" 'SELECT count(*) FROM stages')" = 0 ]; }
left() { as $writer ls -A "$MNT/db" | tr '\n' ' '; }

for options in '' noresend; do
	note "three deaths${options:+ with -o $options} while a rename over current waits for a bell that does nothing: it is not given up"
	# shellcheck disable=SC2086	# none, or two words
	vault_start -o watchdog=0 ${options:+-o $options}
	printf begin | coffer put db
	expect_ok coffer grant secrets-officer user:$writer --on '*'
	expect_errno ok as $writer sysop open w,xc "$MNT/db/.tmp" + write 'value 1' + close
	bell=$(status .processes.bell)
	kill -STOP "$bell"
	printf 'before 12 1' >"$COFFER_TEST_DIE"
	as $writer mv "$MNT/db/.tmp" "$f" 2>"$SCRATCH/mv" &
	mv=$!
	wait_for die_says 'before 12 0'
	kill_worker
	kill_worker
	kill -CONT "$bell"
	wait $mv || fail "the rename: $(cat "$SCRATCH/mv")"
	expect_output 'value 1' as $writer cat "$f"
	: >"$COFFER_TEST_DIE"

	note "a worker dies when it has answered CREATE and has not noted that; its caller has made a version of the file since then"
	hold writer $writer
	printf 'answered 35 1' >"$COFFER_TEST_DIE"
	expect_held ok writer open w,xc "$MNT/db/.tmp"
	wait_for die_says 'answered 35 0'
	expect_held ok writer write 'value-2'
	expect_held ok writer close
	expect_held ok writer rename "$MNT/db/.tmp" "$f"
	[ "$(left)" = 'current versions ' ] || fail "before the death: $(left)"
	kill_worker
	[ "$(left)" = 'current versions ' ] || fail "it was made again: $(left)"
	expect_output 'value-2' as $writer cat "$f"
	let_go writer
	[ "$(find "$MNT/db/versions" -type f | wc -l)" = 3 ] || fail "$(find "$MNT/db/versions" -type f | wc -l) versions, not 3"
	: >"$COFFER_TEST_DIE"

	note "deaths after the commit of a put, while others look for its name: it is told of (but on a machine that is too busy for all of them)"
	start inotifywait -m -e create --format %f "$MNT" >"$SCRATCH/created" 2>"$SCRATCH/watching"
	watcher=${STARTED[-1]}
	wait_for grep -q established "$SCRATCH/watching"
	for i in 1 2 3 4 5 6; do
		rm -f "$SCRATCH/enough"
		(until [ -e "$SCRATCH/enough" ]; do [ ! -e "$MNT/name-$i" ] || :; done) &
		looker=$!
		STARTED+=("$(process_of $looker)")
		printf 'commit-after 0 1' >"$COFFER_TEST_DIE"
		printf x | expect_ok coffer put "name-$i"
		touch "$SCRATCH/enough"
		wait $looker
		[ -e "$MNT/name-$i/current" ] || fail "name-$i does not resolve"
		wait_for die_says 'commit-after 0 0'
		: >"$COFFER_TEST_DIE"
	done
	# whatever was told of before this one was is in the file by then
	mkdir "$MNT/last"
	wait_for grep -qx last "$SCRATCH/created"
	told=$(grep -c '^name-' "$SCRATCH/created" || true)
	note "  $told of 6"
	[ "$told" -gt 0 ] || fail "no name was told of"
	end_process "$watcher"

	note "eight that die when they serve, before the keeper has heard that they do: none of them counts as one that never became ready"
	keeper=$(status .processes.keeper)
	for _ in 1 2 3 4 5 6 7 8; do
		worker=$(status .processes.worker)
		standby_there() { [ "$(status .processes.standby)" != null ]; }
		wait_for standby_there
		printf 'until 0 1' >"$COFFER_TEST_DIE"
		kill -KILL "$worker"
		wait_for die_says 'until 0 0'
		kill -STOP "$keeper"
		: >"$COFFER_TEST_DIE"
		worker=$(status .processes.worker)
		kill -KILL "$worker"
		kill -CONT "$keeper"
	done
	[ "$(status .supervision.trouble)" = null ] || fail "$(status .supervision.trouble)"

	wait_for no_stages
	vault_umount
	all_records >"$SCRATCH/log"
	[ -z "$(jq -r 'select(.request != null) | .request' "$SCRATCH/log" | sort | uniq -d | head -n 3)" ] || fail "requests that are recorded twice"
	audit_verify
	expect_ok coffer fsck "$STORE"
	chattr -R -a "$STORE" 2>/dev/null || true
	rm -rf "$STORE" "$SCRATCH/keys"
	install -d -m 700 "$SCRATCH/keys"
done
