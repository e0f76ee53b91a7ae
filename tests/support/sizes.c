/* Each way in which programs learn how large a file is before they read it, on a `current` that changes between two
 * values of different sizes.
 *
 *   sizes step PATH WAY…              the value changes once between open and the question: growing, and shrinking
 *   sizes begun PATH WAY…             the same, when a byte was read already
 *   sizes race TIMES CALM PATH WAY…   another process changes it all the time; CALM more ask for sizes of what they
 *                                     have begun to read
 *
 * With SIZES_SECRET, its name, in the environment the other process does so by `coffer put`, and else through the
 * mount.
 *
 * What is read must be one of the values, and as long as was said. Prints for each way: its name, how often, how often
 * it was wrong, how often the kernel or the vault refused it (EINVAL, EXDEV, SIGBUS). Status 1: something was wrong. Of
 * ways whose names end with "?" what goes wrong in a race is only reported: there the kernel takes the size that it
 * knows, which anybody's answer or write may have changed a moment before. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LONG_LEN  2000
#define SHORT_LEN 7
#define ROOM      8192

enum outcome { GOOD, WRONG, REFUSED };

/* What a reader works with: a thread's own. */
struct reader {
	const char *path;
	char buf[ROOM];
	ssize_t got;
	int out;
};

static bool step, begun;
static bool is_long;
static __thread sigjmp_buf bus;

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "sizes: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void put(const char *path, bool longer)
{
	char value[LONG_LEN];
	const size_t len = longer ? LONG_LEN : SHORT_LEN;
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	memset(value, longer ? 'A' : 'b', len);
	if (fd < 0 || write(fd, value, len) != (ssize_t)len || close(fd))
		die(path);
}

/* Between the open and the question. */
static void opened(const struct reader *r, int fd)
{
	char byte;

	if (begun && pread(fd, &byte, 1, 0) != 1)
		die("pread");
	if (!step)
		return;
	is_long = !is_long;
	put(r->path, is_long);
}

static int open_it(const struct reader *r)
{
	int fd = open(r->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die(r->path);
	opened(r, fd);
	return fd;
}

static enum outcome judge(const struct reader *r, off_t said)
{
	char value[LONG_LEN];
	const bool longer = r->got == LONG_LEN;

	memset(value, longer ? 'A' : 'b', sizeof value);
	if (said >= 0 && r->got != said)
		return WRONG;
	return (longer || r->got == SHORT_LEN) && !memcmp(r->buf, value, (size_t)r->got) ? GOOD : WRONG;
}

/* At most n bytes, or to the end. */
static void read_it(struct reader *r, int fd, off_t n)
{
	const size_t want = n < 0 || n > ROOM ? ROOM : (size_t)n;
	ssize_t k;

	r->got = 0;
	while ((size_t)r->got < want && (k = read(fd, r->buf + r->got, want - (size_t)r->got)) > 0)
		r->got += k;
}

static enum outcome read_so_many(struct reader *r, int fd, off_t n)
{
	read_it(r, fd, n);
	close(fd);
	return judge(r, n);
}

static off_t size_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? -2 : st.st_size;
}

static enum outcome by_fstat(struct reader *r)
{
	int fd = open_it(r);

	return read_so_many(r, fd, size_of(fd));
}

static enum outcome by_proc(struct reader *r)
{
	int fd = open_it(r);
	char path[64];
	struct stat st;

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return read_so_many(r, fd, stat(path, &st) ? -2 : st.st_size);
}

/* With the time of birth the kernel asks another question (FUSE_STATX). */
static enum outcome by_birth(struct reader *r)
{
	int fd = open_it(r);
	struct statx x;

	return read_so_many(r, fd,
			    statx(fd, "", AT_EMPTY_PATH, STATX_SIZE | STATX_BTIME, &x) || !(x.stx_mask & STATX_BTIME)
				    ? -2
				    : (off_t)x.stx_size);
}

static enum outcome by_statx(struct reader *r)
{
	int fd = open_it(r);
	struct statx x;

	return read_so_many(r, fd, statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &x) ? -2 : (off_t)x.stx_size);
}

static enum outcome by_seek(struct reader *r)
{
	int fd = open_it(r);
	const off_t n = lseek(fd, 0, SEEK_END);

	lseek(fd, 0, SEEK_SET);
	return read_so_many(r, fd, n);
}

static enum outcome by_fionread(struct reader *r)
{
	int fd = open_it(r), n = -2;

	ioctl(fd, FIONREAD, &n);
	return read_so_many(r, fd, n);
}

static enum outcome by_readahead(struct reader *r)
{
	int fd = open_it(r);

