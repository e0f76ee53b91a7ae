#!/bin/bash
# A file beside `current`, renamed over it, as careful programs do: sed -i, perl -i, git, rsync, vim, a script with mv. Whose it is, what others see, what is bounded, and that watches, open files and binds go on.
. "$(dirname "$0")/../support/lib.sh"
RENAMES=${RENAMES:-40}	# of three writers each; by hand: 2000

vault_start
officer=20001 reader=20002 writer=20003 other=20004
expect_ok coffer grant secrets-officer user:$officer --on '*'
expect_ok coffer grant secrets-user user:$reader --on '*'
expect_ok coffer role create writer secrets/set
expect_ok coffer grant writer user:$writer --on '*'
d=$MNT/db f=$MNT/db/current
install -d -o $officer "$SCRATCH/home"
export HOME=$SCRATCH/home

one_link() { [ "$(as $officer stat -c %h "$f")" = 1 ]; }

# made FILE COMMAND…: the command succeeds, makes one version of exactly the bytes of FILE, and leaves nothing beside it
made()
{
	local want=$1 before
	before=$(ls "$d/versions" | wc -l)
	shift
	expect_ok as $officer "$@"
	cmp "$want" "$f" || fail "$* left $(head -c 100 "$f")"
	[ "$(ls "$d/versions" | wc -l)" = $((before + 1)) ] || fail "$* made $(($(ls "$d/versions" | wc -l) - before)) versions"
	[ "$(as $officer ls -A "$d" | tr '\n' ' ')" = 'current versions ' ] || fail "$* left $(as $officer ls -A "$d")"
	wait_for -t 10 one_link	# who looks at it before the daemon knows that its answer to the rename has arrived sees two
	[ "$(as $officer stat -c '%a %u %h %F' "$f")" = "600 $officer 1 regular file" ] || fail "after $*: $(as $officer stat -c '%a %u %h %F' "$f")"
}

want=$SCRATCH/home/want
printf 'user=a\npassword=b\n' | coffer put db
ino=$(stat -c %i "$f")
note "sed -i, perl -i, busybox sed -i, a script"
printf 'user=a\npassword=c\n' >"$want"
made "$want" sed -i 's/=b/=c/' "$f"
printf 'user=a\npassword=d\n' >"$want"
made "$want" perl -pi -e 's/=c/=d/' "$f"
printf 'user=a\npassword=e\n' >"$want"
made "$want" busybox sed -i 's/=d/=e/' "$f"
head -c 300000 /dev/urandom >"$want"
made "$want" bash -c 'cp "$1" "$2.new" && sync "$2.new" && mv "$2.new" "$2"' - "$want" "$f"
printf 'by python' >"$want"
made "$want" /usr/bin/python3 -c 'import os, sys, tempfile
fd, name = tempfile.mkstemp(dir=os.path.dirname(sys.argv[1]))
with os.fdopen(fd, "w") as o:
    o.write("by python")
    o.flush()
    os.fsync(o.fileno())
