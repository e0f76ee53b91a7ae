#!/bin/bash
# The commands that work on a store: init makes all or nothing, fsck and audit verify find what was changed, break-glass works beside a daemon.
. "$(dirname "$0")/../support/lib.sh"

note "init refuses what makes no sense and leaves nothing"
expect_exit 2 coffer init "$STORE" --kek "file:$KEK" --retention 91
expect_exit 4 coffer init "$STORE" --kek "file:$KEK" --admin user:nobody-has-this-name
# not_a_kek PATTERN: what lies there cannot be a vault's key, says one line, and stays as it is
not_a_kek()
{
	local before
	before=$(stat -c '%a %u %s %Y %i' "$KEK")
	expect_exit 5 coffer init "$STORE" --kek "file:$KEK"
	expect_message "$1"
	[ "$(wc -l <"$ERR")" = 1 ] || fail "not one line: $(cat "$ERR")"
	[ "$(stat -c '%a %u %s %Y %i' "$KEK")" = "$before" ] || fail "somebody's key file was touched"
	[ ! -e "$STORE" ] || fail "a refused init left a store"
}
(umask 077 && echo mine >"$KEK")
not_a_kek 'has 5 bytes, .*a file that is not there yet'
head -c 32 /dev/urandom >"$KEK"
chmod 644 "$KEK"
not_a_kek 'chmod 600'
chmod 600 "$KEK"
chown 20001 "$KEK"
not_a_kek 'chown root'
rm "$KEK"
mkdir "$KEK"
not_a_kek 'not a regular file'
rmdir "$KEK"
(umask 077 && openssl genrsa -out "$KEK" 1024 2>/dev/null)
not_a_kek 'RSA key of 1024 bits'
(umask 077 && openssl ecparam -name prime256v1 -genkey -out "$KEK")
not_a_kek 'neither'
openssl genrsa -aes128 -passout pass:secret -out "$KEK" 2048 2>/dev/null
not_a_kek 'without a passphrase'
rm "$KEK"

note "a key in the usual place is not taken unless it is named: the new one is called otherwise, which is said before it is made"
in_empty_etc()
{
	# shellcheck disable=SC2016
	unshare -m sh -c 'mkdir -p /etc/coffer && mount -t tmpfs tmpfs /etc/coffer && '"$1" sh "$STORE"
}
# shellcheck disable=SC2016
expect_ok in_empty_etc 'head -c 32 /dev/urandom >/etc/coffer/test.kek && sum=$(sha256sum /etc/coffer/test.kek) && coffer init "$1" --admin user:0 && [ "$sum" = "$(sha256sum /etc/coffer/test.kek)" ] && ls /etc/coffer && sed -n "s/^kek = //p" "$1/vault.conf"'
id=$(sed -n 's/^id = \(.\{8\}\).*/\1/p' "$STORE/vault.conf")
[ "$(sed -n '/test.*kek$/p; /verify$/p' "$OUT" | tail -n 4 | xargs)" = "test-$id.kek test-$id.verify test.kek file:/etc/coffer/test-$id.kek" ] || fail "$(cat "$OUT")"
grep -q -- '--kek file:/etc/coffer/test.kek' "$ERR" || fail "nothing is said of the key that is there: $(cat "$ERR")"
for word in kek verify; do
	grep -q "key .*will be /etc/coffer/test-$id.$word" "$ERR" || fail "nothing is said before: $(cat "$ERR")"
done
note "of a vault that is there, one line says so, and nothing is said of keys; of a directory that is none, which one it is"
# shellcheck disable=SC2016
expect_exit 5 in_empty_etc 'echo mine >/etc/coffer/test.kek && coffer init "$1" --admin user:0'
expect_message 'is a vault already; nothing was changed'
[ "$(wc -l <"$ERR")" = 1 ] || fail "not one line: $(cat "$ERR")"
mkdir -p "$SCRATCH/store/none"
expect_exit 4 cofferd "$SCRATCH/store/none" "$MNT"
expect_message "$SCRATCH/store/none is not a store .*coffer init $SCRATCH/store/none"
rmdir "$SCRATCH/store/none"
rm -r "$STORE"

