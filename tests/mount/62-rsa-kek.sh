#!/bin/bash
# Vaults whose KEK somebody brings: init takes a key file that is there, says so, and never removes it. One of RSA carries a vault through its whole life.
. "$(dirname "$0")/../support/lib.sh"

command -v openssl >/dev/null || { echo "openssl is not installed"; exit 77; }

# the algorithm, the fifth byte after the magic, of the vault key's record
wrapped_by() { sed -n 's/^vault[-_ ]*\(record\|key\) *= *//p' "$STORE/vault.conf" | cut -c 11-12; }

for bits in 2048 3072 4096; do
	note "RSA, $bits bits"
	(umask 077 && openssl genrsa -out "$KEK" "$bits" 2>/dev/null)
	sum=$(sha256sum <"$KEK")
	expect_ok coffer init "$STORE" --kek "file:$KEK"
	grep -q '^  It was there and is used as it is, for RSA-OAEP-256; none was made\.$' "$OUT" || fail "init does not say whose key it took: $(cat "$OUT")"
	[ "$(sha256sum <"$KEK")" = "$sum" ] || fail "init changed the key"
	[ "$(wrapped_by)" = 02 ] || fail "the vault's key is not wrapped by RSA-OAEP-256: $(cat "$STORE/vault.conf")"
	vault_mount
	printf one | expect_ok coffer put db
	printf two | expect_ok coffer put db
	printf three >"$MNT/db/current"
	expect_ok coffer grant secrets-user user:20001 --on db
	expect_output three as 20001 cat "$MNT/db/current"
	expect_output one as 20001 cat "$MNT/db/versions/1"
	expect_exit 1 as 20002 cat "$MNT/db/current"
	expect_ok coffer seal
	expect_exit 1 as 20001 cat "$MNT/db/current"
	expect_ok coffer unseal
	expect_output three as 20001 cat "$MNT/db/current"
	expect_ok coffer fsck "$STORE" --deep
	vault_umount

	note "and again after a restart"
	vault_mount
	expect_output two as 20001 cat "$MNT/db/versions/2"
	printf four | expect_ok coffer put db
	expect_output four as 20001 cat "$MNT/db/current"
	vault_umount
	expect_ok coffer fsck "$STORE" --deep
	audit_verify
	rm -r "$STORE" "${KEK%.kek}.verify"
done

note "an init that fails leaves a key that it did not make"
(umask 077 && head -c 32 /dev/urandom >"$KEK")
sum=$(sha256sum <"$KEK")
# shellcheck disable=SC2016
expect_exit 1 unshare -m sh -c 'mkdir -p "$1/small" && mount -t tmpfs -o size=16k tmpfs "$1/small" && coffer init "$1/small/full" --admin user:0 --kek "file:$2"' sh "$SCRATCH" "$KEK"
[ "$(sha256sum <"$KEK")" = "$sum" ] || fail "the key is gone"

note "32 bytes that somebody brings"
expect_ok coffer init "$STORE" --kek "file:$KEK"
grep -q 'It was there and is used as it is, for AES-256 key wrap' "$OUT" || fail "$(cat "$OUT")"
vault_mount
printf v | expect_ok coffer put db
vault_umount
expect_ok coffer fsck "$STORE" --deep

note "the file becomes another's under a running daemon: what needs the key fails, says the log, and returns with it"
DEATHS_EXPECTED=1
vault_mount
expect_output v coffer get db
cp "$KEK" "$SCRATCH/keys/right"
head -c 32 /dev/urandom >"$SCRATCH/keys/other"
cat "$SCRATCH/keys/other" >"$KEK"
kill -KILL "$(status .processes.keyholder)"
says_why() { grep -q "the key holder is gone: the key of file:$KEK is another vault's" "$DAEMON_LOG"; }
wait_for says_why
expect_exit 7 coffer put db --file /etc/hostname
expect_output v coffer get db	# its key is known still
cat "$SCRATCH/keys/right" >"$KEK"
wait_for coffer put db --file /etc/hostname
expect_ok cmp /etc/hostname "$MNT/db/current"
vault_umount
