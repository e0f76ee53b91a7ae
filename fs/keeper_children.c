/* Starting the other roles, noticing their end, and patience with those that die again and again. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/clock.h"
#include "fs/keeper_internal.h"
#include "fs/log.h"

#define FREE_RESTARTS    5
#define HELPER_SERVED_MS 1000	/* a helper that cannot start ends sooner; one that was killed in service is waited for by callers */
#define HELD_MS          30	/* longer than a takeover takes; the next standby, which brings memory of its own, is ready later */
#define REST_MS          200
#define STANDBY_DELAY_MS 20	/* for those who waited while the one before died */

static const char *const helper_roles[HELPERS] = { "keyholder", "resolver", "bell", "runner" };

const char *children_role(enum helper which) { return helper_roles[which]; }

int children_make_channels(struct keeper *k)
{
	for (size_t i = 0; i < HELPERS * SEATS; i++) {
		int pair[2];
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
			return -errno;
		k->channels[i / SEATS][i % SEATS] = (struct channel){ pair[0], pair[1] };
	}
	return 0;
}

/* Status calls standby only who could take over now. */
void children_publish(struct keeper *k)
{
	struct shared_keeper *s = &k->shared->keeper;
	pid_t worker = 0, standby = 0;

	if (k->giver_fd >= 0)		/* another keeper's are the ones that count, still */
		return;
	for (int i = 0; i < SEATS; i++)
		if (i == k->active)
			worker = k->seats[i].pid;
		else if (k->seats[i].state == SEAT_PREPARED)
			standby = k->seats[i].pid;
	s->keyholder = k->helpers[HELPER_KEYHOLDER].pid;
	s->resolver = k->helpers[HELPER_RESOLVER].pid;
	s->bell = k->helpers[HELPER_BELL].pid;
	s->runner = k->helpers[HELPER_RUNNER].pid;
	s->worker = worker;
	s->standby = standby;
}

/* ---- starting ---- */

static int spawn_worker(struct keeper *k, int seat, int control)
{
	struct role_args a = { .role = "worker", .uid = k->store.users.worker, .gid = k->store.users.worker_gid, .log_stderr = k->options.foreground, .require_sandbox = k->options.require_sandbox };
	const struct role_fd fds[] = {
		{ "shared", k->shared_fd }, { "fuse", mount_fuse_fd(k->mount) }, { "control", control }, { "store", k->store.dir },
		{ "proc", k->proc_fd }, { "audit", k->store.audit_dir }, { "head", k->store.audit_head },
		{ "keys", k->channels[HELPER_KEYHOLDER][seat].worker_end }, { "resolver", k->channels[HELPER_RESOLVER][seat].worker_end },
		{ "bell", k->channels[HELPER_BELL][seat].worker_end }, { "runner", k->channels[HELPER_RUNNER][seat].worker_end },
	};
	memcpy(a.fds, fds, sizeof fds);
	a.n_fds = sizeof fds / sizeof *fds;
	memory_sign(k);
	return role_spawn(k->next_fd >= 0 ? k->next_fd : k->self_fd, &a, &k->seats[seat].pid);
}

static int free_seat(const struct keeper *k)
{
	for (int i = 0; i < SEATS; i++)
		if (k->seats[i].state == SEAT_EMPTY)
			return i;
	return -1;
}

int children_start_worker(struct keeper *k)
{
	int pair[2], i = free_seat(k);

	if (i < 0)
		return -EBUSY;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	/* a worker that does not take its answers must not stop the one who would start another */
	int r = fcntl(pair[0], F_SETFL, O_NONBLOCK) ? -errno : spawn_worker(k, i, pair[1]);
	close(pair[1]);
	if (r) {
		close(pair[0]);
		log_error("a worker cannot be started: %s", strerror(-r));
		return r;
	}
	k->seats[i].control = pair[0];
	k->seats[i].state = SEAT_PREPARING;
	k->seats[i].since_ms = clock_ms();
	k->seats[i].killed_ms = 0;
	k->seats[i].stopped = 0;
	leftovers_note(k);
	return 0;
}

int children_start_helper(struct keeper *k, enum helper which)
{
	static const char *const client_names[SEATS] = { "client0", "client1" };
	const struct keeper_users *u = &k->store.users;
	const bool keys = which == HELPER_KEYHOLDER;
	struct role_args a = { .role = helper_roles[which], .uid = keys ? u->keys : u->helper, .gid = keys ? u->keys_gid : u->helper_gid, .log_stderr = k->options.foreground, .require_sandbox = k->options.require_sandbox };
	struct child *c = &k->helpers[which];
	size_t n = 0;

	for (int i = 0; i < SEATS; i++)
		a.fds[n++] = (struct role_fd){ client_names[i], k->channels[which][i].helper_end };
	if (keys) {
		a.fds[n++] = (struct role_fd){ "store", k->store.dir };
		a.fds[n++] = (struct role_fd){ "unseal", k->store.unseal };
		if (k->store.kek >= 0)
			a.fds[n++] = (struct role_fd){ "kek", k->store.kek };
	} else if (which == HELPER_RESOLVER) {
		a.fds[n++] = (struct role_fd){ "proc", k->proc_fd };
	} else if (which == HELPER_RUNNER) {
		a.fds[n++] = (struct role_fd){ "store", k->store.dir };
	} else {
		a.fds[n++] = (struct role_fd){ "root", k->clone_fd };
	}
	a.n_fds = n;
	int r = role_spawn(k->self_fd, &a, &c->pid);
	if (r)
		log_error("%s cannot be started: %s", helper_roles[which], strerror(-r));
	c->started_ms = clock_ms();
	c->stopped = 0;
	children_publish(k);
	leftovers_note(k);
	return r;
}

