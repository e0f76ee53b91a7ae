#!/bin/bash
# A full disk under the log: nothing is served that cannot be logged, an administrator can still act, and service resumes by itself. A full disk under the store: a change
# fails with one clear line, and everything is as it was. Both with the log on a file system of its own, and with the whole store on one; tmpfs and ext4.
. "$(dirname "$0")/../support/lib.sh"

expect_status_of() { [ "$(status "$1")" = "$2" ] || fail "status $1: $(status "$1"), not $2"; }

# fill DIRECTORY: to the last byte
fill()
{
	dd if=/dev/zero of="$1/ballast" bs=64K 2>/dev/null || true
	dd if=/dev/zero of="$1/ballast2" bs=512 2>/dev/null || true
}
make_room() { rm -f "$1/ballast" "$1/ballast2"; }

# Readers may read on until what was allocated for the log ahead is used up; the end of it is EIO, and then stays EIO. Adds to opened.
read_until_refused()
{
	local i n error=
	for ((i = 0; i < 60; i++)); do
		read -r n error < <(as 20001 perl -e 'use Errno; my $n = 0; for (1 .. 200) { open(my $f, "<", $ARGV[0]) or last; $n++ } print $n, $n < 200 ? $!{EIO} ? " EIO" : " $!" : "", "\n"' "$MNT/db/current")
		opened=$((opened + n))
		[ -z "$error" ] || break
	done
	[ "$error" = EIO ] || fail "a full disk under the log ends in '$error', not EIO"
}

# How many opens were allowed that the log does not know of: counted by the reader, and in the log.
count_opens()
{
	as 20001 perl -e 'my $n = 0; for (1 .. $ARGV[1]) { $n++ if open(my $f, "<", $ARGV[0]) } print "$n\n"' "$MNT/db/current" "$1"
}
logged() { jq -n '[inputs | select(.operation == "SecretGet" and .result == "allow" and .caller.uid == 20001 and .caller.comm == "perl") | .count] | add // 0' < <(records <"$MNT/.coffer/audit"); }
# expect_logged N: one process's opens are counted, and the count is there within a second
expect_logged() { wait_for -t 10 logged_are "$1"; }
logged_are() { [ "$(logged)" = "$1" ]; }

# What a change or a new worker gives back of the store's room, the log may use: then opens go on for a while, and are logged.
none_unlogged()
{
	local before opened
	before=$(logged)
	opened=$(count_opens 200)
	expect_logged $((before + opened))
}

# log_is_full DISK log-only|all
log_is_full()
{
	local disk=$1 opened before epoch
	epoch=$(status .epoch)
	note "the disk is full: opens fail with EIO, and none is allowed that is not in the log"
	before=$(logged)
	fill "$disk"
	opened=$(count_opens 3000)
	expect_logged $((before + opened))
	read_until_refused
	expect_logged $((before + opened))
	before=$(logged)
	expect_errno EIO as 20001 sysop open r "$MNT/db/current"
	expect_errno EIO as 20001 sysop open r "$MNT/db/versions/1"
	expect_exit 1 as 20001 cat "$MNT/db/current"
	expect_errno EIO as 20001 sysop readdir "$MNT"
	expect_held EIO late open r "$MNT/db/current"
	[ "$(count_opens 100)" = 0 ] || fail "an open was allowed"
	[ "$(logged)" = "$before" ] || fail "the log has grown"
	as 20001 sh -c 'echo x >"$1"' - "$MNT/db/current" 2>/dev/null && fail "a write was taken"
	expect_errno EACCES as 20002 sysop open r "$MNT/db/current"

	note "a file that was opened before is read on"
	expect_held ok early read

	note "an administrator can still act, again and again, and it is logged"
	expect_ok coffer status
	expect_ok coffer whoami
	expect_ok coffer disable other
	for ((i = 0; i < 5; i++)); do
		expect_ok coffer enable other
		expect_ok coffer disable other
	done
	expect_ok coffer revoke secrets-user user:20003 --on db
	[ "$(status .epoch)" = $((epoch + 12)) ] || fail "epoch $(status .epoch) after 12 changes from $epoch"
	audit_has '.operation == "BindingDelete" and .result == "allow"'
	expect_errno EACCES as 20003 sysop open r "$MNT/db/current"
	expect_exit 0 coffer audit --denied
	[ "$(status .audit.headroom_percent)" = 0 ] || fail "status does not say that the log has no room: $(status .audit)"

	note "the worker is replaced meanwhile, more than once: it allows nothing that is not in the log, and an administrator can act"
	DEATHS_EXPECTED=1
	for ((i = 0; i < 3; i++)); do
		kill -9 "$(status .processes.worker)"
		if [ "$2" = log-only ]; then
			expect_errno EIO as 20001 sysop open r "$MNT/db/current"
		else
			none_unlogged
		fi
		expect_ok coffer enable other
		expect_ok coffer disable other
	done

	note "room again: service resumes by itself"
	make_room "$disk"
	serves() { [ "$(as 20001 sysop open r "$MNT/db/current")" = ok ]; }
	wait_for serves
	expect_output 'value' as 20001 cat "$MNT/db/current"
	expect_errno ok as 20001 sysop readdir "$MNT"
	audit_verify
}

