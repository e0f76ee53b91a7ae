#!/bin/bash
# Programs that tidy up delete nothing; a soft delete is a rename, which binds, mounts, shells and watches outlive, whoever else renames at the same time and whatever dies at which step.
. "$(dirname "$0")/../support/lib.sh"
: "${CYCLES:=60}" "${KILLED:=6}"	# longer by hand

officer=20001 user=20002
deleted=$MNT/.coffer/deleted
vault_start
expect_ok coffer grant secrets-officer user:$officer --on '*'
expect_ok coffer grant purge-operator user:$officer --on '*'
expect_ok coffer grant secrets-user user:$user --on '*'
put() { printf '%s' "$2" | expect_ok coffer put "$1"; }
note "programs that remove empty directories, or all that they can"
put db "the value"
put web "other"
expect_errno ok as $officer sysop mkdir "$MNT/empty"
as $officer find "$MNT" -mindepth 1 -depth -type d -exec rmdir --ignore-fail-on-non-empty {} + 2>/dev/null || true
as $officer find "$MNT" -mindepth 1 -depth -type d -delete 2>/dev/null || true
as $officer rm -rf "$MNT/db" 2>/dev/null || true
as $officer sh -c "rmdir $MNT/*" 2>/dev/null || true
expect_output 'db
web' as $officer ls "$MNT"
expect_errno ENOTEMPTY as $officer sysop rmdir "$MNT/db"
expect_output '' as $officer ls "$deleted"
audit_has_not '.operation == "SecretDelete" and .secret != "empty"'
expect_output "the value" as $user cat "$MNT/db/current"
expect_errno ok as $officer sysop mkdir "$MNT/gone"
expect_ok coffer destroy web --version 1
expect_errno ENOTEMPTY as $officer sysop rmdir "$MNT/web"

# what stands on db, and what db stands on
echo mounted >"$SCRATCH/mounted"
printf '%s' "the value" >"$SCRATCH/want"
mkdir "$SCRATCH/dir" && touch "$SCRATCH/file"
mount_extra --bind "$SCRATCH/mounted" "$MNT/db/versions/1"
mount_extra --bind "$MNT/db" "$SCRATCH/dir"
mount_extra --bind "$MNT/db/current" "$SCRATCH/file"
whole()
{
	expect_output "the value" as $user cat "$MNT/db/current"
	expect_output "the value" as $user cat "$SCRATCH/dir/current"
	expect_output "the value" as $user cat "$SCRATCH/file"
	expect_output mounted as $user cat "$MNT/db/versions/1"
}
whole

note "what is mounted on one secret stays when others are deleted, recovered and purged"
put other x
expect_ok coffer delete other
whole
expect_ok as $officer mv "$deleted/other" "$MNT/"
expect_ok coffer delete other
expect_ok as $officer coffer purge other
expect_errno ok as $officer sysop rmdir "$MNT/gone"
whole

note "$CYCLES times there and back, by two who rename at once, under readers of both places"
hammer_start here $user glimpse "$MNT/db/current" "$SCRATCH/want"
hammer_start there $user glimpse "$deleted/db/current" "$SCRATCH/want"
hammer_start bound $user glimpse "$SCRATCH/dir/current" "$SCRATCH/want"
export HAMMER_LEAST=$CYCLES
hammer_start one $officer commute "$MNT/db" "$deleted/db"
hammer_start two $officer commute "$MNT/db" "$deleted/db"
export HAMMER_LEAST=10
for name in one two here there bound; do
	hammer_stop $name
done
[ -e "$MNT/db" ] || expect_ok coffer recover db
whole

note "a purge in between: nobody who stood on the old one sees the new one"
put again old
mkdir "$SCRATCH/old" && touch "$SCRATCH/old.file"
mount_extra --bind "$MNT/again" "$SCRATCH/old"
mount_extra --bind "$MNT/again/current" "$SCRATCH/old.file"
for round in 1 2 3; do
	expect_ok coffer delete again
	expect_ok as $officer coffer purge again
	put again "new $round"
	expect_errno ENOENT as $user sysop open r "$SCRATCH/old.file"
	expect_errno ENOENT as $user sysop open r "$SCRATCH/old/current"
	expect_output '' as $user ls "$SCRATCH/old"
	expect_ok coffer delete again
	expect_ok as $officer coffer recover again
	expect_output "new $round" as $user cat "$MNT/again/current"
	expect_errno ENOENT as $user sysop open r "$SCRATCH/old/current"
