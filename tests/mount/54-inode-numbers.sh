#!/bin/bash
# Inode numbers that programs can hold: in a double, as JavaScript has, and with -o ino32 in 32 bits.
. "$(dirname "$0")/../support/lib.sh"
install -m 755 "$COFFER_SUPPORT/narrow" "$SCRATCH/bin" 2>/dev/null || true

vault_start
put() { printf '%s' "$2" | expect_ok coffer put "$1"; }
for name in db web api; do
	put $name one
	put $name two
done
expect_ok coffer delete api
epoch=$(status .epoch)

# same_when_open PATH...: an open file has the number that its name has, also for the process that opened it: cp refuses to copy one that has another
same_when_open()
{
	local path named
	for path; do
		named=$(stat -c %i "$path")
		expect_ok python3 -c 'import os, sys; f = os.open(sys.argv[1], os.O_RDONLY); print(os.fstat(f).st_ino); os.read(f, 1); print(os.fstat(f).st_ino)' "$path"
		[ "$(cat "$OUT")" = "$named"$'\n'"$named" ] || fail "$path: its name has the number $named, open it has $(cat "$OUT")"
		[ "$(stat -c %i "$path")" = "$named" ] || fail "$path: another number, $(stat -c %i "$path"), after it was opened"
		expect_ok cp -p "$path" "$SCRATCH/copy"
	done
}
# tree: everything of the vault, one path a line
tree()
{
	find "$MNT" "$MNT/.coffer" "$MNT/.coffer/at/$epoch" -mindepth 1 2>/dev/null | grep -v '/requests' | sort -u
}
# same_everywhere: stat and readdir say the same of each, no two things have one number, and it is below LIMIT
same_everywhere()
{
	local limit=$1 dir
	tree >"$SCRATCH/tree"
	[ "$(wc -l <"$SCRATCH/tree")" -ge 25 ] || fail "only $(wc -l <"$SCRATCH/tree") names"
	while read -r path; do
		printf '%s %s\n' "$(stat -c %i "$path")" "$path"
	done <"$SCRATCH/tree" >"$SCRATCH/numbers"
	awk -v limit="$limit" '$1 >= limit || $1 < 1' "$SCRATCH/numbers" >"$SCRATCH/high"
	[ ! -s "$SCRATCH/high" ] || fail "numbers of $limit and more: $(head -n 3 "$SCRATCH/high")"
	# below at/ current is a second name of a version
	grep -v "/at/.*/current" "$SCRATCH/numbers" | awk '{ print $1 }' | sort | uniq -d >"$SCRATCH/twice"
	[ ! -s "$SCRATCH/twice" ] || fail "one number for two: $(grep -wf "$SCRATCH/twice" "$SCRATCH/numbers")"
	for dir in "$MNT" "$MNT/.coffer" "$MNT/db" "$MNT/db/versions" "$MNT/.coffer/deleted" "$MNT/.coffer/at/$epoch"; do
		# shellcheck disable=SC2012  # -f: as readdir gives them, without a stat
		LC_ALL=C ls -fi1 "$dir" | awk '$2 != "." && $2 != ".." && $2 != "requests"' | while read -r number name; do
			[ "$number" = "$(stat -c %i "$dir/$name")" ] || fail "readdir says $number of $dir/$name, stat $(stat -c %i "$dir/$name")"
		done
	done
	same_when_open "$MNT/db/current" "$MNT/db/versions/1" "$MNT/web/current" "$MNT/.coffer/at/$epoch/db/current" "$MNT/.coffer/status"
}

note "below 2^53, so that a double holds it"
same_everywhere $((1 << 53))
[ "$(stat -c %i "$MNT")" = 1 ] || fail "the root is $(stat -c %i "$MNT")"
if command -v node >/dev/null; then
	# shellcheck disable=SC2016
	node -e 'const fs = require("fs"), dir = process.argv[1] + "/versions/"; const a = fs.statSync(dir + 1), b = fs.statSync(dir + 2);
		if (a.ino === b.ino) { console.log("one number for two versions", a.ino); process.exit(1); }
		if (BigInt(a.ino) !== fs.statSync(dir + 1, { bigint: true }).ino) { console.log("the number does not fit", a.ino); process.exit(1); }' "$MNT/db" >"$OUT" 2>&1 || fail "node: $(cat "$OUT")"
fi

note "a rename keeps it, and so does a restart"
before=$(stat -c %i "$MNT/db")
expect_ok coffer delete db
[ "$(stat -c %i "$MNT/.coffer/deleted/db")" = "$before" ] || fail "another number in deleted/"
expect_ok coffer recover db
vault_umount
vault_mount
[ "$(stat -c %i "$MNT/db")" = "$before" ] || fail "another number after a restart"

note "-o ino32: below 2^32"
vault_umount
vault_mount -o ino32
same_everywhere $((1 << 32))

note "a 32-bit program that knows no larger ones can stat and list"
[ -x "$SCRATCH/bin/narrow" ] || { echo "there are no 32-bit programs on this machine" && exit 0; }
status=0
narrow "$MNT/db" >"$OUT" || status=$?
[ "$status" != 77 ] || { echo "this kernel has no 32-bit way in" && exit 0; }
for path in "$MNT" "$MNT/db" "$MNT/db/versions" "$MNT/db/current" "$MNT/db/versions/2" "$MNT/.coffer" "$MNT/.coffer/status" "$MNT/.coffer/deleted/api" "$MNT/.coffer/at/$epoch" "$MNT/.coffer/at/$epoch/db"; do
	narrow "$path" >"$OUT"
	[ "$(head -n 1 "$OUT")" = "$(stat -c %i "$path")" ] || fail "$(head -n 1 "$OUT"), not $(stat -c %i "$path"): $path"
	! grep -E '^E[A-Z]+$' "$OUT" >&2 || fail "a listing ends early: $path"
	[ ! -d "$path" ] || [ "$(($(wc -l <"$OUT") - 3))" = "$(find "$path" -mindepth 1 -maxdepth 1 | wc -l)" ] || fail "not all of $path: $(cat "$OUT")"
done
vault_umount
vault_mount
expect_output EOVERFLOW sh -c "narrow $MNT/db | head -n 1"
expect_exit 2 cofferd "$STORE" "$SCRATCH/none" -o ino32=1
