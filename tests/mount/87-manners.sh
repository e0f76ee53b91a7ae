#!/bin/bash
# Manners of the command: it proposes nothing that changes or stops something, asks before what cannot be undone, names the mount in each hint, and the least role; and it says why a name is refused.
. "$(dirname "$0")/../support/lib.sh"

vault_init
vault_mount
unset COFFER_MOUNT
plain=$(command -v "$COFFER_BIN/coffer")
here() { "$plain" -m "$MNT" "$@"; }
# at a terminal: at ANSWER COMMAND…; what it says is in $SCRATCH/said
at() { local answer=$1; shift; printf '%s\n' "$answer" | script -qec "$plain -m $MNT $*" /dev/null >"$SCRATCH/said" 2>&1; }

note "never proposed: what changes or stops"
for word in read sael purg destroyy puts delet unsea revok restor shred; do
	expect_exit 2 "$plain" "$word"
	grep -Eq 'mean (seal|unseal|purge|destroy|put|delete|revoke|restore|disable|enable|block)' "$ERR" && fail "$word: $(cat "$ERR")"
done
expect_exit 2 "$plain" lst
expect_message 'did you mean list\?'
expect_exit 2 "$plain" role
expect_message 'there is no command role; there is role create'
expect_exit 2 "$plain" block user:1 --forse
grep -q 'mean --force' "$ERR" && fail "$(cat "$ERR")"
expect_exit 2 here put x --trin
expect_message 'did you mean --trim\?'

note "asked at a terminal, and only there"
for i in 1 2 3; do printf '%s' "$i" | here put db >/dev/null; done
at n destroy db --version 1 && fail "destroyed without a yes"
grep -q 'nothing was done' "$SCRATCH/said" || fail "$(cat "$SCRATCH/said")"
[ "$(here get db --version 1)" = 1 ] || fail "destroyed without a yes"
at y destroy db --version 1 || fail "$(cat "$SCRATCH/said")"
expect_exit 4 here get db --version 1
at '' destroy db --version 2 --yes || fail "$(cat "$SCRATCH/said")"
expect_ok here destroy db --version 3
at n history set db --keep-versions 1 && fail "a rule without a yes"
at n vault set --purge-protection on && fail "purge protection without a yes"
[ "$(here vault show --output json | jq .purge_protection)" = false ] || fail "purge protection is on"
at no seal && fail "sealed without a yes"
[ "$(here status --output json | jq .sealed)" = false ] || fail "sealed"
expect_ok here delete db
at n purge db && fail "purged without a yes"
expect_ok here recover db
expect_ok here delete db
at yes purge db || fail "$(cat "$SCRATCH/said")"
expect_ok here seal
expect_ok here unseal

at_init() { printf '%s\n' "$1" | script -qec "$plain init $SCRATCH/store/kept --kek file:$SCRATCH/keys/kept.kek --admin user:0 --purge-protection ${2-}" /dev/null >"$SCRATCH/said" 2>&1; }
at_init n && fail "a vault with purge protection without a yes"
grep -q 'never be switched off.*nothing was done' <(tr -d '\r\n' <"$SCRATCH/said") || fail "$(cat "$SCRATCH/said")"
[ -z "$(ls -d "$SCRATCH"/store/kept "$SCRATCH"/keys/kept.* 2>/dev/null)" ] || fail "something was made without a yes"
at_init y || fail "$(cat "$SCRATCH/said")"
rm -r "$SCRATCH/store/kept" "$SCRATCH"/keys/kept.*
at_init '' --yes || fail "$(cat "$SCRATCH/said")"

note "words that are too much"
for line in 'version x' 'version --output json' 'help list x' 'help audit verify x' 'help --help x' 'status x' 'list x' 'roles x' 'blocks x' 'whoami x' 'seal x' 'unseal x' 'doctor x'; do
	# shellcheck disable=SC2086
	expect_exit 2 "$plain" $line
done
expect_exit 2 "$plain" version x
expect_message '"x" is too much; usage: coffer version'
for line in version 'version --help' help 'help --help' 'help audit verify'; do
	# shellcheck disable=SC2086
	expect_ok "$plain" $line
done

note "users' names that useradd takes"
expect_exit 1 "$plain" init "$SCRATCH/store/other" --kek "file:$SCRATCH/keys/other.kek" --users CofferXy
expect_message 'give --users cofferxy, .*useradd .* cofferxy && .* cofferxy-keys'
grep -q 'useradd [^&]*Xy' "$ERR" && fail "$(cat "$ERR")"

note "what is mounted nowhere any more is said to be"
mkdir "$SCRATCH/lazy"
mount_extra --bind "$MNT" "$SCRATCH/lazy"
exec 5<"$SCRATCH/lazy"
expect_ok "$plain" -m /proc/self/fd/5 status
exec 5<&-
unmount_extra

note "hints name the mount, in one way"
expect_exit 4 here recover nothing
expect_message "see: coffer -m $MNT list --deleted"
expect_exit 2 here versions db x
expect_exit 2 here get db --version x
expect_message "see: coffer -m $MNT versions NAME"
expect_exit 2 env COFFER_MOUNT="$MNT" "$plain" get db --version x
expect_message "see: coffer -m $MNT versions NAME"
expect_exit 2 "$plain" --vault test get db --version x
expect_message 'see: coffer --vault test versions NAME'
expect_exit 2 "$plain" get db --version x
expect_message 'see: coffer versions NAME'


