/* coffer doctor: looks at everything that a working vault stands on, as whoever asks. One line for each: ok, warn, or
 * FAIL with what to do. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "fs/cli/common/cli.h"
#include "fs/cli/common/client.h"
#include "fs/cli/commands/doctor_indexers.h"
#include "fs/cli/commands/doctor_internal.h"
#include "fs/cli/commands/doctor_programs.h"
#include "fs/cli/common/output.h"
#include "fs/cli/common/store_access.h"
#include "fs/cli/common/users.h"
#include "fs/cli/commands/commands.h"

#define CLOCK_EARLIEST     1767225600 /* 2026-01-01: before this program was written */
#define SPACE_WARN_PERCENT 10
#define MEMLOCK_WANTED     (4u << 20)
#define LEASE_SECONDS      5
#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

/* ---- the machine ---- */

static void check_kernel(struct doctor *d)
{
	unsigned major = 0, minor = 0;
	struct utsname u;

	if (uname(&u) < 0 || sscanf(u.release, "%u.%u", &major, &minor) != 2)
		doctor_say(d, WARN, "kernel", "its version cannot be read");
	else if (major > 6 || (major == 6 && minor >= 9))
		doctor_say(d, GOOD, "kernel", "%s sends requests again after a worker's death", u.release);
	else
		doctor_say(
			d, WARN, "kernel",
			"%s is older than 6.9: requests are replayed from the keeper's memory, and callers wait in the "
			"kernel meanwhile",
			u.release);
}

static void check_fuse(struct doctor *d)
{
	struct stat st;

	if (stat("/dev/fuse", &st) < 0)
		doctor_say(d, BAD, "/dev/fuse",
			   "%s; load the module: modprobe fuse (in a container: --device /dev/fuse)", strerror(errno));
	else if (!S_ISCHR(st.st_mode))
		doctor_say(d, BAD, "/dev/fuse", "is not a device");
	else
		doctor_say(d, GOOD, "/dev/fuse", "is there");
}

/* A kernel that gives up on slow requests would end the whole connection when a worker is being replaced. */
static void check_timeout(struct doctor *d, const char *name)
{
	char path[128], text[32] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/sys/fs/fuse/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return; /* a kernel without the setting never gives up */
	if (read(fd, text, sizeof(text) - 1) > 0 && strtoul(text, NULL, 10) != 0)
		doctor_say(d, BAD, "fuse timeout",
			   "fs.fuse.%s is %lu; set it to 0: sysctl -w fs.fuse.%s=0, and remount", name,
			   strtoul(text, NULL, 10), name);
	else
		doctor_say(d, GOOD, "fuse timeout", "fs.fuse.%s is 0", name);
	close(fd);
}

/* "" where there is no such setting. */
static void read_setting(const char *path, char text[32])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, 31);

	text[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
}

/* What the daemon keeps open has no leases; that is not all, nor at every moment. */
static void check_leases(struct doctor *d)
{
	char enabled[32], seconds[32];

	read_setting("/proc/sys/fs/leases-enable", enabled);
	read_setting("/proc/sys/fs/lease-break-time", seconds);
	const unsigned long wait = strtoul(seconds, NULL, 10);
	if (enabled[0] == '0')
		doctor_say(d, GOOD, "leases", "the kernel gives none");
	else if (!seconds[0])
		doctor_say(
			d, WARN, "leases",
			"/proc/sys/fs/lease-break-time cannot be read: a lease on a file that the daemon does not hold "
			"open keeps others waiting for as long as it says");
	else if (wait > LEASE_SECONDS)
		doctor_say(d, WARN, "leases",
			   "a lease on a file that the daemon does not hold open (more than 4,096 in use, or the bell "
			   "just "
			   "died) keeps others waiting for %lu s: sysctl -w fs.lease-break-time=%d, or, where neither "
			   "Samba "
			   "nor an NFS server "
			   "runs, sysctl -w fs.leases-enable=0",
			   wait, LEASE_SECONDS);
	else
		doctor_say(d, GOOD, "leases", "keep nobody waiting for longer than %lu s", wait);
}

