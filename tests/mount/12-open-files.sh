#!/bin/bash
# Rights reach open files: an fd is no right. Revocation and a binding's end stop the next read; an fd handed on gives its new holder nothing.
. "$(dirname "$0")/../support/lib.sh"

vault_start
head -c 10000 /dev/urandom >"$SCRATCH/value"
sum=$(sha256sum <"$SCRATCH/value" | cut -d ' ' -f 1)
expect_ok coffer put db --file "$SCRATCH/value"
expect_ok coffer grant secrets-user user:20001 --on db
expect_ok coffer grant secrets-user group:30001 --on db

note "one open sees one version, also when current moves on"
hold reader 20001
expect_held ok reader open r "$MNT/db/current"
expect_held "ok $sum 10000" reader read
printf 'two' | coffer put db
expect_held "ok $sum 10000" reader read
expect_output 'two' as 20001 cat "$MNT/db/current"
expect_held ok reader open r "$MNT/db/versions/1"

note "a supplementary group is as good as the primary one"
expect_output 'two' as 20002:20002:30001,30002 cat "$MNT/db/current"
expect_output 'two' as 20002:30001 cat "$MNT/db/current"
expect_errno EACCES as 20002:20002:30002 sysop open r "$MNT/db/current"

note "an fd handed to another uid gives it nothing without a right of its own"
exec {handed}<"$MNT/db/versions/1"
expect_errno EACCES as 20003 sysop fd "$handed" + read
expect_errno ok as 20001 sysop fd "$handed" + read
exec {handed}<&-

note "revoked: the next read on the open file fails"
expect_held "ok $sum 10000" reader read
expect_ok coffer revoke secrets-user user:20001 --on db
expect_held EKEYREVOKED reader read
expect_errno EACCES as 20001 sysop open r "$MNT/db/current"
audit_has '.operation == "BindingDelete" and .result == "allow"'

note "granted again, with an end: reads until then, and not a read more"
reads() { [ "$(held reader read)" = "ok $sum 10000" ]; }
for span in 3 10 30; do	# on a busy machine three seconds can be over before the read
	expect_ok coffer grant secrets-user user:20001 --on db --until ${span}s
	! reads || break
done
[ "$span" = 3 ] || note "the binding of $span s could be read through"
ended() { [ "$(held reader read)" = EKEYREVOKED ]; }
wait_for ended
expect_errno EACCES as 20001 sysop open r "$MNT/db/versions/1"
