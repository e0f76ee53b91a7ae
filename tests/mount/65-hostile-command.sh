#!/bin/bash
# The command where something is against it: descriptors that are closed, output that is lost, words of no text, names and files that others chose.
. "$(dirname "$0")/../support/lib.sh"

vault_start
printf one | expect_ok coffer put db

note "what is printed into a closed descriptor lies in no file, and is not taken for printed"
# shellcheck disable=SC2016
expect_exit 1 sh -c 'exec coffer recipient keygen "$1" >&-' sh "$SCRATCH/keys/closed"
expect_message 'closed: .*nothing was written'
[ ! -e "$SCRATCH/keys/closed" ] || fail "a key whose public half is lost"
for closed in '0<&-' '2>&-' '0<&- 2>&-'; do
	expect_ok sh -c "exec coffer recipient keygen $SCRATCH/keys/pair $closed"
	[ "$(grep -c . "$SCRATCH/keys/pair")" = 3 ] || fail "$closed: $(cat "$SCRATCH/keys/pair")"
	[ "$(cat "$OUT")" = "$(openssl pkey -pubout -in "$SCRATCH/keys/pair")" ] || fail "$closed: another public key"
	rm "$SCRATCH/keys/pair"
done
expect_exit 1 sh -c 'coffer put db <&-'
expect_message 'Bad file descriptor'
# the warning goes out behind the line that is lost
for act in 'attr db --expires 2001-01-01T00:00:00Z' list 'recipient keygen '"$SCRATCH/keys/full"; do
	expect_exit 1 sh -c "coffer $act >/dev/full"
	grep -q 'standard output\|nothing was written' "$ERR" || fail "$act: $(cat "$ERR")"
done

note "a word that is no text is not left out of what is done"
raw=$'\xff'
expect_exit 2 coffer grant secrets-user user:20001 --on db --reason "$raw"
expect_message 'not UTF-8'
expect_exit 0 coffer bindings --output json
jq -e 'length == 1' <"$OUT" >/dev/null || fail "a binding without its reason was made"
expect_exit 2 coffer rotation set db --every 90d --expiry "$raw" --generator uuid
expect_output '[]' coffer rotation list --output json
expect_exit 2 coffer attr db --content-type "$raw"
expect_exit 2 coffer attr db --tag a=b --untag "$raw"
expect_message 'untag .*not UTF-8'
expect_ok coffer recipient keygen "$SCRATCH/keys/safe"
cp "$OUT" "$SCRATCH/safe.pub"
expect_exit 2 coffer recipient add "$raw" --public-key "$SCRATCH/safe.pub"
expect_ok coffer recipient add safe --public-key "$SCRATCH/safe.pub"
expect_exit 2 coffer backup db "$raw" --recipient safe
[ ! -s "$OUT" ] || fail "a backup without one of its secrets"
