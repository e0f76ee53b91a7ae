#!/bin/bash
# The protocol of .coffer/ctl from clients that are clumsy, unlucky or hostile: cut writes, nonsense, repeated ids, descriptors that change hands, and a setuid program's voice.
. "$(dirname "$0")/../support/lib.sh"

vault_start
ctl=$MNT/.coffer/ctl
officer=20001
expect_ok coffer grant secrets-officer user:$officer --on '*'
expect_ok coffer grant secrets-user user:20003 --on other
install -d -m 755 "$SCRATCH/req"

new_id() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

# request FILE JSON [VALUE]: a file with the line, and the bytes of the value after it
request() { { printf '%s\n' "$2"; printf '%s' "${3-}"; } >"$SCRATCH/req/$1"; }

# speak UID FILE [PIECE]: writes it PIECE bytes at a time, reads the answer into $OUT
speak()
{
	as "$1" sysop open rw "$ctl" + put "$SCRATCH/req/$2" "${3:-1048576}" + text >"$OUT.raw" 2>"$ERR" || true
	[[ $(tail -n 1 "$OUT.raw") == 'ok {'* ]] || fail "no answer but $(tail -n 1 "$OUT.raw" | head -c 300) to $2"
	tail -n 1 "$OUT.raw" | cut -c 4- >"$OUT"
}

# answer FILTER: is true of the last answer
answer() { jq -e "$1" <"$OUT" >/dev/null || fail "not $1: $(head -c 500 "$OUT")"; }

# refused ERRNO EXIT
refused()
{
	answer ".ok == false and .errno == \"$1\" and .exit == $2 and (.message | length > 0)"
	[ "$(wc -l <"$OUT")" -le 1 ] || fail "an answer of more than one line"
}

versions() { ls "$MNT/$1/versions" 2>/dev/null | wc -l; }

note "writes may be cut anywhere"
value=$(head -c 300 /dev/urandom | base64 -w 0)
for piece in 1 2 7 64 100 101 102 4096; do
	request whole "{\"op\":\"put\",\"id\":\"$(new_id)\",\"name\":\"cut\",\"value_length\":${#value}}" "$value"
	speak $officer whole $piece
	answer '.ok and .name == "cut"'
	expect_output "$value" as $officer cat "$MNT/cut/current"
done
[ "$(versions cut)" = 8 ] || fail "$(versions cut) versions of 8 requests"
request who '{"op":"whoami"}'
speak 20009 who 1
answer '.ok and .uid == 20009'

note "nonsense is answered, and nothing is done"
bad() { request bad "$1" "${2-}" && speak $officer bad; }
bad 'not json'; refused EINVAL 2
bad ''; refused EINVAL 2
bad '[]'; refused EINVAL 2
bad '"op"'; refused EINVAL 2
bad 'null'; refused EINVAL 2
bad '{"op":"whoami"'; refused EINVAL 2
bad '{"op":"whoami"} {"op":"whoami"}'; refused EINVAL 2
bad '{}'; refused EINVAL 2
bad '{"op":"no-such-thing"}'; refused EINVAL 2
bad '{"op":17}'; refused EINVAL 2
bad '{"op":"whoami","op":"list"}'; refused EINVAL 2
bad '{"op":"whoami","what":1}'; refused EINVAL 2
bad '{"op":"show","name":["db"]}'; refused EINVAL 2
bad '{"op":"show","name":"a\u0000b"}'; refused EINVAL 2
bad '{"op":"show","name":"../db"}'; refused EINVAL 2
bad '{"op":"show","name":"'"$(printf 'n%.0s' {1..128})"'"}'; refused EINVAL 2
bad $'{"op":"show","name":"\xff\xfe"}'; refused EINVAL 2
bad '{"op":"show","name":"nothing"}'; refused ENOENT 4
bad "{\"op\":\"put\",\"name\":\"x\",\"value_length\":1}" x; refused EINVAL 2
for id in '' 00 "$(new_id)00" zz345678901234567890123456789012 ; do
	bad "{\"op\":\"put\",\"id\":\"$id\",\"name\":\"x\",\"value_length\":1}" x; refused EINVAL 2
done
for length in -1 1.5 '"1"' 1e3 99999999999999999999; do
	bad "{\"op\":\"put\",\"id\":\"$(new_id)\",\"name\":\"x\",\"value_length\":$length}" x
	answer '.ok == false and .exit == 2'
done
bad "{\"op\":\"put\",\"id\":\"$(new_id)\",\"name\":\"x\",\"value_length\":10}" short; refused EINVAL 2
bad "{\"op\":\"put\",\"id\":\"$(new_id)\",\"name\":\"x\",\"value_length\":3}" long; refused EINVAL 2
bad "{\"op\":\"grant\",\"id\":\"$(new_id)\",\"role\":\"secrets-user\",\"principal\":\"user:name\",\"on\":\"*\"}"; refused EINVAL 2
expect_errno ENOENT sysop stat "$MNT/x"

