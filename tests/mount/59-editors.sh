#!/bin/bash
# coffer edit with real editors whose owner has told them to keep everything: what they write of a value lies in the private directory in memory, and nowhere else. Those that are installed are tried.
. "$(dirname "$0")/../support/lib.sh"

expect_ok vault_start

# a uid and a word that no other test has
uid=$((2000000 + $$))
marker=marker-$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')
expect_ok coffer grant secrets-officer "user:$uid" --on 'x'

home=$SCRATCH/home work=$SCRATCH/work screen=$SCRATCH/keys/screen
mkdir "$home" "$work" "$SCRATCH/tmp"
: >"$SCRATCH/stamp"

# The worst that an owner may have asked of his editors: histories, undo, backups, all in his home.
settings()
{
	rm -rf "${home:?}" && mkdir -p "$home"/{backup,undo,swap,.emacs.d,.config/nvim,.config/micro,.mg.d,.local/state}
	cat >"$home/.vimrc" <<-TXT
		set backup backupdir=$home/backup directory=$home/swap viminfo='100,<50,s10,h,n$home/.viminfo
		silent! set undofile undodir=$home/undo
	TXT
	cp "$home/.vimrc" "$home/.config/nvim/init.vim"
	sed -i 's/viminfo=.*/shada=!,'\''100,<50,s10,h/' "$home/.config/nvim/init.vim"
	printf 'set %s\n' historylog positionlog backup "backupdir \"$home/backup\"" >"$home/.nanorc"
	printf '{ "savehistory": true, "savecursor": true, "saveundo": true, "permbackup": true }' >"$home/.config/micro/settings.json"
	cat >"$home/.emacs" <<-TXT
		(setq backup-directory-alist '(("." . "$home/backup")) auto-save-file-name-transforms '((".*" "$home/backup/" t)))
		(setq savehist-additional-variables '(kill-ring)) (savehist-mode 1)
	TXT
	printf 'make-backup-files t\nbackup-to-home-directory t\n' >"$home/.mg"
	chown -R "$uid" "$home" "$work" "$SCRATCH/tmp"
}

# What of the value lies on a disk, in the places where editors keep files
found()
{
	{
		find "$home" "$work" "$SCRATCH/tmp" -type f
		# not deeper: other tests' mounts may lie there, and never answer
		find /tmp -maxdepth 1 -type f -newer "$SCRATCH/stamp"
		find /var/tmp -maxdepth 2 -type f -newer "$SCRATCH/stamp"
	} | xargs -r -d '\n' grep -slF -e "$marker" -- || true
} 2>/dev/null

# Files outside of the private directory that an editor of this test may write now: also such as have no name
open_files()
{
	local process fd file flags
	for process in $(grep -lsaF coffer-edit. /proc/[0-9]*/cmdline || true); do
		process=${process%/cmdline}
		grep -qsaF "PATH=$SCRATCH/bin:" "$process/environ" || continue
		for fd in "$process"/fd/*; do
			[ -f "$fd" ] || continue
			file=$(readlink "$fd" || true)
			flags=$(sed -n 's/^flags:[[:space:]]*//p' "${fd/\/fd\//\/fdinfo\/}" || true)
			! readlink /proc/$$/fd/* | grep -qxF -e "$file" || continue	# of ctest's, handed down
			case $file in
			/dev/shm/coffer-edit.* | "$MNT"/* | "$SCRATCH"/keys/* | /memfd:* | anon_inode:*) ;;
			*) [ $((flags & 3)) = 0 ] || echo "$file" ;;
			esac
		done
	done
}

drawn() { grep -qaF "$marker" "$screen"; }

# edit NAME KEYS COMMAND…: somebody edits x with this editor; KEYS as printf has them
edit()
{
	local name=$1 keys=$2 pid before after version=$((version + 1)) status=0
	shift 2
	note "$name"
	settings
	rm -f "$screen"
	mkfifo "$SCRATCH/typed"
	exec 7<>"$SCRATCH/typed"
	(
		cd "$work" || exit 1
		exec env HOME="$home" TMPDIR="$SCRATCH/tmp" XDG_STATE_HOME="$home/.local/state" TERM=xterm EDITOR="$*" VISUAL='' \
			timeout -k 5 100 script -q -e -f -c "stty rows 24 cols 80; exec setpriv --reuid=$who --regid=$who --clear-groups coffer edit x" "$screen" <&7 >/dev/null 2>&1
	) &
	pid=$!
	wait_for drawn
	before=$(open_files)
	# shellcheck disable=SC2059 # KEYS is a format
	printf "$keys" >&7
	wait "$pid" || status=$?
	exec 7>&-
	rm "$SCRATCH/typed"
	[ "$status" = 0 ] || fail "$name: exit status $status: $(tail -c 300 "$screen" | tr -cd '[:print:]')"
	after=$(found)
	[ -z "$after" ] || fail "$name left the value in $(tr '\n' ' ' <<<"$after")"
	[ -z "$before" ] || fail "$name had files open for writing: $before"
	[ "$(coffer get x)" = "$marker one$version" ] || fail "$name stored '$(coffer get x)'"
	[ -z "$(ls -A "$work")" ] || fail "$name wrote to the directory where the command was called: $(ls -A "$work")"
}

version=0 who=$uid
edited() { printf '%s one%s\n' "$marker" "$1"; }
edited 0 | expect_ok coffer put x

# Each yanks, searches and changes the number at the end of the line.
there() { command -v "$1" >/dev/null; }
# shellcheck disable=SC2016 # vi's own $
vi_keys() { printf 'yy/%s\\r$r%s:s/one/one/\\r:wq\\r' "$marker" "$((version + 1))"; }
emacs_keys() { printf '\\005\\177%s\\030\\023\\030\\003' "$((version + 1))"; }

for editor in vim.tiny vim nvim vi; do
	! there $editor || edit $editor "$(vi_keys)" $editor
done
# it asks those that have no name in passwd to press a key
who=0
! there nvi || edit nvi "$(vi_keys)" nvi
who=$uid
! there vim || edit "vim with settings of the user's own" "$(vi_keys)" vim -u "$home/.vimrc"
! there nano || edit nano "\\027$marker\\r\\005\\177$((version + 1))\\017\\r\\030" nano
! there micro || edit micro "\\033[F\\177$((version + 1))\\023\\021" micro
! there emacs || edit emacs "$(emacs_keys)" emacs -nw
! there mg || edit mg "$(emacs_keys)" mg
! there joe || edit joe "\\005\\177$((version + 1))\\013x" joe
! there mcedit || edit mcedit "\\033[F\\177$((version + 1))\\0332\\r\\0330" mcedit

as_caller()
{
	(
		cd "$work" || exit 1
		exec env HOME="$home" TMPDIR="$SCRATCH/tmp" VISUAL='' timeout -k 5 60 setpriv "--reuid=$uid" "--regid=$uid" --clear-groups "$@"
	)
}
settings
rm -rf "${work:?}" && mkdir "$work" "$work/bin" "$home/bin"

note "ed has its buffer in /tmp whatever it is told: who edits on a disk is warned"
version=$((version + 1))
printf '1s/one.*/one%s/\nw\nq\n' "$version" | expect_ok as_caller env EDITOR=ed coffer edit x
case $(stat -f -c %T /tmp) in
tmpfs | ramfs) ! grep -q warning "$ERR" || fail "a warning of a /tmp in memory" ;;
*) grep -q 'warning: "ed" keeps what it edits in a file without a name in /tmp, which is on a disk' "$ERR" || fail "no warning: $(cat "$ERR")" ;;
esac
left=$(found)
[ -z "$left" ] || fail "ed left $left"
expect_output "$(edited $version)" coffer get x

