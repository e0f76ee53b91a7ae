#!/bin/bash
# Measures what coffer costs beside a server that does nothing, gocryptfs and tmpfs, and prints tables. Nothing here passes or fails by time.
#
#   tests/bench/run.sh [--quick] [--build DIR] [--beside DIR] [--cpu N] [--keep FILE]
#
#   --quick      fewer rounds and smaller stores: within a minute
#   --build DIR  a build tree to take the programs from (default: .build/bench, which is built first)
#   --beside DIR a build tree of another commit, whose coffer takes its turn in every round and is compared
#   --cpu N      the CPU that every server and client is pinned to (default: the last)
#   --keep FILE  keep the raw figures: ROUND LABEL CLIENTS NANOSECONDS
#
# As root. All systems are mounted at once and take turns in every round, in an order that is shuffled anew (see cycle.c).
set -euo pipefail

top=$(cd "$(dirname "$0")/../.." && pwd)
build="" beside="" keep="" rounds=60 cycles=1000 scale=100000 middle=10000 starts=3
cpu=$(($(nproc --all) - 1))
sizes=(256 4096 65536)
read_secrets=100		# these are read each time, however many there are
client_uid=1000

die()
{
	echo "bench: $*" >&2
	exit 1
}

while [ $# -gt 0 ]; do
	case $1 in
	--quick) rounds=10 cycles=400 scale=10000 middle='' starts=1 ;;
	--build) build=${2:?}; shift ;;
	--beside) beside=${2:?}; shift ;;
	--cpu) cpu=${2:?}; shift ;;
	--keep) keep=${2:?}; shift ;;
	*) die "unknown option $1; see the head of $0" ;;
	esac
	shift
done
[ "$(id -u)" = 0 ] || die "mounting and pinning need root; run it with sudo"
[ -c /dev/fuse ] || die "/dev/fuse is missing; modprobe fuse, or give the container the device"

if [ -z "$build" ]; then
	build=$top/.build/bench
	cmake -S "$top" --preset bench >/dev/null
	cmake --build "$build" --target coffer cofferd build_store bench_nullfs bench_cycle bench_parts
fi
find_program()
{
	local path
	path=$(find "$build" -type f -name "$1" -perm -u+x -print -quit)
	[ -n "$path" ] || die "$1 is not in $build; build it, or leave the option that names it away"
	echo "$path"
}
# use_build DIR: whose vaults are made from here on
use_build()
{
	build=$1
	coffer=$(find_program coffer)
	cofferd=$(find_program cofferd)
	build_store=$(find_program build_store)
}
[ -z "$beside" ] || (use_build "$beside")
use_build "$build"
nullfs=$(find_program bench_nullfs)
cycle=$(find_program bench_cycle)
parts=$(find_program bench_parts)
"$top/tests/support/users.sh"

# ---- what is started is ended, by its own pid ----

work=$(mktemp -d "${TMPDIR:-/tmp}/coffer-bench.XXXXXX")
mkdir "$work/stores"
chmod 755 "$work" "$work/stores"
mounts=()
processes=()
clients=

# A process is its pid and its start time: pids are used again.
process_of() { echo "$1:$(sed 's/.*) //' "/proc/$1/stat" | cut -d " " -f 20)"; }

alive()
{
	[ -d "/proc/${1%:*}" ] && [ "$(process_of "${1%:*}" 2>/dev/null)" = "$1" ] && ! grep -q "^State:.*Z" "/proc/${1%:*}/status" 2>/dev/null
}

gone()
{
	local deadline=$((SECONDS + 15))
	while alive "$1"; do
		[ "$SECONDS" -lt "$deadline" ] || return 1
		sleep 0.05
	done
}

