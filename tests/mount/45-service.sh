#!/bin/bash
# As a service: what the keeper says to systemd and when, keys as credentials, users of a vault's own, units that systemd takes, mount(8) and fstab. systemd itself need not run here: a listener stands in for it.
. "$(dirname "$0")/../support/lib.sh"

top=$(cd "$(dirname "$0")/../.." && pwd)

manager=$COFFER_SUPPORT/manager
touch "$SCRATCH/said"
said() { grep -cE -- "$1" "$SCRATCH/said" || true; }
has_said() { [ "$(said "$1")" -ge "${2:-1}" ]; }
keeper() { status .processes.keeper; }

# managed [OPTION…]: cofferd as a service; DAEMON is its manager
managed()
{
	"$manager" "$SCRATCH/notify" "$SCRATCH/said" cofferd -f "$STORE" "$MNT" "$@" 2>>"$DAEMON_LOG" &
	DAEMON=$(process_of $!)
}

note "READY only when the vault can be read, a sign of life while a worker serves, STOPPING"
vault_init
# a sign each 100 ms
export WATCHDOG_USEC=300000
managed
wait_for has_said '^READY=1'
mounted || fail "READY, and not mounted"
expect_ok cat "$MNT/.coffer/whoami"
wait_for has_said '^WATCHDOG=1' 3
expect_ok coffer put db --file /etc/hostname

note "the keeper killed: the mount stays, open files and inotify go on, the next one is told what was kept"
DEATHS_EXPECTED=1
expect_ok coffer grant secrets-user user:20001 --on '*'
hold reader 20001
expect_held ok reader open r "$MNT/db/current"
# who reads all the while sees no error either
hammer_start reads 20001 read "$MNT/db/versions/1" /etc/hostname
hammer_start preads 20001 pread "$MNT/db/versions/1" /etc/hostname
hold writer 0
expect_held ok writer open w,t "$MNT/db/current"
expect_held ok writer write half
before=$(stat -c %i "$MNT/db/current")
went_on() { grep -q 'the keeper goes on as version' "$DAEMON_LOG"; }
for round in 1 2 3; do
	killed=$(keeper)
	if [ "$round" = 3 ]; then	# and after an upgrade in place, which gives it anew
		kill -HUP "$killed"
		wait_for went_on
		expect_ok cmp /etc/hostname "$MNT/db/current"
	fi
	ready=$(said '^READY=1')
	kill -9 "$killed"
	# at once: whoever asks waits, and is answered
	expect_ok cmp /etc/hostname "$MNT/db/current"
	expect_held ok reader pread 0 4
	wait_for has_said '^READY=1' $((ready + 1))
	[ "$(keeper)" != "$killed" ] || fail "no other keeper in round $round"
	[ "$(stat -c %i "$MNT/db/current")" = "$before" ] || fail "another inode in round $round"
	[ "$(grep -c " $MNT fuse.coffer " /proc/self/mounts)" = 1 ] || fail "not one mount: $(grep " $MNT " /proc/self/mounts)"
done
hammer_stop reads
hammer_stop preads
[ "$(jq -n '[inputs | select(.operation == "SecretGet" and .result == "allow") | .request] | group_by(.) | map(select(length > 1)) | length' < <(records <"$MNT/.coffer/audit"))" = 0 ] || fail "a request is in the log twice"
expect_held ok writer write -and-half
expect_held ok writer fsync
expect_held ok writer close
expect_output half-and-half cat "$MNT/db/current"
expect_held ok reader close
audit_verify
[ "$(grep -c 'going on with the mount' "$DAEMON_LOG")" = 3 ] || fail "the mount was not taken over three times"

