#!/bin/bash
# The command on a mount: exact bytes, exit statuses with what to do next, requests that happen once whatever dies, and an editor that leaves nothing behind.
. "$(dirname "$0")/../support/lib.sh"

DEATHS_EXPECTED=yes
vault_start

note "values are exact: empty, binary, with and without newlines, the longest"
head -c 1048576 /dev/urandom >"$SCRATCH/longest"
printf 'a\0b\r\n\n' >"$SCRATCH/odd"
for value in longest odd; do
	expect_ok coffer put "$value" --file "$SCRATCH/$value"
	coffer get "$value" | cmp - "$SCRATCH/$value" || fail "$value changed on its way"
done
[ ! -s "$ERR" ] || fail "a newline among others: $(cat "$ERR")"
printf 'a\0b\r\n' >"$SCRATCH/line"
expect_ok coffer put line --file "$SCRATCH/line"
expect_message 'ends in a newline .*--trim removes it'
printf -- '-----BEGIN TEST KEY-----\nAAAA\n-----END TEST KEY-----\n' >"$SCRATCH/pem"
expect_ok coffer put pem --file "$SCRATCH/pem"
! grep -q 'ends in a newline' "$ERR" || fail "the newline of a key in PEM is its own"
expect_exit 0 coffer put empty --file /dev/null
expect_output '' coffer get empty
printf 'one\r\n' | expect_output 'trimmed version 1' coffer put trimmed --trim
[ "$(coffer get trimmed | od -An -c | tr -d ' \n')" = one ] || fail "--trim took the wrong bytes"
{ cat "$SCRATCH/longest"; printf x; } >"$SCRATCH/longer"
expect_exit 1 coffer put longest --file "$SCRATCH/longer"
expect_message 'longer than 1048576 bytes'
expect_exit 4 coffer get longest --version 2

note "a caller who may lock little memory can still read all of it, and write what fits"
expect_ok coffer grant secrets-officer user:20001 --on '*'
(ulimit -l 64 && as 20001 coffer get longest) | cmp - "$SCRATCH/longest" || fail "a small limit on locked memory spoilt a value"
(ulimit -l 64 && printf small | as 20001 coffer put small) >/dev/null || fail "a small limit on locked memory refused a small value"

note "what a version is labelled with"
printf v2 | expect_ok coffer put trimmed --content-type text/plain --expires 90d --tag owner=billing --tag env=test
expect_ok coffer attr trimmed --expires none --untag env
expect_exit 0 coffer show trimmed --output json
jq -e '.version == 2 and .content_type == "text/plain" and .expires == null and .tags == {owner: "billing"}' <"$OUT" >/dev/null || fail "$(cat "$OUT")"
expect_output 'trimmed version 3 (the content of version 1)' coffer rollback trimmed 1
expect_output one coffer get trimmed
expect_output 'trimmed version 3 disabled; current is version 2' coffer disable trimmed --version 3
expect_output v2 coffer get trimmed
expect_ok coffer disable trimmed
expect_exit 3 coffer get trimmed
expect_message 'trimmed is disabled; .*coffer -m [^ ]+ enable trimmed'
expect_exit 3 coffer can-i secrets/get trimmed
grep -q '^no: trimmed is disabled: opening it gives EACCES, although binding 1 (administrator) gives secrets/get$' "$OUT" || fail "$(cat "$OUT")"
grep -q 'coffer -m [^ ]* enable trimmed$' "$OUT" || fail "$(cat "$OUT")"
expect_ok coffer enable trimmed
expect_ok coffer can-i secrets/get not-there-yet
grep -q '^but not-there-yet is no secret yet: opening it gives ENOENT$' "$OUT" || fail "$(cat "$OUT")"

note "the settings of the vault: shown, changed, and in force at once; can-i says what open does"
expect_exit 0 coffer vault show --output json
jq -e '. == {retention_days: 90, purge_protection: false, enforce_validity: false, value_max: 1048576, near_expiry_days: 30}' <"$OUT" >/dev/null || fail "$(cat "$OUT")"
expect_exit 2 coffer vault set
expect_message 'value-max.*enforce-validity'
for size in 0 -1 2M 1048577 many 1KB; do
	expect_exit 2 coffer vault set --value-max "$size"
	expect_message '1 to 1048576 bytes'
