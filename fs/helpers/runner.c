#include "fs/helpers/runner.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fs/common/clock.h"
#include "fs/common/log.h"
#include "fs/common/passing.h"
#include "store/lifecycle/events.h"

#define RUNS_MAX     16
#define RESULTS_KEPT 64   /* of runs with a key, for a worker that asks again */
#define FILES_MAX    1024 /* a program's descriptors */
#define OURS_MAX     1024 /* the runner has no higher one: it opens a few for each run */

struct run {
	pid_t pid;  /* 0: free */
	int client; /* who asked last */
	uint32_t number;
	uint64_t key[2], cookie;
	int64_t deadline; /* ms */
	bool timed_out;
	int err; /* the program's stderr, -1: not listened to */
	size_t text_len;
	char text[RUNNER_TEXT_MAX];
};

struct result {
	uint64_t key[2];
	struct runner_answer answer;
};

struct runner {
	const int *clients;
	size_t n_clients;
	bool closed[RUNNER_CLIENTS_MAX];
	int dir, signals;
	struct run runs[RUNS_MAX];
	struct result results[RESULTS_KEPT];
	size_t next_result;
};

/* ---- answers ---- */

/* Never waits: a worker that takes no answers finds its own deadline. */
static void answer(int client, const struct runner_answer *a, int fd)
{
	struct iovec iov = { .iov_base = &(struct runner_answer){ 0 }, .iov_len = sizeof *a };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	union passing room;

	memcpy(iov.iov_base, a, sizeof *a);
	passing_give(&msg, &room, fd);
	if (sendmsg(client, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_warn("an answer found no room: %s", strerror(errno));
}

static void refuse(int client, const struct runner_request *q, int error, const char *text)
{
	struct runner_answer a = {
		.type = RUNNER_ENDED, .number = q->number, .cookie = q->cookie, .error = error, .runner = getpid()
	};

	snprintf(a.text, sizeof a.text, "%s", text);
	answer(client, &a, -1);
}

/* ---- the program ---- */

struct program {
	char *argv[RUNNER_WORDS_MAX + 1], *words;
	char env[7][NAME_LEN_MAX + 64], *envp[8];
	char home[256], user[64];
	uid_t uid;
	gid_t gid;
};

static int find_user(uint32_t uid, struct program *p)
{
	struct passwd pw, *found = NULL;
	char buf[4096];

	if (getpwuid_r(uid, &pw, buf, sizeof buf, &found) || !found)
		return -ENOENT;
	p->uid = uid;
	p->gid = pw.pw_gid;
	snprintf(p->home, sizeof p->home, "%s", pw.pw_dir);
	snprintf(p->user, sizeof p->user, "%s", pw.pw_name);
	return 0;
}

/* As whom programs run that name no user: PREFIX-hooks, beside our own PREFIX-helper. 0, or a negative errno with one
 * line in why. */
static int find_default_user(uint32_t *ret_uid, char *why, size_t why_len)
{
	static const char own[] = "-helper";
	struct passwd pw, *found = NULL;
	char buf[4096], name[64] = "coffer-hooks";
	size_t len;

	if (getpwuid_r(getuid(), &pw, buf, sizeof buf, &found) == 0 && found) {
		len = strlen(pw.pw_name);
		if (len > sizeof own - 1 && strcmp(pw.pw_name + len - (sizeof own - 1), own) == 0)
			snprintf(name, sizeof name, "%.*s-hooks", (int)(len - (sizeof own - 1)), pw.pw_name);
	}
	found = NULL;
	if (getpwnam_r(name, &pw, buf, sizeof buf, &found) || !found) {
		snprintf(why, why_len,
			 "no user %s; run: useradd --system --user-group --no-create-home --shell /usr/sbin/nologin "
			 "%s; or name another with --user",
			 name, name);
		return -ENOENT;
	}
	if (pw.pw_uid == 0 || pw.pw_uid == getuid()) {
		snprintf(why, why_len,
			 "user %s must be neither root nor one of the daemon's own; name another with --user", name);
		return -EPERM;
	}
	*ret_uid = pw.pw_uid;
	return runner_user_check(pw.pw_uid, why, why_len);
}

static void tell_default_user(int client, const struct runner_request *q)
{
	struct runner_request named = *q;
	char why[RUNNER_TEXT_MAX] = "";
	uint32_t uid = 0;
	int e = find_default_user(&uid, why, sizeof why);

	named.cookie = uid;
	refuse(client, &named, e, why);
}

static void make_environment(const struct runner_request *q, struct program *p)
{
	size_t n = 0;

	snprintf(p->env[n++], sizeof p->env[0], "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	snprintf(p->env[n++], sizeof p->env[0], "HOME=%.180s", p->home);
	snprintf(p->env[n++], sizeof p->env[0], "USER=%.60s", p->user);
	snprintf(p->env[n++], sizeof p->env[0], "LOGNAME=%.60s", p->user);
	snprintf(p->env[n++], sizeof p->env[0], "COFFER_NAME=%s", q->name);
	snprintf(p->env[n++], sizeof p->env[0], "COFFER_EVENT=%s",
		 q->event ? event_name((enum event_kind)q->event) : "Rotate");
	snprintf(p->env[n++], sizeof p->env[0], "COFFER_VERSION=%u", q->version);
	for (size_t i = 0; i < n; i++)
		p->envp[i] = p->env[i];
	p->envp[n] = NULL;
}

static void limit(int what, rlim_t n)
{
	const struct rlimit l = { n, n };

	(void)setrlimit(what, &l);
}

/* What a child of ours has in common, before it becomes a program or looks an account up. */
static void stand_alone(int out, int err)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t none;

	sigemptyset(&none);
	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL); /* what the daemon ignores, its programs need not */
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	if (null < 0 || dup2(null, 0) < 0 || dup2(out >= 0 ? out : null, 1) < 0 || dup2(err >= 0 ? err : null, 2) < 0)
		_exit(126);
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_NOFILE, FILES_MAX);
	umask(022);
}

