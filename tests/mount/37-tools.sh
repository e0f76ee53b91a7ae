#!/bin/bash
# The programs that people have read secrets as what they are: files with exact bytes and an exact size. Tools that are not installed are left out, and named.
. "$(dirname "$0")/../support/lib.sh"

vault_start
head -c 1048576 /dev/urandom >"$SCRATCH/mib"
printf 'line one\nline two\nline three\n' >"$SCRATCH/text"
printf '{"user":"app","password":"s3cr3t"}' >"$SCRATCH/json"
perl -e 'print map { chr } 0 .. 255' >"$SCRATCH/binary"
: >"$SCRATCH/empty"
printf 'x' >"$SCRATCH/byte"
head -c 4096 /dev/urandom >"$SCRATCH/page"
head -c 131072 /dev/urandom >"$SCRATCH/request"
head -c 131073 /dev/urandom >"$SCRATCH/more"
values=(mib text json binary empty byte page request more)
for v in "${values[@]}"; do
	expect_ok coffer put "$v" --file "$SCRATCH/$v"
done
expect_ok coffer grant secrets-officer user:20001 --on '*'
mkdir -m 777 "$SCRATCH/out"x
out=$SCRATCH/outx

same() { cmp -s "$1" "$2" || fail "$3 gives $(stat -c %s "$2") other bytes for $1 ($(stat -c %s "$1"))"; }

# reads TOOL COMMAND…: a shell's line with $1, the file, as 20001; what it prints is the value
reads()
{
	local tool=$1 v
	command -v "$tool" >/dev/null || { note "$tool is not installed"; return 0; }
	for v in "${values[@]}"; do
		as 20001 sh -c "$2" - "$MNT/$v/current" "$out" >"$SCRATCH/got" || fail "$tool fails on $v"
		same "$SCRATCH/$v" "$SCRATCH/got" "$tool"
	done
}

note "each reads each value, of 0 bytes, binary, and 1 MiB"
reads cat 'cat "$1"'
reads dd 'dd if="$1" bs=1000 2>/dev/null'
reads dd 'dd if="$1" iflag=direct bs=4096 2>/dev/null'
reads head 'head -c 2000000 "$1"'
reads tail 'tail -c 2000000 "$1"'
reads tail 'tail -c +1 "$1"'
reads tar 'tar -C "${1%/*}" -cf - current | tar -xOf -'
reads cp 'cp "$1" "$2/copy" && cat "$2/copy"'
reads cp 'cp -p --sparse=always "$1" "$2/copy" && cat "$2/copy" && rm -f "$2/copy"'
reads install 'install -m 600 "$1" "$2/copy" && cat "$2/copy"'
reads curl 'curl -s "file://$1"'
reads perl 'perl -e "open(F, q(<:raw), shift); local \$/; print <F>" "$1"'
reads python3 'python3 -c "import sys, shutil; shutil.copyfileobj(open(sys.argv[1], \"rb\"), sys.stdout.buffer)" "$1"'
reads python3 'python3 -c "import sys, shutil; shutil.copyfile(sys.argv[1], sys.argv[2])" "$1" "$2/copied" && cat "$2/copied"; rm -f "$2/copied"'
reads rsync 'rsync -q "$1" "$2/synced" && cat "$2/synced"; rm -f "$2/synced"'
reads busybox 'busybox cat "$1"'
reads busybox 'busybox cp "$1" "$2/copy" && cat "$2/copy"'
reads busybox 'busybox dd if="$1" bs=7000 2>/dev/null'
reads busybox 'busybox head -c 2000000 "$1"'
reads openssl 'openssl base64 -in "$1" | openssl base64 -d'
reads xxd 'xxd -p "$1" | xxd -r -p'
reads base64 'base64 "$1" | base64 -d'
reads gzip 'gzip -c <"$1" | gzip -dc'
reads cat 'cat <"$1" | cat'

note "sizes, sums and words"
for v in "${values[@]}"; do
	[ "$(as 20001 stat -c %s "$MNT/$v/current")" = "$(stat -c %s "$SCRATCH/$v")" ] || fail "stat of $v"
	[ "$(as 20001 wc -c <"$MNT/$v/current")" = "$(stat -c %s "$SCRATCH/$v")" ] || fail "wc of $v"
	[ "$(as 20001 sha256sum <"$MNT/$v/current")" = "$(sha256sum <"$SCRATCH/$v")" ] || fail "sha256sum of $v"
	expect_exit 0 as 20001 cmp "$MNT/$v/current" "$MNT/$v/versions/1"
	expect_output "ok $(stat -c %s "$SCRATCH/$v")" as 20001 sh -c 'sysop open r "$1" + seekend | tail -n 1' - "$MNT/$v/current"
	expect_content "$SCRATCH/$v" as 20001 sysop open r "$MNT/$v/current" + seqread
