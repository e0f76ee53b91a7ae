#!/bin/bash
# The worker is killed again and again while clients read, stat, list, map, write and put: no call fails, no byte is wrong, what was acknowledged is there, and everything is in the log once.
. "$(dirname "$0")/../support/lib.sh"
KILLS=${KILLS:-30}	# by hand: 1000
DEATHS_EXPECTED=1

reader=20001 writer=20002 putter=20003
head -c 4096 /dev/urandom >"$SCRATCH/value"
head -c 200000 /dev/urandom >"$SCRATCH/large"

# put_forever NAME UID: coffer put until the file "stop" is there; prints how many were acknowledged
put_forever()
{
	local n=0
	until [ -e "$SCRATCH/stop" ]; do
		echo "value $((n + 1))" | as "$2" coffer put "$1" >/dev/null 2>"$SCRATCH/put.err" || {
			echo "put $((n + 1)) failed: $(cat "$SCRATCH/put.err")"
			return
		}
		n=$((n + 1))
	done
	echo "ok $n"
}

# A vault, its clients, and the end of its worker, again and again
rounds()
{
	local before kills=0 name n puts
	expect_ok coffer put db --file "$SCRATCH/value"
	expect_ok coffer put large --file "$SCRATCH/large"
	expect_errno ok sysop mkdir "$MNT/written"
	expect_ok coffer put put --file "$SCRATCH/value"
	expect_ok coffer grant secrets-user user:$reader --on '*'
	expect_ok coffer grant secrets-officer user:$writer --on written
	expect_ok coffer grant secrets-officer user:$putter --on put
	rm -f "$SCRATCH/stop"

	hammer_start read $reader read "$MNT/db/current" "$SCRATCH/value"
	hammer_start large $reader pread "$MNT/large/current" "$SCRATCH/large"
	hammer_start map $reader map "$MNT/large/versions/1" "$SCRATCH/large"
	hammer_start stat $reader stat "$MNT/db/current" 400
	hammer_start list $reader list "$MNT" db
	hammer_start write $writer write "$MNT/written/current"
	put_forever put $putter >"$SCRATCH/put.out" &
	puts=$!
	before=$(status .restarts)
	while [ $kills -lt "$KILLS" ]; do
		kill_worker
		kills=$((kills + 1))
		sleep 0.0$((RANDOM % 90 + 10))
	done
	[ "$(status .restarts)" -ge $((before + KILLS)) ] || fail "$(status .restarts) restarts after $KILLS kills"
	for name in large map stat list; do
		hammer_stop $name
	done
	hammer_stop read
	reads=$HAMMERED
	hammer_stop write
	writes=$HAMMERED
	touch "$SCRATCH/stop"
	wait $puts
	grep -q '^ok ' "$SCRATCH/put.out" || fail "$(cat "$SCRATCH/put.out")"
	puts=$(cut -c 4- "$SCRATCH/put.out")

	note "$reads reads, $writes writes and $puts puts: each acknowledged one is there, exactly once"
	[ "$(ls "$MNT/written/versions" | wc -l)" = "$writes" ] || fail "$(ls "$MNT/written/versions" | wc -l) versions of $writes writes"
	for ((n = 1; n <= writes; n += 1 + writes / 50)); do
		expect_output "$writer $n" cat "$MNT/written/versions/$n"
	done
	expect_output "$writer $writes" cat "$MNT/written/current"
	[ "$(ls "$MNT/put/versions" | wc -l)" = $((puts + 1)) ] || fail "$(($(ls "$MNT/put/versions" | wc -l) - 1)) versions of $puts puts"
	for ((n = 1; n <= puts; n++)); do
		expect_output "value $n" cat "$MNT/put/versions/$((n + 1))"
	done

	note "one record for each request"
	# a line that a killed worker tore stays where it is: it is no record
	all_recorded()		# what is counted comes to the file within a second
	{
		all_records >"$SCRATCH/log"
		n=$(jq -n "[inputs | select(.operation == \"SecretGet\" and .result == \"allow\" and .secret == \"db\" and .caller.uid == $reader) | .count] | add" "$SCRATCH/log")
		[ "$n" = "$reads" ] || fail "$n accesses are recorded of $reads reads"
	}
	wait_for -t 10 all_recorded
	[ -z "$(jq -r 'select(.request != null) | .request' "$SCRATCH/log" | sort | uniq -d | tee "$SCRATCH/twice" | head -n 3)" ] || {
		grep -aF "$(head -n 1 "$SCRATCH/twice")" "$SCRATCH/log" >&2
		fail "requests that are recorded twice: $(wc -l <"$SCRATCH/twice")"
	}
	n=$(jq -n '[inputs | select(.operation == "SecretSet" and .result == "allow" and .secret == "written" and .version != null and .caller.uid != 0)] | length' "$SCRATCH/log")
	[ "$n" = "$writes" ] || fail "$n records of $writes versions written"
	n=$(jq -n "[inputs | select(.operation == \"SecretSet\" and .result == \"allow\" and .secret == \"put\" and .caller.uid == $putter)] | length" "$SCRATCH/log")
	[ "$n" = "$puts" ] || fail "$n records of $puts puts"
	vault_umount
	audit_verify
	expect_ok coffer fsck "$STORE"
}

note "$KILLS kills, unanswered requests sent again by the kernel"
vault_start
rounds
chattr -R -a "$STORE" 2>/dev/null || true
rm -rf "$STORE" "$SCRATCH/keys"
install -d -m 700 "$SCRATCH/keys"

note "the same with -o noresend, replayed from memory as on older kernels"
KILLS=$(((KILLS + 2) / 3))
vault_start -o noresend
rounds
