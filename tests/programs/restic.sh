#!/bin/bash
# A backup program reads what its uid may read: whole values, and each change since its last run, which it tells by size, times and inode alone.
. "$(dirname "$0")/../support/lib.sh"

command -v restic >/dev/null || { echo "restic is not installed"; exit 77; }

vault_start
reader=20001
head -c 70000 /dev/urandom >"$SCRATCH/one"
head -c 70000 /dev/urandom >"$SCRATCH/two"
printf 'k=v\n' >"$SCRATCH/env"
expect_ok coffer put db --file "$SCRATCH/one"
expect_ok coffer put env --file "$SCRATCH/env"
expect_ok coffer put hidden --file "$SCRATCH/env"
expect_ok coffer grant secrets-user user:$reader --on db
expect_ok coffer grant secrets-user user:$reader --on env

own=$SCRATCH/restic
mkdir -m 700 "$own"
chown $reader:$reader "$own"
backup() { as $reader env HOME="$own" TMPDIR="$own" RESTIC_PASSWORD=of-a-test restic --no-cache --quiet --repo "$own/repository" "$@"; }

# backed_up FILE: a backup and what a restore of it gives for db are FILE's bytes
backed_up()
{
	expect_exit 0 backup backup "$MNT/db" "$MNT/env"
	rm -rf "$own/restored"
	# what it restores it gives the owner and mode that it saw: the reader's own, readable by it alone
	expect_exit 0 backup restore latest --target "$own/restored"
	cmp -s "$1" "$own/restored$MNT/db/current" || fail "restored are $(stat -c %s "$own/restored$MNT/db/current") other bytes"
	cmp -s "$SCRATCH/env" "$own/restored$MNT/env/current" || fail "the restored env differs"
}

note "a first backup, of two secrets with their versions"
expect_exit 0 backup init
backed_up "$SCRATCH/one"
cmp -s "$SCRATCH/one" "$own/restored$MNT/db/versions/1" || fail "the restored version differs"

note "a change of equal size is seen, and one that takes a version back"
expect_ok coffer put db --file "$SCRATCH/two"
backed_up "$SCRATCH/two"
expect_ok coffer disable db --version 2
backed_up "$SCRATCH/one"

note "what the uid may not read fails by name, and the rest is kept"
expect_exit 3 backup backup "$MNT/hidden" "$MNT/env"
grep -q hidden "$ERR" || fail "$(cat "$ERR")"
vault_umount
