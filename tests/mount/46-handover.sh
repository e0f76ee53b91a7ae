#!/bin/bash
# One keeper hands the mount to another, from another root file system in another mount namespace, as when a container image of the daemon is replaced: no call fails.
. "$(dirname "$0")/../support/lib.sh"
HANDOVERS=${HANDOVERS:-4}	# by hand: 20
DEATHS_EXPECTED=1
reader=20001 writer=20002
head -c 4096 /dev/urandom >"$SCRATCH/value"

# Each root has a binary of its own; the store, and the directory in which the mount appears, are the machine's.
mkdir -p "$SCRATCH/shared"
mount_extra -t tmpfs tmpfs "$SCRATCH/shared"
mount --make-shared "$SCRATCH/shared"
mkdir "$SCRATCH/shared/vault"
for root in a b; do
	mkdir -p "$SCRATCH/$root"
	mount_extra -t tmpfs tmpfs "$SCRATCH/$root"
	for dir in usr lib lib64 bin sbin etc dev proc; do
		[ -e "/$dir" ] || continue
		mkdir -p "$SCRATCH/$root/$dir"
		mount_extra --rbind --make-rprivate "/$dir" "$SCRATCH/$root/$dir"
	done
	mkdir -p "$SCRATCH/$root/opt" "$SCRATCH/$root/srv" "$SCRATCH/$root/run/v" "$SCRATCH/$root/$SCRATCH/keys"
	install -m 755 "$COFFER_BIN/cofferd" "$SCRATCH/$root/opt/cofferd"
	mount_extra --bind "$SCRATCH/store" "$SCRATCH/$root/srv"
	mount_extra --bind "$SCRATCH/keys" "$SCRATCH/$root/$SCRATCH/keys"
	mount_extra --bind "$SCRATCH/shared" "$SCRATCH/$root/run/v"
done
rmdir "$MNT"
ln -s "$SCRATCH/shared/vault" "$MNT"

# daemon ROOT [OPTION…]: $STARTED_DAEMON is the keeper
daemon()
{
	local root=$1
	shift
	unshare -m --propagation unchanged chroot "$SCRATCH/$root" /opt/cofferd -f /srv/test /run/v/vault "$@" 2>>"$DAEMON_LOG" &
	STARTED_DAEMON=$(process_of $!)
}
serves() { [ "$(status .processes.keeper)" = "$1" ]; }

vault_init
daemon a
DAEMON=$STARTED_DAEMON
wait_for serves "${DAEMON%:*}"
export COFFER_MOUNT=$SCRATCH/shared/vault MNT=$SCRATCH/shared/vault
expect_ok coffer put db --file "$SCRATCH/value"
expect_errno ok sysop mkdir "$MNT/written"
expect_ok coffer grant secrets-user user:$reader --on '*'
expect_ok coffer grant secrets-officer user:$writer --on written

note "$HANDOVERS hand-overs while clients read, map, stat, list and write; a file is kept open"
hold opened $reader
expect_held ok opened open r "$MNT/db/current"
hammer_start read $reader read "$MNT/db/current" "$SCRATCH/value"
hammer_start map $reader map "$MNT/db/versions/1" "$SCRATCH/value"
hammer_start stat $reader stat "$MNT/db/current" 400
hammer_start list $reader list "$MNT" db
hammer_start write $writer write "$MNT/written/current"
root=a
for ((i = 1; i <= HANDOVERS; i++)); do
	before=$DAEMON
	[ $root = a ] && root=b || root=a
	daemon $root -o takeover
	DAEMON=$STARTED_DAEMON
	wait_for serves "${DAEMON%:*}"
	wait_for dead "$before"
	wait "${before%:*}" || fail "the keeper before did not end well"
done
for name in map stat list read; do
	hammer_stop $name
done
reads=$HAMMERED
hammer_stop write
note "$reads reads and $HAMMERED writes meanwhile, none failed"
[ "$(ls "$MNT/written/versions" | wc -l)" = "$HAMMERED" ] || fail "$(ls "$MNT/written/versions" | wc -l) versions of $HAMMERED writes"
expect_held ok opened pread 0 16
let_go opened
[ "$(status .supervision.upgrades)" = "$HANDOVERS" ] || fail "$(status .supervision)"

