#!/bin/bash
# A vault's mount that is bound read-only, moved, or taken away while somebody still reads.
. "$(dirname "$0")/../support/lib.sh"

background_down() { ! mounted || umount -l "$MNT"; }
AT_EXIT+=(background_down)

# a mount whose parent is shared cannot be moved
mkdir "$SCRATCH/private"
mount_extra -t tmpfs none "$SCRATCH/private"
mount --make-private "$SCRATCH/private"
mkdir "$SCRATCH/private/a" "$SCRATCH/private/b"
MNT=$SCRATCH/private/a
export COFFER_MOUNT=$MNT
vault_start
printf 'value 1' | coffer put db >/dev/null

note "through a read-only bind the command and doctor say that, and where the vault takes requests"
mkdir "$SCRATCH/bind"
mount_extra --bind "$MNT" "$SCRATCH/bind"
mount -i -o remount,bind,ro "$SCRATCH/bind"
for command in list 'put db' 'delete db' 'grant secrets-user user:20001 --on db'; do
	# shellcheck disable=SC2086 # several words
	expect_exit 7 coffer -m "$SCRATCH/bind" $command </dev/null
	expect_message "bound read-only here.*-m $MNT, or .*mount -i -o remount,bind,rw $SCRATCH/bind"
done
expect_exit 1 coffer -m "$SCRATCH/bind" doctor
grep -q "bound read-only here.*-m $MNT" "$OUT" || fail "doctor: $(cat "$OUT")"
! grep -qE 'restart|umount' "$OUT" || fail "doctor wants a healthy daemon restarted: $(cat "$OUT")"
expect_output 'value 1' coffer -m "$SCRATCH/bind" get db
mount -i -o remount,bind,rw "$SCRATCH/bind"
expect_ok coffer -m "$SCRATCH/bind" list
umount "$SCRATCH/bind"

note "moved: status and hints say where it is, the daemon unmounts it there"
mount --move "$MNT" "$SCRATCH/private/b"
moved_to() { [ "$(jq -r .mount "$1/.coffer/status")" = "$1" ]; }
wait_for moved_to "$SCRATCH/private/b"
MNT=$SCRATCH/private/b
export COFFER_MOUNT=$MNT
expect_ok coffer doctor
DEATHS_EXPECTED=1
kill_worker
moved_to "$MNT" || fail "the next worker knows the old place"
before=$DAEMON
cofferd -f "$STORE" "$MNT" -o takeover 2>>"$DAEMON_LOG" &
DAEMON=$(process_of $!)
wait_for dead "$before"
mount --move "$MNT" "$SCRATCH/private/a"
MNT=$SCRATCH/private/a
export COFFER_MOUNT=$MNT
wait_for moved_to "$MNT"
kill -TERM "${DAEMON%:*}"
wait_for dead "$DAEMON"
daemon_status_check
! grep -q "coffer:$STORE " /proc/self/mounts || fail "the moved mount is left behind"