clean_up()
{
	local i
	[ -z "$clients" ] || kill "$clients" 2>/dev/null || true
	for ((i = ${#mounts[@]} - 1; i >= 0; i--)); do
		umount "${mounts[i]}" 2>/dev/null || umount -l "${mounts[i]}" 2>/dev/null || true
	done
	for i in "${processes[@]}"; do
		gone "$i" || kill -KILL "${i%:*}" 2>/dev/null || true
	done
	# segments of a log are append-only where the file system can do that
	chattr -R -a "$work" 2>/dev/null || true
	rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# Before whatever else the machine does, and all of them alike: each server and the clients in a session of their own, as a daemon and a user are, because the scheduler
# shares a CPU among sessions (autogroup) before it looks at nice values.
ahead()
{
	# shellcheck disable=SC2016
	setsid sh -c '{ echo -20 >/proc/self/autogroup; } 2>/dev/null; exec nice -n -20 "$@"' sh "$@"
}
pinned() { ahead taskset -c "$cpu" "$@"; }
as_client() { setpriv --reuid "$client_uid" --regid "$client_uid" --clear-groups "$@"; }

wait_mount()
{
	local deadline=$((SECONDS + 60))
	until grep -q " $1 fuse" /proc/self/mounts; do
		[ "$SECONDS" -lt "$deadline" ] || die "$1 was not mounted within 60 s"
		sleep 0.01
	done
}

# Microseconds since the epoch
now() { echo "${EPOCHREALTIME/[.,]/}"; }

median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# ---- the systems ----

make_nullfs()
{
	mkdir "$work/nullfs"
	pinned "$nullfs" "$work/nullfs" "$read_secrets" "$(IFS=,; echo "${sizes[*]}")" &
	processes+=("$(process_of $!)")
	wait_mount "$work/nullfs"
	mounts+=("$work/nullfs")
	local size
	for size in "${sizes[@]}"; do
		seq -f "$work/nullfs/v$size-%.0f/current" 0 $((read_secrets - 1)) >"$work/nullfs.$size.list"
	done
}

# Plain files in a tree of the same form, for a file system that others wrote.
fill_tree()
{
	local name=$1 size i
	for size in "${sizes[@]}"; do
		for ((i = 0; i < read_secrets; i++)); do
			mkdir "$work/$name/v$size-$i"
			head -c "$size" /dev/urandom >"$work/$name/v$size-$i/current"
		done
		chmod -R a+rX "$work/$name"
		seq -f "$work/$name/v$size-%.0f/current" 0 $((read_secrets - 1)) >"$work/$name.$size.list"
	done
}

make_tmpfs()
{
	mkdir "$work/tmpfs"
	mount -t tmpfs -o size=64m,mode=755 tmpfs "$work/tmpfs"
	mounts+=("$work/tmpfs")
	fill_tree tmpfs
}

make_gocryptfs()
{
	mkdir "$work/gocryptfs.cipher" "$work/gocryptfs"
	head -c 32 /dev/urandom | od -An -vtx1 | tr -d ' \n' >"$work/gocryptfs.password"
	gocryptfs -q -init -scryptn 10 -passfile "$work/gocryptfs.password" "$work/gocryptfs.cipher" >/dev/null
	pinned gocryptfs -q -fg -nosyslog -allow_other -passfile "$work/gocryptfs.password" "$work/gocryptfs.cipher" "$work/gocryptfs" >/dev/null &
	processes+=("$(process_of $!)")
	wait_mount "$work/gocryptfs"
	mounts+=("$work/gocryptfs")
	fill_tree gocryptfs
}

# One field of a mount's status
status_of() { sed -n "s/.*\"$2\": *\([0-9][0-9]*\).*/\1/p" "$1/.coffer/status" | head -n 1; }

build_vault()
{
	local name=$1 secrets=$2 bindings=$3 value=$4
	"$coffer" init "$work/stores/$name" --kek "file:$work/$name.kek" >/dev/null
	"$build_store" "$work/stores/$name" --secrets "$secrets" --bindings "$bindings" --value "$value" >/dev/null
	mkdir "$work/$name"
}

# the log of a million opens need not fill the disk
	# shellcheck disable=SC2054	# the commas are of the words
daemon_options=(-o audit_keep=48M,audit_keep_days=0)

start_vault()
{
	local name=$1 keeper
	pinned "$cofferd" "$work/stores/$name" "$work/$name" "${daemon_options[@]}"
	mounts+=("$work/$name")
	keeper=$(status_of "$work/$name" keeper)
	processes+=("$(process_of "$keeper")")
	# it has made itself another session
	echo -20 2>/dev/null >"/proc/$keeper/autogroup" || true
}

stop_vault()
{
	local keeper
	keeper=$(process_of "$(status_of "$work/$1" keeper)")
	umount "$work/$1"
	gone "$keeper" || die "cofferd did not end within 15 s of umount $work/$1"
}

make_coffer()
{
	local name=$1
	build_vault "$@"
	start_vault "$name"
	"$coffer" -m "$work/$name" grant secrets-user "user:$client_uid" --on '*' >/dev/null
	[ -s "$work/names" ] || as_client ls "$work/$name" | head -n "$read_secrets" >"$work/names"
	sed "s|.*|$work/$name/&/current|" "$work/names" >"$work/$name.list"
}

# ---- one run ----

echo "preparing in $work" >&2
make_nullfs
make_tmpfs
systems=(nullfs tmpfs)
if command -v gocryptfs >/dev/null && command -v fusermount >/dev/null; then
	make_gocryptfs
	systems+=(gocryptfs)
else
	echo "bench: gocryptfs or its fusermount is not installed and is left out; apt-get install gocryptfs fuse3" >&2
fi
targets=()
for size in "${sizes[@]}"; do
	make_coffer "coffer-$size" "$read_secrets" 10 "$size"
	targets+=("coffer:$size=$work/coffer-$size.list")
	if [ -n "$beside" ]; then
		this=$build
		use_build "$beside"
		make_coffer "beside-$size" "$read_secrets" 10 "$size"
		targets+=("beside:$size=$work/beside-$size.list")
		use_build "$this"
	fi
	for system in "${systems[@]}"; do
		targets+=("$system:$size=$work/$system.$size.list")
	done
done

scaled=()
for secrets in "$read_secrets" $middle "$scale"; do
	for bindings in 10 10000; do
		name=scale-$secrets-$bindings
		if [ "$secrets" = "$read_secrets" ] && [ "$bindings" = 10 ]; then
			scaled+=("coffer-256")
			continue
		fi
		echo "building a store of $secrets secrets and $bindings bindings" >&2
		make_coffer "$name" "$secrets" "$bindings" 256
		targets+=("$name=$work/$name.list")
		scaled+=("$name")
	done
done

echo "measuring the parts" >&2
mkdir "$work/parts"
pinned "$parts" "$work/parts" >"$work/parts.txt"

echo "measuring $rounds rounds of ${#targets[@]} targets" >&2
ahead setpriv --reuid "$client_uid" --regid "$client_uid" --clear-groups \
	"$cycle" --cpu "$cpu" --rounds "$rounds" --cycles "$cycles" --clients 1,4 "${targets[@]}" >"$work/raw" &
clients=$!
wait "$clients"
clients=
[ -z "$keep" ] || cp "$work/raw" "$keep"

worker_anon()
{
	local pid
	pid=$(status_of "$work/$1" worker)
	awk '$1 == "Pss_Anon:" { print $2 * 1024 }' "/proc/$pid/smaps_rollup"
}
anon_small=$(worker_anon coffer-256)
anon_big=$(worker_anon "scale-$scale-10")

# Nothing is pinned here: a machine that boots has all its CPUs. In the foreground, to stay in the session that is ahead of others.
start_times()
{
	local name=$1 i begin ready
	stop_vault "$name"
	for ((i = 0; i < starts; i++)); do
		begin=$(now)
		ahead "$cofferd" -f "$work/stores/$name" "$work/$name" "${daemon_options[@]}" 2>"$work/$name.log" &
		processes+=("$(process_of $!)")
		wait_mount "$work/$name"
		as_client cat "$(head -n 1 "$work/$name.list")" >/dev/null
		ready=$(now)
		echo $((ready - begin)) >>"$work/$name.starts"
		stop_vault "$name"
	done
	median <"$work/$name.starts"
}
echo "measuring start-up" >&2
for name in coffer-256 "scale-$scale-10" "scale-$scale-10000"; do
	start_times "$name" >"$work/$name.start"
done

# ---- the tables ----

# shellcheck disable=SC2016  # awk's own variables
statistics='
function sort(a, n,    i, k, x) {
	for (i = 2; i <= n; i++) {
		x = a[i]
		for (k = i - 1; k > 0 && a[k] > x; k--)
			a[k + 1] = a[k]
		a[k + 1] = x
	}
}
function quantile(a, n, q,    at, low) {
	at = 1 + (n - 1) * q
	low = int(at)
	return low >= n ? a[n] : a[low] + (at - low) * (a[low + 1] - a[low])
}
{ ns[$2, $3, $1] = $4; if ($1 > rounds) rounds = $1 }
# what: a label; base: what it is divided by in the same round, or "" for the time itself (in microseconds)
function line(what, base, clients,    i, n, v) {
	for (i = 1; i <= rounds; i++)
		if ((what, clients, i) in ns)
			v[++n] = base == "" ? ns[what, clients, i] / 1000 : ns[what, clients, i] / ns[base, clients, i]
	sort(v, n)
	q1 = quantile(v, n, 0.25); q2 = quantile(v, n, 0.5); q3 = quantile(v, n, 0.75)
}
function median_of(what, clients) { line(what, "", clients); return q2 }
function row(title, what, base, clients,    times) {
	line(what, "", clients)
	times = sprintf("%8.1f  [%6.1f %6.1f]", q2, q1, q3)
	base_median = median_of(base, clients)
	what_median = median_of(what, clients)
	line(what, base, clients)
	printf "%-30s %7d  %s  %7.3f  [%5.3f %5.3f]\n", title, clients, times, what_median / base_median, q1, q3
}
function head(title, against) {
	printf "\n%-30s %7s  %8s  %15s  %7s  %13s\n", title, "clients", "us", "quartiles", "ratio", "quartiles"
	printf "%-30s %7s  %8s  %15s  %7s  %13s\n", "", "", "median", "", "to " against, ""
}
function thousands(n) { return n >= 1000 ? substr(n, 1, length(n) - 3) "," substr(n, length(n) - 2) : n }
'

echo
echo "coffer $("$coffer" --version 2>/dev/null | awk '{ print $NF; exit }'), $(git -C "$top" rev-parse --short HEAD 2>/dev/null || echo 'no commit'); Linux $(uname -r); $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
echo "open, read to end of file, close of $read_secrets files in turn; $rounds rounds of $cycles cycles; everything on CPU $cpu"
echo "ratio: of the medians; its quartiles are of the ratios within each round"

awk -v sizes="${sizes[*]}" -v systems="coffer ${systems[*]}" "$statistics"'
END {
	n_sizes = split(sizes, size, " ")
	n_systems = split(systems, sys, " ")
	head("the cycle", "nullfs")
	for (i = 1; i <= n_sizes; i++)
		for (c = 1; c <= 4; c += 3)
			for (k = 1; k <= n_systems; k++)
				row(sprintf("%s, %s bytes", sys[k], thousands(size[i])), sys[k] ":" size[i], "nullfs:" size[i], c)
}' "$work/raw"

[ -z "$beside" ] || awk -v sizes="${sizes[*]}" "$statistics"'
END {
	n_sizes = split(sizes, size, " ")
	head("beside the other build", "it")
	for (i = 1; i <= n_sizes; i++)
		for (c = 1; c <= 4; c += 3)
			row("coffer, " thousands(size[i]) " bytes", "coffer:" size[i], "beside:" size[i], c)
}' "$work/raw"

awk -v names="${scaled[*]}" -v small="$read_secrets" "$statistics"'
END {
	n = split(names, name, " ")
	head("secrets / bindings, 256 bytes", "first")
	for (c = 1; c <= 4; c += 3)
		for (i = 1; i <= n; i++) {
			split(name[i], word, "-")
			label = name[i] ~ /^coffer/ ? "coffer:256" : name[i]
			row(name[i] ~ /^coffer/ ? small " / 10" : thousands(word[2]) " / " thousands(word[3]), label, "coffer:256", c)
		}
}' "$work/raw"

awk -v sizes="${sizes[*]}" "$statistics"'
BEGIN {
	while ((getline < ARGV[2]) > 0)
		part[$1] = $2 / 1000
	ARGV[2] = ""
}
END {
	n_sizes = split(sizes, size, " ")
	printf "\n%-52s", "shares of a cycle, 1 client (us and %)"
	for (i = 1; i <= n_sizes; i++) {
		printf "  %10s bytes", thousands(size[i])
		rest[i] = whole[i] = median_of("coffer:" size[i], 1)
	}
	printf "\n"
	show("kernel and libfuse (the do-nothing server)", "", 1)
	show("who is asking: caller_cached, 3 times", "caller_cached", 3)
	show("may they: policy_decide", "policy_decide/10", 1)
	show("write it down: audit_append", "audit_append", 1)
	show("open file table: new, publish, release", "handle", 1)
	show("the value: store_version_read", "store_version_read/", 1)
	show("the rest", "rest", 1)
	printf "  of the value: envelope_open %32s", ""
	for (i = 1; i <= n_sizes; i++)
		printf "  %8.2f       ", part["envelope_open/" size[i]]
	printf "\n  policy_decide with 10,000 bindings: %.2f us; caller_resolve (once in 50 ms and thread): %.1f us\n", part["policy_decide/10000"], part["caller_resolve"]
}
function show(title, key, times,    us) {
	printf "  %-50s", title
	for (i = 1; i <= n_sizes; i++) {
		us = key == "" ? median_of("nullfs:" size[i], 1) : key == "rest" ? rest[i] : times * part[key ~ /\/$/ ? key size[i] : key]
		if (key != "rest")
			rest[i] -= us
		printf "  %8.2f %5.1f%%", us, 100 * us / whole[i]
	}
	printf "\n"
}' "$work/raw" "$work/parts.txt"

echo
awk -v small="$anon_small" -v big="$anon_big" -v n="$scale" -v few="$read_secrets" \
	'BEGIN { printf "memory of the worker: %.0f bytes a secret (PssAnon %.1f MiB with %d secrets, %.1f MiB with %d)\n", (big - small) / (n - few), big / 1048576, n, small / 1048576, few }'
for name in coffer-256 "scale-$scale-10" "scale-$scale-10000"; do
	awk -v us="$(cat "$work/$name.start")" -v name="$name" -v few="$read_secrets" -v starts="$starts" 'BEGIN {
		split(name, word, "-")
		printf "start-up, cofferd to a first value read, %s secrets and %s bindings: %.0f ms (median of %d)\n", word[1] == "coffer" ? few : word[2], word[1] == "coffer" ? 10 : word[3], us / 1000, starts
	}'
done
