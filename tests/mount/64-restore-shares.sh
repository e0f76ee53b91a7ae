#!/bin/bash
# A backup that is handed in does not fill the disk: what waits to be restored has a share of it, and one user a share of that. Refused with one line, nothing is left of it.
. "$(dirname "$0")/../support/lib.sh"

key=$SCRATCH/keys/safe.key
pub=$SCRATCH/safe.pub
(umask 077; coffer recipient keygen "$key" >"$pub" 2>/dev/null) || fail "keygen"
install -m 644 "$key" "$SCRATCH/readable.key"
chmod 644 "$pub"

note "backups of three lengths"
vault_start
expect_ok coffer recipient add safe --public-key "$pub"
signer=$(status .signer)
for i in $(seq 24); do
	head -c 1000000 /dev/urandom >"$SCRATCH/large"
	expect_ok coffer put "s$i" --file "$SCRATCH/large"
done
# backup_of FILE NAME…
backup_of()
{
	local file=$1
	shift
	coffer backup "$@" --recipient safe >"$file" 2>"$ERR" || fail "$(cat "$ERR")"
	chmod 644 "$file"
}
backup_of "$SCRATCH/small" s1
backup_of "$SCRATCH/middle" s1 s2 s3 s4 s5 s6 s7 s8 s9 s10
backup_of "$SCRATCH/long" --all
vault_umount

note "a store on a disk of 80 MiB, of which a quarter of what is free may wait"
STORE=$SCRATCH/ram/store
mkdir "$SCRATCH/ram"
mount_extra -t tmpfs -o size=80M,mode=755 tmpfs "$SCRATCH/ram"
KEK=$SCRATCH/keys/other.kek
vault_start
expect_ok coffer role create restorer secrets/restore secrets/list
expect_ok coffer grant restorer user:20001 --on '*'
restore_from() { local file=$1; shift; "$@" coffer restore --signer "$signer" --key "$SCRATCH/readable.key" <"$file"; }

note "nobody hands in more, and what was handed in goes"
expect_exit 1 restore_from "$SCRATCH/long"
expect_message 'too long to be handed in.*1/4 of the disk'
[ "$(status .secrets)" = 0 ] || fail "something was restored"
expect_exit 0 restore_from "$SCRATCH/small" as 20001
expect_output 1000000 stat -c %s "$MNT/s1/current"
expect_ok coffer delete s1
expect_ok coffer purge s1

note "half of it is one user's, who is no administrator"
expect_exit 1 restore_from "$SCRATCH/middle" as 20001
expect_message "one user's half"
[ "$(status .secrets)" = 0 ] || fail "something was restored"
expect_exit 0 restore_from "$SCRATCH/middle"
[ "$(status .secrets)" = 10 ] || fail "$(status .secrets) secrets"
