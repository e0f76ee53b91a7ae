#!/bin/bash
# What mmap brought into the kernel's page cache goes when a right goes, whatever its holder has taken on the file besides; a worker that dies on the way leaves it to the next; and nothing waits for ever,
# though workers are killed while pages are touched and dropped.
. "$(dirname "$0")/../support/lib.sh"
install -m 755 "$COFFER_SUPPORT/leaser" "$SCRATCH/bin"

vault_start
head -c 9000 /dev/urandom >"$SCRATCH/value"
expect_ok coffer put db --file "$SCRATCH/value"

grant() { expect_ok coffer grant secrets-user user:20001 --on db; }
revoke() { expect_ok coffer revoke secrets-user user:20001 --on db; }

# map NAME KIND FILE: a process that has it mapped; look NAME: what it sees now
declare -A MAP_IN=() MAP_OUT=() MAPS=()
map()
{
	local in out
	rm -f "$SCRATCH/$1.in" "$SCRATCH/$1.out"
	mkfifo "$SCRATCH/$1.in" "$SCRATCH/$1.out"
	exec {in}<>"$SCRATCH/$1.in" {out}<>"$SCRATCH/$1.out"
	MAP_IN[$1]=$in MAP_OUT[$1]=$out
	caller_words 20001
	setpriv "${CALLER_WORDS[@]}" leaser map "$2" "$3" <"$SCRATCH/$1.in" >"$SCRATCH/$1.out" 2>>"$SCRATCH/leaser.err" &
	MAPS[$1]=$(process_of $!)
	STARTED+=("${MAPS[$1]}")
	answered "$1" mapped
}

answered()
{
	local line
	IFS= read -r -t 60 line <&"${MAP_OUT[$1]}" || fail "$1 does not answer"
	[ "$line" = "$2" ] || fail "$1: $line, not $2"
}

look() { echo look >&"${MAP_IN[$1]}"; }

note "a map shows nothing after a revoke, whatever is held on the file besides"
read -r -a kinds <<<"private shared private,populate shared,populate,lock private,lease-read private,lease-write shared,flock,lease-write"
for file in current versions/1; do
	grant
	for kind in "${kinds[@]}"; do
		map "$kind" "$kind" "$MNT/db/$file"
	done
	for kind in "${kinds[@]}"; do
		look "$kind"
		answered "$kind" same
	done
	revoke
	for kind in "${kinds[@]}"; do
		gone() { look "$kind"; IFS= read -r -t 60 line <&"${MAP_OUT[$kind]}" && [ "$line" = gone ]; }
		wait_for gone
		look "$kind"
		answered "$kind" gone
		end_process "${MAPS[$kind]}"
	done
done

note "what else may be tried with a file that may be opened: what does not harm, and no lease"
grant
expect_ok as 20001 leaser try "$MNT/db/current"
sed 's/ .*//' "$OUT" | sort >"$SCRATCH/tried"
grep ' ok$' "$OUT" | tr '\n' , >"$SCRATCH/ok"
[ "$(cat "$SCRATCH/ok")" = 'flock ok,setlk ok,ofd-setlk ok,setsig ok,setown ok,async ok,noatime ok,hint ok,syncfs ok,' ] || fail "$(cat "$SCRATCH/ok")"
expect_ok as 20009 leaser try "$MNT/.coffer/ctl"
grep ' ok$' "$OUT" | tr '\n' , >"$SCRATCH/ok"
[ "$(cat "$SCRATCH/ok")" = 'flock ok,setlk ok,ofd-setlk ok,setsig ok,setown ok,async ok,syncfs ok,' ] || fail "$(cat "$SCRATCH/ok")"

note "an exclusive flock of a stranger's on ctl holds no command up"
# shellcheck disable=SC2016
start setpriv --reuid=20009 --regid=20009 --clear-groups bash -c 'exec 9<"$1" && flock -x 9 && exec sleep 300' - "$MNT/.coffer/ctl"
locked() { ! as 20009 flock -n -x "$MNT/.coffer/ctl" true; }
wait_for locked
expect_ok timeout 20 coffer whoami
expect_ok timeout 20 coffer show db

