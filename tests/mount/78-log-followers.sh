#!/bin/bash
# Who follows .coffer/audit with inotify hears of new records, a few times a second at most: rsyslog's imfile in its default mode comes to have all of them.
. "$(dirname "$0")/../support/lib.sh"

vault_start
printf 'x' | coffer put db

mkdir "$SCRATCH/rsyslog"
cat >"$SCRATCH/rsyslog.conf" <<END
global(workDirectory="$SCRATCH/rsyslog")
module(load="imfile")
input(type="imfile" file="$MNT/.coffer/audit" tag="coffer" ruleset="out")
template(name="raw" type="string" string="%msg%\n")
ruleset(name="out") { action(type="omfile" file="$SCRATCH/forwarded" template="raw") }
END
start rsyslogd -n -f "$SCRATCH/rsyslog.conf" -i "$SCRATCH/rsyslog.pid" >"$SCRATCH/rsyslog.out" 2>&1
wait_for -t 30 [ -s "$SCRATCH/forwarded" ]

note "300 reads, and then another hundred: imfile has a record of each"
# written: records on the disk that are of reads of db; forwarded: those that imfile has
written() { all_records | grep -c '"operation":"SecretGet"' || true; }
forwarded() { grep -c '"operation":"SecretGet"' "$SCRATCH/forwarded" || true; }
caught_up() { [ "$(written)" -ge "$1" ] && [ "$(forwarded)" = "$(written)" ]; }
for ((i = 0; i < 300; i++)); do
	cat "$MNT/db/current" >/dev/null
done
wait_for -t 30 caught_up 10
first=$(written)
for ((i = 0; i < 100; i++)); do
	cat "$MNT/db/current" >/dev/null
done
wait_for -t 30 caught_up "$((first + 1))"

note "a record that is written while nobody reads raises MODIFY and CLOSE_WRITE, and no record of the bell"
inotifywait -q -t 60 -e close_write "$MNT/.coffer/audit" >"$SCRATCH/once" 2>&1 &
waiter=$(process_of $!)
STARTED+=("$waiter")
again() { cat "$MNT/db/current" >/dev/null; dead "$waiter"; }
wait_for -t 30 again
audit_has_not '.caller.comm == "cofferd"'

note "who reads the log whenever it rings does not ring it: the records of its reading come seldom, and ever more so"
follow()
{
	while read -r _; do
		cat "$MNT/.coffer/audit" >/dev/null
		date +%s%3N >>"$SCRATCH/rung"
	done < <(exec inotifywait -q -m -e close_write "$MNT/.coffer/audit" 2>&1)
}
wait_for -t 10 dead "$waiter"
start follow
looked() { cat "$MNT/.coffer/audit" >/dev/null; [ -s "$SCRATCH/rung" ]; }
wait_for -t 30 looked
: >"$SCRATCH/rung"
rung() { [ "$(wc -l <"$SCRATCH/rung")" -ge 3 ]; }
wait_for -t 60 rung
[ "$(($(sed -n 3p "$SCRATCH/rung") - $(sed -n 1p "$SCRATCH/rung")))" -ge 3000 ] || fail "rung for itself: $(tr '\n' ' ' <"$SCRATCH/rung")"
