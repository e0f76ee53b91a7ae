# shellcheck shell=bash
# What scripts of tests/mount/ share: a vault of their own on a real mount, callers of any uid, exact errnos, and a teardown that fails the test when something is left behind.
#
#   #!/bin/bash
#   . "$(dirname "$0")/../support/lib.sh"
#   vault_start
#   …
#
# The environment says where the programs are: COFFER_BIN (coffer and cofferd) and COFFER_SUPPORT (sysop, build_store). ctest sets both; by hand:
#   COFFER_BIN=.build/asan/fs COFFER_SUPPORT=.build/asan/tests/support tests/mount/10-first-read.sh
#
# For scripts: SCRATCH, MNT, STORE, KEK (paths), OUT and ERR (what the last expect_… command printed). The exit status 77 skips a test. Whatever ends a test says why in a line that begins with FAILED.
set -Eeuo pipefail

[ "$(id -u)" = 0 ] || { echo "mount tests need root; run tests/run.sh with sudo"; exit 77; }
[ -c /dev/fuse ] || { echo "/dev/fuse is missing: nothing can be mounted"; exit 77; }

: "${COFFER_BIN:?the directory of coffer and cofferd; see the head of lib.sh}" "${COFFER_SUPPORT:?the directory of sysop; see the head of lib.sh}"

SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/coffer-test.XXXXXX")
MNT=$SCRATCH/vault
STORE=$SCRATCH/store/test
KEK=$SCRATCH/keys/test.kek
OUT=$SCRATCH/out
ERR=$SCRATCH/err
DAEMON_LOG=$SCRATCH/cofferd.log
MOUNTED=()			# what this test mounted besides the vault
DAEMON=				# the keeper, "pid:start time"; empty: none
DAEMON_CHILDREN=()
CALLS_EXPECTED=			# set to anything by a test that has a process make system calls that it may not
DEATHS_EXPECTED=		# set to anything by a test that kills the daemon's processes
STARTED=()			# what this test started besides, "pid:start time"
AT_EXIT=()			# functions and commands without arguments that take back what this test did outside of SCRATCH, called before anything else is ended
declare -A HOLD_IN=() HOLD_OUT=() HOLD_PROCESS=() HAMMER_PIDS=()

# Other uids must reach the mount and run the programs, wherever the checkout lies.
mkdir "$SCRATCH/bin" "$SCRATCH/store" "$SCRATCH/keys" "$MNT"
chmod 755 "$SCRATCH" "$SCRATCH/bin" "$SCRATCH/store" "$MNT"
chmod 700 "$SCRATCH/keys"
install -m 755 "$COFFER_BIN/coffer" "$COFFER_BIN/cofferd" "$COFFER_SUPPORT/sysop" "$COFFER_SUPPORT/hammer" "$SCRATCH/bin"
PATH=$SCRATCH/bin:$PATH
export PATH COFFER_MOUNT=$MNT LC_ALL=C
# Processes that no debugger may look at cannot be searched for leaks either.
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0} UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}

# ---- what went wrong ----

SAID=99				# the exit status of a subshell that has said why

