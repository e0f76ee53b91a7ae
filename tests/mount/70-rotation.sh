#!/bin/bash
# New values by policy: by hand, from a list, and by themselves when the time has come; by each generator and by programs. What goes wrong leaves the old version, and is told.
. "$(dirname "$0")/../support/lib.sh"

day=86400
programs=$SCRATCH/programs
mkdir "$programs"
chmod 755 "$programs"

# program NAME: its text from stdin
program()
{
	cat >"$programs/$1"
	chmod 755 "$programs/$1"
}

vault_init
# made 89 days, 23:59:58 ago: due two seconds from now by --every 90d; and secrets that are not due
"$COFFER_SUPPORT/build_store" "$STORE" --secrets 3 --bindings 0 --prefix due --age $((90 * day - 2))
"$COFFER_SUPPORT/build_store" "$STORE" --secrets 3 --bindings 0 --prefix young --age $((80 * day))
"$COFFER_SUPPORT/build_store" "$STORE" --secrets 1 --bindings 0 --prefix expiring --age $((60 * day)) --expires $((10 * day))
"$COFFER_SUPPORT/build_store" "$STORE" --secrets 1 --bindings 0 --prefix noticed --age $((91 * day))
"$COFFER_SUPPORT/build_store" "$STORE" --secrets 4 --bindings 0 --prefix bad --age $((91 * day))
vault_mount
expect_ok coffer grant secrets-officer user:20001 --on 'mine*'
expect_ok coffer grant secrets-officer user:20002 --on '*'

version_of() { coffer show "$1" --output json | jq -r .version; }
at_version() { [ "$(version_of "$1")" = "$2" ]; }
# event COUNT FILTER: so many events of which the filter of jq is true
events() { jq -n "[inputs | select($1)] | length" <"$MNT/.coffer/events"; }
has_event() { [ "$(events "$1")" = "${2:-1}" ]; }

note "each generator, by hand"
printf 'x' | coffer put mine >/dev/null
check()
{
	expect_output "mine is at version $3" coffer rotate mine --generator "$1"
	grep -Eqz -- "$2" "$MNT/mine/current" || fail "$1 made '$(cat "$MNT/mine/current")'"
}
check random:32 '^[A-Za-z0-9+/]{43}=$' 2
check random:16:hex '^[0-9a-f]{32}$' 3
check password:24 '^[A-Za-z0-9]{24}$' 4
check password:12:lower+symbols '^[-a-z_.,+=^~]{12}$' 5
check uuid '^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$' 6
expect_ok coffer rotate mine --generator random:1000:raw
[ "$(stat -c %s "$MNT/mine/current")" = 1000 ] || fail "random:1000:raw made $(stat -c %s "$MNT/mine/current") bytes"
for kind in rsa:2048 rsa:3072 rsa:4096 ec:p256 ec:p384 ec:p521 ed25519; do
	expect_ok coffer rotate mine --generator "$kind"
	expect_ok openssl pkey -in "$MNT/mine/current" -noout
done
audit_has '.operation == "SecretSet" and .secret == "mine" and .version == 6 and .result == "allow" and .detail == "rotated by hand" and .caller.uid == 0'

note "what cannot be is refused, and changes nothing"
expect_exit 2 coffer rotate mine --generator rsa:1024
expect_exit 2 coffer rotation set mine --every 90d
expect_exit 2 coffer rotation set mine --every 6d --generator uuid
expect_message 'at least 7 days'
expect_exit 2 coffer rotation set mine --every 90d --expiry 27d --generator uuid
expect_message 'at least 28 days'
expect_exit 2 coffer rotation set mine --before-expiry 25d --expiry 28d --generator uuid
expect_exit 2 coffer rotation set mine --every 90d --before-expiry 30d --generator uuid
expect_exit 2 coffer rotation set mine --every 90d --notify --generator uuid
expect_exit 2 coffer rotation set -- -x --every 90d --generator uuid
expect_exit 2 coffer rotation set mine --every yesterday --generator uuid
expect_exit 4 coffer rotate mine
expect_message 'no rotation policy'
expect_exit 4 coffer rotate nothing
expect_exit 2 coffer rotate
expect_exit 4 coffer rotation remove mine
at_version mine 14 || fail "something was rotated: $(version_of mine)"

