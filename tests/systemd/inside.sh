#!/bin/bash
# What run.sh tries inside of the virtual machine, as a service of its systemd: each step says what it saw; the first that does not hold ends it with a line that begins with FAILED.
set -Eeuo pipefail
export LC_ALL=C PATH=/opt/trial:/usr/sbin:/usr/bin:/sbin:/bin HAMMER_LEAST=10

fail()
{
	echo "FAILED: $*"
	systemctl --no-pager status coffer.service 2>&1 | tail -n 20 || true
	journalctl --no-pager -n 80 -o cat -u 'coffer*' -u 'vault*' -u consumer || true
	journalctl --no-pager -n 20 -k || true
	exit 1
}
trap 'fail "line $LINENO, status $?: $BASH_COMMAND"' ERR
note()
{
	echo "-- $*"
	touch /run/step
}
# A step that hangs says where, too: what callers wait for.
(
	trap - ERR
	while sleep 5; do
		[ $(($(date +%s) - $(stat -c %Y /run/step 2>/dev/null || date +%s))) -gt 600 ] || continue
		echo "this step hangs:"
		ps -eo pid,ppid,stat,wchan:30,args | grep -v '\]$'
		fail "a step that does not end"
	done
) &
hang_watch=$!
wait_for()
{
	local deadline=$((SECONDS + 120))
	until ("$@") >/dev/null 2>&1; do
		[ $SECONDS -lt $deadline ] || fail "not within 120 s: $*"
		sleep 0.1
	done
}
show() { systemctl show --value -p "$2" "$1"; }
status() { jq -r "$1" <"${2:-/vault}/.coffer/status"; }
has() { [ "$(show "$1" "$2")" = "$3" ]; }
is() { has "$@" || fail "$1: $2 is $(show "$1" "$2"), not $3"; }
active() { has "$1" ActiveState active; }
other_pid()
{
	local pid
	pid=$(show "$1" MainPID)
	[ "$pid" != "$2" ] && [ "$pid" != 0 ]
}
kept_is() { has coffer NFileDescriptorStore "$1"; }
mounted() { grep -q " $1 fuse.coffer " /proc/self/mounts; }
drop_in() { mkdir -p "/etc/systemd/system/$1.d" && cat >"/etc/systemd/system/$1.d/trial.conf" && systemctl daemon-reload; }
drop_out() { rm -r "/etc/systemd/system/$1.d" && systemctl daemon-reload; }

declare -A hammers=()
hammer_start()
{
	local name=$1
	shift
	setpriv --reuid=app --regid=app --clear-groups hammer "$@" >"/run/hammer.$name" 2>&1 &
	hammers[$name]=$!
	wait_for grep -q . "/run/hammer.$name"
}
# clients_begin, clients_end: who reads, maps, stats, lists and writes meanwhile, and one that keeps a file open
clients_begin()
{
	hammer_start read read /vault/db/current /opt/trial/value
	hammer_start pread pread /vault/db/current /opt/trial/value
	hammer_start map map /vault/db/versions/1 /opt/trial/value
	hammer_start list list /vault db
	hammer_start write write /vault/written/current
	exec {kept}</vault/db/current
}
clients_end()
{
	local name status sum=0
	for name in "${!hammers[@]}"; do
		kill -TERM "${hammers[$name]}" 2>/dev/null || true
		status=0
		wait "${hammers[$name]}" || status=$?
		[ $status = 0 ] || fail "$name failed with status $status: $(cat "/run/hammer.$name")"
		sum=$((sum + $(sed -n 's/^ok //p' "/run/hammer.$name")))
	done
	hammers=()
	cmp /opt/trial/value - <&"$kept" || fail "a file that was kept open"
	exec {kept}<&-
	echo "   $sum system calls' worth of work by five clients meanwhile, none failed"
}

note "systemd $(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p'), kernel $(uname -r), pid 1 is $(cat /proc/1/comm); unified cgroups: $(stat -fc %T /sys/fs/cgroup)"
[ "$(cat /proc/1/comm)" = systemd ] || fail "no systemd"

note "sysusers and tmpfiles, as booted"
for user in coffer coffer-keys coffer-helper coffer-hooks; do
	getent passwd $user >/dev/null || fail "no user $user"
