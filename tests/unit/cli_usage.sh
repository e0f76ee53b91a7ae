#!/bin/sh
# cli_usage.sh COFFER: what makes no sense is answered with one line and its exit status, without a vault.
set -u
coffer=$1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0
export COFFER_MOUNT="$work"

# expect STATUS PATTERN WORDS...: the status, and one line on stderr that matches the pattern (none for "-").
expect() {
	status=$1 pattern=$2
	shift 2
	"$coffer" "$@" < /dev/null > "$work/out" 2> "$work/err"
	got=$?
	[ "$got" -eq "$status" ] || { echo "coffer $*: status $got instead of $status" >&2; failed=1; }
	if [ "$pattern" = - ]; then
		[ ! -s "$work/err" ] || { echo "coffer $*: says $(cat "$work/err")" >&2; failed=1; }
	elif [ "$(wc -l < "$work/err")" -ne 1 ] || ! grep -q "^coffer: .*$pattern" "$work/err"; then
		echo "coffer $*: expected one line with \"$pattern\", got: $(cat "$work/err")" >&2
		failed=1
	fi
}

long=$(printf '%0128d' 0)
expect 0 - --help
expect 0 - --version
expect 0 - version
expect 0 - help put
expect 0 - put --help
expect 0 - help --help
expect 0 - help -h
expect 0 - role create --help
expect 2 'no command'
expect 2 'did you mean list?' lst
expect 2 'there is role create$' role
expect 2 'there are vault show, vault set$' vault
expect 2 'there are rotation set, rotation show, rotation list, rotation remove$' rotation
expect 2 'no command xyzzy' xyzzy
expect 2 'did you mean --trim?' put db --trin
expect 2 'something is missing' put
expect 2 'is too much' list extra
expect 2 'give one of them' -m /vault --vault default list
expect 2 'table and json' list --output xml
expect 2 'cannot be a secret' put ../etc
expect 2 'cannot be a secret' get .hidden
expect 2 'cannot be a secret' put "$long"
expect 2 'cannot be a secret' show "a
b"
expect 2 'cannot be a secret' put ''
expect 2 'is not a time' put db --expires tomorrow
expect 2 'is not NAME=VALUE' put db --tag owner
expect 2 'is not a version' get db --version 0
expect 2 'is not a version' rollback db x
expect 2 'nothing to change' attr db --version 3
expect 2 'on SCOPE is missing' grant secrets-user user:1
expect 2 'is not a scope' grant secrets-user user:1 --on 'a*b'
expect 2 'is not a principal' grant secrets-user 1000 --on db
expect 2 'is not a principal' grant secrets-user user:1,user:1 --on db
expect 4 'there is no user' grant secrets-user user:nobody-has-this-name --on db
expect 4 'there is no group' grant secrets-user group:nobody-has-this-name --on db
expect 2 'binding.s number' revoke seven
expect 2 'did you mean secrets/get?' can-i secret/get db
expect 2 'did you mean secrets/get?' can-i get db
expect 2 'did you mean bindings/create?' can-i bindings/creat
expect 2 'did you mean audit/read?' can-i read
expect 2 'name alone, db for' get db/current
expect 2 'name alone, db for' get /vault/db/versions/3
expect 2 'no folders yet' get prod/db
expect 2 'there is no action' role create mine secrets/fly
expect 2 'cannot be a role' role create Mine secrets/get
expect 5 'built-in role' role create auditor secrets/get
expect 2 'is not a time' audit --since yesterday
expect 7 'no vault is mounted' list
expect 7 'no vault is mounted' get db
expect 7 'no vault nosuch' --vault nosuch status
expect 7 'is not a vault' -m /proc whoami
# What there is to do about it is said, however long the word.
endless=$(printf '%04000d' 0)
expect 2 'to narrow (user:1000,host)' grant secrets-user "user $endless" --on db
expect 7 'or name another mount with -m' -m "/$endless" list
expect 2 'coffer --help lists them' "$endless"
expect 2 'option --mount is given twice' -m /nosuch list -m /proc
expect 2 'option --output is given twice' --output json list --output table
# A value that cannot be stored is not asked for.
expect 7 'no vault is mounted' put db
if [ "$(id -u)" -eq 0 ]; then
	expect 2 '7 to 90' init "$work/store" --retention 6
	expect 2 '7 to 90' init "$work/store" --retention 91
	expect 2 'no key provider' init "$work/store" --kek nothing:x
	expect 2 'must be absolute' init "$work/store" --kek file:key
	expect 2 'must not lie inside' init "$work/store" --kek "file:$work/store/key"
	expect 2 'cannot be a vault' init "$work/Store"
	expect 4 'there is no such directory' fsck "$work/store"
	mkdir "$work/empty"
	expect 4 'is not a store' fsck "$work/empty"
	expect 4 'is not a store' audit verify "$work/empty"
	expect 4 'is not a store' break-glass "$work/empty" user:1
	[ ! -e "$work/store" ] || { echo "a refused init left a directory" >&2; failed=1; }
else
	expect 3 'for root' init "$work/store"
	expect 3 'for root' fsck "$work"
fi
exit $failed