/* Between fork and exec: system calls alone. */
static _Noreturn void become(const struct program *p, int out, int err, pid_t runner)
{
	stand_alone(out, err);
	/* all of ours are already; kernels before 5.11 go without this second lock */
	(void)close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
	/* capabilities go with exec: nothing is inheritable, and the bounding set is empty */
	if (setgroups(0, NULL) || setresgid(p->gid, p->gid, p->gid) || setresuid(p->uid, p->uid, p->uid) || chdir("/"))
		_exit(126);
	/* after the change of user, which clears it */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) || getppid() != runner)
		_exit(126);
	execve(p->argv[0], p->argv, p->envp);
	_exit(127);
}

/* This process has one thread: a child of it may do what it likes. */
static _Noreturn void look_up(uint32_t uid, int out, pid_t runner)
{
	stand_alone(out, -1);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) || getppid() != runner)
		_exit(126);
	/* ours close with an exec, and here is none; kernels before 5.9 know no ranges */
	for (int fd = 3; close_range(3, ~0u, 0) && fd < OURS_MAX; fd++)
		close(fd);
	_exit(runner_groups(uid, 1));
}

static struct run *free_run(struct runner *r)
{
	for (size_t i = 0; i < RUNS_MAX; i++)
		if (!r->runs[i].pid)
			return &r->runs[i];
	return NULL;
}

static void close_both(int pipe[2])
{
	for (int i = 0; i < 2; i++)
		if (pipe[i] >= 0)
			close(pipe[i]);
}

