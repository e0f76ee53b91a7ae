#!/bin/bash
# What the daemon's processes cannot do, should one be somebody else's. From outside: what /proc says of each, release build and others. From inside: a worker that tries to break out
# (COFFER_HOOKS_BIN, a build with -DCOFFER_TEST_HOOKS=ON), each attempt on its own: refused with an errno, or ended by SIGSYS, and then the log names the system call, and the next worker serves.
. "$(dirname "$0")/../support/lib.sh"

# proc_line PID NAME: the value in /proc/PID/status
proc_line() { sed -n "s/^$2:[[:space:]]*\([0-9a-f]*\).*/\1/p" "/proc/$1/status"; }

roles=(keeper worker standby keyholder resolver bell runner)
declare -A user=([keeper]=root [worker]=coffer [standby]=coffer [keyholder]=coffer-keys [resolver]=coffer-helper [bell]=coffer-helper [runner]=coffer-helper)
# of linux/capability.h: CAP_CHOWN 0, DAC_READ_SEARCH 2, KILL 5, SETGID 6, SETUID 7, SETPCAP 8, LINUX_IMMUTABLE 9, IPC_LOCK 14, SYS_PTRACE 19, SYS_ADMIN 21
declare -A allowed=([keeper]=$((1 << 0 | 1 << 2 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 14 | 1 << 19 | 1 << 21)) [worker]=0 [standby]=0 [keyholder]=0 [resolver]=$((1 << 19)) [bell]=0 [runner]=$((1 << 5 | 1 << 6 | 1 << 7)))

# Those who keep a dead worker's memory for a moment: the keeper's children, too, one for each worker
holders()
{
	local status
	for status in /proc/[0-9]*/status; do
		awk -v keeper="$(status .processes.keeper)" '/^Name:/ { mm = $2 == "coffer-mm" } /^PPid:/ && mm && $2 == keeper { found = 1 } /^Pid:/ { pid = $2 } END { if (found) print pid }' "$status" 2>/dev/null || true
	done
}
two_holders() { [ "$(holders | wc -l)" = 2 ]; }

all_there() { [ "$(status '[.processes[]] | all(. != null)')" = true ]; }

seen_from_outside()
{
	local role pid set
	wait_for all_there
	for role in "${roles[@]}"; do
		pid=$(status ".processes.$role")
		[ "$(proc_line "$pid" Uid)" = "$(id -u "${user[$role]}")" ] || fail "the $role is not ${user[$role]}'s"
		[ "$(proc_line "$pid" Seccomp)" = 2 ] || fail "the $role has no seccomp filter"
		[ "$(proc_line "$pid" NoNewPrivs)" = 1 ] || fail "the $role can gain privileges"
		for set in CapInh CapPrm CapEff CapAmb; do
			((0x$(proc_line "$pid" $set) & ~allowed[$role])) && fail "the $role has more than it needs in $set: $(proc_line "$pid" $set)"
		done
		[ "$role" = keeper ] || [ "$(proc_line "$pid" CapBnd)" = 0000000000000000 ] || fail "the $role can get capabilities back: $(proc_line "$pid" CapBnd)"
		((0x$(proc_line "$pid" CapBnd) & ~allowed[$role])) && fail "what the $role starts could have more than it needs"
		[ "$role" = keeper ] || [ -z "$(sed -n 's/^Groups:[[:space:]]*//p' "/proc/$pid/status" | tr -d ' ')" ] || fail "the $role has groups"
		grep -q '^Max core file size *0 *0 ' "/proc/$pid/limits" || fail "the $role may leave a core dump"
		# not dumpable: its files in /proc are root's, and neither its own user nor another process of that user may look at it
		[ "$(stat -c %u "/proc/$pid/fd")" = 0 ] || fail "the $role can be looked at by its own user"
		[ "$role" = keeper ] || expect_errno EACCES as "$(id -u "${user[$role]}")" sysop open r "/proc/$pid/mem"
	done
	wait_for two_holders
	for pid in $(holders); do
		[ "$(proc_line "$pid" Uid)" = "$(id -u coffer)" ] || fail "who keeps the memory is not the worker's user"
		[ "$(proc_line "$pid" Seccomp)" = 2 ] && [ "$(proc_line "$pid" NoNewPrivs)" = 1 ] || fail "who keeps the memory is not confined"
		for set in CapInh CapPrm CapEff CapAmb CapBnd; do
			[ "$(proc_line "$pid" $set)" = 0000000000000000 ] || fail "who keeps the memory has capabilities: $set"
		done
		[ "$(ls "/proc/$pid/fd" | wc -l)" = 1 ] || fail "who keeps the memory holds more open than it needs: $(ls -l "/proc/$pid/fd")"
		[ "$(stat -c %u "/proc/$pid/fd")" = 0 ] || fail "who keeps the memory can be looked at by its own user"
	done
	# says the same
	[ "$(status '[.sandbox | .keeper, .worker, .standby, .keyholder, .resolver, .bell | .seccomp and .no_new_privs] | all')" = true ] || fail "status does not know: $(status .sandbox)"
	[ "$(status '[.sandbox | .worker, .standby, .keyholder, .bell | .capabilities[]] | length')" = 0 ] || fail "status sees capabilities: $(status .sandbox)"
	[ "$(status '.sandbox.resolver.capabilities | join(" ")')" = cap_sys_ptrace ] || fail "status of the resolver: $(status .sandbox.resolver)"
}

