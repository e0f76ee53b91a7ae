#!/bin/bash
# A file of the vault's own that a number and a row have brought (fs/serve/entries.c, in the build with test hooks) is served from end to end: name, listing, attributes, right, record, text.
. "$(dirname "$0")/../support/lib.sh"

[ -n "${COFFER_HOOKS_BIN:-}" ] || { echo "COFFER_HOOKS_BIN names no build with hooks"; exit 77; }
install -m 755 "$COFFER_HOOKS_BIN/coffer" "$COFFER_HOOKS_BIN/cofferd" "$SCRATCH/bin"
vault_start
watcher=20001 other=20002
expect_ok coffer role create watcher vault/metrics
expect_ok coffer grant watcher user:$watcher --on '*'
file=$MNT/.coffer/test

as $watcher ls "$MNT/.coffer" | grep -qx test || fail "it is not listed"
expect_output 'a view' as $watcher cat "$file"
[ "$(as $watcher stat -c '%a %u %F' "$file")" = '444 0 regular file' ] || fail "$(as $watcher stat -c '%a %u %F' "$file")"
audit_has ".operation == \"VaultMetrics\" and .result == \"allow\" and .caller.uid == $watcher"
[ "$(as $other stat -c '%a %s' "$file")" = '0 4096' ] || fail "$(as $other stat -c '%a %s' "$file")"
expect_errno EACCES as $other sysop open r "$file"
expect_errno EACCES as $watcher sysop open w "$file"
audit_has ".operation == \"VaultMetrics\" and .result == \"deny\" and .caller.uid == $other"
audit_verify
