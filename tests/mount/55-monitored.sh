#!/bin/bash
# What monitoring and indexers make of a vault: df, and plocate.
. "$(dirname "$0")/../support/lib.sh"

mount_extra -t tmpfs -o size=64m,mode=755 none "$SCRATCH/store"
vault_start
put() { printf '%s' "$2" | expect_ok coffer put "$1"; }
of() { stat -f -c "$1" "$2"; }
bytes() { echo $(($(of "$1" "$2") * $(of %S "$2"))); }

note "df tells how full the store's file system is"
[ "$(bytes %b "$MNT")" = "$(bytes %b "$STORE")" ] || fail "$(bytes %b "$MNT") bytes, not $(bytes %b "$STORE")"
near() { local off=$(($(bytes %a "$STORE") - $(bytes %a "$MNT"))); [ ${off#-} -le $((64 << 10)) ]; }
wait_for near
dd if=/dev/zero of="$SCRATCH/store/ballast" bs=1M count=20 status=none
wait_for near
rm "$SCRATCH/store/ballast"
wait_for near
as 20001 df "$MNT" >"$OUT" || fail "df"
[ "$(as 20001 df --output=pcent "$MNT" | tr -dc 0-9)" -lt 100 ] || fail "$(cat "$OUT")"

note "its inodes never run out, and tell nothing of how many secrets there are"
before=$(stat -f -c '%c %d' "$MNT")
[ "${before#* }" -gt 0 ] || fail "no free inodes: $before"
[ "$(df --output=ipcent "$MNT" | tr -dc 0-9)" = 0 ] || fail "$(df -i "$MNT")"
for n in $(seq 40); do
	sysop mkdir "$MNT/s$n" >"$OUT"
done
[ "$(stat -f -c '%c %d' "$MNT")" = "$before" ] || fail "$(stat -f -c '%c %d' "$MNT"), not $before"
free=$(of %a "$MNT")
for n in $(seq 12); do
	put db "$n"
done
# a step is 64 KiB here
[ $((free - $(of %a "$MNT"))) -le 2048 ] || fail "a few small writes are seen: $free, $(of %a "$MNT")"
[ $(($(bytes %a "$MNT") % (64 << 10))) = 0 ] || fail "$(bytes %a "$MNT") bytes are no whole number of steps"
