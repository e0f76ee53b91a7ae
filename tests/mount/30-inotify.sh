#!/bin/bash
# Whoever follows a secret with inotify hears of every rotation, once, and reads the new value when woken: on the file, on its directory, through bind mounts of
# either, in another mount namespace too. ROTATIONS says how many (100).
. "$(dirname "$0")/../support/lib.sh"

rotations=${ROTATIONS:-100}

vault_start
printf 'value 0' | coffer put db
expect_ok coffer grant secrets-officer user:20001 --on '*'

mkdir "$SCRATCH/bind-dir" "$SCRATCH/ns-dir"
touch "$SCRATCH/bind-file" "$SCRATCH/ns-file"
mount_extra --bind "$MNT/db" "$SCRATCH/bind-dir"
mount_extra --bind "$MNT/db/current" "$SCRATCH/bind-file"
install -m 755 "$COFFER_SUPPORT/watch" "$SCRATCH/bin"

watchers=()
declare -A FROM=()

next_line() { IFS= read -r -t 60 LINE <&"${FROM[$1]}" || fail "$1 heard nothing within 60 s"; }

# watcher NAME [PREFIX…] -- ARGUMENTS OF watch…
watcher()
{
	local name=$1 from prefix=()
	shift
	while [ "$1" != -- ]; do
		prefix+=("$1")
		shift
	done
	shift
	mkfifo "$SCRATCH/$name.events"
	exec {from}<>"$SCRATCH/$name.events"
	FROM[$name]=$from
	start "${prefix[@]}" setpriv --reuid=20001 --regid=20001 --clear-groups -- watch "$@" >"$SCRATCH/$name.events"
	next_line "$name"
	[ "$LINE" = ready ] || fail "$name: $LINE"
	watchers+=("$name")
}

in_namespace=(unshare -m --propagation private bash -c
	'mount --bind "$1/vault/db" "$1/ns-dir" && mount --bind "$1/vault/db/current" "$1/ns-file" && shift && exec "$@"' - "$SCRATCH")

note "a watcher of current, of its directory, of bind mounts of both, and of all four in another mount namespace"
watcher file -- "$MNT/db/current" - "$MNT/db/current"
watcher dir -- "$MNT/db" current "$MNT/db/current"
watcher bind-file -- "$SCRATCH/bind-file" - "$SCRATCH/bind-file"
watcher bind-dir -- "$SCRATCH/bind-dir" current "$SCRATCH/bind-dir/current"
watcher ns-file unshare -m --propagation private -- "$MNT/db/current" - "$MNT/db/current"
watcher ns-bind-file "${in_namespace[@]}" -- "$SCRATCH/ns-file" - "$SCRATCH/ns-file"
watcher ns-bind-dir "${in_namespace[@]}" -- "$SCRATCH/ns-dir" current "$SCRATCH/ns-dir/current"
inotifywait -m -q -e modify,close_write --format '%e' "$MNT/db/current" >"$SCRATCH/tool-file" 2>"$SCRATCH/tool-err" &
STARTED+=("$(process_of $!)")
inotifywait -m -q -e modify,close_write --format '%e %f' "$MNT/db" >"$SCRATCH/tool-dir" 2>>"$SCRATCH/tool-err" &
STARTED+=("$(process_of $!)")
# -m says nothing when it watches, with -q; the descriptor's fdinfo does
inotify_ready() { grep -qs '^inotify wd' "/proc/${1%:*}"/fdinfo/*; }
wait_for inotify_ready "${STARTED[-1]}"
wait_for inotify_ready "${STARTED[-2]}"

# everybody_reads VALUE [MODIFIES]: how many MODIFY came before the CLOSE_WRITE, as an extended regular expression
everybody_reads()
{
	local name
	for name in "${watchers[@]}"; do
		next_line "$name"
		[[ $LINE =~ ^${2:-1}\ "$1"$ ]] || fail "$name: MODIFY and value are '$LINE', not '${2:-1} $1'"
	done
}

note "$rotations rotations by coffer put: each is one MODIFY and one CLOSE_WRITE, and the value is the new one"
for ((i = 1; i <= rotations; i++)); do
	printf 'value %d' "$i" >"$SCRATCH/value"
	coffer put db --file "$SCRATCH/value" >/dev/null
	everybody_reads "value $i"
done

note "inotifywait has heard of each, and nothing else"
changes=$rotations
tool_has_all() { [ "$(grep -c CLOSE_WRITE "$SCRATCH/tool-file")" -ge "$changes" ] && [ "$(grep -c CLOSE_WRITE "$SCRATCH/tool-dir")" -ge "$changes" ]; }
wait_for tool_has_all
for tool in tool-file tool-dir; do
	[ "$(grep -c MODIFY "$SCRATCH/$tool")" = "$changes" ] || fail "$tool: $(grep -c MODIFY "$SCRATCH/$tool") MODIFY, not $changes"
	[ "$(grep -c CLOSE_WRITE "$SCRATCH/$tool")" = "$changes" ] || fail "$tool: $(grep -c CLOSE_WRITE "$SCRATCH/$tool") CLOSE_WRITE, not $changes"
done
[ "$(sort -u "$SCRATCH/tool-dir" | tr '\n' ,)" = 'CLOSE_WRITE,CLOSE current,MODIFY current,' ] || fail "$(sort -u "$SCRATCH/tool-dir")"

note "the same by rollback, by a write through the mount (where O_TRUNC is a MODIFY too), and when a version is withdrawn and comes back"
expect_ok coffer rollback db 1
everybody_reads 'value 0'
as 20001 sh -c 'printf "written" >"$1"' - "$MNT/db/current"
everybody_reads written '[12]'
expect_ok coffer disable db --version "$((rotations + 3))"
everybody_reads 'value 0'
expect_ok coffer enable db --version "$((rotations + 3))"
everybody_reads 'written'

note "a new name touches the directory of the vault, and is there when its watcher looks"
watcher root -- "$MNT" . "$MNT"
printf 'x' | coffer put another
next_line root
# ".", "..", and two secrets
[ "$LINE" = '1 4' ] || fail "root: '$LINE', not '1 4'"

unset 'watchers[-1]'

note "a watch outlives the worker"
DEATHS_EXPECTED=1
worker=$(status .processes.worker)
kill -9 "$worker"
printf 'after the kill' | coffer put db
# the next worker rings for what changed in the last moments of the one before, too: it cannot know what was heard
for name in "${watchers[@]}"; do
	next_line "$name"
	[ "$LINE" != '1 written' ] || next_line "$name"
	[ "$LINE" = '1 after the kill' ] || fail "$name: '$LINE', not '1 after the kill'"
done
[ "$(status .processes.worker)" != "$worker" ] || fail "the worker was not replaced"

note "a stranger's touch of a directory is refused, so that no watcher hears of it"
expect_errno EPERM as 20009 sysop utimens "$MNT"
expect_errno EPERM as 20009 sysop utimens "$MNT/db"
expect_errno EPERM as 20009 sysop chmod 755 "$MNT/db"
expect_errno EPERM as 20009 sysop chown 0 0 "$MNT/db/versions"
expect_errno EPERM as 20009 sysop utimens "$MNT/.coffer"
expect_errno ok as 20001 sysop utimens "$MNT/db"

note "the bell's own opens are not accesses"
audit_has_not '.caller.comm == "cofferd"'
unmount_extra
