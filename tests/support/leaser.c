/* What a local user can do to a file that it may open, to hold others up: leases, locks, maps.
 *
 *   leaser loop KIND FILE            takes a lease of the kind, keeps it until it is broken, and begins again, until
 *                                    SIGTERM; then prints "ok N", how many it got
 *   leaser hold KIND FILE            tries for two seconds; prints "held" and keeps it whatever comes, or "refused
 *                                    ERRNO" and ends
 *   leaser try FILE                  each of what is listed in `attempts`, a line each: its name, and "ok" or the errno
 *   leaser map KIND FILE             maps it, looks at each byte, prints "mapped"; then, for each line on stdin, looks
 *                                    again: "same", "other", or "gone" (SIGBUS)
 *   leaser watch KIND FILE           the same, but looks again and again until SIGTERM, and says so each time that it
 *                                    sees something else than before; SIGUSR1: once more in any case
 *
 *   leaser write BUFFER FILE         writes to FILE from a map of BUFFER, which may lie on a file system that never
 *                                    answers
 *   leaser keep PID                  has what the process has of /dev/fuse, prints "kept", and waits: as a dead
 *                                    daemon's thread that waits in the kernel would
 *
 * KIND of a lease: read, write. KIND of a map: words of shared, private, populate, lock, joined by commas, and
 * lease-read or lease-write, flock for what is held on the file besides. An error is one line on stderr, and the exit
 * status 1. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/fsverity.h>
#include <linux/userfaultfd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/quota.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t ended, broken;
static sigjmp_buf bus;

static void on_term(int signal)
{
	(void)signal;
	ended = 1;
}
static void on_break(int signal)
{
	(void)signal;
	broken = 1;
}
static void on_bus(int signal)
{
	(void)signal;
	siglongjmp(bus, 1);
}

static const char *errno_name(void)
{
	const char *name = strerrorname_np(errno);
	return name ? name : "an unknown errno";
}

static int die(const char *what)
{
	fprintf(stderr, "leaser: %s: %s\n", what, errno_name());
	return 1;
}

static int kind_of(const char *word) { return strcmp(word, "write") ? F_RDLCK : F_WRLCK; }

/* The owner that the kernel compares with is the one that the last look at the file brought. */
static int take_lease(int fd, int kind)
{
	struct stat st;

	if (fstat(fd, &st))
		return -1;
	return fcntl(fd, F_SETLEASE, kind);
}

static void pause_ms(long ms)
{
	const struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };
	nanosleep(&t, NULL);
}

static int run_loop(char **words)
{
	const int kind = kind_of(words[0]);
	unsigned long got = 0;

	while (!ended) {
		int fd = open(words[1], O_RDONLY | O_NONBLOCK);
		if (fd >= 0 && take_lease(fd, kind) == 0) {
			got++;
			broken = 0;
			while (!ended && !broken)
				pause_ms(1);
			/* whoever breaks it has to wait for all of the time that the kernel gives: it is not handed
			 * back */
			for (int i = 0; i < 100 && !ended; i++)
				pause_ms(1000);
		}
		if (fd >= 0)
			close(fd);
	}
	printf("ok %lu\n", got);
	return 0;
}

static int run_hold(char **words)
{
	const int kind = kind_of(words[0]);

	for (int i = 0; i < 200; i++) {
		int fd = open(words[1], O_RDONLY | O_NONBLOCK);
		if (fd < 0)
			return die(words[1]);
		if (take_lease(fd, kind) == 0) {
			puts("held");
			fflush(stdout);
			while (!ended)
				pause();
			return 0;
		}
		const int error = errno;
		close(fd);
		errno = error;
		if (i < 199)
			pause_ms(10);
	}
	printf("refused %s\n", errno_name());
	return 0;
}

/* ---- whatever else there is ---- */

