/* A local user who tries to keep everybody else from the vault, with one uid or with very many.
 *
 *   neighbour MOUNT NAME ATTACK THREADS FIRST_UID UIDS SECONDS [OWNER]
 *
 * NAME is a secret that the attacker may not read. With OWNER the attacker acts in a user namespace that this user has
 * made, into which UIDS from FIRST_UID on are mapped; without, as these uids themselves. Each thread takes the next uid
 * before each act, by setfsuid(2): that is what a request carries. "mix" spreads the threads over all attacks. Prints
 * "begun" when all threads run, and at the end how often each answer came. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "threads.h"

#define HELD_MAX 64 /* files that one thread keeps open */

static char secret_path[4200], secret_dir[4200], ctl_path[4200], whoami_path[4200], root_path[4200];
static unsigned first_uid, uids;
static bool in_namespace;
static atomic_uint turn, begun;
static atomic_uint answers[256]; /* by errno */
static atomic_bool stop;

struct thread {
	unsigned number;
	int held[HELD_MAX];
	unsigned n_held;
};

static void count(long result) { atomic_fetch_add(&answers[result < 0 ? errno % 256 : 0], 1); }

/* Keeps what was opened; the oldest goes when there are too many. */
static void keep(struct thread *t, int fd)
{
	count(fd);
	if (fd < 0)
		return;
	int *place = &t->held[t->n_held++ % HELD_MAX];
	if (*place > 0)
		close(*place);
	*place = fd;
}

static void open_refused(struct thread *t)
{
	(void)t;
	int fd = open(secret_path, O_RDONLY | O_CLOEXEC);
	count(fd);
	if (fd >= 0)
		close(fd);
}

static void hold_whoami(struct thread *t) { keep(t, open(whoami_path, O_RDONLY | O_CLOEXEC)); }
static void hold_ctl(struct thread *t) { keep(t, open(ctl_path, O_RDWR | O_CLOEXEC)); }

static void half_request(struct thread *t)
{
	int fd = open(ctl_path, O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		count(write(fd, "{\"op\":", 6));
	keep(t, fd);
}

static void change(struct thread *t)
{
	char path[4400];

	snprintf(path, sizeof path, "%s/attack%u", root_path, t->number);
	count(mkdir(path, 0755));
	count(rmdir(secret_dir));
	snprintf(path, sizeof path, "%s/.coffer/deleted/%s", root_path, strrchr(secret_dir, '/') + 1);
	count(rename(secret_dir, path));
	count(chmod(secret_path, 0644));
	count(utimensat(AT_FDCWD, ctl_path, NULL, 0));
}

static void list(struct thread *t)
{
	char entries[4096];
	int fd = open(root_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)t;
	if (fd < 0) {
		count(fd);
		return;
	}
	while (syscall(SYS_getdents64, fd, entries, sizeof entries) > 0)
		;
	count(0);
	close(fd);
}

static void lease(struct thread *t)
{
	static const int kinds[] = { F_RDLCK, F_WRLCK };
	const char *const paths[] = { ctl_path, whoami_path, secret_path };
	struct stat st;
	int fd = open(paths[t->number % 3], O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && fstat(fd, &st) == 0)
		count(fcntl(fd, F_SETLEASE, kinds[t->n_held++ % 2]));
	if (fd >= 0)
		close(fd);
}

static const struct attack {
	const char *name;
	void (*act)(struct thread *t);
} attacks[] = {
	{ "open", open_refused }, { "whoami", hold_whoami }, { "ctl", hold_ctl }, { "half", half_request },
	{ "change", change },     { "list", list },          { "lease", lease },
};
#define ATTACKS (sizeof attacks / sizeof *attacks)

static const struct attack *chosen; /* NULL: all */

static void *run(void *arg)
{
	struct thread *t = arg;
	const struct attack *attack = chosen ? chosen : &attacks[t->number % ATTACKS];

	atomic_fetch_add(&begun, 1);
	while (!atomic_load(&stop)) {
		const unsigned i = atomic_fetch_add(&turn, 1) % uids;
		syscall(SYS_setfsuid, in_namespace ? i : first_uid + i);
		attack->act(t);
	}
	return NULL;
}

static void write_text(pid_t pid, const char *name, const char *text)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0) {
		perror(path);
		exit(1);
	}
	close(fd);
}

/* The parent maps the uids, as newuidmap does; the child goes on in the namespace, as its root. */
static void enter_namespace(unsigned owner)
{
	int ready[2], mapped[2], status;
	char map[64], byte = 0;

	if (pipe(ready) || pipe(mapped))
		exit(1);
	pid_t child = fork();
	if (child > 0) {
		close(mapped[0]);
		close(ready[1]);
		if (read(ready[0], &byte, 1) != 1)
			exit(1);
		snprintf(map, sizeof map, "0 %u %u\n", first_uid, uids);
		write_text(child, "uid_map", map);
		write_text(child, "gid_map", map);
		if (write(mapped[1], &byte, 1) != 1)
			exit(1);
		waitpid(child, &status, 0);
		exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
	}
	if (child < 0 || setgid(owner) || setuid(owner) || unshare(CLONE_NEWUSER) || write(ready[1], &byte, 1) != 1 ||
	    read(mapped[0], &byte, 1) != 1 || setgid(0) || setuid(0)) {
		perror("user namespace");
		exit(1);
	}
	in_namespace = true;
}

static struct thread *all;

static void *argument_of(unsigned i)
{
	all[i].number = i;
	return &all[i];
}

int main(int argc, char **argv)
{
	struct rlimit files = { 1024, 1024 };

	if (argc != 8 && argc != 9)
		return 2;
	const unsigned n = (unsigned)strtoul(argv[4], NULL, 10), seconds = (unsigned)strtoul(argv[7], NULL, 10);
	first_uid = (unsigned)strtoul(argv[5], NULL, 10);
	uids = (unsigned)strtoul(argv[6], NULL, 10);
	for (size_t i = 0; i < ATTACKS; i++)
		if (!strcmp(attacks[i].name, argv[3]))
			chosen = &attacks[i];
	if (!n || !uids || !seconds || (!chosen && strcmp(argv[3], "mix")))
		return 2;
	snprintf(root_path, sizeof root_path, "%s", argv[1]);
	snprintf(secret_dir, sizeof secret_dir, "%s/%s", argv[1], argv[2]);
	snprintf(secret_path, sizeof secret_path, "%s/%s/current", argv[1], argv[2]);
	snprintf(ctl_path, sizeof ctl_path, "%s/.coffer/ctl", argv[1]);
	snprintf(whoami_path, sizeof whoami_path, "%s/.coffer/whoami", argv[1]);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	if (argc == 9)
		enter_namespace((unsigned)strtoul(argv[8], NULL, 10));
	all = calloc(n, sizeof *all);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!all || !threads_start(n, run, argument_of, &begun))
		return 1;
	sleep(seconds);
	atomic_store(&stop, true);
	/* a thread may wait long for its answer: the end of the process does not wait for it */
	for (int i = 0; i < 256; i++)
		if (answers[i])
			printf("%s %u\n", i ? strerrorname_np(i) : "ok", answers[i]);
	fflush(stdout);
	_exit(0);
}
