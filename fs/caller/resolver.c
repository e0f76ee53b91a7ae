#include "fs/caller/resolver.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "fs/caller/thread.h"
#include "fs/common/clock.h"

#define CLIENTS_MAX 16
#define JOBS_MAX    64
#define STACK_SIZE  (256u * 1024)

static int ms_until(int64_t deadline)
{
	int64_t left = deadline - clock_monotonic();

	return left <= 0 ? 0 : (int)((left + 999999) / 1000000);
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

static struct subordinate look_up(struct subuids *subuids, uint32_t uid)
{
	struct subordinate s = { 0 };

	s.in_range = subuids_owner(subuids, uid, &s.owner, &s.first);
	return s;
}

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
	thread_read(r->proc_fd, &ours, q->tid, a);
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
	r->init_known = thread_find_init(proc_fd, &r->init);
	if (thread_namespaces_of(proc_fd, "self", &r->own) < 0)
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
