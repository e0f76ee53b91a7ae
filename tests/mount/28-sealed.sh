#!/bin/bash
# A vault whose key is a passphrase starts sealed when nobody is there to ask: names are there, values are not, the log goes on; until somebody comes who knows it.
. "$(dirname "$0")/../support/lib.sh"

# without a key file, init leaves the verify key where all vaults have theirs
STORE=$SCRATCH/store/test-sealed-$$
[ ! -d /etc/coffer ] && made=/etc/coffer || made=
cleanup()
{
	rm -f "/etc/coffer/test-sealed-$$.verify"
	[ -z "$made" ] || rmdir "$made" 2>/dev/null
}
AT_EXIT+=(cleanup)

phrase='correct horse battery staple'
expect_exit 2 coffer init "$STORE" --kek passphrase: </dev/null
[ ! -e "$STORE/vault.conf" ] || fail "a vault without a passphrase was made"
expect_ok coffer init "$STORE" --kek passphrase: <<<"$phrase"
! grep -rqF "$phrase" "$STORE" || fail "the passphrase lies in the store"
vault_mount
sealed() { [ "$(status .sealed)" = "$1" ]; }
serves() { [ "$(status .serving)" = "$1" ]; }

note "sealed from the start: root sees that it is, and what to do"
sealed true || fail "not sealed"
expect_errno ENOKEY as 20001 sysop open r "$MNT/.coffer/status"
expect_exit 7 coffer list
expect_message 'unseal'
expect_exit 7 coffer put db --file /etc/hostname
expect_exit 7 coffer grant secrets-user user:20001 --on '*'
expect_ok coffer whoami
expect_ok coffer status

note "the passphrase: refused when wrong, to who is not root, and when empty"
expect_exit 3 coffer unseal <<<'wrong'
expect_message 'passphrase'
expect_exit 3 coffer unseal <<<"$phrase "
expect_exit 2 coffer unseal </dev/null
expect_exit 3 as 20001 coffer unseal <<<"$phrase"
sealed true || fail "opened by a wrong passphrase"
expect_ok coffer unseal <<<"$phrase"
sealed false || fail "still sealed"
expect_ok coffer unseal </dev/null
audit_has '.operation == "VaultUnseal" and .result == "allow"'

note "open: it serves"
printf 'the value' >"$SCRATCH/value"
expect_ok coffer put db --file "$SCRATCH/value"
expect_ok coffer grant secrets-officer user:20001 --on '*'
hold reader 20001
hold writer 20001
expect_held ok reader open r "$MNT/db/current"
expect_content "$SCRATCH/value" as 20001 sysop open r "$MNT/db/current" + read
expect_held "ok $(sha256sum <"$SCRATCH/value" | cut -d ' ' -f 1) 9" reader read
expect_held ok writer open w,t "$MNT/db/current"
expect_held ok writer write half

note "seal: not for everybody; then open files too are closed to everybody, root included"
expect_exit 3 as 20001 coffer seal
expect_ok coffer seal
sealed true || fail "not sealed"
expect_ok coffer seal
expect_held ENOKEY reader read
expect_held ENOKEY reader pread 0 1
[[ $(held reader sendfile) != ok* ]] || fail "a sealed vault sends"
[[ $(held reader mmap private) != ok* ]] || fail "a sealed vault is mapped"
[[ $(held writer write more) != ok* ]] || fail "a sealed vault takes bytes"
[[ $(held writer fsync) != ok* ]] || fail "a sealed vault makes versions"
[[ $(held writer close) != ok ]] || fail "close says that the bytes of a sealed vault are kept"
let_go writer
for uid in 0 20001; do
	expect_errno ENOKEY as $uid sysop open r "$MNT/db/current"
	expect_errno ENOKEY as $uid sysop open w,t "$MNT/db/current"
	expect_errno ENOKEY as $uid sysop open r "$MNT/db/versions/1"
	expect_errno ENOKEY as $uid sysop mkdir "$MNT/new"
done
expect_exit 7 as 20001 coffer get db

note "names resolve for everybody; who reads is masked"
expect_exit 0 as 20001 sysop stat "$MNT/db/current"
[[ $(cat "$OUT") == 'ok file 0000 0 0 9 1 '* ]] || fail "$(cat "$OUT")"
expect_errno ok as 20009 sysop stat "$MNT/db/versions/1"
expect_errno ENOENT sysop stat "$MNT/no-such-name"
expect_output '' as 20001 ls "$MNT"
expect_errno ok as 20001 sysop open r "$MNT/.coffer/whoami" + seqread

note "unsealed again: readers go on where they were; what happened meanwhile is in the log"
before=$(cat "$STORE"/audit/*.jsonl | wc -l)
expect_errno ENOKEY as 20001 sysop open r "$MNT/db/current"
[ "$(cat "$STORE"/audit/*.jsonl | wc -l)" -gt "$before" ] || fail "a sealed vault does not log"
expect_ok coffer unseal <<<"$phrase"
expect_held "ok $(sha256sum <"$SCRATCH/value" | cut -d ' ' -f 1) 9" reader read
expect_content "$SCRATCH/value" as 20001 sysop open r "$MNT/db/current" + read
audit_has '.operation == "SecretGet" and .errno == "ENOKEY" and .caller.uid == 20001'
audit_has '.operation == "VaultSeal" and .result == "allow"'
audit_has '.operation == "VaultSeal" and .result == "deny" and .caller.uid == 20001'
expect_held ok reader close
audit_verify

note "a new daemon asks again; offline commands take the passphrase too"
let_go reader
vault_umount
expect_ok coffer fsck "$STORE" <<<"$phrase"
expect_exit 3 coffer fsck "$STORE" <<<wrong
vault_mount
sealed true || fail "open without its passphrase"
expect_errno ok sysop stat "$MNT/db/versions/1"
expect_errno ENOKEY sysop open r "$MNT/db/current"
expect_ok coffer unseal <<<"$phrase"
expect_content "$SCRATCH/value" as 20001 sysop open r "$MNT/db/current" + read

note "a worker that dies takes no passphrase with it"
DEATHS_EXPECTED=1
old=$(status .processes.worker)
kill -KILL "$old"
expect_content "$SCRATCH/value" as 20001 sysop open r "$MNT/db/current" + read
[ "$(status .processes.worker)" != "$old" ] || fail "the worker lives"

note "a key holder that dies loses the passphrase: what is cached is served, and the status says so"
wait_for sealed false
wait_for serves all
expect_content "$SCRATCH/value" as 20001 sysop open r "$MNT/db/current" + read
kill -KILL "$(status .processes.keyholder)"
wait_for sealed true
wait_for serves cached
[ "$(status .kek.sealed)" = true ] || fail "kek.sealed $(status .kek.sealed)"
expect_content "$SCRATCH/value" as 20001 sysop open r "$MNT/db/current" + read
expect_exit 7 coffer put db --file "$SCRATCH/value"
expect_ok coffer unseal <<<"$phrase"
sealed false || fail "still sealed"
[ "$(status .serving)" = all ] || fail "serving $(status .serving)"
expect_ok coffer put db --file "$SCRATCH/value"
