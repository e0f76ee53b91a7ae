/* The mount passes from one keeper to another: a container image of the daemon is replaced, and the old one's root file system with it.
 *
 *   new                                          old
 *   connects to STORE/keeper.sock (root only)
 *   HANDOVER_ASK                         ->
 *                                        <-      HANDOVER_STATE, with every descriptor
 *   starts helpers and a worker of its own,
 *   which gets ready
 *   HANDOVER_READY                       ->
 *                                                retires its worker, ends its helpers
 *                                        <-      HANDOVER_GONE
 *   the kernel sends again what is unanswered;
 *   its worker is made active                    ends, without unmounting
 *
 * The same socket takes READ_ONLY and READ_WRITE from mount -o remount, and YIELD from a keeper that would mount the store while this one, whose mount is gone, serves what is still open; they are answered DONE.
 *
 * Until READY the old one serves as ever, and goes on doing so if the new one goes away. Where it cannot hand over any more, it says HANDOVER_NO: an end without a word is that of a keeper that died. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "fs/clock.h"
#include "fs/keeper_internal.h"
#include "fs/log.h"

#define SOCKET_NAME "keeper.sock"
#define DRAIN_MS    8000
#define ANSWER_MS   10000

enum handover_word { HANDOVER_ASK = 1, HANDOVER_STATE, HANDOVER_READY, HANDOVER_GONE, HANDOVER_NO, HANDOVER_READ_ONLY, HANDOVER_READ_WRITE, HANDOVER_YIELD, HANDOVER_DONE };

struct handover_message {
	uint32_t magic, word;
	char text[CONTROL_TEXT_MAX];
	struct keeper_state state;
};

static void address(int store_dir, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(ret->sun_path, sizeof ret->sun_path, "/proc/self/fd/%d/" SOCKET_NAME, store_dir);
}

static int say(int fd, enum handover_word word, const struct keeper_state *state, const int *fds, size_t n_fds, const char *text)
{
	static struct handover_message m;
	union { char buf[CMSG_SPACE(STATE_FDS * sizeof(int))]; struct cmsghdr align; } u = { 0 };
	struct iovec iov = { &m, sizeof m };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	m = (struct handover_message){ .magic = STATE_MAGIC, .word = word };
	snprintf(m.text, sizeof m.text, "%s", text ? text : "");
	if (state)
		m.state = *state;
	if (n_fds) {
		msg.msg_control = u.buf;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	return sendmsg(fd, &msg, MSG_NOSIGNAL) == (ssize_t)sizeof m ? 0 : -errno;
}

/* *ret_n_fds descriptors at most are taken. */
static int hear(int fd, int timeout_ms, struct handover_message *ret, int *ret_fds, size_t *ret_n_fds)
{
	union { char buf[CMSG_SPACE(STATE_FDS * sizeof(int))]; struct cmsghdr align; } u = { 0 };
	struct iovec iov = { ret, sizeof *ret };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ret_fds ? u.buf : NULL, .msg_controllen = ret_fds ? sizeof u.buf : 0 };
	struct pollfd p = { .fd = fd, .events = POLLIN };
	size_t n = 0;

	if (poll(&p, 1, timeout_ms) != 1)
		return -ETIMEDOUT;
	ssize_t got = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); ret_fds && c; c = CMSG_NXTHDR(&msg, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
			n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
			memcpy(ret_fds, CMSG_DATA(c), n * sizeof(int));
		}
	if (ret_n_fds)
		*ret_n_fds = n;
	if (got <= 0)
		return got < 0 ? -errno : -EPIPE;
	return got == (ssize_t)sizeof *ret && ret->magic == STATE_MAGIC ? 0 : -EPROTO;
}

/* ---- the old one ---- */

int handover_listen(struct keeper *k)
{
	struct sockaddr_un a;
	address(k->store.dir, &a);
	unlinkat(k->store.dir, SOCKET_NAME, 0);
	k->asked_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t old = umask(0177);
	int r = k->asked_fd < 0 || bind(k->asked_fd, (struct sockaddr *)&a, sizeof a) || listen(k->asked_fd, 1) ? -errno : 0;
	umask(old);
	return r;
}

void handover_forget(struct keeper *k)
{
	unlinkat(k->store.dir, SOCKET_NAME, 0);
}

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
			*at[i] = (int)n++;	/* the index, for the other side */
		}
	int r = say(peer, HANDOVER_STATE, &s, fds, n, NULL);
	if (worker >= 0)
		close(worker);
	return r;
}

static bool set_read_only(struct keeper *k, uint32_t word)
{
	if ((word != HANDOVER_READ_ONLY && word != HANDOVER_READ_WRITE) || k->taker_fd >= 0)	/* another has its options already */
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
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) || peer.uid != 0 || hear(fd, 1000, &m, NULL, NULL) || (m.word != HANDOVER_ASK && !obey(k, m.word))) {
		close(fd);
		return;
	}
	if (m.word != HANDOVER_ASK) {
		say(fd, HANDOVER_DONE, NULL, NULL, 0, NULL);
		close(fd);
		return;
	}
	if (k->taker_fd >= 0 || k->upgrade != UPGRADE_NONE || k->aborted || k->outlived || k->active < 0) {
		say(fd, HANDOVER_NO, NULL, NULL, 0, "the daemon that serves has something else under way; try again");
		close(fd);
		return;
	}
	int r = send_state(k, fd);
	if (r) {
		keeper_trouble(k, "a keeper (%d) asked to take over and did not take what it was given: %s", (int)peer.pid, strerror(-r));
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
	say(k->taker_fd, HANDOVER_NO, NULL, NULL, 0, why);
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
	int r = hear(k->taker_fd, 0, &m, NULL, NULL);

	if (r == -ETIMEDOUT)
		return false;
	if (r || m.word != HANDOVER_READY) {
		let_go(k, r ? strerror(-r) : "it said something else than that it is ready");
		return false;
	}
	atomic_store(&k->shared->rings.lost, atomic_load(&k->shared->rings.told));
	children_stop_helper(k, HELPER_BELL);	/* while somebody answers it */
	for (int i = 0; i < SEATS; i++)
		if (k->seats[i].pid)
			children_stop_worker(k, i, i == k->active ? DRAIN_MS : 0);
	for (int i = 0; i < HELPERS; i++)	/* the runner's programs, too: the other one begins them again */
		children_stop_helper(k, (enum helper)i);
	r = say(k->taker_fd, HANDOVER_GONE, NULL, NULL, 0, NULL);
	if (r) {	/* it died in this very moment: the mount is still ours */
		keeper_trouble(k, "the keeper that took over is gone: %s; this one goes on", strerror(-r));
		memory_sign(k);
	}
	close(k->taker_fd);
	k->taker_fd = -1;
	return r == 0;
}

