#!/bin/bash
# Whoever owns a file, as fstat shows it, may ask the kernel for a lease on it: everybody else's open then waits for as long as fs.lease-break-time says. Nobody gets one here, so that nobody
# waits: not on the vault's own files, not on a secret that the caller may read.
. "$(dirname "$0")/../support/lib.sh"
install -m 755 "$COFFER_SUPPORT/leaser" "$SCRATCH/bin"

vault_start
printf 'value 1' | coffer put db
expect_ok coffer grant secrets-user user:20001 --on db
expect_ok coffer grant secrets-user user:20002 --on db

# lease_loop NAME UID KIND FILE: in the background, until lease_end NAME; LEASES is then how many it got
declare -A LOOPS=()
lease_loop()
{
	caller_words "$2"
	setpriv "${CALLER_WORDS[@]}" leaser loop "$3" "$4" >"$SCRATCH/leases.$1" 2>&1 &
	LOOPS[$1]=$!
	STARTED+=("$(process_of $!)")
}

lease_end()
{
	kill -TERM "${LOOPS[$1]}"
	wait "${LOOPS[$1]}" || fail "leaser ended with status $?: $(cat "$SCRATCH/leases.$1")"
	LEASES=$(sed -n 's/^ok //p' "$SCRATCH/leases.$1")
	[ -n "$LEASES" ] || fail "leaser: $(cat "$SCRATCH/leases.$1")"
}

# prompt COMMAND…: it is done long before the kernel would break a lease
prompt()
{
	local caller=()
	if [ "$1" = as ]; then
		caller=(as "$2")
		shift 2
	fi
	expect_ok "${caller[@]}" timeout -k 1 20 "$@"
}

note "the vault's own files that anybody may open belong to root, whoever looks"
for caller in 0 20001 20009; do
	expect_output 'root:root 666' as $caller stat -c %U:%G\ %a "$MNT/.coffer/ctl"
	expect_output 'root:root 444' as $caller stat -c %U:%G\ %a "$MNT/.coffer/whoami"
done
for file in status metrics audit events; do
	expect_output 'root:root 444' stat -c %U:%G\ %a "$MNT/.coffer/$file"
	expect_output 'root:root 0' as 20009 stat -c %U:%G\ %a "$MNT/.coffer/$file"
done

note "doctor says what the kernel leaves possible, and that it cannot see it"
# doctor_sees ENABLED SECONDS LINE: on a machine that is set so; "" stands for a setting that cannot be read
doctor_sees()
{
	local status=0
	printf '%s' "$1" >"$SCRATCH/enabled"
	printf '%s' "$2" >"$SCRATCH/seconds"
	# shellcheck disable=SC2016
	unshare -m sh -c 'mount --bind "$1" /proc/sys/fs/leases-enable && mount --bind "$2" /proc/sys/fs/lease-break-time || exit 50; shift 2; exec "$@"' - \
		"$SCRATCH/enabled" "$SCRATCH/seconds" coffer doctor >"$OUT" 2>&1 || status=$?
	[ "$status" != 50 ] || fail "no setting can be put in place of the machine's: $(cat "$OUT")"
	grep -qE "^$3" "$OUT" || fail "doctor does not say $3: $(cat "$OUT")"
}
doctor_sees 1 45 'warn +leases .*for 45 s: sysctl -w fs.lease-break-time=5'
doctor_sees 1 5 'ok +leases .*5 s'
doctor_sees 0 45 'ok +leases .*none'
doctor_sees '' 45 'warn +leases .*45 s'
doctor_sees 1 '' 'warn +leases .*cannot be read'

note "a stranger who loops for leases on them holds no command up"
for file in ctl whoami; do
	for kind in read write; do
		lease_loop $file-$kind 20009 $kind "$MNT/.coffer/$file"
	done
done
for _ in 1 2 3 4 5; do
	prompt coffer whoami
	prompt cat "$MNT/.coffer/whoami"
	prompt coffer show db
done
for name in "${!LOOPS[@]}"; do
	lease_end "$name"
	[ "$LEASES" = 0 ] || fail "$LEASES leases on $name"
	unset "LOOPS[$name]"
done