note "what was kept, and is no mount any more, is given back"
killed=$(keeper)
kill -STOP "${DAEMON%:*}"
kill -9 "$killed"
keeper_gone() { [ ! -e "/proc/$killed" ] || grep -q '^State:.*Z' "/proc/$killed/status"; }
wait_for keeper_gone
umount -l "$MNT"
kill -CONT "${DAEMON%:*}"
# this start fails, with a status of its own; a manager that restarts on failure comes to the next
ended=0
wait "${DAEMON%:*}" || ended=$?
DAEMON=
[ "$ended" = 1 ] || fail "ended with $ended"
grep -q 'what the service manager kept of the mount cannot be used' "$DAEMON_LOG" || fail "not said in the log"
managed
wait_for mounted
expect_output half-and-half cat "$MNT/db/current"
DEATHS_EXPECTED=

note "STOPPING, and nothing is kept of a vault that was unmounted"
ready=$(said '^READY=1')
vault_umount
has_said '^STOPPING=1' || fail "STOPPING was not said: $(cat "$SCRATCH/said")"
[ "$(tail -n 5 "$SCRATCH/said" | grep -c '^FDSTOREREMOVE=1')" = 4 ] || fail "something is kept: $(tail -n 6 "$SCRATCH/said")"
[ "$(said '^READY=1')" = "$ready" ] || fail "ready after its end"

unset WATCHDOG_USEC

note "a manager's socket that is none, or gone, hurts nobody"
NOTIFY_SOCKET=nonsense vault_mount
vault_umount
NOTIFY_SOCKET=$SCRATCH/nobody-is-here vault_mount
expect_output half-and-half cat "$MNT/db/current"
vault_umount

note "the key as a credential, and no file where the store says"
mkdir -m 700 "$SCRATCH/credentials"
install -m 400 "$KEK" "$SCRATCH/credentials/kek"
mv "$KEK" "$SCRATCH/elsewhere.kek"
expect_exit 7 timeout 60 cofferd "$STORE" "$MNT"
expect_exit 7 timeout 60 cofferd "$STORE" "$MNT" -o kek=credential:kek
expect_message 'no \$CREDENTIALS_DIRECTORY.*LoadCredential=kek:'
export CREDENTIALS_DIRECTORY=$SCRATCH/credentials
expect_exit 7 timeout 60 cofferd "$STORE" "$MNT" -o kek=credential:other
expect_message "$SCRATCH/credentials/other: No such file"
for bad in credential: credential:../keys/test.kek credential:.. file:relative passphrase: ''; do
	expect_exit 2 timeout 60 cofferd "$STORE" "$MNT" -o "kek=$bad"
done
vault_mount -o kek=credential:kek
expect_ok coffer put db --file /etc/hostname
expect_ok cmp /etc/hostname "$MNT/db/current"
[ "$(status .kek.from)" = credential:kek ] || fail "status does not say where the key is from: $(status .kek)"
expect_exit 0 coffer doctor
grep -q 'key .*is a credential of the service, kek' "$OUT" || fail "doctor does not know: $(cat "$OUT")"
vault_umount
head -c 31 /dev/zero >"$SCRATCH/credentials/short"
chmod 400 "$SCRATCH/credentials/short"
expect_exit 7 timeout 60 cofferd "$STORE" "$MNT" -o kek=credential:short
expect_message "$SCRATCH/credentials/short has 31 bytes"
expect_exit 7 coffer fsck "$STORE"
expect_ok coffer fsck "$STORE" --kek "file:$SCRATCH/elsewhere.kek"
vault_mount -o "kek=file:$SCRATCH/elsewhere.kek"
expect_ok cmp /etc/hostname "$MNT/db/current"
vault_umount
unset CREDENTIALS_DIRECTORY
mv "$SCRATCH/elsewhere.kek" "$KEK"

note "users of a vault's own: the scheme of coffer@.service"
# of this run's own, so that they can go with it
own=coffer-t$$
users_remove()
{
	local user
	for user in "$own" "$own-keys" "$own-helper"; do
		userdel -f "$user" 2>/dev/null || true
	done
}
AT_EXIT+=(users_remove)
for user in "$own" "$own-keys" "$own-helper"; do
	# another may be at /etc/passwd
	wait_for useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$user"
