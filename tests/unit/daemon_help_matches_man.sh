#!/bin/sh
# daemon_help_matches_man.sh COFFERD MANPAGE: the options of cofferd --help and those of the man page are the same, in the same order.
set -u
cofferd=$1 man=$2
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# "  -o audit_keep=SIZE    what it does"; the last line has two options.
"$cofferd" --help | sed -n 's/^  \(-.*\)/\1/p' | sed -e 's/ \{4,\}\(-[a-zA-Z],\)/\n\1/' | sed -e 's/ \{2,\}.*//' > "$work/help"
# .B after .TP in OPTIONS
sed -e 's/\\-/-/g' "$man" | awk '
	/^\.SH/ { on = /^\.SH OPTIONS/ }
	on && option && /^\.B -/ { sub(/^\.B /, ""); print }
	{ option = /^\.TP/ }' > "$work/man"
[ "$(wc -l < "$work/help")" -ge 5 ] || { echo "cofferd --help lists no options" >&2; exit 1; }
diff "$work/help" "$work/man" >&2 || { echo "cofferd --help (<) and $man (>) differ" >&2; exit 1; }

usage=$("$cofferd" --help | sed -n '1s/^usage: //p')
synopsis=$(sed -n '/^\.SH SYNOPSIS/,/^\.SH DESCRIPTION/p' "$man" | sed -e '/^\.SH/d' -e 's/^\.[A-Z]* //' -e 's/\\-/-/g' | tr -d '" \n')
[ "$(printf %s "$usage" | tr -d ' ')" = "$synopsis" ] || { echo "usage of --help: $usage; SYNOPSIS: $synopsis" >&2; exit 1; }
