#!/bin/sh
# layout.sh TOP: all C is laid out as .clang-format says, no line of it is longer than 120 columns, and shellcheck has nothing to say of any script.
set -u
cd "$1" || exit 1
command -v clang-format-14 > /dev/null || { echo "clang-format-14 is not here"; exit 77; }
command -v shellcheck > /dev/null || { echo "shellcheck is not here"; exit 77; }
scripts=$(mktemp) || exit 1
trap 'rm -f "$scripts"' EXIT
failed=0
find policy store fs tests -name '*.[ch]' -print0 | xargs -0 -n 50 clang-format-14 --dry-run -Werror 2>&1 |
	grep -m 20 'error:' && { echo "cmake --build BUILD --target format lays it out"; failed=1; }
find policy store fs tests -name '*.[ch]' -exec expand -t 8 {} + | LC_ALL=C.UTF-8 grep -E '^.{121,}' &&
	{ echo "these lines have more than 120 columns"; failed=1; }
find policy store fs tests contrib .ci -type f -size -400k -exec awk 'FNR == 1 && /^#!.*(bash|\/sh)/ { print FILENAME }' {} + > "$scripts"
[ "$(wc -l < "$scripts")" -gt 50 ] || { echo "hardly any script: does this test still find them?"; failed=1; }
xargs shellcheck -S warning -f gcc < "$scripts" || failed=1
exit $failed