note "nor does who may read a secret hold up others who read it, nor its watchers"
for kind in read write; do
	expect_output 'refused EAGAIN' as 20001 leaser hold $kind "$MNT/db/current"
	expect_output 'refused EAGAIN' as 20001 leaser hold $kind "$MNT/db/versions/1"
	expect_output 'refused EAGAIN' leaser hold $kind "$MNT/db/current"
	expect_output 'refused EAGAIN' leaser hold $kind "$MNT/.coffer/ctl"
	lease_loop reader-$kind 20001 $kind "$MNT/db/current"
	lease_loop version-$kind 20001 $kind "$MNT/db/versions/1"
done
inotifywait -m -q -e modify,close_write --format '%e' "$MNT/db/current" >"$SCRATCH/events" 2>"$SCRATCH/events-err" &
STARTED+=("$(process_of $!)")
inotify_ready() { grep -qs '^inotify wd' "/proc/${STARTED[-1]%:*}"/fdinfo/*; }
wait_for inotify_ready
heard() { [ "$(grep -c CLOSE_WRITE "$SCRATCH/events")" -ge "$1" ] && [ "$(grep -c MODIFY "$SCRATCH/events")" -ge "$1" ]; }
for i in 1 2; do
	prompt cat "$MNT/db/current"
	prompt as 20002 cat "$MNT/db/current"
	prompt as 20002 cat "$MNT/db/versions/1"
	printf 'value %d' $((i + 1)) | coffer put db
	wait_for -t 20 heard "$i"
done
for name in "${!LOOPS[@]}"; do
	lease_end "$name"
	[ "$LEASES" = 0 ] || fail "$LEASES leases by $name"
	unset "LOOPS[$name]"
done

note "a write from a buffer that is never there hangs its own file, and the bell on that alone: others' watchers hear"
printf 'value' | coffer put hung
expect_ok coffer grant secrets-officer user:20003 --on hung
mkdir "$SCRATCH/stuck"
chmod 755 "$SCRATCH/stuck"
start "$COFFER_SUPPORT/stuckfs" "$SCRATCH/stuck" >"$SCRATCH/stuck.out"
STUCK=${STARTED[-1]}
is_stuck_there() { [ -e "$SCRATCH/stuck/file" ]; }
wait_for is_stuck_there
caller_words 20003
start setpriv "${CALLER_WORDS[@]}" leaser write "$SCRATCH/stuck/file" "$MNT/hung/current" >"$SCRATCH/write.out" 2>&1
stuck() { grep -q 'a read waits' "$SCRATCH/stuck.out"; }
wait_for stuck
inotifywait -m -q -e modify,close_write --format '%e' "$MNT/hung/current" >"$SCRATCH/events-hung" 2>"$SCRATCH/events-err" &
STARTED+=("$(process_of $!)")
wait_for inotify_ready
before=$(grep -c CLOSE_WRITE "$SCRATCH/events")
printf 'another' | coffer put hung
for i in 1 2 3; do
	printf 'value %d' $((i + 3)) | coffer put db
	wait_for -t 20 heard $((before + i))
done
waits() { [ "$(status '.bell | "\(.waiting) \(.since != null)"')" = "$1" ]; }
wait_for waits '1 true'
coffer doctor >"$OUT" 2>&1 || true
grep -q '^warn .*watchers' "$OUT" || fail "doctor does not warn: $(cat "$OUT")"
end_process "$STUCK"
heard_hung() { grep -q CLOSE_WRITE "$SCRATCH/events-hung"; }
wait_for heard_hung
wait_for waits '0 false'
for process in "${STARTED[@]}"; do
	end_process "$process"
done
vault_umount

note "more files in use than the bell holds: opens go on, and one that nobody has open makes room"
expect_ok "$COFFER_SUPPORT/build_store" "$STORE" --secrets 4200 --bindings 0
vault_mount
cat "$MNT"/s*/current >"$SCRATCH/all"
bell_holds() { test "$(status .bell.held)" "$@"; }
wait_for bell_holds -ge 4095
bell_holds -le 4096 || fail "$(status .bell.held) files are held"
expect_ok timeout 20 cat "$MNT/db/current" "$MNT/.coffer/whoami"
took() { [ "$(status .bell.held)" = 4095 ]; }
wait_for took
