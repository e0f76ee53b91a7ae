#!/bin/bash
# Reads by io_uring, by the kernel's AIO and by preadv2 give exactly the bytes, and then the end, whatever buffer they come with.
. "$(dirname "$0")/../support/lib.sh"
install -m 755 "$COFFER_SUPPORT/ring" "$SCRATCH/bin"

vault_start
expect_ok coffer grant secrets-user user:20001 --on '*'
for size in 0 1 6 4095 4096 4097 65536 131073 1048576; do
	note "a value of $size bytes"
	head -c "$size" /dev/urandom >"$SCRATCH/value"
	expect_ok coffer put "v$size" --file "$SCRATCH/value"
	quick=
	[ "$size" -le 65536 ] || quick=--quick
	# shellcheck disable=SC2086
	expect_ok as 20001 ring $quick "$MNT/v$size/current" "$SCRATCH/value"
	cat "$OUT"
done

note "in many small requests"
vault_umount
vault_mount -o max_read=4K
for size in 6 65536 131073; do
	head -c "$size" /dev/urandom >"$SCRATCH/value"
	expect_ok coffer put "v$size" --file "$SCRATCH/value"
	expect_ok as 20001 ring --quick "$MNT/v$size/current" "$SCRATCH/value"
done
vault_umount
vault_mount

note "node with its io_uring; without a start its streams leave the position to the kernel, which does not move it here (contrib/doc/guide/programs.md)"
expect_ok coffer put db --file <(printf secret)
if command -v node >/dev/null; then
	# shellcheck disable=SC2016
	expect_output 6 env UV_USE_IO_URING=1 node -e 'require("fs/promises").open(process.argv[1]).then(async h => { const b = Buffer.alloc(64); console.log((await h.read(b, 0, 64, 0)).bytesRead) })' "$MNT/db/current"
	# shellcheck disable=SC2016
	expect_output secret env UV_USE_IO_URING=1 timeout 20 node -e 'require("fs").createReadStream(process.argv[1], { start: 0 }).pipe(process.stdout)' "$MNT/db/current"
fi
