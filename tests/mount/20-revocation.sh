#!/bin/bash
# A right that ends reaches every open file: by revoke, by a binding's end, by disable; by read(2) at once, by the ways of the page cache as soon as the bell has dropped it, or at once where
# nopagecache keeps it empty.
. "$(dirname "$0")/../support/lib.sh"

vault_start
head -c 100000 /dev/urandom >"$SCRATCH/one"
head -c 5000 /dev/urandom >"$SCRATCH/two"
one="ok $(sha256sum <"$SCRATCH/one" | cut -d ' ' -f 1) 100000"
two="ok $(sha256sum <"$SCRATCH/two" | cut -d ' ' -f 1) 5000"
expect_ok coffer put db --file "$SCRATCH/one"
expect_ok coffer put db --file "$SCRATCH/two"

# not_held NAME COMMAND…: it fails
not_held() { [[ $(held "$@") != ok* ]]; }

grant() { expect_ok coffer grant secrets-user user:20001 --on db "$@"; }
# ends_soon ANSWER NAME COMMAND…: a binding that ends soon, and through which this was answered so: on a busy machine soon is later
ends_soon()
{
	local want=$1 span
	shift
	for span in 2 10 30; do
		grant --until ${span}s
		[ "$(held "$@")" != "$want" ] || return 0
	done
	fail "not $want within $span s: $*"
}
revoke() { expect_ok coffer revoke secrets-user user:20001 --on db; }

hold reader 20001
hold old 20001
grant
expect_held ok reader open r "$MNT/db/current"
expect_held ok old open r "$MNT/db/versions/1"

note "revoke: the next read fails, of every open file; granted again, it goes on"
expect_held "$two" reader read
expect_held "$one" old read
revoke
expect_held EKEYREVOKED reader read
expect_held EKEYREVOKED old read
expect_held EKEYREVOKED old pread 99990 10
expect_held EKEYREVOKED old pread 200000 10
audit_has '.operation == "SecretGet" and .result == "deny" and .caller.uid == 20001 and .secret == "db" and .version == 1'
grant
expect_held "$two" reader read
expect_held "$one" old read

note "a revocation takes what it names, and nothing else"
expect_ok coffer grant secrets-user user:20002 --on db
hold other 20002
expect_held ok other open r "$MNT/db/current"
revoke
expect_held "$two" other read
expect_held EKEYREVOKED reader read

note "a second binding still carries"
grant
expect_ok coffer grant secrets-user group:20001 --on db
expect_held "$two" reader read
revoke
expect_held "$two" reader read
expect_ok coffer revoke secrets-user group:20001 --on db
expect_held EKEYREVOKED reader read

note "a binding's end: reads until then, and not one more; nothing has to happen in the vault"
ends_soon "$two" reader read
wait_for not_held reader read
expect_held EKEYREVOKED reader read
expect_held EKEYREVOKED old read
expect_errno EACCES as 20001 sysop open r "$MNT/db/current"

note "disable: of the secret, every open file; of one version, only what shows it"
grant
expect_held "$two" reader read
expect_ok coffer disable db
expect_held EKEYREVOKED reader read
expect_held EKEYREVOKED old read
expect_errno EACCES as 20001 sysop open r "$MNT/db/current"
expect_errno EACCES sysop open r "$MNT/db/versions/1"
expect_ok coffer enable db
expect_held "$two" reader read
expect_ok coffer disable db --version 2
expect_held EKEYREVOKED reader read
expect_held "$one" old read
expect_content "$SCRATCH/one" as 20001 sysop open r "$MNT/db/current" + read
expect_errno EACCES as 20001 sysop open r "$MNT/db/versions/2"
expect_ok coffer enable db --version 2
expect_held "$two" reader read
expect_content "$SCRATCH/two" as 20001 sysop open r "$MNT/db/current" + read

note "sendfile, splice and mmap give what read gives"
for way in sendfile splice 'mmap private'; do
	# shellcheck disable=SC2086
	expect_held "$one" old $way
	# shellcheck disable=SC2086
	expect_held "$two" reader $way
done

note "and stop once the bell has dropped the cache, a map that is there too"
for way in sendfile splice 'mmap private' mapped; do
	grant_again() { expect_ok coffer grant secrets-user user:20001 --on db; }
	expect_held "$one" old mmap private
	# shellcheck disable=SC2086
	expect_held "$one" old $way
	revoke
	expect_held EKEYREVOKED old read
	# shellcheck disable=SC2086
	wait_for not_held old $way
	expect_held EKEYREVOKED old read
	grant_again
done
expect_held "$one" old sendfile
expect_ok coffer disable db --version 1
wait_for not_held old sendfile
expect_ok coffer enable db --version 1
revoke
ends_soon "$one" old sendfile
wait_for not_held old read
wait_for not_held old sendfile

note "a page cache that knows no callers gives an old version to nobody"
grant
expect_held ok reader open r "$MNT/db/current"
expect_ok coffer put db --file "$SCRATCH/one"
expect_held "$two" reader read
expect_held EINVAL reader sendfile
for name in reader old other; do
	let_go "$name"
done
vault_umount

note "nopagecache: EINVAL always, so the reader falls back to read, which is asked each time"
vault_mount -o nopagecache
hold strict 20001
for path in db/current db/versions/1; do
	expect_held ok strict open r "$MNT/$path"
	expect_held "$one" strict read
	expect_held EINVAL strict sendfile
	expect_held EINVAL strict splice
	expect_held SIGBUS strict mmap private
	expect_held "$one" strict read
done
expect_ok as 20001 busybox cat "$MNT/db/current"
cmp "$OUT" "$SCRATCH/one" || fail "busybox cat under nopagecache"
install -d -o 20001 "$SCRATCH/copies"
expect_ok as 20001 busybox cp "$MNT/db/versions/2" "$SCRATCH/copies/strict"
cmp "$SCRATCH/copies/strict" "$SCRATCH/two" || fail "busybox cp under nopagecache"
revoke
expect_held EKEYREVOKED strict read
expect_held EINVAL strict sendfile	# always, before it is found out who asks: every open of the file waits for a page that is being read
expect_held SIGBUS strict mmap private
let_go strict
vault_umount

note "busybox cat and cp without it"
vault_mount
grant
expect_ok as 20001 busybox cat "$MNT/db/current"
cmp "$OUT" "$SCRATCH/one" || fail "busybox cat"
expect_ok as 20001 busybox cp "$MNT/db/versions/2" "$SCRATCH/copies/plain"
cmp "$SCRATCH/copies/plain" "$SCRATCH/two" || fail "busybox cp"
