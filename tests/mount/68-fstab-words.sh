#!/bin/bash
# The words of everyday fstab lines: what has a meaning is done (ro, remount), what harms nobody is taken, the rest is refused by name.
. "$(dirname "$0")/../support/lib.sh"

# daemons in the background are no children of the test
background_down() { ! mounted || umount -l "$MNT"; }
AT_EXIT+=(background_down)

vault_init
ln -s cofferd "$SCRATCH/bin/mount.fuse.coffer"
up() { expect_ok mount.fuse.coffer "coffer:$STORE" "$MNT" "$@"; }
down()
{
	local keeper
	keeper=$(process_of "$(status .processes.keeper)")
	umount "$MNT"
	wait_for dead "$keeper"
}

note "words that mean nothing here, or what is so anyway"
up -o 'rw,users,exec,suid,dev,sync,dirsync,group,owner,noatime,diratime,lazytime,X-mount.mkdir,x-systemd.automount,uhelper=x,context="system_u:object_r:a_t:s0:c1,c2",defaults,user=bob'
printf 1 | coffer put db >/dev/null
printf script | coffer put script >/dev/null
expect_ok coffer grant secrets-user user:20001 --on '*'
expect_ok coffer grant administrator user:20002,host --on '*'
grep -q " $MNT fuse.coffer [^ ]*nosuid,nodev,noexec" /proc/self/mounts || fail "exec, suid or dev are on: $(grep " $MNT " /proc/self/mounts)"
[ "$(status .read_only)" = false ] || fail "read-only"
down

note "what nobody knows, and what a vault cannot be, is named"
for word in frobnicate uid=1000 quota ro=1 remount=1 context= default_permissions 'context="open' size=4; do
	expect_exit 2 mount.fuse.coffer "coffer:$STORE" "$MNT" -o "noatime,$word"
	expect_message "'${word/\"/.}'"
	! mounted || fail "mounted with $word"
done

# the caller may all that there is, so every refusal below is for ro
refused()
{
	local v=$MNT command
	printf 'sysop open %s\n' "w $v/db/current" "w,t $v/db/current" "w,a $v/db/current" "rw $v/db/current" >"$SCRATCH/calls"
	printf 'sysop %s\n' "mkdir $v/new" "rmdir $v/.coffer/deleted/gone" "rmdir $v/db" "access w $v/db/current" "access w $v" "rename $v/.coffer/deleted/gone $v/gone" "rename-noreplace $v/db $v/.coffer/deleted/db" "truncate 0 $v/db/current" "mknod $v/db/x" "symlink x $v/x" "link $v/db/current $v/x" "setxattr user.x y $v/db/current" "unlink $v/db/current" \
		"chmod 600 $v/db/current" "utimens $v/db/current" >>"$SCRATCH/calls"
	while read -r -a command; do
		expect_errno EROFS "${command[@]}"
	done <"$SCRATCH/calls"
	for command in 'put db' 'grant secrets-user user:20003 --on db' 'attr db --tag a=b' 'disable db' 'rotate db' 'delete db' 'recover gone' 'purge gone' 'vault set --value-max 100'; do
		# shellcheck disable=SC2086 # several words
		expect_exit 1 coffer $command </dev/null
		expect_message 'read-only'
	done
	printf 2 | expect_exit 1 coffer put db
	grep -q "cofferd $STORE $MNT -o remount,rw" "$ERR" || fail "nothing is said of what to do: $(cat "$ERR")"
}

note "ro: every change is EROFS, reading goes on, and the bell still has its file"
up
printf 1 | coffer put gone >/dev/null
expect_ok coffer delete gone
down
up -o ro
[ "$(status .read_only)" = true ] || fail "not read-only"
grep -q " $MNT fuse.coffer rw," /proc/self/mounts || fail "the kernel's mount is not writable: the bell could not ring"
refused
expect_output 1 as 20001 cat "$MNT/db/current"
expect_errno EACCES as 20009 sysop open r "$MNT/db/current"
expect_ok coffer list
expect_ok coffer can-i secrets/set db
bell_holds() { as 20001 cat "$MNT/db/current" >/dev/null && [ "$(status .bell.held)" -ge 1 ]; }
wait_for bell_holds
expect_ok coffer doctor
grep -q 'read-only.*remount,rw' "$OUT" || fail "doctor does not say that it is read-only: $(cat "$OUT")"

note "a worker that takes over, a binary that is taken up and another keeper keep to it"
DEATHS_EXPECTED=1
kill_worker
expect_errno EROFS sysop mkdir "$MNT/new"
before=$(process_of "$(status .processes.keeper)")
up -o takeover
wait_for dead "$before"
expect_errno EROFS sysop mkdir "$MNT/new"

note "what is due by itself waits, and is done when it may be"
expect_ok mount.fuse.coffer "coffer:$STORE" "$MNT" -o rw,nosuid,nodev,noexec,relatime,user_id=0,group_id=0,allow_other,remount
[ "$(status .read_only)" = false ] || fail "still read-only"
printf x | expect_ok coffer put soon --expires 2s
expires=$(date -d "+2 seconds" +%s)
expired_events() { jq -n '[inputs | select(.name == "soon" and .event == "Expired")] | length' <"$MNT/.coffer/events"; }
hold writer 0
expect_held ok writer open w,t "$MNT/script/current"
expect_held ok writer write begun
hold beside 0
expect_held ok beside open rw,xc "$MNT/script/.tmp"
expect_held ok beside write begun
expect_ok mount.fuse.coffer "coffer:$STORE" "$MNT" -o remount,ro
before=$(expired_events)
refused
expect_held EROFS writer write more
expect_held ok writer close
expect_held EROFS beside write more
expect_held EROFS beside ftruncate 0
expect_held ok beside close
for command in "open w,xc $MNT/script/new" "open w,c $MNT/script/.tmp" "open w,t $MNT/script/.tmp" "truncate 0 $MNT/script/.tmp" "rename $MNT/script/.tmp $MNT/script/current" "unlink $MNT/script/.tmp"; do
	# shellcheck disable=SC2086 # several words
	expect_errno EROFS sysop $command
done
expect_output begun cat "$MNT/script/current"
past() { [ "$(date +%s)" -gt $((expires + 1)) ]; }
wait_for past
[ "$(expired_events)" = "$before" ] || fail "an event was stored while it is read-only"
expect_ok mount.fuse.coffer "coffer:$STORE" "$MNT" -o remount,rw
has_expired() { [ "$(expired_events)" = 1 ]; }
wait_for has_expired
down

note "nobody to remount, and not root"
expect_exit 1 mount.fuse.coffer "coffer:$STORE" "$MNT" -o remount,ro
expect_message 'no daemon serves .*; mount it'

note "an option that does not fit is answered by what fits; one that is none, by that"
for word in max_read=1G max_read ino32=1 audit_durability=often kek=nowhere; do
	expect_exit 2 cofferd "$STORE" "$SCRATCH/none" -o "$word"
	expect_message "option '$word' does not fit; -o ${word%%=*}[=:].* [a-z]"
done
expect_message 'kek=file:PATH'
expect_exit 2 cofferd "$STORE" "$SCRATCH/none" -o max_raed=64K
expect_message "there is no option 'max_raed=64K'; see cofferd --help"
