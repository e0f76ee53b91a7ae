/* The mount passes from one keeper to another: a container image of the daemon is replaced, and the old one's root file
 * system with it.
 *
 *   new                                          old
 *   connects to STORE/keeper.sock (root only)
 *   HANDOVER_ASK                         -> <-      HANDOVER_STATE, with every descriptor
 *   starts helpers and a worker of its own,
 *   which gets ready
 *   HANDOVER_READY                       -> retires its worker, ends its helpers <-      HANDOVER_GONE
 *   the kernel sends again what is unanswered;
 *   its worker is made active                    ends, without unmounting
 *
 * The same socket takes READ_ONLY and READ_WRITE from mount -o remount, and YIELD from a keeper that would mount the
 * store while this one, whose mount is gone, serves what is still open; they are answered DONE.
 *
 * Until READY the old one serves as ever, and goes on doing so if the new one goes away. Where it cannot hand over any
 * more, it says HANDOVER_NO: an end without a word is that of a keeper that died. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs/common/clock.h"
#include "fs/keeper/children.h"
#include "fs/keeper/internal.h"
#include "fs/keeper/successors.h"
#include "fs/keeper/wire.h"
#include "fs/common/log.h"

#define DRAIN_MS 8000

/* ---- the old one ---- */

int handover_listen(struct keeper *k)
{
	struct sockaddr_un a;
	wire_address(k->store.dir, &a);
	unlinkat(k->store.dir, WIRE_SOCKET, 0);
	k->asked_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t old = umask(0177);
	int r = k->asked_fd < 0 || bind(k->asked_fd, (struct sockaddr *)&a, sizeof a) || listen(k->asked_fd, 1) ? -errno
														: 0;
	umask(old);
	return r;
}

void handover_forget(struct keeper *k) { unlinkat(k->store.dir, WIRE_SOCKET, 0); }

static int send_state(struct keeper *k, int peer)
{
	static struct keeper_state s;
	int *at[STATE_FDS], fds[STATE_FDS];
	size_t n_at, n = 0;

	state_save(k, &s);
	state_strip(&s);
	const int worker = s.worker = (int)syscall(SYS_pidfd_open, k->seats[k->active].pid, 0);
	n_at = state_descriptors(&s, at);
	for (size_t i = 0; i < n_at; i++)
		if (*at[i] >= 0) {
			fds[n] = *at[i];
			*at[i] = (int)n++; /* the index, for the other side */
		}
	int r = wire_say(peer, HANDOVER_STATE, &s, fds, n, NULL);
	if (worker >= 0)
		close(worker);
	return r;
}

static bool set_read_only(struct keeper *k, uint32_t word)
{
	/* another has its options already */
	if ((word != HANDOVER_READ_ONLY && word != HANDOVER_READ_WRITE) || k->taker_fd >= 0)
		return false;
	k->options.read_only = word == HANDOVER_READ_ONLY;
	memory_sign(k);
	log_info(k->options.read_only ? "the vault is read-only from now on" : "the vault takes changes from now on");
	return true;
}

/* What is asked in one word. False: it is none of these. */
static bool obey(struct keeper *k, uint32_t word)
{
	if (word != HANDOVER_YIELD)
		return set_read_only(k, word);
	if (!k->outlived)
		return false;
	log_info("the store is mounted again; what was still open is given up");
	k->stop = SIGTERM;
	return true;
}