done
expect_exit 1 coffer init "$SCRATCH/store/other" --kek "file:$SCRATCH/keys/other.kek" --users nobody-has-this
expect_message 'useradd .* nobody-has-this && useradd .* nobody-has-this-keys'
expect_exit 2 coffer init "$SCRATCH/store/other" --kek "file:$SCRATCH/keys/other.kek" --users a-name-that-is-longer-than-fits
expect_ok coffer init "$SCRATCH/store/other" --kek "file:$SCRATCH/keys/other.kek" --users "$own"
grep -q "next: cofferd .* -o users=$own\$" "$OUT" || fail "init does not say how to go on: $(cat "$OUT")"
[ "$(stat -c %U "$SCRATCH/store/other/db")" = "$own" ] || fail "the database is $(stat -c %U "$SCRATCH/store/other/db")'s"
expect_exit 1 timeout 60 cofferd "$SCRATCH/store/other" "$MNT"
expect_message 'belongs to uid [0-9]*, not to user coffer; name .* -o users=NAME'
expect_exit 1 timeout 60 cofferd "$STORE" "$MNT" -o "users=$own"
for bad in '' Root 'a b' ../x -x 0x a-name-that-is-longer-than-fits; do
	expect_exit 2 timeout 60 cofferd "$STORE" "$MNT" -o "users=$bad"
done
STORE=$SCRATCH/store/other vault_mount -o "users=$own"
expect_ok coffer put db --file /etc/hostname
expect_ok cmp /etc/hostname "$MNT/db/current"
[ "$(status .sandbox.worker.uid)" = "$(id -u "$own")" ] || fail "the worker's user: $(status .sandbox.worker)"
[ "$(status .sandbox.keyholder.uid)" = "$(id -u "$own-keys")" ] || fail "the key holder's user: $(status .sandbox.keyholder)"
expect_exit 0 coffer doctor
grep -q "$own, $own-keys and $own-helper are there" "$OUT" || fail "doctor looks for other users: $(cat "$OUT")"
vault_umount
expect_ok coffer fsck "$SCRATCH/store/other"
[ -z "$(find "$SCRATCH/store/other/db" ! -user "$own")" ] || fail "fsck left files of somebody else: $(find "$SCRATCH/store/other/db" ! -user "$own")"
users_remove

note "no more capabilities than the unit leaves"
bounding=$(sed -n 's/^CapabilityBoundingSet=//p' "$top/contrib/systemd/service.in" | tr 'A-Z' 'a-z' | sed 's/cap_/+/g; s/ /,/g')
cat >"$SCRATCH/bin/bounded" <<-END
	#!/bin/sh
	exec setpriv --bounding-set=-all,$bounding --no-new-privs cofferd "\$@"
END
chmod 755 "$SCRATCH/bin/bounded"
bounded -f "$STORE" "$MNT" 2>>"$DAEMON_LOG" &
DAEMON=$(process_of $!)
wait_for mounted
expect_ok cmp /etc/hostname "$MNT/db/current"
[ "$(status .sandbox.keeper.capabilities\|length)" = 10 ] || fail "the keeper has not all that the unit leaves it: $(status .sandbox.keeper)"
expect_exit 0 coffer doctor
vault_umount