/* The users of a vault: its worker's is the one whose the database is. */
static void check_users(struct doctor *d, const char *store)
{
	char prefix[USER_MAX + 8], users[USERS][USER_MAX + 8], hooks[USER_MAX + 8];
	bool all = true, programs;

	offline_prefix(store, prefix);
	offline_users(prefix, users);
	offline_hooks_user(prefix, hooks);
	for (size_t i = 0; i < USERS; i++)
		if (!getpwnam(users[i])) {
			doctor_say(d, BAD, "users", "there is no user %s: " USERADD " %s", users[i], users[i]);
			all = false;
		}
	programs = getpwnam(hooks);
	if (!programs)
		doctor_say(d, WARN, "users",
			   "there is no user %s, as whom programs of hooks and rotation policies run: " USERADD " %s",
			   hooks, hooks);
	if (all && programs)
		doctor_say(d, GOOD, "users", "%s, %s, %s and %s are there", users[0], users[1], users[2], hooks);
	else if (all)
		doctor_say(d, GOOD, "users", "%s, %s and %s are there", users[0], users[1], users[2]);
}

static void check_memory(struct doctor *d)
{
	struct rlimit limit;
	int fd;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0 || (limit.rlim_max < MEMLOCK_WANTED && geteuid() != 0))
		doctor_say(d, WARN, "locked memory",
			   "you may lock %" PRIu64 " bytes; long values need %u: ulimit -l 8192",
			   (uint64_t)limit.rlim_max, MEMLOCK_WANTED);
	else
		doctor_say(d, GOOD, "locked memory", "is enough for the longest value");
	fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
	if (fd >= 0) {
		doctor_say(d, GOOD, "memfd_secret",
			   "the kernel has it: memory that even root cannot read through /proc");
		close(fd);
	} else {
		doctor_say(d, WARN, "memfd_secret",
			   "%s; keys and values lie in ordinary locked memory (boot with secretmem.enable=1)",
			   strerror(errno));
	}
}

static void check_clock(struct doctor *d)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	if (t.tv_sec < CLOCK_EARLIEST)
		doctor_say(d, BAD, "clock",
			   "says a day before 2026; bindings and secrets with a time window need the right time: "
			   "timedatectl "
			   "set-ntp true");
	else
		doctor_say(d, GOOD, "clock", "is plausible");
}

/* ---- the mount ---- */

static bool check_mount(struct doctor *d, struct cli *c, struct mount *ret_mount)
{
	const char *path = c->mount_option ? c->mount_option : getenv("COFFER_MOUNT"),
		   *vault = c->mount_option ? NULL : c->vault_option;
	int r;

	if (!path || !*path)
		path = MOUNT_DEFAULT;
	r = mount_find(vault ? NULL : path, vault, ret_mount);
	if (r == 0) {
		doctor_say(d, GOOD, "mount", "%s is the vault in %s", ret_mount->path, ret_mount->store);
		return true;
	}
	if (r == -ENOTUNIQ)
		doctor_say(d, BAD, "mount",
			   "several vaults are called %s, on %s and %s among others; name the mount with -m", vault,
			   ret_mount->path, ret_mount->other);
	else if (r == -ENOTTY)
		doctor_say(d, BAD, "mount",
			   "something else is mounted on %s; unmount it, or mount the vault elsewhere and use -m",
			   path);
	else if (vault)
		doctor_say(d, BAD, "mount", "no vault %s is mounted; mount it: cofferd /var/lib/coffer/%s %s", vault,
			   vault, MOUNT_DEFAULT);
	else
		doctor_say(d, BAD, "mount", "no vault is mounted on %s; mount one: cofferd STORE %s", path, path);
	return false;
}

static void check_processes(struct doctor *d, const json_t *status)
{
	const json_t *processes = json_object_get(status, "processes");
	static const char *const needed[] = { "keeper", "worker", "keyholder", "resolver", "bell", "runner" };
	bool all = true;

	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
		if (json_integer_value(json_object_get(processes, needed[i])) <= 0) {
			doctor_say(d, WARN, "processes",
				   "there is no %s; the keeper starts it again: look at the daemon's log if this stays",
				   needed[i]);
			all = false;
		}
	if (all)
		doctor_say(d, GOOD, "processes", "are all running");
}

