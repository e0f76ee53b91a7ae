#!/bin/bash
# The command where something is against it: descriptors that are closed, output that is lost, words of no text, names and files that others chose.
. "$(dirname "$0")/../support/lib.sh"

DEATHS_EXPECTED=yes
vault_start
printf one | expect_ok coffer put db

note "what is printed into a closed descriptor lies in no file, and is not taken for printed"
# shellcheck disable=SC2016
expect_exit 1 sh -c 'exec coffer recipient keygen "$1" >&-' sh "$SCRATCH/keys/closed"
expect_message 'closed: .*nothing was written'
[ ! -e "$SCRATCH/keys/closed" ] || fail "a key whose public half is lost"
for closed in '0<&-' '2>&-' '0<&- 2>&-'; do
	expect_ok sh -c "exec coffer recipient keygen $SCRATCH/keys/pair $closed"
	[ "$(grep -c . "$SCRATCH/keys/pair")" = 3 ] || fail "$closed: $(cat "$SCRATCH/keys/pair")"
	[ "$(cat "$OUT")" = "$(openssl pkey -pubout -in "$SCRATCH/keys/pair")" ] || fail "$closed: another public key"
	rm "$SCRATCH/keys/pair"
done
expect_exit 1 sh -c 'coffer put db <&-'
expect_message 'Bad file descriptor'
# the warning goes out behind the line that is lost
for act in 'attr db --expires 2001-01-01T00:00:00Z' list 'recipient keygen '"$SCRATCH/keys/full"; do
	expect_exit 1 sh -c "coffer $act >/dev/full"
	grep -q 'standard output\|nothing was written' "$ERR" || fail "$act: $(cat "$ERR")"
done

note "a word that is no text is not left out of what is done"
raw=$'\xff'
expect_exit 2 coffer grant secrets-user user:20001 --on db --reason "$raw"
expect_message 'not UTF-8'
expect_exit 0 coffer bindings --output json
jq -e 'length == 1' <"$OUT" >/dev/null || fail "a binding without its reason was made"
expect_exit 2 coffer rotation set db --every 90d --expiry "$raw" --generator uuid
expect_output '[]' coffer rotation list --output json
expect_exit 2 coffer attr db --content-type "$raw"
expect_exit 2 coffer attr db --tag a=b --untag "$raw"
expect_message 'untag .*not UTF-8'
expect_ok coffer recipient keygen "$SCRATCH/keys/safe"
cp "$OUT" "$SCRATCH/safe.pub"
expect_exit 2 coffer recipient add "$raw" --public-key "$SCRATCH/safe.pub"
expect_ok coffer recipient add safe --public-key "$SCRATCH/safe.pub"
expect_exit 2 coffer backup db "$raw" --recipient safe
[ ! -s "$OUT" ] || fail "a backup without one of its secrets"

note "hooks.allow: only for what can run, never held up by who may only read it, and whole lines or none"
line_count() { cat "$STORE/hooks.allow" 2>/dev/null | wc -l; }
install -d -m 777 "$SCRATCH/open"
install -m 755 /bin/true "$SCRATCH/open/program"
for exec in "$SCRATCH/nosuch" "$SCRATCH/open/program" /tmp '/bin/true %q' "/bin/$(printf '%0600d' 0)"; do
	! coffer hook add --on db --exec "$exec" --user root >"$OUT" 2>"$ERR" || fail "$exec was taken"
	[ "$(wc -l <"$ERR")" = 1 ] || fail "$exec: $(cat "$ERR")"
	[ "$(line_count)" = 0 ] || fail "what cannot run was allowed: $(cat "$STORE/hooks.allow")"
done
expect_exit 2 coffer hook add --on db --exec "$(printf '/bin/true\n0 /bin/other')" --user root
[ "$(line_count)" = 0 ] || fail "a command of two lines: $(cat "$STORE/hooks.allow")"
(umask 077 && expect_ok coffer hook add --on db --exec '/bin/true umask' --user root) || fail "a program that root allows under a umask of his own"
[ "$(stat -c %a "$STORE/hooks.allow")" = 644 ] || fail "the runner cannot read the list: $(stat -c %a "$STORE/hooks.allow")"
printf '# by hand' >"$STORE/hooks.allow"
chmod 644 "$STORE/hooks.allow"
start setpriv --reuid=20001 --regid=20001 --clear-groups flock --no-fork "$STORE/hooks.allow" sleep 600
wait_for sh -c "! flock --nonblock '$STORE/hooks.allow' true"
expect_ok timeout 30 coffer hook add --on db --exec '/bin/true %n' --user root
expect_ok coffer rotation set db --every 90d --hook /bin/true
printf '# by hand\n0 /bin/true %%n\n%d /bin/true %%n\n' "$(id -u coffer-hooks)" | diff - "$STORE/hooks.allow" || fail "other lines"
expect_ok coffer rotation remove db
expect_message "in $STORE/hooks.allow stays"
expect_ok coffer rotation set db --every 90d --generator uuid
expect_ok coffer rotation remove db
[ ! -s "$ERR" ] || fail "a policy without a program has no line: $(cat "$ERR")"