note "one that asks and cannot serve changes nothing"
mv "$SCRATCH/store/test/vault.conf" "$SCRATCH/vault.conf"
# shellcheck disable=SC2046	# several words
daemon $([ $root = a ] && echo b || echo a) -o takeover
wait_for dead "$STARTED_DAEMON"
mv "$SCRATCH/vault.conf" "$SCRATCH/store/test/vault.conf"
serves "${DAEMON%:*}" || fail "the mount changed hands"
expect_ok as $reader cat "$MNT/db/current"
trouble_said() { status .supervision.trouble | grep -q 'that asked to take over'; }
wait_for trouble_said

said() { grep -c -- "$1" "$DAEMON_LOG" || true; }
said_more() { [ "$(said "$1")" -gt "$2" ]; }
# The keeper that was started has a worker that may stand ready.
has_a_worker()
{
	local child children=()
	read -r -a children <"/proc/${STARTED_DAEMON%:*}/task/${STARTED_DAEMON%:*}/children" || true
	for child in "${children[@]}"; do
		! grep -qz -- --role=worker "/proc/$child/cmdline" || [ "$(ls "/proc/$child/task" | wc -l)" -lt 9 ] || return 0
	done
	false
}
took_over()
{
	wait_for serves "${STARTED_DAEMON%:*}"
	wait_for dead "$DAEMON"
	DAEMON=$STARTED_DAEMON
	[ $root = a ] && root=b || root=a
}
# A keeper from the other root has asked, and is stopped before it can say that it is ready. One that was faster has taken over: once more.
other_gets_ready()
{
	local asked
	while :; do
		asked=$(said 'takes over; this one serves')
# shellcheck disable=SC2046	# several words
		daemon $([ $root = a ] && echo b || echo a) -o takeover
		wait_for said_more 'takes over; this one serves' "$asked"
		kill -STOP "${STARTED_DAEMON%:*}"
		has_a_worker || break
		kill -CONT "${STARTED_DAEMON%:*}"
		took_over
	done
}

note "the connection is aborted while another gets ready: that one is told, and who serves mounts again and keeps the mount"
mkdir "$SCRATCH/fusectl"
mount_extra -t fusectl none "$SCRATCH/fusectl"
other_gets_ready
before=$(stat -c %d "$MNT")
again=$(said 'is mounted at .* again')
echo 1 >"$SCRATCH/fusectl/$((before & 255 | before >> 12 & ~255))/abort"
wait_for said_more 'is mounted at .* again' "$again"
kill -CONT "${STARTED_DAEMON%:*}"
wait_for dead "$STARTED_DAEMON"
expect_exit 5 wait "${STARTED_DAEMON%:*}"
grep -qE '(keeps the mount: the connection to the kernel was aborted|was made again, before it could be taken over); try again' "$DAEMON_LOG" || fail "it is not told why: $(tail -n 3 "$DAEMON_LOG")"
wait_for serves "${DAEMON%:*}"
expect_ok as $reader cat "$MNT/db/current"

note "a reload while another gets ready: not now; the mount changes hands, and one keeper serves it"
other_gets_ready
refused=$(said 'something else is under way: ask again')
kill -HUP "${DAEMON%:*}"
wait_for said_more 'something else is under way: ask again' "$refused"
kill -CONT "${STARTED_DAEMON%:*}"
took_over
expect_ok as $reader cat "$MNT/db/current"

note "a reload in a root file system that others can write: no upgrade"
chmod o+w,-t "$SCRATCH/$root"
kill -HUP "${DAEMON%:*}"
wait_for said_more "the root directory is not root's alone to write" 0
expect_ok as $reader cat "$MNT/db/current"

note "nobody but root can ask; without a daemon there is nothing to take over"
[ "$(stat -c '%U %a' "$STORE/keeper.sock")" = "root 600" ] || fail "$(stat -c '%U %a' "$STORE/keeper.sock")"

note "the last one unmounts"
expect_ok as $reader cat "$MNT/db/current"
kill -TERM "${DAEMON%:*}"
wait_for dead "$DAEMON"
! grep -q "fuse.coffer coffer:/srv/test" /proc/self/mountinfo || ! grep -q " $SCRATCH/shared/vault " /proc/self/mounts || fail "still mounted"
DAEMON=
expect_exit 7 cofferd -f "$STORE" "$SCRATCH/shared/vault" -o takeover
expect_message 'no daemon that could hand over'
audit_verify
expect_ok coffer fsck "$STORE"

note "nor from a store that is somebody else's, whoever answers there"
install -d -o 20001 "$SCRATCH/theirs"
expect_exit 7 cofferd -f "$SCRATCH/theirs" "$SCRATCH/shared/vault" -o takeover
expect_message "theirs must be root's"
