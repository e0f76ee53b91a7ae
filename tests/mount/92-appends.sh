#!/bin/bash
# Several writers of one file: what is appended at the same time is there once, whatever dies; a changed copy of a version that is no longer served is refused; a file is empty for whoever emptied it.
. "$(dirname "$0")/../support/lib.sh"
WRITERS=${WRITERS:-8}	# by hand: 40
APPENDS=${APPENDS:-12}	# by hand: 200
KILLS=${KILLS:-4}	# by hand: 50
# shellcheck disable=SC2034	# lib.sh's
DEATHS_EXPECTED=1

writer=20001
f=$MNT/log/current

# append NAME: APPENDS lines, each by a redirection of its own
append()
{
	local i
	for ((i = 1; i <= APPENDS; i++)); do
		echo "$1 $i" >>"$f" || return
	done
}
export -f append
export APPENDS f

# all_lines_once N: N writers' lines are in the file, each once, and each writer's in their order
all_lines_once()
{
	local i
	for ((i = 1; i <= $1; i++)); do
		seq -f "$i %.0f" 1 "$APPENDS" >"$SCRATCH/want"
		grep "^$i " "$f" | cmp -s - "$SCRATCH/want" || fail "of $APPENDS lines of writer $i there are $(grep -c "^$i " "$f"), $(grep "^$i " "$f" | sort -u | wc -l) different ones"
	done
	[ "$(wc -l <"$f")" = $((1 + $1 * APPENDS)) ] || fail "$(wc -l <"$f") lines of $((1 + $1 * APPENDS))"
}

# writers N: that many append at the same time; exits with the number of those that failed
writers()
{
	local i pids=() failed=0
	for ((i = 1; i <= $1; i++)); do
		setpriv --reuid=$writer --regid=$writer --clear-groups -- bash -c "append $i" &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i" || failed=$((failed + 1))
	done
	return $failed
}

round()
{
	local all kills=0
	echo first | coffer put log
	writers "$WRITERS" &
	all=$!
	while [ $kills -lt "$KILLS" ] && kill -0 $all 2>/dev/null; do
		kill_worker
		kills=$((kills + 1))
		sleep 0.0$((RANDOM % 90 + 10))
	done
	wait $all || fail "$? writers failed"
	all_lines_once "$WRITERS"
	note "$((WRITERS * APPENDS)) lines of $WRITERS writers through $kills deaths of the worker, each there once"
}

vault_start
expect_ok coffer put log --file /dev/null
expect_ok coffer grant secrets-officer user:$writer --on '*'
round

note "another one's version comes between"
as_writer() { as $writer sysop "$@"; }
hold a $writer
printf base | coffer put log
expect_held ok a open w,a "$f"
expect_held ok a write +a1
printf other | coffer put log
expect_held ok a fsync
expect_output other+a1 cat "$f"
printf again | coffer put log
expect_held ok a write +a2
expect_held ok a close
expect_output again+a2 cat "$f"

note "who also reads sees what it opened and its own; nobody else's"
expect_held ok a open rw,a "$f"
expect_held ok a write +a3
printf between | coffer put log
expect_held ok a fsync
expect_output between+a3 cat "$f"
expect_held "ok $(printf again+a2+a3 | sha256sum | cut -d ' ' -f 1) 11" a read
expect_held ok a write +a4
expect_held ok a close
expect_output between+a3+a4 cat "$f"

note "emptied first, then appended"
expect_held ok a open w,a,t "$f"
expect_held ok a write new
printf late | coffer put log
expect_held ok a fsync
expect_output new cat "$f"
printf late | coffer put log
expect_held ok a write +a5
expect_held ok a close
expect_output late+a5 cat "$f"

note "cut while appending: what is there then is cut"
expect_held ok a open w,a "$f"
expect_held ok a write +a6
expect_held ok a ftruncate 6
expect_held ok a write !
expect_held ok a close
expect_output late+a! cat "$f"

note "the version that would be appended to is withdrawn: what is served instead is what goes on"
expect_held ok a open w,a "$f"
expect_held ok a write +7
coffer disable log --version "$(coffer -o json versions log 2>/dev/null | jq 'map(.version) | max' || coffer versions log --output json | jq 'map(.version) | max')" >/dev/null
was=$(cat "$f")
expect_held ok a close
expect_output "$was+7" cat "$f"

note "a changed copy of a version that is not served any more: ESTALE, at fsync and at close, and the newer value stays"
expect_held ok a open rw "$f"
expect_held ok a pwrite 0 X
expect_held ok a fsync
expect_held ok a pwrite 1 Y
expect_held ok a fsync
expect_output "XY${was:2}+7" cat "$f"
printf newest | coffer put log
expect_held ok a pwrite 2 Z
expect_held ESTALE a fsync
expect_held ESTALE a close
expect_output newest cat "$f"
wait_for audit_has '.operation == "SecretSet" and .result == "error" and .errno == "ESTALE" and .secret == "log"'
grep -q 'is not kept: another version is served by now' "$DAEMON_LOG" || fail "the log does not say it"
note "O_TRUNC: the last writer wins"
expect_held ok a open w,t "$f"
expect_held ok a write mine
printf other | coffer put log
expect_held ok a close
expect_output mine cat "$f"

note "emptied, and read at once: 60 times each way"
for ((i = 0; i < 20; i++)); do
	for how in ': >"$0"' 'cp /dev/null "$0"' 'dd if=/dev/null of="$0" status=none'; do
		expect_ok as $writer bash -c "printf full >\"\$0\"; $how; test ! -s \"\$0\" && test -z \"\$(cat \"\$0\")\"" "$f"
	done
done
note "emptied by a descriptor that stays open: at its end, unless there is a newer value by then; and not where a write was refused"
printf value | coffer put log
expect_held ok a open w,t "$f"
expect_output value cat "$f"
printf newer | coffer put log
expect_held ok a close
expect_output newer cat "$f"
expect_errno EFBIG as_writer open w,t "$f" + pwrite 1048576 x
expect_output newer cat "$f"
expect_errno ok as_writer open w,t "$f" + fsync + write more + close
expect_output more cat "$f"

note "emptied by one, then written by another that had it open: what was written last stays"
expect_ok as $writer /usr/bin/python3 -c 'import os, sys
for i in range(200):
    writer = os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC)
    os.close(os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC))
    os.write(writer, b"%d" % i)
    os.fsync(writer)
    os.close(writer)
    got = open(sys.argv[1], "rb").read()
    assert got == b"%d" % i, "%d is %r" % (i, got)' "$f"

note "emptied while the worker dies"
for ((i = 0; i < 5; i++)); do
	printf full | coffer put log
	before=$(ls "$MNT/log/versions" | wc -l)
	expect_held ok a open w,t "$f"
	kill_worker
	expect_held ok a close
	wait_for test ! -s "$f"
	[ "$(ls "$MNT/log/versions" | wc -l)" = $((before + 1)) ] || fail "$(ls "$MNT/log/versions" | wc -l) versions, not $((before + 1))"
done
audit_verify
vault_umount
expect_ok coffer fsck "$STORE"

chattr -R -a "$STORE" 2>/dev/null || true
rm -rf "$STORE" "$SCRATCH/keys"
install -d -m 700 "$SCRATCH/keys"
note "the same with -o noresend, replayed from memory as on older kernels"
vault_start -o noresend
expect_ok coffer put log --file /dev/null
expect_ok coffer grant secrets-officer user:$writer --on '*'
round
