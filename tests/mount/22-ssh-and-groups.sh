#!/bin/bash
# Programs that insist on owner and mode take the files as they are, for each caller at the same time; groups count, as they are now.
. "$(dirname "$0")/../support/lib.sh"
SECONDS_OF_STATS=${SECONDS_OF_STATS:-3}

vault_start

note "ssh-keygen reads a key as each of several users, for each believes to own it"
ssh-keygen -q -t ed25519 -N '' -C '' -f "$SCRATCH/keys/id"
public=$(cut -d ' ' -f 1,2 "$SCRATCH/keys/id.pub")
expect_ok coffer put key --file "$SCRATCH/keys/id"
# users that every system has: ssh-keygen wants to know the name of who runs it
users=(daemon bin sys)
for user in "${users[@]}"; do
	expect_ok coffer grant secrets-user "user:$user" --on key
done
for user in "${users[@]}"; do
	uid=$(id -u "$user")
	expect_exit 0 as "$uid" ssh-keygen -y -f "$MNT/key/current"
	[ "$(cut -d ' ' -f 1,2 "$OUT")" = "$public" ] || fail "$user got another public key: $(cat "$OUT")"
done
nobody=$(id -u nobody)
expect_exit 255 as "$nobody" ssh-keygen -y -f "$MNT/key/current"
grep -q 'Permission denied' "$ERR" || fail "$(cat "$ERR")"
expect_errno EACCES as "$nobody" sysop open r "$MNT/key/current"

# expect_attributes "TYPE MODE UID GID" UID… PATH
expect_attributes()
{
	expect_exit 0 as "$2" sysop stat "$3"
	[[ $(cat "$OUT") == "ok $1 "* ]] || fail "$(cat "$OUT"), not $1: stat as $2 $3"
}

note "who sees what"
expect_ok coffer role create writer secrets/set
expect_ok coffer grant secrets-user user:20001 --on key
expect_ok coffer grant secrets-officer user:20002 --on key
expect_ok coffer grant writer user:20003 --on key
expect_attributes 'file 0400 20001 20001' 20001 "$MNT/key/current"
expect_attributes 'file 0600 20002 20002' 20002 "$MNT/key/current"
expect_attributes 'file 0200 20003 20003' 20003 "$MNT/key/current"
expect_attributes 'file 0000 0 0' 20009 "$MNT/key/current"
expect_attributes 'file 0400 20001 30009' 20001:30009 "$MNT/key/current"
expect_attributes 'file 0400 20001 20001' 20001 "$MNT/key/versions/1"
expect_attributes 'file 0400 20002 20002' 20002 "$MNT/key/versions/1"
expect_attributes 'file 0000 0 0' 20003 "$MNT/key/versions/1"
for uid in 0 20001 20009; do
	for dir in "$MNT" "$MNT/key" "$MNT/key/versions"; do
		expect_attributes 'dir 0755 0 0' "$uid" "$dir"
	done
done
expect_output $'400 20001\n400 20001' as 20001 stat -c '%a %u' "$MNT/key/current" "$MNT/key/versions/1"
expect_attributes 'file 0000 0 0' 20009 "$MNT/key/current"
size=$(stat -c %s "$SCRATCH/keys/id")
expect_output "$size" as 20009 stat -c %s "$MNT/key/current"

note "a group: primary, supplementary, in the middle of others; not one that is not there"
expect_ok coffer put db --file <(printf shared)
expect_ok coffer grant secrets-user group:30001 --on db
expect_output shared as 20004:30001 cat "$MNT/db/current"
expect_output shared as 20004:20004:30000,30001,30002 cat "$MNT/db/current"
expect_errno EACCES as 20004:20004:30000,30002 sysop open r "$MNT/db/current"
expect_errno EACCES as 30001:20004 sysop open r "$MNT/db/current"
expect_attributes 'file 0400 20004 20004' 20004:20004:30001 "$MNT/db/current"
expect_attributes 'file 0000 0 0' 20004 "$MNT/db/current"

note "both at once: user and group in one principal"
expect_ok coffer put both --file <(printf narrow)
expect_ok coffer grant secrets-user user:20004,group:30001 --on both
expect_output narrow as 20004:20004:30001 cat "$MNT/both/current"
expect_errno EACCES as 20004 sysop open r "$MNT/both/current"
expect_errno EACCES as 20005:20005:30001 sysop open r "$MNT/both/current"

note "setgroups in place counts within 50 ms, both ways"
hold member 0
expect_held ok member act-as 20004 20004
expect_held EACCES member open r "$MNT/db/current"
milliseconds() { echo $((${EPOCHREALTIME/./} / 1000)); }
# within_50ms ANSWER COMMAND…: what was asked before the 50 ms may still be the old answer; what is asked after them may not
within_50ms()
{
	local want=$1 since got asked
	since=$(milliseconds)
	shift
	while :; do
		asked=$(milliseconds)
		got=$(held "$@")
		[ "${got%% *}" != "$want" ] || return 0
		[ $((asked - since)) -le 50 ] || fail "$got, not $want, $((asked - since)) ms after setgroups"
	done
}
for i in 1 2 3; do
	expect_held ok member groups 30001
	within_50ms ok member open r "$MNT/db/current"
	expect_held ok member read
	expect_held ok member groups 30002
	within_50ms EACCES member open r "$MNT/db/current"
	within_50ms EACCES member read	# with other groups it is another identity than the opener
done

note "stats by several callers at the same time are never mixed up"
HAMMER_LEAST=100
hammer_start get 20001 stat "$MNT/key/current" 400
hammer_start set 20002 stat "$MNT/key/current" 600
hammer_start none 20009 stat "$MNT/key/current" 0
hammer_start write 20003 stat "$MNT/key/current" 200
end=$((SECONDS + SECONDS_OF_STATS))
while [ "$SECONDS" -lt "$end" ]; do
	expect_attributes 'file 0400 20001 20001' 20001 "$MNT/key/current"
	expect_attributes 'file 0000 0 0' 20009 "$MNT/key/current"
done
for name in get set none write; do
	hammer_stop "$name"
done