{ printf '%01019d\n' 0 | sed 's/^0/#/'; } >"$STORE/hooks.allow"
cp "$STORE/hooks.allow" "$SCRATCH/full"
expect_exit 1 bash -c 'ulimit -f 1; exec coffer hook add --on other --exec "/bin/true other" --user root'
expect_message 'No space left'
cmp "$SCRATCH/full" "$STORE/hooks.allow" || fail "half a line"

note "a list of names with a long line: what stands behind the name is none"
printf x | expect_ok coffer put other
printf '# a comment\n\ndb %s other\nother\ttags' "$(printf '%04091d' 0)" >"$SCRATCH/names"
expect_output "$(printf 'db is at version 2\nother is at version 2')" coffer rotate --from "$SCRATCH/names" --generator uuid

note "a set from a directory that others may write to has what lies there, and nothing that a link leads to elsewhere"
mkdir -p "$SCRATCH/volume/..2026" "$SCRATCH/volume/dir"
echo mine >"$SCRATCH/private"
printf linked >"$SCRATCH/volume/..2026/linked"
ln -s ..2026 "$SCRATCH/volume/..data"
ln -s ..data/linked "$SCRATCH/volume/linked"
ln -s ../linked "$SCRATCH/volume/dir/current"
expect_output "$(printf 'dir version 1\nlinked version 1\nset of 2')" sh -c "coffer put --set '$SCRATCH/volume' | sed 's/, epoch.*//'"
expect_output linked coffer get dir
for target in "$SCRATCH/private" ../private /proc/self/environ; do
	ln -sfn "$target" "$SCRATCH/volume/planted"
	expect_exit 2 coffer put --set "$SCRATCH/volume"
	expect_message 'planted is a link that leads out'
done
rm "$SCRATCH/volume/planted"
ln -sfn ../../private "$SCRATCH/volume/dir/current"
expect_exit 2 coffer put --set "$SCRATCH/volume"
expect_exit 4 coffer get planted

note "an archive whose first file is none is refused at once, whatever its writer is still at"
mkdir "$SCRATCH/bad"
mkfifo "$SCRATCH/bad/pipe"
tar -C "$SCRATCH/bad" -cf "$SCRATCH/bad.tar" pipe
mkfifo "$SCRATCH/stalled"
exec 8<>"$SCRATCH/stalled"
head -c 512 "$SCRATCH/bad.tar" >&8
expect_exit 2 timeout 30 coffer put --set - <"$SCRATCH/stalled"
expect_message 'pipe in the archive is no file'
exec 8>&-

note "a backup that is begun again takes back its own bytes, not what the file had before"
mkdir "$SCRATCH/set"
for ((i = 0; i < 15; i++)); do head -c 1048576 /dev/zero | tr '\0' "$((i % 10))" >"$SCRATCH/set/large$i"; done
expect_ok coffer put --set "$SCRATCH/set"
echo 'what was there' >"$SCRATCH/kept"
size=$(stat -c %s "$SCRATCH/kept")
grows() { [ "$(stat -c %s "$SCRATCH/kept")" -gt "$size" ]; }
coffer backup --all --recipient safe >>"$SCRATCH/kept" 2>"$ERR" &
backup=$!
wait_for grows
# one that is over already, on a fast machine, has nothing to begin again
kill -STOP "$backup" 2>/dev/null || true
kill_worker
kill -CONT "$backup" 2>/dev/null || true
wait "$backup" || fail "no backup: $(cat "$ERR")"
[ "$(head -n 1 "$SCRATCH/kept")" = 'what was there' ] || fail "what was in the file is lost"
tail -c "+$((size + 1))" "$SCRATCH/kept" >"$SCRATCH/whole"
expect_ok coffer backup verify "$SCRATCH/whole"

mkfifo "$SCRATCH/pipe"
expect_exit 2 timeout 30 coffer backup verify "$SCRATCH/pipe"
expect_message 'put it into a file'
expect_exit 2 timeout 30 coffer backup drill "$SCRATCH/pipe" --key "$SCRATCH/keys/safe"