/* ---- the new one ---- */

static int receive_state(struct keeper *k, int fd, char *why, size_t why_len)
{
	static struct handover_message m;
	int fds[STATE_FDS], *at[STATE_FDS];
	size_t n = 0;
	int r = say(fd, HANDOVER_ASK, NULL, NULL, 0, NULL);

	if (!r)
		r = hear(fd, ANSWER_MS, &m, fds, &n);
	if (!r && m.word == HANDOVER_NO) {
		snprintf(why, why_len, "%s", m.text);
		return -EBUSY;
	}
	if (!r)
		r = m.word == HANDOVER_STATE ? state_check(&m.state) : -EPROTO;
	if (r) {
		for (size_t i = 0; i < n; i++)
			close(fds[i]);
		snprintf(why, why_len, "the daemon that serves cannot hand over to this version (%s): stop it and start this one", strerror(-r));
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
		memory_sign(k);		/* our worker finds the store by it */
	if (r)
		snprintf(why, why_len, "what the daemon that serves handed over: %s", strerror(-r));
	return r;
}

/* What comes over it is descriptors that this process, which is root, goes on with. */
static bool is_roots(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof peer;

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) && peer.uid == 0;
}

int handover_ask(struct keeper *k, char *why, size_t why_len)
{
	struct sockaddr_un a;
	int dir = open(k->options.store, O_PATH | O_DIRECTORY | O_CLOEXEC), fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), r;

	address(dir, &a);
	if (dir >= 0 && keeper_store_check_owner(dir, k->options.store, why, why_len)) {
		r = -EPERM;
	} else if (dir < 0 || fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a)) {
		r = -errno;
		snprintf(why, why_len, "no daemon that could hand over serves %s (%s); start without -o takeover", k->options.store, strerror(-r));
	} else if (!is_roots(fd)) {
		r = -EPERM;
		snprintf(why, why_len, "who answers at %s/" SOCKET_NAME " is not root", k->options.store);
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
	int r = say(k->giver_fd, HANDOVER_READY, NULL, NULL, 0, NULL), heard = hear(k->giver_fd, r ? 0 : DRAIN_MS + ANSWER_MS, &m, NULL, NULL);
	if (heard == -ECONNRESET)	/* READY was not read; that is told first, and once */
		heard = hear(k->giver_fd, 0, &m, NULL, NULL);
	if (!heard && m.word == HANDOVER_NO) {
		snprintf(why, why_len, "the daemon that serves keeps the mount: %s; try again", m.text);
		r = -EBUSY;
	} else if (!r) {
		r = heard ? heard : m.word == HANDOVER_GONE ? 0 : -EPROTO;
	}
	/* it died without a word, and its worker with it: once that has ended, nobody else acts. One that followed that worker meanwhile has been sent SIGKILL as well, and may have a moment left. */
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

void handover_yield(int store_dir)
{
	static struct handover_message m;
	struct sockaddr_un a;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	address(store_dir, &a);
	if (fd >= 0 && !connect(fd, (struct sockaddr *)&a, sizeof a) && is_roots(fd) && !say(fd, HANDOVER_YIELD, NULL, NULL, 0, NULL))
		(void)hear(fd, ANSWER_MS, &m, NULL, NULL);
	if (fd >= 0)
		close(fd);
}

/* ---- mount -o remount ---- */

int keeper_remount(const struct options *options, char *why, size_t why_len)
{
	static struct handover_message m;
	struct sockaddr_un a;
	int dir = open(options->store, O_PATH | O_DIRECTORY | O_CLOEXEC), fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), r;

	address(dir, &a);
	if (geteuid() != 0) {
		r = -EPERM;
		snprintf(why, why_len, "remounting is for root");
	} else if (dir < 0 || fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) || !is_roots(fd)) {
		r = -ENOTCONN;
		snprintf(why, why_len, "no daemon serves %s, so there is nothing to remount; mount it", options->store);
	} else {
		r = say(fd, options->read_only ? HANDOVER_READ_ONLY : HANDOVER_READ_WRITE, NULL, NULL, 0, NULL);
		if (!r)
			r = hear(fd, ANSWER_MS, &m, NULL, NULL);
		if (!r && m.word != HANDOVER_DONE)
			r = -EPROTO;
		if (r)
			snprintf(why, why_len, "the daemon that serves %s did not do it (%s); unmount it and mount it again with -o %s", options->store, strerror(-r), options->read_only ? "ro" : "rw");
	}
	if (dir >= 0)
		close(dir);
	if (fd >= 0)
		close(fd);
	return r;
}
