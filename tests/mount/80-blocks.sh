#!/bin/bash
# coffer block: everything is denied at once, whatever the bindings give; open files and staged writes lose their right; nobody locks the vault by it.
. "$(dirname "$0")/../support/lib.sh"

vault_start
expect_ok coffer put db --file /etc/hostname
expect_ok coffer put web --file /etc/hostname
expect_ok coffer grant secrets-user everyone --on '*'
expect_ok coffer grant secrets-officer user:20001 --on db
value_is() { expect_exit 0 coffer get db; cmp -s "$OUT" /etc/hostname || fail "another value: $(cat "$OUT")"; }
# no stderr: the answer is on stdout
said() { grep -qE -- "$1" "$OUT" || fail "stdout does not match '$1': $(cat "$OUT")"; }
digest="ok $(sha256sum </etc/hostname | cut -d ' ' -f 1) $(stat -c %s /etc/hostname)"

note "a block reaches an open file, a listing, a new open; others go on"
hold reader 20001
hold other 20002
expect_held ok reader open r "$MNT/db/current"
expect_held ok other open r "$MNT/db/current"
expect_held "$digest" reader read
expect_output "block 4: user:20001" coffer block user:20001 --reason leaked
expect_held EKEYREVOKED reader read
expect_held EKEYREVOKED reader pread 99990 10
expect_held "$digest" other read
expect_errno EACCES as 20001 sysop open r "$MNT/db/current"
expect_errno EACCES as 20001 sysop open r "$MNT/web/current"
[ -z "$(as 20001 ls "$MNT")" ] || fail "a blocked caller lists names"
expect_content /etc/hostname as 20002 sysop open r "$MNT/web/current" + read
audit_has '.operation == "PrincipalBlock" and .result == "allow" and .caller.uid == 0 and .detail == "block 4: user:20001"'
audit_has '.operation == "SecretGet" and .result == "deny" and .caller.uid == 20001 and .secret == "web"'

note "what was staged before is not committed after"
expect_ok coffer unblock user:20001
hold writer 20001
expect_held ok writer open w,t "$MNT/db/current"
expect_held ok writer write leaked
expect_ok coffer block user:20001
expect_held EACCES writer close
value_is
let_go writer

note "can-i and the command name the block"
expect_exit 3 as 20001 coffer can-i secrets/get db
said 'block [0-9]+ \(user:20001\) denies everything'
said 'coffer -m [^ ]+ unblock [0-9]+'
expect_exit 3 as 20001 coffer get db
expect_message 'block [0-9]+ \(user:20001\) denies everything'
expect_exit 3 as 20001 coffer list
expect_message 'denies uid 20001 everything'

note "it outlives a worker, and the daemon"
DEATHS_EXPECTED=1
kill -9 "$(status .processes.worker)"
expect_errno EACCES as 20001 sysop open r "$MNT/web/current"
expect_held "$digest" other read
expect_held EKEYREVOKED reader read
let_go reader
let_go other
vault_umount
vault_mount
expect_errno EACCES as 20001 sysop open r "$MNT/web/current"
expect_output 1 status .blocks

note "by group, too; lifted by number"
expect_ok coffer block group:20050
expect_errno EACCES as 20003:20003:20050 sysop open r "$MNT/web/current"
expect_content /etc/hostname as 20003 sysop open r "$MNT/web/current" + read
id=$(coffer blocks --output json | jq '.[] | select(.principal == "group:20050") | .id')
expect_output "unblocked group:20050" coffer unblock "$id"
expect_content /etc/hostname as 20003:20003:20050 sysop open r "$MNT/web/current" + read
audit_has '.operation == "PrincipalUnblock" and .result == "allow"'

note "who may: administrators only; and not the last one, nor oneself by mistake"
expect_ok coffer grant data-access-administrator user:20004 --on '*'
expect_exit 3 as 20004 coffer block user:20002
expect_exit 3 as 20002 coffer block user:20004
expect_exit 5 coffer block user:20001
expect_exit 5 coffer block user:0
expect_exit 5 coffer block user:0 --force
expect_exit 5 coffer block everyone --force
expect_ok coffer grant administrator user:20005 --on '*'
expect_exit 5 coffer block user:0
expect_message 'yourself'
expect_exit 2 coffer block user:20001,host
expect_exit 4 coffer unblock user:20009
expect_exit 4 coffer unblock 999
expect_ok coffer block user:0 --force
expect_errno EACCES sysop open r "$MNT/db/current"

note "break-glass lifts what would deny whom it lets in"
expect_ok coffer break-glass "$STORE" user:0
said 'block [0-9]+ lifted'
admin_again() { coffer list; }
wait_for admin_again
value_is
expect_errno EACCES as 20001 sysop open r "$MNT/web/current"
unblocked_recorded() { audit_has '.operation == "BreakGlass" and (.detail | contains("unblocked"))'; }
wait_for unblocked_recorded
expect_ok coffer fsck "$STORE"
audit_verify
