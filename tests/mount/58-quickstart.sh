#!/bin/bash
# contrib/quickstart.sh looks at the way to --prefix before it builds, installs or makes anything: where somebody else than root could put another thing in its place, one line says so, and nothing was changed.
. "$(dirname "$0")/../support/lib.sh"

# What would install, build or change users says that it was called, and fails.
mkdir "$SCRATCH/stubs"
for program in apt-get cmake useradd; do
	printf '#!/bin/sh\necho %s >>%s\nexit 1\n' "$program" "$SCRATCH/called" >"$SCRATCH/stubs/$program"
done
chmod 755 "$SCRATCH"/stubs/*

script=$(realpath "$(dirname "$0")/../../contrib/quickstart.sh")
quickstart() { PATH=$SCRATCH/stubs:$PATH TMPDIR=$SCRATCH timeout -k 5 60 "$script" "$@"; }

# all that is there, with owners and modes
tree() { find "$SCRATCH" -xdev -path "$OUT" -prune -o -path "$ERR" -prune -o -mindepth 1 -printf '%p %U %m %y %l\n' | sort; }

# refused PATTERN PREFIX: in one line, before anything else is done
refused()
{
	local before
	rm -f "$SCRATCH/called"
	before=$(tree)
	expect_exit 1 quickstart --prefix "$2"
	[ ! -e "$SCRATCH/called" ] || fail "$2: $(tr '\n' ' ' <"$SCRATCH/called")ran before the way was looked at"
	[ "$(tree)" = "$before" ] || fail "$2: something was changed: $(diff <(echo "$before") <(tree) || true)"
	[ ! -s "$OUT" ] || fail "$2: $(cat "$OUT")"
	[ "$(wc -l <"$ERR")" = 1 ] || fail "$2: not one line: $(cat "$ERR")"
	expect_message "^quickstart: .*$1.*nothing was changed"
}

# taken PREFIX: comes as far as the build
taken()
{
	rm -f "$SCRATCH/called"
	expect_exit 1 quickstart --prefix "$1"
	grep -qx cmake "$SCRATCH/called" 2>/dev/null || fail "$1 was refused: $(cat "$ERR")"
	[ "$(stat -L -c '%u %a' "$1")" = '0 755' ] || fail "$1 is $(stat -L -c '%u %a' "$1")"
}

way=$SCRATCH/way
mkdir "$way" "$way/mine" "$way/theirs" "$way/theirs/mine" "$way/open" "$way/open/mine" "$way/group" "$way/group/mine" "$way/sticky" "$way/sticky/theirs" "$way/sticky/mine" "$way/closed"
chown 20001 "$way/theirs" "$way/sticky/theirs"
chmod 777 "$way/open"
chgrp 20001 "$way/group" && chmod 775 "$way/group"
chmod 1777 "$way/sticky"
chmod 700 "$way/closed"
ln -s "$way/mine" "$way/sticky/link" && chown -h 20001 "$way/sticky/link"
ln -s "$way/theirs/mine" "$way/to-theirs"
ln -s "$way/mine" "$way/to-mine"
ln -s "$way/nowhere" "$way/sticky/dangling" && chown -h 20001 "$way/sticky/dangling"
: >"$way/file"

note "directories of other users, at the end and on the way, there or not yet"
refused "$way/theirs belongs to uid 20001" "$way/theirs"
refused "$way/theirs belongs to uid 20001" "$way/theirs/mine"
refused "$way/theirs belongs to uid 20001" "$way/theirs/new"
refused "$way/theirs belongs to uid 20001" "$way/theirs/new/below"
refused "$way/sticky/theirs belongs to uid 20001" "$way/sticky/theirs"

note "directories that others may write to: one with the sticky bit may be passed, not filled"
refused "others than root may write to $way/open" "$way/open/mine"
refused "others than root may write to $way/open" "$way/open/new"
refused "others than root may write to $way/group" "$way/group/mine"
refused "others than root may write to $way/sticky; choose a directory in it, such as --prefix $way/sticky/coffer" "$way/sticky"

note "links, of others and to others"
refused "$way/sticky/link belongs to uid 20001" "$way/sticky/link"
refused "$way/sticky/link belongs to uid 20001" "$way/sticky/link/"
refused "$way/sticky/link belongs to uid 20001" "$way/sticky/link/below"
refused "$way/sticky/dangling belongs to uid 20001" "$way/sticky/dangling"
refused "$way/theirs belongs to uid 20001" "$way/to-theirs"
refused "$way/theirs belongs to uid 20001" "$way/to-theirs/below"
refused "$way/mine/../theirs belongs to uid 20001" "$way/mine/../theirs/mine"

note "what cannot be a directory, or what others could not reach"
refused "$way/file is not a directory" "$way/file"
refused "$way/file is not a directory" "$way/file/below"
refused "$way/closed" "$way/closed/new"
refused "top of the file system" /
refused "top of the file system" //.

note "what lies below the prefix is looked at, too"
top=$(dirname "$script")/..
mapfile -t installed < <(grep -rhoE --include=CMakeLists.txt --include='*.cmake' 'DESTINATION [^ )]+' "$top/fs" "$top/contrib" | cut -d ' ' -f 2 | sort -u)
[ "${#installed[@]}" -ge 8 ] || fail "hardly anything is installed: ${installed[*]}"
for below in "${installed[@]}" lib share share/man var var/lib var/lib/coffer etc etc/coffer vault; do
	mkdir -p "$way/full/$below"
	chown 20001 "$way/full/$below"
	refused "$way/full/$below belongs to uid 20001" "$way/full"
	chown 0 "$way/full/$below"
	chmod 1777 "$way/full/$below"
	refused "others than root may write to $way/full/$below" "$way/full"
	chmod 755 "$way/full/$below"
	mv "$way/full/$below" "$way/elsewhere"
	ln -s "$way/theirs/mine" "$way/full/$below"
	refused "$way/theirs belongs to uid 20001" "$way/full"
	rm "$way/full/$below" && mv "$way/elsewhere" "$way/full/$below"
done

note "without a prefix, the places of the store and of the key"
cp /etc/passwd /etc/nsswitch.conf "$way/theirs"
for place in /var/lib /etc; do
	rm -f "$SCRATCH/called"
	# shellcheck disable=SC2016 # its own words
	expect_exit 1 unshare -m sh -c 'mount --bind "$1" "$2" && shift 2 && exec "$@"' - "$way/theirs" "$place" \
		env "PATH=$SCRATCH/stubs:$PATH" "TMPDIR=$SCRATCH" timeout -k 5 60 "$script"
	[ ! -e "$SCRATCH/called" ] || fail "$place: $(tr '\n' ' ' <"$SCRATCH/called")ran before the way was looked at"
	expect_message "^quickstart: $place belongs to uid 20001.*nothing was changed"
done

note "what is root's alone is taken, whatever the caller's umask"
cd "$way"
for umask in 000 022 077; do
	(
		umask $umask
		taken "$way/mine"
		taken "$way/full"
		taken "$way/sticky/mine"
		taken "$way/sticky/new-$umask"
		taken "$way/new-$umask/below"
		taken "$way/to-mine"
		taken "to-mine/relative-$umask"
	)
done
