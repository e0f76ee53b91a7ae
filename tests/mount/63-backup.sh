#!/bin/bash
# Backup and restore: to whom, by whom, into which vault, all or nothing; a drill; and what a killed worker leaves.
. "$(dirname "$0")/../support/lib.sh"

DEATHS_EXPECTED=yes
key=$SCRATCH/keys/safe.key
pub=$SCRATCH/safe.pub
all=$SCRATCH/all.backup
some=$SCRATCH/some.backup
second=$SCRATCH/store/second
signer_of() { "$SCRATCH/bin/coffer" -m "$1" status --output json | jq -r .signer; }
worker() { coffer status --output json | jq -r .processes.worker; }
hooks=$(id -u coffer-hooks)
programs=$SCRATCH/programs
ran=$SCRATCH/ran
mkdir "$programs"
install -m 666 /dev/null "$ran"
cat >"$programs/note" <<-END
	#!/bin/sh
	echo "\$*" >>$ran
END
chmod 755 "$programs" "$programs/note"
rules() { coffer rotation list --output json | jq -c '[.[] | [.scope, .every, .generator]]'; coffer hook list --output json | jq -c '[.[] | [.scope, .events, .command, .user]]'; }

note "rotation policies, hooks and days: each needs what making it by hand needs"
vault_start
echo 'a long passphrase' >"$SCRATCH/phrase"
chmod 644 "$SCRATCH/phrase"
expect_ok coffer rotation set 'db*' --every 90d --generator password:32
expect_ok coffer hook add --on 'db*' --exec "$programs/note %n %v" --debounce 0s
expect_ok coffer vault set --near-expiry 14
rules >"$SCRATCH/rules"
coffer backup --all --passphrase-file "$SCRATCH/phrase" >"$SCRATCH/rules.backup" 2>"$ERR" || fail "$(cat "$ERR")"
signer=$(signer_of "$MNT")
bring_rules() { "$@" coffer restore --signer "$signer" --passphrase-file "$SCRATCH/phrase" --with-grants <"$SCRATCH/rules.backup"; }
expect_exit 0 bring_rules
! grep -q 'polic\|hook' "$OUT" || fail "made again: $(cat "$OUT")"
expect_ok coffer rotation remove 'db*'
expect_ok coffer hook remove 1
expect_ok coffer vault set --near-expiry 30
expect_ok coffer role create half secrets/restore secrets/list bindings/create
expect_ok coffer grant half user:20006 --on '*'
expect_exit 3 bring_rules as 20006
expect_message 'vault/update'
expect_ok coffer role create updater vault/update
expect_ok coffer grant updater user:20006 --on '*'
expect_exit 3 bring_rules as 20006
expect_message 'secrets/set on db\*'
expect_ok coffer grant secrets-officer user:20006 --on 'db*'
mv "$STORE/hooks.allow" "$SCRATCH/hooks.allow"
expect_exit 0 bring_rules as 20006
grep -q ', 1 rotation policy, 1 hook, the settings$' "$OUT" || fail "$(cat "$OUT")"
expect_message "hooks.allow .*the line.* .?$hooks $programs/note %n %v"
[ ! -e "$STORE/hooks.allow" ] || fail "restore wrote hooks.allow"
mv "$SCRATCH/hooks.allow" "$STORE/hooks.allow"
rules | diff "$SCRATCH/rules" - || fail "other rules"
[ "$(coffer vault show --output json | jq .near_expiry_days)" = 14 ] || fail "the days are others"
[ "$(coffer hook list --output json | jq .[0].id)" = 2 ] || fail "an id was used twice"

note "a recipient, made here and by openssl"
expect_exit 2 coffer backup --all
expect_exit 4 coffer backup --all --recipient safe
(umask 077; coffer recipient keygen "$key" >"$pub" 2>/dev/null) || fail "keygen"
chmod 644 "$pub"
[ "$(stat -c %a "$key")" = 600 ] || fail "mode of the private key"
expect_exit 5 coffer recipient keygen "$key"
openssl pkey -in "$key" -pubout 2>/dev/null | cmp -s - "$pub" || fail "openssl reads another key"
expect_ok coffer recipient add safe --public-key "$pub"
expect_exit 5 coffer recipient add safe --public-key "$pub"
expect_exit 2 coffer recipient add other --public-key "$key"
expect_exit 3 as 20001 coffer recipient add mine --public-key "$pub"
expect_message 'only an administrator of the vault may register'
expect_ok coffer recipient list
grep -q '^safe ' "$OUT" || fail "$(cat "$OUT")"

