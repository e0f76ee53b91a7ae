#include "fs/control.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int control_send(int socket, const struct control_message *m, int fd_to_pass)
{
	struct iovec iov = { .iov_base = &(struct control_message){ 0 }, .iov_len = sizeof *m };
	union { char buf[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } u = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	memcpy(iov.iov_base, m, sizeof *m);
	if (fd_to_pass >= 0) {
		msg.msg_control = u.buf;
		msg.msg_controllen = sizeof u.buf;
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd_to_pass, sizeof(int));
	}
	for (;;) {
		if (sendmsg(socket, &msg, MSG_NOSIGNAL) >= 0)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
}

static void take_fd(struct msghdr *msg, int *ret_fd)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
			memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
}

int control_receive(int socket, struct control_message *ret_message, int *ret_fd, int timeout_ms)
{
	struct control_message m;
	struct iovec iov = { .iov_base = &m, .iov_len = sizeof m };
	union { char buf[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } u = { 0 };
	/* Room for one descriptor, without the padding, which would take a second one; for none if none is wanted: what does not fit, the kernel throws away. A captured worker must not
	 * fill the keeper's table of descriptors, nor give it a file whose close waits for the mount. */
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ret_fd ? u.buf : NULL, .msg_controllen = ret_fd ? CMSG_LEN(sizeof(int)) : 0 };
	struct pollfd p = { .fd = socket, .events = POLLIN };
	int fd = -1;

	int n = poll(&p, 1, timeout_ms);
	if (n == 0)
		return -ETIMEDOUT;
	if (n < 0)
		return -errno;
	ssize_t got = recvmsg(socket, &msg, MSG_CMSG_CLOEXEC);
	if (got < 0)
		return -errno;
	if (got == 0)
		return -EPIPE;
	take_fd(&msg, &fd);
	if ((size_t)got != sizeof m) {
		if (fd >= 0)
			close(fd);
		return -EBADMSG;
	}
	m.text[sizeof m.text - 1] = '\0';
	*ret_message = m;
	if (ret_fd)
		*ret_fd = fd;
	return 0;
}
