#!/bin/bash
# The active worker is killed again and again while four clients open and read (through a bind mount in another mount namespace), read what stays open, stat, and list, one watches, and one rotates:
# the standby takes over, nothing fails, nothing is lost or doubled. How long callers wait is printed, not judged.
. "$(dirname "$0")/../support/lib.sh"
KILLS=${KILLS:-40}		# by hand: 1000
NORESEND_KILLS=${NORESEND_KILLS:-$(((KILLS + 4) / 5))}
SECRETS=${SECRETS:-100}		# by hand: 100000
DEATHS_EXPECTED=1
reader=20001 rotator=20002
head -c 4096 /dev/urandom >"$SCRATCH/value"
install -m 755 "$COFFER_SUPPORT/pause" "$SCRATCH/bin"

watchers_begin()
{
	inotifywait -m -e close_write "$1" >"$SCRATCH/events" 2>"$SCRATCH/watching" &
	STARTED+=("$(process_of $!)")
	wait_for grep -q 'Watches established' "$SCRATCH/watching"
}

rotate_forever()
{
	local n=0
	until [ -e "$SCRATCH/stop" ]; do
		echo "rotation $((n + 1))" | as $rotator coffer put rotated >/dev/null 2>"$SCRATCH/rotate.err" || {
			echo "rotation $((n + 1)) failed: $(cat "$SCRATCH/rotate.err")"
			return
		}
		n=$((n + 1))
	done
	echo "ok $n"
}

# rounds KILLS [OPTION…]
rounds()
{
	local kills=$1 rotate rotations events n
	shift
	vault_init
	ASAN_OPTIONS=detect_leaks=0 "$COFFER_SUPPORT/build_store" "$STORE" --secrets "$SECRETS" --bindings 10 --value 4096
	chown -R coffer:coffer "$STORE/db"
	vault_mount -o audit_keep=16G "$@"	# of a long run, too: each record is counted
	expect_ok coffer put db --file "$SCRATCH/value"
	expect_ok coffer put rotated --file "$SCRATCH/value"
	expect_ok coffer grant secrets-user user:0,host --on '*'
	expect_ok coffer grant secrets-user user:$reader --on '*'
	expect_ok coffer grant secrets-officer user:$rotator --on rotated
	rm -f "$SCRATCH/stop"
	# in a mount namespace of its own, from before the first death until after the last
	unshare -m sh -c "mount --bind $MNT/db /mnt && exec setpriv --reuid=$reader --clear-groups hammer read /mnt/current $SCRATCH/value" >"$SCRATCH/hammer.bind" 2>&1 &
	HAMMER_PIDS[bind]=$!
	STARTED+=("$(process_of $!)")
	watchers_begin "$MNT/rotated/current"
	hold opened $reader
	expect_held ok opened open r "$MNT/db/current"
	hammer_start stat $reader stat "$MNT/db/current" 400
	hammer_start list $reader list "$MNT" db
	hammer_start pread $reader pread "$MNT/db/current" "$SCRATCH/value"
	rotate_forever >"$SCRATCH/rotate.out" &
	rotate=$!
	expect_ok env ASAN_OPTIONS=detect_leaks=0 pause "$MNT" "$MNT/s000005/current" "$kills" 20
	read -r _ n median worst calm calmest <"$OUT"
	note "$n kills with $SECRETS secrets: callers waited $median us (median), $worst us (worst); without a death $calm and $calmest us"
	touch "$SCRATCH/stop"
	wait $rotate
	grep -q '^ok ' "$SCRATCH/rotate.out" || fail "$(cat "$SCRATCH/rotate.out")"
	rotations=$(cut -c 4- "$SCRATCH/rotate.out")
	kill -TERM "${HAMMER_PIDS[bind]}" 2>/dev/null || true
	hammer_wait bind
	reads=$HAMMERED
	for name in stat list pread; do
		hammer_stop $name
	done
	expect_held ok opened pread 0 16
	let_go opened

	note "$reads reads and $rotations rotations: none failed, each is there once and in the log once"
	[ "$(status .restarts)" -ge "$kills" ] || fail "$(status .restarts) restarts after $kills kills"
	[ "$(status .supervision.requests_given_up)" = 0 ] || fail "requests were given up: $(status .supervision)"
	[ "$(ls "$MNT/rotated/versions" | wc -l)" = $((rotations + 1)) ] || fail "$(ls "$MNT/rotated/versions" | wc -l) versions of $rotations rotations"
	expect_output "rotation $rotations" as $rotator cat "$MNT/rotated/current"
	: >"$SCRATCH/events"
	expect_ok coffer put rotated --file "$SCRATCH/value"
	wait_for grep -q CLOSE_WRITE "$SCRATCH/events"
	all_records >"$SCRATCH/log"
	[ -z "$(jq -r 'select(.request != null) | .request' "$SCRATCH/log" | sort | uniq -d | head -n 3)" ] || fail "requests that are recorded twice"
	# what is counted comes to the file within a second
	all_recorded()
	{
		n=$(all_records | jq -n "[inputs | select(.operation == \"SecretGet\" and .result == \"allow\" and .secret == \"db\" and .caller.uid == $reader) | .count // 1] | add")
		[ "$n" -ge "$reads" ] || fail "$n records of $reads reads"
	}
	wait_for -t 10 all_recorded
	n=$(jq -n "[inputs | select(.operation == \"SecretSet\" and .result == \"allow\" and .secret == \"rotated\" and .caller.uid == $rotator)] | length" "$SCRATCH/log")
	[ "$n" = "$rotations" ] || fail "$n records of $rotations rotations"
	vault_umount
	audit_verify
	expect_ok coffer fsck "$STORE"
	chattr -R -a "$STORE" 2>/dev/null || true
	rm -rf "$STORE" "$SCRATCH/keys"
	install -d -m 700 "$SCRATCH/keys"
}

[ "$KILLS" = 0 ] || rounds "$KILLS"
note "the same with -o noresend, replayed from memory as on older kernels"
[ "$NORESEND_KILLS" = 0 ] || rounds "$NORESEND_KILLS" -o noresend
