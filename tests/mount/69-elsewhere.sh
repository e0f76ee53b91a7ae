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

note "lazily unmounted: what is open is served, through a worker's death too, until the last is closed"
vault_mount
expect_ok coffer grant secrets-user user:20001 --on db
for who in reader cwd; do
	hold $who 20001
done
hold writer 0
# what has no name any more, and the directory below which names are found
opened()
{
	expect_held ok reader open r "$MNT/db/current"
	expect_held ok cwd open r "$MNT/db"
	expect_held ok writer open w,t "$MNT/db/current"
	umount -l "$MNT"
	! mounted || fail "still mounted"
}
opened
below=/proc/${HOLD_PROCESS[cwd]%:*}/fd/$(find "/proc/${HOLD_PROCESS[cwd]%:*}/fd" -lname "*/db" -printf '%f')
expect_held ok reader read
alive "$DAEMON" || fail "the daemon has ended"
worker=$(pgrep -P "${DAEMON%:*}" -u coffer -o)
kill -KILL "$worker"
expect_held ok reader pread 0 100
expect_output 'value 1' cat "$below/current"
expect_held ok writer write second
expect_held ok writer close
expect_output second cat "$below/current"
expect_held ok reader close
perl -e 'select undef, undef, undef, 0.5'
alive "$DAEMON" || fail "the daemon has ended before the last was closed"
expect_held ok cwd close
wait_for dead "$DAEMON"
daemon_status_check
[ "$(all_records | jq -rs '.[-1].operation')" = VaultStop ] || fail "the log does not end with VaultStop"

note "a keeper that mounts it again does not wait for them; a signal ends it at once"
vault_mount
opened
before=$DAEMON
vault_mount
wait_for dead "$before"
[[ $(held reader read) != ok* ]] || fail "served by nobody"
expect_output second cat "$MNT/db/current"
for who in reader cwd writer; do
	held $who close >/dev/null
done
opened
expect_exit 5 cofferd "$STORE" "$MNT" -o takeover
expect_message 'only what is still open is served.*without -o takeover'
kill -TERM "${DAEMON%:*}"
wait_for dead "$DAEMON"
daemon_status_check
for who in reader cwd writer; do
	let_go $who
done

note "a keeper that takes the mount over must be told where it is"
vault_mount
mkdir "$SCRATCH/private/c"
expect_exit 2 cofferd "$STORE" "$SCRATCH/private/c" -o takeover
expect_message "is mounted on $MNT, not on $SCRATCH/private/c"
alive "$DAEMON" || fail "the daemon has ended"
expect_output second cat "$MNT/db/current"

note "unmounted while it is bound elsewhere: a rename there does not wait for watchers, and the vault can be mounted again"
mount_extra --bind "$MNT" "$SCRATCH/bind"
printf third >"$SCRATCH/bind/db/new"
umount "$MNT"
printf third >"$SCRATCH/bind/db/new"
began=$EPOCHREALTIME
expect_ok mv "$SCRATCH/bind/db/new" "$SCRATCH/bind/db/current"
printf fourth >"$SCRATCH/bind/db/new"
expect_ok mv "$SCRATCH/bind/db/new" "$SCRATCH/bind/db/current"
took_ms=$(((${EPOCHREALTIME/./} - ${began/./}) / 1000))
((took_ms < 1900)) || fail "two renames took $took_ms ms" # each would wait 2 s for a bell that cannot come
before=$DAEMON
vault_mount
wait_for dead "$before"
expect_output fourth cat "$MNT/db/current"
umount "$SCRATCH/bind"
