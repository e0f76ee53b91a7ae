#include "fs/process/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs/common/log.h"

static struct sandbox_state state;

const struct sandbox_state *sandbox_state(void) { return &state; }

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
#define FS_MAKE_DIR    (1ull << 7)
#define FS_MAKE_REG    (1ull << 8)
#define FS_MAKE_SYM    (1ull << 12)
#define FS_TRUNCATE    (1ull << 14)

#define RULESET_VERSION   1u
#define RULE_PATH_BENEATH 1

struct ruleset {
	uint64_t fs, net, scoped;
};
struct path_rule {
	uint64_t allowed;
	int32_t fd;
} __attribute__((packed));

/* Everything that an ABI can deny: file access, then TCP, then abstract sockets and signals outside. */
static struct ruleset everything(int abi)
{
	/* how many kinds of access there are in ABI 1, 2 … */
	static const uint8_t fs_bits[] = { 0, 13, 14, 15, 15, 16 };
	struct ruleset r = { .fs = (1ull << fs_bits[abi < 5 ? abi : 5]) - 1 };

	if (abi >= 4)
		r.net = 3;
	if (abi >= 6)
		r.scoped = 3;
	return r;
}

static size_t ruleset_size(int abi)
{
	return abi >= 6   ? sizeof(struct ruleset)
	       : abi >= 4 ? offsetof(struct ruleset, scoped)
			  : offsetof(struct ruleset, net);
}

static int add_place(int ruleset, const struct ruleset *handled, const struct sandbox_place *place)
{
	static const uint64_t of[] = {
		[SANDBOX_READ] = FS_READ_FILE | FS_READ_DIR,
		[SANDBOX_READ_FILE] = FS_READ_FILE,
		[SANDBOX_WRITE] = FS_READ_FILE | FS_READ_DIR | FS_WRITE_FILE | FS_MAKE_REG | FS_REMOVE_FILE |
				  FS_TRUNCATE,
		/* the last for a rename */
		[SANDBOX_TIDY] = FS_READ_FILE | FS_READ_DIR | FS_WRITE_FILE | FS_REMOVE_DIR | FS_MAKE_DIR |
				 FS_MAKE_SYM | FS_REMOVE_FILE,
	};
	const struct path_rule rule = { .allowed = of[place->access] & handled->fs, .fd = place->fd };

	if (place->fd < 0)
		return 0;
	return syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0) ? -errno : 0;
}

/* The kernel's ABI, 1 or more; or why it has none: -ENOSYS (not built in), -EOPNOTSUPP (not among the security modules
 * of this boot). */
static int landlock_abi(void)
{
	int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, RULESET_VERSION);

	return abi < 0 ? -errno : abi;
}

static int restrict_places(const struct sandbox_place *places, size_t n, bool require)
{
	int abi = landlock_abi(), r = 0;

	state.landlock = abi;
	if (abi < 1)
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
	return r;
}

/* ---- seccomp ---- */

/* Every role: memory, threads, clocks, what is open already. */
static const int common[] = {
	SCMP_SYS(read),
	SCMP_SYS(write),
	SCMP_SYS(readv),
	SCMP_SYS(writev),
	SCMP_SYS(close),
	SCMP_SYS(fstat),
	SCMP_SYS(newfstatat),
	SCMP_SYS(statx),
	SCMP_SYS(lseek),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(futex),
	SCMP_SYS(sched_yield),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_getres),
	SCMP_SYS(getcpu),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(nanosleep),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(time),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(brk),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	SCMP_SYS(rseq),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(set_tid_address),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(getuid),
	SCMP_SYS(geteuid),
	SCMP_SYS(getgid),
	SCMP_SYS(getegid),
	SCMP_SYS(getppid),
	SCMP_SYS(getrandom),
	SCMP_SYS(recvfrom),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(sysinfo),
	SCMP_SYS(uname),
};

