#!/bin/bash
# Somebody without a right does all that he can, in loops: nobody who has one notices, no mount goes away, and the log does not fill the disk.
. "$(dirname "$0")/../support/lib.sh"
FLOOD_SECONDS=${FLOOD_SECONDS:-5}	# by hand: 60

vault_start
reader=20001 intruder=20009
head -c 4096 /dev/urandom >"$SCRATCH/value"
head -c 70000 /dev/urandom >"$SCRATCH/newest"
expect_ok coffer put db --file "$SCRATCH/value"
expect_ok coffer put db --file "$SCRATCH/newest"
expect_ok coffer grant secrets-user user:$reader --on db
mkdir "$SCRATCH/bind" "$SCRATCH/file"
touch "$SCRATCH/file/current"
mount_extra --bind "$MNT/db" "$SCRATCH/bind"
mount_extra --bind "$MNT/db/current" "$SCRATCH/file/current"

# bytes of the log, on disk
log_bytes() { cat "$STORE"/audit/* | wc -c; }
records_of() { cat "$STORE"/audit/* | grep -c "\"uid\":$1[,}]" || true; }

# each refusal is delayed, so it takes many processes
intruders=(intrude{1..20})
flood()
{
	began=${EPOCHREALTIME/./}
	for name in "${intruders[@]}"; do
		HAMMER_LEAST=3 hammer_start "$name" $intruder intrude "$MNT/db"
	done
}
# how many opens were refused, and in how many seconds
flood_end()
{
	tries=0
	for name in "${intruders[@]}"; do
		kill -TERM "${HAMMER_PIDS[$name]}"
	done
	for name in "${intruders[@]}"; do
		hammer_stop "$name"
		tries=$((tries + HAMMERED * 4))	# of current and versions/1, to read and to write; the rest is not there, or a directory
	done
	took=$(((${EPOCHREALTIME/./} - began) / 1000000 + 1))
}

note "the flood alone: what it leaves in the log"
before=$(log_bytes)
flood
sleep 2
flood_end
grown=$(($(log_bytes) - before)) kept=$(records_of $intruder)
[ "$tries" -ge 200 ] || fail "only $tries denied opens"
# 100 KiB a second, however long it takes to end so many processes, is 8 GiB a day, which retention deals with; what is not folded is ten times that
[ $grown -le $((took * 102400 + 65536)) ] || fail "$tries denied opens grew the log by $grown bytes in $took s, in $kept records"
folded() { audit_count ".caller.uid == $intruder and .result == \"deny\" and .count > 1" | grep -qv '^0$'; }
wait_for folded

note "$FLOOD_SECONDS s of it beside readers, seekers, maps and mounts: no error and no wrong byte"
flood
hammer_start read $reader read "$MNT/db/current" "$SCRATCH/newest"
hammer_start old $reader pread "$MNT/db/versions/1" "$SCRATCH/value"
hammer_start map $reader map "$MNT/db/versions/1" "$SCRATCH/value"
hammer_start seek $reader seek "$MNT/db/current" 70000
hammer_start stat $reader stat "$MNT/db/current" 400
hammer_start list $reader list "$MNT" db
hammer_start bind $reader read "$SCRATCH/bind/current" "$SCRATCH/newest"
hammer_start file $reader read "$SCRATCH/file/current" "$SCRATCH/newest"
sleep "$FLOOD_SECONDS"
for name in read old map seek stat list bind file; do
	hammer_stop $name
done
flood_end
records=$(records_of $intruder)
[ "$records" -le $((kept + 200 * (took + 1))) ] || fail "$records records of the intruder"

note "the mounts stand, and show what is new"
for point in "$SCRATCH/bind" "$SCRATCH/file/current"; do
	grep -q " $point fuse.coffer " /proc/self/mounts || fail "$point is not mounted any more"
done
expect_ok coffer put db --file "$SCRATCH/value"
expect_content "$SCRATCH/value" as $reader sysop open r "$SCRATCH/bind/current" + read
expect_content "$SCRATCH/value" as $reader sysop open r "$SCRATCH/file/current" + read
umount "$SCRATCH/bind" "$SCRATCH/file/current"
[ "$(status .restarts)" = 0 ] || fail "the flood has ended the worker"
audit_verify
