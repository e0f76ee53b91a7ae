#!/bin/bash
# One uid that opens more files than it may gets ENFILE, and nobody else does, before and after a worker dies; and a store that no new worker can open.
. "$(dirname "$0")/../support/lib.sh"
DEATHS_EXPECTED=1
greedy=20001 modest=20002
WANTED=10000	# more than HANDLES_PER_UID
echo "the value" >"$SCRATCH/value"

vault_init
vault_mount
expect_ok coffer put db --file "$SCRATCH/value"
expect_ok coffer grant secrets-user user:$greedy --on '*'
expect_ok coffer grant secrets-user user:$modest --on '*'

standby_ready() { [ "$(status .processes.standby)" != null ]; }

note "$WANTED files of one uid: ENFILE for it alone"
mkfifo "$SCRATCH/go"
caller_words $greedy
cat >"$SCRATCH/bin/open_many" <<'SCRIPT'
#!/bin/bash
# open_many PATH N FIFO: as many descriptors as it gets; how many; then, when the FIFO is written to, each is read
fds=()
while [ ${#fds[@]} -lt "$2" ] && { exec {fd}<"$1"; } 2>/dev/null; do
	fds+=("$fd")
done
echo ${#fds[@]}
read -r _ <"$3"
for fd in "${fds[@]}"; do
	read -r line <&"$fd" && [ "$line" = "the value" ] || echo "wrong byte"
done
echo read
SCRIPT
chmod 755 "$SCRATCH/bin/open_many"
chmod 666 "$SCRATCH/go"
(ulimit -n $((WANTED + 100)) && exec setpriv "${CALLER_WORDS[@]}" "$SCRATCH/bin/open_many" "$MNT/db/current" "$WANTED" "$SCRATCH/go") >"$SCRATCH/greedy" 2>&1 &
greedy_process=$!
STARTED+=("$(process_of $greedy_process)")
wait_for -t 180 grep -q . "$SCRATCH/greedy"
[ "$(head -n 1 "$SCRATCH/greedy")" = 8192 ] || fail "$(cat "$SCRATCH/greedy")"
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

note "a store that a new worker cannot open: who serves goes on, status and log say why there is no standby, and one comes when it can"
wait_for standby_ready
mv "$STORE/vault.conf" "$SCRATCH/vault.conf"
kill -KILL "$(status .processes.standby)"
no_standby() { [ "$(status .processes.standby)" = null ] && status .supervision.trouble | grep -q 'never became ready'; }
wait_for no_standby
expect_output "the value" as $modest cat "$MNT/db/current"
expect_ok coffer put db --file "$SCRATCH/value"
grep -q 'never became ready' "$DAEMON_LOG" || fail "the log does not say so"
mv "$SCRATCH/vault.conf" "$STORE/vault.conf"
wait_for standby_ready

note "a store that is read-only for a new worker: the same"
mount_extra --bind "$STORE" "$STORE"
mount -o remount,bind,ro "$STORE"
kill -KILL "$(status .processes.standby)"
read_only() { grep -q 'worker: .*Read-only file system' "$DAEMON_LOG"; }
wait_for read_only
[ "$(status .processes.standby)" = null ] || fail "a standby that cannot write"
expect_output "the value" as $modest cat "$MNT/db/current"
wait_for umount "$STORE"	# a worker that tries to start may be in it
wait_for standby_ready
kill -KILL "$(status .processes.worker)"
expect_output "the value" as $modest cat "$MNT/db/current"
expect_ok coffer put db --file "$SCRATCH/value"
vault_umount
audit_verify
expect_ok coffer fsck "$STORE"
