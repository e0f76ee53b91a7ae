#!/bin/bash
# Writing through the mount: what makes a version, what makes none, what is refused, and that no way to close a file can hang it.
. "$(dirname "$0")/../support/lib.sh"
EXECS=${EXECS:-1000}	# writers that exec with their file close-on-exec

vault_start
officer=20001 reader=20002 writer=20003
expect_ok coffer grant secrets-officer user:$officer --on '*'
expect_ok coffer grant secrets-user user:$reader --on '*'
expect_ok coffer role create writer secrets/set
expect_ok coffer grant writer user:$writer --on '*'
f=$MNT/db/current
expect_errno ok as $officer sysop mkdir "$MNT/db"
# files of the officer
install -d -o $officer "$SCRATCH/mine"
mine=$SCRATCH/mine

# An empty file is a version when it is looked at the next time: no close waits for its end.
newest() { stat "$f" >/dev/null; ls "$MNT/db/versions" | sort -n | tail -n 1; }

# expect_versions N WORDS: N more versions than when this was asked last, and current says exactly this
last=0
expect_versions()
{
	local now
	now=$(newest)
	[ "${now:-0}" = $((last + $1)) ] || fail "$((${now:-0} - last)) new versions, not $1"
	last=${now:-0}
	[ "$last" = 0 ] || printf '%b' "$2" | cmp - "$f" || fail "current is not '$2': $(head -c 100 "$f")"
}

run() { expect_exit 0 as $officer bash -c "$1" "$f" "$mine"; }

note "redirections"
run ': >"$0"'
expect_versions 1 ''
run 'printf one >"$0"'
expect_versions 1 'one'
run ': >"$0"; test ! -s "$0"'
expect_versions 1 ''
run 'printf "one two" >>"$0"'
expect_versions 1 'one two'
run ': >>"$0"'
expect_versions 0 'one two'
run '{ echo a; echo b; } >"$0"'
expect_versions 1 'a\nb\n'
run '{ /bin/echo a; /bin/echo c; } >"$0"'
expect_versions 1 'a\nc\n'
run 'dash -c "printf dash >\"\$0\"" "$0"'
expect_versions 1 'dash'
run 'exec 3>"$0"; echo a >&3; echo b >&3; exec 3>&-'
expect_versions 2 'a\nb\n'
run 'seq 1 20000 >"$0"'
expect_versions 1 "$(seq 1 20000)\n"
run 'tr a-z A-Z <<<"tee" | tee "$0" >/dev/null'
expect_versions 1 'TEE\n'

note "cp, dd, and what is not there to copy"
head -c 300000 /dev/urandom >"$mine/random"
chown $officer "$mine/random"
run 'cp "$1/random" "$0"'
cmp "$mine/random" "$f" || fail "cp"
last=$((last + 1))
[ "$(newest)" = $last ] || fail "cp made $(newest), not $last"
run 'cp /dev/null "$0"'
expect_versions 1 ''
run 'dd if="$1/random" of="$0" bs=7000 conv=fsync status=none'
cmp "$mine/random" "$f" || fail "dd"
last=$((last + 1))
[ "$(newest)" = $last ] || fail "dd conv=fsync made $(newest), not $last"
run 'printf short | dd of="$0" status=none conv=notrunc'
cmp <(printf short; tail -c +6 "$mine/random") "$f" || fail "dd conv=notrunc"
last=$((last + 1))
run 'printf x | dd of="$0" status=none bs=1 seek=10'
cmp <(printf short; head -c 10 "$mine/random" | tail -c 5; printf x) "$f" || fail "dd seek"
last=$((last + 1))
[ "$(newest)" = $last ] || fail "dd made $(newest), not $last"
run 'busybox cp "$1/random" "$0"'
cmp "$mine/random" "$f" || fail "busybox cp"
last=$((last + 1))

note "read and write on one descriptor: its own stage, nobody else's"
run 'printf base >"$0"'
expect_versions 1 base
hold both $officer
expect_held ok both open rw "$f"
expect_held ok both pwrite 4 ment
printf basement >"$mine/want"
expect_held "ok $(sha256sum <"$mine/want" | cut -d ' ' -f 1) 8" both read
expect_output base as $reader cat "$f"
expect_versions 0 base
expect_held ok both fsync
expect_versions 1 basement
expect_held ok both ftruncate 2
expect_held ok both fsync
expect_versions 1 ba
expect_held ok both pwrite 5 x
expect_held ok both close
expect_versions 1 'ba\0\0\0x'
expect_held ok both open rw,t "$f"
expect_versions 0 'ba\0\0\0x'
expect_held "ok $(sha256sum </dev/null | cut -d ' ' -f 1) 0" both read
expect_held ok both write new
expect_held ok both dup
expect_versions 1 new
expect_held ok both close
expect_versions 0 new

