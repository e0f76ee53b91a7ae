#!/bin/bash
# Faults from outside: the connection aborted through fusectl, processes stopped or killed, the keeper killed, clients killed while they wait, the store's directory gone.
. "$(dirname "$0")/../support/lib.sh"
DEATHS_EXPECTED=1
reader=20001
echo "the value" >"$SCRATCH/value"

standby_ready() { [ "$(status .processes.standby)" != null ]; }
reads() { as $reader cat "$MNT/db/current" >"$OUT" 2>"$ERR" && [ "$(cat "$OUT")" = "the value" ]; }
is_another() { local now; now=$(status ".processes.$1") && [ "$now" != null ] && [ "$now" != "$2" ]; }

vault_init
vault_mount
expect_ok coffer put db --file "$SCRATCH/value"
expect_ok coffer grant secrets-user user:$reader --on '*'

note "a worker that is stopped: the standby takes over; a standby too is replaced"
for role in worker standby; do
	wait_for standby_ready
	pid=$(status ".processes.$role")
	kill -STOP "$pid"
	expect_output "the value" as $reader cat "$MNT/db/current"
	wait_for is_another $role "$pid"
done
[ "$(status .supervision.watchdog_kills)" -ge 2 ] || fail "$(status .supervision)"
status .supervision.trouble | grep -q 'was stopped by a signal' || fail "$(status .supervision)"

note "helpers that are stopped: callers get their answers, and the helpers come back"
for role in resolver bell; do
	pid=$(status ".processes.$role")
	kill -STOP "$pid"
	expect_output "the value" as $reader cat "$MNT/db/current"
	wait_for is_another $role "$pid"
done
pid=$(status .processes.keyholder)
kill -STOP "$pid"
answered=0
timeout 60 coffer put fresh --file "$SCRATCH/value" >"$OUT" 2>"$ERR" || answered=$?
[ "$answered" != 124 ] || fail "no answer, whichever, while the key holder is stopped"
wait_for coffer put fresh2 --file "$SCRATCH/value"
[ "$(status .processes.keyholder)" = "$pid" ] || fail "the key holder was ended, though it could go on"

note "helpers that are killed"
for role in keyholder resolver bell; do
	pid=$(status ".processes.$role")
	kill -KILL "$pid"
	expect_output "the value" as $reader cat "$MNT/db/current"
	wait_for is_another $role "$pid"
done
wait_for coffer put fresh3 --file "$SCRATCH/value"

note "a keeper that is stopped keeps nobody from reading"
kill -STOP "${DAEMON%:*}"
expect_output "the value" as $reader cat "$MNT/db/current"
kill -CONT "${DAEMON%:*}"

note "clients that are killed while they wait end, and harm nobody"
wait_for standby_ready
for ((i = 0; i < 5; i++)); do
	kill -STOP "$(status .processes.worker)"
	clients=()
	for ((j = 0; j < 4; j++)); do
		setpriv --reuid=$reader --clear-groups cat "$MNT/db/current" >/dev/null 2>&1 &
		clients+=($!)
	done
	kill -KILL "${clients[@]}"
	for pid in "${clients[@]}"; do
		wait "$pid" 2>/dev/null || true
	done
	expect_output "the value" as $reader cat "$MNT/db/current"
	wait_for standby_ready
done

note "a worker killed while a mkdir is unanswered, and another waits for the same directory"
for ((i = 0; i < 5; i++)); do
	wait_for standby_ready
	kill -STOP "$(status .processes.worker)"
	sysop mkdir "$MNT/dir$i" >"$SCRATCH/mkdir.a" 2>&1 &
	a=$!
	sysop mkdir "$MNT/dir$i" >"$SCRATCH/mkdir.b" 2>&1 &
	b=$!
	wait $a || true
	wait $b || true
	[ "$(sort "$SCRATCH/mkdir.a" "$SCRATCH/mkdir.b" | tr '\n' ' ')" = "EEXIST ok " ] || fail "$(cat "$SCRATCH/mkdir.a" "$SCRATCH/mkdir.b")"
