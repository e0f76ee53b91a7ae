#include "fs/caller/resolver.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "fs/caller/caller.h"
#include "fs/common/clock.h"

#define CLIENTS_MAX 16
#define JOBS_MAX    64
#define STACK_SIZE  (256u * 1024)
#define STAT_MAX    2048
#define CGROUP_MAX  65536
#define STATUS_HEAD 1024 /* Tgid is in the first lines */

/* Inode numbers of the initial namespaces, fixed by the kernel (include/linux/proc_ns.h). */
#define INIT_CGROUP_NS 0xeffffffbu
#define INIT_PID_NS    0xeffffffcu
#define INIT_USER_NS   0xeffffffdu

#define PF_KTHREAD 0x00200000u

static int ms_until(int64_t deadline)
{
	int64_t left = deadline - clock_monotonic();

	return left <= 0 ? 0 : (int)((left + 999999) / 1000000);
}

/* ---- reading /proc ---- */

/* Reads a file to its end into text[size], NUL-terminated. Its length, or negative errno; -EFBIG: there is more. */
static ssize_t read_text(int dir_fd, const char *name, char *text, size_t size)
{
	size_t len = 0;
	ssize_t n;
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	while ((n = read(fd, text + len, size - len)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		len += (size_t)n;
		if (len == size)
			break;
	}
	n = n < 0 ? -errno : len == size ? -EFBIG : (ssize_t)len;
	close(fd);
	if (n >= 0)
		text[len] = '\0';
	return n;
}

/* The head of a file, as much as one read gives. */
static ssize_t read_head(int dir_fd, const char *name, char *text, size_t size)
{
	ssize_t n;
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	n = read(fd, text, size - 1);
	if (n < 0)
		n = -errno;
	close(fd);
	if (n >= 0)
		text[n] = '\0';
	return n;
}

/* "user:[4026531837]", as namespaces(7) has it. */
static int read_namespace(int dir_fd, const char *type, uint64_t *ret)
{
	char path[32], text[64], *end;
	ssize_t n;
	size_t len = strlen(type);

	(void)snprintf(path, sizeof(path), "ns/%s", type);
	n = readlinkat(dir_fd, path, text, sizeof(text) - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	if (strncmp(text, type, len) != 0 || strncmp(text + len, ":[", 2) != 0)
		return -EBADMSG;
	errno = 0;
	unsigned long long number = strtoull(text + len + 2, &end, 10);
	if (errno != 0 || strcmp(end, "]") != 0 || number == 0)
		return -EBADMSG;
	*ret = number;
	return 0;
}

static int read_namespaces(int dir_fd, struct namespaces *ret)
{
	int user = read_namespace(dir_fd, "user", &ret->user), pid = read_namespace(dir_fd, "pid", &ret->pid),
	    mnt = read_namespace(dir_fd, "mnt", &ret->mnt);

	return user < 0 ? user : pid < 0 ? pid : mnt;
}

/* Fields of `stat` by their number in proc_pid_stat(5), from 3 on. The name before them may hold blanks and
 * parentheses: the last one ends it. */
static int stat_field(const char *text, unsigned number, uint64_t *ret)
{
	const char *p = strrchr(text, ')');
	char *end;

	for (unsigned i = 2; p && i < number; i++) {
		p = strchr(p, ' ');
		if (p)
			p++;
	}
	if (!p || *p < '0' || *p > '9')
		return -EBADMSG;
	errno = 0;
	*ret = strtoull(p, &end, 10);
	return errno == 0 && (*end == ' ' || *end == '\n') ? 0 : -EBADMSG;
}

static int read_start_time(int proc_fd, pid_t tgid, uint64_t *ret)
{
	char path[32], text[STAT_MAX];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%d/stat", tgid);
	n = read_text(proc_fd, path, text, sizeof(text));
	return n < 0 ? (int)n : stat_field(text, 22, ret);
}

static int read_tgid(int thread_fd, pid_t *ret)
{
	char text[STATUS_HEAD], *p;
	ssize_t n = read_head(thread_fd, "status", text, sizeof(text));
	long tgid;

	if (n < 0)
		return (int)n;
	p = strstr(text, "\nTgid:\t");
	tgid = p ? strtol(p + strlen("\nTgid:\t"), NULL, 10) : 0;
	if (tgid <= 0 || tgid > INT32_MAX)
		return -EBADMSG;
	*ret = (pid_t)tgid;
	return 0;
}

static int read_exe(int thread_fd, char ret[RESOLVER_EXE_MAX])
{
	char text[RESOLVER_EXE_MAX - 1];
	ssize_t n = readlinkat(thread_fd, "exe", text, sizeof(text));

	if (n < 0)
		return -errno;
	memcpy(ret, text, (size_t)n);
	ret[n] = '\0';
	return 0;
}

static int first_error(int a, int b) { return a < 0 ? a : b; }

static struct subordinate look_up(struct subuids *subuids, uint32_t uid)
{
	struct subordinate s = { 0 };

	s.in_range = subuids_owner(subuids, uid, &s.owner, &s.first);
	return s;
}

/* All that can be read of a thread; the first thing that could not is the error. */
static void resolve(int proc_fd, const struct namespaces *own, pid_t tid, struct resolver_answer *a)
{
	struct namespaces ns = { 0 };
	char path[16];
	pid_t tgid = 0;
	int fd, r;

	(void)snprintf(path, sizeof(path), "%d", tid);
	fd = openat(proc_fd, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		a->error = errno == ENOENT ? -ESRCH : -errno;
		return;
	}
	a->error = read_namespaces(fd, &ns);
	a->user_ns = ns.user;
	a->pid_ns = ns.pid;
	a->mnt_ns = ns.mnt;
	ancestry_read(fd, own, &ns, &a->ancestry);
	a->error = first_error(a->error, read_exe(fd, a->exe));
	r = read_tgid(fd, &tgid);
	if (r == 0)
		r = read_start_time(proc_fd, tgid, &a->start_time);
	a->error = first_error(a->error, r);
	close(fd);
}

/* ---- what `host` is ---- */

/* Where /proc/1 is closed even to root, kthreadd tells: kernel threads live in the namespaces that the kernel started
 * with, and so does the init process that it started beside them. No other pid namespace has a kernel thread as its
 * second process. */
static bool is_kthreadd(int proc_fd)
{
	char text[STAT_MAX];
	uint64_t ppid, flags;

	return read_text(proc_fd, "2/stat", text, sizeof(text)) > 0 &&
	       strncmp(text, "2 (kthreadd) ", strlen("2 (kthreadd) ")) == 0 && stat_field(text, 4, &ppid) == 0 &&
	       ppid == 0 && stat_field(text, 9, &flags) == 0 && (flags & PF_KTHREAD) != 0;
}

static int read_namespaces_of(int proc_fd, const char *who, struct namespaces *ret)
{
	int fd = openat(proc_fd, who, O_PATH | O_DIRECTORY | O_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	r = read_namespaces(fd, ret);
	close(fd);
	return r;
}

/* An engine that shares the host's pid and user namespaces (--pid=host) still shows in the cgroup, and one that hides
 * the cgroup shows in the cgroup namespace. */
static bool self_in_container(int proc_fd)
{
	char *text = malloc(CGROUP_MAX), unit[2], container[2];
	bool in = true;
	uint64_t ns = 0;
	ssize_t n;
	int fd;

	if (!text)
		return true;
	n = read_text(proc_fd, "self/cgroup", text, CGROUP_MAX);
	if (n == -ENOENT) {
		in = false; /* a kernel without cgroups */
		goto out;
	}
	if (n < 0)
		goto out;
	proc_cgroup_parse(text, (size_t)n, unit, sizeof(unit), container, sizeof(container));
	if (container[0] != '\0')
		goto out;
	fd = openat(proc_fd, "self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		goto out;
	in = read_namespace(fd, "cgroup", &ns) < 0 || ns != INIT_CGROUP_NS;
	close(fd);
out:
	free(text);
	return in;
}

static bool find_init(int proc_fd, struct namespaces *ret)
{
	struct namespaces self, init;

	if (read_namespaces_of(proc_fd, "self", &self) < 0 || self.pid != INIT_PID_NS || self.user != INIT_USER_NS ||
	    self_in_container(proc_fd))
		return false;
	if (read_namespaces_of(proc_fd, "1", &init) < 0 &&
	    (!is_kthreadd(proc_fd) || read_namespaces_of(proc_fd, "2", &init) < 0))
		return false;
	if (init.pid != INIT_PID_NS || init.user != INIT_USER_NS)
		return false;
	*ret = init;
	return true;
}

/* ---- questions and the threads that read for them ---- */

/* The threads take turns at leading: the leader waits for questions and deadlines, and when a question comes it lets
 * another lead and reads for it itself, so that an answer costs no hand-over between threads. Before a thread goes to
 * read, where it may hang, there must be another that leads or can; if there is none, it stays, and the question waits
 * for whoever comes back. */

enum job_state { JOB_FREE = 0, JOB_QUEUED, JOB_RUNNING, JOB_ABANDONED /* answered; its thread still hangs */ };

struct job {
	enum job_state state;
	size_t client;
	struct resolver_question asked;
	int64_t deadline;
};

struct resolver {
	int proc_fd;
	bool init_known;
	struct namespaces init, own;
	struct subuids *subuids;
	pthread_mutex_t lock;     /* of all below; held while an answer is sent, which never blocks */
	pthread_cond_t work, end; /* for idle threads; for resolver_run */
	bool leading, stop;
	size_t n_clients;
	int clients[CLIENTS_MAX]; /* -1: it has closed */
	struct job jobs[JOBS_MAX];
	/* where the search for the next question starts: behind the last one, so that none waits for ever */
	size_t first;
	pthread_t threads[RESOLVER_THREADS_MAX];
	size_t n_threads, idle, alive;
};

static void *reader(void *arg);

static uint64_t machines_mnt(const struct resolver *r) { return r->init_known ? r->init.mnt : r->own.mnt; }

/* A client that does not read loses answers, and nobody waits for it. */
static void answer(struct resolver *r, const struct job *job, struct resolver_answer *a)
{
	a->number = job->asked.number;
	a->init_known = r->init_known;
	if (r->init_known) {
		a->init_user_ns = r->init.user;
		a->init_pid_ns = r->init.pid;
		a->init_mnt_ns = r->init.mnt;
	}
	a->own_mnt_ns = machines_mnt(r);
	if (r->clients[job->client] >= 0)
		(void)send(r->clients[job->client], a, sizeof(*a), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void answer_error(struct resolver *r, const struct job *job, int error)
{
	struct resolver_answer a = { .error = error };

	answer(r, job, &a);
}

static struct job *next_job(struct resolver *r)
{
	for (size_t i = 0; i < JOBS_MAX; i++) {
		struct job *job = &r->jobs[(r->first + i) % JOBS_MAX];
		if (job->state == JOB_QUEUED)
			return job;
	}
	return NULL;
}

static void work(struct resolver *r, const struct resolver_question *q, struct resolver_answer *a)
{
	subuids_follow(r->subuids);
	if (q->kind == RESOLVER_RANGES) {
		a->n_ranges = (uint32_t)subuids_copy(r->subuids, q->from, a->ranges,
						     sizeof(a->ranges) / sizeof(a->ranges[0]), &a->all_ranges,
						     &a->table);
		return;
	}
	const struct namespaces ours = { r->own.user, r->own.pid, machines_mnt(r) };
	resolve(r->proc_fd, &ours, q->tid, a);
	a->of_uid = look_up(r->subuids, q->uid);
	if (a->ancestry.user_ns)
		a->of_owner = look_up(r->subuids, a->ancestry.owner);
}

static void run_job(struct resolver *r, struct job *job)
{
	struct resolver_answer a = { 0 };

	job->state = JOB_RUNNING;
	r->first = (size_t)(job - r->jobs + 1) % JOBS_MAX;
	pthread_mutex_unlock(&r->lock);
	work(r, &job->asked, &a); /* the question does not change while the job is not free */
	pthread_mutex_lock(&r->lock);
	if (job->state == JOB_RUNNING)
		answer(r, job, &a);
	job->state = JOB_FREE;
}

static void take_question(struct resolver *r, size_t client, const struct resolver_question *q)
{
	struct job job = { .state = JOB_QUEUED,
			   .client = client,
			   .asked = *q,
			   .deadline = clock_monotonic() + RESOLVER_PATIENCE_MS * INT64_C(1000000) };
	const bool sound = q->kind == RESOLVER_RANGES || (q->kind == RESOLVER_THREAD && q->tid > 0);
	size_t i = 0;

	while (i < JOBS_MAX && r->jobs[i].state != JOB_FREE)
		i++;
	if (!sound || i == JOBS_MAX)
		answer_error(r, &job, sound ? -EBUSY : -EINVAL);
	else
		r->jobs[i] = job;
}

static void take_questions(struct resolver *r, size_t client)
{
	for (;;) {
		struct resolver_question q;
		ssize_t n = recv(r->clients[client], &q, sizeof(q), MSG_DONTWAIT | MSG_TRUNC);
		if (n == (ssize_t)sizeof(q))
			take_question(r, client, &q);
		else if (n < 0 && errno == EAGAIN)
			return;
		else if (n == 0 || (n < 0 && errno != EINTR)) {
			r->clients[client] = -1;
			return;
		}
	}
}

/* Answers what has waited long enough. Returns when the next question will have, ms; -1: there is none. */
static int expire(struct resolver *r)
{
	int64_t now = clock_monotonic(), next = INT64_MAX;

	for (size_t i = 0; i < JOBS_MAX; i++) {
		struct job *job = &r->jobs[i];
		if (job->state != JOB_QUEUED && job->state != JOB_RUNNING)
			continue;
		if (job->deadline > now) {
			next = job->deadline < next ? job->deadline : next;
			continue;
		}
		answer_error(r, job, -ETIMEDOUT);
		job->state = job->state == JOB_RUNNING ? JOB_ABANDONED : JOB_FREE;
	}
	return next == INT64_MAX ? -1 : ms_until(next);
}

static size_t fill_pollfds(const struct resolver *r, struct pollfd *fds)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n_clients; i++) {
		fds[i] = (struct pollfd){ .fd = r->clients[i], .events = POLLIN };
		n += r->clients[i] >= 0;
	}
	return n;
}

static void end(struct resolver *r)
{
	r->stop = true;
	pthread_cond_broadcast(&r->work);
	pthread_cond_signal(&r->end);
}

/* Waits for questions or a deadline, once. */
static void lead(struct resolver *r)
{
	struct pollfd fds[CLIENTS_MAX];
	int n, timeout = expire(r);

	if (fill_pollfds(r, fds) == 0) {
		end(r);
		return;
	}
	r->leading = true;
	pthread_mutex_unlock(&r->lock);
	n = poll(fds, (nfds_t)r->n_clients, timeout);
	int error = errno;
	pthread_mutex_lock(&r->lock);
	r->leading = false;
	if (n < 0 && error != EINTR)
		end(r);
	for (size_t i = 0; n > 0 && i < r->n_clients; i++)
		if (fds[i].revents != 0)
			take_questions(r, i);
}

static bool start_reader(struct resolver *r)
{
	pthread_attr_t attr;
	bool started;

	if (r->n_threads == RESOLVER_THREADS_MAX || pthread_attr_init(&attr) != 0)
		return false;
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	started = pthread_create(&r->threads[r->n_threads], &attr, reader, r) == 0;
	pthread_attr_destroy(&attr);
	r->n_threads += started;
	r->alive += started;
	return started;
}

/* Is there somebody who leads, or will as soon as the lock is free? */
static bool somebody_leads(struct resolver *r)
{
	if (r->leading)
		return true;
	if (r->idle == 0)
		return start_reader(r);
	pthread_cond_signal(&r->work);
	return true;
}

static void *reader(void *arg)
{
	struct resolver *r = arg;

	pthread_mutex_lock(&r->lock);
	while (!r->stop) {
		struct job *job = next_job(r);
		if (job && somebody_leads(r)) {
			run_job(r, job);
		} else if (r->leading) {
			r->idle++;
			pthread_cond_wait(&r->work, &r->lock);
			r->idle--;
		} else {
			lead(r);
		}
	}
	r->alive--;
	pthread_cond_signal(&r->end);
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

/* Waits for the readers' end. False: one hangs, and what it uses must stay; the process is about to end anyway. */
static bool wait_for_end(struct resolver *r)
{
	bool all;

	pthread_mutex_lock(&r->lock);
	while (!r->stop)
		pthread_cond_wait(&r->end, &r->lock);
	int64_t deadline = clock_monotonic() + RESOLVER_PATIENCE_MS * INT64_C(1000000);
	struct timespec until = { .tv_sec = deadline / 1000000000, .tv_nsec = deadline % 1000000000 };
	while (r->alive > 0)
		if (pthread_cond_timedwait(&r->end, &r->lock, &until) == ETIMEDOUT)
			break;
	all = r->alive == 0;
	pthread_mutex_unlock(&r->lock);
	for (size_t i = 0; all && i < r->n_threads; i++)
		pthread_join(r->threads[i], NULL);
	return all;
}

static bool start_readers(struct resolver *r)
{
	bool started;

	pthread_mutex_lock(&r->lock);
	while (r->n_threads < RESOLVER_THREADS && start_reader(r))
		;
	started = r->n_threads >= 2; /* one to lead and one to read */
	if (!started)
		end(r);
	pthread_mutex_unlock(&r->lock);
	return started;
}

static struct resolver *resolver_new(int proc_fd, int etc_fd, const int *clients, size_t n_clients)
{
	pthread_condattr_t attr;
	struct resolver *r = calloc(1, sizeof(*r));

	if (!r || subuids_new(etc_fd, &r->subuids) < 0) {
		free(r);
		return NULL;
	}
	subuids_follow(r->subuids);
	r->proc_fd = proc_fd;
	r->init_known = find_init(proc_fd, &r->init);
	if (read_namespaces_of(proc_fd, "self", &r->own) < 0)
		r->own = (struct namespaces){ 0 };
	r->n_clients = n_clients;
	memcpy(r->clients, clients, n_clients * sizeof(*clients));
	pthread_mutex_init(&r->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&r->work, NULL);
	pthread_cond_init(&r->end, &attr);
	pthread_condattr_destroy(&attr);
	return r;
}

static void resolver_free(struct resolver *r)
{
	pthread_cond_destroy(&r->work);
	pthread_cond_destroy(&r->end);
	pthread_mutex_destroy(&r->lock);
	subuids_free(r->subuids);
	free(r);
}

int resolver_run(int proc_fd, int etc_fd, const int *clients, size_t n_clients)
{
	struct resolver *r = n_clients <= CLIENTS_MAX ? resolver_new(proc_fd, etc_fd, clients, n_clients) : NULL;
	int status = EXIT_FAILURE;

	if (!r)
		return EXIT_FAILURE;
	if (start_readers(r))
		status = EXIT_SUCCESS;
	if (wait_for_end(r))
		resolver_free(r);
	return status;
}
