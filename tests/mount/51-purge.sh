#!/bin/bash
# Retention, purge protection and the purges that come by themselves: each row of what people expect of deletion as a test of its name.
# Days pass through age_store, which moves the vault's own clock; the machine's is left alone, and gains nothing anyway (unit-store_deleted).
. "$(dirname "$0")/../support/lib.sh"
KILLS=${KILLS:-12}

officer=20001 purger=20003 admin=20004
deleted=$MNT/.coffer/deleted
days() { expect_ok "$COFFER_SUPPORT/age_store" "$STORE" "$1"; }
put() { printf '%s' "$2" | expect_ok coffer put "$1"; }
gone() { [ ! -e "$deleted/$1" ]; }
date_of() { as $officer getfattr --absolute-names --only-values -n "user.coffer.$1" "$deleted/$2"; }
# days from deletion to purge, as they are told
told() { echo $((($(date -d "$(date_of purge "$1")" +%s) - $(date -d "$(date_of deleted "$1")" +%s)) / 86400)); }

people()
{
	expect_ok coffer grant secrets-officer user:$officer --on '*'
	expect_ok coffer grant purge-operator user:$purger --on '*'
	expect_ok coffer grant administrator user:$admin --on '*'
}

anew()
{
	vault_umount
	chattr -R -a "$STORE" 2>/dev/null || true
	rm -rf "$STORE" "$SCRATCH/keys"
	install -d -m 700 "$SCRATCH/keys"
	vault_init "$@"
	vault_mount
	people
}

note "retention is 7 to 90 days"
for days in 6 91 0 -1 x ''; do
	expect_exit 2 coffer init "$STORE" --kek "file:$KEK" --retention "$days"
	expect_message 'retention.* 7 to 90'
	[ ! -e "$STORE/vault.conf" ] || fail "a store was made with --retention $days"
done

note "the default is 90"
anew
put db one
expect_ok as $officer coffer delete db
[ "$(told db)" = 90 ] || fail "$(told db) days"
expect_output 90 status .settings.retention_days