/* Starts it; the pipe's reading end goes with the word that it has begun. */
static int start(int client, const struct runner_request *q, const struct program *p, struct run *run)
{
	struct runner_answer a = {
		.type = RUNNER_STARTED, .number = q->number, .cookie = q->cookie, .runner = getpid()
	};
	int out[2] = { -1, -1 }, err[2] = { -1, -1 };
	pid_t pid = -1;
	int e = 0;

	/* what a program that makes values says on stderr might be one */
	/* the program's end blocks, as it expects */
	if (pipe2(q->wants_value ? out : err, O_CLOEXEC | O_NONBLOCK) ||
	    fcntl(q->wants_value ? out[1] : err[1], F_SETFL, 0))
		e = -errno;
	if (!e && (pid = fork()) < 0)
		e = -errno;
	if (pid == 0 && q->type == RUNNER_GROUPS)
		look_up(q->user, out[1], a.runner);
	if (pid == 0)
		become(p, out[1], err[1], a.runner);
	if (!e) {
		*run = (struct run){ .pid = pid,
				     .client = client,
				     .number = q->number,
				     .key = { q->key[0], q->key[1] },
				     .cookie = q->cookie,
				     .deadline = clock_ms() + (int64_t)q->timeout * 1000,
				     .err = err[0] };
		err[0] = -1;
		answer(client, &a, out[0]);
	}
	close_both(out);
	close_both(err);
	return e;
}

/* ---- requests ---- */

static bool has_key(const struct runner_request *q) { return q->key[0] || q->key[1]; }

static bool same_key(const uint64_t a[2], const uint64_t b[2]) { return a[0] == b[0] && a[1] == b[1]; }

/* Was this asked before? Then it is answered by that run. */
static bool asked_before(struct runner *r, int client, const struct runner_request *q)
{
	struct runner_answer a = { .type = RUNNER_STARTED, .number = q->number, .runner = getpid() };

	if (!has_key(q))
		return false;
	for (size_t i = 0; i < RUNS_MAX; i++)
		if (r->runs[i].pid && same_key(r->runs[i].key, q->key)) {
			r->runs[i].number = q->number;
			r->runs[i].client = client;
			a.cookie = r->runs[i].cookie;
			answer(client, &a, -1);
			return true;
		}
	for (size_t i = 0; i < RESULTS_KEPT; i++)
		if (same_key(r->results[i].key, q->key)) {
			a = r->results[i].answer;
			a.number = q->number;
			answer(client, &a, -1);
			return true;
		}
	return false;
}

/* Fixed fields from a worker that may be somebody else's: what is not as the store has it, is not looked at further. */
static bool sound(struct runner_request *q)
{
	return memchr(q->name, '\0', sizeof q->name) && memchr(q->command, '\0', sizeof q->command) &&
	       scope_valid(q->name) && q->event < EVENT_KINDS && q->timeout >= 1 && q->timeout <= HOOK_TIMEOUT_MAX &&
	       (q->type == RUNNER_GROUPS || q->type == RUNNER_CHECK || q->type == RUNNER_RUN ||
		q->type == RUNNER_RESUME || q->type == RUNNER_DEFAULT);
}

/* Anybody on the machine may ask for the groups of an account: there is nothing to allow. */
static void serve_groups(struct runner *r, int client, struct runner_request *q)
{
	struct run *run = free_run(r);
	int e = -EAGAIN;

	q->wants_value = 1;
	if (run)
		e = start(client, q, NULL, run);
	if (e < 0)
		refuse(client, q, e, strerror(-e));
}

