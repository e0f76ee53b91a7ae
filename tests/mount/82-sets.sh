#!/bin/bash
# coffer put --set: several secrets in one transaction, all or nothing, exactly once; and readers of one epoch never see half of it.
. "$(dirname "$0")/../support/lib.sh"

vault_start
at=$MNT/.coffer/at
epoch() { ls "$at"; }
# shows PATH TEXT
shows() { [ "$(cat "$1")" = "$2" ] || fail "$1 has '$(cat "$1")', not '$2'"; }

note "a directory: files, NAME/current, names with a dot passed over"
dir=$SCRATCH/set
mkdir -p "$dir/web" "$dir/.hidden"
printf one >"$dir/db"
printf two >"$dir/web/current"
: >"$dir/empty"
head -c 1048576 /dev/urandom >"$dir/big"
printf no >"$dir/.skipped"
printf old | coffer put db >/dev/null
before=$(epoch)
expect_ok coffer put --set "$dir"
[ "$(epoch)" = "$((before + 1))" ] || fail "the set is not one epoch"
shows "$MNT/db/current" one
shows "$MNT/web/current" two
cmp "$dir/big" "$MNT/big/current" || fail "another value"
[ "$(stat -c %s "$MNT/empty/current")" = 0 ] || fail "an empty value has bytes"
[ "$(ls "$MNT" | sort | tr '\n' ' ')" = "big db empty web " ] || fail "the vault lists $(ls "$MNT")"
shows "$at/$before/db/current" old
expect_errno ENOENT sysop stat "$at/$before/web"

note "one record for each, with its version, and the set's id in all"
set=$(jq -r 'select(.operation == "SecretSet" and .secret == "web") | .detail' <"$MNT/.coffer/audit" | sed -n 's/^set \([0-9a-f]\{32\}\), .*/\1/p')
[ -n "$set" ] || fail "no set in the record"
[ "$(audit_count ".operation == \"SecretSet\" and .result == \"allow\" and (.detail // \"\" | startswith(\"set $set, \"))")" = 4 ] || fail "not four records of the set"
audit_has ".operation == \"SecretSet\" and .secret == \"db\" and .version == 2 and (.detail // \"\" | startswith(\"set $set\"))"

note "tar, as GNU, pax and ustar write it; names of every length"
long=$(printf 'n%.0s' {1..127})
for format in gnu pax ustar; do
	rm -rf "$dir"
	mkdir -p "$dir/web"
	printf %s "$format" >"$dir/db"
	printf %s "$format-2" >"$dir/web/current"
	[ "$format" = ustar ] || printf %s "$format-3" >"$dir/$long"
	tar --format=$format -C "$dir" -cf "$SCRATCH/$format.tar" .
	expect_exit 0 coffer put --set - <"$SCRATCH/$format.tar"
	shows "$MNT/db/current" "$format"
	shows "$MNT/web/current" "$format-2"
	[ "$format" = ustar ] || shows "$MNT/$long/current" "$format-3"
done
expect_exit 0 coffer put --set - < <(tar -C "$dir" -c db web/current)

note "what cannot be stored stores nothing"
before=$(epoch)
nothing() { [ "$(epoch)" = "$before" ] || fail "something was stored: $*"; }
for n in 100 511 512 700 1024 1536; do
	head -c $n "$SCRATCH/pax.tar" >"$SCRATCH/cut.tar"
	expect_exit 2 coffer put --set - <"$SCRATCH/cut.tar"
done
head -c 3000 /dev/urandom >"$SCRATCH/noise"
expect_exit 2 coffer put --set - <"$SCRATCH/noise"
expect_exit 2 coffer put --set - </dev/null
gzip -k "$SCRATCH/pax.tar"
expect_exit 2 coffer put --set - <"$SCRATCH/pax.tar.gz"
expect_message zcat
mkdir "$SCRATCH/link"
ln -s db "$SCRATCH/link/alias"
printf x >"$SCRATCH/link/db"
expect_exit 2 coffer put --set - < <(tar -C "$SCRATCH/link" -c .)
printf x >"$dir/bad name"
expect_exit 2 coffer put --set "$dir"
rm "$dir/bad name"
mkfifo "$dir/pipe"
expect_exit 2 coffer put --set "$dir"
rm "$dir/pipe"
head -c 1048577 /dev/zero >"$dir/huge"
expect_exit 1 coffer put --set "$dir"
rm "$dir/huge"
expect_exit 1 coffer put --set "$SCRATCH/nothing-there"
mkdir "$SCRATCH/none"
expect_exit 2 coffer put --set "$SCRATCH/none"
expect_exit 2 coffer put db --set "$dir"
expect_exit 2 coffer put --set "$dir" --expires 1d
mkdir "$SCRATCH/many"
for i in {1..257}; do : >"$SCRATCH/many/s$i"; done
expect_exit 2 coffer put --set "$SCRATCH/many"
rm "$SCRATCH/many/s257"
nothing
expect_ok coffer put --set "$SCRATCH/many"
[ "$(epoch)" = "$((before + 1))" ] || fail "256 secrets are not one epoch"