note "deep, long and broken off"
for depth in 100 2000 30000; do
	printf '{"op":"put","tags":%s' "$(head -c $depth /dev/zero | tr '\0' '[')" >"$SCRATCH/req/deep"
	printf '\n' >>"$SCRATCH/req/deep"
	speak $officer deep
	refused EINVAL 2
done
for depth in 1000 10000; do
	{ printf '%*s' $depth '' | sed 's/ /{"a":/g'; printf '\n'; } >"$SCRATCH/req/deep"
	speak $officer deep
	answer '.ok == false and .exit == 2'
done
head -c 65000 /dev/zero | tr '\0' x >"$SCRATCH/long"
request long "{\"op\":\"show\",\"name\":\"$(cat "$SCRATCH/long")\"}"
speak $officer long
refused EINVAL 2
for length in 65537 100000 1000000; do
	{ printf '{"op":"show","name":"'; head -c $length /dev/zero | tr '\0' x; printf '"}\n'; } >"$SCRATCH/req/long"
	speak $officer long 8192
	refused E2BIG 2
done
printf '{"op":"whoami"}' >"$SCRATCH/req/open-ended"
speak $officer open-ended
refused EINVAL 2
: >"$SCRATCH/req/empty"
expect_exit 0 as $officer sysop open rw "$ctl" + text
grep -q '"ok":false' "$OUT" || fail "$(cat "$OUT")"

note "a value up to the limit, and one byte more"
head -c 1048576 /dev/urandom >"$SCRATCH/mib"
{ printf '{"op":"put","id":"%s","name":"big","value_length":1048576}\n' "$(new_id)"; cat "$SCRATCH/mib"; } >"$SCRATCH/req/big"
speak $officer big 65536
answer '.ok and .version == 1'
expect_content "$SCRATCH/mib" as $officer sysop open r "$MNT/big/current" + read
{ printf '{"op":"put","id":"%s","name":"big","value_length":1048577}\n' "$(new_id)"; cat "$SCRATCH/mib"; printf x; } >"$SCRATCH/req/big"
speak $officer big 65536
refused EFBIG 1
[ "$(versions big)" = 1 ] || fail "a value that is too large was stored"

note "abandoned half-way: nothing has happened"
request left "{\"op\":\"put\",\"id\":\"$(new_id)\",\"name\":\"left\",\"value_length\":4}" left
expect_errno ok as $officer sysop open rw "$ctl" + put "$SCRATCH/req/left" 5 + close
hold dying $officer
expect_held ok dying open rw "$ctl"
expect_held ok dying put "$SCRATCH/req/left" 5
let_go dying
expect_errno ENOENT sysop stat "$MNT/left"

note "the same id: the same answer, once done; with other words or another value, a conflict; of another uid, another request"
id=$(new_id)
request one "{\"op\":\"put\",\"id\":\"$id\",\"name\":\"once\",\"value_length\":5}" first
speak $officer one
answer '.ok and .version == 1'
cp "$OUT" "$SCRATCH/first-answer"
for i in 1 2 3; do
	speak $officer one $((i * 10))
	cmp "$OUT" "$SCRATCH/first-answer" || fail "another answer to the same request"
done
[ "$(versions once)" = 1 ] || fail "$(versions once) versions of one request"
[ "$(audit_count '.operation == "SecretSet" and .secret == "once"')" = 1 ] || fail "a repeated request is recorded again"
request two "{\"op\":\"put\",\"id\":\"$id\",\"name\":\"once\",\"value_length\":5}" other
speak $officer two
answer '.ok == false and .exit == 5'
request two "{\"op\":\"put\",\"id\":\"$id\",\"name\":\"twice\",\"value_length\":5}" first
speak $officer two
answer '.ok == false and .exit == 5'
expect_errno ENOENT sysop stat "$MNT/twice"
speak 20009 one
refused EACCES 3
speak 0 one
answer '.ok and .version == 2'

note "a repeated request is asked of the policy again"
speak $officer one
answer '.ok and .version == 1'
expect_ok coffer revoke secrets-officer user:$officer --on '*'
speak $officer one
refused EACCES 3
expect_ok coffer grant secrets-officer user:$officer --on '*'
speak $officer one
cmp "$OUT" "$SCRATCH/first-answer" || fail "another answer to the same request"

note "one open, one request; the answer may be read again"
request who '{"op":"whoami"}'
expect_exit 1 as $officer sysop open rw "$ctl" + put "$SCRATCH/req/who" 100 + text + put "$SCRATCH/req/who" 100
[ "$(tail -n 1 "$OUT")" = EPERM ] || fail "$(cat "$OUT")"
expect_exit 0 as $officer sysop open rw "$ctl" + put "$SCRATCH/req/who" 100 + pread 0 1000 + pread 0 1000
[ "$(sed -n 3p "$OUT")" = "$(sed -n 4p "$OUT")" ] || fail "$(cat "$OUT")"

