#!/bin/bash
# No file system that copies what it reads to a disk of its own can stand on a vault: overlayfs, as container engines and administrators mount it, and ecryptfs; nothing else is lost by that. A mount that an older
# binary made goes without, and says so: status and doctor list what it lacks, an overlay's opens are refused where they can be told, and unmounting and mounting brings what is missing.
. "$(dirname "$0")/../support/lib.sh"
grep -q 'overlay' /proc/filesystems || { echo "this kernel has no overlayfs"; exit 77; }

# overlay_on LOWER [OPTION]: at $SCRATCH/merged
overlay_on()
{
	rm -rf "$SCRATCH/upper" "$SCRATCH/work"
	mkdir -p "$SCRATCH/upper" "$SCRATCH/work" "$SCRATCH/merged" "$SCRATCH/empty"
	mount -t overlay overlay -o "lowerdir=$1,upperdir=$SCRATCH/upper,workdir=$SCRATCH/work" "$SCRATCH/merged" >"$OUT" 2>"$ERR"
}

nothing_copied() { ! grep -rqs 'the value' "$SCRATCH/upper" "$SCRATCH/work" || fail "the value lies in the overlay's upper directory"; }

vault_start
printf 'the value' | coffer put db
expect_ok coffer grant secrets-user user:20001 --on db

if [ "$(status '[.mount_lacks[].name] | index("no_overlay")')" = null ]; then
	note "no overlay stands on it: writable, read-only, nested, over one directory, through a bind mount"
	mkdir -p "$SCRATCH/bind" "$SCRATCH/empty" "$SCRATCH/merged"
	mount_extra --bind "$MNT/db" "$SCRATCH/bind"
	for lower in "$MNT" "$MNT/db" "$SCRATCH/bind" "$SCRATCH/empty:$MNT" "$MNT:$SCRATCH/empty"; do
		! overlay_on "$lower" || fail "an overlay stands on $lower"
	done
	expect_exit 32 mount -t overlay overlay -o "lowerdir=$SCRATCH/empty:$MNT" "$SCRATCH/merged"
	nothing_copied
	if grep -q ecryptfs /proc/filesystems; then
		expect_exit 1 mount -i -t ecryptfs "$MNT/db" "$SCRATCH/merged" -o ecryptfs_sig=0000000000000000,ecryptfs_cipher=aes,ecryptfs_key_bytes=16,ecryptfs_unlink_sigs
	else
		note "  this kernel has no ecryptfs: not tried"
	fi
	if command -v podman >/dev/null && command -v busybox >/dev/null; then
		note "podman's :O is refused, and its plain bind works"
		mkdir -p "$SCRATCH/rootfs/bin"
		install -m 755 "$(command -v busybox)" "$SCRATCH/rootfs/bin/busybox"
		ln -s busybox "$SCRATCH/rootfs/bin/cat"
		timeout 60 tar -C "$SCRATCH/rootfs" -cf "$SCRATCH/rootfs.tar" .
		cat >"$SCRATCH/containers.conf" <<-'END'
			[containers]
			default_ulimits=["nofile=4096:4096","nproc=1000:1000"]
			[engine]
			cgroup_manager="cgroupfs"
			events_logger="file"
		END
		export CONTAINERS_CONF=$SCRATCH/containers.conf
		podman_do()
		{
			timeout --foreground -k 5 60 unshare -m --propagation private sh -c 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"' - \
				podman --root "$SCRATCH/podman/root" --runroot "$SCRATCH/podman/run" --tmpdir "$SCRATCH/podman/tmp" --storage-driver vfs "$@" </dev/null
		}
		if podman_do import "$SCRATCH/rootfs.tar" tiny >"$OUT" 2>"$ERR" && podman_do run --rm --network=none tiny cat /dev/null >"$OUT" 2>"$ERR"; then
			expect_output 'the value' podman_do run --rm --network=none -v "$MNT/db:/secrets:ro" --user 20001 tiny cat /secrets/current
			! podman_do run --rm --network=none -v "$MNT/db:/secrets:O" --user 20001 tiny cat /secrets/current >"$OUT" 2>"$ERR" || fail "podman's :O works"
			grep -q 'the value' "$OUT" && fail "podman's :O shows the value"
		else
			note "  podman cannot run a container here: $(tail -n 1 "$ERR")"
		fi
	fi
	unmount_extra
