#!/bin/bash
# A program that asks how large a file is and reads so many bytes gets a value that was stored, whatever is put meanwhile.
#
# SIZES_TIMES says how often each way is tried (by hand: 100000).
. "$(dirname "$0")/../support/lib.sh"
install -m 755 "$COFFER_SUPPORT/sizes" "$SCRATCH/bin"

times=${SIZES_TIMES:-150}
file=$MNT/db/current
ways=(fstat proc statx birth 'seek?' ftell readahead fgets mmap copy_file_range 'sendfile?')

vault_start
expect_ok mkdir "$MNT/db"
expect_ok coffer grant secrets-officer user:20001 --on db

note "the value changes between open and the question"
expect_ok as 20001 sizes step "$file" "${ways[@]}" pool
expect_ok as 20001 sizes begun "$file" fstat proc statx birth 'seek?' readahead

note "each version that could be read is in the log: what an open file moved to as well"
printf one >"$file"
hold reader 20001
expect_held ok reader open r "$file"
printf 'number two' >"$file"
newest=$(coffer show db --output json | jq .version)
expect_held 'ok file 0600 20001 20001 10' reader fstat
audit_has ".operation == \"SecretGet\" and .version == $newest and .caller.uid == 20001 and .result == \"allow\""
expect_held "ok $(printf 'number two' | sha256sum | cut -d ' ' -f 1) 10" reader read

note "a version that may not be opened is not moved to: what was opened stays what it is"
expect_held ok reader open r "$file"
printf 'three' | expect_ok coffer put db --expires 2020-01-01T00:00:00Z
expect_ok coffer vault set --enforce-validity on
expect_held 'ok file 0600 20001 20001 10' reader fstat
expect_held 'ok 10' reader seekend
expect_held "ok $(printf 'number two' | sha256sum | cut -d ' ' -f 1) 10" reader read
expect_ok coffer vault set --enforce-validity off

race() { expect_ok timeout "${SIZES_TIMEOUT:-300}" setpriv --reuid=20001 --regid=20001 --clear-groups sizes race "$times" "$@" && cat "$OUT"; }

note "beside a value that is written all the time"
race 0 "$file" "${ways[@]}" fstat-threads 'sendfile-alone?' 'fionread?'

note "beside one that is put by the command, and others who ask for the size of what they have begun to read"
SIZES_SECRET=db race 2 "$file" "${ways[@]}" fstat-threads 'sendfile-alone?' 'fionread?'

note "workers that are killed meanwhile"
DEATHS_EXPECTED=1
setpriv --reuid=20001 --regid=20001 --clear-groups sizes race $((8 * times)) 0 "$file" fstat fstat-threads >"$SCRATCH/race" 2>&1 &
racing=$!
STARTED+=("$(process_of $racing)")
for ((i = 0; i < ${KILLS:-4}; i++)); do
	kill_worker
done
wait "$racing" || fail "$(cat "$SCRATCH/race")"
cat "$SCRATCH/race"

# What the programs make of it: the number of the value that each gave, or what it gave instead.
value() { head -c "$1" /dev/zero | tr '\0' "$2"; }
value 2000 A >"$SCRATCH/long"
value 7 b >"$SCRATCH/short"
stored()
{
	local hash
	hash=$(git hash-object "$1")
	[ "$hash" = "$(git hash-object "$SCRATCH/long")" ] || [ "$hash" = "$(git hash-object "$SCRATCH/short")" ] || fail "a value that was never stored, by $2: $(head -c 100 "$1" | od -c | head -n 4), $(wc -c <"$1") bytes"
}
with_tar() { { tar -C "$MNT" -cf "$SCRATCH/tar" db/current 2>/dev/null || true; } && tar -xOf "$SCRATCH/tar"; }
with_node() { node -e 'process.stdout.write(require("fs").readFileSync(process.argv[1]))' "$file"; }
with_python() { python3 -c 'import os, sys; fd = os.open(sys.argv[1], os.O_RDONLY); sys.stdout.buffer.write(os.read(fd, os.fstat(fd).st_size))' "$file"; }
with_curl() { curl -s "file://$file"; }
with_git()
{
	local hash
	hash=$(git hash-object "$file")
	if [ "$hash" = "$(git hash-object "$SCRATCH/long")" ]; then cat "$SCRATCH/long"; elif [ "$hash" = "$(git hash-object "$SCRATCH/short")" ]; then cat "$SCRATCH/short"; else echo "$hash"; fi
}

note "tar, node, python, curl and git beside a value that is written all the time"
start setpriv --reuid=20001 --regid=20001 --clear-groups sizes race 100000000 0 "$file" fgets >/dev/null
for program in tar node python curl git; do
	command -v "$program" >/dev/null || command -v "${program}3" >/dev/null || { note "$program is not here"; continue; }
	for ((i = 0; i < ${SIZES_PROGRAMS:-6}; i++)); do
		"with_$program" >"$SCRATCH/got"
		stored "$SCRATCH/got" "$program"
	done
done