os.chmod(name, 0o640)
assert os.stat(name).st_mode & 0o777 == 0o640 and os.stat(name).st_size == 9
os.replace(name, sys.argv[1])
os.fsync(os.open(os.path.dirname(sys.argv[1]), os.O_RDONLY))' "$f"
note "git's credentials and configuration, with a lock"
printf 'https://u:p@h\n' >"$want"
expect_ok as $officer sysop open w,t "$f" + fsync
made "$want" sh -c 'printf "protocol=https\nhost=h\nusername=u\npassword=p\n\n" | git credential-store --file "$0" store' "$f"
expect_ok as $officer sysop open w,t "$f" + fsync
printf '[a]\n\tb = c\n' >"$want"
made "$want" git config -f "$f" a.b c
expect_errno ok as $officer sysop open w,xc "$d/current.lock"
expect_exit 255 as $officer git config -f "$f" a.b d
expect_errno ok as $officer sysop unlink "$d/current.lock"
note "rsync -a, vim, vim with what it keeps beside a file"
printf 'synced\n' >"$want"
chmod 644 "$want"
made "$want" rsync -a "$want" "$f"
touch -d 2001-01-01 "$want"	# or rsync takes it for the same
made "$want" rsync -a --inplace "$want" "$f"
printf 'by vim\n' >"$want"
made "$want" vim.tiny -n -es -u NONE -c 's/synced/by vim/' -c wq "$f"
printf 'by vim too\n' >"$want"
expect_ok as $officer vim.tiny -es -u NONE -c 'set backup writebackup backupskip= backupdir=. directory=.' -c 's/vim/vim too/' -c wq "$f"
cmp "$want" "$f" || fail "vim left $(cat "$f")"
expect_output 'by vim' as $officer cat "$d/current~"
expect_ok as $officer rm "$d/current~"
note "as Redis saves its users, rclone copies, and python-dotenv sets a key"
printf 'user bob on\n' >"$want"
made "$want" /usr/bin/python3 -c 'import os, sys
path, want = sys.argv[1], open(sys.argv[2], "rb").read()
temporary = "%s.tmp-%d-1700000000000" % (path, os.getpid())
fd = os.open(temporary, os.O_WRONLY | os.O_CREAT, 0o644)
os.write(fd, want)
os.fsync(fd)
os.close(fd)
os.rename(temporary, path)
os.fsync(os.open(os.path.dirname(path), os.O_RDONLY))' "$f" "$want"
printf 'by rclone\n' >"$want"
made "$want" /usr/bin/python3 -c 'import os, sys
path, want = sys.argv[1], open(sys.argv[2], "rb").read()
partial = path + ".k3j4h5g6.partial"
fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
os.write(fd, want)
os.close(fd)
os.utime(partial, (1, 1))
assert os.lstat(partial).st_size == len(want) and open(partial, "rb").read() == want
os.rename(partial, path)' "$f" "$want"
printf 'A=1\n' >"$want"
made "$want" /usr/bin/python3 -c 'import pathlib, shutil, sys, tempfile
pathlib.Path(sys.argv[1]).touch()
with tempfile.NamedTemporaryFile(mode="w", delete=False, dir=sys.argv[2]) as new:
    new.write("A=1\n")
shutil.move(new.name, sys.argv[1])' "$f" "$HOME"
note "emacs: what it cannot rename it copies"
if command -v emacs >/dev/null; then
	for setting in backup-by-copying file-precious-flag backup-by-copying-when-linked; do
		printf '%s\n' "$setting" >>"$want"
		expect_ok as $officer emacs -Q --batch --eval "(setq $setting t backup-enable-predicate (lambda (name) t))" "$f" --eval "(progn (goto-char (point-max)) (insert \"$setting\\n\") (save-buffer))"
		cmp "$want" "$f" || fail "emacs with $setting left $(cat "$f")"
		expect_ok as $officer rm "$d/current~"
	done
fi
note "and cp -p; what unlinks first, or moves current away, is refused, and changes nothing"
made "$want" cp -p "$want" "$f"
made "$want" busybox cp -p "$want" "$f"
made "$want" /usr/bin/python3 -c 'import shutil, sys; shutil.copy2(*sys.argv[1:])' "$want" "$f"
expect_errno EPERM as $officer sysop chmod 644 "$f"
chmod 400 "$want"
chown $writer "$want"
expect_ok as $writer cp -p "$want" "$f"	# which takes all bits away before it gives those of its source
cmp "$want" "$f" || fail "cp -p by who may only set left $(cat "$f")"
chown $officer "$want"
chmod 644 "$want"
for command in 'install "$0" "$1"' 'mv "$0" "$1"' 'sed -i.bak s/v/V/ "$1"' 'rm -f "$1"' 'mv "$1" "$1.old"' 'ln "$1" "$1.old"'; do
	! as $officer sh -c "$command" "$want" "$f" 2>"$ERR" || fail "$command"
	grep -q 'Operation not permitted' "$ERR" || fail "$command: $(cat "$ERR")"
	cmp "$want" "$f" || fail "$command"
	[ "$(as $officer ls -A "$d" | tr '\n' ' ')" = 'current versions ' ] || fail "$command left $(as $officer ls -A "$d")"
