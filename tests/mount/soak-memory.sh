#!/bin/bash
# Memory after a long history: three clients read, list, are refused as many users, write, grant and ask for the status, for SOAK_SECONDS (short here; by hand: 600 and more, of which it prints the figures). Then the standby has at most 1.5 times
# the anonymous memory of a fresh one of the same store, and the worker of one that has taken over and served a little. A release build: a sanitizer keeps what was freed.
. "$(dirname "$0")/../support/lib.sh"
[ -n "${COFFER_RELEASE_BIN:-}" ] || { echo "COFFER_RELEASE_BIN names no release build"; exit 77; }
install -m 755 "$COFFER_RELEASE_BIN/coffer" "$COFFER_RELEASE_BIN/cofferd" "$SCRATCH/bin"
seconds=${SOAK_SECONDS:-5}
secrets=${SOAK_SECRETS:-50}		# few, so that each has a long list of versions
DEATHS_EXPECTED=1

cat >"$SCRATCH/bin/mixed" <<'END'
#!/usr/bin/perl
# mixed MOUNT SECONDS SECRETS SEED
use strict;
use Fcntl;
my ($mount, $seconds, $secrets, $seed) = @ARGV;
srand($seed);
my ($end, $done) = (time + $seconds, 0);
sub slurp { my ($file) = @_; my $piece; 1 while sysread($file, $piece, 65536); close($file); }
sub grant
{
	my $id = join('', map { sprintf('%08x', int(rand(2**32))) } 1 .. 4);
	sysopen(my $ctl, "$mount/.coffer/ctl", O_RDWR) or die "ctl: $!";
	syswrite($ctl, sprintf(qq({"op":"grant","id":"%s","role":"secrets-user","principal":"user:%d","on":"n%d"}\n), $id, 20000 + rand(60000), rand(100000)));
	sysread($ctl, my $answer, 65536);
	$answer =~ /"ok": ?true/ or die "grant: $answer";
	close($ctl);
}
until (time >= $end) {
	for (1 .. 20) {
		my ($what, $name) = (rand(), "$mount/s" . int(rand($secrets)));
		if ($what < 0.55) { sysopen(my $file, "$name/current", O_RDONLY) or die "$name: $!"; slurp($file); }
		elsif ($what < 0.60) { opendir(my $dir, $mount); my @names = readdir($dir); closedir($dir); }
		elsif ($what < 0.65) { local $> = 20000 + int(rand(2000)); sysopen(my $file, "$name/current", O_RDONLY) and die "$name was opened"; }
		elsif ($what < 0.90) { sysopen(my $file, "$name/current", O_WRONLY | O_TRUNC) or die "$name: $!"; syswrite($file, 'x' x (1 + rand(5000))); close($file) or die "$name: $!"; }
		elsif ($what < 0.98) { grant(); }
		else { sysopen(my $file, "$mount/.coffer/status", O_RDONLY) or die "status: $!"; slurp($file); }
		$done++;
	}
}
print "$done operations\n";
END
chmod 755 "$SCRATCH/bin/mixed"

# pages KIB: of a process, without those that it shares
anonymous() { sed -n 's/^Anonymous: *\([0-9]*\) kB/\1/p' "/proc/$1/smaps_rollup"; }
process() { status ".processes.$1" 2>/dev/null; }
is_new() { local now; now=$(process "$1") && [ "$now" != null ] && [ "$now" != "$2" ]; }
# at most FACTOR times, and 2 MiB which are no history
compare() # WHAT NOW FRESH
{
	echo "   $1: $2 KiB, a fresh one $3 KiB"
	[ "$2" -le $(($3 * 3 / 2 + 2048)) ] || fail "the $1 has $2 KiB, more than 1.5 times the $3 KiB of a fresh one"
}
settled() # PID: two looks in a row without less
{
	local now
	now=$(anonymous "$1")
	sleep 6			# it looks every five seconds
	[ "$(anonymous "$1")" -ge $((now - 256)) ]
}

vault_init
vault_mount
for ((i = 0; i < secrets; i++)); do
	printf 'value %d' $i | coffer put "s$i" >/dev/null
done
note "$seconds s"
pids=()
for seed in 1 2 3; do
	mixed "$MNT" "$seconds" "$secrets" $seed &
	pids+=($!)
done
for pid in "${pids[@]}"; do
	wait "$pid" || fail "a client failed"
done
status '"   \(.versions) versions, \(.bindings) bindings"'
standby=$(process standby) worker=$(process worker)
wait_for -t 120 settled "$standby"
standby_now=$(anonymous "$standby") worker_now=$(anonymous "$worker")
kill -KILL "$standby"
wait_for is_new standby "$standby"
sleep 1
compare standby "$standby_now" "$(anonymous "$(process standby)")"
kill -KILL "$worker"
wait_for is_new worker "$worker"
mixed "$MNT" 3 "$secrets" 4
compare worker "$worker_now" "$(anonymous "$(process worker)")"
