#!/bin/bash
# Paths of any length: a store's sockets are reached wherever it lies, a mount point may be as long as paths are, and a store whose path no mount can have is refused before anything is made.
. "$(dirname "$0")/../support/lib.sh"

# daemons in the background are no children of the test
background_down() { ! mounted || umount -l "$MNT"; }
AT_EXIT+=(background_down)

# path_of LENGTH DIRECTORY: a path of so many bytes below it, in parts of 50 at most, without the last part made
path_of()
{
	local path=$2 part
	while [ ${#path} -lt "$1" ]; do
		part=$(($1 - ${#path} - 1))
		# what is left must be a part of one byte at least
		[ "$part" -le 50 ] || part=$((part == 51 ? 40 : 50))
		path=$path/$(head -c "$part" /dev/zero | tr '\0' x)
	done
	mkdir -p "$(dirname "$path")"
	echo "$path"
}
# sealed_and_back: by the socket that passphrases come over
sealed_and_back()
{
	printf value | coffer put a >/dev/null
	expect_ok coffer seal
	expect_errno ENOKEY sysop open r "$MNT/a/current"
	expect_ok coffer unseal
	expect_output value cat "$MNT/a/current"
}

one_line() { [ "$(wc -l <"$ERR")" = 1 ] || fail "not one line: $(cat "$ERR")"; }

for length in 95 108 248; do
	note "a store whose path has $length bytes: mounted, sealed, unsealed, taken over"
	STORE=$(path_of "$length" "$SCRATCH/store")
	[ ${#STORE} = "$length" ] || fail "the test made a path of ${#STORE} bytes"
	KEK=$SCRATCH/keys/$length/k
	vault_init
	vault_mount
	sealed_and_back
	before=$DAEMON
	cofferd -f "$STORE" "$MNT" -o takeover 2>>"$DAEMON_LOG" &
	DAEMON=$(process_of $!)
	wait_for dead "$before"
	sealed_and_back
	vault_umount
	expect_ok coffer fsck "$STORE"
done

note "a path of one byte, from where the store is"
cd "$SCRATCH/store"
mkdir short
cd short
expect_ok coffer init v --kek "file:$SCRATCH/keys/v/k"
expect_ok cofferd v "$MNT"
sealed_and_back
umount "$MNT"
wait_for flock -n v/lock true
cd /

note "longer than a mount can say, the store is refused by one line that says so, and nothing is made"
for length in 5000 249 600 3900; do
	long=$(path_of "$((length < 3900 ? length : 3900))" "$SCRATCH/store")
	[ "$length" -le 4000 ] || long=$long/$(head -c 1200 /dev/zero | tr '\0' x)
	expect_exit 2 coffer init "$long" --kek "file:$SCRATCH/keys/long/k"
	one_line
	expect_message 'path is (longer than the 248 bytes that can be mounted|too long)'
	[ ! -e "$SCRATCH/keys/long" ] || fail "a refused init left a key"
	[ "$length" -gt 4000 ] && continue
	cp -a "$STORE" "$long"
	expect_exit 2 cofferd "$long" "$MNT"
	one_line
	expect_message 'longer than the 248 bytes that the kernel takes; serve it under a shorter one: .*mount --bind'
done
expect_exit 2 coffer fsck "$long"
expect_message 'longer than 480 bytes'
note "and can be served under a shorter one"
mkdir "$SCRATCH/store/short/way"
mount_extra --bind "$long" "$SCRATCH/store/short/way"
expect_ok cofferd "$SCRATCH/store/short/way" "$MNT"
sealed_and_back
umount "$MNT"
wait_for flock -n "$long/lock" true

note "a mount point whose path is as long as paths are, and has what the list of mounts writes as four bytes each"
STORE=$SCRATCH/store/plain
KEK=$SCRATCH/keys/plain/k
MNT=$(path_of 3700 "$SCRATCH/$(printf 'of blanks %.0s' {1..24})")
mkdir -p "$MNT"
export COFFER_MOUNT=$MNT
expect_ok coffer init "$STORE" --kek "file:$KEK"
expect_ok cofferd "$STORE" "$MNT"
sealed_and_back
before=$(jq -r .processes.keeper "$MNT/.coffer/status")
expect_ok cofferd "$STORE" "$MNT" -o takeover
wait_for dead "$(process_of "$before")"
sealed_and_back
note "what a killed daemon left there is cleared"
before=$(jq -r .processes.keeper "$MNT/.coffer/status")
kill -KILL "$before"
wait_for dead "$(process_of "$before")"
expect_ok cofferd "$STORE" "$MNT"
expect_output value cat "$MNT/a/current"
umount "$MNT"
wait_for flock -n "$STORE/lock" true
