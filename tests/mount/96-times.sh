#!/bin/bash
# mtime and ctime of current are when it began to serve what it serves: make, cp -u and rsync -u take an older version that it serves again, and nothing else moves them.
. "$(dirname "$0")/../support/lib.sh"

vault_start
current=$MNT/db/current
put() { printf '%s' "$1" | coffer put db >/dev/null; }
both() { stat -c '%.9Y %.9Z' "$current"; }
at=0
# moved WHAT / stayed WHAT: since the last of them
moved()
{
	local m c
	read -r m c < <(both)
	[ "$m" = "$c" ] || fail "$1: mtime $m, ctime $c"
	if [ "$m" = "$at" ] || [ "$(printf '%s\n' "$at" "$m" | sort -n | head -n 1)" != "$at" ]; then fail "$1: mtime was $at, and is $m"; fi
	at=$m
}
stayed()
{
	local m
	read -r m _ < <(both)
	[ "$m" = "$at" ] || fail "$1 moved mtime from $at to $m"
}

# rsync compares whole seconds, if it is not told otherwise
note "make, cp -u and rsync -u do not keep a value that was withdrawn"
put good
put poor
cp -u "$current" "$SCRATCH/cp"
rsync -tu --modify-window=-1 "$current" "$SCRATCH/rsync"
printf 'made: %s\n\tcp $< $@\n' "$current" >"$SCRATCH/Makefile"
make -s -C "$SCRATCH" made
expect_ok coffer disable db --version 2
cp -u "$current" "$SCRATCH/cp"
rsync -tu --modify-window=-1 "$current" "$SCRATCH/rsync"
make -s -C "$SCRATCH" made
for file in cp rsync made; do
	[ "$(cat "$SCRATCH/$file")" = good ] || fail "$file keeps $(cat "$SCRATCH/$file")"
done

note "whatever changes what is served moves them, forward"
moved "disable of a version"
expect_ok coffer enable db --version 2
moved "enable of a version"
put third
moved put
printf 'fourth' >"$current"
moved write
expect_ok coffer rollback db 1
moved rollback
expect_ok coffer destroy db --version 5
moved destroy
expect_ok coffer disable db
moved disable
expect_ok coffer enable db
moved enable
expect_ok coffer delete db
expect_ok coffer recover db
moved "delete and recover"
echo pass >"$SCRATCH/passphrase"
signer=$(status .signer)
expect_ok coffer backup db --passphrase-file "$SCRATCH/passphrase"
cp "$OUT" "$SCRATCH/backup"
expect_ok coffer restore --existing append --passphrase-file "$SCRATCH/passphrase" --signer "$signer" <"$SCRATCH/backup"
moved "restore behind what is there"
expect_ok coffer delete db
expect_ok coffer purge db
expect_ok coffer restore --passphrase-file "$SCRATCH/passphrase" --signer "$signer" <"$SCRATCH/backup"
moved "purge and restore"

note "what is not served does not, nor do attributes"
expect_ok coffer attr db --tag a=b
stayed "a tag"
expect_ok coffer disable db --version 2
stayed "disable of an older version"
expect_ok coffer destroy db --version 1
stayed "destroy of an older version"
expect_ok coffer attr db --expires "$(date -u -d '+1 hour' +%Y-%m-%dT%H:%M:%SZ)"
stayed "a time that is not enforced"
vault_umount
vault_mount
stayed "another daemon"

note "the time of birth is the making of the name, and of a version its own; others see when the daemon was started"
born() { as "$1" stat -c %W "$2"; }
started=$(stat -c %Y "$MNT/db")
since=$(coffer show db --output json | jq -r .created)
for file in "$MNT/db" "$MNT/db/versions" "$current"; do
	[ "$(born 0 "$file")" = "$(date -d "$since" +%s)" ] || fail "$file was born $(born 0 "$file"), and made $since"
	[ "$(born 20009 "$file")" = "$started" ] || fail "a stranger sees when $file was born"
	# what the kernel keeps is what was told last
	[ "$(as 20009 stat --cached=always -c %W "$file")" = "$started" ] || fail "a stranger is shown when $file was born, as the kernel keeps it"
done
[ "$(born 0 "$MNT/db/versions/4")" = "$(stat -c %Y "$MNT/db/versions/4")" ] || fail "versions/4 was born $(born 0 "$MNT/db/versions/4")"
[ "$(born 20009 "$MNT/db/versions/4")" = "$started" ] || fail "a stranger sees when a version was born"
[ "$(born 0 "$MNT/.coffer/status")" = 0 ] || fail "status was born"
stayed "looking for the time of birth"
birth=$(born 0 "$current")
put another
moved "another put"
[ "$(born 0 "$current")" = "$birth" ] || fail "current was born again: $(born 0 "$current"), and before $birth"
expect_ok coffer delete db
[ "$(born 0 "$MNT/.coffer/deleted/db")" = "$started" ] || fail "what is deleted was born $(born 0 "$MNT/.coffer/deleted/db")"
expect_ok coffer recover db
moved "delete and recover"

note "versions keep the time of their making; an open file has the time of its name"
made=$(stat -c '%.9Y' "$MNT/db/versions/4")
printf '12' | coffer put db >/dev/null
moved put
exec 5<"$current"
read -rn 1 -u 5 _ || true
[ "$(stat -Lc '%.9Y' /proc/self/fd/5)" = "$at" ] || fail "the open file has another time than its name"
exec 5<&-
expect_ok coffer disable db --version "$(coffer show db --output json | jq .version)"
moved "disable of a version"
[ "$(stat -c '%.9Y' "$MNT/db/versions/4")" = "$made" ] || fail "the time of a version moved"

note "a vault that enforces validity: when a version becomes valid, and when it expires"
expect_ok coffer vault set --enforce-validity on
soon=$(date -u -d '+2 seconds' +%Y-%m-%dT%H:%M:%SZ)
then=$(date -u -d '+4 seconds' +%Y-%m-%dT%H:%M:%SZ)
expect_ok coffer attr db --not-before "$soon" --expires "$then"
moved "times that are enforced"
is() { [ "$(stat -c %.9Y "$current")" = "$(date -d "$1" +%s).000000000" ]; }
wait_for -t 20 is "$soon"
wait_for -t 20 is "$then"
moved "its end"
put again
moved "a version after one that expired"
