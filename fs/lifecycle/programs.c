#include "fs/lifecycle/programs.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fs/caller/accounts.h"
#include "fs/common/clock.h"
#include "store/crypto/aead.h"

#define JOBS_MAX  (PROGRAMS_POLL - 1)
#define GRACE_MS  5000 /* beyond a program's own deadline, which the runner keeps */
#define CHECK_S   5
#define LOOK_UP_S 5
#define LOOK_MS   200 /* for a runner that died */

enum job_state { JOB_FREE = 0, JOB_SENT, JOB_RUNNING, JOB_DONE };

struct job {
	enum job_state state;
	enum program_owner owner;
	uint32_t number;
	bool wants_value, ended, value_ended;
	int fd;         /* the value's, -1: none */
	int32_t runner; /* who runs it */
	size_t value_max;
	struct secbuf *value; /* room for value_max + 1: one more byte is too many */
	int64_t deadline;
	int status;
	bool timed_out;
	char text[RUNNER_TEXT_MAX];
	struct program_result result;
};

struct programs {
	int fd, wake;
	bool closed;
	const _Atomic int32_t *pid;
	pthread_mutex_t lock;
	pthread_cond_t done;
	uint32_t next_number;
	struct job jobs[JOBS_MAX];
};

int programs_new(int runner_fd, int wake, const _Atomic int32_t *pid, struct programs **ret_programs)
{
	struct programs *p = calloc(1, sizeof *p);
	pthread_condattr_t attributes;
	int r;

	if (!p)
		return -ENOMEM;
	p->fd = runner_fd;
	p->wake = wake;
	p->pid = pid;
	/* answers to a worker before us may still lie in the socket: its numbers are others */
	r = random_bytes(&p->next_number, sizeof p->next_number);
	if (r < 0) {
		free(p);
		return r;
	}
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&p->done, &attributes);
	pthread_condattr_destroy(&attributes);
	*ret_programs = p;
	return 0;
}

static void job_clear(struct job *j)
{
	if (j->fd >= 0 && j->state != JOB_FREE)
		close(j->fd);
	secbuf_free(j->value);
	secbuf_free(j->result.value);
	*j = (struct job){ .fd = -1 };
}

void programs_free(struct programs *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < JOBS_MAX; i++)
		job_clear(&p->jobs[i]);
	pthread_cond_destroy(&p->done);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

/* ---- how a run ends ---- */

/* What ended it, in one line; an empty one for success. */
static int verdict(const struct job *j, char *why, size_t len)
{
	const char *said = j->text[0] ? ": " : "";

	why[0] = '\0';
	if (j->timed_out) {
		snprintf(why, len, "the program did not end in time, and was killed%s%s", said, j->text);
		return -ETIMEDOUT;
	}
	if (WIFSIGNALED(j->status)) {
		snprintf(why, len, "the program was ended by signal %d%s%s", WTERMSIG(j->status), said, j->text);
		return -ECHILD;
	}
	if (WEXITSTATUS(j->status) == 126 || WEXITSTATUS(j->status) == 127) {
		snprintf(why, len, "the program could not be executed (status %d)%s%s", WEXITSTATUS(j->status), said,
			 j->text);
		return -ECHILD;
	}
	if (j->status) {
		snprintf(why, len, "the program ended with status %d%s%s", WEXITSTATUS(j->status), said, j->text);
		return -ECHILD;
	}
	if (j->wants_value && secbuf_len(j->value) > j->value_max) {
		snprintf(why, len, "the program wrote more than %zu bytes", j->value_max);
		return -EFBIG;
	}
	if (j->wants_value && secbuf_len(j->value) == 0) {
		snprintf(why, len, "the program printed nothing");
		return -ENODATA;
	}
	return 0;
}

static void finish(struct programs *p, struct job *j, int error, const char *why)
{
	j->result.error = error;
	snprintf(j->result.why, sizeof j->result.why, "%s", why);
	if (!error && j->wants_value) {
		j->result.value = j->value;
		j->value = NULL;
	}
	j->value = secbuf_free(j->value);
	if (j->fd >= 0)
		close(j->fd);
	j->fd = -1;
	j->state = JOB_DONE;
	pthread_cond_broadcast(&p->done);
}

