#!/bin/bash
# Measures what `-o max_read` costs and gains: the cycle of open, read to end of file, close, for values and clients' buffers of many sizes. Prints a table for each buffer: medians in microseconds for the first of the settings, and the ratio
# of the others to it within each round. Nothing here passes or fails by time.
#
#   tests/bench/max_read.sh [--build DIR] [--rounds N] [--cycles N] [--cpu N]
#
# As root, with the programs of DIR (default .build/bench). One vault for each setting, all mounted at once, which take turns (see cycle.c).
set -euo pipefail

top=$(cd "$(dirname "$0")/../.." && pwd)
build=$top/.build/bench rounds=30 cycles=200 cpu=$(($(nproc --all) - 1))
settings=(128K 68K 64K 32K 16K 8K 4K)
sizes=(256 4096 16384 65536 262144 1048576)
buffers=(4096 16384 65536 131072 1048576)
client_uid=1000

while [ $# -gt 0 ]; do
	case $1 in
	--build) build=$(realpath "${2:?}") ;;
	--rounds) rounds=${2:?} ;;
	--cycles) cycles=${2:?} ;;
	--cpu) cpu=${2:?} ;;
	*) echo "unknown option $1; see the head of $0" >&2 && exit 1 ;;
	esac
	shift 2
done
"$top/tests/support/users.sh"
work=$(mktemp -d "${TMPDIR:-/tmp}/coffer-max-read.XXXXXX")
chmod 755 "$work"
mkdir "$work/values"
mounts=()

clean_up()
{
	local m
	for m in "${mounts[@]}"; do
		timeout 30 umount "$m" 2>/dev/null || umount -l "$m" 2>/dev/null || true
	done
	chattr -R -a "$work" 2>/dev/null || true
	rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# As in run.sh: before whatever else the machine does, and all of them alike.
ahead()
{
	# shellcheck disable=SC2016
	setsid sh -c '{ echo -20 >/proc/self/autogroup; } 2>/dev/null; exec nice -n -20 taskset -c "$0" "$@"' "$cpu" "$@"
}

for size in "${sizes[@]}"; do
	for i in 0 1 2 3 4 5 6 7; do
		head -c "$size" /dev/urandom >"$work/values/v$size-$i"
	done
done
targets=()
for setting in "${settings[@]}"; do
	mnt=$work/$setting
	mkdir "$mnt"
	"$build/fs/coffer" init "$work/store-${setting,,}" --kek "file:$work/$setting.kek" >/dev/null
	ahead "$build/fs/cofferd" "$work/store-${setting,,}" "$mnt" -o "max_read=$setting,audit_keep=48M,audit_keep_days=0"
	mounts+=("$mnt")
	for file in "$work"/values/*; do
		"$build/fs/coffer" -m "$mnt" put "${file##*/}" --file "$file" >/dev/null
	done
	"$build/fs/coffer" -m "$mnt" grant secrets-user "user:$client_uid" --on '*' >/dev/null
	for size in "${sizes[@]}"; do
		printf "$mnt/v$size-%s/current\n" 0 1 2 3 4 5 6 7 >"$work/$setting.$size.list"
		targets+=("$setting:$size=$work/$setting.$size.list")
	done
done

echo "$rounds rounds of $cycles cycles; everything on CPU $cpu; Linux $(uname -r)"
for buffer in "${buffers[@]}"; do
	ahead setpriv --reuid "$client_uid" --regid "$client_uid" --clear-groups \
		"$build/tests/bench/bench_cycle" --cpu "$cpu" --rounds "$rounds" --cycles "$cycles" --clients 1 --buffer "$buffer" "${targets[@]}" >"$work/raw"
	awk -v buffer="$buffer" -v settings="${settings[*]}" -v sizes="${sizes[*]}" '
	function median(a, n,    i, k, x) {
		for (i = 2; i <= n; i++) {
			x = a[i]
			for (k = i - 1; k > 0 && a[k] > x; k--)
				a[k + 1] = a[k]
			a[k + 1] = x
		}
		return n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2
	}
	{ ns[$2, $1] = $4; if ($1 > rounds) rounds = $1 }
	END {
		n = split(settings, setting, " ")
		printf "\nclient buffer %-10s %10s us", buffer, setting[1]
		for (k = 2; k <= n; k++)
			printf "  %7s", setting[k]
		printf "\n"
		m = split(sizes, size, " ")
		for (i = 1; i <= m; i++) {
			printf "  value of %-14s", size[i]
			for (k = 1; k <= n; k++) {
				for (r = 1; r <= rounds; r++)
					v[r] = k == 1 ? ns[setting[1] ":" size[i], r] / 1000 : ns[setting[k] ":" size[i], r] / ns[setting[1] ":" size[i], r]
				printf k == 1 ? "%10.1f   " : "  %7.2f", median(v, rounds)
			}
			printf "\n"
		}
	}' "$work/raw"
done
