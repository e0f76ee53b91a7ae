#include "fs/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/capability.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct sandbox_state state;

const struct sandbox_state *sandbox_state(void)
{
	return &state;
}

/* ---- Landlock: its numbers, some of them newer than the headers of Debian 12 (linux/landlock.h of Linux 6.12) ---- */

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule       445
#define SYS_landlock_restrict_self  446
#endif

#define FS_EXECUTE     (1ull << 0)
#define FS_WRITE_FILE  (1ull << 1)
#define FS_READ_FILE   (1ull << 2)
#define FS_READ_DIR    (1ull << 3)
#define FS_REMOVE_DIR  (1ull << 4)
#define FS_REMOVE_FILE (1ull << 5)
#define FS_MAKE_REG    (1ull << 8)
#define FS_TRUNCATE    (1ull << 14)

#define RULESET_VERSION 1u
#define RULE_PATH_BENEATH 1

struct ruleset { uint64_t fs, net, scoped; };
struct path_rule { uint64_t allowed; int32_t fd; } __attribute__((packed));

/* Everything that an ABI can deny: file access, then TCP, then abstract sockets and signals outside. */
static struct ruleset everything(int abi)
{
	static const uint8_t fs_bits[] = { 0, 13, 14, 15, 15, 16 };	/* how many kinds of access there are in ABI 1, 2 … */
	struct ruleset r = { .fs = (1ull << fs_bits[abi < 5 ? abi : 5]) - 1 };

	if (abi >= 4)
		r.net = 3;
	if (abi >= 6)
		r.scoped = 3;
	return r;
}

static size_t ruleset_size(int abi)
{
	return abi >= 6 ? sizeof(struct ruleset) : abi >= 4 ? offsetof(struct ruleset, scoped) : offsetof(struct ruleset, net);
}

static uint64_t allowed(enum sandbox_access access, bool dir)
{
	static const uint64_t file = FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE;
	static const uint64_t of[] = {
		[SANDBOX_READ] = FS_READ_FILE | FS_READ_DIR,
		[SANDBOX_WRITE] = FS_READ_FILE | FS_READ_DIR | FS_WRITE_FILE | FS_MAKE_REG | FS_REMOVE_FILE | FS_TRUNCATE,
		[SANDBOX_TOUCH] = FS_READ_FILE | FS_READ_DIR | FS_WRITE_FILE,
		[SANDBOX_TIDY] = FS_READ_FILE | FS_READ_DIR | FS_WRITE_FILE | FS_REMOVE_DIR,
	};
	return dir ? of[access] : of[access] & file;
}

static int add_place(int ruleset, const struct ruleset *handled, const struct sandbox_place *place)
{
	struct stat st;

	if (place->fd < 0)
		return 0;
	if (fstat(place->fd, &st))
		return -errno;
	struct path_rule rule = { .allowed = allowed(place->access, S_ISDIR(st.st_mode)) & handled->fs, .fd = place->fd };
	return syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0) ? -errno : 0;
}

static int restrict_places(const struct sandbox_place *places, size_t n, bool require)
{
	int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, RULESET_VERSION), r = 0;

	if (abi < 1)		/* not built, or not among the security modules of this boot */
		return require ? -ENOSYS : 0;
	const struct ruleset handled = everything(abi);
	int fd = (int)syscall(SYS_landlock_create_ruleset, &handled, ruleset_size(abi), 0);
	if (fd < 0)
		return -errno;
	for (size_t i = 0; i < n && !r; i++)
		r = add_place(fd, &handled, &places[i]);
	if (!r && syscall(SYS_landlock_restrict_self, fd, 0))
		r = -errno;
	close(fd);
	if (!r)
		state.landlock_abi = abi;
	return r;
}

/* ---- seccomp ---- */

/* Every role: memory, threads, clocks, what is open already. */
static const int common[] = {
	SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(close), SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(lseek), SCMP_SYS(fcntl),
	SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(futex), SCMP_SYS(sched_yield), SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep), SCMP_SYS(gettimeofday), SCMP_SYS(time),
	SCMP_SYS(restart_syscall), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigaction), SCMP_SYS(sigaltstack),
	SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(rseq), SCMP_SYS(set_robust_list), SCMP_SYS(set_tid_address),
	SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getegid), SCMP_SYS(getppid),
	SCMP_SYS(getrandom), SCMP_SYS(sendto), SCMP_SYS(sendmsg), SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(sched_getaffinity), SCMP_SYS(sysinfo), SCMP_SYS(uname),
};

