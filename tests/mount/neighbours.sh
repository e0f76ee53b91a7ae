#!/bin/bash
# Local users attack with all that the mount lets anybody do: from one uid, from very many of one user, and from a user namespace of theirs. Nobody else's read fails, and what others do takes little longer than on tmpfs.
#   by hand: TRIAL_SECONDS=120 TRIAL_THREADS=1500, for each attack of TRIAL_ATTACKS (neighbour.c has the words); it prints the figures
#   TRIAL_ON=tmpfs: the same crowd on a tmpfs, and what a listing of it takes: the kernel's part of it
. "$(dirname "$0")/../support/lib.sh"
TRIAL_SECONDS=${TRIAL_SECONDS:-4}
TRIAL_THREADS=${TRIAL_THREADS:-150}
TRIAL_ATTACKS=${TRIAL_ATTACKS:-mix}
TRIAL_ON=${TRIAL_ON:-vault}
attacker=21000 subordinate=3000000 count=70000
reader=20001

vault_start
head -c 4096 /dev/urandom >"$SCRATCH/value"
expect_ok coffer put db --file "$SCRATCH/value"
expect_ok coffer put watched --file "$SCRATCH/value"
expect_ok coffer grant secrets-user user:$reader --on db
install -m 755 "$COFFER_SUPPORT/neighbour" "$COFFER_SUPPORT/latency" "$SCRATCH/bin"
mkdir "$SCRATCH/beside"
mount_extra -t tmpfs beside "$SCRATCH/beside"
cp "$SCRATCH/value" "$SCRATCH/beside/value"
target=$MNT
if [ "$TRIAL_ON" = tmpfs ]; then
	target=$SCRATCH/target
	mkdir "$target"
	mount_extra -t tmpfs -o mode=755 target "$target"
	mkdir "$target/db" "$target/.coffer"
	cp "$SCRATCH/value" "$target/db/current"
	touch "$target/.coffer/ctl" "$target/.coffer/whoami"
fi

# The attackers' share of the processors is theirs, whatever they start.
cgroup=/sys/fs/cgroup/cpu/coffer-neighbours.$$
forget_cgroup() { [ ! -d "$cgroup" ] || rmdir "$cgroup" 2>/dev/null || true; }
if mkdir "$cgroup" 2>/dev/null || { cgroup=/sys/fs/cgroup/coffer-neighbours.$$ && mkdir "$cgroup" 2>/dev/null; }; then
	AT_EXIT+=(forget_cgroup)
else
	cgroup=
	note "there is no processor cgroup to be had: the attackers share with everybody"
fi

confined()
{
	[ -z "$cgroup" ] || echo $BASHPID >"$cgroup/cgroup.procs"
	exec "$@"
}

# probe NAME UID ARGUMENTS OF latency
probe()
{
	local name=$1
	caller_words "$2"
	shift 2
	setpriv "${CALLER_WORDS[@]}" latency "$TRIAL_SECONDS" "$name" "$@" >"$SCRATCH/probe.$name" 2>&1 &
	probes+=("$name:$!")
	STARTED+=("$(process_of $!)")
}

probe_vault()
{
	probe whoami 0 run coffer whoami -- cat "$SCRATCH/beside/value"
	probe revoke 0 run sh -c "coffer grant secrets-user user:20007 --on db 2>/dev/null; coffer revoke secrets-user user:20007 --on db" -- sh -c "cat $SCRATCH/beside/value && cat $SCRATCH/beside/value"
	probe ls 0 run ls "$MNT" -- ls "$SCRATCH/beside"
	probe first-cat $reader run cat "$MNT/db/current" -- cat "$SCRATCH/beside/value"
	probe repeated-cat $reader read "$MNT/db/current" "$SCRATCH/beside/value"
	probe event 0 event "$MNT/watched/current" coffer put watched --file "$SCRATCH/value"
}
probe_tmpfs() { probe ls 0 run ls "$target" -- ls "$SCRATCH/beside"; }

# attack NAME FIRST_UID UIDS [OWNER]
attack()
{
	local kind=$1 words
	shift
	note "$kind from ${2} uids${3:+, in a user namespace}"
	confined neighbour "$target" db "$kind" "$TRIAL_THREADS" "$1" "$2" $((TRIAL_SECONDS + 3)) ${3:+"$3"} >"$SCRATCH/attack" 2>&1 &
	local process=$!
	STARTED+=("$(process_of $process)")
	wait_for -t 120 grep -q begun "$SCRATCH/attack"
	probes=()
	"probe_$TRIAL_ON"
	local failed=
	for words in "${probes[@]}"; do
		wait "${words##*:}" || failed+=" ${words%:*}"
		echo "   $(cat "$SCRATCH/probe.${words%:*}")"
	done
	wait $process || fail "the attacker: $(cat "$SCRATCH/attack")"
	echo "   the attacker's answers: $(grep -v begun "$SCRATCH/attack" | tr '\n' ' ')"
	[ -z "$failed" ] || all_failed+="; $kind:$failed"
}
all_failed=

for kind in $TRIAL_ATTACKS; do
	attack "$kind" $attacker 1
	attack "$kind" $subordinate $count
	attack "$kind" $subordinate $count $attacker
done
[ -z "$all_failed" ] || fail "failed meanwhile${all_failed}"
[ "$(status .restarts)" = 0 ] || fail "a worker ended"
vault_umount
audit_verify
