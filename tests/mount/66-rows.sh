#!/bin/bash
# Every table is under a seal: with the daemon down, the worker's uid takes away, puts back, adds and changes rows of those tables that say what happened, and the daemon does
# not start, and fsck names it. What break-glass left for the log is recorded, or nothing is served.
. "$(dirname "$0")/../support/lib.sh"

command -v sqlite3 >/dev/null || { echo "sqlite3 is not installed"; exit 77; }

vault_start
printf one | coffer put a
expect_ok coffer grant secrets-user user:20001 --on '*'
expect_ok coffer rotation set a --every 90d --notify
expect_ok coffer hook add --on a --exec /bin/true
printf two | coffer put a
expect_output two as 20001 cat "$MNT/a/current"
vault_umount
db=$STORE/db/vault.db
owner=$(stat -c %u "$db")
install -d -o "$owner" "$SCRATCH/kept"
keep()
{
	as "$owner" sqlite3 "$db" 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
	cp -p "$db" "$SCRATCH/kept/$1"
}
restore()
{
	rm -f "$db-wal" "$db-shm"
	cat "$SCRATCH/kept/good" >"$db"
}
# shellcheck disable=SC2034
DEATHS_EXPECTED=1

note "the act of break-glass, taken away by the worker's uid before the daemon could record it"
keep before
expect_ok coffer break-glass "$STORE" user:20002
keep good
[ "$(sqlite3 "$db" 'SELECT count(*) FROM pending_acts')" = 1 ] || fail "break-glass left no act"
# found SQL…: neither the daemon nor fsck takes the store for good
found()
{
	local sql
	for sql; do
		as "$owner" sqlite3 "$db" "$sql" || fail "the worker's uid cannot do: $sql"
		expect_exit 6 timeout 60 cofferd "$STORE" "$MNT"
		[ "$(wc -l <"$ERR")" = 1 ] || fail "not one line after $sql: $(cat "$ERR")"
		expect_exit 6 coffer fsck "$STORE"
		restore
	done
}
found 'DELETE FROM pending_acts'

note "each table of what happens: a row taken away, one that is there twice, one that was changed"
for table in pending_acts events requests hook_places changes binding_use keks; do
	[ "$(sqlite3 "$db" "SELECT count(*) FROM $table")" -gt 0 ] || fail "$table has no row: nothing is tried"
	found "DELETE FROM $table WHERE id = (SELECT max(id) FROM $table)" "UPDATE $table SET id = id + 1000 WHERE id = (SELECT max(id) FROM $table)"
done

note "rows of an earlier moment, with the head of that moment, and a store that passes itself off as an older coffer's"
found "ATTACH '$SCRATCH/kept/before' AS b; DELETE FROM pending_acts; INSERT OR REPLACE INTO main.state SELECT * FROM b.state" \
	'DELETE FROM pending_acts; UPDATE state SET serial = NULL, trail_members = NULL, trail = NULL'

note "left alone, the act is recorded once, and the vault serves"
restore
vault_mount
wait_for audit_has '.operation == "BreakGlass"'
taken() { [ "$(sqlite3 "$db" 'SELECT count(*) FROM pending_acts')" = 0 ]; }
wait_for taken
expect_output two as 20001 cat "$MNT/a/current"
vault_umount
expect_ok coffer fsck "$STORE"
