#!/bin/bash
# Secrets in containers: a directory and a single file, bound into a container that runs as a user; rotation, watchers, a pod with a hostPath volume; a container's root is
# nobody special; a worker's death is not seen from inside. Podman's storage is in the scratch directory, and its namespace is this test's.
. "$(dirname "$0")/../support/lib.sh"

command -v podman >/dev/null && command -v busybox >/dev/null || { echo "podman or busybox is not installed"; exit 77; }

vault_start
printf 'one' | coffer put db
printf 'for root' | coffer put shared
printf 'alone' | coffer put single
expect_ok coffer grant secrets-user user:20001 --on db
expect_ok coffer grant secrets-user user:20001 --on single
expect_ok coffer grant secrets-user user:0 --on shared

# ---- podman, for machines where its defaults cannot be used too ----

mkdir -p "$SCRATCH/rootfs/bin" "$SCRATCH/rootfs/etc" "$SCRATCH/rootfs/tmp"
chmod 1777 "$SCRATCH/rootfs/tmp"
install -m 755 "$(command -v busybox)" "$SCRATCH/rootfs/bin/busybox"
for applet in sh cat id ls sleep stat sha256sum cp tail; do
	ln -s busybox "$SCRATCH/rootfs/bin/$applet"
done
install -m 755 "$COFFER_SUPPORT/watch" "$SCRATCH/rootfs/bin"
echo 'root:x:0:0::/:/bin/sh' >"$SCRATCH/rootfs/etc/passwd"
cat >"$SCRATCH/containers.conf" <<-'END'
	[containers]
	default_ulimits=["nofile=4096:4096","nproc=1000:1000"]
	[engine]
	cgroup_manager="cgroupfs"
	events_logger="file"
	infra_image="localhost/tiny:latest"
END
export CONTAINERS_CONF=$SCRATCH/containers.conf

# One mount namespace for all that podman does, made after the vault was mounted. Its mounts go with it.
unshare -m --propagation private sh -c 'umount /sys/fs/cgroup/unified 2>/dev/null; exec sleep 600' &
STARTED+=("$(process_of $!)")
namespace=$!
in_namespace() { [ "$(readlink "/proc/$namespace/ns/mnt")" != "$(readlink /proc/self/ns/mnt)" ] && [ "$(cat "/proc/$namespace/comm")" = sleep ]; }
wait_for in_namespace

in_podman()
{
	timeout --foreground -k 5 60 nsenter -t "$namespace" -m podman --root "$SCRATCH/podman/root" --runroot "$SCRATCH/podman/run" --tmpdir "$SCRATCH/podman/tmp" \
		--storage-driver vfs "$@" </dev/null
}

containers_down()
{
	in_podman pod rm -f -a -t 0
	in_podman rm -f -a -t 0
} >/dev/null 2>&1

AT_EXIT+=(containers_down)

timeout 60 tar -C "$SCRATCH/rootfs" -cf "$SCRATCH/rootfs.tar" .
in_podman import --change 'CMD ["/bin/sleep", "300"]' "$SCRATCH/rootfs.tar" tiny >"$OUT" 2>"$ERR" || { echo "podman cannot import an image here: $(tail -n 1 "$ERR")"; exit 77; }
in_podman run --rm --network=none tiny true >"$OUT" 2>"$ERR" || in_podman run --rm --network=none tiny id >"$OUT" 2>"$ERR" ||
	{ echo "podman cannot run a container here: $(tail -n 1 "$ERR")"; exit 77; }

# inside [OPTION OF podman run…] -- COMMAND…
inside()
{
	local options=()
	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	shift
	in_podman run --rm --network=none "${options[@]}" tiny "$@"
}

binds=(-v "$MNT/db:/secrets:ro" -v "$MNT/single/current:/single:ro")

