#!/bin/bash
# An open file that is handed to somebody else, by inheritance or through a socket, is worth what its new holder may do himself.
. "$(dirname "$0")/../support/lib.sh"

vault_start
printf 'the value' >"$SCRATCH/value"
value="ok $(sha256sum <"$SCRATCH/value" | cut -d ' ' -f 1) 9"
expect_ok coffer put db --file "$SCRATCH/value"
expect_ok coffer grant secrets-user user:20001 --on db
expect_ok coffer grant secrets-user user:20004 --on db
expect_ok coffer grant secrets-officer user:20005 --on db

note "inherited: opened by root, read by others"
exec {handed}<"$MNT/db/current"
expect_errno EACCES as 20003 sysop fd "$handed" + read
expect_errno EACCES as 20003 sysop fd "$handed" + sendfile
audit_has '.operation == "SecretGet" and .result == "deny" and .caller.uid == 20003 and .secret == "db"'
expect_content "$SCRATCH/value" as 20001 sysop fd "$handed" + read
exec {handed}<&-

note "inherited: a uid's file by another, whatever groups it has"
inherit() { as 20001 sh -c 'exec 5<"$0"; shift; exec "$@"' "$@"; }
expect_exit 0 inherit "$MNT/db/current" x sysop fd 5 + read
[ "$(cat "$OUT" | tail -n 1)" = "$value" ] || fail "$(cat "$OUT")"

# socket_of NAME: of the one who waits
pass()
{
	held "$2" recvfd "$SCRATCH/sockets/$2" >"$SCRATCH/passed" &
	wait_for test -S "$SCRATCH/sockets/$2"
	expect_held ok "$1" sendfd "$SCRATCH/sockets/$2"
	wait $!
	[ "$(cat "$SCRATCH/passed")" = ok ] || fail "the descriptor was not passed: $(cat "$SCRATCH/passed")"
	rm "$SCRATCH/sockets/$2"
}
install -d -m 1777 "$SCRATCH/sockets"

# gets UID: records of it that it read the secret
gets() { audit_count ".operation == \"SecretGet\" and .result == \"$2\" and .secret == \"db\" and .caller.uid == $1"; }

note "through a socket: nothing without a right"
hold opener 20001
hold stranger 20003
expect_held ok opener open r "$MNT/db/current"
expect_held "$value" opener read
pass opener stranger
denied=$(gets 20003 deny)
expect_held EACCES stranger read
expect_held EACCES stranger pread 0 4
[ "$(held stranger mmap private)" != "$value" ] || fail "a stranger maps what it may not read"
[ "$(held stranger sendfile)" != "$value" ] || fail "a stranger sends what it may not read"
[ "$(gets 20003 deny)" -gt "$denied" ] || fail "the refusal is not in the log"
[ "$(gets 20003 allow)" = 0 ] || fail "the log says that a stranger read"

note "the opener is not disturbed"
expect_held "$value" opener read

note "with a right of its own: reads, and its first read is in the log as its own, once"
hold entitled 20004
pass opener entitled
[ "$(gets 20004 allow)" = 0 ] || fail "recorded before it read"
expect_held "$value" entitled read
expect_held "$value" entitled read
expect_held "$value" opener read
expect_held "$value" entitled read
[ "$(gets 20004 allow)" = 1 ] || fail "$(gets 20004 allow) records of a first read by another identity"
audit_has '.operation == "SecretGet" and .result == "allow" and .caller.uid == 20004 and .caller.comm == "sysop" and .version == 1'

note "each loses his own right by himself"
expect_ok coffer revoke secrets-user user:20001 --on db
expect_held EKEYREVOKED opener read
expect_held "$value" entitled read
expect_ok coffer revoke secrets-user user:20004 --on db
[[ $(held entitled read) != ok* ]] || fail "a right that ended still reads"

note "the opener is gone: the file is no more of a right"
expect_ok coffer grant secrets-user user:20001 --on db
hold gone 20001
expect_held ok gone open r "$MNT/db/current"
pass gone stranger
held gone close >/dev/null
expect_held EACCES stranger read

note "a descriptor for writing, too: the writer needs the right, and reads nothing"
hold writer 20005
expect_held ok writer open w,t "$MNT/db/current"
pass writer stranger
expect_held EACCES stranger write theft
held writer close >/dev/null
held stranger close >/dev/null
expect_output 'the value' cat "$MNT/db/current"
expect_held ok writer open w,t "$MNT/db/current"
pass writer opener
expect_held EACCES opener write theft
expect_held ok writer write mine
expect_held ok writer fsync
expect_output mine cat "$MNT/db/current"
audit_has '.operation == "SecretSet" and .result == "deny" and .caller.uid == 20003'
audit_has_not '.operation == "SecretSet" and .result == "allow" and .caller.uid != 0 and .caller.uid != 20005'

note "open for both: who may read does not write for having read, who may write does not read for having written"
expect_ok coffer role create setter secrets/set
expect_ok coffer grant setter user:20006 --on db
hold setter 20006
expect_held ok writer open rw "$MNT/db/current"
pass writer opener
pass writer setter
expect_held ok opener pread 0 4
expect_held EACCES opener pwrite 0 theft
expect_held ok setter pwrite 0 mi
expect_held EACCES setter pread 0 4
expect_held ok writer pread 0 4
held writer close >/dev/null
held opener close >/dev/null
held setter close >/dev/null

note "one process that changes who it is: another identity, in place"
expect_ok coffer put db --file "$SCRATCH/value"
hold actor 0
expect_held ok actor act-as 20001 20001
expect_held ok actor open r "$MNT/db/current"
expect_held "$value" actor read
expect_held ok actor act-as 20003 20003
expect_held EACCES actor read
expect_held ok actor act-as 20001 20001
expect_held "$value" actor read

note "a shared writable map of current is refused, to who may only read and to who may write; nothing of it reaches the page cache"
head -c 8192 /dev/zero | tr '\0' A >"$SCRATCH/letters"
expect_ok coffer put mapped --file "$SCRATCH/letters"
expect_ok coffer grant secrets-user user:20004 --on mapped
expect_ok coffer grant secrets-officer user:20005 --on mapped
expect_ok coffer grant secrets-user user:20005 --on mapped
expect_errno EACCES as 20004 sysop open r "$MNT/mapped/current" + mapwrite B
expect_errno EACCES as 20004 sysop open rw "$MNT/mapped/current"
expect_errno EPERM as 20005 sysop open rw "$MNT/mapped/versions/1"
hold both 20005
expect_held ok both open rw "$MNT/mapped/current"
expect_held SIGBUS both mapwrite B
# while it is open, nobody can fill the page that it has mapped
expect_errno EINVAL as 20004 sysop open r "$MNT/mapped/current" + sendfile
expect_content "$SCRATCH/letters" as 20004 sysop open r "$MNT/mapped/current" + read
expect_content "$SCRATCH/letters" as 20004 sysop open r "$MNT/mapped/versions/1" + sendfile
for ((i = 0; i < 100; i++)); do
	as 20004 sysop open r "$MNT/mapped/current" + sendfile || true	# EINVAL, while the other has it open
done >/dev/null &
filler=$!
while kill -0 $filler 2>/dev/null; do
	expect_held SIGBUS both mapwrite B
done
wait $filler
expect_held ok both close
expect_content "$SCRATCH/letters" as 20004 sysop open r "$MNT/mapped/current" + sendfile
audit_has_not '.secret == "mapped" and .operation == "SecretSet" and .caller.pid == 0'