	readahead(fd, 0, ROOM);
	posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED);
	return read_so_many(r, fd, size_of(fd));
}

static FILE *open_stream(const struct reader *r)
{
	FILE *f = fopen(r->path, "re");

	if (!f)
		die(r->path);
	opened(r, fileno(f));
	return f;
}

static enum outcome by_ftell(struct reader *r)
{
	FILE *f = open_stream(r);

	fseek(f, 0, SEEK_END);
	const long n = ftell(f);
	rewind(f);
	r->got = (ssize_t)fread(r->buf, 1, n < 0 || n > ROOM ? ROOM : (size_t)n, f);
	fclose(f);
	return judge(r, n);
}

static enum outcome by_fgets(struct reader *r)
{
	FILE *f = open_stream(r);

	r->got = fgets(r->buf, sizeof r->buf, f) ? (ssize_t)strlen(r->buf) : -1;
	fclose(f);
	return judge(r, -1);
}

static void on_bus(int signal)
{
	(void)signal;
	siglongjmp(bus, 1);
}

static enum outcome by_mmap(struct reader *r)
{
	int fd = open_it(r);
	const off_t n = size_of(fd);
	void *map = n > 0 ? mmap(NULL, (size_t)n, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
	enum outcome outcome = REFUSED;

	if (map != MAP_FAILED && !sigsetjmp(bus, 1)) {
		memcpy(r->buf, map, (size_t)n);
		r->got = n;
		outcome = judge(r, n);
	}
	if (map != MAP_FAILED)
		munmap(map, (size_t)n);
	close(fd);
	return outcome;
}

/* What the kernel copied to the reader's own file. */
static enum outcome judge_copied(struct reader *r, int fd, off_t n, bool refused)
{
	if (refused && lseek(r->out, 0, SEEK_CUR) == 0) {
		close(fd);
		return REFUSED;
	}
	r->got = pread(r->out, r->buf, sizeof r->buf, 0);
	close(fd);
	return judge(r, n);
}

static void empty(struct reader *r)
{
	if (ftruncate(r->out, 0) || lseek(r->out, 0, SEEK_SET))
		die("scratch file");
}

static enum outcome by_copy_file_range(struct reader *r)
{
	int fd = open_it(r);
	off_t n = size_of(fd), left = n;
	ssize_t k = 0;

	empty(r);
	while (left > 0 && (k = copy_file_range(fd, NULL, r->out, NULL, (size_t)left, 0)) > 0)
		left -= k;
	return judge_copied(r, fd, n, k < 0);
}

static enum outcome by_sendfile(struct reader *r)
{
	int fd = open_it(r);
	off_t n = size_of(fd), left = n;
	ssize_t k = 0;

	empty(r);
	while (left > 0 && (k = sendfile(r->out, fd, NULL, (size_t)left)) > 0)
		left -= k;
	return judge_copied(r, fd, n, k < 0);
}

/* As busybox does: nobody is asked for the size. */
static enum outcome by_sendfile_alone(struct reader *r)
{
	int fd = open_it(r);
	ssize_t k;

	empty(r);
	while ((k = sendfile(r->out, fd, NULL, 1 << 20)) > 0)
		;
	return judge_copied(r, fd, -1, k < 0);
}

/* Opened by one thread, measured by a second, read by a third: as in a pool of threads. */
struct handed {
	int fd;
	off_t size;
	struct reader *reader;
};

static void *measure_handed(void *arg)
{
	struct handed *h = arg;

	h->size = size_of(h->fd);
	return NULL;
}

static void *read_handed(void *arg)
{
	struct handed *h = arg;

	read_it(h->reader, h->fd, h->size);
	return NULL;
}

static enum outcome by_pool(struct reader *r)
{
	struct handed h = { .fd = open_it(r), .reader = r };
	void *(*const steps[])(void *) = { measure_handed, read_handed };

