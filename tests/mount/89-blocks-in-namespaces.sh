#!/bin/bash
# A block holds for whoever it means, however that one comes: in a user namespace where groups can be given up, by a subordinate uid, in a namespace that such a uid made, through an open file.
. "$(dirname "$0")/../support/lib.sh"

alice=20111 alices=1411065408
subordinate_uids "$alice:$alices:65536"

# of the system's accounts: one with a group, and one without it
member=$(id -u nobody) group=$(id -g nobody) other=$(id -u daemon)
if [ -z "$member" ] || [ "$(id -g daemon)" = "$group" ]; then
	echo "no accounts nobody and daemon"
	exit 77
fi
as 20111 unshare --user true 2>/dev/null || { echo "users may make no user namespaces here"; exit 77; }

vault_start
expect_ok coffer put db --file /etc/hostname
expect_ok coffer put web --file /etc/hostname
expect_ok coffer grant secrets-user everyone --on '*'
reads=(sysop open r "$MNT/db/current")
can_read() { "$@" "${reads[@]}" | tail -n 1 | grep -qx 'ok.*'; }
cannot_read() { [ "$("$@" "${reads[@]}" | tail -n 1)" = EACCES ]; }

# Without the account's group, as setgroups([]) and setgid leave a process in a namespace of its own.
shed() { setpriv --reuid="$1" --regid=20111 --clear-groups unshare --user "${@:2}"; }

note "a group that was given up: the account has it still"
wait_for can_read shed "$member"
expect_ok coffer block "group:$group"
expect_errno EACCES shed "$member" "${reads[@]}"
expect_errno EACCES setpriv --reuid="$member" --regid=20111 --clear-groups unshare --user --map-root-user unshare --user "${reads[@]}"
expect_errno EACCES setpriv --reuid="$member" --regid="$group" --clear-groups "${reads[@]}"
note "who is not in it goes on, in a namespace and out of it"
wait_for can_read shed "$other"
expect_errno ok as 20112 "${reads[@]}"
note "whose account there is not, could be in it: denied in a namespace, not outside"
expect_errno ok as $alice "${reads[@]}"
expect_errno EACCES shed $alice "${reads[@]}"
expect_errno EACCES as $((alices + 5)) "${reads[@]}"
note "it reaches an open file, whatever was known before"
expect_ok coffer unblock "group:$group"
expect_errno ok shed $alice "${reads[@]}"
hold reader $alice
# the holder goes into a namespace by itself: a program that it is, not a wrapper
expect_held ok reader open r "$MNT/db/current"
expect_ok coffer block "group:$group,user:$alice"
expect_held "ok" reader seqread
expect_errno EACCES shed $alice "${reads[@]}"
let_go reader
expect_ok coffer unblock "group:$group,user:$alice"

note "a block of a user: its subordinate uids too, in and out of namespaces; nobody else's"
expect_errno ok as $((alices + 5)) "${reads[@]}"
hold reader $((alices + 5))
expect_held ok reader open r "$MNT/db/current"
expect_ok coffer block "user:$alice"
expect_held EKEYREVOKED reader read
let_go reader
expect_errno EACCES as $alice "${reads[@]}"
expect_errno EACCES as $((alices + 5)) "${reads[@]}"
expect_errno EACCES as $((alices + 5)) unshare --user --map-root-user "${reads[@]}"
expect_errno EACCES as $alice unshare --user --map-root-user "${reads[@]}"
expect_errno ok as $((alices + 65536)) "${reads[@]}"
expect_errno ok as 20112 "${reads[@]}"
expect_errno ok as 20112 unshare --user --map-root-user "${reads[@]}"
audit_has ".operation == \"SecretGet\" and .result == \"deny\" and .caller.uid == $((alices + 5)) and .caller.owner == $alice"
audit_has_not ".caller.uid == 20112 and .caller.owner != null"

note "staged by a subordinate uid before, not committed after; nor when another worker has taken over meanwhile"
expect_ok coffer unblock "user:$alice"
expect_ok coffer grant secrets-officer everyone --on web
hold writer $((alices + 5))
expect_held ok writer open w,t "$MNT/web/current"
expect_held ok writer write leaked
expect_ok coffer block "user:$alice"
DEATHS_EXPECTED=1
kill_worker
expect_held EACCES writer close
expect_output "$(cat /etc/hostname)" coffer get web
let_go writer

note "can-i, holders and exposed say the same"
expect_exit 3 coffer can-i secrets/get db --as "user:$((alices + 5))"
grep -q "user:$alice" "$OUT" || fail "can-i does not name the block: $(cat "$OUT")"
expect_exit 0 coffer can-i secrets/get db --as "user:$((alices + 65536))"
expect_exit 0 coffer exposed "user:$alice"
grep -qx db "$OUT" || fail "exposed does not know what subordinate uids read: $(cat "$OUT")"
expect_exit 0 coffer exposed "user:$alice" --output json
[ "$(jq -r '.[] | select(.name == "web") | .name' "$OUT")" = "" ] || fail "exposed says too much: $(cat "$OUT")"
expect_ok coffer unblock "user:$alice"
hold reader $((alices + 5))
expect_held ok reader open r "$MNT/db/current"
expect_exit 0 coffer holders db --output json
[ "$(jq -r ".[] | select(.uid == $((alices + 5))) | .owner" "$OUT")" = "$alice" ] || fail "holders does not say whose it is: $(cat "$OUT")"
let_go reader