note "one name that is refused refuses all, and so does one that cannot be stored"
before=$(epoch)
chmod 755 "$SCRATCH/set" "$SCRATCH/set/web"
expect_ok coffer grant secrets-officer user:20001 --on db
before=$(epoch)
expect_exit 3 as 20001 coffer put --set "$dir"
expect_message 'secrets/set on'
nothing
audit_has '.operation == "SecretSet" and .result == "deny" and .caller.uid == 20001'
expect_ok coffer disable web
before=$(epoch)
expect_exit 3 coffer put --set "$dir"
expect_message 'web is disabled'
nothing
expect_ok coffer enable web
before=$(epoch)

note "workers die in the middle: each set is stored once, whole, and readers of one epoch see one set"
rounds=${SET_ROUNDS:-25}
names="k1 k2 k3 k4 k5 k6 k7 k8"
write_sets()
{
	local i name
	for ((i = 1; i <= rounds; i++)); do
		mkdir "$SCRATCH/round"
		for name in $names; do printf %s "$i" >"$SCRATCH/round/$name"; done
		coffer put --set "$SCRATCH/round" >/dev/null || { echo "set $i failed" >"$SCRATCH/set-failed"; return; }
		echo $i >>"$SCRATCH/rounds-done"
		rm -r "$SCRATCH/round"
	done
	: >"$SCRATCH/sets-written"
}
# every secret of the present epoch, in one go
read_epochs()
{
	local e seen
	while [ ! -e "$SCRATCH/stop-reading" ]; do
		e=$(ls "$at") || continue
		[ -e "$at/$e/k1" ] || continue
		seen=$(for name in $names; do cat "$at/$e/$name/current" || echo unreadable; echo; done | sort -u | wc -l)
		[ "$seen" = 1 ] || echo "epoch $e mixes $seen" >>"$SCRATCH/mixed"
		echo . >>"$SCRATCH/epochs-read"
	done
}
DEATHS_EXPECTED=1
: >"$SCRATCH/epochs-read"
: >"$SCRATCH/rounds-done"
start read_epochs
reader=$!
start write_sets
ended() { [ -e "$SCRATCH/sets-written" ] || [ -e "$SCRATCH/set-failed" ]; }
# once for a set, somewhere in its middle, however long one takes: kills that come faster than sets get done would be no test of these
moved_on() { [ "$(wc -l <"$SCRATCH/rounds-done")" -gt "$done_before" ] || ended; }
while ! ended; do
	done_before=$(wc -l <"$SCRATCH/rounds-done")
	sleep 0.0$((RANDOM % 90 + 10))
	kill_worker
	wait_for moved_on
done
[ ! -e "$SCRATCH/set-failed" ] || fail "$(cat "$SCRATCH/set-failed")"
: >"$SCRATCH/stop-reading"
wait "$reader" || true
[ ! -e "$SCRATCH/mixed" ] || fail "$(head -n 3 "$SCRATCH/mixed")"
[ -s "$SCRATCH/epochs-read" ] || fail "nobody read an epoch"
note "$(wc -l <"$SCRATCH/epochs-read") epochs read, $(status .restarts) workers killed"
for name in $names; do
	[ "$(coffer versions "$name" --output json | jq length)" = "$rounds" ] || fail "$name has $(coffer versions "$name" --output json | jq length) versions, not $rounds"
	shows "$MNT/$name/current" "$rounds"
	n=$(audit_count ".operation == \"SecretSet\" and .result == \"allow\" and .secret == \"$name\"")
	[ "$n" = "$rounds" ] || fail "$n records for $rounds sets of $name"
done
expect_ok coffer fsck "$STORE" --deep
audit_verify