void handover_accept(struct keeper *k)
{
	struct ucred peer;
	socklen_t len = sizeof peer;
	static struct handover_message m;
	int fd = accept4(k->asked_fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) || peer.uid != 0 ||
	    wire_hear(fd, 1000, &m, NULL, NULL) || (m.word != HANDOVER_ASK && !obey(k, m.word))) {
		close(fd);
		return;
	}
	if (m.word != HANDOVER_ASK) {
		wire_say(fd, HANDOVER_DONE, NULL, NULL, 0, NULL);
		close(fd);
		return;
	}
	if (k->taker_fd >= 0 || k->upgrade != UPGRADE_NONE || k->aborted || k->outlived || k->active < 0) {
		wire_say(fd, HANDOVER_NO, NULL, NULL, 0,
			 k->outlived
				 ? "it is unmounted, and only what is still open is served: start without -o takeover"
				 : "the daemon that serves has something else under way; try again");
		close(fd);
		return;
	}
	int r = send_state(k, fd);
	if (r) {
		keeper_trouble(k, "a keeper (%d) asked to take over and did not take what it was given: %s",
			       (int)peer.pid, strerror(-r));
		close(fd);
		return;
	}
	log_info("keeper %d takes over; this one serves until it is ready", (int)peer.pid);
	k->taker_fd = fd;
	k->taker_deadline_ms = clock_ms() + START_TIMEOUT_MS;
}

static void let_go(struct keeper *k, const char *why)
{
	keeper_trouble(k, "the keeper that asked to take over does not: %.200s; this one goes on", why);
	wire_say(k->taker_fd, HANDOVER_NO, NULL, NULL, 0, why);
	close(k->taker_fd);
	k->taker_fd = -1;
	memory_sign(k);
}

void handover_refuse(struct keeper *k, const char *why)
{
	if (k->taker_fd >= 0)
		let_go(k, why);
}

int handover_watch(struct keeper *k)
{
	if (k->taker_fd < 0)
		return -1;
	const int64_t left = k->taker_deadline_ms - clock_ms();
	if (left > 0)
		return (int)left;
	let_go(k, "it did not get ready in time");
	return -1;
}

bool handover_read(struct keeper *k)
{
	static struct handover_message m;
	int r = wire_hear(k->taker_fd, 0, &m, NULL, NULL);

	if (r == -ETIMEDOUT)
		return false;
	if (r || m.word != HANDOVER_READY) {
		let_go(k, r ? strerror(-r) : "it said something else than that it is ready");
		return false;
	}
	atomic_store(&k->shared->rings.lost, atomic_load(&k->shared->rings.told));
	children_stop_helper(k, HELPER_BELL); /* while somebody answers it */
	for (int i = 0; i < SEATS; i++)
		if (k->seats[i].pid)
			children_stop_worker(k, i, i == k->active ? DRAIN_MS : 0);
	for (int i = 0; i < HELPERS; i++) /* the runner's programs, too: the other one begins them again */
		children_stop_helper(k, (enum helper)i);
	r = wire_say(k->taker_fd, HANDOVER_GONE, NULL, NULL, 0, NULL);
	if (r) { /* it died in this very moment: the mount is still ours */
		keeper_trouble(k, "the keeper that took over is gone: %s; this one goes on", strerror(-r));
		memory_sign(k);
	}
	close(k->taker_fd);
	k->taker_fd = -1;
	return r == 0;
}

/* ---- the new one ---- */

/* Where the mount is seen, it must be where the command line says: one that is looked for elsewhere would never be seen
 * to go. */
static int check_place(const struct keeper *k, const struct mount_state *given, char *why, size_t why_len)
{
	struct mount_state wanted = *given;
	char place[PATH_MAX];

	snprintf(wanted.directory, sizeof wanted.directory, "%s", k->options.mount);
	if (!mount_only_elsewhere(&wanted, place))
		return 0;
	snprintf(why, why_len, "%s is mounted on %s, not on %s", k->options.store, place, k->options.mount);
	return -EINVAL;
}

