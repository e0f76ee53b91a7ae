#!/bin/bash
# Extended attributes: what getfattr -d tells of a version, to those who may list it, and nothing to others.
. "$(dirname "$0")/../support/lib.sh"

command -v getfattr >/dev/null || { echo "getfattr is not installed"; exit 77; }
vault_start
printf 'one' | coffer put db --content-type text/plain --tag team=red --tag env=test --expires 2199-01-02T03:04:05Z --not-before 2001-02-03T04:05:06Z
printf 'two' | coffer put plain
expect_ok coffer grant secrets-user user:20001 --on db --reason 'the tests'
binding=$(coffer bindings --output json | jq -r '.[] | select(.role == "secrets-user" and .scope == "db").id')
expect_ok coffer role create lister secrets/list
expect_ok coffer role create getter secrets/get
expect_ok coffer grant lister user:20002 --on db
expect_ok coffer grant getter user:20003 --on db

# attribute UID FILE NAME: its value
attribute() { as "$1" getfattr --absolute-names --only-values -n "user.coffer.$3" "$2"; }
expect_attribute()
{
	local got
	got=$(attribute 20001 "$1" "$2") || fail "$2 of $1"
	[ "$got" = "$3" ] || fail "$2 of $1 is '$got', not '$3'"
}

for file in "$MNT/db/current" "$MNT/db/versions/1"; do
	note "${file#"$MNT/"}: each attribute"
	expect_attribute "$file" version 1
	expect_attribute "$file" enabled true
	expect_attribute "$file" content-type text/plain
	expect_attribute "$file" binding "$binding"
	[ "$(attribute 20001 "$file" tags | jq -cS .)" = '{"env":"test","team":"red"}' ] || fail "tags: $(attribute 20001 "$file" tags)"
	[ "$(date -d "$(attribute 20001 "$file" expires)" +%s)" = "$(date -d 2199-01-02T03:04:05Z +%s)" ] || fail "expires: $(attribute 20001 "$file" expires)"
	[ "$(date -d "$(attribute 20001 "$file" not-before)" +%s)" = "$(date -d 2001-02-03T04:05:06Z +%s)" ] || fail "not-before"
	[ "$(date -d "$(attribute 20001 "$file" created)" +%s)" = "$(stat -c %Y "$file")" ] || fail "created is not the mtime"
	as 20001 getfattr --absolute-names -d "$file" >"$OUT"
	[ "$(sed -n 's/=.*//p' "$OUT" | sort | tr '\n' ' ')" = 'user.coffer.binding user.coffer.content-type user.coffer.created user.coffer.enabled user.coffer.expires user.coffer.not-before user.coffer.tags user.coffer.version ' ] ||
		fail "$(cat "$OUT")"
done

note "what a version does not have is not there"
expect_errno ENODATA sysop getxattr user.coffer.expires "$MNT/plain/current"
expect_errno ENODATA sysop getxattr user.coffer.tags "$MNT/plain/current"
[ "$(sysop listxattr "$MNT/plain/current" | tr ' ' '\n' | grep -c user.coffer)" = 4 ] || fail "$(sysop listxattr "$MNT/plain/current")"

note "list is the right that is asked, and the binding is the one that lets the caller in"
expect_output 'ok 1' as 20002 sysop getxattr user.coffer.version "$MNT/db/current"
expect_errno ENODATA as 20003 sysop getxattr user.coffer.version "$MNT/db/current"
expect_output 'ok' as 20003 sysop listxattr "$MNT/db/current"

note "a stranger learns nothing"
expect_errno ENODATA as 20009 sysop getxattr user.coffer.version "$MNT/db/current"
expect_errno ENODATA as 20009 sysop getxattr user.coffer.binding "$MNT/db/versions/1"
expect_output 'ok' as 20009 sysop listxattr "$MNT/db/current"
expect_output '' as 20009 getfattr --absolute-names -d "$MNT/db/current"

note "other name spaces have nothing, directories neither"
for name in security.selinux security.capability security.ima user.coffer.nothing user.coffer. user.other trusted.coffer.version system.posix_acl_access; do
	case $name in
	system.*) expect_errno "$(sysop getxattr $name "$MNT/db/current" | grep -xE 'ENODATA|EOPNOTSUPP')" sysop getxattr $name "$MNT/db/current" ;;
	*) expect_errno ENODATA sysop getxattr $name "$MNT/db/current" ;;
	esac
done
for dir in "$MNT" "$MNT/db" "$MNT/db/versions" "$MNT/.coffer"; do
	expect_errno ENODATA sysop getxattr user.coffer.version "$dir"
	expect_output 'ok' sysop listxattr "$dir"
done

note "they are read, not written"
for uid in 0 20001; do
	for name in user.coffer.version user.coffer.tags user.coffer.new; do
		expect_errno EPERM as $uid sysop setxattr "$name" x "$MNT/db/current"
		expect_errno EPERM as $uid sysop removexattr "$name" "$MNT/db/current"
	done
	# what cp -p and install take for a file system that has none of these, and go on
	expect_errno EOPNOTSUPP as $uid sysop setxattr user.other x "$MNT/db/current"
done
# the owner is looked at by the kernel first: who asked for the attributes before, as these do, is told that there are no ACLs
cp "$MNT/db/current" "$SCRATCH/source"
chmod 644 "$SCRATCH/source"
for uid in 0 20001; do
	expect_exit 1 as $uid setfacl -m u:5:r "$MNT/db/current"
	grep -q 'Operation not supported' "$ERR" || fail "setfacl of $uid: $(cat "$ERR")"
done
expect_ok cp -p "$SCRATCH/source" "$MNT/plain/current"
expect_output one cat "$MNT/plain/current"
printf 'two' | coffer put plain

note "rsync -X of a file that is as it is there: not with what is only read, but without it"
touch -r "$MNT/db/current" "$SCRATCH/source"
expect_exit 23 rsync -tX "$SCRATCH/source" "$MNT/db/current"
expect_ok rsync -tX --filter='-x user.coffer.*' "$SCRATCH/source" "$MNT/db/current"
expect_exit 1 as 20001 setfattr -n user.coffer.expires -v x "$MNT/db/current"
expect_attribute "$MNT/db/current" version 1

note "they follow the vault"
printf 'three' | coffer put db
expect_attribute "$MNT/db/current" version 2
expect_attribute "$MNT/db/versions/1" version 1
expect_ok coffer attr db --version 2 --tag team=blue
[ "$(attribute 20001 "$MNT/db/current" tags | jq -r .team)" = blue ] || fail "tags: $(attribute 20001 "$MNT/db/current" tags)"
expect_ok coffer disable db --version 2
expect_attribute "$MNT/db/current" version 1
expect_attribute "$MNT/db/versions/2" enabled false
expect_ok coffer disable db
expect_attribute "$MNT/db/current" enabled false
expect_ok coffer revoke secrets-user user:20001 --on db
expect_errno ENODATA as 20001 sysop getxattr user.coffer.version "$MNT/db/current"
