#!/bin/bash
# Workers and runners killed while secrets are rotated and hooks run: each secret is rotated once, each change is told once, each hook runs once for each (again only when the runner itself was killed).
# KILLS says how many workers (20).
. "$(dirname "$0")/../support/lib.sh"

kills=${KILLS:-20}
day=86400
DEATHS_EXPECTED=1
programs=$SCRATCH/programs
ran=$SCRATCH/ran
mkdir "$programs" "$ran"
chmod 755 "$programs"
chmod 777 "$ran"
program()
{
	cat >"$programs/$1"
	chmod 755 "$programs/$1"
}
events() { jq -n "[inputs | select($1)] | length" <"$MNT/.coffer/events"; }

vault_init
"$COFFER_SUPPORT/build_store" "$STORE" --secrets 300 --bindings 0 --prefix g --age $((91 * day)) --value 32
"$COFFER_SUPPORT/build_store" "$STORE" --secrets 20 --bindings 0 --prefix p --age $((91 * day)) --value 32
"$COFFER_SUPPORT/build_store" "$STORE" --secrets 200 --bindings 0 --prefix e --age $((91 * day)) --expires 60
program make <<-END
	#!/bin/sh
	echo "\$1" >>$ran/made
	sleep 0.1
	printf 'value of %s' "\$1"
END
program told <<-END
	#!/bin/sh
	echo "\$1 \$2" >>$ran/told
	sleep 0.02
END
vault_mount
expect_ok coffer hook add --on 'g*' --exec "$programs/told %n %v" --debounce 0s

note "300 secrets rotated by a generator, and 200 NearExpiry, under $kills kills of the worker"
expect_ok coffer rotation set 'g*' --every 90d --generator uuid
for ((i = 0; i < kills; i++)); do
	kill_worker
	sleep 0.05	# a part of the work, whatever part that is
done
versions() { coffer list --output json | jq -r ".[] | select(.name | startswith(\"$1\")) | .version" | sort | uniq -c | tr -s ' \n' ' '; }
all_rotated() { [ "$(versions g)" = ' 300 2 ' ]; }
wait_for -t 240 all_rotated
near_all() { [ "$(events '.event == "NearExpiry"')" = 200 ]; }
wait_for -t 240 near_all
sleep 0.5	# what would be too much has its chance
all_rotated || fail "versions: $(versions g)"
[ "$(events '.event == "NewVersionCreated" and .version == 2')" = 300 ] || fail "$(events '.event == "NewVersionCreated" and .version == 2') events of new versions"
[ "$(jq -r 'select(.event == "NearExpiry") | .name' <"$MNT/.coffer/events" | sort | uniq -d | wc -l)" = 0 ] || fail "NearExpiry was told twice"
[ "$(jq -s 'map(select(.event == "RotationFailed")) | length' <"$MNT/.coffer/events")" = 0 ] || fail "a rotation failed"

note "each of the 300 was told to the hook, once"
told_all() { [ "$(sort -u "$ran/told" | wc -l)" = 300 ]; }
wait_for -t 240 told_all
[ "$(sort "$ran/told" | uniq -d | wc -l)" = 0 ] || fail "told twice: $(sort "$ran/told" | uniq -d | head -n 3)"

note "programs that make values, under kills of worker and runner: one version each, whatever is run again"
expect_ok coffer rotation set 'p*' --every 90d --hook "$programs/make"
for ((i = 0; i < 6; i++)); do
	sleep 0.1
	kill_worker
	runner=$(status .processes.runner)
	kill -9 "$runner" 2>/dev/null || true
	runner_back() { [ "$(status .processes.runner)" != "$runner" ] && [ "$(status .processes.runner)" != null ]; }
	wait_for runner_back
done
values_made() { [ "$(versions p)" = ' 20 2 ' ]; }
wait_for -t 120 values_made
for ((i = 0; i < 20; i++)); do
	name=$(printf 'p%06d' "$i")
	[ "$(cat "$MNT/$name/current")" = "value of $name" ] || fail "$name: $(cat "$MNT/$name/current")"
done
[ "$(events '.event == "NewVersionCreated" and .version == 2 and (.name | startswith("p"))')" = 20 ] || fail "other than 20 events"

note "a runner killed while a hook runs: it runs again, to its end"
program slow <<-END
	#!/bin/sh
	echo begun >>$ran/slow
	until [ -e $ran/go ]; do sleep 0.05; done
	echo ended >>$ran/slow
END
expect_ok coffer hook add --on slow --exec "$programs/slow" --debounce 0s
printf x | coffer put slow >/dev/null
begun() { grep -q begun "$ran/slow"; }
wait_for begun
kill -9 "$(status .processes.runner)"
begun_again() { [ "$(grep -c begun "$ran/slow")" = 2 ]; }
wait_for begun_again
touch "$ran/go"
ended() { grep -q ended "$ran/slow"; }
wait_for ended
[ "$(grep -c ended "$ran/slow")" = 1 ] || fail "$(cat "$ran/slow")"

note "a worker killed while a hook runs: it is not run again, nor recorded again"
runs_recorded() { audit_count '.operation == "HookRun" and .result == "allow" and .secret == "slow"'; }
runs=$(runs_recorded)
rm "$ran/slow" "$ran/go"
printf y | coffer put slow >/dev/null
wait_for begun
kill_worker
touch "$ran/go"
wait_for ended
delivered() { [ "$(coffer hook list --output json | jq '[.[] | select(.scope == "slow" and .attempts == 0 and .delivered > 0)] | length')" = 1 ]; }
wait_for delivered
[ "$(runs_recorded)" = $((runs + 1)) ] || fail "$(($(runs_recorded) - runs)) records of one run"
printf z | coffer put slow >/dev/null
twice() { [ "$(grep -c ended "$ran/slow")" = 2 ]; }
wait_for twice
[ "$(grep -c begun "$ran/slow")" = 2 ] || fail "run again: $(cat "$ran/slow")"

program slow <<-END
	#!/bin/sh
	echo begun >>$ran/hand
	until [ -e $ran/go-on ]; do sleep 0.05; done
	printf 'by hand'
END
hand_begun() { grep -q begun "$ran/hand"; }
# by_hand NAME: the request runs alone in the next worker, for a worker died on it; but what waits for its program must not keep others waiting
by_hand()
{
	rm -f "$ran/hand" "$ran/go-on"
	expect_ok coffer rotation set "$1" --every 90d --hook "$programs/slow %n"
	coffer rotate "$1" >"$SCRATCH/rotate.out" 2>"$SCRATCH/rotate.err" &
	hand=$!
	wait_for hand_begun
	kill -KILL "$(status .processes.worker)"
	expect_ok timeout 20 cat "$MNT/g000000/current"
	touch "$ran/go-on"
	wait "$hand" || fail "coffer rotate: $(cat "$SCRATCH/rotate.err")"
	expect_output 'by hand' cat "$MNT/$1/current"
	[ "$(coffer show "$1" --output json | jq .version)" = 3 ] || fail "version $(coffer show "$1" --output json | jq .version)"
}
note "by hand, with the worker killed in the middle: one version, and nobody else waits for it"
by_hand p000000

note "the same replayed from memory"
vault_umount
vault_mount -o noresend
by_hand p000001

vault_umount
expect_ok coffer fsck "$STORE" --deep
audit_verify
