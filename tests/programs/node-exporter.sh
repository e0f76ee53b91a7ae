#!/bin/bash
# A monitoring agent looks at each mounted file system: the vault is no full disk to it, and nothing that any local user can ask tells how many secrets there are.
. "$(dirname "$0")/../support/lib.sh"

command -v prometheus-node-exporter >/dev/null || { echo "prometheus-node-exporter is not installed"; exit 77; }

vault_start
expect_ok coffer put db --file /etc/hostname
mkdir "$SCRATCH/textfile"
cp "$MNT/.coffer/metrics" "$SCRATCH/textfile/coffer.prom"
chmod 644 "$SCRATCH/textfile/coffer.prom"
port=$((20000 + $$ % 20000))
caller_words 65534
start setpriv "${CALLER_WORDS[@]}" prometheus-node-exporter --web.listen-address="127.0.0.1:$port" --collector.disable-defaults --collector.filesystem --collector.textfile --collector.textfile.directory="$SCRATCH/textfile" >"$SCRATCH/exporter" 2>&1

metrics() { curl -sf --max-time 20 "http://127.0.0.1:$port/metrics" >"$OUT"; }
# figure NAME: of the vault, as a whole number
figure() { awk -v name="node_filesystem_$1" -v mount="mountpoint=\"$MNT\"" 'index($0, name "{") == 1 && index($0, mount) { printf "%.0f\n", $2; exit }' "$OUT"; }

wait_for metrics
metrics
note "the vault is seen, without an error"
[ "$(figure device_error)" = 0 ] || fail "the agent's look at the vault failed: $(grep -F "$MNT" "$OUT")"
note "its own metrics are read by Prometheus' parser, each of them"
grep -q '^node_textfile_scrape_error 0$' "$OUT" || fail "not taken: $(cat "$SCRATCH/exporter")"
while read -r line; do
	grep -q "^${line%% *}[ {]" "$OUT" || fail "$line is not among what Prometheus read"
done < <(grep -v '^#' "$SCRATCH/textfile/coffer.prom")
note "neither its blocks nor its inodes are all used"
for name in size_bytes free_bytes avail_bytes files files_free; do
	[ "$(figure $name)" -gt 0 ] || fail "$name is $(figure $name)"
done

note "a secret more changes none of what it says of inodes"
before="$(figure files) $(figure files_free)"
for i in 1 2 3 4 5 6 7 8 9 10; do
	expect_ok coffer put "more$i" --file /etc/hostname
done
# the file system under the store may make inodes of its own meanwhile: no more than a few, and never one a secret
metrics
after="$(figure files) $(figure files_free)"
[ "${before%% *}" = "${after%% *}" ] || fail "the number of inodes went from $before to $after"
vault_umount
