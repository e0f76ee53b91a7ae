#!/bin/bash
# The binary is replaced under a daemon that serves: no call fails, the keeper keeps its pid, open files and watches live; a binary that does not start, or that others can write, changes nothing.
. "$(dirname "$0")/../support/lib.sh"
UPGRADES=${UPGRADES:-8}	# by hand: 100
DEATHS_EXPECTED=1
reader=20001 writer=20002
head -c 4096 /dev/urandom >"$SCRATCH/value"

upgrades_are() { [ "$(status .supervision.upgrades)" = "$1" ] && [ "$(status .processes.standby)" != null ]; }
resumed() { [ "$(grep -c 'the keeper goes on as version' "$DAEMON_LOG")" = "$1" ]; }
trouble_is() { status .supervision.trouble | grep -qE -- "$1"; }

# As a package manager does it: another file under the name.
replace() { install -m 755 "$1" "$SCRATCH/bin/new" && mv "$SCRATCH/bin/new" "$SCRATCH/bin/cofferd"; }

# where a worker of a build with hooks looks whether it is to die
export COFFER_TEST_DIE=$SCRATCH/die
: >"$COFFER_TEST_DIE"
chmod 666 "$COFFER_TEST_DIE"
vault_init
vault_mount -o watchdog=0	# which would have a key holder that is stopped go on after 2 s
expect_ok coffer put db --file "$SCRATCH/value"
expect_ok coffer put late --file "$SCRATCH/value"
expect_errno ok sysop mkdir "$MNT/written"
expect_ok coffer grant secrets-user user:$reader --on '*'
expect_ok coffer grant secrets-officer user:$writer --on written
keeper=$(status .processes.keeper)
filters=$(sed -n 's/^Seccomp_filters:[[:space:]]*//p' "/proc/$keeper/status")
[ "$keeper" = "${DAEMON%:*}" ] || fail "the keeper is $keeper, not ${DAEMON%:*}"

note "$UPGRADES upgrades while clients read, map, stat, list and write; a file and a watch are kept open"
hold opened $reader
expect_held ok opened open r "$MNT/db/current"
inotifywait -m -e close_write "$MNT/late/current" >"$SCRATCH/events" 2>"$SCRATCH/watching" &
STARTED+=("$(process_of $!)")
wait_for grep -q 'Watches established' "$SCRATCH/watching"
hammer_start read $reader read "$MNT/db/current" "$SCRATCH/value"
hammer_start map $reader map "$MNT/db/versions/1" "$SCRATCH/value"
hammer_start stat $reader stat "$MNT/db/current" 400
hammer_start list $reader list "$MNT" db
hammer_start write $writer write "$MNT/written/current"
for ((i = 1; i <= UPGRADES; i++)); do
	wait_for upgrades_are $((i - 1))
	helper=$(status .processes.resolver)
	replace "$COFFER_BIN/cofferd"
	kill -HUP "$keeper"
	wait_for upgrades_are "$i"
	wait_for resumed "$i"
	[ "$(status .processes.keeper)" = "$keeper" ] || fail "the keeper's pid is another"
	[ "$(status .processes.resolver)" != "$helper" ] || fail "the resolver was not started again"
	[ "$(readlink "/proc/$keeper/exe")" = "$SCRATCH/bin/cofferd" ] || fail "the keeper is still the old binary: $(readlink "/proc/$keeper/exe")"
	[ "$(readlink "/proc/$(status .processes.worker)/exe")" = "$SCRATCH/bin/cofferd" ] || fail "the worker is still the old binary"
done
# filters stay for good: with one more each time there would be no room for the worker's own in the end (Linux 5.9 tells how many there are)
[ "$(sed -n 's/^Seccomp_filters:[[:space:]]*//p' "/proc/$keeper/status")" = "$filters" ] || fail "an upgrade leaves a filter behind: $(grep Seccomp "/proc/$keeper/status"), before $filters"
for name in map stat list read; do
	hammer_stop $name
done
reads=$HAMMERED
hammer_stop write
note "$reads reads and $HAMMERED writes meanwhile, none failed"
[ "$(ls "$MNT/written/versions" | wc -l)" = "$HAMMERED" ] || fail "$(ls "$MNT/written/versions" | wc -l) versions of $HAMMERED writes"
expect_held ok opened pread 0 16
let_go opened
: >"$SCRATCH/events"
expect_ok coffer put late --file "$SCRATCH/value"
wait_for grep -q CLOSE_WRITE "$SCRATCH/events"
# what is counted comes to the file within a second
all_recorded()
{
	n=$(all_records | jq -n "[inputs | select(.operation == \"SecretGet\" and .result == \"allow\" and .secret == \"db\" and .version == 1 and .caller.uid == $reader) | .count] | add")
	[ "$n" -ge "$reads" ] || fail "$n accesses are recorded of $reads reads"
}
wait_for -t 10 all_recorded
[ "$(status .restarts)" = 0 ] || fail "an upgrade counts as a death"