note "what the daemon proposes has the form of what the command proposes"
expect_exit 4 here versions nothing
expect_message "; see: coffer -m $MNT list\$"
expect_exit 4 here get nothing
printf x | here put hinted >/dev/null
expect_exit 4 here get hinted --version 7
expect_message "; see: coffer -m $MNT versions hinted\$"
expect_ok here disable hinted
expect_exit 3 here get hinted
expect_message "; whoever may update it can: coffer -m $MNT enable hinted\$"
expect_exit 4 here grant no-such-role user:1 --on hinted
expect_message "; see: coffer -m $MNT roles\$"
expect_ok here delete hinted
expect_exit 5 bash -c "printf x | '$plain' -m '$MNT' put hinted"
expect_message "to bring it back: coffer -m $MNT recover hinted; to free the name: coffer -m $MNT purge hinted\$"
! grep -q '`' "$ERR" || fail "another form: $(cat "$ERR")"

note "the least role, and never everything for what less can do"
expect_exit 3 bash -c "printf x | setpriv --reuid 20001 --regid 20001 --clear-groups '$plain' -m '$MNT' put new"
expect_message "coffer -m $MNT grant secrets-writer user:20001 --on new;"
expect_ok here grant secrets-writer user:20001 --on 'new*'
expect_ok bash -c "printf x | setpriv --reuid 20001 --regid 20001 --clear-groups '$plain' -m '$MNT' put new"
expect_exit 13 as 20001 bash -c "cat '$MNT/new/current' || exit 13"
expect_exit 3 as 20001 "$plain" -m "$MNT" vault set --value-max 1K
expect_message "coffer -m $MNT role create vault-update vault/update && coffer -m $MNT grant vault-update user:20001 --on '\*'"
grep -q 'grant administrator' "$ERR" && fail "$(cat "$ERR")"
expect_ok here role create vault-update vault/update
expect_exit 3 as 20001 "$plain" -m "$MNT" vault set --value-max 1K
expect_message "run: coffer -m $MNT grant vault-update user:20001 --on '\*'"

note "what nothing serves is no yes"
expect_exit 3 here can-i keys/sign db
grep -q '^no: nothing serves keys/sign yet; binding 1 (administrator) gives it' "$OUT" || fail "$(cat "$OUT")"
expect_exit 3 here can-i keys/sign db --output json
[ "$(jq -c '[.allowed, .served]' "$OUT")" = '[false,false]' ] || fail "$(cat "$OUT")"
expect_ok here grant crypto-user user:20002 --on db
expect_message 'nothing serves what this role gives yet'
expect_ok here role create signer keys/sign secrets/list
expect_message 'nothing serves keys/sign yet'
expect_ok here grant secrets-user user:20002 --on db
grep -q 'nothing serves' "$ERR" && fail "$(cat "$ERR")"

note "names that are none: the command says why"
expect_exit 2 bash -c "printf x | '$plain' -m '$MNT' put prod/db"
expect_message 'no folders yet: write prod-db for prod/db'
expect_exit 2 bash -c "printf x | '$plain' -m '$MNT' put user@example.com"
expect_message 'user-at-example.com'
expect_exit 2 here get user@example.com
expect_message 'user-at-example.com'
mkdir -p "$SCRATCH/folders/prod"
echo x >"$SCRATCH/folders/prod/db"
expect_exit 2 here put --set "$SCRATCH/folders"
expect_message 'no folders yet: name its files prod-NAME'

note "what cannot work says why: a store that the daemon's user cannot reach, two lines of a passphrase, programs, keys"
mkdir -m 700 "$SCRATCH/shut"
expect_exit 5 coffer init "$SCRATCH/shut/store" --kek "file:$SCRATCH/shut.kek"
expect_message "cannot pass the directory $SCRATCH/shut"
[ ! -e "$SCRATCH/shut/store" ] || fail "a store that nobody reaches was made"
expect_ok coffer init "$SCRATCH/together/store" --kek "file:$SCRATCH/together/kek"
[ "$(stat -c %a "$SCRATCH/together")" = 711 ] || fail "the directory of store and key has mode $(stat -c %a "$SCRATCH/together")"
printf 'one\none\n' | expect_exit 2 coffer init "$SCRATCH/pass" --kek passphrase:
expect_message 'more than one line'
install -m 644 /dev/null "$SCRATCH/program"
expect_exit 3 here hook add --on db --exec "$SCRATCH/program"
expect_message 'not executable'
expect_exit 3 here hook add --on db --exec "$SCRATCH"
expect_message 'is a directory'
expect_exit 2 coffer audit verify "$STORE" --verify-key /etc/passwd
expect_message 'not a verify key file'

note "a descriptor of what was unmounted lazily is said to lead nowhere"
exec 5<"$MNT"
umount -l "$MNT"
expect_exit 7 "$plain" -m /proc/self/fd/5 status
expect_message 'mounted nowhere here any more .umount -l.*name one with -m'
grep -q 'as root: cofferd' "$ERR" && fail "$(cat "$ERR")"
exec 5<&-
wait_for dead "$DAEMON"
daemon_status_check