start_vault()
{
	expect_ok coffer put db --file "$SCRATCH/value"
	expect_ok coffer put other --file "$SCRATCH/value"
	expect_ok coffer grant secrets-officer user:20001 --on '*'
	expect_ok coffer grant secrets-user user:20003 --on db
	hold early 20001
	expect_held ok early open r "$MNT/db/current"
	hold late 20001
}

stop_vault()
{
	expect_held ok early close
	vault_umount
	audit_verify
	expect_ok coffer fsck "$STORE"
	let_go early
	let_go late
	rm -rf "$SCRATCH"/{early,late}.{in,out}
}

printf 'value' >"$SCRATCH/value"

note "==== the log on a small tmpfs of its own"
vault_init
mkdir "$SCRATCH/small"
mount_extra -t tmpfs -o size=2M,mode=755 tmpfs "$SCRATCH/small"
cp -a "$STORE/audit/." "$SCRATCH/small/"
chown --reference="$STORE/audit" "$SCRATCH/small"
chmod --reference="$STORE/audit" "$SCRATCH/small"
chattr -R -a "$STORE/audit" 2>/dev/null || true
mount_extra --bind "$SCRATCH/small" "$STORE/audit"
vault_mount
start_vault
log_is_full "$SCRATCH/small" log-only
stop_vault
unmount_extra

# store_is_full DISK: a vault with its whole store on it
store_is_full()
{
	local before i
	vault_init
	vault_mount
	start_vault

	note "the store's disk is full: put says so in one line, and everything is as it was"
	before=$(coffer list --output json)
	fill "$1"
	for ((i = 0; i < 20; i++)); do
		coffer put large --file "$SCRATCH/large" >"$OUT" 2>"$ERR" || break
	done
	[ "$i" -lt 20 ] || fail "20 versions of 900 kB went onto a full disk"
	expect_exit 1 coffer put large --file "$SCRATCH/large"
	expect_message 'room|full|space'
	if [ "$i" = 0 ]; then
		[ "$(coffer list --output json)" = "$before" ] || fail "a put that failed has changed something"
	fi
	log_is_full "$1" all
	expect_ok coffer put large --file "$SCRATCH/large"
	expect_exit 0 cmp "$MNT/large/current" "$SCRATCH/large"
	reserve_is_back() { [ "$(stat -c %s "$STORE/db/vault.db-reserve")" = 4194304 ]; }
	wait_for reserve_is_back
	stop_vault
	unmount_extra
}

head -c 900000 /dev/urandom >"$SCRATCH/large"

note "==== the whole store on a small tmpfs"
STORE=$SCRATCH/ram/second KEK=$SCRATCH/keys/second.kek
mkdir "$SCRATCH/ram" "$SCRATCH/big"
mount_extra -t tmpfs -o size=20M,mode=755 tmpfs "$SCRATCH/ram"
store_is_full "$SCRATCH/ram"

note "==== the whole store on a small ext4"
truncate -s 20M "$SCRATCH/disk"
mkfs.ext4 -q -b 4096 -m 0 -O ^has_journal "$SCRATCH/disk" || { note "no ext4 here"; exit 0; }
mount -o loop "$SCRATCH/disk" "$SCRATCH/big" 2>/dev/null || { note "no loop devices here"; exit 0; }
MOUNTED+=("$SCRATCH/big")
STORE=$SCRATCH/big/third KEK=$SCRATCH/keys/third.kek
store_is_full "$SCRATCH/big"