void programs_close(struct programs *p)
{
	pthread_mutex_lock(&p->lock);
	p->closed = true;
	for (size_t i = 0; i < JOBS_MAX; i++)
		if (p->jobs[i].state == JOB_SENT || p->jobs[i].state == JOB_RUNNING)
			finish(p, &p->jobs[i], -ECANCELED, "the daemon is ending");
	pthread_mutex_unlock(&p->lock);
}

/* ---- the value ---- */

/* Takes what has come. Too much of it is not taken: the pipe closes, and the program ends by SIGPIPE. */
static void read_value(struct job *j)
{
	while (j->fd >= 0 && !j->value_ended) {
		size_t len = secbuf_len(j->value), room = j->value_max + 1 - len;
		if (room == 0) {
			j->value_ended = true;
			break;
		}
		ssize_t n = read(j->fd, secbuf_data(j->value) + len, room);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0)
			j->value_ended = true;
		else
			secbuf_set_len(j->value, len + (size_t)n);
	}
	if (j->fd >= 0)
		close(j->fd);
	j->fd = -1;
}

/* A program that has ended has written all that it will: what others still hold open is not waited for. */
static void settle(struct programs *p, struct job *j)
{
	char why[sizeof j->result.why];

	if (j->state == JOB_FREE || j->state == JOB_DONE)
		return;
	if (j->fd >= 0)
		read_value(j);
	if (j->wants_value && j->value_ended && !j->ended && secbuf_len(j->value) > j->value_max) {
		snprintf(why, sizeof why, "the program wrote more than %zu bytes", j->value_max);
		finish(p, j, -EFBIG, why);
		return;
	}
	if (j->ended) {
		int error = verdict(j, why, sizeof why);
		finish(p, j, error, why);
	}
}

/* ---- answers ---- */

static struct job *find(struct programs *p, uint32_t number)
{
	for (size_t i = 0; i < JOBS_MAX; i++)
		if ((p->jobs[i].state == JOB_SENT || p->jobs[i].state == JOB_RUNNING) && p->jobs[i].number == number)
			return &p->jobs[i];
	return NULL;
}

static void take_answer(struct programs *p, const struct runner_answer *a, int fd)
{
	struct job *j = find(p, a->number);

	if (!j || (fd >= 0 && (a->type != RUNNER_STARTED || !j->wants_value || j->fd >= 0))) {
		if (fd >= 0)
			close(fd);
		return;
	}
	j->result.cookie = a->cookie;
	j->runner = a->runner;
	if (a->type == RUNNER_STARTED) {
		j->state = JOB_RUNNING;
		j->fd = fd; /* the runner has made it non-blocking */
	} else if (a->error) {
		finish(p, j, a->error, a->text[0] ? a->text : strerror(-a->error));
	} else {
		j->ended = true;
		j->status = a->status;
		j->timed_out = a->timed_out;
		snprintf(j->text, sizeof j->text, "%s", a->text);
	}
}

static void expire(struct programs *p, struct job *j)
{
	if (j->state != JOB_SENT && j->state != JOB_RUNNING)
		return;
	if (j->state == JOB_RUNNING && j->runner != atomic_load(p->pid))
		finish(p, j, -EPIPE, "the runner died while the program ran");
	else if (clock_ms() >= j->deadline)
		finish(p, j, -ETIMEDOUT, "the runner did not answer in time");
}

void programs_step(struct programs *p)
{
	struct runner_answer a;
	int fd;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		int r = runner_receive(p->fd, &a, &fd);
		if (r == 0)
			take_answer(p, &a, fd);
		else if (r != -EBADMSG)
			break;
	}
	for (size_t i = 0; i < JOBS_MAX; i++) {
		settle(p, &p->jobs[i]);
		expire(p, &p->jobs[i]);
	}
	pthread_mutex_unlock(&p->lock);
}