/* Whether those who wrote most are refused, or soon will be. */
static void check_shares(struct doctor *d, const json_t *audit)
{
	const double cap = json_number_value(json_object_get(audit, "cap")),
		     bytes = json_number_value(json_object_get(audit, "bytes"));
	const char *heaviest = json_string_value(json_object_get(audit, "heaviest"));
	const json_int_t percent = json_integer_value(json_object_get(audit, "heaviest_percent"));
	char who[96] = "";

	if (heaviest)
		snprintf(who, sizeof(who), "; %s wrote most of late, %" JSON_INTEGER_FORMAT " %% of a share", heaviest,
			 percent);
	if (json_is_true(json_object_get(audit, "at_cap")))
		doctor_say(d, BAD, "audit log",
			   "is full, and those who have used up their share of it are refused (%" JSON_INTEGER_FORMAT
			   " times until now)%s; stop what asks so often, or raise -o audit_keep",
			   json_integer_value(json_object_get(audit, "refused")), who);
	else if (cap > 0 && bytes > 0.8 * cap)
		doctor_say(d, WARN, "audit log",
			   "has grown to %.0f %% of where those who have used up their share of it are refused%s; stop "
			   "what "
			   "asks so often, or raise -o audit_keep",
			   100 * bytes / cap, who);
}

static void check_audit(struct doctor *d, const json_t *status)
{
	const json_t *audit = json_object_get(status, "audit"), *headroom = json_object_get(audit, "headroom_percent");
	json_int_t failing = json_is_true(json_object_get(audit, "failing"))
				     ? EIO
				     : json_integer_value(json_object_get(audit, "failing"));

	if (!headroom)
		headroom = json_object_get(audit, "headroom");
	if (json_is_true(json_object_get(audit, "tampered")))
		doctor_say(d, BAD, "audit log",
			   "somebody removed, cut or put in files of it: coffer audit shows what was found "
			   "(AuditTampered), "
			   "and coffer audit verify what is left; ask who had root here");
	check_shares(d, audit);
	if (failing)
		doctor_say(d, BAD, "audit log",
			   "cannot be written (%s), so nothing is served: make room where the store lies",
			   strerror((int)llabs(failing)));
	else if (json_is_number(headroom) && json_number_value(headroom) < 20)
		doctor_say(d, WARN, "audit log", "only %.0f %% of its space is left: make room where the store lies",
			   json_number_value(headroom));
	else
		doctor_say(d, GOOD, "audit log", "is being written");
}

static void check_lacks(struct doctor *d, const json_t *status)
{
	const json_t *lacks = json_object_get(status, "mount_lacks"), *lack;
	size_t i;

	json_array_foreach(lacks, i, lack)
		doctor_say(d, WARN, "mount", "lacks %s: %s. %s", json_string_value(json_object_get(lack, "name")),
			   json_string_value(json_object_get(lack, "why")),
			   json_string_value(json_object_get(lack, "how")));
	if (json_is_array(lacks) && json_array_size(lacks) == 0)
		doctor_say(d, GOOD, "mount", "has all that this daemon asks of the kernel; no overlay can stand on it");
}

static void check_bell(struct doctor *d, const json_t *status)
{
	const json_t *bell = json_object_get(status, "bell");
	const json_int_t waiting = json_integer_value(json_object_get(bell, "waiting"));

	if (waiting > 0)
		doctor_say(d, WARN, "watchers",
			   "of %" JSON_INTEGER_FORMAT
			   " files they have not heard since %s, for somebody's lease or a request "
			   "that hangs; it is tried again until it is done",
			   waiting, json_string_value(json_object_get(bell, "since")));
	else if (json_is_object(bell))
		doctor_say(d, GOOD, "watchers", "have heard of all that changed");
}

static void check_locked(struct doctor *d, const json_t *status)
{
	const char *kind = json_string_value(json_object_get(json_object_get(status, "memory"), "kind"));

	if (!kind || strcmp(kind, "none") == 0)
		doctor_say(d, BAD, "daemon memory",
			   "the daemon does not say that it locks its memory: values may reach the swap");
	else
		doctor_say(d, GOOD, "daemon memory", "keys and values lie in locked memory (%s)", kind);
}

/* Only a daemon that is gone is to be started anew: what refuses this one caller is mended otherwise, and to unmount
 * would take the vault from everybody else. */