/* The worker beside that: SQLite's files, the log, the callers' /proc, whether a caller still lives. */
static const int worker[] = {
	SCMP_SYS(openat), SCMP_SYS(open), SCMP_SYS(pread64), SCMP_SYS(pwrite64), SCMP_SYS(fsync), SCMP_SYS(fdatasync), SCMP_SYS(ftruncate), SCMP_SYS(fallocate),
	SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(readlink), SCMP_SYS(getcwd), SCMP_SYS(getdents64), SCMP_SYS(fstatfs), SCMP_SYS(statfs),
	SCMP_SYS(unlink), SCMP_SYS(unlinkat), SCMP_SYS(rename), SCMP_SYS(fchmod), SCMP_SYS(flock), SCMP_SYS(pipe2), SCMP_SYS(pipe), SCMP_SYS(eventfd2), SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(pidfd_open), SCMP_SYS(mlock), SCMP_SYS(munlock),
};

/* The key holder beside that: visitors with a passphrase, on a socket that is there. */
static const int keyholder[] = { SCMP_SYS(accept4), SCMP_SYS(accept), SCMP_SYS(getsockopt), SCMP_SYS(pread64), SCMP_SYS(mlock), SCMP_SYS(munlock) };

/* The resolver reads /proc. It has no Landlock domain: from within one no thread outside may be looked at, which is all that it does. */
static const int resolver[] = { SCMP_SYS(openat), SCMP_SYS(readlinkat), SCMP_SYS(readlink), SCMP_SYS(pread64), SCMP_SYS(getdents64) };

/* The bell opens, touches and removes through the mount. */
static const int bell[] = { SCMP_SYS(openat), SCMP_SYS(utimensat), SCMP_SYS(unlinkat) };

#define LIST(calls) { calls, sizeof calls / sizeof *calls }
static const struct list { const int *calls; size_t n; } lists[] = {
	[SANDBOX_WORKER] = LIST(worker), [SANDBOX_KEYHOLDER] = LIST(keyholder), [SANDBOX_RESOLVER] = LIST(resolver), [SANDBOX_BELL] = LIST(bell),
};

static int allow_list(scmp_filter_ctx ctx, const int *calls, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && !r; i++)
		if (calls[i] >= 0)	/* below 0: this machine's kind does not have it */
			r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0);
	return r;
}

/* What is allowed in part. */
static int allow_some(scmp_filter_ctx ctx)
{
	const struct scmp_arg_cmp no_exec = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
	const struct scmp_arg_cmp thread = SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_VM | CLONE_THREAD, CLONE_VM | CLONE_THREAD);
	const struct scmp_arg_cmp own = SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid());
	const struct scmp_arg_cmp look = SCMP_A2(SCMP_CMP_EQ, 0);
	const struct scmp_arg_cmp flags = SCMP_A1(SCMP_CMP_EQ, FS_IOC_GETFLAGS);
	const struct scmp_arg_cmp name = SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME);
	const struct { int call; const struct scmp_arg_cmp *only; } some[] = {
		{ SCMP_SYS(mmap), &no_exec }, { SCMP_SYS(mprotect), &no_exec },
		{ SCMP_SYS(clone), &thread },		/* never a process */
		{ SCMP_SYS(tgkill), &own },		/* abort(3) */
		{ SCMP_SYS(prlimit64), &look }, { SCMP_SYS(ioctl), &flags }, { SCMP_SYS(prctl), &name },
	};
	int r = 0;

	for (size_t i = 0; i < sizeof some / sizeof *some && !r; i++)
		r = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, some[i].call, 1, some[i].only);
	return r;
}

/* What libraries try and can do without. clone3 takes its flags in memory, which no filter can look at: glibc then falls back to clone. syslog(3) would connect again when the logger was away. */
static int refuse_some(scmp_filter_ctx ctx)
{
	const struct scmp_arg_cmp tcgets = SCMP_A1(SCMP_CMP_EQ, TCGETS);
	int r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);

	if (!r)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(socket), 0);
	if (!r)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(connect), 0);
	if (!r)		/* stdio asks whether it is a terminal */
		r = seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO(ENOTTY), SCMP_SYS(ioctl), 1, &tcgets);
	return r;
}