size_t programs_poll(struct programs *p, struct pollfd ret_fds[PROGRAMS_POLL], int *ret_wait_ms)
{
	size_t n = 0;

	*ret_wait_ms = -1;
	ret_fds[n++] = (struct pollfd){ .fd = p->fd, .events = POLLIN };
	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < JOBS_MAX; i++) {
		const struct job *j = &p->jobs[i];
		if (j->state == JOB_SENT || j->state == JOB_RUNNING)
			*ret_wait_ms = LOOK_MS;
		if (j->state != JOB_FREE && j->fd >= 0)
			ret_fds[n++] = (struct pollfd){ .fd = j->fd, .events = POLLIN };
	}
	pthread_mutex_unlock(&p->lock);
	return n;
}

/* ---- asking ---- */

static struct job *free_job(struct programs *p)
{
	for (size_t i = 0; i < JOBS_MAX; i++)
		if (p->jobs[i].state == JOB_FREE)
			return &p->jobs[i];
	return NULL;
}

/* The lock is held. */
static int start_locked(struct programs *p, const struct runner_request *request, size_t value_max,
			enum program_owner owner, uint64_t subject, uint64_t tag, struct job **ret_job)
{
	struct runner_request q = *request;
	struct job *j = free_job(p);
	int r = 0;

	if (p->closed)
		return -ECANCELED;
	if (!j)
		return -EAGAIN;
	*j = (struct job){ .owner = owner,
			   .number = ++p->next_number,
			   .wants_value = q.wants_value != 0,
			   .fd = -1,
			   .value_max = value_max,
			   .deadline = clock_ms() + (int64_t)q.timeout * 1000 + GRACE_MS,
			   .result = { .subject = subject, .tag = tag } };
	q.number = j->number;
	if (j->wants_value)
		r = secbuf_new(value_max + 1, &j->value);
	if (r == 0)
		r = runner_send(p->fd, &q);
	if (r < 0) {
		j->value = secbuf_free(j->value);
		return r;
	}
	j->state = JOB_SENT;
	*ret_job = j;
	return 0;
}

static void wake(struct programs *p)
{
	const uint64_t one = 1;
	(void)!write(p->wake, &one, sizeof one);
}

static int start(struct programs *p, uint32_t type, const struct runner_request *request, size_t value_max,
		 enum program_owner owner, uint64_t subject, uint64_t tag)
{
	struct runner_request q = *request;
	struct job *j;

	q.type = type;
	pthread_mutex_lock(&p->lock);
	int r = start_locked(p, &q, value_max, owner, subject, tag, &j);
	pthread_mutex_unlock(&p->lock);
	return r;
}

int programs_start(struct programs *p, const struct runner_request *request, size_t value_max, enum program_owner owner,
		   uint64_t subject, uint64_t tag)
{
	return start(p, RUNNER_RUN, request, value_max, owner, subject, tag);
}

int programs_resume(struct programs *p, const struct runner_request *request, enum program_owner owner,
		    uint64_t subject, uint64_t tag)
{
	return start(p, RUNNER_RESUME, request, 0, owner, subject, tag);
}

int programs_groups(struct programs *p, uint32_t uid)
{
	const struct runner_request q = { .user = uid, .timeout = LOOK_UP_S, .wants_value = 1, .name = "x" };

	return start(p, RUNNER_GROUPS, &q, (ACCOUNT_GROUPS_MAX + 1) * sizeof(uint32_t), PROGRAM_OF_ACCOUNT, uid, 0);
}

bool programs_full(struct programs *p)
{
	pthread_mutex_lock(&p->lock);
	bool full = !free_job(p);
	pthread_mutex_unlock(&p->lock);
	return full;
}

/* The lock is held. */
static bool by_hand_full(const struct programs *p)
{
	size_t n = 0;

	for (size_t i = 0; i < JOBS_MAX; i++)
		n += p->jobs[i].state != JOB_FREE && p->jobs[i].owner == PROGRAM_OF_CALLER && p->jobs[i].wants_value;
	return n >= PROGRAMS_BY_HAND;
}

bool programs_by_hand_full(struct programs *p)
{
	pthread_mutex_lock(&p->lock);
	bool full = by_hand_full(p) || !free_job(p);
	pthread_mutex_unlock(&p->lock);
	return full;
}

