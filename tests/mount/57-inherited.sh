#!/bin/bash
# What whoever starts the daemon or the command leaves to it: ignored and blocked signals, an alarm, closed descriptors, limits, a umask, a directory that is gone.
. "$(dirname "$0")/../support/lib.sh"

# daemons in the background are no children of the test
background_down() { ! mounted || umount -l "$MNT"; }
AT_EXIT+=(background_down)

vault_init

# served: the daemon that a command started serves, is told to end, and does
served()
{
	local keeper worker
	keeper=$(jq .processes.keeper "$MNT/.coffer/status")
	worker=$(jq .processes.worker "$MNT/.coffer/status")
	printf value | coffer put a >/dev/null
	[ "$(cat "$MNT/a/current")" = value ] || fail "no value"
	if [ -n "${WORKER_KILLED:-}" ]; then
		kill_worker
		[ "$(cat "$MNT/a/current")" = value ] || fail "no value after a worker's death"
	fi
	[ "$(stat -c %a "$STORE/audit" "$STORE/db" | xargs)" = "$MODES" ] || fail "modes of the store: $(stat -c %a "$STORE/audit" "$STORE/db" | xargs), not $MODES"
	keeper=$(process_of "$keeper")
	worker=$(process_of "$worker")
	kill -TERM "${keeper%:*}"
	wait_for dead "$keeper"
	wait_for dead "$worker"
	! mounted || fail "it ended and left its mount"
}
MODES=$(stat -c %a "$STORE/audit" "$STORE/db" | xargs)
daemon=(cofferd "$STORE" "$MNT")

note "signals that are ignored or blocked"
WORKER_KILLED=1
expect_ok env --ignore-signal=CHLD,TERM,HUP,USR1,PIPE,ALRM "${daemon[@]}"
served
expect_ok env --block-signal "${daemon[@]}"
served
WORKER_KILLED=

note "an alarm that runs"
start perl -e 'alarm 1; exec @ARGV' cofferd -f "$STORE" "$MNT" 2>>"$DAEMON_LOG"
wait_for mounted
# until a second one has surely rung
perl -e '$SIG{ALRM} = sub { exit 0 }; alarm 2; sleep 60'
served

note "standard descriptors that are closed, in every combination"
# shellcheck disable=SC2016
printf '#!/bin/sh\necho edited >"$1"\n' >"$SCRATCH/editor"
chmod 755 "$SCRATCH/editor"
for closed in '<&-' '>&-' '2>&-' '<&- >&-' '<&- 2>&-' '>&- 2>&-' '<&- >&- 2>&-'; do
	status=0
	eval "cofferd \"\$STORE\" \"\$MNT\" $closed" || status=$?
	[ "$status" = 0 ] || fail "status $status of cofferd with $closed"
	mounted || fail "not mounted with $closed"
	for fd in 0 1 2; do
		[ "$(readlink "/proc/$(jq .processes.keeper "$MNT/.coffer/status")/fd/$fd")" = /dev/null ] || fail "descriptor $fd of the keeper, with $closed"
	done
	served
done

note "the command: signals, an alarm, closed descriptors"
vault_mount
printf value | coffer put a >/dev/null
export EDITOR=$SCRATCH/editor
expect_ok env --ignore-signal=CHLD --block-signal coffer edit a
expect_output edited cat "$MNT/a/current"
expect_ok env --ignore-signal=CHLD --block-signal=CHLD coffer fsck "$STORE"
# shellcheck disable=SC2016
printf '#!/bin/sh\ngrep -E "^Sig(Blk|Ign)" /proc/self/status >"$1"\n' >"$SCRATCH/editor"
expect_ok env --block-signal coffer edit a
! grep -E 'Sig(Blk|Ign):.*[1-9a-f]' "$MNT/a/current" || fail "the editor ignores or blocks signals"
vault_umount