note "a secret's directory and a single file, bound into a container: its user reads both, another user neither"
expect_output 'one' inside "${binds[@]}" --user 20001 -- cat /secrets/current
expect_output 'one' inside "${binds[@]}" --user 20001 -- cat /secrets/versions/1
expect_output 'alone' inside "${binds[@]}" --user 20001 -- cat /single
expect_exit 1 inside "${binds[@]}" --user 20002 -- cat /secrets/current
grep -q 'Permission denied' "$ERR" || fail "$(cat "$ERR")"
expect_exit 1 inside "${binds[@]}" --user 20002 -- cat /single
expect_ok inside "${binds[@]}" --user 20001 -- sh -c 'cp /secrets/current /tmp/copy && [ "$(cat /tmp/copy)" = one ]'
audit_has '.operation == "SecretGet" and .result == "allow" and .secret == "db" and .caller.uid == 20001 and (.caller.container | startswith("podman:"))'
audit_has '.operation == "SecretGet" and .result == "deny" and .secret == "single" and .caller.uid == 20002 and (.caller.container | startswith("podman:"))'

note "a supplementary group is enough"
expect_ok coffer grant secrets-user group:30001 --on single
expect_output 'alone' inside "${binds[@]}" --user 20003 --group-add 30001 -- cat /single

note "ids of a user namespace are those of the host outside"
expect_ok coffer grant secrets-user user:120001 --on db
expect_output 'one' inside "${binds[@]}" --uidmap 0:100000:65536 --user 20001 -- cat /secrets/current
audit_has '.operation == "SecretGet" and .result == "allow" and .caller.uid == 120001'

note "a container's root is not host, whatever it shares with the host"
expect_exit 1 inside "${binds[@]}" -- cat /secrets/current
expect_exit 1 inside "${binds[@]}" --pid=host -- cat /secrets/current
expect_exit 1 inside "${binds[@]}" --pid=host --privileged -- cat /secrets/current
expect_exit 1 inside "${binds[@]}" --pid=host --uidmap 0:0:65536 -- cat /secrets/current
expect_exit 1 inside "${binds[@]}" --pid=host --cgroupns=host --ipc=host --uts=host -- cat /secrets/current
[ "$(audit_count '.operation == "SecretGet" and .result == "deny" and .secret == "db" and .caller.uid == 0 and (.caller.container | startswith("podman:"))')" = 5 ] ||
	fail "not 5 denials that name the container: $(jq -c 'select(.caller.uid == 0 and .result == "deny")' <"$MNT/.coffer/audit")"
expect_exit 0 inside -v "$MNT:/vault" --pid=host -- cat /vault/.coffer/whoami
[ "$(jq -r '"\(.host) \(.uid) \(.container | startswith("podman:")) \(.roles | length)"' <"$OUT")" = 'false 0 true 1' ] || fail "$(cat "$OUT")"
expect_exit 0 inside -v "$MNT:/vault" --pid=host --user 4242 -- cat /vault/.coffer/whoami
[[ $(jq -r '"\(.uid) \(.neighbour)"' <"$OUT") = '4242 container:'* ]] || fail "a user in a container of the host's pid namespace: $(cat "$OUT")"
expect_exit 1 inside -v "$MNT:/vault" -- cat /vault/.coffer/status
expect_output 'current
versions' inside "${binds[@]}" -- ls /secrets

note "but a right that is not narrowed to host is its right too"
expect_output 'for root' inside -v "$MNT/shared:/secrets" -- cat /secrets/current
expect_exit 1 inside -v "$MNT/shared:/secrets" -- sh -c 'echo x >/secrets/current'

note "a container that stays: rotation is seen through both binds, and its watchers hear of it"
mkdir -m 777 "$SCRATCH/seen"
expect_ok in_podman run -d --name stays --network=none "${binds[@]}" -v "$SCRATCH/seen:/out" --user 20001 tiny \
	sh -c '/bin/watch /secrets/current - /secrets/current >/out/file & /bin/watch /secrets current /secrets/current >/out/dir & /bin/watch /single - /single >/out/single & sleep 300'
