#!/bin/bash
# Listing: each sees the names that he may list, all of them and each once, also across chunks and while others are added; one record in the log for a listing.
. "$(dirname "$0")/../support/lib.sh"

secrets=${SECRETS:-3000}

vault_init
expect_ok "$COFFER_SUPPORT/build_store" "$STORE" --secrets "$secrets" --bindings 10
vault_mount
expect_ok coffer grant secrets-user user:20001 --on '*'
expect_ok coffer grant secrets-user user:20002 --on 's0001*'
expect_ok coffer grant secrets-user user:20002 --on s000007
expect_ok coffer role create lister secrets/list
expect_ok coffer role create getter secrets/get
expect_ok coffer grant lister user:20003 --on s000001
expect_ok coffer grant getter user:20004 --on s000001
seq -f 's%06.0f' 0 $((secrets - 1)) >"$SCRATCH/all"
{ echo s000007; grep '^s0001' "$SCRATCH/all"; } >"$SCRATCH/some"

as 20001 ls "$MNT" >"$SCRATCH/seen"
note "all $secrets, by ls, by ls -l and find (readdirplus), by a scan without stat"
cmp -s "$SCRATCH/all" "$SCRATCH/seen" || fail "ls: $(wc -l <"$SCRATCH/seen") names"
as 20001 ls -l "$MNT" | sed -n 's/.* //p' | grep '^s' >"$SCRATCH/seen"
cmp -s "$SCRATCH/all" "$SCRATCH/seen" || fail "ls -l: $(wc -l <"$SCRATCH/seen") names"
as 20001 find "$MNT" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort >"$SCRATCH/seen"
cmp -s "$SCRATCH/all" "$SCRATCH/seen" || fail "find: $(wc -l <"$SCRATCH/seen") names"
[ "$(as 20001 sysop readdir "$MNT" | wc -w)" = $((secrets + 1)) ] || fail "sysop readdir"
[ "$(as 20001 find "$MNT" -type f -name current -size +0 | wc -l)" = "$secrets" ] || fail "find -type f does not find every current"

note "only what the caller may list"
as 20002 ls "$MNT" >"$SCRATCH/seen"
cmp -s "$SCRATCH/some" "$SCRATCH/seen" || fail "$(diff "$SCRATCH/some" "$SCRATCH/seen" | head -n 5)"
expect_output '' as 20009 ls -a -I . -I .. "$MNT"
expect_output 's000001' as 20003 ls "$MNT"
expect_output '' as 20004 ls "$MNT"
[ -z "$(as 20009 find "$MNT" -mindepth 1)" ] || fail "find shows something to a stranger"
for dots in . ..; do
	as 20009 ls -a "$MNT" | grep -qx -- "$dots" || fail "ls -a without $dots"
done

note "versions/ needs list or get"
expect_output '1' as 20003 ls "$MNT/s000001/versions"
expect_output '1' as 20004 ls "$MNT/s000001/versions"
expect_errno EACCES as 20009 sysop readdir "$MNT/s000001/versions"
expect_errno EACCES as 20003 sysop readdir "$MNT/s000002/versions"
expect_errno EACCES as 20003 sysop open r "$MNT/s000001/current"

note ".coffer is there, and not listed"
! as 20001 ls -a "$MNT" | grep -q coffer || fail ".coffer is listed"
expect_output 'at
audit
ctl
deleted
events
metrics
status
whoami' as 20009 ls "$MNT/.coffer"

note "one record for a listing, however many chunks; and for one that shows nothing"
listings() { audit_count ".operation == \"SecretList\" and .caller.uid == $1"; }
for uid in 20001 20009; do
	before=$(listings "$uid")
	as "$uid" ls "$MNT" >/dev/null
	[ "$(listings "$uid")" = $((before + 1)) ] || fail "$(($(listings "$uid") - before)) records of one listing by $uid"
done
audit_has '.operation == "SecretList" and .result == "allow" and .caller.uid == 20001 and .caller.comm == "ls"'
audit_has '.operation == "SecretList" and .result == "deny" and .caller.uid == 20009'