done
expect_exit 2 coffer vault set --enforce-validity yes
expect_exit 2 coffer vault set --value-max 64K --enforce-validity maybe
expect_exit 3 as 20001 coffer vault set --value-max 64K
expect_exit 3 as 20001 coffer vault show
expect_exit 0 coffer vault show --output json
jq -e '.value_max == 1048576 and .enforce_validity == false' <"$OUT" >/dev/null || fail "something refused changed a setting: $(cat "$OUT")"
expect_ok coffer vault set --value-max 64K
head -c 65536 "$SCRATCH/longest" >"$SCRATCH/fits"
head -c 65537 "$SCRATCH/longest" >"$SCRATCH/fits-not"
expect_ok coffer put sized --file "$SCRATCH/fits"
expect_exit 1 coffer put sized --file "$SCRATCH/fits-not"
expect_message '65536'
coffer get longest | cmp - "$SCRATCH/longest" || fail "a value of before is not served any more"
printf x | expect_ok coffer put old --expires 2001-01-01T00:00:00Z
expect_output x coffer get old
expect_exit 0 coffer vault set --enforce-validity on --value-max 1M --output json
jq -e '.value_max == 1048576 and .enforce_validity == true' <"$OUT" >/dev/null || fail "$(cat "$OUT")"
expect_errno EKEYEXPIRED sysop open r "$MNT/old/current"
expect_exit 3 coffer can-i secrets/get old
grep -q '^no: old has expired, .* opening it gives EKEYEXPIRED' "$OUT" || fail "$(cat "$OUT")"
audit_has '.operation == "VaultUpdate" and .result == "allow" and .caller.uid == 0 and (.detail | contains("enforce_validity true"))'
expect_ok coffer vault set --enforce-validity off
expect_output x coffer get old
expect_ok coffer can-i secrets/get old

note "refusals say what is missing and who can help"
expect_exit 3 as 20002 coffer get trimmed
expect_message 'no binding gives you secrets/get on trimmed; an administrator can: coffer .*grant .* user:20002 --on trimmed'
expect_exit 3 as 20002 coffer can-i secrets/get trimmed
grep -q '^no: ' "$OUT" || fail "$(cat "$OUT")"
expect_exit 0 as 20001 coffer can-i secrets/get trimmed
grep -q '^yes: binding 2 (secrets-officer)' "$OUT" || fail "$(cat "$OUT")"
expect_exit 4 coffer get nosuch
expect_message 'there is no secret nosuch'
expect_exit 5 coffer revoke 1
expect_exit 4 coffer revoke 99
expect_exit 3 as 20001 coffer audit
expect_exit 1 sh -c 'coffer list >/dev/full'

note "lists are arrays of objects with the promised fields"
for list in list bindings roles 'versions trimmed' audit; do
	# shellcheck disable=SC2086 # "versions trimmed" is two words
	expect_exit 0 coffer $list --output json
	jq -e 'type == "array" and length > 0 and all(type == "object")' <"$OUT" >/dev/null || fail "$list: $(head -n 5 "$OUT")"
done
expect_output '[]' coffer audit --secret never-there --output json

note "each put makes exactly one version while workers are killed"
kill_workers()
{
	local i
	for ((i = 0; i < 10; i++)); do
		kill_worker
		sleep 0.1
	done
}
start kill_workers
for ((i = 1; i <= 40; i++)); do
	printf 'value %d' "$i" | expect_output "steady version $i" coffer put steady
	expect_output "value $i" coffer get steady
done
wait "$!"
[ "$(status .restarts)" -ge 10 ] || fail "only $(status .restarts) workers died"

note "the editor's file is private, in memory, and gone afterwards, whatever ends the command"
# a uid that nobody else's test has
editor=$((1000000 + $$))
expect_ok coffer grant secrets-officer user:$editor --on small
left() { find /dev/shm -maxdepth 1 -name 'coffer-edit.*' -user $editor | grep -q .; }
none_left() { ! left; }
cat >"$SCRATCH/bin/editor" <<'TXT'
#!/bin/sh
stat -c '%a %U' "$1" "$(dirname "$1")" > "$SEEN"
case $MODE in
change) printf 'edited\n' > "$1" ;;
backup) cp "$1" "$1~"; printf 'again\n' > "$1" ;;
slow) echo $$ > "$SEEN"; exec sleep 60 ;;
esac
TXT
chmod 755 "$SCRATCH/bin/editor"
export EDITOR=editor VISUAL='' SEEN=$SCRATCH/seen MODE
touch "$SEEN" && chmod 666 "$SEEN"
MODE=change expect_output 'small version 2' as $editor coffer edit small
[ "$(cut -d ' ' -f 1 "$SEEN" | tr '\n' ' ')" = '600 700 ' ] || fail "others could read the value: $(cat "$SEEN")"
[ "$(coffer get small | wc -c)" = 6 ] || fail "the newline of the editor was kept"
MODE=none expect_output '' as $editor coffer edit small
expect_message 'unchanged'
MODE=backup expect_output 'small version 3' as $editor coffer edit small
! left || fail "the editor's backup is left in /dev/shm"
for signal in TERM HUP KILL; do
	: >"$SEEN"
	MODE=slow setpriv --reuid=$editor --regid=$editor --clear-groups coffer edit small 2>/dev/null &
	edit=$!
	wait_for grep -qx '[0-9]*' "$SEEN"
	left || fail "the editor's file is not where it was expected"
	kill -"$signal" "$edit"
	wait "$edit" 2>/dev/null && fail "edit succeeded although it was killed"
	wait_for none_left
	kill -KILL "$(tail -n 1 "$SEEN")" 2>/dev/null || true
done
expect_output again coffer get small

note "sealed and unsealed"
expect_ok coffer seal
expect_exit 7 coffer get steady
expect_message "sealed; as root: coffer -m $MNT unseal"
expect_exit 7 coffer list
expect_exit 3 as 20001 coffer unseal
expect_output unsealed coffer unseal
expect_output 'value 40' coffer get steady
expect_exit 0 coffer doctor