note "who may: secrets/set on the scope for a policy, and vault/update for a program; nobody else"
expect_exit 3 as 20003 coffer rotation set mine --every 90d --generator uuid
expect_exit 3 as 20001 coffer rotation set 'm*' --every 90d --generator uuid
expect_exit 3 as 20003 coffer rotate mine --generator uuid
expect_ok as 20001 coffer rotation set 'mine*' --every 90d --generator uuid
expect_exit 3 as 20001 coffer rotation set mine --every 90d --hook /bin/true
expect_message 'vault/update'
expect_ok as 20001 coffer rotate mine
at_version mine 15 || fail "version $(version_of mine)"
[ "$(as 20001 coffer rotation list --output json | jq -r '.[].scope')" = 'mine*' ] || fail "$(as 20001 coffer rotation list)"
expect_exit 3 as 20003 coffer rotation list
expect_exit 3 as 20003 coffer rotation remove 'mine*'
audit_has '.operation == "RotationSet" and .secret == "mine*" and .result == "allow" and .caller.uid == 20001'
audit_has '.operation == "RotationSet" and .secret == "m*" and .result == "deny" and .caller.uid == 20001'

note "from a list: what stands behind a blank is not looked at; one that fails does not stop the others"
printf 'y' | coffer put mine2 >/dev/null
printf '# leaked\nmine\t3\n\nnowhere 1\nmine2\n' >"$SCRATCH/list"
expect_exit 4 coffer rotate --from - <"$SCRATCH/list"
at_version mine 16 && at_version mine2 2 || fail "mine $(version_of mine), mine2 $(version_of mine2)"

note "attributes stay, and the lifetime: as before, or as the policy says"
printf z | coffer put mine3 --content-type text/x --tag a=b --expires 40d >/dev/null
expect_ok coffer rotate mine3
lifetime() { coffer versions "$1" --output json | jq -r "[.[] | select(.version == $2)][0] | ((.expires | sub(\"\\\\..*Z\"; \"Z\") | fromdate) - (.created | sub(\"\\\\..*Z\"; \"Z\") | fromdate)) / 86400 | round"; }
[ "$(coffer show mine3 --output json | jq -c '[.content_type, .tags]')" = '["text/x",{"a":"b"}]' ] || fail "$(coffer show mine3)"
[ "$(lifetime mine3 2)" = 40 ] || fail "lifetime $(lifetime mine3 2)"
expect_ok coffer rotation set mine3 --every 90d --expiry 28d --generator uuid
expect_ok coffer rotate mine3
[ "$(lifetime mine3 3)" = 28 ] || fail "lifetime $(lifetime mine3 3)"

note "by themselves: after creation, before expiry, each once; who is not due stays"
expect_ok coffer rotation set 'due*' --every 90d --generator password:32
expect_ok coffer rotation set 'young*' --every 90d --generator password:32
expect_ok coffer rotation set 'expiring*' --before-expiry 11d --expiry 30d --generator uuid
expect_ok coffer rotation set 'noticed*' --every 90d --notify
for name in due000000 due000001 due000002 expiring000000; do
	wait_for at_version "$name" 2
done
wait_for has_event '.name == "noticed000000" and .event == "NearExpiry" and (.detail | contains("rotation policy"))'
grep -Eqz '^[A-Za-z0-9]{32}$' "$MNT/due000000/current" || fail "due000000: $(cat "$MNT/due000000/current")"
[ "$(lifetime expiring000000 2)" = 30 ] || fail "lifetime $(lifetime expiring000000 2)"
at_version young000000 1 && at_version noticed000000 1 || fail "rotated too early"
audit_has '.operation == "SecretSet" and .secret == "due000000" and .version == 2 and .result == "allow" and .caller == null and (.detail | contains("rotated by policy"))'