note "it is fixed when the vault is made"
request() { printf '%s\n' "$1" >"$SCRATCH/request"; sysop open rw "$MNT/.coffer/ctl" + put "$SCRATCH/request" 65536 + text | tail -n 1 | cut -c 4-; }
id() { head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
request "{\"op\":\"vault\",\"id\":\"$(id)\",\"retention_days\":7}" | jq -e '.ok == false and .errno == "EINVAL"' >/dev/null || fail "retention could be changed"
expect_output 90 status .settings.retention_days

note "soft delete cannot be turned off"
request "{\"op\":\"vault\",\"id\":\"$(id)\",\"soft_delete\":false}" | jq -e '.ok == false and .errno == "EINVAL"' >/dev/null || fail "soft delete could be turned off"
expect_output one as $officer sh -c "mv $deleted/db $MNT/db && cat $MNT/db/current"

note "the name of what is deleted cannot be used again until it is recovered or purged"
expect_ok as $officer coffer delete db
expect_exit 5 coffer put db <<<x
expect_message 'db was deleted, and keeps its name until it is recovered or purged'
expect_errno EEXIST as $officer sysop mkdir "$MNT/db"
expect_ok as $officer coffer recover db
expect_ok as $officer coffer delete db
expect_ok as $purger coffer purge db
put db two
expect_output two as $officer cat "$MNT/db/current"

note "only list, recover and purge work on it"
expect_ok as $officer coffer delete db
for command in 'get db' 'show db' 'versions db' 'enable db' 'disable db' 'rollback db 1' 'attr db --tag a=b' 'destroy db --version 1' 'delete db'; do
	expect_exit 4 coffer $command
done
expect_exit 4 coffer get db
expect_message 'db is deleted; .* coffer -m .* recover db'
expect_exit 4 coffer purge none
expect_ok as $officer coffer list --deleted
grep -q '^db ' "$OUT" || fail "$(cat "$OUT")"
as $officer coffer list --deleted --output json | jq -e '.[0] | .name == "db" and .version == 1 and (.deleted < .purge) and has("tags") and has("enabled")' >/dev/null || fail "list --deleted --output json"
expect_exit 3 as $purger coffer list --deleted
expect_ok as $officer coffer recover db

note "purge protection is off by default"
expect_output false status .settings.purge_protection
expect_ok as $officer coffer delete db
expect_ok as $purger coffer purge db

note "once on never off"
expect_ok coffer vault set --purge-protection on
request "{\"op\":\"vault\",\"id\":\"$(id)\",\"purge_protection\":false}" | jq -e '.ok == false and .errno == "EPERM"' >/dev/null || fail "purge protection could be switched off"
expect_exit 3 coffer vault set --purge-protection off
expect_message 'cannot be taken back'
expect_output true status .settings.purge_protection
vault_umount
vault_mount
expect_output true status .settings.purge_protection

note "by init too, with another retention"
anew --purge-protection --retention 7
expect_output true status .settings.purge_protection
put db precious
expect_ok as $officer coffer delete db
[ "$(told db)" = 7 ] || fail "$(told db) days"

note "no role, however high, purges before the date, and the line names it"
for who in $officer $purger $admin 0; do
	expect_errno EPERM as $who sysop rmdir "$deleted/db"
	expect_exit 3 as $who coffer purge db
	expect_message "purge protection is on: nobody can purge db before $(date_of purge db)"
done
audit_has '.operation == "SecretPurge" and .result == "error" and .errno == "EPERM" and .caller.uid == 20004'
days 6
for who in $officer $purger $admin 0; do
	expect_errno EPERM as $who sysop rmdir "$deleted/db"
done
expect_ok as $officer coffer recover db
expect_output precious as $officer cat "$MNT/db/current"
expect_exit 3 coffer destroy db --version 1
expect_message 'purge protection'

note "scheduled purges run by themselves"
put api x
put web y
expect_ok as $officer coffer delete db
days 5
expect_ok as $officer coffer delete api
days 1
expect_output 'api
db' as $officer ls "$deleted"
audit_has_not '.operation == "SecretPurge" and .result == "allow"'
days 1
wait_for gone db
expect_output api as $officer ls "$deleted"
audit_has '.operation == "SecretPurge" and .result == "allow" and .secret == "db" and .caller == null and .detail == "scheduled"'
put db new
expect_output 1 ls "$MNT/db/versions"
expect_output new as $officer cat "$MNT/db/current"
expect_output y as $officer cat "$MNT/web/current"

note "a name that is mounted on goes when it is free; its content went before"
mount_extra -t tmpfs none "$deleted/api"
days 7
emptied() { [ "$(audit_count '.operation == "SecretPurge" and .secret == "api" and .detail == "scheduled"')" = 1 ]; }
wait_for emptied
expect_exit 5 coffer recover api
expect_message 'something is mounted on'
[ -e "$deleted/api" ] || fail "the name went from under a mount"
expect_exit 5 coffer put api <<<x
unmount_extra
wait_for gone api
[ "$(audit_count '.operation == "SecretPurge" and .secret == "api"')" = 1 ] || fail "the purge of api is recorded more than once"
put api again

note "what is due when the daemon starts is purged then"
expect_ok as $officer coffer delete web
expect_ok as $officer coffer delete api
vault_umount
days 7
expect_ok coffer fsck "$STORE" --deep
vault_mount
wait_for gone web
wait_for gone api

note "workers are killed under delete, recover and purge: each happens once, and is answered"
DEATHS_EXPECTED=1
killed_rounds()
{
	local n kills=0
	rm -f "$SCRATCH/stop"
	(
		set -e
		n=0
		until [ -e "$SCRATCH/stop" ]; do
			n=$((n + 1))
			printf '%s' "$n" | coffer put "k$n" >/dev/null
			mv "$MNT/k$n" "$deleted/"
			mv "$deleted/k$n" "$MNT/k$n"
			[ "$(cat "$MNT/k$n/current")" = "$n" ]
			mv "$MNT/k$n" "$deleted/"
			rmdir "$deleted/k$n"
			mkdir "$MNT/k$n"
			rmdir "$MNT/k$n"
		done
		echo "$n" >"$SCRATCH/done"
	) >"$SCRATCH/ends.out" 2>&1 &
	while [ $kills -lt "$KILLS" ]; do
		kill_worker
		kills=$((kills + 1))
		sleep 0.0$((RANDOM % 90 + 10))
	done
	touch "$SCRATCH/stop"
	wait $! || fail "an end failed under kills: $(cat "$SCRATCH/ends.out")"
	n=$(cat "$SCRATCH/done")
	note "$n secrets went, came back, and went for ever under $kills kills"
	[ "$n" -ge 3 ] || fail "only $n"
	for operation in SecretRecover:1 SecretPurge:1 SecretDelete:3; do
		[ "$(audit_count ".operation == \"${operation%:*}\" and (.secret | startswith(\"k\"))? and .result == \"allow\"")" = $((n * ${operation#*:})) ] ||
			fail "not $((n * ${operation#*:})) records of ${operation%:*}: $(audit_count ".operation == \"${operation%:*}\"")"
		[ "$(audit_count ".operation == \"${operation%:*}\" and (.secret | startswith(\"k\"))? and .result != \"allow\"")" = 0 ] || fail "${operation%:*} failed"
	done
	expect_output '' ls "$deleted"
}
anew
killed_rounds
audit_verify
vault_umount
expect_ok coffer fsck "$STORE" --deep
note "the same with -o noresend"
chattr -R -a "$STORE" 2>/dev/null || true
rm -rf "$STORE" "$SCRATCH/keys"
install -d -m 700 "$SCRATCH/keys"
vault_start -o noresend
killed_rounds
audit_verify
vault_umount
expect_ok coffer fsck "$STORE" --deep
