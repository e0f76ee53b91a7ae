#!/bin/bash
# put --set of a directory whose links lead out of it, as certbot's do, under a prefix; and the newline at a value's end: whose it is, and who is told.
. "$(dirname "$0")/../support/lib.sh"

vault_start
dir=$SCRATCH/letsencrypt
live=$dir/live/example.com
archive=$dir/archive/example.com
mkdir -p "$live" "$archive"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=example.com -days 1 -keyout "$archive/privkey1.pem" -out "$archive/cert1.pem" 2>/dev/null
cp "$archive/cert1.pem" "$archive/chain1.pem"
cat "$archive/cert1.pem" "$archive/chain1.pem" >"$archive/fullchain1.pem"
chmod 600 "$archive/privkey1.pem"
for file in cert chain fullchain privkey; do ln -s "../../archive/example.com/${file}1.pem" "$live/$file.pem"; done
echo 'This directory contains your keys and certificates.' >"$live/README"
epoch() { ls "$MNT/.coffer/at"; }
before=$(epoch)
nothing() { [ "$(epoch)" = "$before" ] || fail "something was stored"; }

note "certbot's layout"
expect_exit 2 coffer put --set "$live"
expect_message 'leads out of the directory.*--follow'
expect_ok coffer put --set "$live" --follow --prefix example.com-
for file in cert chain fullchain privkey; do cmp "$archive/${file}1.pem" "$MNT/example.com-$file.pem/current" || fail "$file.pem is another"; done
[ "$(ls "$MNT" | wc -l)" = 5 ] || fail "$(ls "$MNT")"
cp "$archive/privkey1.pem" "$archive/privkey2.pem"
ln -sf ../../archive/example.com/privkey2.pem "$live/privkey.pem"
expect_ok coffer put --set "$live" --follow --prefix example.com- --trim
cmp "$archive/privkey2.pem" "$MNT/example.com-privkey.pem/current" || fail "--trim took the key's newline"
tar -C "$live" -hc README >"$SCRATCH/readme.tar"
expect_exit 0 coffer put --set - --prefix tar- <"$SCRATCH/readme.tar"
expect_ok test -e "$MNT/tar-README/current"

note "only the caller's reach, only files, and nobody else may lead the way"
before=$(epoch)
ln -s /dev/zero "$live/zero"
expect_exit 2 coffer put --set "$live" --follow
expect_message 'neither a file nor'
rm "$live/zero"
ln -s nowhere "$live/broken"
expect_exit 1 coffer put --set "$live" --follow
rm "$live/broken"
ln -s /proc/self/fd/0 "$live/magic"
expect_exit 2 coffer put --set "$live" --follow </dev/null
rm "$live/magic"
chmod 777 "$live"
expect_exit 3 coffer put --set "$live" --follow
expect_message 'others can write to'
chmod 755 "$live"
ln -s /etc/hostname "$live/trap"
chown -h 20001 "$live/trap"
expect_exit 3 coffer put --set "$live" --follow
expect_message "trap is uid 20001's"
rm "$live/trap"
expect_ok coffer grant secrets-writer user:20001 --on '*'
before=$(epoch)
chmod 755 "$SCRATCH" "$dir" "$dir/live" "$dir/archive" "$archive"
expect_exit 1 as 20001 coffer put --set "$live" --follow
expect_message 'Permission denied'
nothing
expect_exit 2 coffer put x --follow </dev/null
expect_exit 2 coffer put --set - --follow <"$SCRATCH/readme.tar"
expect_exit 2 coffer put --set "$live" --follow --prefix 'a/'
nothing

note "the last newline"
ssh-keygen -q -t ed25519 -N '' -f "$SCRATCH/key"
expect_ok coffer put key --file "$SCRATCH/key" --trim
expect_message 'belongs to it, and stays'
cmp "$SCRATCH/key" "$MNT/key/current" || fail "--trim ruined the key"
expect_ok ssh-keygen -y -f "$MNT/key/current"
expect_exit 0 coffer put one <<<'one line'
expect_message 'ends in a newline'
expect_exit 0 coffer put lines < <(printf 'A=1\nB=2\n')
[ ! -s "$ERR" ] || fail "$(cat "$ERR")"
expect_exit 0 coffer put one --trim <<<'one line'
[ "$(stat -c %s "$MNT/one/current")" = 8 ] || fail "--trim of one line"