first_is_ready() { [ "$(cat "$SCRATCH"/seen/{file,dir,single} | grep -c ready)" = 3 ]; }
wait_for first_is_ready
for i in 1 2 3 4 5; do
	printf 'rotation %d' "$i" | coffer put db
	printf 'other %d' "$i" | coffer put single
	heard() { [ "$(tail -n 1 "$SCRATCH/seen/file")" = "1 rotation $i" ] && [ "$(tail -n 1 "$SCRATCH/seen/dir")" = "1 rotation $i" ] && [ "$(tail -n 1 "$SCRATCH/seen/single")" = "1 other $i" ]; }
	wait_for heard
done
expect_output 'rotation 5' in_podman exec stays cat /secrets/current
expect_output 'other 5' in_podman exec stays cat /single
[ "$(wc -l <"$SCRATCH/seen/file")" = 6 ] || fail "$(cat "$SCRATCH/seen/file")"

note "the worker is killed while it runs: it goes on, and so do its watchers"
DEATHS_EXPECTED=1
expect_ok in_podman exec -d stays sh -c 'n=0; until [ -e /out/stop ]; do [ "$(cat /secrets/current)" = "rotation 5" ] || { echo bad >>/out/loop; break; }; n=$((n + 1)); echo $n >/out/n; done; echo "done $n" >>/out/loop'
reads_more() { [ "$(cat "$SCRATCH/seen/n" 2>/dev/null || echo 0)" -gt "$1" ]; }
wait_for reads_more 20
for i in 1 2 3; do
	worker=$(status .processes.worker)
	kill -9 "$worker"
	wait_for reads_more $(($(cat "$SCRATCH/seen/n") + 20))
	other_worker() { [ "$(status .processes.worker)" != "$worker" ]; }
	wait_for other_worker
done
touch "$SCRATCH/seen/stop"
wait_for test -e "$SCRATCH/seen/loop"
grep -q '^done ' "$SCRATCH/seen/loop" || fail "a read failed: $(cat "$SCRATCH/seen/loop")"
! grep -q bad "$SCRATCH/seen/loop" || fail "a read failed after a kill"
printf 'after the kill' | coffer put db
heard() { [ "$(tail -n 1 "$SCRATCH/seen/file")" = '1 after the kill' ]; }
wait_for heard
expect_output 'after the kill' in_podman exec stays cat /secrets/current

note "revoked: the container reads no more"
expect_ok coffer revoke secrets-user user:20001 --on db
expect_exit 1 in_podman exec stays cat /secrets/current
expect_ok coffer grant secrets-user user:20001 --on db
expect_output 'after the kill' in_podman exec stays cat /secrets/current
expect_ok in_podman rm -f -t 0 stays

note "a pod with a hostPath volume, as a user"
cat >"$SCRATCH/pod.yaml" <<-END
	apiVersion: v1
	kind: Pod
	metadata:
	  name: reader
	spec:
	  restartPolicy: Never
	  securityContext:
	    runAsUser: 20001
	    runAsGroup: 20001
	  containers:
	  - name: app
	    image: localhost/tiny:latest
	    imagePullPolicy: Never
	    command: ["/bin/sh", "-c", "cat /secrets/current >/out/pod; echo \$? >/out/pod-status; sleep 300"]
	    volumeMounts:
	    - name: db
	      mountPath: /secrets
	      readOnly: true
	    - name: out
	      mountPath: /out
	  volumes:
	  - name: db
	    hostPath:
	      path: $MNT/db
	      type: Directory
	  - name: out
	    hostPath:
	      path: $SCRATCH/seen
	      type: Directory
END
expect_ok in_podman kube play --network=none "$SCRATCH/pod.yaml"
wait_for test -s "$SCRATCH/seen/pod-status"
[ "$(cat "$SCRATCH/seen/pod") $(cat "$SCRATCH/seen/pod-status")" = 'after the kill 0' ] || fail "$(cat "$SCRATCH/seen/pod" "$SCRATCH/seen/pod-status")"
expect_exit 0 in_podman exec reader-app /bin/cat /secrets/versions/1
audit_has '.operation == "SecretGet" and .result == "allow" and .secret == "db" and .caller.uid == 20001 and .caller.comm == "cat" and (.caller.container | startswith("podman:"))'

containers_down
audit_verify
