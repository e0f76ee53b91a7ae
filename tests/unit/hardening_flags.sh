#!/bin/sh
# hardening_flags.sh TOP: every build that is not for debugging compiles each source with what hardens it, and with nothing that the compiler does not know. Configures only.
set -u
top=$1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0

complain() { echo "$*" >&2; failed=1; }

# A compiler as on other processors: it has no such protection, and ends with an error.
cat > "$work/other-cc" <<'SH'
#!/bin/sh
case " $* " in *" -fcf-protection "*) echo "error: '-fcf-protection=full' is not supported for this target" >&2; exit 1 ;; esac
exec cc "$@"
SH
chmod 755 "$work/other-cc"

# check NAME FLAGS… -- OPTIONS OF CMAKE…: every source is compiled with the flags; with -FLAG written as !FLAG, without it
check()
{
	name=$1 flags=
	shift
	while [ "$1" != -- ]; do
		flags="$flags $1"
		shift
	done
	shift
	cmake -S "$top" -B "$work/$name" -G Ninja "$@" > "$work/log" 2>&1 || {
		complain "$name: cmake fails: $(tail -n 5 "$work/log")"
		return
	}
	grep '"command":' "$work/$name/compile_commands.json" > "$work/commands"
	[ "$(wc -l < "$work/commands")" -ge 100 ] || complain "$name: hardly any source is compiled: does this test still find them?"
	for flag in $flags; do
		case $flag in
		!*) grep -qF -e " ${flag#!} " "$work/commands" && complain "$name: a source is compiled with ${flag#!}" ;;
		*) ! grep -vqF -e " $flag " "$work/commands" || complain "$name: $(grep -cvF -e " $flag " "$work/commands") sources are compiled without $flag" ;;
		esac
	done
}

common="-D_FORTIFY_SOURCE=3 -fstack-clash-protection -fstack-protector-strong"
case $(uname -m) in
x86_64) branches=-fcf-protection ;;
aarch64) branches=-mbranch-protection=standard ;;
*) branches= ;;
esac
for type in Release RelWithDebInfo MinSizeRel; do
	# shellcheck disable=SC2086 # several words
	check $type $common $branches -- -DCMAKE_BUILD_TYPE=$type
done
# shellcheck disable=SC2086
check other-processor $common !-fcf-protection -- -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER="$work/other-cc"
exit $failed