static void serve(struct runner *r, int client, struct runner_request *q)
{
	struct program p = { 0 };
	char why[RUNNER_TEXT_MAX] = "";
	struct run *run;
	int e;

	if (!sound(q))
		return refuse(client, q, -EINVAL, "a malformed request");
	if (q->type == RUNNER_DEFAULT)
		return tell_default_user(client, q);
	if (q->type == RUNNER_GROUPS)
		return serve_groups(r, client, q);
	if (q->type != RUNNER_CHECK && asked_before(r, client, q))
		return;
	if (q->type == RUNNER_RESUME)
		return refuse(client, q, -ENOENT, "there is no such run");
	e = runner_allowed(r->dir, q->user, q->command, why, sizeof why);
	if ((e == -ENOENT || e == -EINVAL) && q->type != RUNNER_CHECK)
		e = -EPERM; /* of a run, these say that there is no such run, or request */
	if (e < 0)
		return refuse(client, q, e, why);
	if (find_user(q->user, &p)) {
		snprintf(why, sizeof why, "there is no user %u", q->user);
		return refuse(client, q, -EPERM, why);
	}
	if (q->type == RUNNER_CHECK)
		return refuse(client, q, 0, "");
	run = free_run(r);
	if (!run)
		return refuse(client, q, -EAGAIN, "too many programs are running");
	e = runner_expand(q, &p.words, p.argv);
	if (e == 0) {
		make_environment(q, &p);
		e = start(client, q, &p, run);
		free(p.words);
	}
	if (e < 0)
		refuse(client, q, e, strerror(-e));
}

/* Takes up what was asked. False: the client has closed. */
static bool take_requests(struct runner *r, int client)
{
	struct runner_request q;

	for (;;) {
		ssize_t n = recv(client, &q, sizeof q, MSG_DONTWAIT | MSG_TRUNC);
		if (n == (ssize_t)sizeof q)
			serve(r, client, &q);
		else if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return false;
		else if (n < 0 && errno == EAGAIN)
			return true;
	}
}

/* ---- ends ---- */

static void kill_group(const struct run *run)
{
	/* it may not have its session yet */
	if (kill(-run->pid, SIGKILL))
		kill(run->pid, SIGKILL);
}

/* The first line is kept; the rest is read so that the program need not wait, and thrown away. */
static void listen_to(struct run *run)
{
	char buf[4096];
	ssize_t n;

	for (int i = 0; i < 16 && (n = read(run->err, buf, sizeof buf)) > 0; i++)
		for (ssize_t k = 0; k < n && run->text_len < sizeof run->text - 1; k++) {
			if (buf[k] == '\n' && run->text_len)
				run->text_len = sizeof run->text - 1;
			else if (buf[k] != '\n')
				run->text[run->text_len++] = buf[k] < 0x20 || buf[k] > 0x7e ? '?' : buf[k];
		}
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		close(run->err);
		run->err = -1;
	}
}

static void finish(struct runner *r, struct run *run, int status)
{
	struct runner_answer a = { .type = RUNNER_ENDED,
				   .number = run->number,
				   .cookie = run->cookie,
				   .status = status,
				   .timed_out = run->timed_out,
				   .runner = getpid() };

	if (run->err >= 0)
		listen_to(run);
	if (run->err >= 0)
		close(run->err);
	snprintf(a.text, sizeof a.text, "%s", run->text);
	if (run->key[0] || run->key[1]) {
		struct result *kept = &r->results[r->next_result++ % RESULTS_KEPT];
		kept->key[0] = run->key[0];
		kept->key[1] = run->key[1];
		kept->answer = a;
	}
	answer(run->client, &a, -1);
	run->pid = 0;
}

static void reap(struct runner *r)
{
	siginfo_t ended = { .si_pid = 0 };
	int status;

	/* What it left behind in its group goes before it is reaped: as long as it is a zombie its number is its own,
	 * and afterwards could be anybody's, whom we may kill. */
	while (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid > 0) {
		struct run *run = NULL;
		for (size_t i = 0; i < RUNS_MAX; i++)
			if (r->runs[i].pid == ended.si_pid)
				run = &r->runs[i];
		if (run)
			kill_group(run);
		if (waitpid(ended.si_pid, &status, 0) == ended.si_pid && run)
			finish(r, run, status);
		ended.si_pid = 0;
	}
}

