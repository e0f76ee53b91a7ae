#include "fs/keeper/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/keeper/successors.h"

void wire_address(int store_dir, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(ret->sun_path, sizeof ret->sun_path, "/proc/self/fd/%d/" WIRE_SOCKET, store_dir);
}

int wire_say(int fd, enum handover_word word, const struct keeper_state *state, const int *fds, size_t n_fds,
	     const char *text)
{
	static struct handover_message m;
	union {
		char buf[CMSG_SPACE(STATE_FDS * sizeof(int))];
		struct cmsghdr align;
	} u = { 0 };
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

int wire_hear(int fd, int timeout_ms, struct handover_message *ret, int *ret_fds, size_t *ret_n_fds)
{
	union {
		char buf[CMSG_SPACE(STATE_FDS * sizeof(int))];
		struct cmsghdr align;
	} u = { 0 };
	struct iovec iov = { ret, sizeof *ret };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = ret_fds ? u.buf : NULL,
			      .msg_controllen = ret_fds ? sizeof u.buf : 0 };
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

/* What comes over it is descriptors that this process, which is root, goes on with. */
bool wire_is_roots(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof peer;

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) && peer.uid == 0;
}

bool handover_yield(int store_dir)
{
	static struct handover_message m;
	struct sockaddr_un a;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	wire_address(store_dir, &a);
	const bool yields = fd >= 0 && !connect(fd, (struct sockaddr *)&a, sizeof a) && wire_is_roots(fd) &&
			    !wire_say(fd, HANDOVER_YIELD, NULL, NULL, 0, NULL) &&
			    !wire_hear(fd, WIRE_ANSWER_MS, &m, NULL, NULL) && m.word == HANDOVER_DONE;
	if (fd >= 0)
		close(fd);
	return yields;
}

int keeper_remount(const struct options *options, char *why, size_t why_len)
{
	static struct handover_message m;
	struct sockaddr_un a;
	int dir = open(options->store, O_PATH | O_DIRECTORY | O_CLOEXEC),
	    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), r;

	wire_address(dir, &a);
	if (geteuid() != 0) {
		r = -EPERM;
		snprintf(why, why_len, "remounting is for root");
	} else if (dir < 0 || fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) || !wire_is_roots(fd)) {
		r = -ENOTCONN;
		snprintf(why, why_len, "no daemon serves %s, so there is nothing to remount; mount it", options->store);
	} else {
		r = wire_say(fd, options->read_only ? HANDOVER_READ_ONLY : HANDOVER_READ_WRITE, NULL, NULL, 0, NULL);
		if (!r)
			r = wire_hear(fd, WIRE_ANSWER_MS, &m, NULL, NULL);
		if (!r && m.word != HANDOVER_DONE)
			r = -EPROTO;
		if (r)
			snprintf(why, why_len,
				 "the daemon that serves %s did not do it (%s); unmount it and mount it again with -o "
				 "%s",
				 options->store, strerror(-r), options->read_only ? "ro" : "rw");
	}
	if (dir >= 0)
		close(dir);
	if (fd >= 0)
		close(fd);
	return r;
}
