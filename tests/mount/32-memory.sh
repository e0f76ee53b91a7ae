#!/bin/bash
# After many reads and writes, with no file open, no piece of a value is anywhere in the worker's memory, nor in the store, the log, an environment or an argv. A release build, for
# a sanitizer keeps what was freed. READS says how many (3000); by hand 100000. Locked memory by mlock, which root can look into from outside; what memfd_secret hides from
# everybody else, a build with -DCOFFER_TEST_HOOKS=ON in COFFER_HOOKS_BIN looks at from inside.
. "$(dirname "$0")/../support/lib.sh"

[ -n "${COFFER_RELEASE_BIN:-}" ] || { echo "COFFER_RELEASE_BIN names no release build"; exit 77; }
install -m 755 "$COFFER_RELEASE_BIN/coffer" "$COFFER_RELEASE_BIN/cofferd" "$SCRATCH/bin"
reads=${READS:-3000}

# 1600 bytes that are nowhere else, so that pieces of 16 of them are looked for. The first begins with zeros, as most of memory does: the search must not take longer for it.
fresh() { { printf '\0\0'; head -c 1598 /dev/urandom; } >"$SCRATCH/keys/$1"; }
markers=(put edit written appended rolled big)
for m in "${markers[@]}"; do
	fresh "$m"
done
# 300 KiB, whose first 1600 bytes are looked for
cat "$SCRATCH/keys/big" <(head -c 300000 /dev/urandom) >"$SCRATCH/keys/big-value"

all_markers() { cat "${markers[@]/#/$SCRATCH/keys/}" >"$SCRATCH/keys/all"; }

nobody_knows()
{
	local pid
	all_markers
	for pid in $(status '.processes | .worker, .keyholder, .keeper, .resolver, .bell'); do
		expect_ok "$COFFER_SUPPORT/memscan" "$pid" "$SCRATCH/keys/all"
	done
}

# What was just read may stay for a short idle time
nobody_knows_soon() { (nobody_knows) 2>/dev/null; }

read_all()
{
	local i
	for ((i = 0; i < reads; i += 500)); do
		as 20001 "$SCRATCH/bin/many" "$1" 500
	done
}

# A reader in one process: opens, reads to the end, closes
cat >"$SCRATCH/bin/many" <<-'END'
	#!/usr/bin/perl
	my ($dir, $n) = @ARGV;
	my @names = map { "$dir/$_/current" } qw(a b big);
	for my $i (1 .. $n) {
		open(my $f, '<:raw', $names[$i % 3]) or die "$names[$i % 3]: $!";
		while (sysread($f, my $piece, 65536)) { }
		close($f);
	}
END
chmod 755 "$SCRATCH/bin/many"

exercise()
{
	expect_ok coffer put a --file "$SCRATCH/keys/put"
	expect_ok coffer put b --file "$SCRATCH/keys/rolled"
	expect_ok coffer put big --file "$SCRATCH/keys/big-value"
	expect_ok env EDITOR="cp $SCRATCH/keys/edit" coffer edit a
	expect_ok cp "$SCRATCH/keys/written" "$MNT/a/current"
	expect_ok sh -c 'cat "$1" >>"$2"' - "$SCRATCH/keys/appended" "$MNT/a/current"
	expect_ok coffer rollback b 1
	read_all "$MNT"
	expect_exit 0 coffer get a
	expect_exit 0 as 20001 busybox cat "$MNT/b/current"
	expect_exit 0 as 20001 sysop open r "$MNT/big/versions/1" + mmap private + sendfile
	expect_errno EACCES as 20002 sysop open r "$MNT/a/current"
}

# nowhere_on_disk [MORE FILES…]
nowhere_on_disk()
{
	local files
	all_markers
	mapfile -t files < <(find "$STORE" -type f)
	"$COFFER_SUPPORT/memscan" --file "$SCRATCH/keys/all" "${files[@]}" "$DAEMON_LOG" "$@" || fail "a value stands in a file; see above"
}

environments()
{
	local pid
	for pid in $(status '.processes | .worker, .keyholder, .keeper, .resolver, .bell'); do
		cat "/proc/$pid/environ" "/proc/$pid/cmdline"
	done >"$SCRATCH/environments"
}

note "the scanner finds what is there"
perl -e 'open(F, "<:raw", $ARGV[0]); local $/; my $x = <F>; sleep 60' "$SCRATCH/keys/put" &
STARTED+=("$(process_of $!)")
finds_it() { ! "$COFFER_SUPPORT/memscan" "${STARTED[-1]%:*}" "$SCRATCH/keys/put"; }
wait_for finds_it

note "mlock: $reads reads, then nothing of a value in any mapping of any process of the daemon"
vault_start -o locked_memory=mlock
expect_ok coffer grant secrets-user user:20001 --on '*'
exercise
wait_for nobody_knows_soon
nobody_knows
environments
nowhere_on_disk "$SCRATCH/environments"

note "nor after the worker was replaced in the middle of it"
DEATHS_EXPECTED=1
hold writer 0
expect_held ok writer open w,t "$MNT/a/current"
expect_held ok writer write "$(head -c 1200 /dev/urandom | od -An -tx1 | tr -d ' \n' | tee "$SCRATCH/keys/text")"
markers+=(text)
kill -9 "$(status .processes.worker)"
expect_held ok writer fsync
expect_held ok writer close
expect_exit 0 coffer get a
cmp -s "$OUT" "$SCRATCH/keys/text" || fail "the value was lost"
wait_for nobody_knows_soon
nobody_knows
nowhere_on_disk
vault_umount
nowhere_on_disk

[ -n "${COFFER_HOOKS_BIN:-}" ] || { note "COFFER_HOOKS_BIN names no build with hooks: memfd_secret is not looked at"; exit 0; }
note "memfd_secret: the worker looks through its own mappings"
install -m 755 "$COFFER_HOOKS_BIN/coffer" "$COFFER_HOOKS_BIN/cofferd" "$SCRATCH/bin"
export COFFER_TEST_MARKER=$SCRATCH/flipped COFFER_TEST_MARKER_DIR=$SCRATCH
flip() { perl -0777 -pe '$_ = ~$_' "$@"; }
cat "${markers[@]/#/$SCRATCH/keys/}" | flip >"$COFFER_TEST_MARKER"
vault_mount -o locked_memory=memfd_secret
answers() { grep -c 'test hook: .* found in all' "$DAEMON_LOG" || true; }
hooked()
{
	local before
	before=$(answers)
	kill -USR1 "$(status .processes.worker)"
	looked() { [ "$(answers)" -gt "$before" ]; }
	wait_for looked
	FOUND=$(grep 'test hook: .* found in all' "$DAEMON_LOG" | tail -n 1)
}
# A part only, so that the rest is kept for the next read; and so often that it is not wiped for being idle
reads_on() { until [ -e "$SCRATCH/enough" ]; do held reader pread 16 16 >/dev/null; done; }
grep -q '/secretmem' "/proc/$(status .processes.worker)/maps" || fail "the worker has no memfd_secret"
exercise
hold reader 20001
expect_held ok reader open r "$MNT/b/current"
reads_on &
# at a look that comes when a busy machine has not let the reader run for a while, it may be wiped
finds() { hooked; [[ $FOUND != *': 0 of '* ]]; }
wait_for finds
touch "$SCRATCH/enough"
wait $!
expect_held ok reader close
unhooked() { hooked; [[ $FOUND = *': 0 of '* ]]; }
wait_for unhooked
nowhere_on_disk
