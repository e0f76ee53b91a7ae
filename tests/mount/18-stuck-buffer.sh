#!/bin/bash
# Whoever writes from a buffer that is never there (it lies on a file system of its own) holds the kernel's lock of the file that it writes to. Nobody's commands may wait for that.
. "$(dirname "$0")/../support/lib.sh"
intruder=20001

vault_start
echo "the value" >"$SCRATCH/value"
expect_ok coffer put db --file "$SCRATCH/value"
mkdir "$SCRATCH/stuck"
chmod 755 "$SCRATCH/stuck"
install -m 755 "$COFFER_SUPPORT/stuckbuf" "$SCRATCH/bin"

# stuck HOW PATH: the intruder is in that call until unstick
stuck()
{
	"$COFFER_SUPPORT/stuckfs" "$SCRATCH/stuck" >"$SCRATCH/waits" 2>&1 &
	stuckfs=$!
	STARTED+=("$(process_of $stuckfs)")
	is_there() { grep -q " $SCRATCH/stuck " /proc/self/mounts; }
	wait_for is_there
	caller_words $intruder
	setpriv "${CALLER_WORDS[@]}" stuckbuf "$SCRATCH/stuck/file" "$1" "$2" >"$SCRATCH/stuckbuf" 2>&1 &
	victim=$!
	STARTED+=("$(process_of $victim)")
	wait_for grep -q 'a read waits' "$SCRATCH/waits"
}

unstick()
{
	kill -TERM $stuckfs
	wait $stuckfs || fail "stuckfs: $(cat "$SCRATCH/waits")"
	wait $victim || true
}

for how in write append past after mapped; do
	note "a write to ctl that does not end: $how"
	stuck "$how" "$MNT/.coffer/ctl"
	expect_ok timeout 30 coffer whoami
	expect_ok timeout 30 coffer put db --file "$SCRATCH/value"
	expect_ok timeout 30 coffer list
	expect_ok as 20002 timeout 30 coffer whoami
	if [ $how = write ]; then
		echo '{"op":"whoami"}' >"$SCRATCH/request"
		expect_ok timeout 30 sysop open rw "$MNT/.coffer/ctl" + put "$SCRATCH/request" 65536 + text
	fi
	expect_output "the value" timeout 30 cat "$MNT/db/current"
	unstick
done

note "the directory of requests cannot be held"
expect_errno EACCES as $intruder sysop readdir "$MNT/.coffer/requests"
expect_errno EACCES sysop readdir "$MNT/.coffer/requests"
expect_errno EPERM as $intruder sysop mkdir "$MNT/.coffer/requests/new"
expect_errno EPERM as $intruder sysop chmod 0700 "$MNT/.coffer/requests"
expect_errno ENOENT as $intruder sysop open rw "$MNT/.coffer/requests/0123456789ABCD"
expect_errno ENOENT as $intruder sysop open rw "$MNT/.coffer/requests/0123456789abcde"
expect_errno ok as $intruder sysop open rw "$MNT/.coffer/requests/0123456789abcd"
ls -A "$MNT/.coffer" >"$SCRATCH/listed"
! grep -q requests "$SCRATCH/listed" || fail "requests is listed"

note "nor a request: whoever watches the directory hears of its name"
hold ours 0
expect_held ok ours open rw "$MNT/.coffer/requests/00112233445566"
expect_errno EBUSY as $intruder sysop open rw "$MNT/.coffer/requests/00112233445566"
expect_errno EBUSY sysop open ro "$MNT/.coffer/requests/00112233445566"
expect_errno ok as $intruder sysop open rw "$MNT/.coffer/requests/00112233445567"
let_go ours
expect_errno ok as $intruder sysop open rw "$MNT/.coffer/requests/00112233445566"

note "a listing that does not end: reads and requests go on"
stuck list "$MNT"
expect_output "the value" timeout 30 cat "$MNT/db/current"
expect_ok timeout 30 coffer whoami
expect_ok timeout 30 coffer put db --file "$SCRATCH/value"
expect_ok timeout 30 ls "$MNT"
unstick
vault_umount
audit_verify