note "a vault with something in it"
printf one | expect_ok coffer put db --tag team=core --expires 90d
printf two | expect_ok coffer put db
head -c 700000 /dev/urandom >"$SCRATCH/large"
expect_ok coffer put large --file "$SCRATCH/large"
printf gone | expect_ok coffer put gone
expect_ok coffer delete gone
expect_ok coffer role create rotator secrets/set
expect_ok coffer grant rotator user:20003 --on 'db*'
expect_ok coffer grant secrets-user user:20001 --on db
signer=$(signer_of "$MNT")
[[ $signer =~ ^[0-9a-f]{64}$ ]] || fail "signer: $signer"

note "who may back up, and to whom"
expect_exit 3 as 20001 coffer backup db --recipient safe
expect_message 'secrets/backup'
expect_ok coffer role create archivist secrets/backup secrets/list
expect_ok coffer grant archivist user:20002 --on db
as 20002 coffer backup db --recipient safe >"$some" 2>/dev/null || fail "an archivist is refused"
expect_exit 3 as 20002 coffer backup db --passphrase-file "$SCRATCH/phrase"
expect_message 'secrets/get'
expect_exit 3 as 20002 coffer backup db --public-key "$pub"
expect_exit 3 as 20002 coffer backup db large --recipient safe
expect_exit 3 as 20002 coffer backup --all --recipient safe
expect_exit 4 coffer backup nosuch --recipient safe
! grep -q 'a long passphrase' "$MNT/.coffer/audit" || fail "the passphrase is in the log"
coffer backup --all --recipient safe >"$all" 2>"$ERR" || fail "$(cat "$ERR")"
grep -q '3 secrets with 4 versions' "$ERR" || fail "$(cat "$ERR")"
audit_has '.operation == "SecretBackup" and .secret == "db" and .caller.uid == 20002 and .result == "allow"'
audit_has '.operation == "SecretBackup" and .secret == "db" and .result == "deny"'
audit_has '.operation == "SecretBackup" and (.detail // "" | test("whole vault to recipient safe"))'

note "one object with all its versions: an opaque, encrypted blob"
for word in one two db team core; do
	! grep -qaw "$word" "$some" || fail "$word stands in the backup"
done
audit_has '.operation == "SecretBackup" and .secret == "db" and (.detail // "" | test("one secret to recipient safe"))'

note "it says which KEK it was made under, and which recipient it needs"
for file in "$some" "$all"; do
	coffer backup verify "$file" --signer "$signer" --output json >"$OUT" 2>"$ERR" || fail "$(cat "$ERR")"
	[ "$(jq -r .recipient "$OUT")" = safe ] || fail "recipient: $(cat "$OUT")"
	[[ $(jq -r .kek "$OUT") =~ ^[0-9a-f]{32}$ ]] || fail "kek: $(cat "$OUT")"
done

note "verify needs no key, and finds what was changed"
expect_ok coffer backup verify "$all" --signer "$signer"
expect_exit 3 coffer backup verify "$all" --signer "${signer//[0-9]/0}"
head -c -1 "$all" >"$SCRATCH/cut"
expect_exit 6 coffer backup verify "$SCRATCH/cut"
expect_message 'cut short'
cp "$all" "$SCRATCH/bent"
printf '\377' | dd of="$SCRATCH/bent" bs=1 seek=5000 conv=notrunc status=none
expect_exit 6 coffer backup verify "$SCRATCH/bent"
printf 'CFBK\0\0\0\4' | cat - "$all" >"$SCRATCH/newer"
expect_exit 1 coffer backup verify "$SCRATCH/newer"
expect_message 'newer coffer'

