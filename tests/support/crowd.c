/* Many callers at the same time: threads that all do one thing to a vault.
 *
 *   crowd MOUNT N SECRETS
 *
 * N threads each open a secret of a store that build_store filled, once, and read its first byte. Prints "begun" when
 * all are under way, "refused" at the first EAGAIN, and in the end how often which answer came, a line each: "ok 100",
 * "EAGAIN 12".
 *
 *   crowd KIND MOUNT N SECRETS FIRST UIDS
 *
 * N threads do it again and again until SIGTERM or SIGINT, each time as another uid of the UIDS from FIRST on (root
 * only, or root of a user namespace; of 0 uids: as whoever starts it), and print the same. Kinds:
 *
 *   opens   open a secret and read it             lists   list the vault's directory
 *   holds   open whoami, and keep it open         chmods  set the mode of ctl
 *   ctls    open ctl, and keep it open            mkdirs  make a directory of a new name
 *   writes  write a byte to ctl                   seeks   seek to the end of ctl
 *   stages  open a secret to write, write 64 KiB, and keep it open
 *   flags   set the flags of s000000, as chattr(1) does, once it is disabled; the caller has opened it before
 *
 * What keeps lets go of all, and begins again, when it is refused. The file that the environment's CROWD_COUNT names
 * holds the number of answers so far, as 8 bytes. With CROWD_WATCH it is another crowd's, and "meanwhile 12" says in
 * the end how many answers that one had, in the median, while a thread of this one waited for its own. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "threads.h"

#define KEPT_MAX 64u /* of one thread */

static const char *mount_point;
static unsigned secrets, first_uid, uids;
static atomic_uint answers[256]; /* by errno */
static atomic_uint begun;
static atomic_uint next_number;
static atomic_bool stop;
static _Atomic uint64_t own_count, *count = &own_count, *watched;

#define SAMPLES_MAX 65536u
static uint64_t samples[SAMPLES_MAX];
static atomic_uint n_samples;

/* ---- what a thread does once: 0 or an errno. *kept is a descriptor that stays open, -1: none ---- */

typedef int (*act)(unsigned number, int *kept);

static int open_own(const char *name, int flags)
{
	char path[4200];

	snprintf(path, sizeof path, "%s/.coffer/%s", mount_point, name);
	return open(path, flags | O_CLOEXEC);
}

static int open_secret(unsigned number, int flags)
{
	char path[4200];

	snprintf(path, sizeof path, "%s/s%06u/current", mount_point, number % secrets);
	return open(path, flags | O_CLOEXEC);
}

static int opens(unsigned number, int *kept)
{
	char byte;
	int fd = open_secret(number, O_RDONLY);
	const int error = fd < 0 || read(fd, &byte, 1) < 0 ? errno : 0;

	(void)kept;
	if (fd >= 0)
		close(fd);
	return error;
}

static int holds(unsigned number, int *kept)
{
	(void)number;
	*kept = open_own("whoami", O_RDONLY);
	return *kept < 0 ? errno : 0;
}

static int ctls(unsigned number, int *kept)
{
	(void)number;
	*kept = open_own("ctl", O_RDWR);
	return *kept < 0 ? errno : 0;
}

static int writes(unsigned number, int *kept)
{
	int fd = open_own("ctl", O_RDWR);
	const int error = fd < 0 || write(fd, "x", 1) < 0 ? errno : 0;

	(void)number;
	(void)kept;
	if (fd >= 0)
		close(fd);
	return error;
}

static int seeks(unsigned number, int *kept)
{
	int fd = open_own("ctl", O_RDWR);
	const int error = fd < 0 || lseek(fd, 0, SEEK_END) < 0 ? errno : 0;

	(void)number;
	(void)kept;
	if (fd >= 0)
		close(fd);
	return error;
}

static int chmods(unsigned number, int *kept)
{
	char path[4200];

	(void)kept;
	snprintf(path, sizeof path, "%s/.coffer/ctl", mount_point);
	return chmod(path, 0100 + number % 64) ? errno : 0;
}

static int mkdirs(unsigned number, int *kept)
{
	char path[4200];

	(void)kept;
	snprintf(path, sizeof path, "%s/new-%u", mount_point, number);
	return mkdir(path, 0755) ? errno : 0;
}

static int lists(unsigned number, int *kept)
{
	DIR *d = opendir(mount_point);

	(void)number;
	(void)kept;
	if (!d)
		return errno;
	errno = 0;
	while (readdir(d))
		;
	const int error = errno;
	closedir(d);
	return error;
}

static int stages(unsigned number, int *kept)
{
	static char bytes[64u << 10];
	int fd = open_secret(number, O_WRONLY | O_TRUNC);
	const int error = fd < 0 || write(fd, bytes, sizeof bytes) < 0 ? errno : 0;

	if (!error)
		*kept = fd;
	else if (fd >= 0)
		close(fd);
	return error;
}