	for (size_t i = 0; i < 2; i++) {
		pthread_t t;
		if (pthread_create(&t, NULL, steps[i], &h) || pthread_join(t, NULL))
			die("thread");
	}
	close(h.fd);
	return judge(r, h.size);
}

static const struct way {
	const char *name;
	enum outcome (*read)(struct reader *r);
	unsigned threads;
} ways[] = {
	{ "fstat", by_fstat, 1 },         { "proc", by_proc, 1 },
	{ "statx", by_statx, 1 },         { "birth", by_birth, 1 },
	{ "seek?", by_seek, 1 },          { "ftell", by_ftell, 1 },
	{ "readahead", by_readahead, 1 }, { "fgets", by_fgets, 1 },
	{ "mmap", by_mmap, 1 },           { "copy_file_range", by_copy_file_range, 1 },
	{ "sendfile?", by_sendfile, 1 },  { "sendfile-alone?", by_sendfile_alone, 1 },
	{ "fionread?", by_fionread, 1 },  { "fstat-threads", by_fstat, 4 },
	{ "pool", by_pool, 1 },
};

/* ---- one way, many times ---- */

struct turn {
	const struct way *way;
	const char *path;
	unsigned times, n[3];
};

static void *take_turns(void *arg)
{
	struct turn *t = arg;
	struct reader r = { .path = t->path };
	char scratch[] = "/tmp/sizes.XXXXXX";

	r.out = mkstemp(scratch);
	if (r.out < 0 || unlink(scratch))
		die("scratch file");
	for (unsigned i = 0; i < t->times; i++)
		t->n[t->way->read(&r)]++;
	close(r.out);
	return NULL;
}

static bool run(const struct way *way, const char *path, unsigned times)
{
	struct turn turns[4];
	pthread_t threads[4];
	unsigned n[3] = { 0 };

	for (unsigned i = 0; i < way->threads; i++) {
		turns[i] = (struct turn){ .way = way, .path = path, .times = times / way->threads };
		if (pthread_create(&threads[i], NULL, take_turns, &turns[i]))
			die("thread");
	}
	for (unsigned i = 0; i < way->threads; i++) {
		pthread_join(threads[i], NULL);
		for (int k = 0; k < 3; k++)
			n[k] += turns[i].n[k];
	}
	printf("%s %u %u %u\n", way->name, n[GOOD] + n[WRONG] + n[REFUSED], n[WRONG], n[REFUSED]);
	fflush(stdout);
	return n[WRONG] == 0 || (!step && strchr(way->name, '?'));
}

static pid_t child(void (*fn)(const char *path), const char *path)
{
	const pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			fn(path);
	}
	return pid;
}

static void rotate(const char *path)
{
	put(path, false);
	put(path, true);
}

/* The same as a change that does not come through the mount. */
static void put_by_command(bool longer)
{
	char *const args[] = { (char *)(uintptr_t) "coffer", (char *)(uintptr_t) "put",
			       (char *)(uintptr_t)getenv("SIZES_SECRET"), NULL };
	char value[LONG_LEN];
	int ends[2], status;

	memset(value, longer ? 'A' : 'b', sizeof value);
	if (pipe(ends))
		die("pipe");
	const pid_t pid = fork();
	if (pid == 0) {
		dup2(ends[0], 0);
		close(ends[1]);
		execvp(args[0], args);
		_exit(127);
	}
	close(ends[0]);
	if (write(ends[1], value, longer ? LONG_LEN : SHORT_LEN) < 0 || close(ends[1]) ||
	    waitpid(pid, &status, 0) < 0 || status != 0)
		die("coffer put");
}

static void rotate_by_command(const char *path)
{
	(void)path;
	put_by_command(false);
	put_by_command(true);
}

/* Has begun to read, and goes on asking, whatever becomes newest meanwhile. */
static void ask_on(const char *path)
{
	struct stat st;
	char byte;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, &byte, 1) != 1)
		die(path);
	for (int i = 0; i < 500; i++)
		fstat(fd, &st);
	close(fd);
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_bus };
	pid_t children[16];
	unsigned times = 2, n = 0;
	bool good = true, known = false;
	int at = 2;

	if (argc < 4)
		return fprintf(stderr, "see the head of sizes.c\n"), 2;
	begun = !strcmp(argv[1], "begun");
	step = begun || !strcmp(argv[1], "step");
	sigaction(SIGBUS, &sa, NULL);
	unsigned calm = 0;
	if (!step) {
		times = (unsigned)strtoul(argv[2], NULL, 10);
		calm = (unsigned)strtoul(argv[3], NULL, 10);
		at = 4;
	}
	const char *path = argv[at++];
	is_long = true;
	put(path, true);
	if (!step)
		children[n++] = child(getenv("SIZES_SECRET") ? rotate_by_command : rotate, path);
	while (n && n <= calm && n < 16)
		children[n++] = child(ask_on, path);
	for (; at < argc; at++)
		for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
			if (!strcmp(argv[at], ways[i].name) || !strcmp(argv[at], "all")) {
				known = true;
				good &= run(&ways[i], path, times);
			}
	while (n-- > 0) {
		kill(children[n], SIGKILL);
		waitpid(children[n], NULL, 0);
	}
	return !known ? 2 : good ? 0 : 1;
}