/* Ends what is over its time. Returns how long until the next deadline, -1: there is none. */
static int expire(struct runner *r)
{
	int64_t now = clock_ms(), wait = -1;

	for (size_t i = 0; i < RUNS_MAX; i++) {
		struct run *run = &r->runs[i];
		if (!run->pid || run->timed_out)
			continue;
		if (run->deadline <= now) {
			run->timed_out = true;
			kill_group(run);
		} else if (wait < 0 || run->deadline - now < wait) {
			wait = run->deadline - now;
		}
	}
	return (int)wait;
}

/* ---- the loop ---- */

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -errno;
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static bool told_to_end(const struct runner *r)
{
	struct signalfd_siginfo s;
	bool end = false;

	while (read(r->signals, &s, sizeof s) == sizeof s)
		end |= s.ssi_signo == SIGTERM;
	return end;
}

/* False: it is told to end. */
static bool look(struct runner *r)
{
	struct pollfd p[1 + RUNNER_CLIENTS_MAX + RUNS_MAX] = { { .fd = r->signals, .events = POLLIN } };
	struct pollfd *clients = p + 1, *errs = clients + RUNNER_CLIENTS_MAX;

	for (size_t i = 0; i < RUNNER_CLIENTS_MAX; i++)
		clients[i] = (struct pollfd){ .fd = i < r->n_clients && !r->closed[i] ? r->clients[i] : -1,
					      .events = POLLIN };
	for (size_t i = 0; i < RUNS_MAX; i++)
		errs[i] = (struct pollfd){ .fd = r->runs[i].pid ? r->runs[i].err : -1, .events = POLLIN };
	if (poll(p, 1 + RUNNER_CLIENTS_MAX + RUNS_MAX, expire(r)) < 0)
		return true;
	for (size_t i = 0; i < RUNS_MAX; i++)
		if (errs[i].revents)
			listen_to(&r->runs[i]);
	/* signals are taken before the dead are, and nowhere else: a word of death that is taken without a look would
	 * be waited for until the deadline */
	bool end = told_to_end(r);
	reap(r);
	for (size_t i = 0; i < r->n_clients; i++)
		if (clients[i].revents && !take_requests(r, r->clients[i]))
			r->closed[i] = true;
	return !end;
}

static bool wanted(const struct runner *r)
{
	for (size_t i = 0; i < r->n_clients; i++)
		if (!r->closed[i])
			return true;
	return false;
}

int runner_run(const int *clients, size_t n_clients, int dir)
{
	struct runner *r = n_clients <= RUNNER_CLIENTS_MAX ? calloc(1, sizeof *r) : NULL;

	if (!r)
		return EXIT_FAILURE;
	r->clients = clients;
	r->n_clients = n_clients;
	r->dir = dir;
	r->signals = open_signals();
	while (r->signals >= 0 && wanted(r) && look(r))
		;
	for (size_t i = 0; i < RUNS_MAX; i++)
		if (r->runs[i].pid)
			kill_group(&r->runs[i]);
	free(r);
	return EXIT_SUCCESS;
}

/* ---- the client ---- */

int runner_send(int fd, const struct runner_request *request)
{
	if (send(fd, request, sizeof *request, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof *request)
		return 0;
	return errno == EWOULDBLOCK || errno == ENOBUFS || errno == ENOMEM ? -EAGAIN : -errno;
}

int runner_receive(int fd, struct runner_answer *ret_answer, int *ret_fd)
{
	struct runner_answer a;
	struct iovec iov = { .iov_base = &a, .iov_len = sizeof a };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	union passing room;

	passing_expect(&msg, &room);
	ssize_t n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	if (n == 0)
		return -EPIPE;
	const int came = passing_take(&msg);
	if ((size_t)n != sizeof a) {
		if (came >= 0)
			close(came);
		return -EBADMSG;
	}
	a.text[sizeof a.text - 1] = '\0';
	*ret_answer = a;
	*ret_fd = came;
	return 0;
}