note "an edit that cannot be stored: who may not is told before, and at a terminal the work is not lost"
cat >"$SCRATCH/bin/editor" <<'TXT'
#!/bin/sh
echo turn >>"$TURNS"
case $(grep -c . "$TURNS") in
1) head -c 1048577 /dev/zero | tr '\0' x >"$1" ;;
2) printf 'the second turn' >"$1"; coffer vault set --value-max 1 >/dev/null ;;
3) printf 'the third turn' >"$1"; coffer vault set --value-max 1M >/dev/null ;;
esac
TXT
chmod 755 "$SCRATCH/bin/editor"
export EDITOR=editor VISUAL='' TURNS=$SCRATCH/turns
: >"$TURNS" && chmod 666 "$TURNS"
expect_ok coffer grant secrets-user user:20003 --on db
expect_exit 3 as 20003 coffer edit db
expect_message 'secrets/set on db'
[ ! -s "$TURNS" ] || fail "the editor was started for who may not store"
# too long; then longer than the vault takes, twice; then right
printf 'x\ns\ne\ns\ne\n' | expect_ok script -q -e -c 'coffer edit db' /dev/null
expect_output 'the third turn' coffer get db
[ "$(grep -c . "$TURNS")" = 3 ] || fail "$(grep -c . "$TURNS") turns at the editor"
# nobody is asked where there is no terminal
: >"$TURNS"
expect_exit 1 coffer edit db </dev/null
expect_message 'too long; nothing was changed'
! find /dev/shm -maxdepth 1 -name 'coffer-edit.*' -user 0 -newer "$TURNS" | grep -q . || fail "an edit is left in memory"

note "a drill that is killed takes its scratch vault along"
mkdir "$SCRATCH/drills"
export TMPDIR=$SCRATCH/drills
in_drill() { ! alive "$drill" || find "$TMPDIR" -name vault.db | grep -q .; }
none_left() { [ -z "$(ls "$TMPDIR")" ]; }
for signal in TERM KILL; do
	coffer backup drill "$SCRATCH/whole" --key "$SCRATCH/keys/safe" --no-record >/dev/null 2>&1 &
	drill=$(process_of $!)
	wait_for in_drill
	# on a fast machine it may be over already, and has left nothing either
	kill -"$signal" "${drill%:*}" 2>/dev/null || true
	wait "${drill%:*}" 2>/dev/null || true
	wait_for none_left
done
unset TMPDIR

note "what a terminal cuts off, or splits into lines, is not stored; its echo comes back whatever ends the command"
mkfifo "$SCRATCH/typed"
exec 7<>"$SCRATCH/typed"
# at_terminal PROMPT TEXT COMMAND: types the text (printf's format) once the prompt is there; the command's status
at_terminal()
{
	rm -f "$SCRATCH/typescript"
	SHELL=/bin/bash timeout -k 5 60 script -q -f -e -c "$3" "$SCRATCH/typescript" <"$SCRATCH/typed" >/dev/null 2>&1 &
	local terminal=$!
	wait_for grep -q "$1" "$SCRATCH/typescript"
	# shellcheck disable=SC2059
	printf "$2" >&7
	wait "$terminal"
}
long=$(printf '%05000d' 0)
expect_exit 2 at_terminal 'not shown' "$long\\n" 'coffer put typed'
grep -q 'no line of more than 4094 characters.*--file FILE' "$SCRATCH/typescript" || fail "$(cat "$SCRATCH/typescript")"
expect_exit 2 at_terminal 'not shown' 'one\ntwo\nthree\n' 'coffer put typed'
grep -q 'more than one line' "$SCRATCH/typescript" || fail "$(cat "$SCRATCH/typescript")"
expect_exit 4 coffer get typed
expect_exit 0 at_terminal 'not shown' "${long:0:4094}\\n" 'coffer put typed'
[ "$(coffer get typed)" = "${long:0:4094}" ] || fail "another value than was typed"
expect_exit 0 at_terminal ' echo ' '' 'coffer put typed 2> >(exec true); stty -a'
note "questions are asked at the terminal, wherever messages go, and not about what is not there"
expect_exit 1 at_terminal 'Go on' 'n\n' 'coffer seal 2>/dev/null'
[ "$(jq .sealed "$MNT/.coffer/status")" = false ] || fail "sealed without a yes"
expect_exit 4 coffer purge nosuch
expect_exit 4 at_terminal 'no deleted secret' '' 'coffer purge nosuch'
if grep -q 'Go on' "$SCRATCH/typescript"; then fail "$(cat "$SCRATCH/typescript")"; fi

for signal in TERM HUP; do
	expect_exit 0 at_terminal ' echo ' '' "timeout --foreground -s $signal 1 coffer put typed; stty -a"
done
