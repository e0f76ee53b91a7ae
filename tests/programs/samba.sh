#!/bin/bash
# A file server exports the mount again: each of its users gets what the vault lets that uid have, exact bytes, and no more; through a rotation, too.
. "$(dirname "$0")/../support/lib.sh"

for program in smbd smbclient; do
	command -v $program >/dev/null || { echo "$program is not installed (packages samba and smbclient)"; exit 77; }
done

vault_start
head -c 200000 /dev/urandom >"$SCRATCH/long"
printf 'short\n' >"$SCRATCH/short"
expect_ok coffer put db --file "$SCRATCH/long"
expect_ok coffer put other --file "$SCRATCH/short"
# an account that each Debian has, for the server takes names only
expect_ok coffer grant secrets-user user:games --on db

share=$SCRATCH/samba
port=$((20000 + $$ % 20000))
mkdir -m 755 "$share"
for directory in private state lock cache pid ncalrpc; do
	mkdir -m 755 "$share/$directory"
done
chmod 700 "$share/private"
cat >"$share/smb.conf" <<CONF
[global]
	server role = standalone server
	interfaces = 127.0.0.1/8
	bind interfaces only = yes
	smb ports = $port
	disable netbios = yes
	map to guest = Bad User
	guest account = games
	private dir = $share/private
	state directory = $share/state
	lock directory = $share/lock
	cache directory = $share/cache
	pid directory = $share/pid
	ncalrpc dir = $share/ncalrpc
	log file = $share/log
	max log size = 0
	load printers = no
[vault]
	path = $MNT
	guest ok = yes
	read only = no
CONF
# A process for each client and more: they end as the group that they are.
start setsid smbd --foreground --no-process-group --configfile="$share/smb.conf" >"$share/out" 2>&1
server=$!
server_gone() { ! pgrep -g "$server" >/dev/null; }
server_end()
{
	server_gone || kill -TERM -- -"$server"
	wait_for server_gone
}
AT_EXIT+=(server_end)

client() { timeout 60 smbclient --configfile="$share/smb.conf" -N -p "$port" //127.0.0.1/vault -c "$*" >"$OUT" 2>"$ERR"; }
wait_for client ls

note "a listing holds what the server's user may list"
client ls
grep -qw db "$OUT" || fail "no db in the listing: $(cat "$OUT")"
! grep -qw other "$OUT" || fail "the listing shows a name that the user may not list: $(cat "$OUT")"

note "whole values, and one denial"
client "get db/current $SCRATCH/got" || fail "get: $(cat "$OUT" "$ERR")"
cmp -s "$SCRATCH/long" "$SCRATCH/got" || fail "the server gives other bytes ($(stat -c %s "$SCRATCH/got"))"
client "get other/current $SCRATCH/got2" && fail "the server gave a value that its user may not read"
grep -q ACCESS_DENIED "$OUT" "$ERR" || fail "not denied but: $(cat "$OUT" "$ERR")"

note "a value that changes between the gets of one connection, shorter and longer"
mkfifo "$SCRATCH/commands"
exec {commands}<>"$SCRATCH/commands"
smbclient --configfile="$share/smb.conf" -N -p "$port" //127.0.0.1/vault <"$SCRATCH/commands" >"$SCRATCH/connection" 2>&1 &
STARTED+=("$(process_of $!)")
for value in long short long; do
	rm -f "$SCRATCH/got"
	expect_ok coffer put db --file "$SCRATCH/$value"
	echo "get db/current $SCRATCH/got" >&"$commands"
	wait_for cmp -s "$SCRATCH/$value" "$SCRATCH/got"
done
echo exit >&"$commands"

note "who may set writes through the server"
expect_ok coffer grant secrets-officer user:games --on db
client "put $SCRATCH/short db/current" || fail "put: $(cat "$OUT" "$ERR")"
expect_ok coffer get db
cmp -s "$SCRATCH/short" "$OUT" || fail "after a put through the server: $(coffer versions db)"

note "a revoked right ends at the next open"
expect_ok coffer revoke secrets-officer user:games --on db
expect_ok coffer revoke secrets-user user:games --on db
client "get db/current $SCRATCH/got3" && fail "a revoked user reads through the server"
server_end
vault_umount