static int flags(unsigned number, int *kept)
{
	static _Thread_local int fd = -1;
	const int none = 0;
	struct stat st;
	int again;

	(void)number;
	(void)kept;
	if (fd < 0) {
		fd = open_secret(0, O_RDONLY);
		printf("open %d\n", fd >= 0);
		while ((again = open_secret(0, O_RDONLY)) >= 0) {
			close(again);
			usleep(1000);
		}
	}
	return fd < 0 || fstat(fd, &st) || ioctl(fd, FS_IOC_SETFLAGS, &none) ? errno : 0;
}

static const struct {
	const char *name;
	act act;
} kinds[] = {
	{ "opens", opens },   { "holds", holds },   { "ctls", ctls },   { "writes", writes }, { "seeks", seeks },
	{ "chmods", chmods }, { "mkdirs", mkdirs }, { "lists", lists }, { "stages", stages }, { "flags", flags },
};

/* ---- threads ---- */

static void note(int error)
{
	atomic_fetch_add(count, 1);
	if (atomic_fetch_add(&answers[error % 256], 1) == 0 && error == EAGAIN)
		puts("refused");
}

static void *once(void *arg)
{
	int kept = -1;

	atomic_fetch_add(&begun, 1);
	note(opens((unsigned)(size_t)arg, &kept));
	return NULL;
}

/* The system calls themselves: of this thread alone. */
static void become(unsigned number)
{
	const unsigned id = first_uid + number % (uids ? uids : 1);

	if (!uids)
		return;
	syscall(SYS_setfsgid, id);
	syscall(SYS_setfsuid, id);
}

static void *again_and_again(void *arg)
{
	const act what = kinds[(size_t)arg].act;
	int kept[KEPT_MAX];
	size_t n = 0;

	atomic_fetch_add(&begun, 1);
	while (!atomic_load(&stop)) {
		const unsigned number = atomic_fetch_add(&next_number, 1);
		int fd = -1;
		become(number);
		const uint64_t before = watched ? atomic_load(watched) : 0;
		const int error = what(number, &fd);
		if (watched)
			samples[atomic_fetch_add(&n_samples, 1) % SAMPLES_MAX] = atomic_load(watched) - before;
		if (fd >= 0)
			kept[n++] = fd;
		note(error);
		if (error || n == KEPT_MAX)
			while (n)
				close(kept[--n]);
	}
	while (n)
		close(kept[--n]);
	return NULL;
}

static void *waits_for_the_end(void *arg)
{
	int signal;

	sigwait(arg, &signal);
	atomic_store(&stop, true);
	return NULL;
}

static int kind_of(const char *name)
{
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (!strcmp(kinds[i].name, name))
			return (int)i;
	return -1;
}

/* The number in the file that a variable of the environment names; without one, what is given. */
static int open_count(const char *variable, _Atomic uint64_t **ret_count)
{
	const char *path = getenv(variable);
	int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666) : -1;

	if (!path)
		return 0;
	if (fd < 0 || ftruncate(fd, sizeof **ret_count))
		return -1;
	void *p = mmap(NULL, sizeof **ret_count, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		return -1;
	*ret_count = p;
	return 0;
}

static int compare(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void print_meanwhile(void)
{
	const size_t n = n_samples < SAMPLES_MAX ? n_samples : SAMPLES_MAX;

	if (!n)
		return;
	qsort(samples, n, sizeof *samples, compare);
	printf("meanwhile %llu\n", (unsigned long long)samples[n / 2]);
}

static int body_kind; /* negative: a thread is given its number */

static void *argument_of(unsigned i) { return (void *)(body_kind < 0 ? (size_t)i : (size_t)body_kind); }

static int run(unsigned n, void *(*body)(void *), int kind)
{
	body_kind = kind;
	pthread_t *threads = threads_start(n, body, argument_of, &begun);

	if (!threads)
		return 1;
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 256; i++)
		if (answers[i])
			printf("%s %u\n", i ? strerrorname_np(i) : "ok", answers[i]);
	print_meanwhile();
	free(threads);
	return 0;
}

int main(int argc, char **argv)
{
	static sigset_t ends;
	pthread_t end;
	const int kind = argc == 7 ? kind_of(argv[1]) : -1;
	char **words = argv + (argc == 7);

	if ((argc != 4 && argc != 7) || (argc == 7 && kind < 0))
		return 2;
	mount_point = words[1];
	const unsigned n = (unsigned)strtoul(words[2], NULL, 10);
	secrets = (unsigned)strtoul(words[3], NULL, 10);
	if (!n || !secrets || open_count("CROWD_COUNT", &count) || open_count("CROWD_WATCH", &watched))
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 4)
		return run(n, once, -1);
	first_uid = (unsigned)strtoul(words[4], NULL, 10);
	uids = (unsigned)strtoul(words[5], NULL, 10);
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	pthread_sigmask(SIG_BLOCK, &ends, NULL);
	if (pthread_create(&end, NULL, waits_for_the_end, &ends))
		return 1;
	return run(n, again_and_again, kind);
}
