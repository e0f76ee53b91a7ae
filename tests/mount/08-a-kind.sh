#!/bin/bash
# A kind of object that two rows have brought (fs/ctl/kinds.c and fs/serve/kind_files.c, in the build with test hooks) is served from end to end: names, listings, attributes, rights by its own actions, records, views, watchers, deletion and recovery. A build without these rows serves nothing of it.
. "$(dirname "$0")/../support/lib.sh"

[ -n "${COFFER_HOOKS_BIN:-}" ] || { echo "COFFER_HOOKS_BIN names no build with hooks"; exit 77; }
vault_init
vault_mount
reader=20001 user=20002 manager=20003
expect_ok coffer put db --file <(printf secret)
expect_ok coffer role create cert-reader certificates/list certificates/get
expect_ok coffer role create cert-manager certificates/list certificates/delete certificates/recover
expect_ok coffer grant cert-reader user:$reader --on '*'
expect_ok coffer grant cert-manager user:$manager --on '*'
expect_ok coffer grant secrets-user user:$user --on '*'
expect_ok "$COFFER_SUPPORT/make_object" "$STORE" web one

note "a build that does not know the kind"
! ls "$MNT" | grep -qx web || fail "it is listed"
expect_errno ENOENT sysop open r "$MNT/web/versions/1"
expect_errno ENOENT sysop open r "$MNT/web/public.pem"
vault_umount

note "one that does"
install -m 755 "$COFFER_HOOKS_BIN/coffer" "$COFFER_HOOKS_BIN/cofferd" "$SCRATCH/bin"
vault_mount
[ "$(as $reader ls "$MNT")" = web ] || fail "who may list certificates sees: $(as $reader ls "$MNT")"
[ "$(as $user ls "$MNT")" = db ] || fail "who may list secrets sees: $(as $user ls "$MNT")"
[ "$(as $reader ls "$MNT/web" | tr '\n' ' ')" = 'public.pem versions ' ] || fail "in it: $(as $reader ls "$MNT/web")"
expect_errno ENOENT sysop open r "$MNT/web/current"
[ "$(as $reader stat -c '%a %u %F' "$MNT/web/public.pem")" = '444 0 regular file' ] || fail "$(as $reader stat -c '%a %u %F' "$MNT/web/public.pem")"
[ "$(as $user stat -c '%a %s' "$MNT/web/public.pem")" = '0 4096' ] || fail "$(as $user stat -c '%a %s' "$MNT/web/public.pem")"
as $reader cat "$MNT/web/public.pem" | grep -q '^version 1 of object' || fail "the view is: $(as $reader cat "$MNT/web/public.pem")"
[ "$(as $reader stat -c %i "$MNT/web/public.pem")" != "$(as $reader stat -c %i "$MNT/web/versions")" ] || fail "two files have one number"
audit_has ".secret == \"web\" and .version == 1 and .result == \"allow\" and .caller.uid == $reader"
expect_errno EACCES as $user sysop open r "$MNT/web/public.pem"
audit_has ".secret == \"web\" and .result == \"deny\" and .caller.uid == $user"
expect_errno EACCES as $reader sysop open w "$MNT/web/public.pem"
as $reader tar -C "$MNT/web" -cf - public.pem | tar -xOf - | grep -q '^version 1 of object' || fail "tar takes something else"

note "its versions are read by the right to get"
expect_output one as $reader cat "$MNT/web/versions/1"
expect_errno EACCES as $manager sysop open r "$MNT/web/versions/1"
expect_errno EPERM sysop open w "$MNT/web/versions/1"
! touch "$MNT/web/temporary" 2>"$SCRATCH/said" || fail "a file could be made beside what has no current"
grep -q "not permitted" "$SCRATCH/said" || fail "$(cat "$SCRATCH/said")"

note "a new version: watchers hear, the view is another"
install -m 755 "$COFFER_SUPPORT/watch" "$SCRATCH/bin"
start setpriv --reuid=$reader --regid=$reader --clear-groups "$SCRATCH/bin/watch" "$MNT/web/public.pem" - "$MNT/web/public.pem" >"$SCRATCH/heard"
wait_for grep -q ready "$SCRATCH/heard"
hold reader $reader
expect_held ok reader open r "$MNT/web/public.pem"
text=$(held reader read)
expect_ok "$COFFER_SUPPORT/make_object" "$STORE" web two
wait_for grep -q '^1 version 2 of object' "$SCRATCH/heard"
expect_held "$text" reader read

note "what is open is judged again: after a revoke nothing is read through it"
expect_ok coffer revoke cert-reader user:$reader --on '*'
expect_held EKEYREVOKED reader read
expect_errno EACCES as $reader sysop open r "$MNT/web/public.pem"
let_go reader
expect_ok coffer grant cert-reader user:$reader --on '*'

note "deleted and recovered by the kind's own actions"
expect_errno EACCES as $user sysop rename "$MNT/web" "$MNT/.coffer/deleted/web"
expect_errno ok as $manager sysop rename "$MNT/web" "$MNT/.coffer/deleted/web"
[ "$(as $manager ls "$MNT/.coffer/deleted")" = web ] || fail "deleted are: $(as $manager ls "$MNT/.coffer/deleted")"
[ -z "$(as $user ls "$MNT/.coffer/deleted")" ] || fail "who may list secrets sees: $(as $user ls "$MNT/.coffer/deleted")"
expect_errno ENOENT as $reader sysop open r "$MNT/.coffer/deleted/web/public.pem"
expect_errno ok as $manager sysop rename "$MNT/.coffer/deleted/web" "$MNT/web"
as $reader cat "$MNT/web/public.pem" | grep -q '^version 2 of object' || fail "after recovery: $(as $reader cat "$MNT/web/public.pem")"
audit_has ".operation == \"SecretDelete\" and .secret == \"web\" and .result == \"allow\" and .caller.uid == $manager"
audit_verify
expect_ok coffer fsck "$STORE"
