#!/bin/bash
# Who may read opens without end, lists without end, and starts processes without end: each access is in the log, alone or in a count; the log keeps what was there before; where it is full, nobody but who filled it is refused.
. "$(dirname "$0")/../support/lib.sh"
reader=20001 other=20002

records_where() { audit_count "$1"; }
accesses() { jq -n '[inputs | select(.operation == "SecretGet" and .result == "allow" and .caller.uid == '"$1"' and .secret == "'"$2"'") | .count] | add // 0' < <(records <"$MNT/.coffer/audit"); }
log_bytes() { cat "$STORE"/audit/audit-*.jsonl | wc -c; }

# loop FILE N: one process opens a file N times
cat >"$SCRATCH/loop" <<'END'
my ($file, $n) = @ARGV;
for (1 .. $n) { open(my $f, "<", $file) or die "$!\n"; close $f }
END
chmod 644 "$SCRATCH/loop"

vault_start
printf 'a value' | coffer put db
printf 'another' | coffer put web
expect_ok coffer grant secrets-user user:$reader --on '*'
expect_ok coffer grant secrets-user user:$other --on '*'

note "one process opens one version 20,000 times: 200 records, and counts that add up"
before=$(log_bytes)
as $reader perl "$SCRATCH/loop" "$MNT/db/current" 20000
all_there() { [ "$(accesses $reader db)" = 20000 ]; }
wait_for all_there
own=$(records_where ".operation == \"SecretGet\" and .caller.uid == $reader and .count == 1")
[ "$own" -ge 200 ] || fail "only $own records of their own"
grown=$(($(log_bytes) - before))
[ "$grown" -le 400000 ] || fail "the log grew by $grown bytes"
coffer exposed user:$reader --output json >"$OUT"
jq -e 'map(select(.name == "db" and .reads == 20000)) | length == 1' "$OUT" >/dev/null || fail "exposed does not count them: $(cat "$OUT")"
coffer audit --secret db | grep -q 'folded, from .* times)' || fail "coffer audit does not show the count"
audit_verify

note "the count outlives the worker, and is there when it serves again"
DEATHS_EXPECTED=1
as $reader perl "$SCRATCH/loop" "$MNT/web/current" 3000
kill_worker
[ "$(accesses $reader web)" = 3000 ] || fail "$(accesses $reader web) of 3000 accesses are there"
audit_verify

note "another one's open, and the same one's of another secret, have their records at once"
expect_output 'a value' as $other cat "$MNT/db/current"
audit_has ".operation == \"SecretGet\" and .caller.uid == $other and .count == 1"

note "listings of many secrets"
for i in {1..100}; do echo "s$i"; done | while read -r name; do printf x | coffer put "$name" >/dev/null; done
before=$(log_bytes)
as $reader find "$MNT" -maxdepth 3 >/dev/null
listed() { [ "$(jq -n '[inputs | select(.operation == "SecretListVersions" and .caller.uid == '$reader') | .count] | add // 0' < <(records <"$MNT/.coffer/audit"))" -ge 100 ]; }
wait_for listed
own=$(records_where ".operation == \"SecretListVersions\" and .caller.uid == $reader")
[ "$own" -le 40 ] || fail "$own records of 102 listings"

note "a sealed vault has everything counted on the disk"
as $reader perl "$SCRATCH/loop" "$MNT/s1/current" 1000
expect_ok coffer seal
vault_umount
[ "$(cat "$STORE"/audit/audit-*.jsonl | jq -n '[inputs | select(.operation == "SecretGet" and .secret == "s1" and .result == "allow") | .count] | add')" = 1000 ] || fail "not all are in the file"
expect_ok coffer audit verify "$STORE"

note "a process for each open: at its share it is refused, alone; nothing goes"
vault_mount -o audit_segment=64K,audit_keep=300K
first=$(find "$STORE/audit" -name 'audit-*.jsonl' | sort | head -n 1)
refused() { ! as $reader cat "$MNT/db/current" >/dev/null 2>&1; }
for ((i = 0; i < 20000; i++)); do
	# one shell, many short processes of the reader
	# shellcheck disable=SC2016
	as $reader sh -c 'for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do cat "$1" >/dev/null 2>&1; done' - "$MNT/db/current" || true
	[ "$(status .audit.refused)" = 0 ] || break
done
wait_for refused
expect_errno EIO as $reader sysop open r "$MNT/db/current"
expect_output 'a value' as $other cat "$MNT/db/current"
printf 'third' | coffer put third
expect_ok coffer grant secrets-user user:20003 --on third
[ -e "$first" ] || fail "the first segment is gone"
[ "$(status '[.audit.at_cap, .audit.heaviest] | tostring')" = "[true,\"user:$reader\"]" ] || fail "status does not say who filled the log: $(status .audit)"
coffer doctor >"$OUT" 2>&1 || true
grep -q "is full, and those who have used up their share" "$OUT" || fail "doctor does not say it: $(cat "$OUT")"
grep -q 'used up their share of the audit log' "$DAEMON_LOG" || fail "the daemon's log says nothing of it"
[ "$(grep -c 'used up their share of the audit log' "$DAEMON_LOG")" -le 20 ] || fail "the daemon's log is flooded"
vault_umount
expect_ok coffer audit verify "$STORE"

note "the same after a restart of the daemon"
vault_mount -o audit_segment=64K,audit_keep=300K
[ "$(status .audit.heaviest)" = user:$reader ] || fail "a restart forgets who filled the log: $(status .audit)"
wait_for refused
expect_output 'a value' as $other cat "$MNT/db/current"
vault_umount
head -c 9000 /dev/urandom >"$STORE/db/log-shares"
vault_mount -o audit_segment=64K,audit_keep=300K
expect_output 'a value' as $other cat "$MNT/db/current"
vault_umount
cat "$STORE"/audit/audit-*.jsonl | jq -en 'any(inputs; .errno == "EDQUOT" and .caller.uid == '$reader')' >/dev/null || fail "no count of what was refused"