note "two stores of one name in two directories: two keys, two verify keys, and each is found again"
mkdir "$SCRATCH/store/a" "$SCRATCH/store/b" "$SCRATCH/store/c"
# shellcheck disable=SC2016
expect_ok in_empty_etc 'cd "${1%/*}" && for d in a b c; do coffer init $d/test --admin user:0 || exit; done && for d in a b c; do coffer fsck $d/test && coffer audit verify $d/test || exit; done && ls /etc/coffer | wc -l && ls /etc/coffer'
[ "$(grep -cE '^test(-[0-9a-f]{8})?\.(kek|verify)$' "$OUT")" = 6 ] || fail "not three keys of each kind: $(cat "$OUT")"
rm -r "$SCRATCH/store/a" "$SCRATCH/store/b" "$SCRATCH/store/c"
mkdir "$SCRATCH/store/a" "$SCRATCH/store/b"
for d in a b; do
	expect_ok coffer init "$SCRATCH/store/$d/test" --kek "file:$SCRATCH/keys/two/$d"
done
for d in a b; do
	expect_ok coffer audit verify "$SCRATCH/store/$d/test"
done
own=("$SCRATCH/keys/two"/test-*.verify)
mv "${own[0]}" "$SCRATCH/keys/moved"
expect_exit 6 coffer audit verify "$SCRATCH/store/b/test"
expect_message "verify key $SCRATCH/keys/two/test.verify: .*another vault's.* called ${own[0]}, .*--verify-key"
expect_ok coffer audit verify "$SCRATCH/store/b/test" --verify-key "$SCRATCH/keys/moved"
rm -r "$SCRATCH/store/a" "$SCRATCH/store/b" "$SCRATCH/keys/two"

note "a key whose path is UTF-8; one that could not be written down is refused before anything is made"
umlaut="$SCRATCH/keys/schl"$'\xc3\xbc'"ssel/"$'\xe9\x8d\xb5'" 1"
expect_ok coffer init "$STORE" --kek "file:$umlaut"
expect_ok coffer fsck "$STORE"
expect_ok cofferd "$STORE" "$MNT"
[ "$(jq -r .sealed "$MNT/.coffer/status")" = false ] || fail "its key was not found"
umount "$MNT"
wait_for flock -n "$STORE/lock" true
rm -r "$STORE" "$SCRATCH/keys/"*
for bad in $'new\nline' $'esc\e[1m' $'\xff' $'\xc0\xaf' $'\xc2\x9b' $'cut\xc3'; do
	expect_exit 2 coffer init "$STORE" --kek "file:$SCRATCH/keys/$bad"
	expect_message 'control character, or is not UTF-8'
	[ ! -e "$STORE" ] && [ -z "$(ls "$SCRATCH/keys")" ] || fail "a refused init left something"
done

mkdir "$STORE" && echo mine >"$STORE/file"
expect_exit 5 coffer init "$STORE" --kek "file:$KEK"
[ "$(ls "$STORE")" = file ] || fail "init touched a directory that is not empty"
rm -r "$STORE"
grep -v '^coffer' /etc/passwd >"$SCRATCH/passwd"
# shellcheck disable=SC2016
expect_exit 1 unshare -m sh -c 'mount --bind "$1" /etc/passwd && coffer init "$2" --admin user:0 --kek "file:$3"' sh "$SCRATCH/passwd" "$STORE" "$KEK"
expect_message 'useradd .*coffer && .*coffer-keys && .*coffer-helper'
[ ! -e "$STORE" ] || fail "a refused init left a store"
[ -z "$(ls "$SCRATCH/keys")" ] || fail "a refused init left a key"

note "a place where others could put another store, or key, is none"
install -d -o 20001 -m 755 "$SCRATCH/theirs"
install -d -m 777 "$SCRATCH/anybodys" "$SCRATCH/store/open"
for place in theirs anybodys; do
	expect_exit 1 coffer init "$SCRATCH/$place/vault" --kek "file:$KEK"
	expect_message "the store would lie below $SCRATCH/$place"
	expect_exit 1 coffer init "$STORE" --kek "file:$SCRATCH/$place/key"
	expect_message "$SCRATCH/$place"
	[ -z "$(ls -A "$SCRATCH/$place")" ] || fail "something was made in $SCRATCH/$place"
done
expect_exit 1 coffer init "$SCRATCH/store/open" --kek "file:$KEK"
expect_message "chmod 755 $SCRATCH/store/open"
rmdir "$SCRATCH/store/open"
ln -s "$SCRATCH/theirs" "$SCRATCH/store/link"
expect_exit 1 coffer init "$STORE" --kek "file:$SCRATCH/store/link/key"
expect_message "lie below $SCRATCH/theirs"
rm "$SCRATCH/store/link"
[ ! -e "$STORE" ] && [ ! -e "$KEK" ] || fail "a refused init left something"

