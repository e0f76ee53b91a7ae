#!/bin/bash
# A daemon that cannot start says in one line what is wrong and what to do, ends with the documented status, and leaves everything as it was.
. "$(dirname "$0")/../support/lib.sh"

vault_init
cp -a "$STORE" "$SCRATCH/store/pristine"

# refused STATUS PATTERN ARGUMENT…: in the foreground and in the background the same
refused()
{
	local status=$1 pattern=$2 before
	shift 2
	before=$(children)
	for front in -f ''; do
		# shellcheck disable=SC2086
		expect_exit "$status" timeout 60 cofferd $front "$@"
		# the foreground has its log there, too
		sed -i '/^cofferd\[/d' "$ERR"
		expect_message "$pattern"
		[ "$(wc -l <"$ERR")" = 1 ] || fail "not one line: $(cat "$ERR")"
		[ ! -s "$OUT" ] || fail "words on stdout: $(cat "$OUT")"
		! mounted || fail "mounted all the same"
		wait_for nobody_new "$before"
		[ ! -e "$STORE/unseal.sock" ] || [ -n "${SERVED:-}" ] || fail "a socket is left behind"
	done
}

# keepers and their children that work on this test's directories
children()
{
	local file
	for file in $(grep -lsF "$SCRATCH" /proc/[0-9]*/cmdline); do
		[ "$(cat "${file%cmdline}comm" 2>/dev/null)" != cofferd ] || echo "$file"
	done
	return 0
}
nobody_new() { [ "$(children)" = "$1" ]; }

# the store as it was before anything was done to it
restore()
{
	chattr -R -a "$STORE" 2>/dev/null || true
	rm -rf "$STORE"
	cp -a "$SCRATCH/store/pristine" "$STORE"
}

note "usage"
for arguments in "$STORE" "$STORE $MNT more" "-x $STORE $MNT" "$STORE $MNT -o" "$STORE $MNT -o nonsense" "$STORE $MNT -o nopagecache=1" \
	"$STORE $MNT -o audit_durability=often" "$STORE $MNT -o plain_pool=1" "$STORE $MNT -o plain_pool=-5" "$STORE $MNT -o cipher_cache=1T" \
	"$STORE $MNT -o max_read=2K" "$STORE $MNT -o max_read=5000" "$STORE $MNT -o max_read=1M" "$STORE $MNT -o max_read"; do
	# shellcheck disable=SC2086
	refused 2 '.' $arguments
done

note "the store: missing, a file, not a vault"
refused 4 'coffer init' "$SCRATCH/store/nothing" "$MNT"
: >"$SCRATCH/store/file"
refused 1 'file' "$SCRATCH/store/file" "$MNT"
mkdir "$SCRATCH/store/empty"
refused 4 'coffer init' "$SCRATCH/store/empty" "$MNT"
[ -z "$(ls "$SCRATCH/store/empty")" ] || fail "something was made in an empty directory: $(ls "$SCRATCH/store/empty")"

note "the store: others may write, damaged, newer than we are, without its log"
chmod 777 "$STORE"
refused 1 'chmod' "$STORE" "$MNT"
restore
database=$(find "$STORE/db" -type f ! -name '*-wal' ! -name '*-shm' | head -n 1)
[ -n "$database" ] || fail "no database in $(ls "$STORE/db")"
head -c 4096 /dev/urandom | dd of="$database" conv=notrunc status=none
refused 6 'coffer fsck' "$STORE" "$MNT"
restore
: >"$database"
refused 6 'coffer fsck' "$STORE" "$MNT"
restore
if command -v sqlite3 >/dev/null; then
	version=$(sqlite3 "$database" 'PRAGMA user_version')
	sqlite3 "$database" "PRAGMA user_version = $((version + 1))"
	refused 1 'newer|version' "$STORE" "$MNT"
	restore
	for change in 'DELETE FROM bindings' "UPDATE bindings SET principal = 'everyone'" 'UPDATE bindings SET mac = zeroblob(32)'; do
		sqlite3 "$database" "$change"
		refused 6 'coffer fsck' "$STORE" "$MNT"
		restore
	done