done
[ "$(stat -c %i "$f")" = "$ino" ] || fail "current has another inode"

note "whose it is: its maker reads and writes it; who may set sees that the name is taken; locks are seen; nobody else reads a byte"
started=$(as $other stat -c %Y "$d")
hold a $officer
expect_held ok a open rw,xc "$d/.tmp"
expect_held ok a write draft
expect_held "ok $(printf draft | sha256sum | cut -d ' ' -f 1) 5" a read
expect_errno ok as $officer sysop open r "$d/.tmp"
expect_errno ok as $officer sysop open w,c "$d/x.lock"
[ "$(as $officer ls -A "$d" | sort | tr '\n' ' ')" = '.tmp current versions x.lock ' ] || fail "$(as $officer ls -A "$d")"
[ "$(as $writer ls -A "$d" | sort | tr '\n' ' ')" = 'current versions x.lock ' ] || fail "$(as $writer ls -A "$d")"
for uid in $reader $other 0; do
	[ "$(as $uid ls -A "$d" | sort | tr '\n' ' ')" = 'current versions ' ] || [ $uid = 0 ] || fail "$uid sees $(as $uid ls -A "$d")"
done
for uid in 0 $reader $writer $other; do
	for name in .tmp x.lock; do
		for flags in r w rw r,c w,tc; do
			expect_errno EACCES as $uid sysop open $flags "$d/$name"
		done
		[ $uid = 0 ] || expect_errno EPERM as $uid sysop unlink "$d/$name"
		expect_errno EPERM as $uid sysop truncate 0 "$d/$name"
		[ "$(as $uid stat -c '%a %u %Y' "$d/$name")" = "0 0 $started" ] || fail "$uid sees $(as $uid stat -c '%a %u %Y' "$d/$name")"
	done
	expect_errno EACCES as $uid sysop rename "$d/.tmp" "$f"
done
expect_errno EEXIST as $writer sysop open w,xc "$d/.tmp"
for uid in $reader $other; do
	expect_errno EACCES as $uid sysop open w,xc "$d/mine"
done
expect_errno ok as $writer sysop open w,xc "$d/blind" + write blind + close + rename "$d/blind" "$f"
expect_output blind cat "$f"
note "nothing of it goes to the page cache"
expect_errno EINVAL as $officer sysop open r "$d/.tmp" + sendfile
note "names that cannot be"
for name in 4913 versions as ops token cert.pem 'a b' .coffer .coffer.tmp ..data ..nowhere; do
	expect_errno "$([ "$name" = versions ] && echo EISDIR || echo EPERM)" as $officer sysop open w,c "$d/${name// /$'\t'}"
done
expect_errno ENAMETOOLONG as $officer sysop open w,c "$d/$(printf 'x%.0s' {1..128})"
expect_errno EPERM as $officer sysop open w,c "$MNT/x"
expect_errno EPERM as $officer sysop open w,c "$d/versions/x"
expect_errno EPERM as $officer sysop open w,c "$MNT/.coffer/x"
expect_errno EPERM as $officer sysop rename "$d/.tmp" "$d/.tmp2"
expect_errno EPERM as $officer sysop rename "$d/.tmp" "$MNT/db2"
expect_errno EEXIST as $officer sysop rename-noreplace "$d/.tmp" "$f"
expect_errno EPERM as $officer sysop rename-exchange "$d/.tmp" "$f"