/* The worker beside that: SQLite's files, the log, the callers' /proc, whether a caller still lives. */
static const int worker[] = {
	SCMP_SYS(openat),     SCMP_SYS(open),      SCMP_SYS(pread64),    SCMP_SYS(pwrite64),      SCMP_SYS(fsync),
	SCMP_SYS(fdatasync),  SCMP_SYS(ftruncate), SCMP_SYS(recvmsg),    SCMP_SYS(stat),          SCMP_SYS(lstat),
	SCMP_SYS(access),     SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(readlink),      SCMP_SYS(getcwd),
	SCMP_SYS(getdents64), SCMP_SYS(fstatfs),   SCMP_SYS(statfs),     SCMP_SYS(unlink),        SCMP_SYS(unlinkat),
	SCMP_SYS(rename),     SCMP_SYS(renameat),  SCMP_SYS(renameat2),  SCMP_SYS(fchmod),        SCMP_SYS(flock),
	SCMP_SYS(pipe2),      SCMP_SYS(pipe),      SCMP_SYS(eventfd2),   SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl),
	SCMP_SYS(pidfd_open), SCMP_SYS(mlock),     SCMP_SYS(munlock),
};

/* The key holder beside that: visitors with a passphrase, on a socket that is there. */
static const int keyholder[] = { SCMP_SYS(recvmsg), SCMP_SYS(accept4), SCMP_SYS(accept), SCMP_SYS(getsockopt),
				 SCMP_SYS(pread64), SCMP_SYS(mlock),   SCMP_SYS(munlock) };

/* The resolver reads /proc, and /etc/subuid. It has no Landlock domain: from within one no thread outside may be looked
 * at, which is all that it does. */
static const int resolver[] = { SCMP_SYS(openat), SCMP_SYS(readlinkat), SCMP_SYS(readlink), SCMP_SYS(pread64),
				SCMP_SYS(getdents64) };

/* The bell opens, touches, makes, renames and removes through the mount; it has threads. */
static const int bell[] = { SCMP_SYS(openat),    SCMP_SYS(utimensat), SCMP_SYS(unlinkat), SCMP_SYS(mkdirat),
			    SCMP_SYS(symlinkat), SCMP_SYS(renameat),  SCMP_SYS(renameat2) };

/* The test read. */
static const int probe[] = { SCMP_SYS(openat) };

#define LIST(calls)                                 \
	{                                           \
		calls, sizeof calls / sizeof *calls \
	}
static const struct list {
	const int *calls;
	size_t n;
} lists[] = {
	[SANDBOX_WORKER] = LIST(worker), [SANDBOX_KEYHOLDER] = LIST(keyholder), [SANDBOX_RESOLVER] = LIST(resolver),
	[SANDBOX_BELL] = LIST(bell),     [SANDBOX_PROBE] = LIST(probe),
};

static int allow_list(scmp_filter_ctx ctx, const int *calls, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && !r; i++)
		if (calls[i] >= 0) /* below 0: this machine's kind does not have it */
			r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0);
	return r;
}

/* With any int but this one as its first argument. The kernel takes an int from the lower half of the register, and the
 * filter sees all of it: "not equal" would let 2^32 + n pass, which is n to the kernel. So: it differs in one of the
 * lower 32 bits. */
static int allow_but(scmp_filter_ctx ctx, int call, uint32_t not )
{
	int r = 0;

	for (uint64_t bit = 1; bit <= 1u << 31 && !r; bit <<= 1) {
		const struct scmp_arg_cmp differs = SCMP_A0_64(SCMP_CMP_MASKED_EQ, bit, ~not &bit);
		r = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, call, 1, &differs);
	}
	return r;
}

/* What is allowed in part. */
static int allow_some(scmp_filter_ctx ctx)
{
	const struct {
		int call;
		struct scmp_arg_cmp only;
	} some[] = {
		{ SCMP_SYS(mmap), SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0) },
		{ SCMP_SYS(mprotect), SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0) },
		/* never a process */
		{ SCMP_SYS(clone), SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_VM | CLONE_THREAD, CLONE_VM | CLONE_THREAD) },
		{ SCMP_SYS(tgkill), SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()) }, /* abort(3) */
		{ SCMP_SYS(prlimit64), SCMP_A2(SCMP_CMP_EQ, 0) },                   /* to look */
		/* to whom the socket is connected with */
		{ SCMP_SYS(sendto), SCMP_A4(SCMP_CMP_EQ, 0) },
		{ SCMP_SYS(fcntl), SCMP_A1(SCMP_CMP_EQ, F_GETFD) },
		{ SCMP_SYS(fcntl), SCMP_A1(SCMP_CMP_EQ, F_SETFD) },
		/* and not F_SETFL, which would take O_APPEND from the log */
		{ SCMP_SYS(fcntl), SCMP_A1(SCMP_CMP_EQ, F_GETFL) },
		{ SCMP_SYS(prctl), SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME) },
	};
	int r = allow_but(ctx, SCMP_SYS(rt_sigaction), SIGSYS); /* see forbidden() */

	for (size_t i = 0; i < sizeof some / sizeof *some && !r; i++)
		r = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, some[i].call, 1, &some[i].only);
	return r;
}