static int try_lease_read(int fd) { return take_lease(fd, F_RDLCK); }
static int try_lease_write(int fd) { return take_lease(fd, F_WRLCK); }
static int try_flock(int fd) { return flock(fd, LOCK_EX | LOCK_NB); }
static int try_setlk(int fd) { return fcntl(fd, F_SETLK, &(struct flock){ .l_type = F_RDLCK, .l_whence = SEEK_SET }); }
static int try_ofd_setlk(int fd)
{
	return fcntl(fd, F_OFD_SETLK, &(struct flock){ .l_type = F_RDLCK, .l_whence = SEEK_SET });
}
static int try_setsig(int fd) { return fcntl(fd, F_SETSIG, SIGIO); }
static int try_setown(int fd) { return fcntl(fd, F_SETOWN, getpid()); }
static int try_async(int fd) { return fcntl(fd, F_SETFL, O_ASYNC); }
static int try_notify(int fd) { return fcntl(fd, F_NOTIFY, DN_MODIFY | DN_MULTISHOT); }
static int try_noatime(int fd)
{
	struct stat st;
	return fstat(fd, &st) ? -1 : fcntl(fd, F_SETFL, O_NOATIME);
}
static int try_chmod(int fd) { return fchmod(fd, 0777); }
static int try_chown(int fd) { return fchown(fd, getuid(), getgid()) || fchown(fd, 65534, 65534); }
static int try_setxattr(int fd) { return fsetxattr(fd, "user.x", "x", 1, 0); }
static int try_capability(int fd) { return fsetxattr(fd, "security.capability", "x", 1, 0); }
static int try_acl(int fd) { return fsetxattr(fd, "system.posix_acl_access", "x", 1, 0); }
static int try_getflags(int fd)
{
	long f = 0;
	return ioctl(fd, FS_IOC_GETFLAGS, &f);
}
static int try_setflags(int fd)
{
	long f = FS_IMMUTABLE_FL;
	return ioctl(fd, FS_IOC_SETFLAGS, &f);
}
static int try_fsxattr(int fd)
{
	struct fsxattr x = { .fsx_xflags = 0 };
	return ioctl(fd, FS_IOC_FSSETXATTR, &x);
}
static int try_freeze(int fd) { return ioctl(fd, FIFREEZE, 0); }
static int try_clone(int fd) { return ioctl(fd, FICLONE, fd); }
static int try_fallocate(int fd) { return fallocate(fd, 0, 0, 4096); }
static int try_truncate(int fd) { return ftruncate(fd, 0); }
static int try_seals(int fd) { return fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE); }
static int try_hint(int fd)
{
	uint64_t hint = 2;
	return fcntl(fd, F_SET_RW_HINT, &hint);
}
static int try_verity(int fd)
{
	char x[128] = { 1 };
	return ioctl(fd, FS_IOC_ENABLE_VERITY, x);
}
static int try_sync(int fd) { return syncfs(fd); }
static int try_quota(int fd)
{
	char x[256];
	(void)fd;
	return quotactl(QCMD(Q_GETFMT, USRQUOTA), "/dev/fuse", 0, x);
}

static int try_userfault(int fd)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register all = { .range = { .len = 4096 }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	void *map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	int faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	if (map == MAP_FAILED || faults < 0 || ioctl(faults, UFFDIO_API, &api))
		return -1;
	all.range.start = (uintptr_t)map;
	return ioctl(faults, UFFDIO_REGISTER, &all);
}

static const struct {
	const char *name;
	int (*run)(int fd);
} attempts[] = {
	{ "lease-read", try_lease_read },
	{ "lease-write", try_lease_write },
	{ "flock", try_flock },
	{ "setlk", try_setlk },
	{ "ofd-setlk", try_ofd_setlk },
	{ "setsig", try_setsig },
	{ "setown", try_setown },
	{ "async", try_async },
	{ "dnotify", try_notify },
	{ "noatime", try_noatime },
	{ "chmod", try_chmod },
	{ "chown", try_chown },
	{ "setxattr", try_setxattr },
	{ "capability", try_capability },
	{ "acl", try_acl },
	{ "getflags", try_getflags },
	{ "setflags", try_setflags },
	{ "fssetxattr", try_fsxattr },
	{ "freeze", try_freeze },
	{ "clone", try_clone },
	{ "fallocate", try_fallocate },
	{ "truncate", try_truncate },
	{ "seals", try_seals },
	{ "hint", try_hint },
	{ "verity", try_verity },
	{ "syncfs", try_sync },
	{ "quota", try_quota },
	{ "userfault", try_userfault },
};

static int run_try(char **words)
{
	for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) {
		int fd = open(words[0], O_RDONLY | O_NONBLOCK);
		if (fd < 0)
			return die(words[0]);
		printf("%s %s\n", attempts[i].name, attempts[i].run(fd) == 0 ? "ok" : errno_name());
		close(fd);
	}
	return 0;
}

/* ---- maps ---- */

static bool has(const char *words, const char *word)
{
	const size_t n = strlen(word);

	for (const char *p = words; (p = strstr(p, word)); p += n)
		if ((p == words || p[-1] == ',') && (p[n] == ',' || p[n] == '\0'))
			return true;
	return false;
}

