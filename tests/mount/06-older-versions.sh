#!/bin/bash
# A vault that each earlier version made, and its backup (tests/data), are opened by this one: every value, state, binding and rule is as it was, the log proves itself, and what is restored is the same.
. "$(dirname "$0")/../support/lib.sh"

data=$(cd "$(dirname "$0")/../data" && pwd)
reader=20001 rotator=20002 blocked=20003 anybody=20004
declare -A looked=()

# rule COMMAND… FILTER: of what a command lists, as JSON
rule() { coffer "${@:1:$#-1}" --output json | jq -e "${!#}" >/dev/null || fail "$*: $(coffer "${@:1:$#-1}" --output json)"; }

values()
{
	expect_output three coffer get db
	expect_output three coffer get db --version 3
	coffer get numbers | cmp - <(seq 1 2000) || fail "numbers is another"
	coffer get zeros | cmp - <(head -c 9000 /dev/zero) || fail "zeros is another"
	expect_errno EACCES sysop open r "$MNT/off/current"
	expect_errno EACCES sysop open r "$MNT/db/versions/1"
	expect_errno ENOENT sysop open r "$MNT/db/versions/2"
	[ "$(ls "$MNT/.coffer/deleted")" = gone ] || fail "deleted are: $(ls "$MNT/.coffer/deleted")"
	expect_output text/plain getfattr --only-values -n user.coffer.content-type "$MNT/db/current"
}

for archive in "$data"/*.tar.xz; do
	version=$(basename "$archive" .tar.xz)
	looked[$version]=1
	note "$version: the vault"
	mkdir "$SCRATCH/$version"
	tar -C "$SCRATCH/$version" -xf "$archive"
	STORE=$SCRATCH/$version/old
	vault_mount -o "kek=file:$SCRATCH/$version/old.kek"
	values
	expect_output three as $reader cat "$MNT/db/current"
	expect_errno EACCES as $reader sysop open r "$MNT/zeros/current"
	expect_errno ok as $anybody sysop open r "$MNT/numbers/current"
	expect_errno EACCES as $blocked sysop open r "$MNT/numbers/current"
	expect_errno EACCES as $rotator sysop open r "$MNT/db/current"
	rule bindings 'any(.. | .principal? // empty; . == "user:20001,host")'
	rule bindings 'any(.. | .reason? // empty; . == "reads it")'
	rule blocks 'any(.. | .reason? // empty; . == "leaked")'
	rule rotation list 'any(.. | .scope? // empty; . == "db*")'
	rule hook list 'any(.. | .command? // empty; . == "/bin/true %n")'
	rule recipient list 'any(.. | .name? // empty; . == "safe")'
	rule vault show '.value_max == 524288 and .retention_days == 30'
	coffer events | grep -qE 'Deleted +gone' || fail "the stream of events: $(coffer events)"
	note "$version: it goes on"
	printf new >"$SCRATCH/new"
	expect_ok as $rotator coffer put db-new --file "$SCRATCH/new"
	expect_ok coffer recover gone
	expect_output deleted coffer get gone
	vault_umount
	expect_ok coffer audit verify "$STORE" --verify-key "$SCRATCH/$version/old.verify"
	expect_ok coffer fsck "$STORE" --deep --kek "file:$SCRATCH/$version/old.kek"

	note "$version: the backup"
	STORE=$SCRATCH/$version/restored
	KEK=$SCRATCH/$version/restored.kek
	vault_init
	vault_mount
	expect_ok coffer restore --signer "$(cat "$SCRATCH/$version/signer")" --key "$SCRATCH/$version/safe.key" --with-grants <"$SCRATCH/$version/backup"
	values
	expect_output three as $reader cat "$MNT/db/current"
	expect_errno EACCES as $blocked sysop open r "$MNT/numbers/current"
	vault_umount
	expect_ok coffer fsck "$STORE" --deep --kek "file:$KEK"
done
[ "${looked[0.1.0]:-}${looked[0.1.1]:-}" = 11 ] || fail "vaults of earlier versions are missing from $data"