/* ---- patience ---- */

/* Deaths in a row are answered with growing patience: 0, 50, 100, 200 … 5,000 ms. The first few come back at once: callers are waiting. */
static void wait_longer(struct patience *p)
{
	unsigned doublings = p->failures < FREE_RESTARTS ? 0 : p->failures - FREE_RESTARTS < 7 ? p->failures - FREE_RESTARTS : 7;
	int64_t delay = p->failures < FREE_RESTARTS ? 0 : (int64_t)50 << doublings;

	p->failures++;
	p->not_before_ms = clock_ms() + (delay > 5000 ? 5000 : delay);
}

static void forgive(struct patience *p)
{
	*p = (struct patience){ 0 };
}

int children_start_due(struct keeper *k)
{
	int64_t now = clock_ms(), wait = -1;

	for (int i = 0; i < HELPERS; i++) {
		struct child *c = &k->helpers[i];
		if (c->pid || (i == HELPER_BELL && (!k->attached || k->aborted || k->outlived)))
			continue;
		if (c->patience.not_before_ms <= now && children_start_helper(k, (enum helper)i))
			wait_longer(&c->patience);
		if (!c->pid && (wait < 0 || c->patience.not_before_ms - now < wait))
			wait = c->patience.not_before_ms > now ? c->patience.not_before_ms - now : 1;
	}
	if (k->aborted)			/* workers have nothing to serve */
		return (int)wait;
	/* A standby is made when the active one has served for a moment, not while it takes over: callers wait for that one. */
	const int64_t due = k->active >= 0 && k->served_ms + STANDBY_DELAY_MS > k->patience.not_before_ms ? k->served_ms + STANDBY_DELAY_MS : k->patience.not_before_ms;
	const bool wanted = k->upgrade != UPGRADE_WORKER && k->taker_fd < 0 && free_seat(k) >= 0 && (k->active < 0 || k->seats[k->active].state == SEAT_SERVING);
	if (wanted && k->active < 0 && k->seats[0].state + k->seats[1].state != 0)
		return (int)wait;	/* one is being prepared already */
	if (wanted && due <= now && children_start_worker(k))
		wait_longer(&k->patience);
	if (wanted && due > now && (wait < 0 || due - now < wait))
		wait = due - now;
	return (int)wait;
}

/* ---- who keeps a worker's memory ---- */

static bool is_other(const struct keeper *k, pid_t pid)
{
	bool other = pid == k->probe || pid == k->lingering;

	for (int i = 0; i < SEATS; i++)
		other |= pid == k->seats[i].pid || pid == k->seats[i].holder;
	for (int i = 0; i < HELPERS; i++)
		other |= pid == k->helpers[i].pid;
	for (int i = 0; i < HELD; i++)
		other |= pid == k->held[i].pid;
	return other;
}

void children_note_holder(struct keeper *k, int seat, pid_t pid)
{
	siginfo_t ended = { .si_pid = 0 };

	if (pid > 0 && k->seats[seat].state == SEAT_PREPARING && !k->seats[seat].holder && !is_other(k, pid) &&
	    !waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT) && !ended.si_pid)
		k->seats[seat].holder = pid;
}

void children_release(struct keeper *k, pid_t holder)
{
	if (!holder)
		return;
	for (int i = 0; i < HELD; i++)
		if (!k->held[i].pid) {
			k->held[i] = (struct held){ .pid = holder, .until_ms = clock_ms() + HELD_MS };
			return;
		}
	kill(holder, SIGKILL);
}

int children_end_holders(struct keeper *k, bool all)
{
	int64_t now = clock_ms(), wait = -1;

	for (int i = 0; i < HELD; i++) {
		struct held *h = &k->held[i];
		if (h->pid && (all || h->until_ms <= now)) {
			kill(h->pid, SIGKILL);
			h->pid = 0;
		}
		if (h->pid && (wait < 0 || h->until_ms - now < wait))
			wait = h->until_ms - now;
	}
	return (int)wait;
}

static void holder_ended(struct keeper *k, pid_t pid)
{
	for (int i = 0; i < SEATS; i++)
		if (k->seats[i].holder == pid)
			k->seats[i].holder = 0;
	for (int i = 0; i < HELD; i++)
		if (k->held[i].pid == pid)
			k->held[i].pid = 0;
}

