#!/bin/bash
# Makes a vault with the programs of one version, and a backup of it, for tests/mount/06-older-versions.sh, which says what is in it: every later version has to open both.
#   sudo tests/data/make.sh DIRECTORY      where coffer and cofferd of that version are; writes VERSION.tar.xz beside this script
# Once for each version, before the next one begins. The keys in it are for tests, and protect nothing.
set -euo pipefail

bin=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
version=$("$bin/coffer" version | awk '{ print $NF; exit }')
"$here/../support/users.sh"
scratch=$(mktemp -d)
chmod 755 "$scratch"
daemon=
end()
{
	[ -z "$daemon" ] || kill -TERM "$daemon" 2>/dev/null || true
	[ -z "$daemon" ] || wait "$daemon" || true
	chattr -R -a "$scratch" 2>/dev/null || true
	rm -rf "$scratch"
}
trap end EXIT
mkdir "$scratch/vault"

coffer() { "$bin/coffer" -m "$scratch/vault" "$@" </dev/null; }
put() { "$bin/coffer" -m "$scratch/vault" put "$1"; }

"$bin/coffer" init "$scratch/old" --kek "file:$scratch/old.kek" --retention 30
"$bin/cofferd" -f "$scratch/old" "$scratch/vault" 2>"$scratch/log" &
daemon=$!
for ((i = 0; i < 500; i++)); do
	! grep -q " $scratch/vault fuse.coffer " /proc/self/mounts || break
	kill -0 "$daemon"
	sleep 0.02
done

for value in one two three; do
	printf %s "$value" | put db
done
coffer disable db --version 1
coffer destroy db --version 2
coffer attr db --content-type text/plain --tag owner=billing
seq 1 2000 | put numbers
head -c 9000 /dev/zero | put zeros
printf off | put off
coffer disable off
printf deleted | put gone
coffer delete gone
coffer role create rotator secrets/list secrets/set
coffer grant secrets-user user:20001,host --on db --reason 'reads it'
coffer grant rotator group:20002 --on 'db*'
coffer grant secrets-user everyone --on numbers --until 2100-01-01T00:00:00Z
coffer block user:20003 --reason leaked
coffer rotation set 'db*' --every 90d --generator password:32
coffer hook add --on db --exec '/bin/true %n' --user root
coffer vault set --value-max 512K --near-expiry 14
"$bin/coffer" recipient keygen "$scratch/safe.key" >"$scratch/safe.pub"
coffer recipient add safe --public-key "$scratch/safe.pub"
coffer backup --all --recipient safe >"$scratch/backup"
jq -r .signer <"$scratch/vault/.coffer/status" >"$scratch/signer"

kill -TERM "$daemon"
wait "$daemon"
daemon=
chattr -R -a "$scratch/old" 2>/dev/null || true
tar -C "$scratch" --sort=name -cf - old old.kek old.verify backup safe.key signer | xz -9e >"$here/$version.tar.xz"
ls -l "$here/$version.tar.xz"