done
[ "$(stat -c '%a %U' /etc/coffer)" = '700 root' ] && [ -d /vault ] && [ -d /vaults ] && [ -d /var/lib/coffer ] || fail "directories are missing"

head -c 3000 /dev/urandom >/opt/trial/value
chmod 644 /opt/trial/value
useradd --uid 20001 --user-group --no-create-home app

note "a store that is not there yet is no failure"
systemctl start coffer
is coffer ActiveState inactive
is coffer ConditionResult no

note "started: READY after a test read, and the vault is there for the next command"
coffer init /var/lib/coffer/default >/dev/null
systemctl enable --now coffer 2>/dev/null
cat /vault/.coffer/whoami >/dev/null
is coffer Type notify
is coffer SubState running
[ "$(jq .host </vault/.coffer/whoami)" = true ] || fail "root is not host here: $(cat /vault/.coffer/whoami)"
coffer put db --file /opt/trial/value >/dev/null 2>&1
coffer grant secrets-user user:20001 --on '*' >/dev/null
coffer grant secrets-officer user:20001 --on written >/dev/null
mkdir /vault/written
[ "$(status .processes.keeper)" = "$(show coffer MainPID)" ] || fail "the keeper is not the main process"
echo "   sandbox: $(status '.sandbox | [.landlock_abi, .worker.seccomp, .worker.landlock] | map(tostring) | join(" ")')"
coffer doctor >/run/doctor || fail "doctor: $(cat /run/doctor)"
grep -v '^ok' /run/doctor | sed 's/^/   doctor: /' || true

note "what wants the vault starts it and finds its secrets; services with a mount namespace of their own see it"
systemctl stop coffer
cat >/etc/systemd/system/consumer.service <<-'END'
	[Unit]
	Requires=coffer.service
	After=coffer.service
	[Service]
	Type=oneshot
	User=app
	PrivateTmp=yes
	ProtectSystem=strict
	ExecStart=/usr/bin/cmp /opt/trial/value /vault/db/current
END
cat >/etc/systemd/system/early.service <<-'END'
	[Service]
	User=app
	PrivateTmp=yes
	ProtectSystem=strict
	ExecStart=/bin/sleep infinity
END
systemctl daemon-reload
systemctl start early
systemctl start consumer
active coffer || fail "coffer was not started"
nsenter -m -t "$(show early MainPID)" setpriv --reuid=app --regid=app --clear-groups cmp /opt/trial/value /vault/db/current || fail "a service that was there before does not see it"
systemctl stop early

note "the keeper killed with SIGKILL, five times: the unit restarts with what systemd kept"
wait_for kept_is 4
clients_begin
pauses=()
for ((i = 1; i <= 5; i++)); do
	keeper=$(show coffer MainPID)
	began=${EPOCHREALTIME/./}
	kill -KILL "$keeper"
	cat /vault/.coffer/whoami >/dev/null
	pauses+=($(((${EPOCHREALTIME/./} - began) / 1000)))
	# the number first: that it runs is only then said of the new one
	again() { other_pid coffer "$keeper" && has coffer SubState running && kept_is 4; }
	wait_for again
	[ $i != 3 ] || systemctl daemon-reexec
done
clients_end
is coffer NRestarts 5
echo "   callers waited ${pauses[*]} ms"
! journalctl -o cat -u coffer | grep 'still around after SIGKILL' || fail "systemd waited for what only the next keeper can end"
[ "$(grep -c ' /vault fuse.coffer ' /proc/self/mounts)" = 1 ] || fail "more than one mount"

note "systemctl reload, five times: the same main process, a new binary"
keeper=$(show coffer MainPID)
clients_begin
for ((i = 1; i <= 5; i++)); do
	install -m 755 /usr/sbin/cofferd /usr/sbin/new && mv /usr/sbin/new /usr/sbin/cofferd
	systemctl reload coffer
	upgraded() { [ "$(status .supervision.upgrades)" = $i ] && [ "$(status .processes.standby)" != null ] && [ "$(readlink "/proc/$keeper/exe")" = /usr/sbin/cofferd ]; }
	wait_for upgraded
done
clients_end
is coffer MainPID "$keeper"
is coffer SubState running
wait_for kept_is 4
note "and killed once more after it"
clients_begin
kill -KILL "$keeper"
wait_for again
clients_end