else
	note "this kernel cannot forbid it; status says so"
fi

note "reads, maps and binds are what they were"
expect_output 'the value' as 20001 cat "$MNT/db/current"
expect_output 'the value' as 20001 busybox cat "$MNT/db/versions/1"
printf 'the value' >"$SCRATCH/value"
for kind in s p; do
	expect_errno ok as 20001 sysop open r "$MNT/db/versions/1" + mmap $kind
	expect_content "$SCRATCH/value" as 20001 sysop open r "$MNT/db/versions/1" + mmap $kind + mapped
done

if command -v fuse-overlayfs >/dev/null; then
	note "fuse-overlayfs reads as whoever runs it, and is refused what that may not read"
	mkdir -p "$SCRATCH/fuse-upper" "$SCRATCH/fuse-work" "$SCRATCH/fuse-merged"
	chown 20009 "$SCRATCH/fuse-upper" "$SCRATCH/fuse-work" "$SCRATCH/fuse-merged"
	fuse_overlay()
	{
		mkdir -p "$SCRATCH/fuse-upper" "$SCRATCH/fuse-work"
		fuse-overlayfs -o "lowerdir=$MNT,upperdir=$SCRATCH/fuse-upper,workdir=$SCRATCH/fuse-work" "$SCRATCH/fuse-merged" </dev/null >"$OUT" 2>"$ERR"
	}
	coffer revoke secrets-user user:20001 --on db
	if fuse_overlay; then
		MOUNTED+=("$SCRATCH/fuse-merged")
		# root administers this vault, and may not read this secret where it is blocked
		expect_ok coffer put other --file "$SCRATCH/value"
		expect_exit 1 as 20009 cat "$SCRATCH/fuse-merged/db/current"
		! grep -rqs 'the value' "$SCRATCH/fuse-upper" || fail "the value was copied up"
		unmount_extra
	else
		note "  fuse-overlayfs does not run here: $(tail -n 1 "$ERR")"
	fi
else
	note "fuse-overlayfs is not installed: not tried"
fi
vault_umount

[ -n "${COFFER_HOOKS_BIN:-}" ] || { echo "no build with hooks (COFFER_HOOKS_BIN): a mount of an older binary is not tested"; exit 0; }
note "a mount that an older binary made: status and doctor say what it lacks, and what to do"
install -m 755 "$COFFER_HOOKS_BIN/coffer" "$COFFER_HOOKS_BIN/cofferd" "$SCRATCH/bin"
export COFFER_TEST_OLD_MOUNT=1
vault_mount
unset COFFER_TEST_OLD_MOUNT
lacks() { status '.mount_lacks[] | "\(.name): \(.how)"'; }
[[ $(lacks) == 'no_overlay: '* ]] || fail "$(lacks)"
coffer doctor >"$OUT" 2>&1 || true
grep -q '^warn .*overlayfs' "$OUT" || fail "$(cat "$OUT")"

note "an overlay's opens are refused there, for they ask for O_NOATIME; others are not"
overlay_on "$MNT" || fail "no overlay can be mounted at all: $(cat "$ERR")"
MOUNTED+=("$SCRATCH/merged")
! cat "$SCRATCH/merged/db/current" >"$OUT" 2>"$ERR" || fail "an overlay reads"
# shellcheck disable=SC2016
! sh -c 'exec 3>>"$1"' - "$SCRATCH/merged/db/current" 2>/dev/null || fail "an overlay copies up"
nothing_copied
unmount_extra
expect_output 'the value' cat "$MNT/db/current"
audit_has '.operation == "SecretGet" and .result == "error" and .errno == "EPERM" and .secret == "db"'

note "it still lacks it after an upgrade in place; unmounted and mounted again it does not"
worker=$(status .processes.worker)
kill -HUP "${DAEMON%:*}"
upgraded() { [ "$(status .supervision.upgrades)" -ge 1 ] && [ "$(status .processes.worker)" != "$worker" ]; }
wait_for upgraded
[[ $(lacks) == 'no_overlay: '* ]] || fail "$(lacks)"
vault_umount
vault_mount
[ "$(lacks)" != "no_overlay: unmount it and mount it again: the kernel has it" ] || fail "$(lacks)"
