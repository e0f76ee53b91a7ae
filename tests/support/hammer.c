/* One thing done again and again until SIGTERM, each time checked to the byte: for what must not fail while something
 * else happens beside it.
 *
 *   hammer ACT ARGUMENT…
 *
 * Prints "begins" when SIGTERM can come, and "ok N" at the end, where N is how often it was done, and exits with 0.
 * With HAMMER_LEAST in the environment SIGTERM ends it only when it was done so often. What goes wrong ends it at once
 * with a line on stderr and status 1; SIGBUS is its death.
 *
 *   read PATH FILE        open, read to the end, close: the bytes of FILE
 *   pread PATH FILE       the same on one descriptor that stays open
 *   map PATH FILE         open, mmap MAP_PRIVATE, compare, unmap, close
 *   seek PATH SIZE        open, lseek to the end, close: the size
 *   stat PATH MODE        the caller itself is the owner, with this mode (octal); 0: root
 *   list DIR NAME         the directory has an entry of that name
 *   intrude DIR           everything that somebody without a right may try on a secret's directory; no open may succeed
 *   write PATH            open for writing with O_TRUNC, write, close; the N-th writes "UID N\n"
 *   commute A B           renames A to B, and B to A: 0, or ENOENT for one that somebody else moved
 *   glimpse PATH FILE     open, read to the end, close: the bytes of FILE, or ENOENT: it is somewhere else just now
 *   execwrite PATH TIMES  a child opens for writing with O_CLOEXEC, writes and executes true; TIMES times at most */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONTENT_MAX (2u << 20)

static volatile sig_atomic_t stop;
static unsigned long done, least;
static unsigned char want[CONTENT_MAX], got[CONTENT_MAX];
static size_t want_len;
static int kept = -1;

static void on_term(int signal)
{
	(void)signal;
	stop = 1;
}

static _Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
static _Noreturn void die(const char *format, ...)
{
	va_list ap;

	fprintf(stderr, "hammer: uid %u, after %lu: ", geteuid(), done);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

static size_t slurp(int fd, unsigned char *into)
{
	size_t len = 0;
	ssize_t n;

	while ((n = pread(fd, into + len, CONTENT_MAX - len, (off_t)len)) > 0)
		len += (size_t)n;
	if (n < 0)
		die("read: %s", strerrorname_np(errno));
	return len;
}

static void load_wanted(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die("%s: %s", path, strerrorname_np(errno));
	want_len = slurp(fd, want);
	close(fd);
}

static int open_for(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		die("open %s: %s", path, strerrorname_np(errno));
	return fd;
}

static void compare(const unsigned char *bytes, size_t len)
{
	if (len != want_len)
		die("%zu bytes, not %zu", len, want_len);
	for (size_t i = 0; i < len; i++)
		if (bytes[i] != want[i])
			die("byte %zu is %02x, not %02x", i, bytes[i], want[i]);
}

static void act_read(char **words)
{
	int fd = open_for(words[0], O_RDONLY);

	compare(got, slurp(fd, got));
	close(fd);
}

static void act_pread(char **words)
{
	if (kept < 0)
		kept = open_for(words[0], O_RDONLY);
	compare(got, slurp(kept, got));
}

static void act_map(char **words)
{
	int fd = open_for(words[0], O_RDONLY);
	void *at = mmap(NULL, want_len, PROT_READ, MAP_PRIVATE, fd, 0);

	if (at == MAP_FAILED)
		die("mmap: %s", strerrorname_np(errno));
	compare(at, want_len);
	munmap(at, want_len);
	close(fd);
}

static void act_seek(char **words)
{
	int fd = open_for(words[0], O_RDONLY);
	off_t at = lseek(fd, 0, SEEK_END);

	if (at != atoll(words[1]))
		die("the end is at %jd, not %s", (intmax_t)at, words[1]);
	close(fd);
}

static void act_stat(char **words)
{
	const mode_t mode = (mode_t)strtoul(words[1], NULL, 8);
	struct stat st;

	if (lstat(words[0], &st) < 0)
		die("stat: %s", strerrorname_np(errno));
	if (st.st_uid != (mode ? geteuid() : 0) || st.st_gid != (mode ? getegid() : 0) || (st.st_mode & 07777) != mode)
		die("stat: owner %u:%u, mode %04o", st.st_uid, st.st_gid, (unsigned)st.st_mode & 07777);
}

static void act_list(char **words)
{
	DIR *dir = opendir(words[0]);
	bool found = false;

	if (!dir)
		die("opendir: %s", strerrorname_np(errno));
	errno = 0;
	for (struct dirent *d; (d = readdir(dir));)
		found |= strcmp(d->d_name, words[1]) == 0;
	if (errno)
		die("readdir: %s", strerrorname_np(errno));
	if (!found)
		die("%s is not in the listing", words[1]);
	closedir(dir);
}

static void act_intrude(char **words)
{
	static const char *const names[] = { "current", "versions/1", "versions", "versions/99", "no-such-name" };
	char path[4096];
	struct stat st;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		snprintf(path, sizeof path, "%s/%s", words[0], names[i]);
		(void)!stat(path, &st);
		(void)!access(path, R_OK);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0 && i != 2) /* opening a directory tells nothing */
			die("open %s succeeded", path);
		if (fd >= 0) {
			char entries[4096];
			(void)!getdents64(fd, entries, sizeof entries);
			close(fd);
		}
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd >= 0)
			die("open %s for writing succeeded", path);
	}
}