static int allow_some_of_worker(scmp_filter_ctx ctx)
{
	const struct {
		int call;
		struct scmp_arg_cmp only;
	} some[] = {
		/* SQLite's */
		{ SCMP_SYS(fcntl), SCMP_A1(SCMP_CMP_EQ, F_GETLK) },
		{ SCMP_SYS(fcntl), SCMP_A1(SCMP_CMP_EQ, F_SETLK) },
		{ SCMP_SYS(fcntl), SCMP_A1(SCMP_CMP_EQ, F_SETLKW) },
		/* and not the modes that take content away */
		{ SCMP_SYS(fallocate), SCMP_A1(SCMP_CMP_EQ, 0) },
		{ SCMP_SYS(fallocate), SCMP_A1(SCMP_CMP_EQ, FALLOC_FL_KEEP_SIZE) },
		{ SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_EQ, FS_IOC_GETFLAGS) }, /* is the log append-only? */
	};
	int r = 0;

	for (size_t i = 0; i < sizeof some / sizeof *some && !r; i++)
		r = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, some[i].call, 1, &some[i].only);
	return r;
}

/* Where a namespace comes from: of an open one, nothing but numbers and another open one. */
static int allow_some_of_resolver(scmp_filter_ctx ctx)
{
	static const unsigned long questions[] = { NS_GET_PARENT, NS_GET_USERNS, NS_GET_OWNER_UID };
	int r = 0;

	for (size_t i = 0; i < sizeof questions / sizeof *questions && !r; i++) {
		const struct scmp_arg_cmp only = SCMP_A1(SCMP_CMP_EQ, questions[i]);
		r = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, &only);
	}
	return r;
}

/* Worker and key holder send each other messages of several parts. Where a message goes stands in memory, which no
 * filter can look at; but all sockets are connected with their peers for good, but for the log's, which is a datagram
 * socket: that one alone could send elsewhere. No list lets a descriptor be duplicated. */
static int allow_messages(scmp_filter_ctx ctx) { return allow_but(ctx, SCMP_SYS(sendmsg), (uint32_t)log_descriptor()); }

/* What libraries try and can do without. clone3 takes its flags in memory, which no filter can look at: glibc then
 * falls back to clone. */
static int refuse_some(scmp_filter_ctx ctx)
{
	const struct scmp_arg_cmp tcgets = SCMP_A1(SCMP_CMP_EQ, TCGETS);
	int r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);

	if (!r) /* the log, when its other end is away */
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(connect), 0);
	if (!r) /* a C library may ask for one, for a name service for example, and is content with none */
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(socket), 0);
	if (!r) /* stdio asks whether it is a terminal */
		r = seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO(ENOTTY), SCMP_SYS(ioctl), 1, &tcgets);
	return r;
}

#ifdef __SANITIZE_ADDRESS__
/* What the sanitizer does at its start of a thread, and when it has something to report. */
static const int sanitizer[] = {
	SCMP_SYS(open),       SCMP_SYS(openat),  SCMP_SYS(readlink),       SCMP_SYS(getcwd),
	SCMP_SYS(access),     SCMP_SYS(stat),    SCMP_SYS(lstat),          SCMP_SYS(getrlimit),
	SCMP_SYS(dup),        SCMP_SYS(pipe),    SCMP_SYS(pipe2),          SCMP_SYS(process_vm_readv),
	SCMP_SYS(getdents64), SCMP_SYS(mincore), SCMP_SYS(sched_getparam), SCMP_SYS(sched_getscheduler),
	SCMP_SYS(pread64),    SCMP_SYS(mlock),   SCMP_SYS(munlock),
};
#endif

