#!/bin/bash
# Temporary files while the worker dies, also at each step of making one and of renaming it over `current`: no call fails, each rename is a version once, with one record, and nothing is left behind.
. "$(dirname "$0")/../support/lib.sh"
KILLS=${KILLS:-5}	# by hand: 200
# shellcheck disable=SC2034	# lib.sh's
DEATHS_EXPECTED=1

writer=20001
f=$MNT/db/current

# edit NAME: a new value through a temporary file, again and again; prints how many there were
edit()
{
	local n=0
	until [ -e "$SCRATCH/stop" ]; do
		n=$((n + 1))
		echo "$1 $n" >"$MNT/db/.tmp.$1" && mv "$MNT/db/.tmp.$1" "$f" || return
		echo "$n" >"$SCRATCH/at.$1"
	done
	echo "$n"
}
export -f edit
export SCRATCH MNT f

# A rename that two workers were killed at would rightly be EIO; on a busy machine one may be under way for longer than the next worker waits for it. So the next is not killed before each writer has got on.
got_on()
{
	local i
	for i in 1 2 3; do
		[ "$(cat "$SCRATCH/at.$i")" -gt "${at[i]}" ] || return
	done
}

round()
{
	local at=()
	local kills=0 pids=() i versions sum=0
	printf begin | coffer put db
	expect_ok coffer grant secrets-officer user:$writer --on '*'
	rm -f "$SCRATCH/stop"
	for i in 1 2 3; do
		echo 0 >"$SCRATCH/at.$i"
		chmod 666 "$SCRATCH/at.$i"
		setpriv --reuid=$writer --regid=$writer --clear-groups -- bash -c "edit $i" >"$SCRATCH/edit.$i" 2>"$SCRATCH/edit.err.$i" &
		pids+=($!)
	done
	while [ $kills -lt "$KILLS" ]; do
		for i in 1 2 3; do
			read -r "at[$i]" <"$SCRATCH/at.$i" || at[i]=0
		done
		kill_worker
		wait_for got_on
		kills=$((kills + 1))
		sleep 0.0$((RANDOM % 90 + 10))
	done
	touch "$SCRATCH/stop"
	for i in "${pids[@]}"; do
		wait "$i" || fail "an edit failed: $(cat "$SCRATCH"/edit.err.*)"
	done
	for i in 1 2 3; do
		sum=$((sum + $(cat "$SCRATCH/edit.$i")))
		grep -l "^$i " "$MNT"/db/versions/* | wc -l | grep -qx "$(cat "$SCRATCH/edit.$i")" || fail "$(grep -l "^$i " "$MNT"/db/versions/* | wc -l) versions of writer $i's $(cat "$SCRATCH/edit.$i") edits"
	done
	versions=$(find "$MNT/db/versions" -type f | wc -l)
	[ "$versions" = $((1 + sum)) ] || fail "$versions versions of $sum edits"
	grep -qE '^[123] [0-9]+$' "$f" || fail "current is $(cat "$f")"
	[ "$(as $writer ls -A "$MNT/db" | tr '\n' ' ')" = 'current versions ' ] || fail "left behind: $(as $writer ls -A "$MNT/db")"
	note "$sum edits through $kills deaths, each a version once"
}

# Nothing of a temporary file stays in the store: the stages of what is gone are dropped within moments.
no_stages() { [ "$(sqlite3 "file:$STORE/db/vault.db?mode=ro" 'SELECT count(*) FROM stages')" = 0 ]; }

# checked_end: one record for each version, a sound log, a sound store
checked_end()
{
	wait_for no_stages
	vault_umount
	all_records >"$SCRATCH/log"
	[ "$(jq -n '[inputs | select(.operation == "SecretSet" and .result == "allow" and .version != null)] | length' "$SCRATCH/log")" = "$1" ] ||
		fail "$(jq -n '[inputs | select(.operation == "SecretSet" and .result == "allow" and .version != null)] | length' "$SCRATCH/log") records of $1 versions"
	[ -z "$(jq -r 'select(.request != null) | .request' "$SCRATCH/log" | sort | uniq -d | head -n 3)" ] || fail "requests that are recorded twice"
	audit_verify
	expect_ok coffer fsck "$STORE"
	chattr -R -a "$STORE" 2>/dev/null || true
	rm -rf "$STORE" "$SCRATCH/keys"
	install -d -m 700 "$SCRATCH/keys"
}

for options in '' noresend; do
	note "$KILLS kills${options:+, with -o $options}"
	# shellcheck disable=SC2086	# none, or two words
	vault_start ${options:+-o $options}
	round
	checked_end "$(find "$MNT/db/versions" -type f | wc -l)"
done

if [ -z "${COFFER_HOOKS_BIN:-}" ]; then
	note "not tried: a death at each step, which needs a build with hooks (COFFER_HOOKS_BIN)"
	exit 0
fi
note "a death at each step: before and after CREATE (35), WRITE (16), RENAME (12), UNLINK (10), before and after the record and the commit"
install -m 755 "$COFFER_HOOKS_BIN/coffer" "$COFFER_HOOKS_BIN/cofferd" "$SCRATCH/bin"
export COFFER_TEST_DIE=$SCRATCH/die
: >"$COFFER_TEST_DIE"
chmod 666 "$COFFER_TEST_DIE"
for options in '' noresend; do
	# shellcheck disable=SC2086
	vault_start ${options:+-o $options}
	printf begin | coffer put db
	expect_ok coffer grant secrets-officer user:$writer --on '*'
	n=1
	for point in 'before 35' 'after 35' 'before 16' 'after 16' 'before 12' 'after 12' 'record-before 0' 'record-after 0' 'commit-before 0' 'commit-after 0' 'before 10' 'after 10'; do
		restarts=$(status .restarts)
		printf '%s 1' "$point" >"$COFFER_TEST_DIE"
		if [ "${point#* }" = 10 ]; then
			expect_errno ok as $writer sysop open w,xc "$MNT/db/.tmp" + write gone + close + unlink "$MNT/db/.tmp"
		else
			expect_errno ok as $writer sysop open w,xc "$MNT/db/.tmp" + write "value $n" + close + rename "$MNT/db/.tmp" "$f"
			n=$((n + 1))
			expect_output "value $((n - 1))" as $writer cat "$f"
		fi
		: >"$COFFER_TEST_DIE"
		[ "$(find "$MNT/db/versions" -type f | wc -l)" = $n ] || fail "after a death $point: $(find "$MNT/db/versions" -type f | wc -l) versions, not $n"
		[ "$(as $writer ls -A "$MNT/db" | tr '\n' ' ')" = 'current versions ' ] || fail "after a death $point: $(as $writer ls -A "$MNT/db")"
		note "$point: $(($(status .restarts) - restarts)) deaths"
	done
	checked_end $n
done
