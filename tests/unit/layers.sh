#!/bin/sh
# layers.sh TOP LAYERS: a folder includes its own headers and those of the folders that it uses, and of no other. LAYERS is what the build says: "library folder library…" a line.
set -u
top=$1 layers=$2
cd "$top" || exit 1

awk '
	FNR == NR { if (NF < 2) next; folder[$1] = $2; uses[$1] = ""; for (i = 3; i <= NF; i++) uses[$1] = uses[$1] " " $i; of[$2] = $1; next }
	# may(a, b): does library a reach b by what it uses?
	function may(a, b, n, words, i) {
		if (a == b) return 1
		if ((a, b) in known) return known[a, b]
		known[a, b] = 0
		n = split(uses[a], words, " ")
		for (i = 1; i <= n; i++) if (may(words[i], b)) known[a, b] = 1
		return known[a, b]
	}
	{
		colon = index($0, ":"); file = substr($0, 1, colon - 1); text = substr($0, colon + 1)
		split(text, part, "\""); included = part[2]
		from = file; sub(/\/[^\/]*$/, "", from)
		to = included; sub(/\/[^\/]*$/, "", to)
		looked++
		if (!(from in of) || !(to in of)) next
		# of the store between its folders, of fs/ within one
		if ((included ~ /internal\.h$/ || included == "store/core/database.h") && (to ~ /^fs/ ? from != to : from !~ /^store/)) {
			print file " includes " included ", which is private"; bad = 1
		}
		if (!may(of[from], of[to])) { print file " includes " included ", which " of[from] " does not use"; bad = 1 }
	}
	END { if (looked < 100) { print "hardly any include: does this test still find them?"; bad = 1 } exit bad }
' "$layers" - <<EOF
$(grep -rE '^#include "' --include='*.[ch]' policy store fs)
EOF