# unchanged PATTERN: after SIGHUP the old worker serves on, and status and log say why
unchanged()
{
	local worker before said
	said() { grep -cE -- "$1" "$DAEMON_LOG" || true; }
	said_again() { [ "$(said "$1")" -gt "$2" ]; }
	worker=$(status .processes.worker)
	before=$(status .supervision.upgrades)
	said=$(said "$1")
	kill -HUP "$keeper"
	wait_for said_again "$1" "$said"
	wait_for trouble_is "$1"
	[ "$(status .processes.worker)" = "$worker" ] || fail "the worker is another"
	[ "$(status .supervision.upgrades)" = "$before" ] || fail "it counts as an upgrade"
	expect_ok as $reader cat "$MNT/db/current"
}

note "a binary that does not start, is none, is gone, or that others can write, it or its directory: what runs goes on"
replace /bin/false
unchanged 'does not start'
replace /dev/null
unchanged 'does not start|no program'
rm "$SCRATCH/bin/cofferd"
unchanged 'No such file'
replace "$COFFER_BIN/cofferd"
chmod o+w "$SCRATCH/bin/cofferd"
unchanged "it is not root's alone"
chmod o-w "$SCRATCH/bin/cofferd"
chmod g+w "$SCRATCH/bin"
unchanged "a directory above it is not root's alone"
chmod g-w "$SCRATCH/bin"
chown 20001 "$SCRATCH/bin/cofferd"
unchanged "it is not root's alone"
chown 0 "$SCRATCH/bin/cofferd"
# a keeper that would not understand is not become, though its workers serve
before=$(status .supervision.upgrades)

note "one whose worker stands ready, and is dead before the keeper has heard of it"
# the key holder is slow, so that the keeper can be stopped before the new worker is ready
wait_for upgrades_are "$before"
# one, and perhaps who keeps its memory, which has the same command line
new_workers()
{
	local child
	for child in $(daemon_children); do
		child=${child%:*}
		[ "$child" = "$worker" ] || [ "$child" = "$standby" ] || grep -qx coffer-mm "/proc/$child/comm" || ! grep -qz -- --role=worker "/proc/$child/cmdline" || echo "$child"
	done
}
is_there() { [ -n "$(new_workers)" ]; }
stands_ready()
{
	local child
	for child in $(new_workers); do
		[ "$(ls "/proc/$child/task" | wc -l)" -lt 9 ] || ! grep -q poll "/proc/$child/wchan" || { echo "$child" && return; }
	done
	false
}
prepared() { grep -c 'of the new binary stands ready' "$DAEMON_LOG" || true; }
while :; do
	worker=$(status .processes.worker) standby=$(status .processes.standby) keyholder=$(status .processes.keyholder)
	had=$(prepared)
	kill -STOP "$keyholder"
	kill -HUP "$keeper"
	wait_for is_there
	kill -STOP "$keeper"
	kill -CONT "$keyholder" || true	# of an upgrade that is made, it is gone
	[ "$(prepared)" != "$had" ] || break
	# the keeper was faster, and has made the upgrade: once more
	kill -CONT "$keeper"
	before=$((before + 1))
	wait_for upgrades_are "$before"
done
wait_for stands_ready
next=$(process_of "$(stands_ready)")
kill -KILL "${next%:*}"
# its first thread may be dead, and the keeper not be told, while others still end
ended() { dead "$next" && [ "$(find "/proc/${next%:*}/task" -mindepth 1 -maxdepth 1 2>/dev/null | wc -l)" -le 1 ]; }
wait_for ended
kill -CONT "$keeper"
wait_for trouble_is 'does not start .signal 9'
[ "$(status .processes.worker)" = "$worker" ] || fail "the worker is another"
expect_ok as $reader cat "$MNT/db/current"

note "one whose workers stand ready and die of the word to take over: the binary before it serves on; killed once, it is tried again"
if [ -n "${COFFER_HOOKS_BIN:-}" ]; then
	wait_for upgrades_are "$before"
	echo "before 0 1000" >"$COFFER_TEST_DIE"
	replace "$COFFER_HOOKS_BIN/cofferd"
	kill -HUP "$keeper"
	wait_for trouble_is 'its workers end before they serve'
	expect_ok as $reader cat "$MNT/db/current"
	[ "$(status .supervision.upgrades)" = "$before" ] || fail "it counts as an upgrade"
	cmp -s "/proc/$(status .processes.worker)/exe" "$COFFER_BIN/cofferd" || fail "the worker is not of the binary before"
	wait_for upgrades_are "$before"
	echo "before 0 1" >"$COFFER_TEST_DIE"
	kill -HUP "$keeper"
	before=$((before + 1))
	wait_for upgrades_are "$before"
	cmp -s "/proc/$(status .processes.worker)/exe" "$COFFER_HOOKS_BIN/cofferd" || fail "the worker is not of the new binary"
	replace "$COFFER_BIN/cofferd"
else
	note "  COFFER_HOOKS_BIN names no build with hooks: not tried"
fi

note "and when it is put right, the upgrade is made"
kill -HUP "$keeper"
wait_for upgrades_are $((before + 1))
expect_ok as $reader cat "$MNT/db/current"

note "a worker that dies in the middle of it"
for ((i = 2; i <= 4; i++)); do
	wait_for upgrades_are $((before + i - 1))
	kill -HUP "$keeper"
	kill -KILL "$(status .processes.worker)" || true	# the upgrade was faster
	expect_ok as $reader cat "$MNT/db/current"
	wait_for upgrades_are $((before + i))
done
vault_umount
audit_verify
expect_ok coffer fsck "$STORE"
