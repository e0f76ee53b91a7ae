#!/bin/bash
# The commands that work on a store itself read a database that its worker's user may have written: the process that does so never has the KEK, nor the passphrase. A child has, under the user for keys, in the
# cell of the daemon's key holder, and ends with it. A release build, for a sanitizer keeps what was freed.
. "$(dirname "$0")/../support/lib.sh"

[ -n "${COFFER_RELEASE_BIN:-}" ] || { echo "COFFER_RELEASE_BIN names no release build"; exit 77; }
install -m 755 "$COFFER_RELEASE_BIN/coffer" "$COFFER_RELEASE_BIN/cofferd" "$SCRATCH/bin"

phrase='correct horse battery staple, and more of it'
# without a key file, init leaves the verify key where all vaults have theirs
second=$SCRATCH/store/test-offline-$$
[ ! -d /etc/coffer ] && made=/etc/coffer || made=
cleanup()
{
	rm -f "/etc/coffer/test-offline-$$.verify"
	[ -z "$made" ] || rmdir "$made" 2>/dev/null
}
AT_EXIT+=(cleanup)

# in_status PID FIELD: of /proc/PID/status, its first word
in_status() { awk -v field="$2:" '$1 == field { print $2 }' "/proc/$1/status"; }
child_of() { cat "/proc/$1/task/$1/children" 2>/dev/null; }

note "the scanner finds what is there"
vault_init
vault_mount
perl -e 'open(F, "<:raw", $ARGV[0]); local $/; my $x = <F>; sleep 60' "$KEK" &
STARTED+=("$(process_of $!)")
finds_it() { ! "$COFFER_SUPPORT/memscan" "${STARTED[-1]%:*}" "$KEK"; }
wait_for finds_it

printf 'a value' | coffer put a
echo 'a passphrase for the backup' >"$SCRATCH/keys/backup"
coffer backup --all --passphrase-file "$SCRATCH/keys/backup" >"$SCRATCH/backup" 2>"$ERR" || fail "$(cat "$ERR")"
signer=$(coffer status --output json | jq -r .signer)
vault_umount

# Findings enough to fill what lies between the command and who does not read them
hostile()
{
	as "$(stat -c %u "$1/db")" sqlite3 "$1/db/vault.db" 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400) INSERT INTO marks SELECT i, 1, 1, 1, 1, 1, zeroblob(32) FROM n'
}

# waiting STORE NEEDLE STDIN: fsck in the middle of a store's rows, held by a full pipe; nothing of NEEDLE is in it
waiting()
{
	local store=$1 needle=$2 pid child worker status=0
	worker=$(stat -c %u "$store/db")
	rm -f "$SCRATCH/fifo"
	mkfifo "$SCRATCH/fifo"
	exec 9<>"$SCRATCH/fifo"
	perl -e 'fcntl(STDOUT, 1031, 4096); syswrite(STDOUT, "x" x 4096)' >&9	# F_SETPIPE_SZ
	coffer fsck "$store" <"$3" >&9 2>"$ERR" 9>&- &
	pid=$!
	STARTED+=("$(process_of "$pid")")
	stands() { [ "$(in_status "$pid" Uid)" = "$worker" ] && grep -q pipe "/proc/$pid/wchan"; }
	wait_for stands
	expect_ok "$COFFER_SUPPORT/memscan" "$pid" "$needle"
	child=$(child_of "$pid")
	child=${child% }
	[ -n "$child" ] || fail "there is no key holder"
	[ "$(in_status "$child" Uid)" = "$(id -u coffer-keys)" ] || fail "the key holder runs as uid $(in_status "$child" Uid)"
	[ "$(in_status "$child" Seccomp) $(in_status "$child" NoNewPrivs) $(in_status "$child" CapPrm)" = "2 1 0000000000000000" ] || fail "the key holder has no cell: $(cat "/proc/$child/status")"
	! as "$worker" cat "/proc/$child/environ" >/dev/null 2>&1 || fail "the worker's user looks into the key holder"
	! as "$worker" cat "/proc/$pid/environ" >/dev/null 2>&1 || fail "another process of the worker's user looks into the command"
	cat <&9 >"$SCRATCH/findings" &
	STARTED+=("$(process_of $!)")
	wait "$pid" || status=$?
	exec 9>&-
	[ "$status" = 6 ] || fail "fsck ended with $status: $(cat "$ERR")"
	gone() { [ ! -e "/proc/$child" ]; }
	wait_for gone
	end_process "${STARTED[-1]}"
}