#ifdef COFFER_TEST_HOOKS
static const int hooks[] = { SCMP_SYS(rt_sigtimedwait) };
#endif

/* At a call that is not on the list. SECCOMP_RET_KILL_PROCESS would tell nobody which it was; so the kernel does not
 * make the call and sends SIGSYS, and this says the number and ends the process. The list keeps the handler in place
 * (no rt_sigaction of SIGSYS). While it runs SIGSYS is blocked: a second forbidden call, here or in any thread that is
 * in the handler, is the kernel's to end. */
static void forbidden(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	log_from_handler("system call ", (unsigned long)info->si_syscall,
			 " is not on this role's list: ending (ausyscall, from auditd, tells its name)");
	(void)syscall(SYS_ptrace, 0, 0, 0, 0); /* on nobody's list */
	(void)syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGKILL);
	_exit(1);
}

static int catch_forbidden(void)
{
	struct sigaction action = { .sa_sigaction = forbidden, .sa_flags = SA_SIGINFO };

	return sigaction(SIGSYS, &action, NULL) ? -errno : 0;
}

static int fill_filter(scmp_filter_ctx ctx, enum sandbox_role role)
{
	/* a balanced tree: a call costs a few comparisons; those without conditions the kernel remembers (5.11), and
	 * does not even ask */
	int r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);

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
	if (!r && role == SANDBOX_WORKER)
		r = allow_some_of_worker(ctx);
	if (!r && role == SANDBOX_RESOLVER)
		r = allow_some_of_resolver(ctx);
	if (!r && (role == SANDBOX_WORKER || role == SANDBOX_KEYHOLDER))
		r = allow_messages(ctx);
	return r ? r : refuse_some(ctx);
}

static bool kernel_lacks_seccomp(int r) { return r == -EINVAL || r == -ENOSYS; }

/* With the kernel's own word for why not: that it takes no more filters is no reason to go without. */
static int load(scmp_filter_ctx ctx)
{
	int r = seccomp_attr_set(ctx, SCMP_FLTATR_API_SYSRAWRC, 1);
	return r ? r : seccomp_load(ctx);
}

static int filter_calls(enum sandbox_role role, bool require)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_TRAP);
	int r = ctx ? fill_filter(ctx, role) : -ENOMEM;

	if (!r)
		r = catch_forbidden();
	if (!r)
		r = load(ctx);
	seccomp_release(ctx);
	if (kernel_lacks_seccomp(r))
		return require ? -ENOSYS : 0;
	state.seccomp = !r;
	return r;
}

int sandbox_enter(enum sandbox_role role, const struct sandbox_place *places, size_t n, bool require)
{
	int r = role == SANDBOX_RESOLVER ? 0 : restrict_places(places, n, require);

	return r ? r : filter_calls(role, require);
}

int sandbox_wait_only(void)
{
	static const int waits[] = { SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(restart_syscall), SCMP_SYS(write),
				     SCMP_SYS(exit_group) };
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int r = ctx ? allow_list(ctx, waits, sizeof waits / sizeof *waits) : -ENOMEM;

	if (!r)
		r = load(ctx);
	seccomp_release(ctx);
	return kernel_lacks_seccomp(r) ? -ENOSYS : r;
}

/* ---- the keeper ---- */