done

note "a connection that is aborted: mounted again, at the same place, with the same vault"
mkdir "$SCRATCH/fusectl"
mount_extra -t fusectl none "$SCRATCH/fusectl"
one_mount() { [ "$(grep -c " $MNT fuse.coffer " /proc/self/mounts)" = 1 ]; }
abort_connection()
{
	before=$(stat -c %d "$MNT")
	echo 1 >"$SCRATCH/fusectl/$((before & 255 | before >> 12 & ~255))/abort"
}
another_mount() { [ "$(stat -c %d "$MNT")" != "$before" ]; }
for ((i = 0; i < 3; i++)); do
	wait_for standby_ready
	abort_connection
	wait_for another_mount
	wait_for reads
	expect_ok coffer put db --file "$SCRATCH/value"
	wait_for one_mount
done
wait_for standby_ready
inotifywait -t 60 -e modify "$MNT/db/current" >/dev/null 2>"$SCRATCH/watched" &
watch=$!
wait_for grep -q 'Watches established' "$SCRATCH/watched"
expect_ok coffer put db --file "$SCRATCH/value"
wait $watch || fail "no event after a new mount"

note "and when the key holder dies at the same moment"
wait_for standby_ready
keyholder=$(process_of "$(status .processes.keyholder)")
kill -STOP "${DAEMON%:*}"	# it finds both at once
kill -KILL "${keyholder%:*}"
abort_connection
wait_for dead "$keyholder"
kill -CONT "${DAEMON%:*}"
wait_for another_mount
wait_for reads
wait_for one_mount

note "the store's directory gone: who serves goes on, and one that dies is followed as far as it goes"
mv "$STORE" "$STORE.gone"
expect_output "the value" as $reader cat "$MNT/db/current"
mv "$STORE.gone" "$STORE"
expect_output "the value" as $reader cat "$MNT/db/current"
wait_for coffer put db --file "$SCRATCH/value"

keeper_killed()
{
	mapfile -t DAEMON_CHILDREN < <(daemon_children)
	kill -KILL "${DAEMON%:*}"
	wait_for dead "$DAEMON"
	for child in "${DAEMON_CHILDREN[@]}"; do
		wait_for dead "$child"
	done
}

note "a keeper that is killed: the next one ends what is left, takes the dead mount away, and serves"
keeper_killed
vault_mount
wait_for reads
wait_for one_mount

note "the same at a mount point with a blank in its name"
mkdir "$SCRATCH/a vault"
at_blank()
{
	cofferd -f "$STORE" "$SCRATCH/a vault" 2>>"$DAEMON_LOG" &
	DAEMON=$(process_of $!)
	wait_for test -s "$SCRATCH/a vault/.coffer/status"
}
vault_umount
at_blank
keeper_killed
at_blank
kill -TERM "${DAEMON%:*}"
wait_for dead "$DAEMON"
! grep -q a.040vault /proc/self/mounts || fail "still mounted"
vault_mount
wait_for reads

note "SIGTERM is heard while the mount is made again"
wait_for standby_ready
mounting=$(grep -c 'mounting again' "$DAEMON_LOG")
mounts_again() { [ "$(grep -c 'mounting again' "$DAEMON_LOG")" -gt "$mounting" ]; }
abort_connection
wait_for mounts_again
kill -TERM "${DAEMON%:*}"
wait_for dead "$DAEMON"
! mounted || fail "still mounted"
vault_mount
wait_for reads

note "SIGTERM unmounts, lazily if somebody is there"
exec {held}<"$MNT/db/current"
kill -TERM "${DAEMON%:*}"
wait_for dead "$DAEMON"
! mounted || fail "still mounted"
exec {held}<&-
DAEMON=
audit_verify
expect_ok coffer fsck "$STORE"
