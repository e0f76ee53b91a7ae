/* Times the cycle open, read to end of file, close, in rounds that take every target in turn.
 *
 *   bench_cycle [--cpu N] [--rounds N] [--cycles N] [--clients N[,N…]] [--buffer BYTES] LABEL=LISTFILE…
 *
 * A LISTFILE has one path a line; a batch goes round and round over its list. In each round every (target, number of
 * clients) gets one batch, in an order that is shuffled anew each time, so that a machine that slows down or warms up
 * does so for all of them. A batch is --cycles cycles, divided among its clients; what is printed for it,
 *
 *   ROUND LABEL CLIENTS NANOSECONDS
 *
 * is its wall time by the number of cycles. Clients are processes of the caller's uid, all on one CPU. Each read must
 * give the whole file, or the run ends. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TARGETS_MAX 64
#define COUNTS_MAX  8
#define CLIENTS_MAX 64

static size_t buffer = 128 * 1024; /* as coreutils' cat */

struct file {
	char *path;
	off_t size;
};

struct target {
	char *label;
	struct file *files;
	size_t n;
};

struct order {
	uint32_t target, cycles, from;
};
struct report {
	int64_t begin, end;
};

struct client {
	pid_t pid;
	int orders, reports; /* the parent's ends */
};

struct run {
	unsigned rounds, cycles;
	size_t n_targets, n_counts, n_clients;
	unsigned counts[COUNTS_MAX];
	struct target targets[TARGETS_MAX];
	struct client clients[CLIENTS_MAX];
};

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	fputs("bench_cycle: ", stderr);
	vfprintf(stderr, format, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(1);
}

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void target_load(struct target *t, char *word)
{
	char *list = strchr(word, '=');
	char *line = NULL;
	size_t room = 0;
	ssize_t len;

	if (!list)
		die("%s: not LABEL=LISTFILE", word);
	*list++ = '\0';
	t->label = word;
	FILE *f = fopen(list, "re");
	if (!f)
		die("%s: %s", list, strerror(errno));
	while ((len = getline(&line, &room, f)) > 0) {
		struct stat st;

		line[strcspn(line, "\n")] = '\0';
		if (stat(line, &st) < 0)
			die("%s: %s", line, strerror(errno));
		t->files = reallocarray(t->files, t->n + 1, sizeof *t->files);
		if (!t->files)
			die("out of memory");
		t->files[t->n++] = (struct file){ .path = strdup(line), .size = st.st_size };
	}
	free(line);
	fclose(f);
	if (t->n == 0)
		die("%s: no paths", list);
}

static void cycle(const struct file *f, char *buf)
{
	off_t got = 0;
	ssize_t n;
	int fd = open(f->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die("%s: %s", f->path, strerror(errno));
	while ((n = read(fd, buf, buffer)) > 0)
		got += n;
	if (n < 0)
		die("%s: read: %s", f->path, strerror(errno));
	if (got != f->size)
		die("%s: %jd bytes of %jd", f->path, (intmax_t)got, (intmax_t)f->size);
	close(fd);
}

__attribute__((noreturn)) static void client_run(const struct run *run, int orders, int reports)
{
	char *buf = aligned_alloc(4096, buffer);
	struct order o;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!buf)
		die("out of memory");
	memset(buf, 0, buffer);
	while (read(orders, &o, sizeof o) == (ssize_t)sizeof o) {
		const struct target *t = &run->targets[o.target];
		struct report r = { .begin = now() };

		for (uint32_t i = 0; i < o.cycles; i++)
			cycle(&t->files[(o.from + i) % t->n], buf);
		r.end = now();
		if (write(reports, &r, sizeof r) != (ssize_t)sizeof r)
			die("report: %s", strerror(errno));
	}
	exit(0);
}

static void clients_start(struct run *run)
{
	for (size_t i = 0; i < run->n_clients; i++) {
		int orders[2], reports[2];

		if (pipe2(orders, O_CLOEXEC) < 0 || pipe2(reports, O_CLOEXEC) < 0)
			die("pipe: %s", strerror(errno));
		pid_t pid = fork();
		if (pid < 0)
			die("fork: %s", strerror(errno));
		if (pid == 0) {
			/* the parent's end, and those of the clients before: else nobody ever reads end of file */
			for (size_t k = 0; k < i; k++) {
				close(run->clients[k].orders);
				close(run->clients[k].reports);
			}
			close(orders[1]);
			close(reports[0]);
			client_run(run, orders[0], reports[1]);
		}
		close(orders[0]);
		close(reports[1]);
		run->clients[i] = (struct client){ .pid = pid, .orders = orders[1], .reports = reports[0] };
	}
}

