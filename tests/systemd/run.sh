#!/bin/bash
# The units of contrib/systemd under a real systemd: a Debian 12 is put together, coffer installed into it, and booted in a virtual machine once with each of the distribution's kernels; there inside.sh tries everything.
# By hand, as root, with the network: it takes some minutes a kernel, for by default it is emulated in software; ACCEL=kvm is faster, where it works. The first run fetches packages.
#
#   tests/systemd/run.sh [KERNEL…]     names as in .build/systemd/root/boot/vmlinuz-NAME; default: all of them. 6.1 has no FUSE_NOTIFY_RESEND, 6.12 has it
#
# Exit status 0: all that was tried held; 1: not, or the machine did not get so far; 77: cannot be tried here. What the machine said stays in .build/systemd/NAME.log.
set -euo pipefail

top=$(cd "$(dirname "$0")/../.." && pwd)
work=$top/.build/systemd
root=$work/root
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
minutes=${MINUTES:-25}

skip() { echo "$*"; exit 77; }
[ "$(id -u)" = 0 ] || skip "debootstrap needs root"
for tool in debootstrap qemu-system-x86_64 mke2fs cc cmake; do
	command -v "$tool" >/dev/null || skip "$tool is not installed"
done
# what is built here must run there
grep -q 'bookworm' /etc/os-release || skip "this is not Debian 12: what is built here would not run in it"

mkdir -p "$work"
if [ ! -e "$root/complete" ]; then
	rm -rf "$root"
	debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,udev,kmod,libfuse3-3,libjansson4,libsqlite3-0,libseccomp2,libcap2,libssl3,openssl,passwd,jq,procps,inotify-tools,attr,e2fsprogs,util-linux,mount,initramfs-tools,busybox-static \
		bookworm "$root" "$mirror" >"$work/debootstrap.log" || skip "debootstrap failed: $(tail -n 1 "$work/debootstrap.log")"
	echo "deb $mirror bookworm-backports main" >"$root/etc/apt/sources.list.d/backports.list"
	for release in bookworm bookworm-backports; do
		chroot "$root" sh -c "apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends -t $release linux-image-cloud-amd64" >>"$work/debootstrap.log" 2>&1 </dev/null ||
			skip "no kernel from $release: $(tail -n 1 "$work/debootstrap.log")"
	done
	touch "$root/complete"
fi

cmake --preset release -S "$top" -B "$top/.build/release" >/dev/null
cmake --build "$top/.build/release" >/dev/null
DESTDIR=$root cmake --install "$top/.build/release" --prefix /usr >/dev/null
install -d "$root/opt/trial"
cc -O2 -D_GNU_SOURCE -o "$root/opt/trial/hammer" "$top/tests/support/hammer.c"
install -m 755 "$top/tests/systemd/inside.sh" "$root/opt/trial"
cat >"$root/etc/systemd/system/trial.service" <<'END'
[Unit]
Description=Trial of coffer's units
After=multi-user.target

[Service]
Type=oneshot
ExecStart=/opt/trial/inside.sh
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS1
TimeoutStartSec=infinity
SuccessAction=poweroff-force
FailureAction=poweroff-force

[Install]
WantedBy=multi-user.target
END
chroot "$root" systemctl -q enable trial.service
echo vm >"$root/etc/hostname"
rm -f "$work/disk"
mke2fs -q -t ext4 -d "$root" "$work/disk" 2G

if [ $# -gt 0 ]; then
	kernels=("$@")
else
	mapfile -t kernels < <(cd "$root/boot" && printf '%s\n' vmlinuz-* | sed 's/^vmlinuz-//' | sort -V)
fi
alive() { kill -0 "$1" 2>/dev/null; }
said() { grep -q "^$1" "$work/$kernel.log" 2>/dev/null; }
status=0
for kernel in "${kernels[@]}"; do
	echo "==== $kernel"
	# an emulated machine on a busy one does not always come up: its timer is late. QEMU 7.2 emulates cmpxchg16b so that Linux 6.12 faults
	for ((try = 0; try < 3; try++)); do
		rm -f "$work/$kernel.log"
		timeout -k 10 "$((minutes * 60))" qemu-system-x86_64 -nographic -no-reboot -m 1536 -smp 2 -accel "${ACCEL:-tcg}" -cpu max,-cx16 -snapshot -nic none -device virtio-rng-pci \
			-drive "file=$work/disk,format=raw,if=virtio,cache=unsafe" -kernel "$root/boot/vmlinuz-$kernel" -initrd "$root/boot/initrd.img-$kernel" -append "root=/dev/vda rw console=ttyS0 quiet panic=-1 no_timer_check" \
			-serial "file:$work/$kernel.console" -serial "file:$work/$kernel.log" -monitor none </dev/null >"$work/qemu.log" 2>&1 &
		machine=$!
		while alive $machine && ! said 'all that was tried held'; do
			sleep 1
		done
		# it switches itself off, but not always
		for ((i = 0; i < 20; i++)); do
			! alive $machine || sleep 1
		done
		kill $machine 2>/dev/null || true
		wait $machine || said '' || echo "qemu: $(tail -n 1 "$work/qemu.log")"
		[ ! -s "$work/$kernel.log" ] || break
	done
	cat "$work/$kernel.log"
	! said 'this step hangs' && said 'all that was tried held' || status=1
done
exit $status