fi
mv "$STORE/vault.conf" "$SCRATCH/vault.conf"
refused 4 'coffer init' "$STORE" "$MNT"
echo nonsense >"$STORE/vault.conf"
refused 6 'vault.conf' "$STORE" "$MNT"
restore
mv "$STORE/audit" "$SCRATCH/audit"
refused 6 'audit' "$STORE" "$MNT"
mv "$SCRATCH/audit" "$STORE/audit"

note "the key: missing, no file, readable by others, not a key, another vault's; coffer says the same"
# no_key STATUS PATTERN: the daemon and an offline command
no_key()
{
	refused "$1" "$2" "$STORE" "$MNT"
	expect_exit "$1" coffer fsck "$STORE"
	[ "$(wc -l <"$ERR")" = 1 ] || fail "not one line: $(cat "$ERR")"
}
mv "$KEK" "$SCRATCH/key"
no_key 7 'key file .*bring it back'
mkdir "$KEK"
no_key 7 'not a regular file'
rmdir "$KEK"
mkfifo -m 600 "$KEK"
no_key 7 'not a regular file'
rm "$KEK"
cp "$SCRATCH/key" "$KEK"
chmod 640 "$KEK"
no_key 7 'chmod 600'
chmod 600 "$KEK"
chown 20001 "$KEK"
no_key 7 'chown root'
chown 0 "$KEK"
for bytes in 0 31 33 500 20000; do
	head -c "$bytes" /dev/urandom >"$KEK"
	no_key 7 "${KEK##*/} has $bytes bytes, .*bring the vault's own key back from its copy\$"
done
openssl genrsa -out "$KEK" 1024 2>/dev/null
no_key 7 'RSA key of 1024 bits'
head -c 32 /dev/urandom >"$KEK"
no_key 3 "another vault's.*bring the vault's own key back from its copy\$"
openssl genrsa -out "$KEK" 2048 2>/dev/null
no_key 3 "another vault's.*bring the vault's own key back from its copy\$"
cat "$SCRATCH/key" >"$KEK"

note "the mount point: missing, a file, not empty, taken"
refused 4 'mkdir' "$STORE" "$SCRATCH/nowhere"
: >"$SCRATCH/file"
refused 1 'directory' "$STORE" "$SCRATCH/file"
: >"$MNT/something"
refused 1 'empty' "$STORE" "$MNT"
rm "$MNT/something"
mkdir "$SCRATCH/other"
mount_extra -t tmpfs tmpfs "$SCRATCH/other"
refused 5 'mount point already; umount' "$STORE" "$SCRATCH/other"
unmount_extra

note "system users: each that is missing is named, with the command that makes it"
for user in coffer coffer-keys coffer-helper; do
	grep -v "^$user:" /etc/passwd >"$SCRATCH/passwd"
	# shellcheck disable=SC2016
	without() { unshare --mount sh -c 'mount --bind "$0" /etc/passwd && exec "$@"' "$SCRATCH/passwd" "$@"; }
	expect_exit 1 without timeout 60 cofferd "$STORE" "$MNT"
	expect_message "user $user is missing; run: useradd .* $user\$"
done

note "not root"
expect_exit 1 as 20001 cofferd -f "$STORE" "$MNT"
expect_message 'root'

note "after all that the vault is what it was; a second daemon is told who serves it"
restore
vault_mount
expect_ok coffer put db --file /etc/hostname
SERVED=1
mkdir "$SCRATCH/second"
expect_exit 5 timeout 60 cofferd -f "$STORE" "$SCRATCH/second"
expect_message "served already, by process ${DAEMON%:*}"
expect_exit 5 timeout 60 cofferd "$STORE" "$SCRATCH/second"
expect_exit 5 timeout 60 cofferd "$STORE" "$MNT"
expect_ok cmp /etc/hostname "$MNT/db/current"
vault_umount
audit_verify
expect_ok coffer fsck "$STORE"

note "who mounts again as soon as umount is back need not wait for the old daemon"
for round in 1 2 3 4 5; do
	expect_ok timeout 60 cofferd "$STORE" "$MNT"
	expect_ok cmp /etc/hostname "$MNT/db/current"
	expect_ok timeout 60 umount "$MNT"
done
expect_ok timeout 60 cofferd "$STORE" "$MNT"
last=$(status .processes.keeper)
umount "$MNT"
keeper_gone() { [ ! -e "/proc/$last" ]; }
wait_for keeper_gone
