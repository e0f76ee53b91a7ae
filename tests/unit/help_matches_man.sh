#!/bin/sh
# help_matches_man.sh COFFER MANPAGE COMPLETIONS...: every command and every option that --help names stands in the man page, and the other way round;
# the completions know them all.
set -u
coffer=$1 man=$2
shift 2
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0

complain() { echo "$*" >&2; failed=1; }

# What --help says: "command", then "command|usage" and "command|option".
"$coffer" --help | awk '/^$/ { part++; next } part == 1 { sub(/^  /, ""); sub(/  +.*/, ""); print }' | grep -vxE 'version|help' > "$work/commands"
[ -s "$work/commands" ] || { echo "coffer --help lists no commands" >&2; exit 1; }
while read -r command; do
	# shellcheck disable=SC2086 # "role create" is two words
	"$coffer" $command --help > "$work/help" || complain "coffer $command --help fails"
	sed -n '1s/^usage: //p' "$work/help" | sed "s/^/$command|/"
	sed -n 's/^  \(-[a-z], \)\{0,1\}\(--[a-z-]*\)\( [A-Z=][A-Z=]*\)\{0,1\}  *.*/\2\3/p' "$work/help" |
		grep -vxE -e '--(mount MOUNT|vault VAULT|output FORM|help)' | sed "s/^/$command|/"
done < "$work/commands" | sort > "$work/from-help"

# The same from the page's source: .SS names a command, .B after it its usage, .B after .TP an option.
sed -e 's/\\-/-/g' -e 's/\\e/\\/g' "$man" | awk '
	/^\.SH COMMANDS/ { on = 1; next }
	/^\.SH/ { on = 0 }
	!on { next }
	/^\.SS/ { sub(/^\.SS /, ""); gsub(/"/, ""); command = $0; print command > commands; next }
	/^\.B coffer / { sub(/^\.B /, ""); print command "|" $0 }
	option && /^\.B -/ { sub(/^\.B (-., )?/, ""); print command "|" $0 }
	{ option = /^\.TP/ }
' commands="$work/man-commands" | sort > "$work/from-man"

diff "$work/commands" "$work/man-commands" >&2 || complain "--help and $man name different commands"
diff "$work/from-help" "$work/from-man" >&2 || complain "--help (<) and $man (>) differ"

for completion in "$@"; do
	while IFS='|' read -r command rest; do
		case $rest in
		--*) word=${rest%% *} ;;
		*) word=${command##* } ;;
		esac
		grep -qwF -e "$word" "$completion" || complain "$completion does not know $word of $command"
	done < "$work/from-help"
done
exit $failed