#ifdef __SANITIZE_ADDRESS__
/* What the sanitizer does at its start of a thread, and when it has something to report. */
static const int sanitizer[] = {
	SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(readlink), SCMP_SYS(getcwd), SCMP_SYS(access), SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(getrlimit), SCMP_SYS(dup), SCMP_SYS(pipe), SCMP_SYS(pipe2),
	SCMP_SYS(process_vm_readv), SCMP_SYS(getdents64), SCMP_SYS(mincore), SCMP_SYS(sched_getparam), SCMP_SYS(sched_getscheduler), SCMP_SYS(pread64), SCMP_SYS(mlock), SCMP_SYS(munlock),
};
#endif

#ifdef COFFER_TEST_HOOKS
static const int hooks[] = { SCMP_SYS(rt_sigtimedwait) };
#endif

static int filter_calls(enum sandbox_role role, bool require)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int r = ctx ? 0 : -ENOMEM;

	if (!r)		/* a balanced tree: each call on the read path costs a few comparisons, and the kernel remembers those without conditions */
		r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (!r)
		r = allow_list(ctx, common, sizeof common / sizeof *common);
	if (!r)
		r = allow_list(ctx, lists[role].calls, lists[role].n);
#ifdef __SANITIZE_ADDRESS__
	if (!r)
		r = allow_list(ctx, sanitizer, sizeof sanitizer / sizeof *sanitizer);
#endif
#ifdef COFFER_TEST_HOOKS
	if (!r)
		r = allow_list(ctx, hooks, sizeof hooks / sizeof *hooks);
#endif
	if (!r)
		r = allow_some(ctx);
	if (!r)
		r = refuse_some(ctx);
	if (!r)
		r = seccomp_load(ctx);
	seccomp_release(ctx);
	if (r == -EINVAL || r == -ENOSYS || r == -ECANCELED)	/* a kernel without filters */
		return require ? -ENOSYS : 0;
	state.seccomp = !r;
	return r;
}

int sandbox_enter(enum sandbox_role role, const struct sandbox_place *places, size_t n, bool require)
{
	int r = role == SANDBOX_RESOLVER ? 0 : restrict_places(places, n, require);

	return r ? r : filter_calls(role, require);
}

/* ---- the keeper's capabilities ---- */

int sandbox_keeper(void)
{
	static const cap_value_t kept[] = {
		CAP_SYS_ADMIN,					/* mount and unmount */
		CAP_SETUID, CAP_SETGID, CAP_SETPCAP, CAP_KILL,	/* roles under users of their own, and their end */
		CAP_SYS_PTRACE,					/* the resolver's; whoever cannot be looked at is not the host's */
		CAP_IPC_LOCK, CAP_SYS_RESOURCE,			/* locked memory, limits */
		CAP_LINUX_IMMUTABLE,				/* segments are append-only */
		CAP_CHOWN, CAP_FOWNER, CAP_DAC_READ_SEARCH,	/* segments belong to root and the worker's group; the way to mount point and store */
	};
	cap_t have = cap_get_proc(), want = cap_init();
	int r = have && want ? 0 : -ENOMEM;

	for (size_t i = 0; i < sizeof kept / sizeof *kept && !r; i++) {
		cap_flag_value_t held = CAP_CLEAR;
		if (!cap_get_flag(have, kept[i], CAP_PERMITTED, &held) && held == CAP_SET &&
		    (cap_set_flag(want, CAP_PERMITTED, 1, &kept[i], CAP_SET) || cap_set_flag(want, CAP_EFFECTIVE, 1, &kept[i], CAP_SET)))
			r = -errno;
	}
	/* the bounding set first: taking from it needs CAP_SETPCAP, and what is not in it does not come back with an exec as root */
	for (int cap = 0; cap <= 63 && !r; cap++) {
		cap_flag_value_t keep = CAP_CLEAR;
		if (cap_get_flag(want, cap, CAP_PERMITTED, &keep) == 0 && keep == CAP_SET)
			continue;
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0))
			r = -errno;
	}
	if (!r && cap_set_proc(want))
		r = -errno;
	cap_free(have);
	cap_free(want);
	return r;
}