static const char *look(const volatile unsigned char *map, const unsigned char *first, size_t len)
{
	if (sigsetjmp(bus, 1))
		return "gone";
	for (size_t i = 0; i < len; i++)
		if (map[i] != first[i])
			return "other";
	return "same";
}

static volatile sig_atomic_t asked;
static void on_usr1(int signal)
{
	(void)signal;
	asked = 1;
}

static void look_on(const unsigned char *map, const unsigned char *first, size_t len)
{
	const char *said = "";

	signal(SIGUSR1, on_usr1);
	while (!ended) {
		const char *now = look(map, first, len);
		if (now == said && !asked)
			continue;
		asked = 0;
		said = now;
		puts(now);
		fflush(stdout);
	}
}

static int map_and(char **words, bool on)
{
	char line[64];
	struct stat st;
	int fd = open(words[1], O_RDONLY);

	if (fd < 0 || fstat(fd, &st))
		return die(words[1]);
	const size_t len = (size_t)st.st_size;
	const int flags = (has(words[0], "shared") ? MAP_SHARED : MAP_PRIVATE) |
			  (has(words[0], "populate") ? MAP_POPULATE : 0);
	unsigned char *map = mmap(NULL, len, PROT_READ, flags, fd, 0), *first = malloc(len + 1);
	if (map == MAP_FAILED || !first)
		return die("mmap");
	if (sigsetjmp(bus, 1)) {
		puts("refused SIGBUS");
		return 0;
	}
	memcpy(first, map, len);
	if (has(words[0], "lock") && mlock(map, len))
		return die("mlock");
	if (has(words[0], "flock") && flock(fd, LOCK_SH))
		return die("flock");
	for (int i = 0; i < 2; i++) {
		static const char *const leases[] = { "lease-read", "lease-write" };
		if (has(words[0], leases[i]) && take_lease(fd, i ? F_WRLCK : F_RDLCK))
			fprintf(stderr, "leaser: no %s: %s\n", leases[i], errno_name());
	}
	puts("mapped");
	fflush(stdout);
	if (on)
		look_on(map, first, len);
	while (!on && fgets(line, sizeof line, stdin)) {
		puts(look(map, first, len));
		fflush(stdout);
	}
	return 0;
}

static int run_map(char **words) { return map_and(words, false); }
static int run_watch(char **words) { return map_and(words, true); }

static int run_write(char **words)
{
	int from = open(words[0], O_RDONLY), to = open(words[1], O_WRONLY);
	char *map = from < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, from, 0);

	if (to < 0 || map == MAP_FAILED)
		return die("open or mmap");
	puts("writing");
	fflush(stdout);
	return write(to, map, 4096) < 0 ? die("write") : 0;
}

static int run_keep(char **words)
{
	const int pid = atoi(words[0]), process = (int)syscall(SYS_pidfd_open, pid, 0);
	char path[64], to[64];
	int kept = 0;

	for (int fd = 0; process >= 0 && fd < 1024; fd++) {
		snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
		ssize_t n = readlink(path, to, sizeof to - 1);
		to[n > 0 ? n : 0] = '\0';
		if (!strcmp(to, "/dev/fuse"))
			kept += syscall(SYS_pidfd_getfd, process, fd, 0) >= 0;
	}
	if (!kept)
		return die("pidfd_getfd");
	puts("kept");
	fflush(stdout);
	while (!ended)
		pause();
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int words;
		int (*run)(char **words);
	} acts[] = { { "loop", 2, run_loop }, { "hold", 2, run_hold },   { "try", 1, run_try },
		     { "map", 2, run_map },   { "watch", 2, run_watch }, { "write", 2, run_write },
		     { "keep", 1, run_keep } };
	const struct sigaction term = { .sa_handler = on_term },
			       lease = { .sa_handler = on_break, .sa_flags = SA_RESTART },
			       gone = { .sa_handler = on_bus, .sa_flags = SA_NODEFER };

	sigaction(SIGTERM, &term, NULL);
	sigaction(SIGIO, &lease, NULL);
	sigaction(SIGBUS, &gone, NULL);
	for (size_t i = 0; argc > 1 && i < sizeof acts / sizeof *acts; i++)
		if (!strcmp(argv[1], acts[i].name) && argc == acts[i].words + 2)
			return acts[i].run(argv + 2);
	fprintf(stderr, "usage: see the head of leaser.c\n");
	return 2;
}
