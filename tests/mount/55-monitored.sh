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

note "access(2) of a directory says whether there is something to list"
lister=20001 stranger=20002
expect_ok coffer grant secrets-user user:$lister --on db
expect_ok coffer delete s1
expect_ok coffer put s1x <<<x
for dir in "$MNT" "$MNT/.coffer/deleted" "$MNT/.coffer/at/$(status .epoch)" "$MNT/db/versions"; do
	expect_errno EACCES as $stranger sysop access r "$dir"
	expect_errno ok as $stranger sysop access x "$dir"
	expect_errno ok as $lister sysop access r "$dir"
done
for dir in "$MNT/.coffer" "$MNT/.coffer/at" "$MNT/db"; do
	expect_errno ok as $stranger sysop access r "$dir"
done
expect_errno EACCES as $lister sysop access r "$MNT/s2/versions"

note "doctor says whether updatedb lists the names"
conf=/etc/updatedb.conf
# doctor_sees CONFIGURATION LINE
doctor_sees()
{
	printf '%b' "$1" >"$SCRATCH/updatedb.conf"
	# shellcheck disable=SC2016  # its own words
	unshare -m sh -c 'mount --bind "$1" "$2" && coffer doctor' - "$SCRATCH/updatedb.conf" "$conf" >"$OUT" 2>&1 || true
	grep -qE "^$2" "$OUT" || fail "doctor does not say '$2' of '$1': $(cat "$OUT")"
}
made=
conf_away() { [ -z "$made" ] || rm -f "$conf"; }
AT_EXIT+=(conf_away)
[ -e "$conf" ] || { made=yes && : >"$conf"; }
listed='warn +indexers .*add fuse.coffer to PRUNEFS in /etc/updatedb.conf, then run updatedb'
left='ok +indexers .*leaves the vault out'
doctor_sees '' "$listed"
doctor_sees 'PRUNEFS="nfs fuse.sshfs tmpfs"\nPRUNEPATHS="/media"\n' "$listed"
doctor_sees '# PRUNEFS="fuse.coffer"\n' "$listed"
doctor_sees 'PRUNEFS="fuse.coffers xfuse.coffer"\n' "$listed"
doctor_sees "PRUNEPATHS=\"$MNT-other $MNT/db\"\n" "$listed"
doctor_sees 'X="1"\n  PRUNEFS = "nfs fuse.coffer tmpfs"' "$left"
doctor_sees 'PRUNEFS="FUSE.COFFER"\n' "$left"
doctor_sees "PRUNEPATHS=\"/media $SCRATCH/\"\n" "$left"

note "quickstart has updatedb leave vaults out, once"
# made_of CONFIGURATION: what its step makes of it
made_of()
{
	printf '%b' "$1" >"$SCRATCH/updatedb.conf"
	{
		echo 'step() { :; }; die() { echo "$*" >&2; exit 1; }'
		sed -n '/^# ---- indexers/,/^# ---- vault/p' "$(dirname "$0")/../../contrib/quickstart.sh" | sed "s|^conf=.*|conf=$SCRATCH/updatedb.conf|"
	} >"$SCRATCH/step.sh"
	for _ in 1 2; do
		expect_ok bash -euo pipefail "$SCRATCH/step.sh"
	done
	cat "$SCRATCH/updatedb.conf"
}
[ "$(made_of '# PRUNEFS="x"\nPRUNEFS = "nfs tmpfs"\nPRUNEPATHS="/tmp"\n')" = "$(printf '# PRUNEFS="x"\nPRUNEFS = "nfs tmpfs fuse.coffer"\nPRUNEPATHS="/tmp"')" ] || fail "$(cat "$SCRATCH/updatedb.conf")"
[ "$(made_of 'PRUNEFS="fuse.coffer nfs"\n')" = 'PRUNEFS="fuse.coffer nfs"' ] || fail "$(cat "$SCRATCH/updatedb.conf")"
[ "$(made_of 'PRUNEPATHS="/tmp"\n')" = "$(printf 'PRUNEPATHS="/tmp"\nPRUNEFS="fuse.coffer"')" ] || fail "$(cat "$SCRATCH/updatedb.conf")"

command -v updatedb.plocate >/dev/null && command -v plocate >/dev/null || { echo "plocate is not here" && exit 0; }
# index PRUNED: what the machine's own updatedb makes of SCRATCH, as root
index() { expect_ok updatedb.plocate -l yes -U "$SCRATCH" -o "$SCRATCH/index" --prunepaths '' --prunenames '' --prune-bind-mounts no --prunefs "$1" && chmod 644 "$SCRATCH/index"; }
found() { as "$1" plocate -d "$SCRATCH/index" "$MNT/" 2>/dev/null || true; }

note "updatedb, told nothing: a stranger is shown no name, whoever may list is"
index 'nfs tmpfs'
[ -z "$(found $stranger)" ] || fail "a stranger is shown $(found $stranger | head -n 3)"
grep -qx "$MNT/db" <<<"$(found $lister)" || fail "$(found $lister)"
note "updatedb that leaves the vault out"
index 'nfs fuse.coffer'
[ -z "$(found 0)" ] || fail "$(found 0 | head -n 3)"
grep -qx "$MNT" <<<"$(plocate -d "$SCRATCH/index" vault)" || fail "the mount point itself is gone"
