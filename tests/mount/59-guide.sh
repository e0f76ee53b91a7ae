#!/bin/bash
# 59-guide.sh PAGE: the console sessions of a page of the guide, or of README.md, do what the page shows, on a vault
# of their own. See tests/support/guide.py; --update as the first word writes what came into the pages.
. "$(dirname "$0")/../support/lib.sh"

command -v python3 >/dev/null || { echo "python3 is missing"; exit 77; }
top=$(cd "$(dirname "$0")/../.." && pwd)
update=
[ "${1:-}" != --update ] || { update=--update && shift; }

STORE=$SCRATCH/var/lib/coffer/default KEK=$SCRATCH/etc/coffer/default.kek
mkdir -p "$SCRATCH/dev/shm" "${STORE%/*}" "${KEK%/*}" "$SCRATCH"/home/{root,alice,bob} "$SCRATCH/srv" "$SCRATCH/vaults" "$SCRATCH/media/usb" "$SCRATCH/usr/local/sbin"
chown 20001:20001 "$SCRATCH/home/alice"
chown 20002:20002 "$SCRATCH/home/bob"
vault_start

# session PAGE: a vault that the page makes is the page's to take away
session() { timeout -k 5 300 python3 "$top/tests/support/guide.py" "$SCRATCH" "$1" ${update:+"$update"} </dev/null; }

note "$1"
session "$top/$1" || fail "$1 shows something else than what comes; see above"
! grep " $SCRATCH/\(vaults\|srv\)/" /proc/self/mounts || fail "the page left a vault mounted"
# a page may have ended the daemon and started another one
! mounted || let_go_of_mount || fail "the page left something that holds the vault"
flock -w 60 "$STORE/lock" true || fail "a daemon has not ended"

[ "$1" = README.md ] || exit 0
note "a page whose command fails, or prints another thing, fails"
wrong() { printf '%s\n' '```console' "$@" '```' >"$SCRATCH/wrong.md"; ! session "$SCRATCH/wrong.md" >"$OUT" || fail "passed: $*"; }
update=
wrong '# coffer no-such-command'
wrong '# no-such-program'
wrong '# echo one' 'two'
wrong '# echo one'
wrong '# true' 'one'
wrong '# printf "one\ntwo\n"' 'one'
printf '%s\n' '```console' '# printf "one\ntwo\n"' '...' 'two' '```' >"$SCRATCH/right.md"
session "$SCRATCH/right.md" >"$OUT" || fail "failed: $(cat "$OUT")"