note "what the kernel says of each process"
echo "of who started the daemon" >"$SCRATCH/starters"
exec {starters}<"$SCRATCH/starters"
vault_start
exec {starters}<&-
expect_ok coffer put db --file /etc/hostname
seen_from_outside
for role in "${roles[@]}"; do
	[ "$role" = keeper ] || ! readlink "/proc/$(status ".processes.$role")"/fd/* | grep -F "$SCRATCH/starters" || fail "the $role has a file of who started the daemon"
done
landlock=$(status .sandbox.landlock_abi)
[ "$landlock" != null ] || note "this kernel has no Landlock: $(status .sandbox.landlock_missing)"
append_only=$(status .audit.append_only)

note "doctor has nothing to say against it"
expect_exit 0 coffer doctor
for line in 'seccomp .* list of system calls' 'privileges .* no capability'; do
	grep -qE "^ok +$line" "$OUT" || fail "doctor does not say: $line: $(cat "$OUT")"
done
[ "$landlock" = null ] || grep -qE '^ok +landlock +confines worker' "$OUT" || fail "doctor does not see Landlock: $(cat "$OUT")"

note "a worker that took over from a dead one is in a cell, too"
DEATHS_EXPECTED=1
kill -9 "$(status .processes.worker)"
expect_ok cmp /etc/hostname "$MNT/db/current"
seen_from_outside
before=$(holders)
vault_umount
for pid in $before; do
	[ ! -e "/proc/$pid" ] || [ "$(sed -n 's/^Name:[[:space:]]*//p' "/proc/$pid/status")" != coffer-mm ] || fail "the keeper left behind who keeps memory"
done

note "a kernel that lacks one of them is served on all the same, and log, status and doctor say so; not with require_sandbox"
# mount_lacking WHAT
mount_lacking()
{
	"$COFFER_SUPPORT/lacking" "$1" cofferd -f "$STORE" "$MNT" 2>>"$DAEMON_LOG" &
	DAEMON=$(process_of $!)
	wait_for mounted
	expect_ok cmp /etc/hostname "$MNT/db/current"
}
doctor_warns() { expect_exit 0 coffer doctor && { grep -qE "^warn +$1" "$OUT" || fail "doctor does not say: $1: $(cat "$OUT")"; }; }
for what in landlock landlock-at-boot; do
	mount_lacking $what
	grep -q 'keeper: this kernel has no Landlock' "$DAEMON_LOG" || fail "not said in the log"
	[ "$(status '.sandbox.landlock_abi, .sandbox.worker.landlock')" = $'null\nfalse' ] || fail "status says: $(status .sandbox)"
	if [ $what = landlock ]; then
		doctor_warns 'landlock +is not in this kernel'
	else
		[ "$(status .sandbox.landlock_missing)" = 'not switched on at boot' ] || fail "status says: $(status .sandbox)"
		doctor_warns 'landlock +is built into the kernel, and not switched on'
	fi
	vault_umount
	expect_exit 1 timeout 60 "$COFFER_SUPPORT/lacking" $what cofferd "$STORE" "$MNT" -o require_sandbox
	expect_message 'this kernel lacks Landlock or seccomp, and -o require_sandbox'