note "a key in a file"
cp -a "$STORE" "$SCRATCH/good"
hostile "$STORE"
waiting "$STORE" "$KEK" /dev/null

note "a passphrase, and the key that scrypt makes of it"
expect_ok coffer init "$second" --kek passphrase: <<<"$phrase"
printf '%s\n' "$phrase" >"$SCRATCH/keys/phrase"
salt=$(sed -n 's/^kek_params = .*salt=//p' "$second/vault.conf")
cost=$(sed -n 's/^kek_params = scrypt:ln=\([0-9]*\),.*/\1/p' "$second/vault.conf")
openssl kdf -binary -keylen 32 -kdfopt pass:"$phrase" -kdfopt hexsalt:"$salt" -kdfopt n:$((1 << cost)) -kdfopt r:8 -kdfopt p:1 -kdfopt maxmem_bytes:1073741824 SCRYPT >"$SCRATCH/keys/derived"
chmod 600 "$SCRATCH/keys/derived"
cat "$SCRATCH/keys/derived" <(printf '%s' "$phrase" | head -c 32) >"$SCRATCH/keys/needle"
cp -a "$second" "$SCRATCH/good-second"
hostile "$second"
waiting "$second" "$SCRATCH/keys/needle" "$SCRATCH/keys/phrase"

note "what goes wrong is said in one line, with the exit status as before, and no key holder stays"
expect_exit 7 coffer fsck "$STORE" --kek "file:$SCRATCH/keys/nosuch"
expect_message 'nosuch.*--kek'
expect_exit 2 coffer fsck "$STORE" --kek nosuch:x
expect_exit 3 coffer fsck "$second" <<<'another passphrase'
expect_message 'does not open'
expect_exit 3 coffer fsck "$STORE" --kek "file:$SCRATCH/keys/derived"
expect_message 'does not open'
head -c 20 /dev/urandom >"$SCRATCH/keys/short"
chmod 600 "$SCRATCH/keys/short"
expect_exit 7 coffer fsck "$STORE" --kek "file:$SCRATCH/keys/short"
expect_message '20 bytes'
expect_exit 2 coffer --role=keyholder
expect_exit 2 as 20001 coffer --role=keyholder --user=0:0
! find /proc -maxdepth 2 -name exe -lname "$SCRATCH/bin/coffer" 2>/dev/null | grep -q . || fail "a key holder stayed"

note "without a user of its own for keys there is no key holder, and nothing is read or changed"
# without EDIT STORE COMMAND…: where sed's EDIT made another /etc/passwd
without()
{
	sed "$1" /etc/passwd >"$SCRATCH/passwd"
	# shellcheck disable=SC2016
	unshare -m sh -c 'mount --bind "$1" /etc/passwd && shift && exec "$@"' sh "$SCRATCH/passwd" "${@:2}"
}
# each: a command's words, with GOOD for the store
while read -r command; do
	read -r -a words <<<"${command//GOOD/$SCRATCH/good}"
	expect_exit 1 without '/^coffer-keys:/d' coffer "${words[@]}" <"$SCRATCH/backup"
	expect_message 'no user coffer-keys, .* useradd --system .* coffer-keys$'
	[ "$(wc -l <"$ERR")" = 1 ] || fail "not one line: $(cat "$ERR")"
done <<-END
	fsck GOOD
	break-glass GOOD user:20001
	restore --into GOOD --signer $signer --passphrase-file $SCRATCH/keys/backup --existing skip
END
expect_exit 1 without 's/^coffer-keys:x:[0-9]*:/coffer-keys:x:0:/' coffer fsck "$SCRATCH/good"
expect_message 'root.s; it must be a user of its own'
expect_exit 1 without "s/^coffer-keys:x:[0-9]*:/coffer-keys:x:$(id -u coffer):/" coffer fsck "$SCRATCH/good"
expect_message 'must be a user of its own'

note "fsck and break-glass with either"
expect_ok coffer fsck "$SCRATCH/good" --deep
expect_ok coffer fsck "$SCRATCH/good-second" --deep <<<"$phrase"
expect_ok coffer break-glass "$SCRATCH/good-second" user:20001 <<<"$phrase"
! grep -aqF "$phrase" -r "$SCRATCH/good-second" || fail "the passphrase lies in the store"
chattr -R -a "$SCRATCH/good" "$SCRATCH/good-second" 2>/dev/null || true