note "a umask that hides everything, and one that hides nothing; a directory that is gone"
for mask in 000 777; do
	mkdir "$SCRATCH/gone"
	(
		cd "$SCRATCH/gone"
		rmdir "$SCRATCH/gone"
		umask "$mask"
		expect_ok coffer init "$SCRATCH/store/mask$mask" --kek "file:$SCRATCH/keys/mask$mask/k"
		[ "$(stat -c %a "$SCRATCH/store/mask$mask/audit" "$SCRATCH/store/mask$mask/db" | xargs)" = "$MODES" ] || fail "modes with umask $mask"
		[ "$(stat -c %a "$SCRATCH/keys/mask$mask/k")" = 600 ] || fail "the key's mode with umask $mask"
		expect_exit 4 cofferd here "$MNT"
		expect_message 'the current directory is gone; give the whole path'
		expect_exit 2 coffer init here
		expect_message 'the current directory is gone; give the whole path'
		expect_ok "${daemon[@]}"
	)
	served
done
cd "$SCRATCH"
cofferd -f "$STORE" "$MNT" 2>>"$DAEMON_LOG" &
DAEMON=$(process_of $!)
wait_for mounted
[ "$(readlink "/proc/${DAEMON%:*}/cwd")" = / ] || fail "the daemon keeps a directory busy"
vault_umount

# who may raise a hard limit here at all
may_raise() { prlimit --nofile=32:32 prlimit --nofile=64:64 true 2>/dev/null; }
if may_raise; then
	note "limits that are too low are raised, and the daemon says so"
	limits=('nofile=32 open files' 'nproc=10 processes of a user' 'fsize=8192 the size of a file' 'cpu=3600 processor time' 'stack=65536 the stack')
else
	note "no capability to raise a limit here: that is left out"
	limits=()
fi
for limit in "${limits[@]}"; do
	what=${limit%% *}
	expect_ok prlimit "--$what:${what#*=}" "${daemon[@]}"
	grep -q "^cofferd: warning: limits were too low.* ${limit#* } (${what#*=})" "$ERR" || fail "nothing said of ${limit#* }: $(cat "$ERR")"
	served
done
expect_ok prlimit --nofile=32:4096 --nproc=10: --fsize=8192: --stack=65536: "${daemon[@]}"
[ ! -s "$ERR" ] || fail "something is said of a limit that anybody may raise: $(cat "$ERR")"
WORKER_KILLED=1 served

note "one that may not be raised is named, with what to do"
for limit in 'nofile=32 open files .*1024.*ulimit -n.*LimitNOFILE=' 'nproc=10 processes of a user .*512.*ulimit -u.*LimitNPROC=' 'fsize=8192 the size of a file .*ulimit -f' 'cpu=3600 processor time .*unlimited.*ulimit -t' 'stack=65536 the stack .*ulimit -s'; do
	what=${limit%% *}
	# setpriv keeps a list of the capabilities that are left
	expect_exit 1 prlimit "--$what:${what#*=}" setpriv --bounding-set -sys_resource --inh-caps -sys_resource "${daemon[@]}"
	[ "$(wc -l <"$ERR")" = 1 ] || fail "not one line: $(cat "$ERR")"
	expect_message "^cofferd: the limit on ${limit#* }"
	! mounted || fail "it is mounted all the same"
done

note "when memory is short others end first, and programs of hooks are among the others"
score_of() { cat "/proc/$(jq ".processes.$1" "$MNT/.coffer/status")/oom_score_adj"; }
want=0
(echo -500 >/proc/$BASHPID/oom_score_adj) 2>/dev/null && want=-500
expect_ok "${daemon[@]}"
for role in keeper worker keyholder resolver bell; do
	[ "$(score_of $role)" = $want ] || fail "the $role's score is $(score_of $role), not $want"
done
[ "$(score_of runner)" = 0 ] || fail "the runner's score is $(score_of runner)"
served
expect_ok env INVOCATION_ID=1 "${daemon[@]}"
[ "$(score_of worker)" = 0 ] || fail "what a service manager has set is changed"
served

note "init under a limit on files makes a vault or nothing"
expect_exit 1 prlimit --fsize=4096:4096 setpriv --bounding-set -sys_resource --inh-caps -sys_resource coffer init "$SCRATCH/store/small" --kek "file:$SCRATCH/keys/small/k"
for left in store keys; do
	[ ! -e "$SCRATCH/$left/small" ] || fail "a half vault is left"
done