static int clients_end(struct run *run)
{
	int failed = 0;

	for (size_t i = 0; i < run->n_clients; i++) {
		close(run->clients[i].orders);
		close(run->clients[i].reports);
	}
	for (size_t i = 0; i < run->n_clients; i++) {
		int status;
		if (waitpid(run->clients[i].pid, &status, 0) < 0 || status != 0)
			failed = 1;
	}
	return failed;
}

/* Nanoseconds a cycle, or -1 when a client has given up (it has said why). */
static double batch(struct run *run, uint32_t target, unsigned clients)
{
	int64_t begin = INT64_MAX, end = 0;
	uint32_t each = run->cycles / clients ? run->cycles / clients : 1;

	for (unsigned i = 0; i < clients; i++) {
		/* spread over the list, as strangers would be */
		struct order o = { .target = target,
				   .cycles = each,
				   .from = (uint32_t)(run->targets[target].n * i / clients) };
		if (write(run->clients[i].orders, &o, sizeof o) != (ssize_t)sizeof o)
			return -1;
	}
	for (unsigned i = 0; i < clients; i++) {
		struct report r;
		if (read(run->clients[i].reports, &r, sizeof r) != (ssize_t)sizeof r)
			return -1;
		if (r.begin < begin)
			begin = r.begin;
		if (r.end > end)
			end = r.end;
	}
	return (double)(end - begin) / ((double)each * clients);
}

static void shuffle(uint32_t *a, size_t n, uint64_t *rng)
{
	for (size_t i = n; i > 1; i--) {
		*rng = *rng * 6364136223846793005u + 1442695040888963407u;
		size_t k = (size_t)((*rng >> 33) % i);
		uint32_t x = a[i - 1];
		a[i - 1] = a[k];
		a[k] = x;
	}
}

/* The round before the first is for warming up, and is not printed. */
static int rounds(struct run *run)
{
	uint32_t cells[TARGETS_MAX * COUNTS_MAX];
	size_t n = run->n_targets * run->n_counts;
	uint64_t rng = 1;

	for (size_t i = 0; i < n; i++)
		cells[i] = (uint32_t)i;
	for (unsigned round = 0; round <= run->rounds; round++) {
		shuffle(cells, n, &rng);
		for (size_t i = 0; i < n; i++) {
			uint32_t target = cells[i] / (uint32_t)run->n_counts;
			unsigned clients = run->counts[cells[i] % run->n_counts];
			double ns = batch(run, target, clients);

			if (ns < 0)
				return -EIO;
			if (round > 0)
				printf("%u %s %u %.0f\n", round, run->targets[target].label, clients, ns);
		}
		fflush(stdout);
	}
	return 0;
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof set, &set) < 0)
		die("CPU %d: %s", cpu, strerror(errno));
}

static void counts_parse(struct run *run, char *words)
{
	run->n_counts = 0;
	for (char *word; (word = strsep(&words, ","));) {
		unsigned long n = strtoul(word, NULL, 10);
		if (n == 0 || n > CLIENTS_MAX || run->n_counts == COUNTS_MAX)
			die("--clients: 1 to %d, at most %d numbers", CLIENTS_MAX, COUNTS_MAX);
		run->counts[run->n_counts++] = (unsigned)n;
		if (n > run->n_clients)
			run->n_clients = n;
	}
}

int main(int argc, char **argv)
{
	static struct run run = { .rounds = 20, .cycles = 1000, .n_counts = 1, .counts = { 1 }, .n_clients = 1 };
	int i = 1;

	for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
		char *value = argv[i + 1];
		if (strcmp(argv[i], "--cpu") == 0)
			pin(atoi(value));
		else if (strcmp(argv[i], "--rounds") == 0)
			run.rounds = (unsigned)strtoul(value, NULL, 10);
		else if (strcmp(argv[i], "--buffer") == 0)
			buffer = (size_t)strtoul(value, NULL, 10);
		else if (strcmp(argv[i], "--cycles") == 0)
			run.cycles = (unsigned)strtoul(value, NULL, 10);
		else if (strcmp(argv[i], "--clients") == 0)
			counts_parse(&run, value);
		else
			die("unknown option %s", argv[i]);
	}
	if (i == argc || argc - i > TARGETS_MAX || run.rounds == 0 || run.cycles == 0)
		die("usage: bench_cycle [--cpu N] [--rounds N] [--cycles N] [--clients N[,N...]] [--buffer BYTES] "
		    "LABEL=LISTFILE...");
	for (; i < argc; i++)
		target_load(&run.targets[run.n_targets++], argv[i]);
	signal(SIGPIPE, SIG_IGN);
	clients_start(&run);
	int r = rounds(&run);
	int failed = clients_end(&run);
	return r < 0 || failed;
}