done
mount_lacking seccomp
grep -q 'keeper: this kernel has no seccomp filters' "$DAEMON_LOG" || fail "not said in the log"
vault_umount
expect_exit 1 timeout 60 "$COFFER_SUPPORT/lacking" seccomp cofferd "$STORE" "$MNT" -o require_sandbox
expect_message 'this kernel lacks Landlock or seccomp, and -o require_sandbox'

[ -n "${COFFER_HOOKS_BIN:-}" ] || { note "COFFER_HOOKS_BIN names no build with hooks: nothing is tried from inside"; exit 0; }
install -m 755 "$COFFER_HOOKS_BIN/coffer" "$COFFER_HOOKS_BIN/cofferd" "$SCRATCH/bin"
# readable by anybody, so that nothing but the cell keeps the worker from it; the daemon itself wants it closed
install -m 644 "$KEK" "$SCRATCH/kek-copy"
CALLS_EXPECTED=1
install -m 666 /dev/null "$SCRATCH/die"
export COFFER_TEST_KEK=$SCRATCH/kek-copy COFFER_TEST_DIE=$SCRATCH/die
vault_mount -o audit_segment=64K
segments() { ls "$STORE"/audit/*.jsonl | wc -l; }
until [ "$(segments)" -ge 4 ]; do
	cat "$MNT/db/current" >/dev/null
done

log_lines() { grep -cE "$1" "$DAEMON_LOG" || true; }

# attempt NUMBER: 0 when the hook answered or the worker is another one
attempted() { [ "$(log_lines "test hook: .* was answered|is not on this role's list")" -gt "$answers" ]; }

# attempt NUMBER NAME ERRNO|killed…: what may come of it
attempt()
{
	local number=$1 name=$2 worker answers got line
	shift 2
	worker=$(status .processes.worker)
	answers=$(log_lines "test hook: .* was answered|is not on this role's list")
	env kill --queue "$number" --signal USR2 "$worker"
	wait_for attempted
	got=$(grep -E "test hook: $name was answered" "$DAEMON_LOG" | tail -n 1 | sed 's/.* //' || true)
	[ -n "$got" ] || got=killed
	[[ " $* " = *" $got "* ]] || fail "$name: $got, not $*"
	grep -q "test hook: $name begins" "$DAEMON_LOG" || fail "attempt $number is not $name"
	if [ "$got" = killed ]; then
		line=$(grep "is not on this role's list" "$DAEMON_LOG" | tail -n 1)
		[[ $line = *"cofferd[$worker] worker: system call "[0-9]* ]] || fail "the log does not name the call: $line"
		# a thread of it may wait in the kernel: the keeper does not wait for that
		died() { grep -qE "worker \($worker\) was ended by signal 31|worker $worker was killed and cannot be reaped" "$DAEMON_LOG"; }
		wait_for died
	fi
	note "  $name: $got"
	# whatever came of it: the vault is served
	expect_ok cmp /etc/hostname "$MNT/db/current"
}

# Landlock's answers are EACCES (a signal: EPERM); without it, the users' rights are what is left, and some attempts succeed
opened=EACCES
[ "$landlock" != null ] || opened='EACCES done'
log=EPERM
[ "$append_only" = true ] || log='done'

note "from inside, one by one"
n=0
# shellcheck disable=SC2086
while read -r name want; do
	attempt "$n" "$name" $want
	n=$((n + 1))
done <<END
read_a_file $opened
list_the_root $opened
read_the_kek $opened
trace_as_a_debugger EACCES
write_the_settings EACCES
make_a_file $opened
make_a_socket EACCES
make_a_local_socket EACCES
send_elsewhere killed
write_the_log EACCES
remove_the_log EACCES
shorten_the_log $log
write_over_the_log killed
punch_the_log killed
map_the_log EACCES $([ "$append_only" = true ] || echo 'done')
run_a_program killed
fork_a_process killed
trace_the_keeper killed EPERM
read_the_keepers_memory killed EPERM
signal_the_keeper killed
run_new_code killed
make_memory_executable killed
make_a_program killed
become_root killed
mount_something killed
use_io_uring killed EPERM
catch_the_guard killed
skip_segments EAGAIN
open_an_old_segment EPERM
spoil_the_options done
spoil_the_buffers done
lose_the_requests done
speak_without_end done
END
answers=$(log_lines 'there are [0-9]* attempts')
env kill --queue 999 --signal USR2 "$(status .processes.worker)"
counted() { [ "$(log_lines 'there are [0-9]* attempts')" -gt "$answers" ]; }
wait_for counted
grep -q "there are $n attempts" "$DAEMON_LOG" || fail "not all attempts were made: $n of $(grep 'there are' "$DAEMON_LOG" | tail -n 1)"

note "what it wrote into the shared memory does not keep later workers from serving"
kill_worker
wait_for all_there
kill_worker
expect_ok cmp /etc/hostname "$MNT/db/current"

[ "$(log_lines 'worker: a lie')" -le 50 ] || fail "a worker fills the log of the machine: $(log_lines 'worker: a lie') lines"

note "who was in the middle of a request to ctl hears that it is dead, and no worker dies of it"
mkfifo "$SCRATCH/go"
start perl -e 'open(my $f, "+>>", $ARGV[0]) or die; syswrite($f, "{") or die; open(my $o, ">", $ARGV[2]); print $o "begun\n"; close $o; open(my $go, "<", $ARGV[1]); <$go>;
	my $r = syswrite($f, " " x 4096); my $e = defined $r ? "taken" : 0 + $!; open($o, ">", $ARGV[2]); print $o "$e\n"' "$MNT/.coffer/ctl" "$SCRATCH/go" "$SCRATCH/said"
talker=$!
begun() { [ "$(cat "$SCRATCH/said")" = begun ]; }
wait_for begun
crashes=$(log_lines 'was ended by signal (6|7|11)')
env kill --queue "$((n - 3))" --signal USR2 "$(status .processes.worker)"
spoilt() { [ "$(log_lines 'test hook: spoil_the_buffers was answered')" -ge 2 ]; }
wait_for spoilt
kill_worker
echo >"$SCRATCH/go"
wait "$talker"
[ "$(cat "$SCRATCH/said")" = 1 ] || fail "the rest of a request to a buffer that is spoilt: $(cat "$SCRATCH/said")"
[ "$(log_lines 'was ended by signal (6|7|11)')" = "$crashes" ] || fail "a worker believed how much there was"

note "a request that is under way is answered by the next worker, though this one says that there was none"
worker=$(status .processes.worker)
echo 'hang 14 1' >"$COFFER_TEST_DIE"
start timeout 60 cat "$MNT/db/current" >"$SCRATCH/late"
late=$!
hangs() { [ "$(cat "$COFFER_TEST_DIE")" = 'hang 14 0' ]; }
wait_for hangs
env kill --queue "$((n - 2))" --signal USR2 "$worker"
lost() { [ "$(log_lines 'test hook: lose_the_requests was answered')" -ge 2 ]; }
wait_for lost
kill -9 "$worker"
wait "$late" || fail "who was waiting is not answered"
cmp /etc/hostname "$SCRATCH/late" || fail "who was waiting is answered something else"

note "nothing came of it: the log is whole"
vault_umount
audit_verify
expect_ok coffer fsck "$STORE"

note "require_sandbox serves where both are there"
vault_mount -o require_sandbox
[ "$landlock" = null ] || [ "$(status .sandbox.required)" = true ] || fail "status does not say that the sandbox is required"
expect_ok cmp /etc/hostname "$MNT/db/current"
vault_umount