done

[ -n "${COFFER_HOOKS_BIN:-}" ] || { echo "COFFER_HOOKS_BIN is not set: the rest needs a build with the preset hooks" && exit 0; }
export DEATHS_EXPECTED=1
unmount_extra
vault_umount
install -m 755 "$COFFER_HOOKS_BIN/cofferd" "$SCRATCH/bin"
touch "$SCRATCH/die"
chmod 666 "$SCRATCH/die"
export COFFER_TEST_DIE=$SCRATCH/die
standby_ready() { [ "$(status .processes.standby)" != null ]; }
count() { audit_count ".operation == \"$1\" and .secret == \"db\" and .result == \"allow\""; }
again_mounted()
{
	vault_mount "$@"
	mount_extra --bind "$SCRATCH/mounted" "$MNT/db/versions/1"
	mount_extra --bind "$MNT/db" "$SCRATCH/dir"
	mount_extra --bind "$MNT/db/current" "$SCRATCH/file"
	inotifywait -m -e close_write --format '%e' "$MNT/db/current" >"$SCRATCH/heard" 2>"$SCRATCH/watching" &
	STARTED+=("$(process_of $!)")
	wait_for grep -q 'Watches established' "$SCRATCH/watching"
}
rang() { [ "$(grep -c . "$SCRATCH/heard")" -gt "$before" ]; }
# dies POINT COMMAND…: once, before it is answered; it succeeds all the same, and watchers of the file are told
dies()
{
	local point=$1
	shift
	wait_for standby_ready
	before=$(grep -c . "$SCRATCH/heard" || true)
	echo "$point 0 1" >"$SCRATCH/die"
	expect_ok as $officer "$@"
	used_up() { grep -q ' 0$' "$SCRATCH/die"; }
	wait_for used_up
	: >"$SCRATCH/die"
	wait_for rang
}

for options in watchdog=1 noresend; do
	note "a worker that dies at each step of it (-o $options)"
	again_mounted -o $options
	for point in record-before record-after commit-before commit-after; do
		deletes=$(count SecretDelete) recovers=$(count SecretRecover)
		dies $point mv "$MNT/db" "$deleted/"
		expect_errno ENOENT as $user sysop open r "$SCRATCH/dir/current"
		[ "$(count SecretDelete)" = $((deletes + 1)) ] || fail "$(count SecretDelete) records of deletions, not $((deletes + 1))"
		dies $point mv "$deleted/db" "$MNT/"
		[ "$(count SecretRecover)" = $((recovers + 1)) ] || fail "$(count SecretRecover) records of recoveries, not $((recovers + 1))"
		whole
	done

	note "$KILLED times, the caller is killed too: it is here or there, and can be brought back"
	unmounted=0
	for ((round = 0; round < KILLED; round++)); do
		wait_for standby_ready
		echo "commit-after 0 1" >"$SCRATCH/die"
		setpriv --reuid=$officer --regid=$officer --clear-groups sysop rename "$MNT/db" "$deleted/db" >/dev/null 2>&1 &
		caller=$!
		sleep 0.0$((round * 2))
		kill -KILL $caller 2>/dev/null || true
		wait $caller || true
		wait_for standby_ready
		: >"$SCRATCH/die"
		settled() { [ "$(as $officer ls "$MNT" | grep -cx db)" != "$(as $officer ls "$deleted" | grep -cx db)" ]; }
		wait_for settled
		[ "$(as $officer ls "$MNT" | grep -cx db)" = 1 ] || expect_errno ok as $officer sysop rename "$deleted/db" "$MNT/db"
		expect_output "the value" as $user cat "$MNT/db/current"
		expect_output "the value" as $user cat "$SCRATCH/dir/current"
		expect_output "the value" as $user cat "$SCRATCH/file"
		[ "$(as $user cat "$MNT/db/versions/1")" = mounted ] || {
			unmounted=$((unmounted + 1))
			mount_extra --bind "$SCRATCH/mounted" "$MNT/db/versions/1"
		}
	done
	note "of $KILLED, $unmounted times what was mounted below it was gone: the kernel lets go of a name when a rename was interrupted"
	unmount_extra
	audit_verify
	vault_umount
	expect_ok coffer fsck "$STORE" --deep
done