note "the worker killed, twenty times"
clients_begin
for ((i = 1; i <= 20; i++)); do
	worker=$(status .processes.worker)
	kill -KILL "$worker"
	other() { [ "$(status .processes.worker)" != "$worker" ] && [ "$(status .processes.standby)" != null ]; }
	wait_for other
done
clients_end
[ "$(ls /vault/written/versions | wc -l)" = "$(audit=$(jq -n '[inputs | select(.operation == "SecretSet" and .secret == "written" and .result == "allow" and .version != null)] | length' <(grep '"mac":"[0-9a-f]*"}$' /vault/.coffer/audit)); echo "$audit")" ] ||
	fail "versions and records differ"

note "the watchdog: a keeper that does not run any more"
drop_in coffer.service <<-END
	[Service]
	WatchdogSec=10s
	TimeoutAbortSec=5s
END
systemctl restart coffer
keeper=$(show coffer MainPID)
restarts=$(show coffer NRestarts)
clients_begin
kill -STOP "$keeper"
wait_for again
[ "$(show coffer NRestarts)" -gt "$restarts" ] || fail "not restarted"
clients_end
journalctl -o cat -u coffer | grep -q 'Watchdog timeout' || fail "it was not the watchdog"
# who feeds it is not ended
sleep 25
[ "$(show coffer NRestarts)" = $((restarts + 1)) ] || fail "a keeper that lives was ended"
drop_out coffer.service

note "stopped: nothing is mounted, runs or is kept"
systemctl stop coffer
! mounted /vault || fail "still mounted"
kept_is 0 || fail "$(show coffer NFileDescriptorStore) descriptors are kept"
[ -z "$(pgrep cofferd)" ] || fail "processes are left"
is coffer Result success

note "stopped while a file is open there: lazily"
systemctl start coffer
exec {held}</vault/db/current
systemctl stop coffer
! mounted /vault || fail "still mounted"
exec {held}<&-
is coffer Result success

note "the key as a credential: in the clear, then encrypted; no key file on the disk; the keeper killed meanwhile"
for kind in LoadCredential LoadCredentialEncrypted; do
	file=/etc/credstore/kek
	install -d -m 700 /etc/credstore /etc/credstore.encrypted
	if [ $kind = LoadCredential ]; then
		install -m 600 /etc/coffer/default.kek /etc/credstore/kek
	else
		file=/etc/credstore.encrypted/coffer.kek
		systemd-creds encrypt --name=kek /root/kek $file 2>/run/creds || fail "systemd-creds: $(cat /run/creds)"
	fi
	[ ! -e /etc/coffer/default.kek ] || mv /etc/coffer/default.kek /root/kek
	drop_in coffer.service <<-END
		[Service]
		$kind=kek:$file
		ExecStart=
		ExecStart=/usr/sbin/cofferd -f /var/lib/coffer/default /vault -o kek=credential:kek
	END
	systemctl start coffer
	setpriv --reuid=app --regid=app --clear-groups cmp /opt/trial/value /vault/db/current
	[ "$(status .kek.from)" = credential:kek ] || fail "the key is from $(status .kek.from)"
	mounted /vault || fail "the mount is in a namespace of its own"
	wait_for kept_is 4
	clients_begin
	keeper=$(show coffer MainPID)
	kill -KILL "$keeper"
	wait_for again
	kill -KILL "$(status .processes.keyholder)"
	systemctl reload coffer
	upgraded() { [ "$(status .supervision.upgrades)" = 1 ] && [ "$(status .processes.standby)" != null ]; }
	wait_for upgraded
	coffer put db --file /opt/trial/value >/dev/null 2>&1
	clients_end
	systemctl stop coffer
	drop_out coffer.service
	rm $file
done
mv /root/kek /etc/coffer/default.kek

note "several vaults, each under users of its own"
mkdir -p /etc/sysusers.d
for vault in a b; do
	sed "s/NAME/$vault/g" /usr/share/doc/coffer/coffer-vault.sysusers >/etc/sysusers.d/coffer-$vault.conf
	systemd-sysusers
	mkdir -p /vaults/$vault
	coffer init /var/lib/coffer/$vault --users coffer-$vault >/dev/null
	systemctl enable --now coffer@$vault 2>/dev/null
	printf 'value of %s' $vault | coffer -m /vaults/$vault put db >/dev/null
	[ "$(cat /vaults/$vault/db/current)" = "value of $vault" ] || fail "vault $vault"
	[ "$(status .sandbox.worker.uid /vaults/$vault)" = "$(id -u coffer-$vault)" ] || fail "the worker of $vault is $(status .sandbox.worker.uid /vaults/$vault)'s"
