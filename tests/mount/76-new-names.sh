#!/bin/bash
# Names that a request makes (put, put --set, restore) are seen to come by watchers of the vault's directory, recursive ones too; those of one request appear together, resolve when the answer comes, and
# 100 ms after the commit in any case. PUTS says how many names are put under look-ups (25), SETS how many sets (5), KILLS how many workers are killed (4).
# What somebody looks for may resolve without an event when 100 ms have passed, as on a busy machine: STRICT=1, by hand, makes that a failure.
. "$(dirname "$0")/../support/lib.sh"

puts=${PUTS:-25} sets=${SETS:-5} kills=${KILLS:-4}

vault_start

# /usr/bin/python3 is the one that the package python3-watchdog is for.
# A recursive watcher of each kind. watched TOOL NAME: it has told of the name; created NAME: all have.
cat >"$SCRATCH/dog.py" <<'END'
import sys, time
from watchdog.observers import Observer
from watchdog.events import FileSystemEventHandler
class Tell(FileSystemEventHandler):
    def on_any_event(self, e):
        print(e.event_type, "dir" if e.is_directory else "file", e.src_path, flush=True)
o = Observer()
o.schedule(Tell(), sys.argv[1], recursive=True)
o.start()
print("ready", flush=True)
while True:
    time.sleep(60)
