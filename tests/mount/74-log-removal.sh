#!/bin/bash
# Parts of the log go: by retention, which is recorded first; by root's hand, which the daemon and verify find, before and after the next segment, and after a restart.
. "$(dirname "$0")/../support/lib.sh"

segments() { find "$STORE/audit" -name 'audit-*.jsonl' | sort; }
first_segment() { segments | head -n 1; }
status_audit() { coffer status --output json | jq -e ".audit.$1" >/dev/null; }

# fill N: until there are N more segments
newest() { basename "$(segments | tail -n 1)" | tr -dc '0-9'; }
fill()
{
	local until=$((10#$(newest) + $1)) i
	for ((i = 0; i < 20000 && 10#$(newest) < until; i++)); do
		cat "$MNT/db/current" >/dev/null
	done
	[ $((10#$(newest))) -ge "$until" ] || fail "no new segment came"
}

# remove FILE…: as root does it
remove()
{
	chattr -a "$@" 2>/dev/null || true
	rm "$@"
}

# tampered N: the daemon found N segments gone
tampered() { [ "$(audit_count '.operation == "AuditTampered" and (.detail | startswith("'"$1"' of the segments "))')" -ge 1 ]; }
event_told() { coffer events --output json | jq -e 'map(select(.event == "AuditTampered")) | length >= '"$1" >/dev/null; }

vault_start -o audit_segment=64K,audit_keep=128K,audit_keep_days=0
printf 'a value' | coffer put db
expect_ok coffer grant secrets-user user:0 --on db

note "retention removes what is too much, and each removal has a record"
fill 5
gone() { [ ! -e "$STORE/audit/audit-00000001.jsonl" ]; }
wait_for gone
recorded() { [ "$(audit_count '.operation == "SegmentRemove"')" -ge 1 ]; }	# while it is read, a segment can go: then again
wait_for recorded
status_audit 'tampered == false' || fail "status speaks of tampering"
expect_ok coffer audit verify "$STORE"
grep -q 'removed by retention' "$OUT" "$ERR" || fail "verify does not say that retention removed segments"
coffer doctor 2>&1 | grep -q 'somebody removed' && fail "doctor speaks of tampering"

note "root removes the first one, while the daemon runs"
vault_umount
vault_mount -o audit_segment=64K,audit_keep=64M,audit_keep_days=0
expect_ok coffer audit verify "$STORE"
remove "$(first_segment)"
expect_exit 6 coffer audit verify "$STORE"
wait_for tampered 1
status_audit 'tampered == true' || fail "status does not say that the log was tampered with"
coffer doctor >"$OUT" 2>&1 || true
grep -q 'somebody removed' "$OUT" || fail "doctor does not say it: $(cat "$OUT")"
wait_for event_told 1

note "a new segment does not bless it, nor does a restart"
fill 1
expect_exit 6 coffer audit verify "$STORE"
vault_umount
expect_exit 6 coffer audit verify "$STORE"
remove "$(first_segment)"
vault_mount -o audit_segment=64K,audit_keep=64M,audit_keep_days=0
wait_for tampered 2
fill 1
expect_exit 6 coffer audit verify "$STORE"
expect_message 'are gone'

note "all but the newest"
mapfile -t all < <(segments | head -n -1)
remove "${all[@]}"
expect_exit 6 coffer audit verify "$STORE"
wait_for tampered $((2 + ${#all[@]}))
expect_output 'a value' cat "$MNT/db/current"
expect_exit 6 coffer audit verify "$STORE"

note "a file with a huge number is one file, and keeps the log from nothing"
newest=$(segments | tail -n 1)
touch "$STORE/audit/audit-99999999.jsonl"
next=$(printf '%s/audit/audit-%08d.jsonl' "$STORE" $((10#$(basename "$newest" .jsonl | cut -d - -f 2) + 1)))
for ((i = 0; i < 1000; i++)); do
	[ ! -s "$next" ] || break
	cat "$MNT/db/current" >/dev/null
done
[ -s "$next" ] || fail "no segment behind $(basename "$newest")"
status_audit 'segments < 100' || fail "status counts segments that are not there"
foreign_told() { [ "$(audit_count '.operation == "AuditTampered" and (.detail | startswith("segment 99999999 is there"))')" -ge 1 ]; }
wait_for foreign_told
expect_exit 6 coffer audit verify "$STORE"