done
! setpriv --reuid=coffer-a --regid=coffer-a --clear-groups cat /var/lib/coffer/b/db/vault.db >/dev/null 2>&1 || fail "one vault's worker reaches another's database"
keeper=$(show coffer@a MainPID)
kill -KILL "$keeper"
[ "$(cat /vaults/a/db/current) $(cat /vaults/b/db/current)" = 'value of a value of b' ] || fail "vaults after the death of a keeper"
back() { other_pid coffer@a "$keeper" && has coffer@a SubState running; }
wait_for back
systemctl stop coffer@a coffer@b
! grep -q fuse.coffer /proc/self/mounts || fail "still mounted"

note "as a mount: the unit, fstab, mount(8)"
install -m 644 /usr/share/doc/coffer/vault.mount /etc/systemd/system/vault.mount
ln -sf /usr/sbin/cofferd /sbin/mount.fuse.coffer
systemctl daemon-reload
systemctl start vault.mount
setpriv --reuid=app --regid=app --clear-groups cmp /opt/trial/value /vault/db/current
active vault.mount || fail "vault.mount is $(show vault.mount ActiveState)"
systemctl stop vault.mount
! mounted /vault || fail "still mounted"
gone() { [ -z "$(pgrep cofferd)" ]; }
wait_for gone
rm /etc/systemd/system/vault.mount
echo 'coffer:/var/lib/coffer/default  /vault  fuse.coffer  defaults  0  0' >>/etc/fstab
systemctl daemon-reload
systemctl start local-fs.target
systemctl start vault.mount
cmp /opt/trial/value /vault/db/current
umount /vault
wait_for has vault.mount ActiveState inactive
mount /vault
cmp /opt/trial/value /vault/db/current
wait_for active vault.mount
worker=$(status .processes.worker)
kill -KILL "$worker"
cmp /opt/trial/value /vault/db/current
systemctl stop vault.mount
wait_for gone
sed -i '/fuse.coffer/d' /etc/fstab
systemctl daemon-reload

note "backups by timer, and their drill"
systemctl start coffer
coffer recipient keygen /root/safe.key >/root/safe.pub 2>/dev/null
coffer recipient add safe --public-key /root/safe.pub >/dev/null
mkdir -p /var/backups/coffer
printf 'RECIPIENT=safe\nDIRECTORY=/var/backups/coffer\nKEY=/root/safe.key\n' >/etc/coffer/default.backup
drop_in coffer-backup@.timer <<-END
	[Timer]
	OnCalendar=*:*:0/10
	RandomizedDelaySec=0
	AccuracySec=1s
END
systemctl enable --now coffer-backup@default.timer 2>/dev/null
backed_up() { [ -e /var/backups/coffer/default-last.cofferbackup ]; }
wait_for backed_up
systemctl disable --now coffer-backup@default.timer 2>/dev/null
drop_out coffer-backup@.timer
systemctl enable --now coffer-backup@default.timer coffer-backup-drill@default.timer 2>/dev/null
systemctl list-timers --no-pager 'coffer*' | sed -n 's/.*\(coffer[^ ]*timer\).*/   waits: \1/p'
systemctl start coffer-backup@default coffer-backup-drill@default
is coffer-backup@default Result success
is coffer-backup-drill@default Result success
[ "$(status .drill)" != null ] || fail "no drill in the status"
ls /var/backups/coffer | sed 's/^/   /'
[ -z "$(find /var/backups/coffer -name '*.part')" ] || fail "a piece is left"
[ "$(find /var/backups/coffer -type f -perm /077 | wc -l)" = 0 ] || fail "others may read a backup"
systemctl stop coffer
coffer fsck /var/lib/coffer/default --deep >/dev/null
coffer audit verify /var/lib/coffer/default >/dev/null

kill $hang_watch
systemctl --no-pager --failed --no-legend | sed 's/^/   failed: /'
echo "all that was tried held: systemd $(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p'), kernel $(uname -r)"
