#!/bin/bash
# What the bell keeps open for writing keeps no mount point busy, and gives way when the mount is to be read-only: SIGUSR1 to the keeper, and then remount,ro. Watchers of what it lets go hear that once, as of a ring.
. "$(dirname "$0")/../support/lib.sh"

vault_start
printf 'value 1' | coffer put db
expect_ok coffer grant secrets-user user:20001 --on db

bell_holds() { [ "$(status .bell.held)" -ge "$1" ]; }
# an open that comes before the bell is there is not held until there is another
read_and_held() { [ "$(as 20001 cat "$MNT/db/current")" = "$1" ] && bell_holds 7; }
# ctl, whoami, status, metrics, audit, events; current
wait_for read_and_held 'value 1'

note "a read-only bind mount, and one made so later, are nobody's business"
mkdir "$SCRATCH/bind"
mount_extra --bind "$MNT" "$SCRATCH/bind"
mount -i -o remount,bind,ro "$SCRATCH/bind"
expect_output 'value 1' as 20001 cat "$SCRATCH/bind/db/current"
mount -i -o remount,bind,ro "$MNT"
mount -i -o remount,bind,rw "$MNT"
unmount_extra

note "the whole file system becomes read-only after SIGUSR1"
inotifywait -m -q -e modify,close_write --format '%e' "$MNT/db/current" >"$SCRATCH/events" 2>"$SCRATCH/events-err" &
STARTED+=("$(process_of $!)")
inotify_ready() { grep -qs '^inotify wd' "/proc/${STARTED[-1]%:*}"/fdinfo/*; }
wait_for inotify_ready
expect_exit 32 mount -i -o remount,ro "$MNT"
kill -USR1 "${DAEMON%:*}"
wait_for mount -i -o remount,ro "$MNT"
heard() { [ "$(grep -c CLOSE_WRITE "$SCRATCH/events")" = "$1" ] && [ "$(grep -c MODIFY "$SCRATCH/events")" = "$1" ]; }
wait_for heard 1
expect_output 'value 1' as 20001 cat "$MNT/db/current"
expect_errno EROFS sysop mkdir "$MNT/new"
expect_ok cat "$MNT/.coffer/status"
expect_exit 7 coffer list
expect_message 'read-only.*mount -i -o remount,rw'
expect_exit 1 coffer doctor
grep -q '^FAIL *daemon .*read-only' "$OUT" || fail "doctor: $(cat "$OUT")"
! grep -q 'umount -l' "$OUT" || fail "doctor wants a daemon that serves unmounted: $(cat "$OUT")"
[ "$(status .processes.bell)" != null ] || fail "there is no bell"

note "writable again, it serves as before, and files are held again"
mount -i -o remount,rw "$MNT"
printf 'value 2' | coffer put db
wait_for heard 2
held_again() { as 20001 cat "$MNT/db/current" >/dev/null && bell_holds 1; }
wait_for held_again

note "umount finds it busy only for others' files"
hold reader 20001
expect_held ok reader open r "$MNT/db/current"
expect_exit 32 umount "$MNT"
expect_held ok reader close
for process in "${STARTED[@]}"; do
	end_process "$process"
done
vault_umount

note "lazily unmounted, and ended by a signal, with files held"
vault_mount
wait_for read_and_held 'value 2'
umount -l "$MNT"
wait_for dead "$DAEMON"
daemon_status_check
vault_mount
wait_for read_and_held 'value 2'
kill -TERM "${DAEMON%:*}"
wait_for dead "$DAEMON"
daemon_status_check
! mounted || fail "still mounted"

note "a bell that dies holds nothing; the next one holds what is opened from then on, and no lease was had in between that lasts"
vault_mount
DEATHS_EXPECTED=1
wait_for read_and_held 'value 2'
bell=$(status .processes.bell)
kill -9 "$bell"
other_bell() { [ "$(status .processes.bell)" != "$bell" ] && [ "$(status .processes.bell)" != null ]; }
wait_for other_bell
wait_for bell_holds 6
wait_for read_and_held 'value 2'
