#!/bin/bash
# Who watches a secret hears of what is served, and of nothing else as if it were that: the table of contrib/doc/guide/watchers.md, for a watcher of the file, of its directory, and of both in another mount
# namespace. Programs that wait for MOVED_TO or for CREATE alone hear of it by the marker ..data, which can neither be seen nor used.
. "$(dirname "$0")/../support/lib.sh"

vault_start
printf 'one' | coffer put db
printf 'two' | coffer put db
printf 'other' | coffer put other
expect_ok coffer grant secrets-officer user:20001 --on '*'

mkdir "$SCRATCH/elsewhere"
inotify_ready() { grep -qs '^inotify wd' "/proc/${1%:*}"/fdinfo/*; }
# hear NAME WATCHED: what inotifywait tells of it goes to $SCRATCH/NAME.heard
hear()
{
	start inotifywait -m -q --format '%e %f' "$2" >>"$SCRATCH/$1.heard"
	wait_for inotify_ready "${STARTED[-1]}"
}
hear file "$MNT/db/current"
hear dir "$MNT/db"
hear other "$MNT/other"
unshare -m --propagation private bash -c 'mount --bind "$1/db" "$2" && exec inotifywait -m -q --format "%e %f" "$2"' - "$MNT" "$SCRATCH/elsewhere" >>"$SCRATCH/bind.heard" &
STARTED+=("$(process_of $!)")
bind=${STARTED[-1]}
wait_for inotify_ready "$bind"

# What was heard since the last time, without opens and reads, when the other secret, which is changed last, has been heard of: events of one bell come in order or at once.
others=0
settle()
{
	others=$((others + 1))
	printf 'change %d' "$others" | coffer put other >/dev/null
	other_heard() { [ "$(grep -c '^MOVED_TO \.\.data$' "$SCRATCH/other.heard")" -ge "$others" ] && [ "$(grep -c '^CLOSE_WRITE,CLOSE current$' "$SCRATCH/other.heard")" -ge "$others" ]; }
	wait_for other_heard
}
# heard NAME: as "EVENT NAME, …", each once
heard() { grep -vE '^(OPEN|ACCESS|CLOSE_NOWRITE)' "$SCRATCH/$1.heard" | sed 's/ *$//; s/,CLOSE / /; s/,CLOSE$//' | sort -u | paste -sd, || true; }
forget() { for name in file dir bind; do : >"$SCRATCH/$name.heard"; done; }
# expect_heard FILE DIRECTORY: by watchers of the file, and of the directory, here and elsewhere
expect_heard()
{
	local name want
	for name in file dir bind; do
		want=$2
		[ "$name" != file ] || want=$1
		as_wanted() { [ "$(heard "$name")" = "$want" ]; }
		wait_for -t 20 as_wanted || fail "$name heard '$(heard "$name")', not '$want'"
	done
	settle
	for name in file dir bind; do
		want=$2
		[ "$name" != file ] || want=$1
		[ "$(heard "$name")" = "$want" ] || fail "$name heard '$(heard "$name")', not '$want'"
	done
	forget
}
served_file='CLOSE_WRITE,MODIFY'
served_dir='CLOSE_WRITE current,CREATE ..data_tmp,MODIFY current,MOVED_FROM ..data_tmp,MOVED_TO ..data'
settle
forget

note "another value is served: put, rollback, a version that is withdrawn and comes back, a secret that is disabled and enabled"
printf 'three' | expect_ok coffer put db
expect_heard "$served_file" "$served_dir"
expect_ok coffer rollback db 1
expect_heard "$served_file" "$served_dir"
expect_ok coffer disable db --version 4
expect_heard "$served_file" "$served_dir"
expect_ok coffer enable db --version 4
expect_heard "$served_file" "$served_dir"
expect_ok coffer disable db
expect_heard "$served_file" "$served_dir"
expect_ok coffer enable db
expect_heard "$served_file" "$served_dir"

note "attributes are ATTRIB: tags, content type, times; so is a version that is not served"
expect_ok coffer attr db --tag team=web
expect_heard ATTRIB 'ATTRIB current'
expect_ok coffer attr db --content-type text/plain --expires 90d
expect_heard ATTRIB 'ATTRIB current'
expect_ok coffer attr db --version 1 --tag old=yes
expect_heard ATTRIB 'ATTRIB current'
expect_ok coffer disable db --version 2
expect_heard ATTRIB 'ATTRIB current'

note "an expiry that moves is a change of what is served where validity is enforced"
expect_ok coffer vault set --enforce-validity on
expect_ok coffer attr db --expires 80d
expect_heard "$served_file" "$served_dir"
expect_ok coffer attr db --tag team=db
expect_heard ATTRIB 'ATTRIB current'
expect_ok coffer vault set --enforce-validity off

note "who may do what rings for nobody"
expect_ok coffer grant secrets-user user:20002 --on db
expect_ok coffer rotation set db --every 30d --generator random:32:base64
expect_heard '' ''

note "a write through the mount: the writer's own events, and the marker"
as 20001 sh -c 'printf written >"$1"' - "$MNT/db/current"
marked() { heard dir | grep -q 'MOVED_TO \.\.data'; }
wait_for marked
heard file | grep -q CLOSE_WRITE || fail "$(heard file)"
settle
forget

note "a wait for MOVED_TO alone, or for CREATE alone, ends"
for event in moved_to create; do
	inotifywait -q -t 60 -e "$event" --format '%e %f' "$MNT/db" >"$SCRATCH/once" 2>&1 &
	waiter=$(process_of $!)
	STARTED+=("$waiter")
	wait_for inotify_ready "$waiter"
	printf '%s' "$event" | expect_ok coffer put db
	wait "${waiter%:*}" || fail "$event: $(cat "$SCRATCH/once")"
done
[ "$(cat "$SCRATCH/once")" = 'CREATE ..data_tmp' ] || fail "$(cat "$SCRATCH/once")"

note "the marker is no file: it is not listed, cannot be made, renamed, opened or removed, and current has one link"
gone() { [ ! -e "$MNT/db/..data" ] && [ ! -e "$MNT/db/..data_tmp" ]; }
wait_for gone
[ "$(ls -A "$MNT/db" | paste -sd ' ')" = 'current versions' ] || fail "$(ls -A "$MNT/db")"
expect_exit 1 ln -s x "$MNT/db/..data_tmp"
expect_exit 1 mv "$MNT/db/current" "$MNT/db/..data"
printf 'last' | coffer put db
if cat "$MNT/db/..data" >"$OUT" 2>"$ERR"; then fail "..data was read"; fi
[ "$(stat -c %h "$MNT/db/current")" = 1 ] || fail "current has $(stat -c %h "$MNT/db/current") links"
audit_has_not '.caller.comm == "cofferd"'