note "init that fails half-way takes back what it made"
# shellcheck disable=SC2016
expect_exit 1 unshare -m sh -c 'mkdir -p "$1/small" && mount -t tmpfs -o size=16k tmpfs "$1/small" && coffer init "$1/small/full" --admin user:0 --kek "file:$1/keys/new/full.kek"
	status=$?; ls -A "$1/small" >"$1/left"; exit $status' sh "$SCRATCH"
[ ! -s "$SCRATCH/left" ] || fail "left in the store's place: $(cat "$SCRATCH/left")"
[ -z "$(ls "$SCRATCH/keys")" ] || fail "left beside the key: $(ls "$SCRATCH/keys")"

note "in a container, or a mount namespace of its own, somebody must be named"
for other in '-pf --mount-proc' -m -Ur; do
	# shellcheck disable=SC2086
	expect_exit 2 unshare $other coffer init "$STORE" --kek "file:$KEK"
	expect_message '--admin user:0'
	[ ! -e "$STORE" ] || fail "a refused init left a store"
done

note "a vault, checked while it is mounted"
vault_start
printf v | expect_ok coffer put a-name-to-find
expect_exit 5 coffer init "$STORE" --kek "file:$KEK"
expect_ok coffer fsck "$STORE" --deep
audit_verify
expect_exit 3 as 20001 coffer fsck "$STORE"

note "another key, and no key"
head -c 32 /dev/urandom >"$SCRATCH/keys/other" && chmod 600 "$SCRATCH/keys/other"
expect_exit 3 coffer fsck "$STORE" --kek "file:$SCRATCH/keys/other"
expect_message "does not open"
expect_exit 7 coffer fsck "$STORE" --kek "file:$SCRATCH/keys/nosuch"
chmod 644 "$SCRATCH/keys/other"
expect_exit 7 coffer fsck "$STORE" --kek "file:$SCRATCH/keys/other"
expect_message 'chmod 600'

note "break-glass beside the daemon: effective at once, and in the log"
expect_exit 3 as 20001 coffer seal
expect_exit 3 as 20001 coffer break-glass "$STORE" user:20001
expect_ok coffer break-glass "$STORE" user:20001
wait_for as 20001 coffer can-i vault/seal
wait_for audit_has '.operation == "BreakGlass"'
vault_umount

note "and without one: the next daemon records it"
expect_ok coffer break-glass "$STORE" user:20002
expect_message 'when the daemon next starts'
vault_mount
wait_for as 20002 coffer can-i vault/seal
wait_for sh -c "[ \$(grep -c BreakGlass '$MNT/.coffer/audit') = 2 ]"
vault_umount
audit_verify

note "what is changed in a copy is found, and said"
copy()
{
	chattr -R -a "$SCRATCH/copy" 2>/dev/null || true
	rm -rf "$SCRATCH/copy"
	cp -a "$STORE" "$SCRATCH/copy"
	chattr -R -a "$SCRATCH/copy" 2>/dev/null || true
}
log=audit/audit-00000001.jsonl
copy
sed -i '2s/"result":"allow"/"result":"error"/; 3s/"pid":[0-9]*/"pid":1/' "$SCRATCH/copy/$log"
expect_exit 6 coffer audit verify "$SCRATCH/copy" --verify-key "${KEK%.kek}.verify"
copy
head -n 4 "$STORE/$log" >"$SCRATCH/copy/$log"
expect_exit 6 coffer audit verify "$SCRATCH/copy" --verify-key "${KEK%.kek}.verify"
expect_message 'cut'
for pipe in "$log" audit/head; do
	copy
	rm "$SCRATCH/copy/$pipe"
	mkfifo "$SCRATCH/copy/$pipe"
	! timeout 30 coffer audit verify "$SCRATCH/copy" --verify-key "${KEK%.kek}.verify" >"$OUT" 2>"$ERR" || fail "a pipe is a log"
	[ "$(wc -l <"$ERR")" = 1 ] || fail "$pipe held audit verify up: $(cat "$ERR")"
done
copy
sed -i 's/a-name-to-find/a-name-to-lose/g' "$SCRATCH/copy/db/vault.db"
! cmp -s "$STORE/db/vault.db" "$SCRATCH/copy/db/vault.db" || fail "the name does not stand in the database"
expect_exit 6 coffer fsck "$SCRATCH/copy"
grep -q 'not authentic' "$OUT" || fail "$(cat "$OUT")"
expect_exit 6 coffer break-glass "$SCRATCH/copy" user:20001
expect_exit 4 coffer audit verify "$STORE" --verify-key "$SCRATCH/nosuch"