static int drop_capabilities(void)
{
	static const cap_value_t kept[] = {
		CAP_SYS_ADMIN, /* mount and unmount */
		CAP_SETUID,
		CAP_SETGID,
		CAP_SETPCAP,
		CAP_KILL, /* roles under users of their own, and their end */
		/* the resolver's; whoever cannot be looked at is not the host's */
		CAP_SYS_PTRACE,
		CAP_IPC_LOCK,        /* locked memory beyond the limit */
		CAP_LINUX_IMMUTABLE, /* segments are append-only */
		/* segments are of the worker's group; the way to mount point and store */
		CAP_CHOWN,
		CAP_DAC_READ_SEARCH,
	};
	cap_t have = cap_get_proc(), want = cap_init();
	int r = have && want ? 0 : -ENOMEM;

	for (size_t i = 0; i < sizeof kept / sizeof *kept && !r; i++) {
		cap_flag_value_t held = CAP_CLEAR;
		if (!cap_get_flag(have, kept[i], CAP_PERMITTED, &held) && held == CAP_SET &&
		    (cap_set_flag(want, CAP_PERMITTED, 1, &kept[i], CAP_SET) ||
		     cap_set_flag(want, CAP_EFFECTIVE, 1, &kept[i], CAP_SET)))
			r = -errno;
	}
	/* the bounding set first: taking from it needs CAP_SETPCAP, and what is not in it does not come back with an
	 * exec as root */
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

/* What no process of this daemon does, and a root that somebody else has taken over would. The keeper has no list of
 * what it may: whatever a later version of it, which it executes in place, may need would have to be foreseen. The
 * filter holds for its children, too, and an attempt is answered EPERM: the mount must not die of it. */
static const int never[] = {
	SCMP_SYS(ptrace),
	SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev),
	SCMP_SYS(process_madvise),
	SCMP_SYS(kcmp),
	SCMP_SYS(pidfd_getfd),
	SCMP_SYS(init_module),
	SCMP_SYS(finit_module),
	SCMP_SYS(delete_module),
	SCMP_SYS(kexec_load),
	SCMP_SYS(kexec_file_load),
	SCMP_SYS(bpf),
	SCMP_SYS(perf_event_open),
	SCMP_SYS(userfaultfd),
	SCMP_SYS(io_uring_setup),
	SCMP_SYS(add_key),
	SCMP_SYS(request_key),
	SCMP_SYS(keyctl),
	SCMP_SYS(unshare),
	SCMP_SYS(setns),
	SCMP_SYS(pivot_root),
	SCMP_SYS(chroot),
	SCMP_SYS(swapon),
	SCMP_SYS(swapoff),
	SCMP_SYS(reboot),
	SCMP_SYS(settimeofday),
	SCMP_SYS(clock_settime),
	SCMP_SYS(clock_adjtime),
	SCMP_SYS(adjtimex),
	SCMP_SYS(sethostname),
	SCMP_SYS(setdomainname),
	SCMP_SYS(acct),
	SCMP_SYS(quotactl),
	SCMP_SYS(syslog),
	SCMP_SYS(iopl),
	SCMP_SYS(ioperm),
	SCMP_SYS(mknod),
	SCMP_SYS(mknodat),
	SCMP_SYS(open_by_handle_at),
	SCMP_SYS(name_to_handle_at),
	SCMP_SYS(fanotify_init),
	SCMP_SYS(personality),
	SCMP_SYS(nfsservctl),
	SCMP_SYS(lookup_dcookie),
	SCMP_SYS(vhangup),
};

uint32_t sandbox_keeper_list(void)
{
	uint32_t sum = 2166136261u; /* FNV-1a */

	for (size_t i = 0; i < sizeof never / sizeof *never; i++)
		sum = (sum ^ (uint32_t)never[i]) * 16777619u;
	return sum ? sum : 1;
}

static int refuse_never_needed(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int r = ctx ? seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2) : -ENOMEM;

	for (size_t i = 0; i < sizeof never / sizeof *never && !r; i++)
		if (never[i] >= 0)
			r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), never[i], 0);
	if (!r)
		r = load(ctx);
	seccomp_release(ctx);
	return kernel_lacks_seccomp(r) ? -ENOSYS : r;
}

int sandbox_keeper(uint32_t entered)
{
	int r = drop_capabilities(), abi = landlock_abi();

	if (!r && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		r = -errno;
	if (r)
		return r;
	r = entered == sandbox_keeper_list() ? 0 : refuse_never_needed();
	if (r == -ENOSYS)
		log_warn("this kernel has no seccomp filters: a process of the daemon that is taken over can make any "
			 "system call");
	if (abi < 1)
		log_warn("this kernel has no Landlock (%s): a process of the daemon that is taken over can open what "
			 "its user can",
			 strerror(-abi));
	if (r && r != -ENOSYS && entered) { /* the mount must not end for it */
		log_warn("the list of system calls cannot be renewed (%s): that of the binary before holds on",
			 strerror(-r));
		r = 0;
	}
	return r == -ENOSYS ? 0 : r;
}