note "O_APPEND appends to what is there when it is closed, whoever else wrote"
expect_held ok both open w,a "$f"
expect_held ok both write +1
expect_held ok both write +2
run 'printf other >"$0"'
expect_versions 1 other
expect_held ok both close
expect_versions 1 other+1+2

note "an empty value: ftruncate and fsync, O_TRUNC and fsync, O_TRUNC and close, or coffer put"
expect_errno ok as $officer sysop open w,t "$f" + ftruncate 0 + fsync + close
expect_versions 1 ''
[ "$(stat -c %s "$f")" = 0 ] || fail "not empty"
run 'printf full >"$0"'
expect_versions 1 full
expect_errno ok as $officer sysop open w,t "$f" + fsync + close
expect_versions 1 ''
run 'printf full >"$0"'
expect_versions 1 full
expect_ok coffer put db --file /dev/null
expect_versions 1 ''
run 'printf full >"$0"'
expect_versions 1 full

for python in /usr/bin/python3 python3; do
	! as $officer "$python" -c '' 2>/dev/null || break
	python=
done
if [ -n "$python" ]; then
	note "python: one file object, one version; fsync between, two; a child's end commits nothing of its parent's"
	py() { expect_exit 0 as $officer "$python" -c "$1" "$f"; }
	py 'import sys; o=open(sys.argv[1],"w"); o.write("py"); o.flush(); o.write("thon"); o.close()'
	expect_versions 1 python
	py 'import sys,os; o=open(sys.argv[1],"w"); o.write("py"); o.flush(); os.fsync(o.fileno()); o.write("thon"); o.close()'
	expect_versions 2 python
	py 'import sys,os,subprocess; o=open(sys.argv[1],"w"); o.write("pa"); o.flush(); pid=os.fork()
if pid == 0: os._exit(0)
os.waitpid(pid,0); subprocess.run(["true"],close_fds=False,pass_fds=[o.fileno()]); o.write("rent"); o.close()'
	expect_versions 1 parent
	py 'import sys,shutil,os; open("/proc/self/comm").close(); shutil.copyfile("/etc/hostname",sys.argv[1])'
	last=$((last + 1))
	cmp /etc/hostname "$f" || fail "shutil.copyfile"
fi

note "a forked child's close, and another process's, commit nothing"
expect_held ok both open w,t "$f"
expect_held ok both write half
expect_held ok both fork
[ "$(newest)" = "$last" ] || fail "a child's end made a version"
expect_held ok both write +half
expect_held ok both fork
[ "$(newest)" = "$last" ] || fail "a child's end made a version"
expect_held ok both close
expect_versions 1 half+half

note "abandoned: opened and closed, or killed before it wrote, leaves nothing but what O_TRUNC means; killed half-way has written half, as with any file"
for flags in w w,a rw; do
	expect_errno ok as $officer sysop open $flags "$f" + close
done
expect_versions 0 half+half
for flags in w,t rw,t; do
	expect_errno ok as $officer sysop open $flags "$f" + close
	expect_versions 1 ''
done
hold dying $officer
expect_held ok dying open w "$f"
kill -KILL "${HOLD_PROCESS[dying]%:*}"
let_go dying
expect_versions 0 ''
is_newest() { [ "$(newest)" = "$1" ]; }
run 'printf full >"$0"'
expect_versions 1 full
hold dying $officer
expect_held ok dying open w,t "$f"
kill -KILL "${HOLD_PROCESS[dying]%:*}"
let_go dying
wait_for is_newest $((last + 1))
expect_versions 1 ''
hold dying $officer
expect_held ok dying open w,t "$f"
expect_held ok dying write killed
kill -KILL "${HOLD_PROCESS[dying]%:*}"
let_go dying
wait_for is_newest $((last + 1))
expect_versions 1 killed

note "a writer without a right; with the right to set only; one that loses it"
expect_errno EACCES as $reader sysop open w,t "$f"
expect_errno EACCES as $reader sysop open rw "$f"
expect_errno EACCES as 20009 sysop open w "$f"
expect_errno ok as $writer sysop open w,t "$f" + write blind + close
expect_versions 1 blind
expect_errno EACCES as $writer sysop open r "$f"
expect_errno EACCES as $writer sysop open rw,t "$f"
expect_errno EACCES as $writer sysop open w "$f"	# the stage would start as a copy
hold losing $writer
expect_held ok losing open w,t "$f"
expect_held ok losing write lost
expect_ok coffer revoke writer user:$writer --on '*'
expect_held EKEYREVOKED losing write more
[[ $(held losing fsync) != ok ]] || fail "what was written is committed after the right is gone"
[[ $(held losing close) != ok ]] || fail "close says that what was written is kept"
expect_versions 0 blind
let_go losing
expect_versions 0 blind
expect_ok coffer disable db
expect_errno EACCES as $officer sysop open w,t "$f"
expect_ok coffer enable db

