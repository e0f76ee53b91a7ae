#!/bin/bash
# A backup for oneself holds what oneself could open at that moment, and says what it left out; one to a registered recipient holds everything. What is handed out is in the log, each version by name and number.
. "$(dirname "$0")/../support/lib.sh"

safe=$SCRATCH/safe.key
own=$SCRATCH/own.key
second=$SCRATCH/store/second
mine=$SCRATCH/mine.backup

# restored BACKUP KEY: every value that the backup gives to whoever has the key, one a line
restored()
{
	local signer
	signer=$(coffer status --output json | jq -r .signer)
	rm -rf "$second" "$SCRATCH/keys/second.kek" "$SCRATCH/keys/second.verify"
	coffer init "$second" --kek "file:$SCRATCH/keys/second.kek" --admin user:0 >/dev/null 2>"$ERR" || fail "$(cat "$ERR")"
	coffer restore --into "$second" --signer "$signer" --key "$2" <"$1" >"$OUT" 2>"$ERR" || fail "$(cat "$ERR")"
	coffer fsck "$second" --deep >/dev/null 2>"$ERR" || fail "$(cat "$ERR")"
	store_values "$second" "$SCRATCH/keys/second.kek"
}

# Its content, through a mount of its own: deleted secrets are recovered and disabled ones enabled first.
store_values()
{
	local at=$SCRATCH/second-vault name version
	mkdir -p "$at"
	"$SCRATCH/bin/cofferd" "$1" "$at" </dev/null >"$SCRATCH/second.log" 2>&1 || fail "$(cat "$SCRATCH/second.log")"
	"$SCRATCH/bin/coffer" -m "$at" vault set --enforce-validity off >/dev/null
	for name in $("$SCRATCH/bin/coffer" -m "$at" list --deleted --output json | jq -r '.[].name'); do
		"$SCRATCH/bin/coffer" -m "$at" recover "$name" >/dev/null
	done
	for name in $("$SCRATCH/bin/coffer" -m "$at" list --output json | jq -r '.[].name'); do
		"$SCRATCH/bin/coffer" -m "$at" enable "$name" >/dev/null
		for version in $("$SCRATCH/bin/coffer" -m "$at" versions "$name" --output json | jq -r '.[] | select(.destroyed | not) | .version'); do
			cat "$at/$name/versions/$version" 2>/dev/null || { "$SCRATCH/bin/coffer" -m "$at" enable "$name" --version "$version" >/dev/null && cat "$at/$name/versions/$version"; }
			echo
		done
	done | sort
	umount "$at"
	wait_until_unserved "$1"
}

wait_until_unserved() { wait_for flock -n "$1/lock" true; }

note "secrets in every state"
vault_start
for key in safe own; do
	(umask 077; coffer recipient keygen "$SCRATCH/$key.key" >"$SCRATCH/$key.pub" 2>/dev/null) || fail keygen
	chmod 644 "$SCRATCH/$key.pub"
done
expect_ok coffer recipient add safe --public-key "$SCRATCH/safe.pub"
printf good-1 | expect_ok coffer put good
printf good-2 | expect_ok coffer put good
printf part-1 | expect_ok coffer put part
printf part-2 | expect_ok coffer put part
printf part-3 | expect_ok coffer put part --expires 2001-01-01T00:00:00Z
printf part-4 | expect_ok coffer put part --not-before 2200-01-01T00:00:00Z
printf part-5 | expect_ok coffer put part
expect_ok coffer disable part --version 1
printf off-1 | expect_ok coffer put off
expect_ok coffer disable off
printf gone-1 | expect_ok coffer put gone
expect_ok coffer delete gone
printf old-1 | expect_ok coffer put old --expires 2001-01-01T00:00:00Z
expect_ok coffer vault set --enforce-validity on
expect_ok coffer role create keeper secrets/get secrets/list secrets/backup
expect_ok coffer grant keeper user:20001 --on '*'
expect_errno EACCES as 20001 sysop open r "$MNT/off/current"

note "for oneself: what could be opened, by each way to name oneself"
as 20001 coffer backup good part off gone old --public-key "$SCRATCH/own.pub" >"$mine" 2>"$ERR" || fail "$(cat "$ERR")"
restored "$mine" "$own" >"$SCRATCH/values"
diff - "$SCRATCH/values" <<-END || fail "a backup for oneself has other values"
	good-1
	good-2
	part-2
	part-5
END

note "what is left out is said, and recorded"
as 20001 coffer backup good part off gone old --public-key "$SCRATCH/own.pub" >"$mine" 2>"$ERR" || fail "$(cat "$ERR")"
for line in 'part version 1 is disabled' 'part version 3 has expired' 'part version 4 is not valid yet' 'off is disabled' 'gone is deleted' 'old has no version that can be opened now'; do
	grep -q "left out: $line" "$ERR" || fail "not said: $line; but: $(cat "$ERR")"
done
[ "$(grep -c 'left out' "$ERR")" = 6 ] || fail "$(cat "$ERR")"
audit_has '.operation == "SecretBackup" and .secret == "part" and .version == 3 and .result == "error" and .errno == "EKEYEXPIRED" and (.detail | test("left out"))'
audit_has '.operation == "SecretBackup" and .secret == "off" and .version == null and .result == "error" and .errno == "EACCES" and (.detail | test("left out"))'

note "each version that is handed out is in the log, by name and number"
for version in 2 5; do
	audit_has ".operation == \"SecretBackup\" and .secret == \"part\" and .version == $version and .result == \"allow\" and .caller.uid == 20001"
done
[ "$(jq -n '[inputs | select(.operation == "SecretBackup" and .secret == "part" and .version == 1 and .result == "allow")] | length' <"$MNT/.coffer/audit")" = 0 ] || fail "what was left out is recorded as handed out"
audit_has '.operation == "SecretBackup" and .secret == "good" and .version == 1 and (.detail | test("key of the caller"))'

note "a passphrase is oneself, too; and so is the administrator"
echo 'a long passphrase' >"$SCRATCH/phrase"
coffer backup --all --passphrase-file "$SCRATCH/phrase" >"$mine" 2>"$ERR" || fail "$(cat "$ERR")"
[ "$(grep -c 'left out' "$ERR")" = 6 ] || fail "$(cat "$ERR")"
coffer backup --all --public-key "$SCRATCH/own.pub" >"$mine" 2>"$ERR" || fail "$(cat "$ERR")"
restored "$mine" "$own" | diff "$SCRATCH/values" - || fail "an administrator's backup for oneself has other values"

note "to a registered recipient: everything, recorded likewise"
coffer backup --all --recipient safe >"$mine" 2>"$ERR" || fail "$(cat "$ERR")"
! grep -q 'left out' "$ERR" || fail "$(cat "$ERR")"
restored "$mine" "$safe" >"$SCRATCH/values"
diff - "$SCRATCH/values" <<-END || fail "a backup to a recipient lacks values"
	gone-1
	good-1
	good-2
	off-1
	old-1
	part-1
	part-2
	part-3
	part-4
	part-5
END
audit_has '.operation == "SecretBackup" and .secret == "gone" and .version == 1 and .result == "allow" and (.detail | test("recipient safe"))'
vault_umount
audit_verify
