#!/bin/sh
# docs.sh TOP COFFER COFFERD: what README.md, the guide and ARCHITECTURE.md name is there: every path in the tree, every
# command in coffer --help, every option in cofferd --help; and README.md and the guide together name each of them.
set -u
top=$1 coffer=$2 cofferd=$3
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0

complain() { echo "$*" >&2; failed=1; }

guide=$top/contrib/doc/guide
grep -n '@@' "$top/README.md" "$guide"/*.md "$top"/contrib/*.md "$top/contrib/doc/ARCHITECTURE.md" "$top"/contrib/man/* >&2 && complain "something was to be filled in"

# ---- paths ----

cat "$top/README.md" "$guide"/*.md > "$work/manual"

for page in README.md contrib/doc/ARCHITECTURE.md contrib/CONTRIBUTING.md "$work/manual"; do
	# a path of the tree: not the end of a longer one, such as STORE/audit or /usr/local/share
	case $page in /*) ;; *) page=$top/$page ;; esac
	tr -s ' \t|(),;"`' '\n' < "$page" | sed -e 's|^\./||' -e 's/[.:]*$//' |
		grep -xE '(policy|store|fs|tests|contrib)/[A-Za-z0-9_./-]*' | sort -u > "$work/paths"
	[ "$(wc -l < "$work/paths")" -ge 5 ] || complain "$page names hardly any path: does this test still find them?"
	while read -r path; do
		[ -e "$top/$path" ] || complain "$page names $path, which is not there"
	done < "$work/paths"
done

# ---- form ----

[ "$(wc -l < "$top/README.md")" -le 250 ] || complain "README.md has more than 250 lines: the guide has room"
awk 'length > 120 { print FILENAME ":" FNR ": more than 120 columns"; found = 1 } END { exit found }' "$top/README.md" "$top"/contrib/*.md >&2 ||
	complain "lines too long"
for page in "$guide"/*.md; do
	name=${page##*/}
	[ "$name" = README.md ] || grep -qF "]($name)" "$guide/README.md" || complain "guide/README.md does not lead to $name"
	! grep -qxF '```console' "$page" || grep -q "^foreach(page .*\<${name%.md}\>" "$top/tests/mount/CMakeLists.txt" ||
		complain "no test runs the sessions of $name: tests/mount/CMakeLists.txt"
	[ "$name" = README.md ] || sed -n 3p "$page" | grep -q '^This page is for ' || complain "$name does not begin with whom it is for"
	# what a page leads to is there: another page, and the heading in it
	grep -oE '\]\([a-z]+\.md(#[a-z0-9-]+)?\)' "$page" | tr -d '](' | tr -d ')' | sort -u > "$work/links"
	while IFS='#' read -r to heading; do
		[ -e "$guide/$to" ] || complain "$name leads to $to, which is not there"
		[ -z "$heading" ] || sed -n 's/^##* //p' "$guide/$to" | tr 'A-Z ' 'a-z-' | tr -cd 'a-z0-9\n_-' | grep -qxF -e "$heading" ||
			complain "$name leads to $to#$heading, a heading that is not there"
	done < "$work/links"
done

# Every source file stands in the table of its folder.
for folder in $(cd "$top" && find policy store fs -name '*.[ch]' -exec dirname {} \; | sort -u); do
	sed -n "/^| in \`$(echo "$folder" | sed 's|/|\\/|g')\/\`/,/^$/p" "$top/contrib/doc/ARCHITECTURE.md" > "$work/table"
	[ -s "$work/table" ] || complain "ARCHITECTURE.md has no table of $folder/"
	for file in "$top/$folder"/*.[ch]; do
		name=$(basename "${file%.[ch]}")
		grep -qF "\`$name\`" "$work/table" || complain "ARCHITECTURE.md does not say what $folder/$(basename "$file") is"
	done
done

# ---- commands ----

# "role create" is one command of two words.
"$coffer" --help | awk '/^$/ { part++; next } part == 1 { sub(/^  /, ""); sub(/  +.*/, ""); print }' > "$work/commands"
[ -s "$work/commands" ] || complain "coffer --help lists no commands"
# A command stands behind a prompt, a pipe, a backtick, or what can-i proposes.
grep -oE '([$#|`]|sudo|can:) ?coffer( (-m|--vault) [A-Z]+)? [a-z][a-z-]*( [a-z]+)?' "$work/manual" |
	sed -E -e 's/.*coffer( (-m|--vault) [A-Z]+)? //' | sort -u > "$work/used"
[ "$(wc -l < "$work/used")" -ge 15 ] || complain "the manual uses hardly any command: does this test still find them?"
while read -r words; do
	grep -qxF -e "$words" -e "${words%% *}" "$work/commands" || complain "the manual says coffer $words, which coffer --help does not know"
done < "$work/used"
while read -r command; do
	case $command in version | help) continue ;; esac
	grep -qF "coffer $command" "$work/manual" || complain "neither README.md nor the guide speaks of coffer $command"
done < "$work/commands"

# ---- options of the daemon ----

"$cofferd" --help | sed -nE 's/^  -o ([a-z_]+).*/\1/p' > "$work/options"
[ -s "$work/options" ] || complain "cofferd --help lists no options"
while read -r option; do
	grep -qF -e "-o $option" "$work/manual" || complain "neither README.md nor the guide speaks of -o $option"
done < "$work/options"
grep -oE -e '-o [a-z_]+' "$work/manual" | cut -d ' ' -f 2 | sort -u | while read -r option; do
	grep -qxF "$option" "$work/options" || echo "the manual says -o $option, which cofferd --help does not know"
done > "$work/unknown"
[ ! -s "$work/unknown" ] || complain "$(cat "$work/unknown")"

# ---- every errno of the tree, in both pages ----

for errno in EACCES ENOENT ENOKEY EKEYEXPIRED EKEYREVOKED EIO EFBIG EPERM ETIMEDOUT ENFILE; do
	grep -q "^### $errno: " "$guide/errors.md" || complain "errors.md has no entry for $errno"
	grep -qx "\.B $errno" "$top/contrib/man/coffer-vault.5" || complain "coffer-vault.5 has no entry for $errno"
done
exit $failed