note "the limit: 1 MiB exactly, and not a byte more; what was too much leaves the old value"
head -c 1048576 /dev/urandom >"$mine/limit"
head -c 1048577 /dev/urandom >"$mine/over"
head -c 3000000 /dev/urandom >"$mine/far"
run 'cp "$1/limit" "$0"'
cmp "$mine/limit" "$f" || fail "a value of 1 MiB"
last=$((last + 1))
[ "$(newest)" = "$last" ] || fail "1 MiB"
for file in over far; do
	expect_exit 1 as $officer cp "$mine/$file" "$f"
	grep -q 'File too large' "$ERR" || fail "$(cat "$ERR")"
	expect_exit 1 as $officer dd if="$mine/$file" of="$f" bs=64k status=none
done
expect_errno EFBIG as $officer sysop open w,t "$f" + pwrite 1048576 x
expect_errno EFBIG as $officer sysop open w "$f" + pwrite 5000000000 x
expect_errno EFBIG as $officer sysop open w,a "$f" + write x
expect_errno EFBIG as $officer sysop open w "$f" + ftruncate 1048577
cmp "$mine/limit" "$f" || fail "what was too large has changed the value"
[ "$(newest)" = "$last" ] || fail "what was too large made a version: $(newest), not $last"
run 'printf small >"$0"'
expect_versions 1 small

note "a version never changes"
for flags in w w,t w,a rw; do
	expect_errno EPERM as $officer sysop open $flags "$MNT/db/versions/1"
done
expect_errno EPERM as $officer sysop truncate 0 "$MNT/db/versions/1"
expect_errno EPERM as $reader sysop open r,t "$MNT/db/versions/1"
expect_errno EPERM as $reader sysop open r,t "$MNT/db/current"

note "touch, cp -p, chmod and truncate"
run 'touch "$0"; touch -d 2001-01-01 "$0"; chmod 600 "$0"; chown "$(id -u):$(id -g)" "$0"'
expect_versions 0 small
expect_exit 1 as $officer chmod 644 "$f"
expect_ok as $officer /usr/bin/python3 -c 'import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
os.fchmod(fd, 0o644)
os.close(fd)
os.chmod(sys.argv[1], 0o644)' "$f"
[ "$(as $officer stat -c '%a %u' "$f")" = "600 $officer" ] || fail "chmod did something"
expect_exit 1 as $officer chmod 200 "$f"
expect_exit 1 as $officer chmod 4700 "$f"
expect_exit 1 as $officer chmod 700 "$MNT/db"
expect_exit 1 as $officer chown 20009 "$f"
expect_exit 1 as 20009 chmod 644 "$f"
expect_exit 1 as $reader touch "$f"
expect_exit 1 as $reader chmod 400 "$f"
install -m 600 -o $officer -g $officer /dev/null "$mine/private"
printf private >"$mine/private"
run 'cp -p "$1/private" "$0"'
expect_versions 1 private
chmod 644 "$mine/private"
run 'cp -p "$1/private" "$0"'
expect_versions 1 private
run 'truncate -s 4 "$0" && cat "$0"'
expect_versions 1 priv
expect_errno EPERM as $officer sysop truncate 1 "$f"
expect_versions 0 priv

note "each version in the log once, with who wrote it"
[ "$(audit_count '.operation == "SecretSet" and .result == "allow" and .version != null and .secret == "db"')" = "$last" ] ||
	fail "$(audit_count '.operation == "SecretSet" and .result == "allow" and .version != null and .secret == "db"') records of $last versions"
[ "$(audit_count ".operation == \"SecretSet\" and .version != null and .caller.uid == $officer")" -ge 20 ] || fail "the writer is not named"

note "$EXECS writers that exec with their file close-on-exec, beside readers: nothing hangs"
printf steady | as $officer tee "$MNT/db/current" >/dev/null
expect_ok coffer put still --file "$mine/random"
hammer_start still $reader read "$MNT/still/current" "$mine/random"
hammer_start map $reader map "$MNT/still/versions/1" "$mine/random"
before=$(newest)
hammer_start exec $officer execwrite "$f" "$EXECS"
hammer_wait exec
[ "$HAMMERED" = "$EXECS" ] || fail "$HAMMERED of $EXECS"
hammer_stop still
hammer_stop map
[ "$(newest)" = $((before + EXECS)) ] || fail "$(($(newest) - before)) versions of $EXECS writers"
expect_output "exec $((EXECS - 1))" as $reader cat "$f"
audit_verify