note "any other editor: its home, its working directory and all places that variables name lie in the private directory"
places="HOME XDG_CONFIG_HOME XDG_CACHE_HOME XDG_DATA_HOME XDG_STATE_HOME XDG_RUNTIME_DIR TMPDIR TMP TEMP"
forgotten="VIMINIT EXINIT NEXINIT HISTFILE LESSHISTFILE PYTHON_HISTORY MICRO_CONFIG_HOME MC_HOME NVIM EMACS_SOCKET_NAME DBUS_SESSION_BUS_ADDRESS"
cat >"$work/bin/any" <<'TXT'
#!/bin/sh
private=$(dirname "$(dirname "$2")")
echo "args $*"
[ "$(stat -c %a "$private")" = 700 ] || echo "mode"
[ "$(pwd -P)" = "$private/home" ] || echo "cwd $(pwd -P)"
[ "$(ulimit -c)" = 0 ] || echo "a core may be left"
for name in $PLACES; do
	eval "place=\$$name"
	case $place in "$private"/*) ;; *) echo "$name $place" ;; esac
	cp "$2" "$place/copy.$name" || echo "$name cannot be written"
done
# as Go's cache of modules has it, and worse
mkdir -p "$HOME/locked/closed/deeper"
cp "$2" "$HOME/locked/closed/deeper/copy"
chmod 400 "$HOME/locked/closed/deeper/copy"
chmod 0 "$HOME/locked/closed/deeper" "$HOME/locked/closed"
chmod 555 "$HOME/locked"
for name in $FORGOTTEN; do
	eval "[ -z \"\${$name+x}\" ] || echo $name"
done
[ "$XAUTHORITY" = "$OLD_HOME/.Xauthority" ] || echo "XAUTHORITY $XAUTHORITY"
[ "$WAYLAND_DISPLAY" = "$OLD_HOME/run/wayland-7" ] || echo "WAYLAND_DISPLAY $WAYLAND_DISPLAY"
TXT
chmod 755 "$work/bin/any"
cp "$work/bin/any" "$home/bin/any"
cp "$work/bin/any" "$work/bin/emacsclient.gtk"
any()
{
	local name given=()
	for name in $places $forgotten; do
		[ "$name" = HOME ] || given+=("$name=$home/run")
	done
	as_caller env "${given[@]}" WAYLAND_DISPLAY=wayland-7 OLD_HOME="$home" PLACES="$places" FORGOTTEN="$forgotten" EDITOR="$1" coffer edit x
}
# shellcheck disable=SC2088 # what a caller may have in $EDITOR is for coffer
for editor in "$work/bin/any" bin/any ./bin/any '~/bin/any' "env SET=yes $work/bin/any" "'$work/bin/any'"; do
	expect_exit 0 any "$editor -o"
	[ "$(sed 's|/dev/shm/coffer-edit[^/]*/|PRIVATE/|' "$OUT")" = 'args -o PRIVATE/value/x' ] || fail "$editor: $(cat "$OUT")"
	expect_message 'unchanged'
	left=$(found)
	[ -z "$left" ] || fail "$editor left $left"
done
private_left() { find /dev/shm -maxdepth 1 -name 'coffer-edit.*' -user "$uid" | grep .; }
! private_left || fail "a private directory is left, with all that its owner may not write to"

note "one that hands the value to a process that runs already is refused before the value is read"
reads() { audit_count ".operation == \"SecretGet\" and .caller.uid == $uid"; }
before=$(reads)
expect_exit 2 any bin/emacsclient.gtk
# shellcheck disable=SC2016 # its own $
expect_message 'bin/emacsclient.gtk" hands the value to a process that runs already.*set \$EDITOR'
[ ! -s "$OUT" ] || fail "it was run"
[ "$(reads)" = "$before" ] || fail "the value was read"
[ "$before" -gt 0 ] || fail "no read was counted"