static void say_no_answer(struct doctor *d, const struct mount *m, int r)
{
	if (r == -EROFS)
		doctor_say(d, BAD, "daemon", "%s; what the daemon knows is not checked", mount_read_only(m));
	else if (r == -ENFILE || r == -EMFILE)
		doctor_say(
			d, BAD, "daemon",
			"does not answer you: you have too many requests under way, or files of the vault open; close "
			"some, or ask as another user");
	else
		doctor_say(d, BAD, "daemon", "no answer from %s (%s); restart it: umount -l %s; cofferd %s %s", m->path,
			   r == -EHOSTDOWN ? "nobody is behind it" : strerror(-r), m->path, m->store, m->path);
}

static void check_daemon(struct doctor *d, const struct mount *m)
{
	json_t *request = json_pack("{s:s}", "op", "status"), *answer = NULL;
	const json_t *status;
	int r = request ? client_exchange(m->path, request, false, NULL, 0, &answer) : -ENOMEM;

	json_decref(request);
	if (r < 0) {
		say_no_answer(d, m, r);
		return;
	}
	doctor_say(d, GOOD, "daemon", "answers at %s", m->path);
	status = json_is_object(json_object_get(answer, "status")) ? json_object_get(answer, "status") : answer;
	if (strcmp(json_string_value(json_object_get(answer, "errno"))
			   ? json_string_value(json_object_get(answer, "errno"))
			   : "",
		   "ENOKEY") == 0 ||
	    json_is_true(json_object_get(status, "sealed")))
		doctor_say(d, BAD, "sealed", "the vault is sealed; as root: %s unseal", mount_command(m->path));
	else if (!json_is_true(json_object_get(answer, "ok")))
		doctor_say(
			d, WARN, "status",
			"you may not see it (no vault/status), so seal, processes and log are not checked; try as an "
			"administrator");
	if (json_is_true(json_object_get(answer, "ok"))) {
		if (!json_is_true(json_object_get(status, "sealed")))
			doctor_say(d, GOOD, "sealed", "no");
		if (json_is_true(json_object_get(status, "read_only")))
			doctor_say(d, WARN, "read-only", "%s", mount_read_only(m));
		const char *from = json_string_value(json_object_get(json_object_get(status, "kek"), "from"));
		snprintf(d->kek_from, sizeof(d->kek_from), "%s", from ? from : "");
		check_processes(d, status);
		d->runner = (pid_t)json_integer_value(json_object_get(json_object_get(status, "processes"), "runner"));
		check_audit(d, status);
		check_locked(d, status);
		check_lacks(d, status);
		check_bell(d, status);
		doctor_check_cells(d, status);
	}
	json_decref(answer);
}

/* ---- programs ---- */

static void say_of_programs(void *arg, bool warn, const char *text)
{
	doctor_say(arg, warn ? WARN : GOOD, "programs", "%s", text);
}

static void say_of_indexers(void *arg, bool warn, const char *text)
{
	doctor_say(arg, warn ? WARN : GOOD, "indexers", "%s", text);
}

/* ---- the store ---- */

/* Whoever can change the store's directory can put another store in its place. */
static void check_owner(struct doctor *d, const char *path, bool secret)
{
	struct stat st;

	if (stat(path, &st) < 0) {
		doctor_say(d, errno == EACCES ? WARN : BAD, "permissions", "%s: %s", path, strerror(errno));
		return;
	}
	if (st.st_uid != 0)
		doctor_say(d, BAD, "permissions", "%s belongs to uid %u; give it to root: chown root %s", path,
			   (unsigned)st.st_uid, path);
	else if (st.st_mode & (secret ? 0077 : 0022))
		doctor_say(d, BAD, "permissions", "%s has mode %04o; others must not %s it: chmod %s %s", path,
			   (unsigned)(st.st_mode & 07777), secret ? "read" : "write", secret ? "600" : "go-w", path);
	else
		doctor_say(d, GOOD, "permissions", "%s", path);
}

static void check_space(struct doctor *d, const char *store)
{
	struct statvfs fs;
	uint64_t percent;

	if (statvfs(store, &fs) < 0 || fs.f_blocks == 0)
		return;
	percent = (uint64_t)fs.f_bavail * 100 / fs.f_blocks;
	if (percent < SPACE_WARN_PERCENT)
		doctor_say(d, WARN, "space",
			   "%" PRIu64 " %% is left where %s lies: without room for the log nothing is served", percent,
			   store);
	else
		doctor_say(d, GOOD, "space", "%" PRIu64 " %% is left where the store lies", percent);
}