note "another process, of the same uid too: EPERM, and the request is dead"
request evil "{\"op\":\"grant\",\"id\":\"$(new_id)\",\"role\":\"secrets-officer\",\"principal\":\"user:20003\",\"on\":\"*\"}"
install -d -m 1777 "$SCRATCH/sockets"
pass()
{
	held "$2" recvfd "$SCRATCH/sockets/$2" >"$SCRATCH/passed" &
	wait_for test -S "$SCRATCH/sockets/$2"
	expect_held ok "$1" sendfd "$SCRATCH/sockets/$2"
	wait $!
	rm "$SCRATCH/sockets/$2"
}
hold mine $officer
hold twin $officer
hold root 0
expect_held ok mine open rw "$ctl"
pass mine twin
expect_held EPERM twin put "$SCRATCH/req/who" 100
expect_held EPERM mine put "$SCRATCH/req/who" 100
expect_held EPERM mine text
expect_held ok mine open rw "$ctl"
expect_held ok mine put "$SCRATCH/req/who" 100
pass mine twin
expect_held EPERM twin text
expect_held EPERM mine text
expect_held ok mine open rw "$ctl"
expect_held ok mine put "$SCRATCH/req/evil" 30
pass mine root
expect_held EPERM root text
expect_held EPERM mine text
expect_held ok mine open rw "$ctl"
pass mine root
expect_held EPERM root put "$SCRATCH/req/evil" 1000

note "one process that becomes somebody else is not the one who opened"
hold actor 0
expect_held ok actor act-as 20003 20003
expect_held ok actor open rw "$ctl"
expect_held ok actor act-as 0 0
expect_held EPERM actor put "$SCRATCH/req/evil" 1000
expect_held ok actor act-as 20003 20003
expect_held EPERM actor text

note "a setuid program that was lent a request as its output does not speak for it"
install -m 4755 "$COFFER_SUPPORT/suid_writer" "$SCRATCH/bin/suid_writer"
evil=$(cat "$SCRATCH/req/evil")$'\n'
[ "$(as 20003 suid_writer works)" = works ] || fail "the setuid program does not run"
EPERM=1
expect_exit $EPERM as 20003 sh -c 'exec suid_writer "$0" <>"$1" >&0' "$evil" "$ctl"
expect_exit $EPERM as 20003 sh -c 'exec suid_writer "$0" err <>"$1" 2>&0' "$evil" "$ctl"
# opened before, in the same process, by the one who waits for the answer
expect_exit 0 as 20003 bash -c 'exec 5<>"$1"; suid_writer "$0" >&5; echo "$?"; read -r line <&5 && echo "answered: $line"; exit 0' "$evil" "$ctl"
[ "$(cat "$OUT")" = $EPERM ] || fail "$(cat "$OUT")"
# begun by the caller, to be ended by root
expect_exit 0 as 20003 bash -c 'exec 5<>"$1"; printf %s "${0:0:40}" >&5; suid_writer "${0:40}" >&5; echo "$?"; read -r line <&5 && echo "answered: $line"; printf x >&5; exit 0' "$evil" "$ctl"
[ "$(cat "$OUT")" = $EPERM ] || fail "$(cat "$OUT")"
! coffer bindings --output json | jq -e 'any(.[]; .principal == "user:20003" and .role == "secrets-officer")' >/dev/null || fail "a setuid program has granted a role"
[ "$(audit_count '.operation == "BindingCreate" and .caller.uid == 0 and (.result == "allow")')" -ge 1 ] || fail "no record of what root did grant"

note "whoever opens many gets no more, and others still get theirs"
mkfifo -m 666 "$SCRATCH/req/never"
: >"$SCRATCH/req/opened"
chmod 666 "$SCRATCH/req/opened"
caller_words 20009
start setpriv "${CALLER_WORDS[@]}" bash -c 'for ((i = 0; i < 200; i++)); do { exec {fd}<>"$0"; } 2>/dev/null || break; done; echo $i >"$1"; read -r _ <"$2"' \
	"$ctl" "$SCRATCH/req/opened" "$SCRATCH/req/never"
hog=$(process_of $!)
wait_for test -s "$SCRATCH/req/opened"
[ "$(cat "$SCRATCH/req/opened")" -lt 200 ] || fail "one uid may open any number of requests"
expect_errno ENFILE as 20009 sysop open rw "$ctl"
expect_ok as $officer coffer list
expect_ok coffer whoami
end_process "$hog"
wait_for as 20009 sysop open rw "$ctl"

for name in mine twin root actor; do
	let_go "$name"
done
[ "$(status .restarts)" = 0 ] || fail "a request has ended the worker"
audit_verify