bool programs_busy(struct programs *p, enum program_owner owner, uint64_t subject)
{
	bool busy = false;

	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < JOBS_MAX; i++)
		busy |= p->jobs[i].state != JOB_FREE && p->jobs[i].owner == owner &&
			p->jobs[i].result.subject == subject;
	pthread_mutex_unlock(&p->lock);
	return busy;
}

static void take(struct job *j, struct program_result *ret)
{
	*ret = j->result;
	j->result.value = NULL;
	job_clear(j);
}

bool programs_take(struct programs *p, enum program_owner owner, struct program_result *ret)
{
	bool found = false;

	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < JOBS_MAX && !found; i++)
		if (p->jobs[i].state == JOB_DONE && p->jobs[i].owner == owner) {
			take(&p->jobs[i], ret);
			found = true;
		}
	pthread_mutex_unlock(&p->lock);
	return found;
}

static void wait_a_moment(struct programs *p)
{
	const int64_t until = clock_ms() + LOOK_MS;
	const struct timespec t = { .tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000 };

	pthread_cond_timedwait(&p->done, &p->lock, &t);
}

/* Waits for the thread that looks to find the end of it. It always does: the job has a deadline. */
static int ask(struct programs *p, const struct runner_request *q, size_t value_max, void (*still)(void *arg),
	       void *arg, struct program_result *ret)
{
	struct job *j;
	int r;

	pthread_mutex_lock(&p->lock);
	r = q->wants_value && by_hand_full(p) ? -EAGAIN : start_locked(p, q, value_max, PROGRAM_OF_CALLER, 0, 0, &j);
	if (r == 0) {
		wake(p);
		while (j->state != JOB_DONE) {
			if (still)
				still(arg);
			wait_a_moment(p);
		}
		take(j, ret);
	}
	pthread_mutex_unlock(&p->lock);
	return r;
}

int programs_default_user(struct programs *p, uint32_t *ret_user, char *why, size_t why_len)
{
	struct runner_request q = { .type = RUNNER_DEFAULT, .timeout = CHECK_S, .name = "x" };
	struct program_result result;
	int r = ask(p, &q, 0, NULL, NULL, &result);

	if (r < 0) {
		snprintf(why, why_len, "the runner takes no requests: %s", strerror(-r));
		return r;
	}
	snprintf(why, why_len, "%s", result.why);
	*ret_user = (uint32_t)result.cookie;
	return result.error;
}

int programs_check(struct programs *p, const char *command, uint32_t user, char *why, size_t why_len)
{
	struct runner_request q = { .type = RUNNER_CHECK, .user = user, .timeout = CHECK_S, .name = "x" };
	struct program_result result;
	int r;

	snprintf(q.command, sizeof q.command, "%s", command);
	r = ask(p, &q, 0, NULL, NULL, &result);
	if (r < 0) {
		snprintf(why, why_len, "the runner takes no requests: %s", strerror(-r));
		return r;
	}
	snprintf(why, why_len, "%s", result.why);
	return result.error;
}

int programs_value(struct programs *p, const struct rotation *rotation, const char *name, uint32_t version,
		   size_t value_max, void (*still)(void *arg), void *arg, struct secbuf **ret_value, char *why,
		   size_t why_len)
{
	struct runner_request q = { .type = RUNNER_RUN,
				    .user = rotation->user,
				    .timeout = rotation->timeout,
				    .wants_value = 1,
				    .version = version };
	struct program_result result;
	int r;

	snprintf(q.command, sizeof q.command, "%s", rotation->command);
	snprintf(q.name, sizeof q.name, "%s", name);
	r = ask(p, &q, value_max, still, arg, &result);
	if (r == -EAGAIN) {
		snprintf(why, why_len, PROGRAMS_BY_HAND_FULL);
		return r;
	}
	if (r < 0) {
		snprintf(why, why_len, "the runner takes no requests: %s", strerror(-r));
		return r;
	}
	snprintf(why, why_len, "%s", result.why);
	if (result.error)
		return result.error;
	*ret_value = result.value;
	return 0;
}