static void act_write(char **words)
{
	char value[64];
	int fd = open_for(words[0], O_WRONLY | O_TRUNC);
	int len = snprintf(value, sizeof value, "%u %lu\n", geteuid(), done + 1);

	if (write(fd, value, (size_t)len) != len)
		die("write: %s", strerrorname_np(errno));
	if (close(fd) < 0)
		die("close: %s", strerrorname_np(errno));
}

static void act_commute(char **words)
{
	for (int back = 0; back < 2; back++)
		if (rename(words[back], words[!back]) < 0 && errno != ENOENT)
			die("rename %s %s: %s", words[back], words[!back], strerrorname_np(errno));
}

static void act_glimpse(char **words)
{
	int fd = open(words[0], O_RDONLY | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT)
		return;
	if (fd < 0)
		die("open %s: %s", words[0], strerrorname_np(errno));
	for (size_t n = 0;;) {
		ssize_t r = read(fd, got + n, sizeof got - n);
		if (r < 0 && errno == EKEYREVOKED) /* it went meanwhile */
			break;
		if (r < 0)
			die("read %s: %s", words[0], strerrorname_np(errno));
		n += (size_t)r;
		if (r == 0 && (n != want_len || memcmp(got, want, n) != 0))
			die("%zu bytes in %s that are not its content", n, words[0]);
		if (r == 0)
			break;
	}
	close(fd);
}

static void act_execwrite(char **words)
{
	char value[32];
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		int fd = open_for(words[0], O_WRONLY | O_TRUNC);
		int len = snprintf(value, sizeof value, "exec %lu\n", done);
		if (write(fd, value, (size_t)len) != len)
			die("write: %s", strerrorname_np(errno));
		execl("/bin/true", "true", (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		die("the child did not end with 0");
	if (done + 1 >= strtoul(words[1], NULL, 10))
		least = 0, stop = 1;
}

static const struct act {
	const char *name;
	int words;
	bool file; /* the second word is a file of what is wanted */
	void (*run)(char **words);
} acts[] = {
	{ "read", 2, true, act_read },
	{ "pread", 2, true, act_pread },
	{ "map", 2, true, act_map },
	{ "seek", 2, false, act_seek },
	{ "stat", 2, false, act_stat },
	{ "list", 2, false, act_list },
	{ "intrude", 1, false, act_intrude },
	{ "commute", 2, false, act_commute },
	{ "glimpse", 2, true, act_glimpse },
	{ "write", 1, false, act_write },
	{ "execwrite", 2, false, act_execwrite },
};

int main(int argc, char **argv)
{
	/* what is under way is finished */
	const struct sigaction term = { .sa_handler = on_term, .sa_flags = SA_RESTART };
	const struct act *act = NULL;

	for (size_t i = 0; argc > 1 && i < sizeof acts / sizeof *acts; i++)
		if (!strcmp(acts[i].name, argv[1]) && acts[i].words == argc - 2)
			act = &acts[i];
	if (!act) {
		fputs("hammer: no such act, or not its number of words\n", stderr);
		return 2;
	}
	sigaction(SIGTERM, &term, NULL);
	if (act->file)
		load_wanted(argv[3]);
	const char *text = getenv("HAMMER_LEAST");
	least = text ? strtoul(text, NULL, 10) : 0;
	puts("begins");
	fflush(stdout);
	while (!stop || done < least) {
		act->run(argv + 2);
		done++;
	}
	printf("ok %lu\n", done);
	return 0;
}
