/* Starting the other roles, noticing their end, and patience with those that die again and again. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/common/clock.h"
#include "fs/keeper/children.h"
#include "fs/keeper/internal.h"
#include "fs/keeper/successors.h"
#include "fs/keeper/turns.h"
#include "fs/common/log.h"

#define REST_MS          200
#define STANDBY_DELAY_MS 20 /* for those who waited while the one before died */

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

/* ---- starting ---- */

static int spawn_worker(struct keeper *k, int seat, int control)
{
	struct role_args a = { .role = "worker",
			       .uid = k->store.users.worker,
			       .gid = k->store.users.worker_gid,
			       .log_stderr = k->options.foreground,
			       .require_sandbox = k->options.require_sandbox };
	const struct role_fd fds[] = {
		{ "shared", k->shared_fd },
		{ "fuse", mount_fuse_fd(k->mount) },
		{ "control", control },
		{ "store", k->store.dir },
		{ "proc", k->proc_fd },
		{ "audit", k->store.audit_dir },
		{ "head", k->store.audit_head },
		{ "keys", k->channels[HELPER_KEYHOLDER][seat].worker_end },
		{ "resolver", k->channels[HELPER_RESOLVER][seat].worker_end },
		{ "bell", k->channels[HELPER_BELL][seat].worker_end },
		{ "runner", k->channels[HELPER_RUNNER][seat].worker_end },
	};
	memcpy(a.fds, fds, sizeof fds);
	a.n_fds = sizeof fds / sizeof *fds;
	memory_sign(k);
	return role_spawn(k->next_fd >= 0 ? k->next_fd : k->self_fd, &a, &k->seats[seat].pid);
}

int children_start_worker(struct keeper *k)
{
	int pair[2], i = seats_free(k);

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
	struct role_args a = { .role = children_role(which),
			       .uid = keys ? u->keys : u->helper,
			       .gid = keys ? u->keys_gid : u->helper_gid,
			       .log_stderr = k->options.foreground,
			       .require_sandbox = k->options.require_sandbox };
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
		log_error("%s cannot be started: %s", children_role(which), strerror(-r));
	c->started_ms = clock_ms();
	c->stopped = 0;
	children_publish(k);
	leftovers_note(k);
	return r;
}

int children_start_due(struct keeper *k)
{
	int64_t now = clock_ms(), wait = -1;

	for (int i = 0; i < HELPERS; i++) {
		struct child *c = &k->helpers[i];
		if (c->pid || (i == HELPER_BELL && (!k->attached || k->aborted || k->outlived)))
			continue;
		if (c->patience.not_before_ms <= now && children_start_helper(k, (enum helper)i))
			patience_lose(&c->patience);
		if (!c->pid && (wait < 0 || c->patience.not_before_ms - now < wait))
			wait = c->patience.not_before_ms > now ? c->patience.not_before_ms - now : 1;
	}
	if (k->aborted) /* workers have nothing to serve */
		return (int)wait;
	/* A standby is made when the active one has served for a moment, not while it takes over: callers wait for that
	 * one. */
	const int64_t due = k->active >= 0 && k->served_ms + STANDBY_DELAY_MS > k->patience.not_before_ms
				    ? k->served_ms + STANDBY_DELAY_MS
				    : k->patience.not_before_ms;
	const bool wanted = k->upgrade != UPGRADE_WORKER && k->taker_fd < 0 && seats_free(k) >= 0 &&
			    (k->active < 0 || k->seats[k->active].state == SEAT_SERVING);
	if (wanted && k->active < 0 && k->seats[0].state + k->seats[1].state != 0)
		return (int)wait; /* one is being prepared already */
	if (wanted && due <= now && children_start_worker(k))
		patience_lose(&k->patience);
	if (wanted && due > now && (wait < 0 || due - now < wait))
		wait = due - now;
	return (int)wait;
}

/* ---- ending them ---- */

/* Of one that was killed. If it waits in the kernel, then perhaps for what only the next worker brings, as the bell for
 * the answer to its open: it is left behind. */
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
	wait_for_end(k, children_role(which), c->pid);
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
	struct control_message m;

	for (int64_t end = clock_ms() + patience_ms; s->pid && clock_ms() < end;) {
		kill(s->pid, SIGTERM); /* again and again: it may have been between its check and its read */
		struct pollfd p = { .fd = s->control, .events = POLLIN };
		if (s->control >= 0 && poll(&p, 1, 20) > 0)
			/* a last segment, perhaps; it gets ready for nothing any more */
			(void)words_hear(k, seat, &m);
		else
			poll(NULL, 0, 10);
		if (waitpid(s->pid, NULL, WNOHANG) == s->pid)
			s->pid = 0;
		/* a thread of it waits for what the next one brings */
		else if (dying_letter(s->pid) == 'Z' && dying_cannot_act(s->pid))
			break;
	}
	if (s->pid) {
		kill(s->pid, SIGKILL);
		wait_for_end(k, "worker", s->pid);
		if (k->lingering == s->pid && seat == k->active)
			index_free(k);
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
