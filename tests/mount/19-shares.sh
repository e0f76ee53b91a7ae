#!/bin/bash
# What users without any right take of what there is: open files, requests under way, places to wait. Whoever has a right reads all the same, each time.
. "$(dirname "$0")/../support/lib.sh"
SECRETS=200
reader=20009
others="20001 8"	# the first of them, and how many

vault_init
expect_ok "$COFFER_SUPPORT/build_store" "$STORE" --secrets $SECRETS --bindings 0
vault_mount
expect_ok coffer grant secrets-user user:$reader --on '*'
install -m 755 "$COFFER_SUPPORT/crowd" "$SCRATCH/bin"
ulimit -n 20000

# crowd_start KIND THREADS FIRST UIDS [PROCESSES]
crowd_start()
{
	local i
	CROWDS=()
	for ((i = 0; i < ${5:-1}; i++)); do
		crowd "$1" "$MNT" "$2" $SECRETS "$3" "$4" >"$SCRATCH/crowd.$i" 2>&1 &
		CROWDS+=($!)
		STARTED+=("$(process_of $!)")
	done
	for ((i = 0; i < ${5:-1}; i++)); do
		wait_for -t 120 grep -q begun "$SCRATCH/crowd.$i"
	done
}
crowd_end()
{
	local i
	kill -TERM "${CROWDS[@]}"
	for i in "${!CROWDS[@]}"; do
		wait "${CROWDS[i]}" || fail "a crowd ended with $?"
		cat "$SCRATCH/crowd.$i"
	done
}

# each is a process that was never seen before, and most a secret whose key is not known yet
reads_succeed()
{
	local i
	for ((i = 0; i < 40; i++)); do
		expect_ok as $reader cat "$(printf '%s/s%06d/current' "$MNT" $i)"
	done
}
open_files() { awk '$1 == "coffer_open_files" { print $2 }' "$MNT/.coffer/metrics"; }
few_open() { [ "$(open_files)" -le 3 ]; }

note "whoami open 65,536 times, by eight users"
# shellcheck disable=SC2086
crowd_start holds 280 $others 4
many_open() { [ "$(open_files)" -ge 8000 ]; }
wait_for -t 120 many_open
reads_succeed
expect_ok coffer whoami
expect_ok as $reader coffer whoami
crowd_end
wait_for few_open

note "ctl open, and nothing asked, by eight users"
# shellcheck disable=SC2086
crowd_start ctls 16 $others
some_open() { [ "$(open_files)" -ge 150 ]; }
wait_for some_open
for _ in {1..10}; do
	expect_ok as $reader coffer whoami
	expect_ok coffer whoami
done
crowd_end
wait_for few_open

# Each of them is a neighbour of its own, and all together they have all but the reserve.
note "ctl opened again and again, and kept, by very many users"
"$COFFER_SUPPORT/neighbour" "$MNT" s000001 ctl 400 3000000 70000 120 >"$SCRATCH/neighbours" 2>&1 &
neighbours=$(process_of $!)
STARTED+=("$neighbours")
wait_for -t 120 grep -q begun "$SCRATCH/neighbours"
many_requests() { [ "$(open_files)" -ge 200 ]; }
wait_for many_requests
commands() { local i; for ((i = 0; i < 25; i++)); do coffer whoami >/dev/null || return 1; done; }
running=()
for _ in {1..4}; do
	commands 2>>"$SCRATCH/commands" &
	running+=($!)
done
for i in "${running[@]}"; do
	wait "$i" || fail "root's command: $(cat "$SCRATCH/commands")"
done
end_process "$neighbours"
wait_for few_open

note "callers that are killed while they open requests leave none behind"
for _ in {1..6}; do
	crowd_start ctls 600 20001 600
	kill -KILL "${CROWDS[@]}"
	wait "${CROWDS[@]}" || true
done
wait_for few_open
for _ in {1..20}; do	# as many as one neighbour may have, at once
	expect_ok as $reader coffer whoami
done
hold_all() { as $reader bash -c 'for i in {1..32}; do exec {fd}<>"$1" || exit 1; done' sh "$MNT/.coffer/ctl"; }
wait_for hold_all
wait_for few_open
doctor_beside() { as $reader bash -c 'for i in {1..32}; do exec {fd}<>"$1" || exit 2; done; exec coffer doctor' sh "$MNT/.coffer/ctl" >"$OUT"; [ $? = 1 ]; }
wait_for doctor_beside
grep -q '^FAIL *daemon .*close some' "$OUT" || fail "doctor: $(cat "$OUT")"
! grep -q 'umount -l' "$OUT" || fail "doctor wants a daemon that serves unmounted: $(cat "$OUT")"
wait_for few_open

note "more opens at a time than can wait, by two users"
crowd_start opens 4300 20001 2
wait_for -t 120 grep -q refused "$SCRATCH/crowd.0"
reads_succeed
expect_ok coffer whoami
expect_ok as $reader coffer whoami
crowd_end

# Its root has root's uid, and until its thread was looked at that is all that is known of it.
note "more opens at a time than can wait, by a container's root"
cgroup=/sys/fs/cgroup/cpu/docker-$(printf '%064x' $$).scope
[ -d /sys/fs/cgroup/cpu ] || cgroup=/sys/fs/cgroup/${cgroup##*/}
# whatever ends the test: who is in there must go first
forget_cgroup()
{
	[ -d "$cgroup" ] || return 0
	kill -KILL "${CROWDS[@]}" 2>/dev/null || true
	wait "${CROWDS[@]}" 2>/dev/null || true
	rmdir "$cgroup" 2>/dev/null || true
}
if mkdir "$cgroup" 2>/dev/null; then
	AT_EXIT+=(forget_cgroup)
	for _ in {1..5}; do	# it is when they all come at once that there is not enough
		sh -c 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"' sh "$cgroup" crowd opens "$MNT" 3500 $SECRETS 0 1 >"$SCRATCH/crowd.0" 2>&1 &
		CROWDS=($!)
		STARTED+=("$(process_of $!)")
		until grep -q refused "$SCRATCH/crowd.0"; do
			alive "$(process_of "${CROWDS[0]}")" || fail "the crowd ended: $(cat "$SCRATCH/crowd.0")"
			expect_ok coffer whoami
		done
		for _ in {1..5}; do
			expect_ok coffer whoami
			expect_ok ls "$MNT"
		done
		crowd_end
	done
	reads_succeed
	forget_cgroup
else
	note "there is no cgroup to be had"
fi
[ "$(status .restarts)" = 0 ] || fail "a worker ended"
vault_umount
audit_verify
