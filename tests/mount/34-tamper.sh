#!/bin/bash
# What lies on the disk is changed behind the daemon's back: it refuses to start, or serves exactly the old content; what it finds while it runs is EIO, and the vault seals
# itself; fsck and audit verify name each. BITS says how many bits of the database are flipped (40); BITS=all flips every one.
. "$(dirname "$0")/../support/lib.sh"

command -v sqlite3 >/dev/null || { echo "sqlite3 is not installed"; exit 77; }
bits=${BITS:-40}

vault_start
printf 'the value of a' | coffer put a
printf 'the value of b' | coffer put b
printf 'second of a' | coffer put a
expect_ok coffer grant secrets-user user:20001 --on '*'
expect_ok coffer grant secrets-user user:20002 --on b
vault_umount
DEATHS_EXPECTED=1
db=$(find "$STORE" -maxdepth 1 -name '*.db' -o -maxdepth 1 -name '*.sqlite*' -o -maxdepth 1 -name 'store*' -type f | head -n 1)
[ -f "$db" ] || db=$(grep -lr --binary-files=text '^SQLite format 3' "$STORE" | head -n 1)
note "the database is ${db##*/}, $(stat -c %s "$db") bytes"
sqlite3 "$db" 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
rm -f "$db-wal" "$db-shm"
cp -p "$db" "$SCRATCH/good"

restore()
{
	rm -f "$db-wal" "$db-shm"
	cat "$SCRATCH/good" >"$db"
}

# flip BIT
flip() { perl -e 'open(my $f, "+<:raw", $ARGV[0]) or die; my $o = $ARGV[1] >> 3; seek($f, $o, 0); read($f, my $c, 1); seek($f, $o, 0); print $f chr(ord($c) ^ 1 << ($ARGV[1] & 7))' "$db" "$1"; }

old_content()
{
	[ "$(as 20001 cat "$MNT/a/current" 2>&1)" = 'second of a' ] && [ "$(as 20001 cat "$MNT/a/versions/1" 2>&1)" = 'the value of a' ] &&
		[ "$(as 20002 cat "$MNT/b/current" 2>&1)" = 'the value of b' ] && ! as 20002 cat "$MNT/a/current" >/dev/null 2>&1 && ! as 20003 cat "$MNT/b/current" >/dev/null 2>&1
}

# Every open is refused or gives EIO: no byte that is not the old one
nothing_else()
{
	local file got
	for file in a/current a/versions/1 b/current; do
		got=$(as 20001 cat "$MNT/$file" 2>/dev/null) || continue
		case $file:$got in
		a/current:'second of a' | a/versions/1:'the value of a' | b/current:'the value of b') ;;
		*) fail "$file is '$got'" ;;
		esac
	done
	! as 20002 cat "$MNT/a/current" >/dev/null 2>&1 || fail "a right came out of nowhere"
	! as 20003 cat "$MNT/b/current" >/dev/null 2>&1 || fail "a right came out of nowhere"
}

try_bit()
{
	local bit=$1 status=0 fsck=0
	restore
	flip "$bit"
	coffer fsck "$STORE" >"$OUT" 2>"$ERR" || fsck=$?
	timeout 60 cofferd "$STORE" "$MNT" >"$OUT" 2>"$ERR" || status=$?
	if [ "$status" = 0 ]; then
		started=$((started + 1))
		if ! old_content; then
			nothing_else
			[ "$fsck" != 0 ] || fail "bit $bit: content is refused, and fsck finds nothing"
			worse=$((worse + 1))
		fi
		timeout 60 umount "$MNT"
		wait_for unserved
	else
		[ "$status" = 6 ] || fail "bit $bit: exit status $status, not 6: $(cat "$ERR")"
		[ "$(wc -l <"$ERR")" = 1 ] || fail "bit $bit: not one line: $(cat "$ERR")"
		[ "$fsck" = 6 ] || fail "bit $bit: the daemon refuses ($(cat "$ERR")), and fsck ends with $fsck"
		refused=$((refused + 1))
	fi
}
unserved() { flock -n "$STORE/lock" true; }

note "bits of the database, flipped one at a time: exit status 6, or the old content"
started=0 refused=0 worse=0
all=$(($(stat -c %s "$db") * 8))
if [ "$bits" = all ]; then
	for ((bit = 0; bit < all; bit++)); do try_bit "$bit"; done
else
	# half of them where something stands
	RANDOM=${SEED:-20241124}
	mapfile -t used < <(perl -e 'open(F, "<:raw", $ARGV[0]); local $/; my $d = <F>; my @u = grep { substr($d, $_, 1) ne "\0" } 0 .. length($d) - 1; srand($ARGV[2]); print $u[rand @u] * 8 + int(rand 8), "\n" for 1 .. $ARGV[1]' \
		"$db" "$bits" "${SEED:-20241124}")
	for bit in "${used[@]}"; do try_bit "$bit"; done
fi
note "$refused refused with status 6, $started served (of these $worse with refusals)"
restore
rm -f "$db-wal" "$db-shm"