note "also where a scan begins in the middle; and of a directory that another identity goes on with"
seek() { as "$1" perl -e 'opendir(my $d, $ARGV[0]) or die; seekdir $d, 5; my $n = 0; $n++ while readdir $d; print $n > 0 ? "some\n" : "none\n"' "$2"; }
before=$(listings 20001)
[ "$(seek 20001 "$MNT")" = some ] || fail "seekdir lists nothing"
[ "$(listings 20001)" = $((before + 1)) ] || fail "$(($(listings 20001) - before)) records of a listing from the middle"
before=$(listings 20002)
expect_ok as 0:0 perl -e 'opendir(my $d, $ARGV[0]) or die; readdir $d; $> = 20002; seekdir $d, 5; my $n = 0; $n++ while readdir $d; exit($n == 0)' "$MNT"
[ "$(listings 20002)" -ge $((before + 1)) ] || fail "no record of a listing through a descriptor of root's"

note "versions/: one record for a listing, with the secret's name"
versions() { audit_count ".operation == \"SecretListVersions\" and .caller.uid == $1 and .result == \"$2\" and .secret == \"s000001\""; }
as 20003 ls "$MNT/s000001/versions" >/dev/null
before=$(versions 20003 allow)
as 20003 ls "$MNT/s000001/versions" >/dev/null
[ "$(versions 20003 allow)" = $((before + 1)) ] || fail "$(($(versions 20003 allow) - before)) records of one listing of versions/"
before=$(versions 20009 deny)
expect_errno EACCES as 20009 sysop readdir "$MNT/s000001/versions"
[ "$(versions 20009 deny)" = $((before + 1)) ] || fail "$(($(versions 20009 deny) - before)) records of a listing of versions/ that was refused"
[ "$(status .secrets)" -gt 0 ]
open_files() { awk '$1 == "coffer_open_files" { print $2 }' "$MNT/.coffer/metrics"; }
few_open() { [ "$(open_files)" -le 3 ]; }
wait_for few_open

note "while names are added: what was there before is listed, each once, every time"
for ((i = 0; i < 60; i++)); do
	as 0 mkdir "$MNT/added$i"
	[ $((i % 10)) != 0 ] || printf 'x' | coffer put "put$i" >/dev/null
done &
STARTED+=("$(process_of $!)")
adder=$!
rounds=0
while kill -0 "$adder" 2>/dev/null || [ "$rounds" -lt 3 ]; do
	as 20001 ls "$MNT" >"$SCRATCH/raw"
	[ -z "$(sort "$SCRATCH/raw" | uniq -d)" ] || fail "twice in a listing: $(sort "$SCRATCH/raw" | uniq -d | head -n 3)"
	grep '^s' "$SCRATCH/raw" | cmp -s - "$SCRATCH/all" || fail "a listing lost names while others were added"
	rounds=$((rounds + 1))
done
[ "$(as 20001 ls "$MNT" | wc -l)" = $((secrets + 66)) ] || fail "$(as 20001 ls "$MNT" | wc -l) names in the end"

note "a worker that dies in the middle of a listing"
DEATHS_EXPECTED=1
mkfifo "$SCRATCH/go"
exec {go}<>"$SCRATCH/go"
as 20001 perl -e 'opendir(my $d, $ARGV[0]) or die; readdir $d for 1 .. 2; $| = 1; print "begun\n"; <STDIN>; my $n = 2; $n++ while readdir $d; print $n, "\n"' \
	"$MNT" <"$SCRATCH/go" >"$SCRATCH/counted" &
STARTED+=("$(process_of $!)")
reader=$!
wait_for grep -q begun "$SCRATCH/counted"
kill -9 "$(status .processes.worker)"
echo >&"$go"
wait "$reader" || fail "the listing failed"
[ "$(tail -n 1 "$SCRATCH/counted")" = $((secrets + 68)) ] || fail "$(tail -n 1 "$SCRATCH/counted") entries, not $((secrets + 68))"
