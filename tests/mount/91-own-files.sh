#!/bin/bash
# The vault's own files are as long as they say to whoever opens them: what copies and archives gives what cat gives, without a complaint.
. "$(dirname "$0")/../support/lib.sh"

vault_start
printf value | expect_ok coffer put db
own=$MNT/.coffer
files=(status metrics whoami audit events)

# What is there whenever it is read; all but whoami and events change from one open to the next.
word() { case $1 in status) echo '"vault"' ;; metrics) echo coffer_secrets ;; whoami) echo '"uid"' ;; audit) echo VaultUnseal ;; events) echo NewVersionCreated ;; esac }
# check FILE PROGRAM: what it took of the file: no NUL, whole to the last line, and what it is about
check()
{
	[ -s "$SCRATCH/got" ] || fail "$2 took nothing of $1"
	[ "$(tr -d '\0' <"$SCRATCH/got" | wc -c)" = "$(wc -c <"$SCRATCH/got")" ] || fail "$2 filled $1 up with NULs"
	[ "$(tail -c 1 "$SCRATCH/got")" = "" ] || fail "$2 took a part of $1"
	grep -q -- "$(word "$1")" "$SCRATCH/got" || fail "$2 took something else for $1: $(head -c 200 "$SCRATCH/got")"
}

quiet() { expect_ok "$@" && { [ ! -s "$ERR" ] || fail "$*: $(cat "$ERR")"; }; }

# shellcheck disable=SC2016
for file in "${files[@]}"; do
	note "$file"
	rm -f "$SCRATCH/got"
	quiet tar -C "$own" -cf "$SCRATCH/tar" "$file"
	tar -xOf "$SCRATCH/tar" >"$SCRATCH/got"
	check "$file" tar
	quiet cp "$own/$file" "$SCRATCH/got"
	check "$file" cp
	busybox cat "$own/$file" >"$SCRATCH/got"
	check "$file" busybox
	[ "$(sysop open r "$own/$file" + fstat | sed -n 's/^ok file [0-7]* [0-9]* [0-9]* \([0-9]*\) .*/\1/p')" -gt 0 ] || fail "$file is empty to who has it open"
	for program in rsync curl python3 node; do
		rm -f "$SCRATCH/got"
		command -v "$program" >/dev/null || { note "$program is not here"; continue; }
		case $program in
		rsync) quiet rsync -a "$own/$file" "$SCRATCH/got" ;;
		curl) quiet curl -sS -o "$SCRATCH/got" "file://$own/$file" ;;
		python3) python3 -c 'import os, sys; fd = os.open(sys.argv[1], os.O_RDONLY); sys.stdout.buffer.write(os.read(fd, os.fstat(fd).st_size))' "$own/$file" >"$SCRATCH/got" ;;
		node) node -e 'process.stdout.write(require("fs").readFileSync(process.argv[1]))' "$own/$file" >"$SCRATCH/got" ;;
		esac
		check "$file" "$program"
	done
done

note "all of .coffer but the requests' file, which has no end"
quiet tar -C "$MNT" --exclude=ctl -cf "$SCRATCH/tar" .coffer
quiet tar -tf "$SCRATCH/tar"
grep -q '^.coffer/at/.*/db/current$' "$OUT" || fail "$(cat "$OUT")"
if command -v rsync >/dev/null; then
	quiet rsync -a --exclude=ctl "$own/" "$SCRATCH/copy/"
	grep -q '"uid"' "$SCRATCH/copy/whoami"
fi

note "a reader who has less right has a text of his own, and its size"
expect_ok coffer grant reader user:20001 --on '*'
size=$(as 20001 sysop open r "$own/whoami" + fstat | sed -n 's/^ok file [0-7]* [0-9]* [0-9]* \([0-9]*\) .*/\1/p')
[ "$size" = "$(as 20001 cat "$own/whoami" | wc -c)" ] || fail "whoami: $size bytes told"
end=$(as 20001 sysop open r "$own/whoami" + seekend)
[ "$end" = "ok
ok $size" ] || fail "whoami ends at: $end"
