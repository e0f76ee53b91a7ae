#!/bin/bash
# Very many users without any right keep all of the vault's own files open that there can be. One who comes later has some all the same, of whoever has most; and who has lost one reads nothing through it any more.
. "$(dirname "$0")/../support/lib.sh"

vault_start
printf 'a value' | coffer put db
expect_ok coffer grant secrets-user user:20009 --on '*'
install -m 755 "$COFFER_SUPPORT/neighbour" "$SCRATCH/bin"
open_files() { awk '$1 == "coffer_open_files" { print $2 }' "$MNT/.coffer/metrics"; }
ulimit -n 20000

note "whoever is the first, and does not look at them again"
cat >"$SCRATCH/bin/heavy" <<'END'
#!/usr/bin/perl
# heavy FILE N: opens it N times, says how often that was so; at a line of standard input reads all of them, says what came of it, in how many, and ends
use strict;
use Fcntl;
$| = 1;
my @open;
for (1 .. $ARGV[1]) {
	sysopen(my $f, $ARGV[0], O_RDONLY) or last;
	push @open, $f;
}
print scalar(@open), "\n";
if (<STDIN>) {
	my %came;
	for my $f (@open) {
		my $n = sysread($f, my $text, 65536);
		$came{defined $n ? ($text =~ /"uid": 20001\b/ ? 'own' : "$n bytes") : $!{ESTALE} ? 'ESTALE' : "$!"}++;
		sysseek($f, 0, 0);
	}
	print join(' ', map { "$_=$came{$_}" } sort keys %came), "\n";
}
END
chmod 755 "$SCRATCH/bin/heavy"
mkfifo "$SCRATCH/in"
as 20001 heavy "$MNT/.coffer/whoami" 1500 <>"$SCRATCH/in" >"$SCRATCH/heavy" 2>&1 &
STARTED+=("$(process_of $!)")
exec 8>"$SCRATCH/in"
wait_for grep -q '^1500$' "$SCRATCH/heavy"

note "and very many behind it, until nothing is left"
# many FIRST THREADS COUNT: from uid FIRST on, until so many are open
many()
{
	neighbour "$MNT" db whoami "$2" "$1" 400 600 >"$SCRATCH/crowd.$1" 2>&1 &
	STARTED+=("$(process_of $!)")
	filled() { [ "$(open_files)" -ge "$1" ]; }
	wait_for -t 120 filled "$3"
}
many 3000000 300 11700
many 4000000 20 11776

note "who comes then is let in, each time"
for i in {1..20}; do
	expect_ok as 20009 cat "$MNT/.coffer/whoami"
	expect_ok as $((20010 + i)) cat "$MNT/.coffer/whoami"
	grep -q "\"uid\": $((20010 + i))," "$OUT" || fail "another one's: $(cat "$OUT")"
	expect_ok as 20009 coffer whoami
	expect_ok as 20009 cat "$MNT/db/current"
done

note "the first one has its own to read, or nothing"
echo >&8
said() { [ "$(wc -l <"$SCRATCH/heavy")" = 2 ]; }
wait_for said
tail -n 1 "$SCRATCH/heavy"
tail -n 1 "$SCRATCH/heavy" | grep -Eq '^ESTALE=[0-9]+ own=[0-9]+$' || fail "$(cat "$SCRATCH/heavy")"
exec 8>&-

note "when they have gone all is as it was"
for process in "${STARTED[@]}"; do
	end_process "$process"
done
few_open() { [ "$(open_files)" -le 3 ]; }
wait_for few_open
[ "$(status .restarts)" = 0 ] || fail "a worker ended"
vault_umount
audit_verify