done
expect_output 'line two' as 20001 grep two "$MNT/text/current"
expect_output "$MNT/text/current:line two" as 20001 grep -r two "$MNT/text" --include=current
expect_output 'line one' as 20001 sed -n 1p "$MNT/text/current"
expect_output 'line three' as 20001 tail -n 1 "$MNT/text/current"
expect_output 'line one' as 20001 head -n 1 "$MNT/text/current"
expect_output 's3cr3t' as 20001 jq -r .password "$MNT/json/current"
expect_output '3' as 20001 awk 'END { print NR }' "$MNT/text/current"
as 20001 sh -c '. "$1"' - "$MNT/empty/current" || fail "sourcing an empty value"

note "parts: pread across chunks, beyond the end"
for at in 0 1 4095 131071 131072 1048575; do
	dd if="$SCRATCH/mib" of="$SCRATCH/part" iflag=skip_bytes,count_bytes skip="$at" count=5000 status=none
	expect_content "$SCRATCH/part" as 20001 sysop open r "$MNT/mib/current" + pread "$at" 5000
done
expect_content "$SCRATCH/empty" as 20001 sysop open r "$MNT/mib/current" + pread 1048576 10
expect_content "$SCRATCH/empty" as 20001 sysop open r "$MNT/mib/current" + pread 99999999 10

note "mmap of a version, private and shared where the kernel has it; sendfile and splice of what is newest"
for v in text mib page; do
	expect_content "$SCRATCH/$v" as 20001 sysop open r "$MNT/$v/versions/1" + mmap private
	expect_content "$SCRATCH/$v" as 20001 sysop open r "$MNT/$v/versions/1" + sendfile
	expect_content "$SCRATCH/$v" as 20001 sysop open r "$MNT/$v/versions/1" + splice
	as 20001 sysop open r "$MNT/$v/versions/1" + mmap shared >"$OUT" || true
	case $(tail -n 1 "$OUT") in
	ENODEV) note "this kernel has no shared mmap with direct I/O" ;;
	*) expect_content "$SCRATCH/$v" as 20001 sysop open r "$MNT/$v/versions/1" + mmap shared ;;
	esac
done
expect_errno EACCES as 20009 sysop open r "$MNT/text/versions/1"

note "the vault's own files: cat, by any means, gives all of them"
for file in whoami status metrics; do
	for cat in cat 'busybox cat' 'dd status=none if=/dev/stdin' 'tail -c +1'; do
		# shellcheck disable=SC2086
		expect_exit 0 $cat <"$MNT/.coffer/$file"
		case $file in
		metrics) grep -q '^# TYPE coffer_' "$OUT" || fail "$cat of $file: $(head -n 2 "$OUT")" ;;
		*) jq -e type "$OUT" >/dev/null || fail "$cat of $file: $(head -c 200 "$OUT")" ;;
		esac
	done
	expect_exit 0 busybox cat "$MNT/.coffer/$file"
	[ -s "$OUT" ] || fail "busybox cat $file is empty"
done
[ "$(as 20001 busybox cat "$MNT/.coffer/whoami" | jq .uid)" = 20001 ] || fail "whoami"
expect_exit 1 as 20001 cat "$MNT/.coffer/status"
expect_exit 1 as 20001 cat "$MNT/.coffer/metrics"
expect_exit 1 as 20001 cat "$MNT/.coffer/audit"
for cat in cat 'busybox cat'; do
	$cat "$MNT/.coffer/audit" >"$SCRATCH/log"
	[ "$(jq -r .operation "$SCRATCH/log" | grep -c SecretGet)" -gt 100 ] || fail "$cat of the log"
done

note "tail -f of the log follows"
for tail in 'tail -n 1 -f' 'tail -n 0 -F' 'busybox tail -n 1 -f'; do
	# shellcheck disable=SC2086
	start $tail "$MNT/.coffer/audit" >"$SCRATCH/followed" 2>/dev/null
	for who in 20101 20102 20103; do
		expect_errno EACCES as $who sysop open r "$MNT/text/current"
		follows() { expect_errno EACCES as "$who" sysop open r "$MNT/text/current"; grep -q "\"uid\":$who" "$SCRATCH/followed"; }
		wait_for follows
	done
	end_process "${STARTED[-1]}"
	# all but the last line, which it may have been ended in, are whole
	sed '$d' "$SCRATCH/followed" | jq -e .seq >/dev/null || fail "$tail tears lines"
done

note "written by tools too: each is one version"
expect_ok as 20001 cp "$SCRATCH/page" "$MNT/text/current"
expect_ok as 20001 sh -c 'cat "$1" >"$2"' - "$SCRATCH/mib" "$MNT/page/current"
expect_ok as 20001 dd if="$SCRATCH/binary" of="$MNT/json/current" bs=100 status=none
expect_ok as 20001 sh -c 'tee "$2" <"$1" >/dev/null' - "$SCRATCH/json" "$MNT/byte/current"
expect_ok as 20001 sh -c 'busybox cp "$1" "$2"' - "$SCRATCH/byte" "$MNT/binary/current"
for pair in page:text mib:page binary:json json:byte byte:binary; do
	as 20001 cat "$MNT/${pair#*:}/current" | cmp -s - "$SCRATCH/${pair%:*}" || fail "${pair#*:} is not what was written"
	expect_output '1
2' as 20001 ls "$MNT/${pair#*:}/versions"
done
