#!/bin/sh
# circles.sh LIBRARY…: no file of a folder calls another one that calls it back, on whatever way. Who calls whom is what the object files say.
set -u
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0

for library; do
	nm -P -A "$library" | awk '
		{ sub(/^[^[]*\[/, "", $1); sub(/\]:$/, "", $1) }
		$3 ~ /^[TDBRVWC]$/ { definer[$2] = $1 }
		$3 == "U" { user[++n] = $1; symbol[n] = $2 }
		END { for (i = 1; i <= n; i++) if (symbol[i] in definer && definer[symbol[i]] != user[i]) print user[i], definer[symbol[i]] }
	' > "$work/calls"
	calls=$((${calls:-0} + $(wc -l < "$work/calls")))
	tsort "$work/calls" > /dev/null 2> "$work/loops" || { echo "$(basename "$library"):"; sed 's/^tsort: //' "$work/loops"; failed=1; } >&2
done
[ "${calls:-0}" -gt 500 ] || { echo "hardly any call: does this test still find them?" >&2; failed=1; }
exit $failed