/* ---- the end of one ---- */

static void log_end(const char *what, pid_t pid, int status)
{
	if (WIFSIGNALED(status))
		log_warn("%s (%d) was ended by signal %d", what, (int)pid, WTERMSIG(status));
	else
		log_warn("%s (%d) ended with status %d", what, (int)pid, WEXITSTATUS(status));
}

static void helper_died(struct keeper *k, enum helper which, int status)
{
	struct child *c = &k->helpers[which];

	log_end(helper_roles[which], c->pid, status);
	c->pid = 0;
	children_publish(k);
	if (clock_ms() - c->started_ms > HELPER_SERVED_MS)
		forgive(&c->patience);
	wait_longer(&c->patience);
}

static void worker_died(struct keeper *k, int i, int status)
{
	struct seat *s = &k->seats[i];
	const pid_t pid = s->pid;
	const int was_active = k->active;

	if (s->state != SEAT_SERVING)
		control_last_words(k, i);	/* how far it had come, too */
	const enum seat_state was = s->state;
	if (s->control >= 0)
		close(s->control);
	children_release(k, s->holder);
	*s = (struct seat){ .control = -1 };
	if (k->outlived && mount_aborted(k->mount)) {	/* the last that was open is closed: it had nothing to do any more */
		if (i == k->active)
			k->active = -1;
		return;
	}
	if (i == k->active)		/* first of all: callers wait */
		takeover_after_death(k);
	log_end(was == SEAT_SERVING || was == SEAT_ACTIVATING ? "worker" : "standby worker", pid, status);
	if (k->upgrade == UPGRADE_WORKER && i != was_active) {
		upgrade_worker_died(k, status);
	} else if (was == SEAT_SERVING || was == SEAT_PREPARED) {
		forgive(&k->patience);	/* one that came so far was no failure to start */
	} else {
		wait_longer(&k->patience);
		keeper_trouble(k, "a worker never became ready (%u in a row); see the lines before this one in the log", k->patience.failures);
		upgrade_not_served(k);
	}
	children_publish(k);
}

void children_reap(struct keeper *k)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == k->probe) {
			k->probe = 0;
			k->probe_status = status;
		}
		if (pid == k->lingering) {
			log_end(k->lingering_role ? k->lingering_role : "a process that was left behind", pid, status);
			k->lingering = 0;
		}
		holder_ended(k, pid);
		for (int i = 0; i < SEATS; i++)
			if (k->seats[i].pid == pid)
				worker_died(k, i, status);
		for (int i = 0; i < HELPERS; i++)
			if (k->helpers[i].pid == pid)
				helper_died(k, (enum helper)i, status);
	}
}

/* ---- ending them ---- */

/* Of one that was killed. If it waits in the kernel, then perhaps for what only the next worker brings, as the bell for the answer to its open: it is left behind. */
static void wait_for_end(struct keeper *k, const char *role, pid_t pid)
{
	for (int64_t since = clock_ms(); waitpid(pid, NULL, WNOHANG) == 0; poll(NULL, 0, 2))
		if (clock_ms() - since > UNREAPABLE_MS && dying_cannot_act(pid)) {
			k->lingering = pid;
			k->lingering_role = role;
			return;
		}
}

void children_stop_helper(struct keeper *k, enum helper which)
{
	struct child *c = &k->helpers[which];

	if (!c->pid)
		return;
	kill(c->pid, SIGKILL);
	wait_for_end(k, helper_roles[which], c->pid);
	c->pid = 0;
	children_publish(k);
}

void children_await_rest(void)
{
	for (int64_t since = clock_ms(); waitpid(-1, NULL, WNOHANG) >= 0 && clock_ms() - since < REST_MS;)
		poll(NULL, 0, 1);
}

void children_stop_worker(struct keeper *k, int seat, int64_t patience_ms)
{
	struct seat *s = &k->seats[seat];

	for (int64_t end = clock_ms() + patience_ms; s->pid && clock_ms() < end;) {
		kill(s->pid, SIGTERM);	/* again and again: it may have been between its check and its read */
		struct pollfd p = { .fd = s->control, .events = POLLIN };
		if (s->control >= 0 && poll(&p, 1, 20) > 0)
			control_read(k, seat);	/* a last segment, perhaps */
		else
			poll(NULL, 0, 10);
		if (waitpid(s->pid, NULL, WNOHANG) == s->pid)
			s->pid = 0;
		else if (dying_letter(s->pid) == 'Z' && dying_cannot_act(s->pid))	/* a thread of it waits for what the next one brings */
			break;
	}
	if (s->pid) {
		kill(s->pid, SIGKILL);
		wait_for_end(k, "worker", s->pid);
	}
	if (s->state == SEAT_PREPARING)
		control_last_words(k, seat);
	if (s->control >= 0)
		close(s->control);
	children_release(k, s->holder);
	*s = (struct seat){ .control = -1 };
	if (seat == k->active)
		k->active = -1;
	children_publish(k);
}