note "mount(8) and fstab"
install -d "$SCRATCH/sbin"
ln -s "$SCRATCH/bin/cofferd" "$SCRATCH/sbin/mount.fuse.coffer"
helper=$SCRATCH/sbin/mount.fuse.coffer
# as mount(8) calls it
expect_ok "$helper" "coffer:$STORE" "$MNT" -f -o rw
! mounted || fail "mount -f mounted"
expect_ok "$helper" "coffer:$STORE" "$MNT" -n -v -o rw,noauto,x-systemd.automount,nopagecache
DAEMON=$(process_of "$(status .processes.keeper)")
expect_ok cmp /etc/hostname "$MNT/db/current"
expect_errno EINVAL sysop open r "$MNT/db/current" + sendfile
grep -q "^coffer:$STORE $MNT fuse.coffer " /proc/self/mounts || fail "the source is not what fstab has: $(grep " $MNT " /proc/self/mounts)"
DEATHS_EXPECTED=1
daemon_down
DAEMON=
# mount looks nowhere else
if ln -s "$helper" /sbin/mount.fuse.coffer 2>/dev/null; then
	remove_helper() { rm -f /sbin/mount.fuse.coffer; }
	AT_EXIT+=(remove_helper)
	expect_ok timeout 60 mount -t fuse.coffer "$STORE" "$MNT"
	DAEMON=$(process_of "$(status .processes.keeper)")
	expect_ok cmp /etc/hostname "$MNT/db/current"
	daemon_down
	DAEMON=
	echo "coffer:$STORE $MNT fuse.coffer defaults 0 0" >"$SCRATCH/fstab"
	expect_ok timeout 60 mount --fstab "$SCRATCH/fstab" "$MNT"
	DAEMON=$(process_of "$(status .processes.keeper)")
	# it knows that this is mounted
	expect_ok timeout 60 mount --fstab "$SCRATCH/fstab" -a
	expect_ok cmp /etc/hostname "$MNT/db/current"
	daemon_down
	DAEMON=
	expect_exit 4 timeout 60 mount -t fuse.coffer "$STORE" "$SCRATCH/file-that-is-not-there"
else
	note "/sbin/mount.fuse.coffer is somebody else's: mount(8) is not tried"
fi

note "units, users and directories are what systemd takes them for"
command -v systemd-analyze >/dev/null && command -v cmake >/dev/null || { note "no systemd-analyze, or no cmake, here"; exit 0; }
cat >"$SCRATCH/install.cmake" <<-END
	set(CMAKE_CURRENT_LIST_DIR "$top/contrib/systemd")
	set(SBINDIR "$SCRATCH/bin")
	file(READ "$top/contrib/systemd/service.in" SERVICE)
	foreach(unit coffer.service coffer@.service)
		configure_file("$top/contrib/systemd/\${unit}.in" "$SCRATCH/units/\${unit}" @ONLY)
	endforeach()
END
mkdir -p "$SCRATCH/units" "$SCRATCH/root/etc"
expect_ok cmake -P "$SCRATCH/install.cmake"
cp "$top/contrib/systemd/vault.mount" "$SCRATCH/units"
expect_ok systemd-analyze verify --man=no "$SCRATCH/units/coffer.service" "$SCRATCH/units/coffer@db.service" "$SCRATCH/units/vault.mount"
[ ! -s "$ERR" ] || fail "systemd-analyze has something to say: $(cat "$ERR")"
! grep -E '^(PrivateMounts|PrivateTmp|PrivateDevices|PrivateNetwork|ProtectSystem|ProtectHome|ProtectProc|ProcSubset|ProtectKernel.*|ProtectControlGroups|DynamicUser|RootDirectory|ReadOnlyPaths|ReadWritePaths|InaccessiblePaths)=' \
	"$SCRATCH/units/coffer.service" || fail "this would hide the mount"
sed 's/NAME/db/g' "$top/contrib/systemd/coffer-vault.sysusers" >"$SCRATCH/vault.sysusers"
expect_ok systemd-sysusers --root="$SCRATCH/root" "$top/contrib/systemd/coffer.sysusers" "$SCRATCH/vault.sysusers"
for user in coffer coffer-keys coffer-helper coffer-hooks coffer-db coffer-db-keys coffer-db-helper coffer-db-hooks; do
	grep -q "^$user:.*:/nonexistent:/usr/sbin/nologin$" "$SCRATCH/root/etc/passwd" || fail "no user $user came of it: $(cat "$SCRATCH/root/etc/passwd" "$ERR")"
done
expect_ok systemd-tmpfiles --root="$SCRATCH/root" --create "$top/contrib/systemd/coffer.tmpfiles"
[ "$(stat -c %a "$SCRATCH/root/etc/coffer")" = 700 ] && [ -d "$SCRATCH/root/vault" ] || fail "directories are missing"