note "nothing of the trials has stayed"
expect_ok coffer fsck "$STORE"
vault_mount
old_content || fail "the store is not as it was"

note "rows changed while it runs: what is read is EIO, or the vault seals itself; never another content"
sql() { sqlite3 -cmd '.timeout 5000' "$db" "$1" >/dev/null; }
# The version's row is looked at again when its value is read from the disk, not when it comes from the cache
vault_umount
vault_mount -o cipher_cache=0
sql 'UPDATE version_data SET envelope = (SELECT envelope FROM version_data WHERE id = (1 << 32) + 1) WHERE id = (2 << 32) + 1'
expect_errno EIO as 20001 sysop open r "$MNT/b/current" + read
expect_output 'second of a' as 20001 cat "$MNT/a/current"
audit_verify
vault_umount
expect_exit 6 coffer fsck "$STORE"
restore

vault_mount
note "an envelope of another length, a version that is not there, a record of another key"
sql 'UPDATE version_data SET envelope = CAST(envelope || char(0) AS BLOB) WHERE id = (1 << 32) + 1'
sql 'DELETE FROM version_data WHERE id = (1 << 32) + 2'
nothing_else
vault_umount
expect_exit 6 coffer fsck "$STORE"
restore

note "a binding that was written by hand: no right comes of it, and the next commit or start finds it"
vault_mount
sql "INSERT INTO bindings SELECT 99, role, principal, '*', valid_from, valid_until, reason, created_by, created, mac FROM bindings WHERE scope = 'b'"
expect_errno EACCES as 20002 sysop open r "$MNT/a/current"
sql 'UPDATE state SET epoch = epoch + 1'
sealed() { [ "$(as 20001 sysop open r "$MNT/b/current" 2>/dev/null)" = ENOKEY ]; }
wait_for sealed
expect_errno ENOKEY as 20009 sysop readdir "$MNT/a/versions"
expect_errno ok as 20009 sysop stat "$MNT/a/current"
vault_umount
expect_exit 6 coffer fsck "$STORE"
grep -qi 'bindings\?' "$OUT" "$ERR" || fail "fsck does not name the binding: $(cat "$OUT" "$ERR")"
expect_exit 6 timeout 60 cofferd "$STORE" "$MNT"
expect_message 'authentic|damaged|match|integrity'
restore

note "two rows swapped, a right widened, a row dropped: each is found at the next start, and by fsck"
for change in \
	"UPDATE bindings SET scope = '*' WHERE scope = 'b'" \
	"UPDATE bindings SET principal = 'user:20003' WHERE scope = 'b'" \
	"UPDATE objects SET name = 'c' WHERE name = 'a'; UPDATE objects SET name = 'a' WHERE name = 'b'; UPDATE objects SET name = 'b' WHERE name = 'c'" \
	"DELETE FROM versions WHERE id = (1 << 32) + 2" \
	"DELETE FROM bindings WHERE scope = 'b'" \
	"UPDATE versions SET dek_record = (SELECT dek_record FROM versions WHERE id = (2 << 32) + 1) WHERE id = (1 << 32) + 1" \
	"UPDATE settings SET enforce_validity = 1 - enforce_validity" \
	"UPDATE state SET epoch = epoch - 1" \
	"CREATE TABLE more(x)" "DROP INDEX requests_created"; do
	sql "$change"
	expect_exit 6 coffer fsck "$STORE"
	expect_exit 6 timeout 60 cofferd "$STORE" "$MNT"
	[ "$(wc -l <"$ERR")" = 1 ] || fail "not one line: $(cat "$ERR")"
	restore
done

note "the log is edited while the daemon runs: verify names the record, with and without the verify key"
vault_mount
segment=$(find "$STORE/audit" -name 'audit-*.jsonl' | sort | tail -n 1)
expect_output 'second of a' as 20001 cat "$MNT/a/current"
expect_errno EACCES as 20003 sysop open r "$MNT/a/current"
audit_verify
chattr -a "$segment" 2>/dev/null || true
cp -p "$segment" "$SCRATCH/segment"
verify_fails()
{
	expect_exit 6 coffer audit verify "$STORE"
	expect_exit 6 coffer audit verify "$STORE" --verify-key "${KEK%.kek}.verify"
	cat "$SCRATCH/segment" >"$segment"
}
sed -i.bak 's/"uid":20003/"uid":20004/' "$segment" && rm -f "$segment.bak"
# sed makes a new file: put the content into the one that the daemon holds
cat "$segment" >"$SCRATCH/edited"
cmp -s "$SCRATCH/edited" "$SCRATCH/segment" && fail "nothing was edited"
verify_fails
sed '3d' "$SCRATCH/segment" >"$segment"
verify_fails
sed '$d' "$SCRATCH/segment" >"$segment"
verify_fails
sed '2{h;d};3{G}' "$SCRATCH/segment" >"$segment"
verify_fails
{ cat "$SCRATCH/segment"; tail -n 1 "$SCRATCH/segment"; } >"$segment"
verify_fails