# where N: the lines of the script that led here, from the N-th caller on
where()
{
	local i
	for ((i = $1 + 1; i < ${#FUNCNAME[@]}; i++)); do
		[ "${BASH_SOURCE[i]}" = "${BASH_SOURCE[0]}" ] || echo "  at ${BASH_SOURCE[i]}:${BASH_LINENO[i - 1]}" >&2
	done
}

fail()
{
	echo "FAILED: $*" >&2
	where 1
	exit $SAID
}

# What set -e ends would else end without a word.
on_error()
{
	local status=$1 command=$2
	case $- in *e*) ;; *) return 0 ;; esac
	[ "$status" = $SAID ] || echo "FAILED: ${BASH_SOURCE[1]}:${BASH_LINENO[0]}: status $status of: $command" >&2
	where 1
}
trap 'on_error "$?" "$BASH_COMMAND"' ERR

note() { echo "-- $*"; }

# wait_for [-t SECONDS] COMMAND…: until the command succeeds, at most 60 seconds: a busy machine is no failure. It may be run many times, each in a subshell, so that one which ends the test by fail (audit_has, expect_…) is only not true yet.
wait_for()
{
	local seconds=60 deadline said=$SCRATCH/waiting.$BASHPID
	if [ "$1" = -t ]; then
		seconds=$2
		shift 2
	fi
	deadline=$((SECONDS + seconds))
	until ("$@") >/dev/null 2>"$said"; do
		[ "$SECONDS" -le "$deadline" ] || fail "not within $seconds s: $*: $(head -n 3 "$said")"
		sleep 0.02
	done
	rm -f "$said"
}

# ---- processes: a pid and its start time, for pids are used again ----

# process_of PID: one that has ended already, and was reaped, is "PID:0"
process_of()
{
	local stat
	stat=$(cat "/proc/$1/stat" 2>/dev/null) || { echo "$1:0" && return; }
	# the name before ") " may hold anything
	read -r -a stat <<<"${stat##*) }"
	echo "$1:${stat[19]}"
}

alive()
{
	[ "${1#*:}" != 0 ] && [ "$(process_of "${1%:*}")" = "$1" ] && ! grep -q '^State:.*Z' "/proc/${1%:*}/status" 2>/dev/null
}

dead() { ! alive "$1"; }

# start COMMAND…: in the background, and ended with the test. $! is its pid.
start()
{
	"$@" &
	STARTED+=("$(process_of $!)")
}

end_process()
{
	local signal i
	for signal in TERM KILL; do
		alive "$1" || return 0
		kill -"$signal" "${1%:*}" 2>/dev/null || true
		for ((i = 0; i < 100; i++)); do
			alive "$1" || return 0
			sleep 0.02
		done
	done
}

# ---- callers ----

# UID[:GID[:GROUP,GROUP…]] as setpriv wants it: the gid is the uid where it is left away; no supplementary groups but those named
caller_words()
{
	local uid gid groups _
	IFS=: read -r uid gid groups _ <<<"$1:::"
	CALLER_WORDS=("--reuid=$uid" "--regid=${gid:-$uid}" --clear-groups --)
	[ -z "$groups" ] || CALLER_WORDS[2]=--groups=$groups
}

# as UID[:GID[:GROUP,GROUP…]] COMMAND…
as()
{
	caller_words "$1"
	shift
	timeout --foreground -k 5 60 setpriv "${CALLER_WORDS[@]}" "$@"
}

# hold NAME UID[:GID…]: a process of that caller which keeps a file open between commands of sysop
hold()
{
	local in out
	mkfifo "$SCRATCH/$1.in" "$SCRATCH/$1.out"
	exec {in}<>"$SCRATCH/$1.in" {out}<>"$SCRATCH/$1.out"
	HOLD_IN[$1]=$in HOLD_OUT[$1]=$out
	caller_words "$2"
	setpriv "${CALLER_WORDS[@]}" sysop - <"$SCRATCH/$1.in" >"$SCRATCH/$1.out" &
	HOLD_PROCESS[$1]=$(process_of $!)
	STARTED+=("$(process_of $!)")
}

# let_go NAME: the process ends, and with it all that it kept
let_go()
{
	end_process "${HOLD_PROCESS[$1]}"
	rm "$SCRATCH/$1.in" "$SCRATCH/$1.out"
}

# held NAME COMMAND…: prints its answer
held()
{
	local name=$1 line
	shift
	echo "$*" >&"${HOLD_IN[$name]}"
	IFS= read -r -t 60 line <&"${HOLD_OUT[$name]}" || fail "no answer within 60 s from $name to: $*"
	echo "$line"
}

# expect_held ANSWER NAME COMMAND…: the answer begins with the words of ANSWER
expect_held()
{
	local want=$1 got
	shift
	got=$(held "$@")
	[ "$got" = "$want" ] || [ "${got#"$want" }" != "$got" ] || fail "$got, not $want: $*"
}

# hammer_start NAME UID[:GID…] ACT ARGUMENT…: one thing again and again, see the head of hammer.c; however short the time until it is stopped, at least HAMMER_LEAST times
export HAMMER_LEAST=10
hammer_start()
{
	local name=$1
	caller_words "$2"
	shift 2
	setpriv "${CALLER_WORDS[@]}" hammer "$@" >"$SCRATCH/hammer.$name" 2>&1 &
	HAMMER_PIDS[$name]=$!
	STARTED+=("$(process_of $!)")
	wait_for grep -q . "$SCRATCH/hammer.$name"
}

# hammer_wait NAME: until it has ended by itself; HAMMERED is how often it did what it does
hammer_wait()
{
	local status=0
	wait "${HAMMER_PIDS[$1]}" || status=$?
	[ "$status" = 0 ] || fail "hammer $1 ended with status $status: $(cat "$SCRATCH/hammer.$1")"
	HAMMERED=$(sed -n 's/^ok //p' "$SCRATCH/hammer.$1")
}

# hammer_stop NAME
hammer_stop()
{
	kill -TERM "${HAMMER_PIDS[$1]}" 2>/dev/null || true
	hammer_wait "$1"
}

# ---- expectations ----

# expect_exit STATUS COMMAND…: the exact exit status; what it printed is in $OUT and $ERR
expect_exit()
{
	local want=$1 got=0
	shift
	"$@" >"$OUT" 2>"$ERR" || got=$?
	if [ "$got" != "$want" ]; then
		sed 's/^/  stdout: /' "$OUT" >&2
		sed 's/^/  stderr: /' "$ERR" >&2
		fail "exit status $got, not $want: $*"
	fi
}

expect_ok() { expect_exit 0 "$@"; }

# expect_output TEXT COMMAND…: success, and exactly these bytes (but for newlines at the end)
expect_output()
{
	local want=$1
	shift
	expect_exit 0 "$@"
	[ "$(cat "$OUT")" = "$want" ] || fail "'$(cat "$OUT")', not '$want': $*"
}

# expect_errno NAME COMMAND…: a command of sysop that ends with this errno, or with "ok"
expect_errno()
{
	local want=$1 last
	shift
	"$@" >"$OUT" 2>"$ERR" || true
	last=$(tail -n 1 "$OUT")
	[ "${last%% *}" = "$want" ] || fail "$last$(cat "$ERR"), not $want: $*"
}

# expect_content FILE COMMAND…: a command of sysop that answers with the content of FILE
expect_content()
{
	local want
	want="ok $(sha256sum <"$1" | cut -d ' ' -f 1) $(stat -c %s "$1")"
	shift
	expect_exit 0 "$@"
	[ "$(tail -n 1 "$OUT")" = "$want" ] || fail "'$(tail -n 1 "$OUT")', not '$want': $*"
}

# expect_message PATTERN: what the last command said on stderr, in one line that an extended regular expression matches
expect_message()
{
	grep -qE -- "$1" "$ERR" || fail "stderr does not match '$1': $(cat "$ERR")"
	[ "$(wc -l <"$ERR")" -le 2 ] || fail "more than two lines on stderr: $(cat "$ERR")"
}

# ---- subordinate uids ----

# subordinate_uids LINES: stand in /etc/subuid until the test ends, or subordinate_uids_away. Uids that no account has: nobody else's lines are disturbed, and other tests do the same at the same time.
subordinate_uids()
{
	SUBORDINATE=$1
	AT_EXIT+=(subordinate_uids_away)
	[ -e /etc/subuid ] || install -m 644 /dev/null /etc/subuid
	subordinate_uids_back
}

subordinate_uids_away() { subuid_write; }
subordinate_uids_back() { subuid_write put; }

# Never empty in between, for a daemon may read it at any moment; and the file stays the one that it is. What is locked is the directory, for a file of our own would have to be removed while others wait for it.
subuid_write()
{
	local lock
	exec {lock}</etc
	flock "$lock"
	grep -vxF "$SUBORDINATE" /etc/subuid >"$SCRATCH/subuid" || true
	[ -z "${1:-}" ] || printf '%s\n' "$SUBORDINATE" >>"$SCRATCH/subuid"
	dd if="$SCRATCH/subuid" of=/etc/subuid bs=1M conv=notrunc status=none
	truncate -s "$(stat -c %s "$SCRATCH/subuid")" /etc/subuid
	exec {lock}<&-
}

# ---- the log ----

# Records of a log, one a line. A worker that is killed at the end of a page leaves a torn line, which is none and which jq would end at.
records() { grep -aE '^\{.*"mac":"[0-9a-f]{64}"\}$' || true; }
# all_records: of the whole log, as it lies on disk
all_records() { cat "$STORE"/audit/*.jsonl | records; }

# audit_count FILTER: how many records there are of which the filter of jq is true
audit_count() { jq -n "[inputs | select($1)] | length" < <(records <"$MNT/.coffer/audit"); }

audit_has()
{
	jq -en "any(inputs; $1)" < <(records <"$MNT/.coffer/audit") >/dev/null || {
		tail -n 5 "$MNT/.coffer/audit" >&2
		fail "no record in the log: $1"
	}
}

audit_has_not()
{
	jq -en "any(inputs; $1) | not" < <(records <"$MNT/.coffer/audit") >/dev/null || fail "a record in the log that should not be there: $1"
}

# The log with the daemon's own word for the head, then with what the files say.
audit_verify() { expect_exit 0 coffer audit verify "$STORE"; }

# ---- the vault ----

# shellcheck disable=SC2120
vault_init() { expect_exit 0 coffer init "$STORE" --kek "file:$KEK" "$@"; }

mounted() { grep -q " $MNT fuse.coffer " /proc/self/mounts; }

# vault_mount [OPTION…]: cofferd in the foreground of a background job, so that its log and its end are seen
vault_mount()
{
	cofferd -f "$STORE" "$MNT" "$@" 2>>"$DAEMON_LOG" &
	DAEMON=$(process_of $!)
	local deadline=$((SECONDS + 60))
	until mounted; do
		{ alive "$DAEMON" && [ "$SECONDS" -lt "$deadline" ]; } || fail "cofferd did not mount: $(tail -n 3 "$DAEMON_LOG")"
		sleep 0.02
	done
}

vault_start() { vault_init && vault_mount "$@"; }

# status FILTER: of the vault's status, by jq
status() { jq -r "$1" <"$MNT/.coffer/status"; }

# kill_worker: the active one, and waits until another one serves, which then has answered whatever this one was at: a request on which a second worker died would rightly be EIO.
kill_worker()
{
	local worker
	serving() { worker=$(status .processes.worker) && [ "$worker" != null ] && [ "$worker" != "${1:-}" ]; }
	wait_for serving
	serving || fail "no worker serves"
	kill -KILL "$worker" 2>/dev/null || true	# it may have died by itself
	wait_for serving "$worker"
}

daemon_children()
{
	local pid
	local pids=()
	read -r -a pids 2>/dev/null <"/proc/${DAEMON%:*}/task/${DAEMON%:*}/children" || true
	for pid in "${pids[@]}"; do
		process_of "$pid"
	done
}

# What a process had open goes a moment after its end, and on a busy machine later.
let_go_of_mount()
{
	local tries
	for ((tries = 0; tries < 50; tries++)); do
		timeout 60 umount "$MNT" 2>"$SCRATCH/umount.err" && return
		sleep 0.2
	done
	cat "$SCRATCH/umount.err" >&2
	return 1
}

# Unmounts, and waits until the keeper and all that it started have ended.
daemon_down()
{
	local child
	mapfile -t DAEMON_CHILDREN < <(daemon_children)
	! mounted || let_go_of_mount || fail "umount $MNT failed: something holds it"
	wait_for dead "$DAEMON"
	for child in "${DAEMON_CHILDREN[@]}"; do
		wait_for dead "$child"
	done
}

# The exit status of a keeper that has ended.
daemon_status_check()
{
	local status=0
	wait "${DAEMON%:*}" || status=$?
	DAEMON=
	[ "$status" = 0 ] || [ -n "$DEATHS_EXPECTED" ] || fail "cofferd ended with status $status: $(tail -n 3 "$DAEMON_LOG")"
}

vault_umount()
{
	[ -n "$DAEMON" ] || return 0
	daemon_down
	daemon_status_check
}

# What the daemon's processes may never do, in any test.
daemon_log_check()
{
	[ -e "$DAEMON_LOG" ] || return 0
	! grep -E 'AddressSanitizer|runtime error:|Sanitizer:|Assertion .* failed' "$DAEMON_LOG" >&2 || fail "a process of the daemon went wrong; see above"
	[ -n "$CALLS_EXPECTED" ] || ! grep "is not on this role's list" "$DAEMON_LOG" >&2 || fail "a process of the daemon made a system call that its cell does not know (fs/process/sandbox.c)"
	[ -n "$DEATHS_EXPECTED" ] || ! grep -E '\) (was ended by signal|ended with status)' "$DAEMON_LOG" >&2 || fail "a process of the daemon died"
}

# mount_extra ARGUMENTS OF mount…, the last of them the place: unmounted with the test
mount_extra()
{
	mount "$@" || fail "mount $*"
	MOUNTED+=("${!#}")
}

# ---- the end ----

# Lazily: what still holds one, an abandoned container for example, must not hold the test.
unmount_extra()
{
	local i
	for ((i = ${#MOUNTED[@]} - 1; i >= 0; i--)); do
		timeout 20 umount "${MOUNTED[i]}" 2>/dev/null || umount -l "${MOUNTED[i]}" 2>/dev/null || true
	done
	MOUNTED=()
}

force_down()
{
	local process
	for process in "${STARTED[@]}"; do
		end_process "$process"
	done
	unmount_extra
	[ -n "$DAEMON" ] || return 0
	mapfile -t DAEMON_CHILDREN < <(daemon_children)
	! mounted || timeout 20 umount "$MNT" 2>/dev/null || umount -l "$MNT" 2>/dev/null || true
	end_process "$DAEMON"
	for process in "${DAEMON_CHILDREN[@]}"; do
		end_process "$process"
	done
}

# In a subshell, so that what fails does not skip the rest.
check_nothing_is_left()
{
	local process
	for process in "${STARTED[@]}"; do
		end_process "$process"
	done
	unmount_extra
	[ -z "$DAEMON" ] || daemon_down
	! grep " $SCRATCH/" /proc/self/mounts >&2 || fail "a mount is left behind; see above"
	daemon_log_check
}

on_exit()
{
	local status=$? act
	trap - EXIT ERR
	set +e
	for act in "${AT_EXIT[@]}"; do
		"$act"
	done
	if [ "$status" = 0 ]; then
		(
			trap 'on_error "$?" "$BASH_COMMAND"' ERR
			set -e
			check_nothing_is_left
		)
		status=$?
		if [ "$status" = 0 ] && [ -n "$DAEMON" ] && ! wait "${DAEMON%:*}" && [ -z "$DEATHS_EXPECTED" ]; then
			echo "FAILED: cofferd did not end with status 0" >&2
			status=1
		fi
	fi
	if [ "$status" != 0 ] && [ "$status" != 77 ] && [ -s "$DAEMON_LOG" ]; then
		echo "the end of the daemon's log:" >&2
		tail -n 40 "$DAEMON_LOG" >&2
	fi
	force_down
	chattr -R -a "$SCRATCH" 2>/dev/null
	rm -rf --one-file-system "$SCRATCH"
	exit "$status"
}
trap on_exit EXIT
trap 'exit 130' INT TERM