note "into the same vault: restore fails if the name exists, or skips, or appends; dry runs change nothing"
epoch=$(coffer status --output json | jq .epoch)
expect_exit 5 coffer restore --signer "$signer" --key "$key" <"$all"
expect_message 'is there already.*--existing'
expect_exit 0 coffer restore --signer "$signer" --key "$key" --existing skip --dry-run <"$all"
grep -q 'would be restored.*0 secrets.*3 that were there left alone' "$OUT" || fail "$(cat "$OUT")"
[ "$(coffer status --output json | jq .epoch)" = "$epoch" ] || fail "a dry run changed something"
expect_exit 0 coffer restore --signer "$signer" --key "$key" --existing append <"$some"
expect_output two cat "$MNT/db/current"
expect_output one cat "$MNT/db/versions/3"
printf new | expect_ok coffer put db
wait_for grep -qx 'db 5' "$ran"
! grep -qx 'db 4' "$ran" || fail "a hook ran for the value that was served already"
expect_exit 0 coffer restore --signer "$signer" --key "$key" --existing append <"$some"
wait_for grep -qx 'db 7' "$ran"
expect_output two cat "$MNT/db/current"
[ "$(jq -n '[inputs | select(.event == "NewVersionCreated" and .name == "db")] | length' <"$MNT/.coffer/events")" = 5 ] || fail "what was restored is not one event"
audit_has '.operation == "SecretRestore" and .result == "allow" and (.detail | test("1 appended"))'
install -m 644 "$key" "$SCRATCH/readable.key"
expect_exit 3 as 20001 coffer restore --signer "$signer" --key "$SCRATCH/readable.key" --existing append <"$some"
expect_message 'secrets/restore'
expect_ok coffer role create restorer secrets/restore secrets/list
expect_ok coffer grant restorer user:20005 --on '*'
expect_exit 3 as 20005 coffer restore --signer "$signer" --key "$SCRATCH/readable.key" --existing append <"$some"
expect_message 'secrets/set on db'
expect_ok coffer grant secrets-officer user:20004 --on db
expect_exit 0 as 20004 coffer restore --signer "$signer" --key "$SCRATCH/readable.key" --existing append <"$some"
expect_exit 3 as 20004 coffer restore --signer "$signer" --key "$SCRATCH/readable.key" --existing append <"$all"
expect_message 'secrets/restore on large'
expect_ok coffer restore --signer "$signer" --key "$key" --existing append --dry-run <"$all"
expect_message '1 of what was left alone is deleted here and keeps the name, such as gone: coffer -m .* recover gone brings it back'
expect_exit 3 as 20004 coffer restore --signer "$signer" --key "$SCRATCH/readable.key" --existing append --with-grants <"$all"
expect_exit 3 coffer restore --signer "${signer//[0-9]/0}" --key "$key" <"$all"
expect_message 'another vault'
expect_exit 6 coffer restore --signer "$signer" --key "$key" <"$SCRATCH/cut"
expect_exit 6 coffer restore --signer "$signer" --key "$key" <"$SCRATCH/bent"
(umask 077; coffer recipient keygen "$SCRATCH/keys/other.key" >/dev/null 2>&1)
expect_exit 3 coffer restore --signer "$signer" --key "$SCRATCH/keys/other.key" <"$all"
expect_message 'it is for safe'
expect_exit 2 coffer restore --key "$key" <"$all"

note "a passphrase"
coffer backup large --passphrase-file "$SCRATCH/phrase" >"$SCRATCH/phrased" 2>/dev/null || fail "backup to a passphrase"
echo wrong >"$SCRATCH/wrong"
expect_exit 3 coffer restore --signer "$signer" --passphrase-file "$SCRATCH/wrong" <"$SCRATCH/phrased"
expect_exit 3 coffer restore --signer "$signer" --key "$key" <"$SCRATCH/phrased"
expect_exit 0 coffer restore --signer "$signer" --passphrase-file "$SCRATCH/phrase" --existing append <"$SCRATCH/phrased"
expect_content "$SCRATCH/large" sysop open r "$MNT/large/versions/2" + read

