#include "fs/process/control.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "fs/common/clock.h"
#include "fs/common/passing.h"

int control_send(int socket, const struct control_message *m, int fd_to_pass)
{
	struct iovec iov = { .iov_base = &(struct control_message){ 0 }, .iov_len = sizeof *m };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	union passing room;

	memcpy(iov.iov_base, m, sizeof *m);
	passing_give(&msg, &room, fd_to_pass);
	for (;;) {
		if (sendmsg(socket, &msg, MSG_NOSIGNAL) >= 0)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
}

/* As poll(2) of one, whatever signals come: a worker that is told to end waits for its next segment all the same. */
static int wait_for(int socket, int timeout_ms)
{
	struct pollfd p = { .fd = socket, .events = POLLIN };
	const int64_t end = clock_ms() + timeout_ms;
	int n;

	while ((n = poll(&p, 1, timeout_ms)) < 0 && errno == EINTR)
		if (timeout_ms >= 0)
			timeout_ms = end > clock_ms() ? (int)(end - clock_ms()) : 0;
	return n;
}

int control_receive(int socket, struct control_message *ret_message, int *ret_fd, int timeout_ms)
{
	struct control_message m;
	struct iovec iov = { .iov_base = &m, .iov_len = sizeof m };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	union passing room;
	ssize_t got;

	/* a captured worker must not fill the keeper's table of descriptors, nor give it a file whose close waits for
	 * the mount */
	if (ret_fd)
		passing_expect(&msg, &room);
	int n = wait_for(socket, timeout_ms);
	if (n == 0)
		return -ETIMEDOUT;
	if (n < 0)
		return -errno;
	while ((got = recvmsg(socket, &msg, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR)
		;
	if (got < 0)
		return -errno;
	if (got == 0)
		return -EPIPE;
	const int fd = passing_take(&msg);
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