note "a program: it gets the name, and its bytes become the value; it runs as coffer-hooks, or as the user it is to run as, with nothing else"
program good <<-'END'
	#!/bin/sh
	printf 'for %s, by %s in %s\n' "$1" "$(id -u):$(id -g):$(id -G)" "$PWD"
	env | grep -v '^\(PATH\|PWD\|HOME\|_\|SHLVL\|OLDPWD\)=' | sort
	grep -E '^(CapPrm|CapBnd|CapAmb|NoNewPrivs):' /proc/self/status
	ls /proc/self/fd | wc -l
	cat
END
expect_ok coffer rotation set mine --every 90d --hook "$programs/good"
expect_message "hooks.allow: $(id -u coffer-hooks)"
expect_ok coffer rotate mine
cat >"$SCRATCH/want" <<-END
	for mine, by $(id -u coffer-hooks):$(id -g coffer-hooks):$(id -g coffer-hooks) in /
	COFFER_EVENT=Rotate
	COFFER_NAME=mine
	COFFER_VERSION=16
	LOGNAME=coffer-hooks
	USER=coffer-hooks
	CapPrm:	0000000000000000
	CapBnd:	0000000000000000
	CapAmb:	0000000000000000
	NoNewPrivs:	1
	4
END
diff "$SCRATCH/want" "$MNT/mine/current" || fail "the program saw something else"
expect_ok coffer rotation set mine --every 90d --hook "$programs/good" --user root
expect_ok coffer rotate mine
grep -q 'by 0:0:0' "$MNT/mine/current" || fail "$(cat "$MNT/mine/current")"
audit_has '.operation == "HookRun" and .secret == "mine" and .result == "allow" and (.detail | endswith("good %n"))'

note "only what hooks.allow names, exactly, and only while nobody but root can write it, and the program"
as_administrator() { as 20004 "$@"; }
expect_ok coffer grant administrator user:20004 --on '*'
expect_exit 3 as_administrator coffer rotation set mine --every 90d --hook "$programs/other"
program other </dev/null
expect_exit 3 as_administrator coffer rotation set mine --every 90d --hook "$programs/other"
expect_message 'has no line'
expect_exit 3 as_administrator coffer rotation set mine --every 90d --hook "$programs/good and more"
expect_ok as_administrator coffer rotation set mine --every 90d --hook "$programs/good"
chmod 664 "$STORE/hooks.allow"
expect_exit 3 coffer rotate mine
expect_message 'nobody else can write'
chmod 644 "$STORE/hooks.allow"
chmod 777 "$programs/good"
expect_exit 3 coffer rotate mine
expect_message 'can be written by others than root'
chmod 755 "$programs/good"
sed -i '/good/d' "$STORE/hooks.allow"
expect_exit 3 coffer rotate mine
expect_message 'has no line'
rm "$STORE/hooks.allow"
expect_exit 3 coffer rotate mine
expect_message 'there is no hooks.allow'

note "a program that prints nothing, fails, is killed, floods, hangs: one line, the old version stays"
program silent <<<'#!/bin/true'
program failing <<-'END'
	#!/bin/sh
	echo half
	exit 3
END
program dying <<-'END'
	#!/bin/sh
	echo half
	kill -9 $$
END
program flooding <<-'END'
	#!/bin/sh
	exec cat /dev/zero
END
# what these leave behind is told from other tests' by its number
nap=$((100000 + $$))
program hanging <<-END
	#!/bin/sh
	echo half
	sleep $nap &
	wait
END
program forking <<-END
	#!/bin/sh
	printf whole
	sleep $nap &