static void check_kek(struct doctor *d, const struct offline *o)
{
	const char *own = kek_file(o->conf.kek), *elsewhere = kek_file(d->kek_from);
	const char *path = elsewhere ? elsewhere : own;
	struct stat key, store;

	if (strncmp(d->kek_from, "credential:", 11) == 0) {
		doctor_say(d, GOOD, "key", "is a credential of the service, %s", d->kek_from + 11);
		if (own && access(own, F_OK) == 0)
			doctor_say(d, WARN, "key",
				   "also lies in %s, readable by root: remove it if the credential is encrypted, and a "
				   "copy "
				   "is off this machine",
				   own);
		return;
	}

	if (!own) {
		doctor_say(d, GOOD, "key", "%s",
			   kek_ops_for(o->conf.kek) ? "comes from a provider that this build has"
						    : "provider unknown to this build");
		return;
	}
	if (geteuid() != 0) {
		doctor_say(d, WARN, "key", "only root can look at it; try: sudo coffer doctor");
		return;
	}
	if (stat(path, &key) < 0) {
		doctor_say(d, BAD, "key", "%s: %s; without it the vault stays sealed: bring it back from its copy",
			   path, strerror(errno));
		return;
	}
	check_owner(d, path, true);
	if (stat(o->dir, &store) == 0 && store.st_dev == key.st_dev)
		doctor_say(d, WARN, "key",
			   "lies on the same file system as the store: a stolen disk or its backup carries both; see "
			   "passphrase: in coffer(1)");
	else
		doctor_say(d, GOOD, "key", "lies on another file system than the store");
	if (access(o->verify_path, F_OK) == 0)
		doctor_say(d, WARN, "verify key", "%s is still here: copy it to another machine and remove it",
			   o->verify_path);
}

static void check_store(struct doctor *d, const char *store)
{
	char path[PATH_MAX + 16], weak[PATH_MAX], why[512] = "";
	struct offline o = { 0 };
	int fd = open(store, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

	if (fd < 0) {
		doctor_say(d, WARN, "store", "%s cannot be looked at from here: %s", store, strerror(errno));
		return;
	}
	snprintf(o.dir, sizeof(o.dir), "%s", store);
	r = vaultconf_read(fd, &o.conf, why, sizeof(why));
	close(fd);
	if (r < 0) {
		doctor_say(d, BAD, "store", "%s/vault.conf: %s", store, *why ? why : strerror(-r));
		return;
	}
	check_owner(d, store, false);
	if (offline_weak_way(store, weak))
		doctor_say(
			d, BAD, "permissions",
			"%s, above the store, can be changed by others than root, who could put another store in its "
			"place: chown root %s && chmod go-w %s",
			weak, weak, weak);
	snprintf(path, sizeof(path), "%s/vault.conf", store);
	check_owner(d, path, false);
	snprintf(path, sizeof(path), "%s/audit", store);
	check_owner(d, path, false);
	check_space(d, store);
	offline_verify_path(&o.conf, o.verify_path);
	check_kek(d, &o);
}

int cmd_doctor(struct cli *c, const struct args *a)
{
	struct doctor d = { .json = c->output == OUTPUT_JSON };
	struct mount m;

	(void)a;
	d.lines = json_array();
	check_kernel(&d);
	check_fuse(&d);
	check_timeout(&d, "default_request_timeout");
	check_timeout(&d, "max_request_timeout");
	check_leases(&d);
	check_memory(&d);
	check_clock(&d);
	const bool mounted = check_mount(&d, c, &m);
	check_users(&d, mounted ? m.store : NULL);
	if (mounted) {
		check_daemon(&d, &m);
		check_store(&d, m.store);
		doctor_programs(m.store, d.runner, say_of_programs, &d);
		doctor_indexers(m.path, say_of_indexers, &d);
	}
	if (d.json)
		output_list(c, d.lines, NULL, 0, "");
	json_decref(d.lines);
	return d.bad ? EXIT_ERROR : EXIT_DONE;
}