END
start /usr/bin/python3 "$SCRATCH/dog.py" "$MNT" >>"$SCRATCH/watchdog" 2>"$SCRATCH/watchdog.err"
start inotifywait -m -r --format '%e %w%f' "$MNT" >>"$SCRATCH/inotifywait" 2>"$SCRATCH/inotifywait.err"
start fswatch -r -x --event Created "$MNT" >>"$SCRATCH/fswatch" 2>"$SCRATCH/fswatch.err"
fswatch=${STARTED[-1]%:*}
wait_for -t 20 grep -q ready "$SCRATCH/watchdog"
wait_for grep -q established "$SCRATCH/inotifywait.err"
fswatch_ready() { grep -qs '^inotify wd' "/proc/$fswatch"/fdinfo/*; }
wait_for fswatch_ready

watched()
{
	case $1 in
	watchdog) grep -qxF "created dir $MNT/$2" "$SCRATCH/watchdog" ;;
	inotifywait) grep -qxF "CREATE,ISDIR $MNT/$2" "$SCRATCH/inotifywait" ;;
	fswatch) grep -qE "^$MNT/$2 .*Created" "$SCRATCH/fswatch" ;;
	esac
}
created()
{
	local tool
	for tool in watchdog inotifywait fswatch; do
		wait_for -t 20 watched "$tool" "$1"
	done
}

note "put: watchdog, inotifywait -r and fswatch hear of the name, once"
printf 'one' | expect_ok coffer put db
created db
mkdir "$MNT/by-hand"
created by-hand
for name in db by-hand; do
	[ "$(grep -cxF "CREATE,ISDIR $MNT/$name" "$SCRATCH/inotifywait")" = 1 ] || fail "$name: $(grep -F "$name" "$SCRATCH/inotifywait")"
done

note "the time of the vault's directory moves when a name comes or goes, and only then"
moved() { stat -c %.Y "$MNT"; }
at=$(moved)
later() { [ "$(moved)" != "$at" ] && [ "$(printf '%s\n' "$at" "$(moved)" | sort -n | head -n 1)" = "$at" ]; }
printf 'x' | expect_ok coffer put came
later || fail "put: $at, then $(moved)"
at=$(moved)
printf 'y' | expect_ok coffer put came
expect_ok coffer attr came --tag a=b
[ "$(moved)" = "$at" ] || fail "a version moved it: $at, then $(moved)"
expect_ok coffer delete came
later || fail "delete: $at, then $(moved)"
at=$(moved)
expect_ok coffer recover came
later || fail "recover: $at, then $(moved)"

note "a version of a name that is there makes no name"
printf 'two' | expect_ok coffer put db
wait_for grep -qF "CLOSE_WRITE,CLOSE $MNT/db/current" "$SCRATCH/inotifywait"
[ "$(grep -cxF "CREATE,ISDIR $MNT/db" "$SCRATCH/inotifywait")" = 1 ] || fail "a second CREATE of db"

note "put --set, and restore: the names of each"
mkdir "$SCRATCH/set"
for name in set-a set-b set-c; do
	echo "$name" >"$SCRATCH/set/$name"
done
expect_ok coffer put --set "$SCRATCH/set"
created set-a
created set-b
created set-c
echo pass >"$SCRATCH/passphrase"
signer=$(status .signer)
expect_ok coffer backup set-a set-b --passphrase-file "$SCRATCH/passphrase"
cp "$OUT" "$SCRATCH/backup"
for name in set-a set-b; do
	expect_ok coffer delete "$name"
	expect_ok coffer purge "$name"
done
: >"$SCRATCH/inotifywait"
: >"$SCRATCH/watchdog"
: >"$SCRATCH/fswatch"
expect_ok coffer restore --passphrase-file "$SCRATCH/passphrase" --signer "$signer" <"$SCRATCH/backup"
created set-a
created set-b

note "a secret that comes back out of .coffer/deleted is seen to come, by mv and by the command"
for recover in "mv $MNT/.coffer/deleted/set-c $MNT/" 'coffer recover set-c'; do
	expect_ok coffer delete set-c
	: >"$SCRATCH/inotifywait"
	: >"$SCRATCH/fswatch"
	# shellcheck disable=SC2086
	expect_ok $recover
	back() { grep -qE "^(CREATE|MOVED_TO),ISDIR $MNT/set-c\$" "$SCRATCH/inotifywait"; }
	wait_for -t 20 back
	expect_output set-c cat "$MNT/set-c/current"
done

note "$puts names put while others look for them: each raises its CREATE, and resolves when the answer comes"
cat >"$SCRATCH/look.py" <<'END'
import os, sys
root, n = sys.argv[1], int(sys.argv[2])
names = [f"{root}/busy-{i}" for i in range(n)]
seen = [False] * n
while not os.path.exists(sys.argv[3]):
    for i, name in enumerate(names):
        try:
            os.stat(name)
            seen[i] = True
        except FileNotFoundError:
            if seen[i]:
                print("gone again:", name, flush=True)
                sys.exit(1)
END
looker_pids=()
for i in 1 2; do
	start /usr/bin/python3 "$SCRATCH/look.py" "$MNT" "$puts" "$SCRATCH/enough"
	looker_pids+=($!)
done
for ((i = 0; i < puts; i++)); do
	printf 'x' | coffer put "busy-$i" >/dev/null
	[ -e "$MNT/busy-$i/current" ] || fail "busy-$i does not resolve"
done
touch "$SCRATCH/enough"
for pid in "${looker_pids[@]}"; do
	wait "$pid" || fail "a name that was there was not any more"
done
# heard PATTERN HOW-MANY
heard() { [ "$(grep -cE "CREATE,ISDIR $MNT/$1" "$SCRATCH/inotifywait")" -ge "$2" ]; }
wait_for -t 20 heard busy- "$([ -n "${STRICT:-}" ] && echo "$puts" || echo 1)"

note "$sets sets of 12 names: whoever sees one of them sees all, by name, in a listing, and when told of it"
cat >"$SCRATCH/together.py" <<'END'
import os, sys
root, sets = sys.argv[1], int(sys.argv[2])
done = 0
while done < sets and not os.path.exists(sys.argv[3]):
    names = [f"t{done}-{i:02d}" for i in range(12)]
    listed = [n for n in os.listdir(root) if n.startswith(f"t{done}-")]
    if listed and len(listed) != 12:
        sys.exit(f"listed: {listed}")
    for i in (11, 5, 0):
        if os.path.exists(f"{root}/{names[i]}"):
            missing = [n for n in names if not os.path.exists(f"{root}/{n}")]
            if missing:
                sys.exit(f"{names[i]} is there, and not {missing}")
            done += 1
            break
print("all", done)
END
cat >"$SCRATCH/told.py" <<'END'
import os, subprocess, sys
root = sys.argv[1]
p = subprocess.Popen(["inotifywait", "-m", "-e", "create", "--format", "%f", root], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
while "established" not in p.stderr.readline():
    pass
print("ready", flush=True)
for line in p.stdout:
    name = line.strip()
    if name == "the-end":
        break
    t = name.split("-")[0]
    missing = [f"{t}-{i:02d}" for i in range(12) if not os.path.exists(f"{root}/{t}-{i:02d}")]
    if missing:
        p.kill()
        sys.exit(f"told of {name}, and {missing} are not there")
p.kill()
END
start /usr/bin/python3 "$SCRATCH/together.py" "$MNT" "$sets" "$SCRATCH/no-more" >"$SCRATCH/together" 2>&1
together=$!
start /usr/bin/python3 "$SCRATCH/told.py" "$MNT" >"$SCRATCH/told" 2>&1
told=$!
wait_for grep -q ready "$SCRATCH/told"
for ((i = 0; i < sets; i++)); do
	rm -rf "$SCRATCH/set"
	mkdir "$SCRATCH/set"
	for k in 00 01 02 03 04 05 06 07 08 09 10 11; do
		echo "$k" >"$SCRATCH/set/t$i-$k"
	done
	expect_ok coffer put --set "$SCRATCH/set"
	[ "$(printf '%s\n' "$MNT/t$i-"* | wc -l)" = 12 ] || fail "set $i has not all of its names when the answer comes"
done
wait "$together" || fail "$(cat "$SCRATCH/together")"
mkdir "$MNT/the-end"
wait "$told" || fail "$(cat "$SCRATCH/told")"
wait_for -t 20 heard 't[0-9]+-' "$([ -n "${STRICT:-}" ] && echo "$((12 * sets))" || echo 12)"

note "with a bell that does nothing a name resolves all the same, and what stands on it stays"
# shellcheck disable=SC2034
DEATHS_EXPECTED=1
kill -STOP "$(status .processes.bell)"
printf 'x' | expect_ok coffer put silent
[ -e "$MNT/silent/current" ] || fail "silent does not resolve"
mount_extra --bind "$MNT/silent" "$MNT/by-hand"
# for a bell that makes none of them names are not hidden, for a while
bell_back()
{
	local name=probe-$RANDOM$RANDOM i
	printf 'x' | coffer put "$name"
	for ((i = 0; i < 20; i++)); do
		! watched inotifywait "$name" || return 0
		sleep 0.02
	done
	return 1
}
wait_for bell_back
[ -e "$MNT/by-hand/current" ] || fail "the bind mount of silent is gone"

note "$kills workers killed under puts: each name that was answered resolves, and what stands on it stays"
for ((i = 0; i < kills; i++)); do
	worker=$(status .processes.worker)
	(sleep "0.00$i" && kill -KILL "$worker") &
	printf 'x' | coffer put "killed-$i" >/dev/null
	[ -e "$MNT/killed-$i/current" ] || fail "killed-$i does not resolve"
	(cd "$MNT/killed-$i" && [ -e current ]) || fail "killed-$i"
	wait $! || true
	another() { [ "$(status .processes.worker)" != "$worker" ]; }
	wait_for another
done
[ -e "$MNT/by-hand/current" ] || fail "the bind mount of silent is gone"
wait_for bell_back
unmount_extra

if [ -z "${COFFER_HOOKS_BIN:-}" ]; then
	note "not tried: a death at each step, which needs a build with hooks (COFFER_HOOKS_BIN)"
	exit 0
fi
note "a request that is repeated after a worker's death makes one name, one version and one event"
vault_umount
install -m 755 "$COFFER_HOOKS_BIN/coffer" "$COFFER_HOOKS_BIN/cofferd" "$SCRATCH/bin"
export COFFER_TEST_DIE=$SCRATCH/die
: >"$COFFER_TEST_DIE"
chmod 666 "$COFFER_TEST_DIE"
vault_mount
start inotifywait -m --format '%e %w%f' "$MNT" >"$SCRATCH/again" 2>"$SCRATCH/again.err"
wait_for grep -q established "$SCRATCH/again.err"
# told NAME: how often watchers of the root were told that it came
told() { grep -cE "^(CREATE|MOVED_TO),ISDIR $MNT/$1\$" "$SCRATCH/again" || true; }
heard_of() { [ "$(told "$1")" -ge 1 ]; }
# repeated NAME POINT COMMAND…: done once, though the worker dies there (READ is 15, WRITE 16, RENAME2 45)
repeated()
{
	local name=$1 point=$2 restarts
	restarts=$(status .restarts)
	shift 2
	: >"$SCRATCH/again"
	printf '%s 1' "$point" >"$COFFER_TEST_DIE"
	expect_ok "$@"
	: >"$COFFER_TEST_DIE"
	died() { [ "$(status .restarts)" -gt "$restarts" ]; }	# which the keeper says when it has noticed
	wait_for -t 20 died
	[ "$(cat "$MNT/$name/current")" = value ] || fail "$point: $name has another value"
	[ "$(find "$MNT/$name/versions" -type f | wc -l)" = 1 ] || fail "$point: $name has not one version"
	wait_for -t 20 heard_of "$name"
	printf x | coffer put "behind-$n" >/dev/null
	wait_for -t 20 heard_of "behind-$n"
	[ "$(told "$name")" = 1 ] || fail "$point: told $(told "$name") times of $name"
}
n=0
printf value >"$SCRATCH/value"
for point in 'before 15' 'after 15' 'before 16' 'after 16'; do
	n=$((n + 1))
	repeated "again-$n" "$point" coffer put "again-$n" --file "$SCRATCH/value"
done
for point in 'before 45' 'after 45'; do
	n=$((n + 1))
	expect_ok coffer delete again-1
	repeated again-1 "$point" mv "$MNT/.coffer/deleted/again-1" "$MNT/"
done