note "a drill, and its date"
mkdir "$SCRATCH/drills"
export TMPDIR=$SCRATCH/drills
expect_exit 0 coffer backup drill "$all" --key "$key"
grep -q 'is good: 3 secrets with 4 versions' "$OUT" || fail "$(cat "$OUT")"
[ "$(coffer status --output json | jq .drill.versions)" = 4 ] || fail "the drill is not in the status"
grep -q '^coffer_backup_drill_timestamp_seconds [1-9]' "$MNT/.coffer/metrics" || fail "the drill is not in the metrics"
[ -z "$(ls "$TMPDIR")" ] || fail "a scratch vault is left: $(ls "$TMPDIR")"
expect_exit 6 coffer backup drill "$SCRATCH/bent" --key "$key"
expect_exit 3 coffer backup drill "$all" --key "$SCRATCH/keys/other.key"

note "a worker that is killed while backups are written: each is whole, or there is none"
for i in 1 2 3 4; do
	coffer backup --all --recipient safe >"$SCRATCH/k$i" 2>/dev/null &
	pid=$!
	kill -9 "$(worker)" 2>/dev/null || true
	if wait "$pid"; then
		expect_ok coffer backup verify "$SCRATCH/k$i" --signer "$signer"
	fi
done

note "a worker that is killed while a backup is restored: all of it or nothing"
live=$SCRATCH/live.backup
per=$(coffer versions large --output json | jq length)
coffer backup db large --recipient safe >"$live" 2>/dev/null || fail "backup of two"
for i in 1 2 3 4 5 6; do
	before=$(coffer versions large --output json | jq length)
	coffer restore --signer "$signer" --key "$key" --existing append <"$live" >/dev/null 2>&1 &
	pid=$!
	sleep "0.0$((i * 13))"
	kill -9 "$(worker)" 2>/dev/null || true
	status=0
	wait "$pid" || status=$?
	wait_for coffer versions large
	after=$(coffer versions large --output json | jq length)
	[ "$after" = $((before + (status == 0) * per)) ] || fail "round $i: status $status, versions $before, then $after"
done
vault_umount
expect_ok coffer fsck "$STORE" --deep
audit_verify

note "the whole vault, offline, into a new one with another KEK, with everything that was granted"
expect_ok coffer init "$second" --kek "file:$SCRATCH/keys/second.kek" --admin user:0
expect_exit 3 as 20001 coffer restore --into "$second" --signer "$signer" --key "$key"
expect_exit 0 coffer restore --into "$second" --signer "$signer" --key "$key" --dry-run <"$all"
expect_exit 0 sh -c "cat '$all' | coffer restore --into '$second' --signer '$signer' --key '$key'"
grep -q '3 secrets with 4 versions, 1 of them deleted, .*bindings, .*1 rotation policy, 1 hook, the settings$' "$OUT" || fail "$(cat "$OUT")"
grep -q "hooks.allow must have the line \"$hooks $programs/note %n %v\"" "$ERR" || fail "$(cat "$ERR")"
[ ! -e "$second/hooks.allow" ] || fail "a backup wrote hooks.allow"
expect_exit 5 coffer restore --into "$second" --signer "$signer" --key "$key" <"$all"
expect_ok coffer fsck "$second" --deep
STORE=$second KEK=$SCRATCH/keys/second.kek
vault_mount
expect_output two as 20001 cat "$MNT/db/current"
expect_output one as 0 cat "$MNT/db/versions/1"
expect_content "$SCRATCH/large" sysop open r "$MNT/large/current" + read
wait_for audit_has '.operation == "SecretRestore"'
rules | diff "$SCRATCH/rules" - || fail "other rules"
[ "$(coffer vault show --output json | jq .near_expiry_days)" = 14 ] || fail "the days are others"
: >"$ran"
echo "$hooks $programs/note %n %v" >"$second/hooks.allow"
printf three | expect_ok coffer put db
wait_for grep -qx 'db 3' "$ran"
! grep -qx 'db 2' "$ran" || fail "a hook heard of what came with it"
expect_ok coffer recover gone
expect_output gone cat "$MNT/gone/current"
[ "$(signer_of "$MNT")" != "$signer" ] || fail "another vault has the same signer"
expect_exit 3 coffer restore --signer "$(signer_of "$MNT")" --key "$key" --existing append <"$all"
vault_umount
audit_verify
