#!/bin/bash
# One uid that opens more files than it may gets ENFILE, and nobody else does, before and after a worker dies; and a store that becomes read-only.
. "$(dirname "$0")/../support/lib.sh"
DEATHS_EXPECTED=1
greedy=20001 modest=20002
WANTED=10000	# more than HANDLES_PER_UID
echo "the value" >"$SCRATCH/value"

mount_extra -t tmpfs -o size=64m,mode=755 tmpfs "$SCRATCH/store"
vault_init
vault_mount
expect_ok coffer put db --file "$SCRATCH/value"
expect_ok coffer grant secrets-user user:$greedy --on '*'
expect_ok coffer grant secrets-user user:$modest --on '*'

standby_ready() { [ "$(status .processes.standby)" != null ]; }

note "$WANTED files of one uid: ENFILE for it alone"
mkfifo "$SCRATCH/go"
caller_words $greedy
(ulimit -n $((WANTED + 100)) && exec setpriv "${CALLER_WORDS[@]}" /usr/bin/python3 - "$MNT/db/current" "$WANTED" "$SCRATCH/go") >"$SCRATCH/greedy" 2>&1 <<'PYTHON' &
import errno, os, sys
fds, error = [], 0
while len(fds) < int(sys.argv[2]):
    try:
        fds.append(os.open(sys.argv[1], os.O_RDONLY))
    except OSError as e:
        error = e.errno
        break
print(len(fds), errno.errorcode.get(error, "none"), flush=True)
with open(sys.argv[3]):
    pass
for fd in fds:
    if os.pread(fd, 100, 0) != b"the value\n":
        print("wrong byte")
print("read", flush=True)
PYTHON
greedy_process=$!
STARTED+=("$(process_of $greedy_process)")
wait_for grep -q . "$SCRATCH/greedy"
[ "$(head -n 1 "$SCRATCH/greedy")" = "8192 ENFILE" ] || fail "$(cat "$SCRATCH/greedy")"
expect_errno ENFILE as $greedy sysop open r "$MNT/db/current"
expect_output "the value" as $modest cat "$MNT/db/current"
expect_ok coffer put db --file "$SCRATCH/value"

note "a worker that dies takes none of them with it"
wait_for standby_ready
kill -KILL "$(status .processes.worker)"
expect_output "the value" as $modest cat "$MNT/db/current"
expect_errno ENFILE as $greedy sysop open r "$MNT/db/current"
echo >"$SCRATCH/go"
wait $greedy_process
[ "$(tail -n 1 "$SCRATCH/greedy")" = read ] || fail "$(cat "$SCRATCH/greedy")"
may_again() { as $greedy cat "$MNT/db/current"; }
wait_for may_again

note "a store that becomes read-only: who may read reads on as long as the log can be written, changes fail, and all comes back"
chattr -R -a "$STORE" 2>/dev/null || true
expect_ok as $modest cat "$MNT/db/current"
mount -o remount,ro "$SCRATCH/store" || { note "(cannot be made read-only while it is written to: left out)"; vault_umount; exit 0; }
expect_exit 1 coffer put db --file "$SCRATCH/value" || true
expect_errno EIO as $modest sysop open r "$MNT/db/current"	# nothing is served that is not logged
kill -KILL "$(pgrep -P "${DAEMON%:*}" | head -n 1)" || true
mount -o remount,rw "$SCRATCH/store"
wait_for as $modest cat "$MNT/db/current"
wait_for coffer put db --file "$SCRATCH/value"
vault_umount
audit_verify
expect_ok coffer fsck "$STORE"