note "what is renamed is a version: who has it open reads, and does not write"
expect_errno ok as $officer sysop rename "$d/.tmp" "$f"
expect_output draft cat "$f"
expect_held "ok $(printf draft | sha256sum | cut -d ' ' -f 1) 5" a read
expect_held ESTALE a write more
expect_held ok a close
expect_output draft cat "$f"
note "a write that failed: no version of a half"
expect_held ok a open w,xc "$d/.tmp"
expect_held ok a write half
expect_held EFBIG a pwrite 1048576 x
expect_held ok a close
expect_errno EIO as $officer sysop rename "$d/.tmp" "$f"
expect_output draft cat "$f"
expect_errno ok as $officer sysop open w,t "$d/.tmp" + write whole + close + rename "$d/.tmp" "$f"
expect_output whole cat "$f"
note "unlinked while it is open; an empty one; the right is gone"
expect_held ok a open rw,xc "$d/.tmp"
expect_errno ok as $officer sysop unlink "$d/.tmp"
expect_errno ENOENT as $officer sysop open r "$d/.tmp"
expect_held ok a write still
expect_held "ok $(printf still | sha256sum | cut -d ' ' -f 1) 5" a read
expect_held ok a close
expect_errno ok as $officer sysop open w,xc "$d/.tmp" + close + rename "$d/.tmp" "$f"
expect_output '' cat "$f"
expect_held ok a open w,xc "$d/.tmp"
expect_held ok a write late
expect_ok coffer disable db
[[ $(held a write more) != ok* ]] || fail "written to a disabled secret"
expect_errno EACCES as $officer sysop rename "$d/.tmp" "$f"
expect_ok coffer enable db
expect_ok coffer revoke secrets-officer user:$officer --on '*'
expect_errno EACCES as $officer sysop rename "$d/.tmp" "$f"
expect_errno EACCES as $officer sysop open r "$d/.tmp"
expect_output '' cat "$f"
expect_ok coffer grant secrets-officer user:$officer --on '*'
let_go a
expect_errno ok as $officer sysop unlink "$d/.tmp"
expect_errno ok as $officer sysop unlink "$d/x.lock"

note "a neighbour has its share of them, and others have theirs"
made=0
for ((i = 0; i < 200; i++)); do
	printf 'open w,xc %s\n' "$d/many.$i"
done | as $writer sysop - >"$OUT" || true
made=$(grep -c '^ok' "$OUT") || true
[ "$made" = 128 ] || fail "$made temporary files of one user"
[ "$(grep -vc '^ok' "$OUT")" = 72 ] && grep -q '^EDQUOT' "$OUT" || fail "not refused with EDQUOT: $(sort "$OUT" | uniq -c)"
expect_errno ok as $officer sysop open w,xc "$d/one" + unlink "$d/one"
for ((i = 0; i < 128; i++)); do
	printf 'unlink %s\n' "$d/many.$i"
done | as $writer sysop - >"$OUT" || true
gone() { as $writer sysop open w,xc "$d/again" + unlink "$d/again"; }
wait_for gone

note "a lock of somebody who may not set any more, and keeps it open: an administrator takes it away"
hold squatter $other
expect_ok coffer grant writer user:$other --on db
expect_held ok squatter open w,xc "$d/current.lock"
expect_ok coffer revoke writer user:$other --on db
expect_errno EEXIST as $officer sysop open w,xc "$d/current.lock"
expect_errno EPERM as $officer sysop unlink "$d/current.lock"
expect_ok rm "$d/current.lock"
audit_has '.operation == "SecretSet" and .result == "allow" and .version == null and .caller.uid == 0 and .secret == "db"'
expect_errno ok as $officer sysop open w,xc "$d/current.lock" + unlink "$d/current.lock"
[[ $(held squatter write more) != ok* ]] || fail "written by who may not"
let_go squatter