END
cp "$MNT/mine/current" "$SCRATCH/before"
before=$(version_of mine)
# refused PROGRAM MESSAGE [STATUS [TIMEOUT]]
refused()
{
	expect_ok coffer rotation set mine --every 90d --hook "$programs/$1" --timeout "${4:-60s}"
	expect_exit "${3:-1}" coffer rotate mine
	expect_message "was not rotated: .*$2"
	cmp -s "$SCRATCH/before" "$MNT/mine/current" || fail "$1 changed the value"
	at_version mine "$before" || fail "$1 made version $(version_of mine)"
}
refused silent 'printed nothing'
refused failing 'status 3'
refused dying 'signal 9'
refused flooding 'more than 1048576 bytes'
refused hanging 'did not end in time' 7 1s
expect_ok coffer rotation set mine --every 90d --hook "$programs/forking" --timeout 60s
expect_ok coffer rotate mine
expect_output whole cat "$MNT/mine/current"
not_sleeping() { ! grep -qsxz "$nap" /proc/[0-9]*/cmdline; }
wait_for not_sleeping

note "the same by itself: RotationFailed, the old version stays, and it is tried again"
expect_ok coffer rotation set bad000000 --every 90d --hook "$programs/failing"
expect_ok coffer rotation set bad000001 --every 90d --hook "$programs/silent"
expect_ok coffer rotation set bad000002 --every 90d --hook "$programs/hanging" --timeout 1s
some_event() { [ "$(events "$1")" -ge 1 ]; }	# again and again, until the program is another
wait_for some_event '.event == "RotationFailed" and .name == "bad000000" and (.detail | contains("status 3"))'
wait_for some_event '.event == "RotationFailed" and .name == "bad000001" and (.detail | contains("printed nothing"))'
wait_for some_event '.event == "RotationFailed" and .name == "bad000002" and (.detail | contains("in time"))'
at_version bad000000 1 && at_version bad000001 1 && at_version bad000002 1 || fail "a failed rotation made a version"
audit_has '.operation == "SecretSet" and .secret == "bad000000" and .result == "error" and .caller == null'
program failing <<-'END'
	#!/bin/sh
	printf better
END
wait_for -t 120 at_version bad000000 2
expect_output better cat "$MNT/bad000000/current"

note "who waits for a program that takes its time is not stuck: it runs once, and no worker is ended"
vault_umount
vault_mount -o watchdog=4	# on a busy machine a request may well take a second
program slow <<-END
	#!/bin/sh
	echo ran >>$programs/runs
	sleep 8
	printf slow
END
: >"$programs/runs"
chmod 666 "$programs/runs"
expect_ok coffer rotation set mine --every 90d --hook "$programs/slow"
expect_ok coffer rotate mine
expect_output slow cat "$MNT/mine/current"
expect_output ran cat "$programs/runs"
[ "$(status .supervision.watchdog_kills)" = 0 ] || fail "the watchdog ended a worker: $(status .supervision)"

note "two wait for their programs; a third is told to come back, and nothing is recorded of it"
program held <<-END
	#!/bin/sh
	echo ran >>$programs/runs
	while [ -e $programs/hold ]; do sleep 0.1; done
	printf held
END
: >"$programs/runs"
touch "$programs/hold"
expect_ok coffer rotation set mine --every 90d --hook "$programs/held" --timeout 2m
rotators=()
for i in 1 2; do
	coffer rotate mine >/dev/null 2>>"$SCRATCH/rotators" &
	rotators+=($!)
done
both_ran() { [ "$(wc -l <"$programs/runs")" = 2 ]; }
wait_for both_ran
runs=$(audit_count '.operation == "HookRun" and .secret == "mine"')
expect_exit 7 coffer rotate mine
expect_message 'others are being rotated by programs'
[ "$(audit_count '.operation == "HookRun" and .secret == "mine"')" = "$runs" ] || fail "a run that was none is recorded"
rm "$programs/hold"
for i in "${rotators[@]}"; do
	wait "$i" || fail "coffer rotate: $(cat "$SCRATCH/rotators")"
done
expect_output held cat "$MNT/mine/current"

note "no policy, no more"
expect_ok coffer rotation remove bad000001
expect_exit 4 coffer rotate bad000001
vault_umount
expect_ok coffer fsck "$STORE" --deep
audit_verify