static int receive_state(struct keeper *k, int fd, char *why, size_t why_len)
{
	static struct handover_message m;
	int fds[STATE_FDS], *at[STATE_FDS];
	size_t n = 0;
	int r = wire_say(fd, HANDOVER_ASK, NULL, NULL, 0, NULL);

	if (!r)
		r = wire_hear(fd, WIRE_ANSWER_MS, &m, fds, &n);
	if (!r && m.word == HANDOVER_NO) {
		snprintf(why, why_len, "%s", m.text);
		return -EBUSY;
	}
	if (!r)
		r = m.word == HANDOVER_STATE ? state_check(&m.state) : -EPROTO;
	if (r)
		snprintf(why, why_len,
			 "the daemon that serves cannot hand over to this version (%s): stop it and start this one",
			 strerror(-r));
	else
		r = check_place(k, &m.state.mount, why, why_len);
	if (r) {
		for (size_t i = 0; i < n; i++)
			close(fds[i]);
		return r;
	}
	const size_t n_at = state_descriptors(&m.state, at);
	for (size_t i = 0; i < n_at; i++)
		if (*at[i] >= 0)
			*at[i] = (size_t)*at[i] < n ? fds[*at[i]] : -1;
	/* paths are this root file system's */
	snprintf(m.state.options.store, sizeof m.state.options.store, "%s", k->options.store);
	snprintf(m.state.options.mount, sizeof m.state.options.mount, "%s", k->options.mount);
	snprintf(m.state.mount.directory, sizeof m.state.mount.directory, "%s", k->options.mount);
	m.state.mount.id = -1;
	m.state.options.foreground = k->options.foreground;
	memcpy(m.state.exe, k->exe, sizeof m.state.exe);
	r = state_restore(k, &m.state);
	if (!r)
		memory_sign(k); /* our worker finds the store by it */
	if (r)
		snprintf(why, why_len, "what the daemon that serves handed over: %s", strerror(-r));
	return r;
}

int handover_ask(struct keeper *k, char *why, size_t why_len)
{
	struct sockaddr_un a;
	int dir = open(k->options.store, O_PATH | O_DIRECTORY | O_CLOEXEC),
	    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), r;

	wire_address(dir, &a);
	if (dir >= 0 && keeper_store_check_owner(dir, k->options.store, why, why_len)) {
		r = -EPERM;
	} else if (dir < 0 || fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a)) {
		r = -errno;
		snprintf(why, why_len, "no daemon that could hand over serves %s (%s); start without -o takeover",
			 k->options.store, strerror(-r));
	} else if (!wire_is_roots(fd)) {
		r = -EPERM;
		snprintf(why, why_len, "who answers at %s/" WIRE_SOCKET " is not root", k->options.store);
	} else {
		r = receive_state(k, fd, why, why_len);
	}
	if (dir >= 0)
		close(dir);
	if (r) {
		if (fd >= 0)
			close(fd);
		return r;
	}
	k->giver_fd = fd;
	return 0;
}

int handover_finish(struct keeper *k, char *why, size_t why_len)
{
	static struct handover_message m;

	snprintf(why, why_len, "the daemon that serves does not let go of the mount");
	/* what it said last is heard also if it hears nothing any more */
	int r = wire_say(k->giver_fd, HANDOVER_READY, NULL, NULL, 0, NULL),
	    heard = wire_hear(k->giver_fd, r ? 0 : DRAIN_MS + WIRE_ANSWER_MS, &m, NULL, NULL);
	if (heard == -ECONNRESET) /* READY was not read; that is told first, and once */
		heard = wire_hear(k->giver_fd, 0, &m, NULL, NULL);
	if (!heard && m.word == HANDOVER_NO) {
		snprintf(why, why_len, "the daemon that serves keeps the mount: %s; try again", m.text);
		r = -EBUSY;
	} else if (!r) {
		r = heard ? heard : m.word == HANDOVER_GONE ? 0 : -EPROTO;
	}
	/* it died without a word, and its worker with it: once that has ended, nobody else acts. One that followed that
	 * worker meanwhile has been sent SIGKILL as well, and may have a moment left. */
	struct pollfd p = { .fd = k->giver_worker, .events = POLLIN };
	if ((r == -EPIPE || r == -ECONNRESET) && k->giver_worker >= 0 && poll(&p, 1, DRAIN_MS) == 1) {
		poll(NULL, 0, UNREAPABLE_MS);
		r = 0;
	}
	if (k->giver_worker >= 0)
		close(k->giver_worker);
	k->giver_worker = -1;
	close(k->giver_fd);
	k->giver_fd = -1;
	return r;
}

/* ---- mount -o remount ---- */