note "what has ended is no longer counted, however fast they come; nor are its bytes"
expect_ok as $writer /usr/bin/python3 -c 'import os, sys
for i in range(400):
    fd = os.open(sys.argv[1] + "/x.lock", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.write(fd, b"x")
    os.close(fd)
    os.unlink(sys.argv[1] + "/x.lock")' "$d"
note "times that no clock shows"
expect_ok as $officer /usr/bin/python3 -c 'import os, sys
name = sys.argv[1] + "/.tmp"
open(name, "x").close()
os.utime(name, (1 << 40, 1 << 40))
assert os.stat(name).st_mtime > 1 << 32, os.stat(name)
os.utime(name, (-(1 << 40), -(1 << 40)))
assert os.stat(name).st_mtime <= 0, os.stat(name)
os.unlink(name)' "$d"

note "watches of current, its directory and a bind of the file live; open files and binds go on; one link when all is done"
printf 'before' | coffer put db
touch "$SCRATCH/bind-file"
mkdir "$SCRATCH/bind-dir"
mount_extra --bind "$f" "$SCRATCH/bind-file"
mount_extra --bind "$d" "$SCRATCH/bind-dir"
inotifywait -m -q --format '%e' "$f" >"$SCRATCH/file.events" 2>&1 &
STARTED+=("$(process_of $!)")
inotifywait -m -q --format '%e' "$SCRATCH/bind-file" >"$SCRATCH/bind.events" 2>&1 &
STARTED+=("$(process_of $!)")
inotifywait -m -q --format '%e %f' "$d" >"$SCRATCH/dir.events" 2>&1 &
STARTED+=("$(process_of $!)")
inotify_ready() { grep -qs '^inotify wd' "/proc/${1%:*}"/fdinfo/*; }
for ((i = 1; i <= 3; i++)); do wait_for inotify_ready "${STARTED[-$i]}"; done
hold b $reader
expect_held ok b open r "$f"
# replace NAME: RENAMES values through a temporary file
replace()
{
	local i
	for ((i = 1; i <= RENAMES; i++)); do
		echo "$1 $i" >"$d/.tmp.$1" && mv "$d/.tmp.$1" "$f" || return
	done
}
export -f replace
export d f RENAMES
before=$(ls "$d/versions" | wc -l)
hammer_start stat $reader seek "$d/versions/1" "$(stat -c %s "$d/versions/1")"
pids=()
for i in 1 2 3; do
	setpriv --reuid=$officer --regid=$officer --clear-groups -- bash -c "replace $i" &
	pids+=($!)
done
readers=0
while kill -0 "${pids[0]}" 2>/dev/null; do
	expect_ok as $reader grep -qE '^([123] [0-9]+|before)$' "$f"
	readers=$((readers + 1))
done
for i in "${pids[@]}"; do wait "$i" || fail "a rename failed"; done
hammer_stop stat
[ "$(ls "$d/versions" | wc -l)" = $((before + 3 * RENAMES)) ] || fail "$(($(ls "$d/versions" | wc -l) - before)) versions of $((3 * RENAMES))"
expect_held "ok $(printf before | sha256sum | cut -d ' ' -f 1) 6" b read
[ "$(stat -c %h "$f")" = 1 ] || fail "$(stat -c %h "$f") links"
printf 'the last' | coffer put db
expect_output 'the last' cat "$SCRATCH/bind-file"
expect_output 'the last' cat "$SCRATCH/bind-dir/current"
heard_last() { [ "$(tail -n 1 "$1")" = 'CLOSE_NOWRITE,CLOSE' ] || [[ $(tail -n 1 "$1") = CLOSE_WRITE* ]]; }
for events in file bind; do
	! grep -q DELETE_SELF "$SCRATCH/$events.events" || fail "the watch of $events ended: $(sort "$SCRATCH/$events.events" | uniq -c)"
	wait_for heard_last "$SCRATCH/$events.events"
	grep -q CLOSE_WRITE "$SCRATCH/$events.events" || fail "$events heard no CLOSE_WRITE"
done
[ "$(grep -c 'MOVED_TO current' "$SCRATCH/dir.events")" = $((3 * RENAMES)) ] || fail "$(grep -c 'MOVED_TO current' "$SCRATCH/dir.events") MOVED_TO of $((3 * RENAMES))"
note "$((3 * RENAMES)) renames beside $readers readers"
let_go b
audit_has ".operation == \"SecretSet\" and .result == \"allow\" and .version != null and .caller.uid == $writer"
audit_has ".operation == \"SecretSet\" and .result == \"deny\" and .caller.uid == $other"
audit_verify
! strings -a "$STORE"/db/* | grep -q 'draft' || fail "a temporary file lies in the store as plaintext"
