#!/bin/bash
# One uid's crowd of slow requests keeps nobody else waiting: others, and an administrator, are served while it waits, also where its requests are replayed from memory.
. "$(dirname "$0")/../support/lib.sh"

crowd=${CROWD:-120}
mkdir "$SCRATCH/fusectl"
mount -t fusectl none "$SCRATCH/fusectl" 2>/dev/null || { echo "no fusectl here: what waits cannot be counted"; exit 77; }
MOUNTED+=("$SCRATCH/fusectl")

waiting() { cat "$SCRATCH/fusectl/$connection/waiting"; }
many_wait() { [ "$(waiting)" -ge $((crowd - 20)) ]; }

# Each reads a value whose key the key holder would have to unwrap, which is stopped: that takes two seconds of a thread. And asks again when that time is over, so that there is a crowd however long the rest of the test takes; the file "answered" has a line for each time.
# shellcheck disable=SC2016
insist=(bash -c 'until [ -e "$0/go-home" ]; do cat "$1" >/dev/null 2>&1 && break; echo >>"$0/answered"; done' "$SCRATCH")
crowd_start()
{
	local i
	connection=$(($(stat -c %d "$MNT") & 0xff))
	holder=$(status .processes.keyholder)
	kill -STOP "$holder"
	readers=()
	rm -f "$SCRATCH/go-home"
	install -m 666 /dev/null "$SCRATCH/answered"
	for ((i = 0; i < crowd; i++)); do
		setpriv --reuid=20001 --regid=20001 --clear-groups -- "${insist[@]}" "$(printf '%s/s%06d/current' "$MNT" $i)" &
		readers+=($!)
		STARTED+=("$(process_of $!)")
	done
	wait_for many_wait
}

crowd_end()
{
	local reader
	touch "$SCRATCH/go-home"
	kill -CONT "$holder"
	for reader in "${readers[@]}"; do
		wait "$reader" || true
	done
}

# in_between COMMAND…: not after half of those that came before it
in_between()
{
	local before after
	before=$(wc -l <"$SCRATCH/answered")
	"$@"
	after=$(wc -l <"$SCRATCH/answered")
	[ $((after - before)) -lt $((crowd / 2)) ] || fail "$((after - before)) of the crowd of $crowd had their answer before: $*"
}

others_are_served()
{
	in_between expect_ok as 20002 cat "$MNT/.coffer/whoami"
	in_between expect_errno ok as 20002 sysop open r "$MNT/s000199/current"
	in_between expect_errno EACCES as 20003 sysop open r "$MNT/s000199/current"
	in_between expect_ok coffer disable s000199
	in_between expect_ok coffer enable s000199
	[ "$(waiting)" -ge $((crowd / 2)) ] || fail "there is no crowd: $(waiting) wait"
}

vault_init
expect_ok "$COFFER_SUPPORT/build_store" "$STORE" --secrets 200 --bindings 10
vault_mount -o watchdog=0	# which would wake the key holder
expect_ok coffer grant secrets-user user:20001 --on '*'
expect_ok coffer grant secrets-user user:20002 --on '*'

note "$crowd slow requests of one uid wait; others do not"
crowd_start
others_are_served
crowd_end

note "a crowd of WRITEs, which hold what the daemon reads into: some are refused, and the rest leaves room for others"
expect_ok coffer grant secrets-officer user:20004 --on '*'
holder=$(status .processes.keyholder)
kill -STOP "$holder"	# the beginning of each write is a copy, which needs its secret's key
readers=()
for ((i = 100; i < 170; i++)); do
	LC_ALL=C setpriv --reuid=20004 --regid=20004 --clear-groups -- dd if=/dev/zero of="$(printf '%s/s%06d/current' "$MNT" $i)" bs=1 count=1 conv=notrunc status=none 2>>"$SCRATCH/refused" &
	readers+=($!)
	STARTED+=("$(process_of $!)")
done
some_refused() { grep -q 'Resource temporarily unavailable' "$SCRATCH/refused"; }
wait_for some_refused
expect_ok as 20002 cat "$MNT/.coffer/whoami"
expect_errno ok as 20002 sysop open r "$MNT/s000199/current"
crowd_end

note "the same after the worker has died over them"
DEATHS_EXPECTED=1
vault_umount
vault_mount -o noresend,watchdog=0
crowd_start
worker=$(status .processes.worker)
kill -KILL "$worker"
replaced() { [ "$(as 0 timeout 60 jq -r .processes.worker "$MNT/.coffer/status")" != "$worker" ]; }
kill -CONT "$holder"	# a worker needs the vault's key
wait_for replaced
crowd_end
expect_ok as 20001 cat "$MNT/s000000/current"
vault_umount
audit_verify
