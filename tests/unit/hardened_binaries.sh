#!/bin/sh
# hardened_binaries.sh: what the linker made of a release, whose directory is COFFER_RELEASE_BIN, has what it was to have. Exits with 77 where there is none.
set -u
[ -n "${COFFER_RELEASE_BIN:-}" ] || { echo "COFFER_RELEASE_BIN is not set: no release to look at"; exit 77; }
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0

complain() { echo "$*" >&2; failed=1; }

# has_note FILE: an object or a program says that it may run with shadow stack and branch tracking
has_note() { readelf -nW "$1" 2>/dev/null | grep -q 'x86 feature:.*IBT, SHSTK'; }

for program in coffer cofferd; do
	file=$COFFER_RELEASE_BIN/$program
	readelf -hW "$file" | grep -q 'Type: *DYN' || complain "$program lies where it was linked to: no PIE"
	readelf -lW "$file" > "$work/segments"
	grep -qE 'GNU_STACK .* RW +0x' "$work/segments" || complain "$program has a stack that can be run"
	grep -q 'GNU_RELRO' "$work/segments" || complain "$program has no RELRO"
	grep -qE 'LOAD .* RWE ' "$work/segments" && complain "$program has a segment that can be written and run"
	readelf -dW "$file" > "$work/dynamic"
	grep -q 'BIND_NOW' "$work/dynamic" || complain "$program binds lazily: its table of functions stays writable"
	grep -E 'RPATH|RUNPATH|TEXTREL' "$work/dynamic" >&2 && complain "$program looks for libraries in places of the build, or is written to when it starts"
	readelf -W --dyn-syms "$file" > "$work/symbols"
	grep -q ' __stack_chk_fail@' "$work/symbols" || complain "$program has no stack protector"
	[ "$(grep -c '_chk@' "$work/symbols")" -ge 5 ] || complain "$program is hardly fortified"
done
[ "$(uname -m)" = x86_64 ] || exit $failed

# ---- shadow stack and branch tracking: the program has the note if all that it is linked of has it ----

objects=$(find "$COFFER_RELEASE_BIN/.." -name '*.o' -path '*/CMakeFiles/*')
[ "$(echo "$objects" | wc -l)" -ge 100 ] || complain "hardly any object in $COFFER_RELEASE_BIN/..: does this test still find them?"
for object in $objects; do
	has_note "$object" || complain "$object has no note of IBT and SHSTK, and takes it from the whole program"
done
missing=
for start in Scrt1.o crti.o crtbeginS.o crtendS.o crtn.o libc_nonshared.a; do
	path=$(cc -print-file-name=$start)
	readelf -hW "$path" 2>/dev/null | grep -q '^ELF Header' || continue
	[ "$(readelf -hW "$path" | grep -c '^ELF Header')" = "$(readelf -nW "$path" 2>/dev/null | grep -c 'x86 feature:.*IBT, SHSTK')" ] || missing="$missing $start"
done
for program in coffer cofferd; do
	if [ -z "$missing" ]; then
		has_note "$COFFER_RELEASE_BIN/$program" || complain "$program has no note of IBT and SHSTK, although every object has"
	fi
done
[ -z "$missing" ] || echo "no program of this compiler has shadow stack and branch tracking: libc's or the compiler's own$missing lack the note"
exit $failed