note "workers are killed while maps are touched in a loop, values and rights change: nothing hangs, and no map shows what it must not"
DEATHS_EXPECTED=1
touchers=()
declare -A TOUCHERS=()
for kind in shared private; do
	for file in current versions/1; do
		name=$kind-${file%/*}
		caller_words 20001
		setpriv "${CALLER_WORDS[@]}" leaser watch "$kind" "$MNT/db/$file" >"$SCRATCH/seen.$name" 2>&1 &
		TOUCHERS[$name]=$!
		STARTED+=("$(process_of $!)")
		touchers+=("$name")
	done
done
# who has not come to its handler would be ended by the signal
hears() { (($(awk '/^SigCgt/ { print "0x" $2 }' "/proc/${TOUCHERS[$1]}/status") & 1 << 9)); }
looked() { kill -USR1 "${TOUCHERS[$1]}" && [ "$(wc -l <"$SCRATCH/seen.$1")" -ge "$2" ]; }
for name in "${touchers[@]}"; do
	wait_for hears "$name"
	wait_for looked "$name" 2
done
for ((i = 0; i < ${KILLS:-12}; i++)); do
	kill_worker
	revoke
	expect_ok coffer put db --file "$SCRATCH/value"
	grant
done
for name in "${touchers[@]}"; do
	wait_for looked "$name" $(($(wc -l <"$SCRATCH/seen.$name") + 3))
done
revoke
for name in "${touchers[@]}"; do
	sees_nothing() { [ "$(tail -n 1 "$SCRATCH/seen.$name")" = gone ]; }
	wait_for sees_nothing
done
expect_ok cat "$MNT/db/current"
for process in "${STARTED[@]}"; do
	end_process "$process"
done

note "a daemon that is killed, and whose connection lives on in a process that waits in the kernel: the next daemon ends it, and serves"
start leaser keep "${DAEMON%:*}" >"$SCRATCH/kept"
kept() { grep -q kept "$SCRATCH/kept"; }
wait_for kept
mapfile -t DAEMON_CHILDREN < <(daemon_children)
kill -KILL "${DAEMON%:*}"
for process in "$DAEMON" "${DAEMON_CHILDREN[@]}"; do
	wait_for dead "$process"
done
wait "${DAEMON%:*}" || true
cofferd -f "$STORE" "$MNT" 2>>"$DAEMON_LOG" &
DAEMON=$(process_of $!)
serves() { timeout 5 cat "$MNT/db/current" >"$OUT" 2>&1; }
wait_for serves
end_process "${STARTED[-1]}"
vault_umount

[ -n "${COFFER_HOOKS_BIN:-}" ] || { echo "no build with hooks (COFFER_HOOKS_BIN): not tested that the next worker drops what a dead one gave out"; exit 0; }
note "a worker that dies right after it has answered a page: the next one has the page dropped"
install -m 755 "$COFFER_HOOKS_BIN/coffer" "$COFFER_HOOKS_BIN/cofferd" "$SCRATCH/bin"
export COFFER_TEST_DIE=$SCRATCH/die
: >"$COFFER_TEST_DIE"
chmod 666 "$COFFER_TEST_DIE"
vault_mount
grant
map late shared "$MNT/db/versions/1"
worker=$(status .processes.worker)
# FUSE_READ
echo 'after 15 1' >"$COFFER_TEST_DIE"
look late
answered late same
other_worker() { [ "$(status .processes.worker)" != "$worker" ] && [ "$(status .processes.worker)" != null ]; }
wait_for other_worker
revoke
gone() { look late; IFS= read -r -t 60 line <&"${MAP_OUT[late]}" && [ "$line" = gone ]; }
wait_for gone
