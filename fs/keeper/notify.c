#include "fs/keeper/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/common/log.h"
#include "fs/common/passing.h"

#define FIRST_FD 3 /* SD_LISTEN_FDS_START */
#define FDS_MAX  1024

/* A number of the environment; false: it is not there, or is none. */
static bool environment_number(const char *name, uint64_t *ret_value)
{
	const char *text = getenv(name);
	char *end;

	if (!text || *text < '0' || *text > '9')
		return false;
	errno = 0;
	unsigned long long n = strtoull(text, &end, 10);
	if (errno || *end)
		return false;
	*ret_value = n;
	return true;
}

/* ---- what is said ---- */

/* A path, or "@name" in the abstract name space. */
static bool read_address(const char *text, struct notify *n)
{
	const size_t len = strlen(text);

	if ((text[0] != '/' && text[0] != '@') || len < 2 || len >= sizeof n->to.sun_path)
		return false;
	n->to.sun_family = AF_UNIX;
	memcpy(n->to.sun_path, text, len + 1);
	if (text[0] == '@')
		n->to.sun_path[0] = '\0';
	n->to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	return true;
}

void notify_open(struct notify *ret_notify)
{
	struct notify n = { .fd = -1 };
	const char *address = getenv("NOTIFY_SOCKET");
	uint64_t usec, pid;

	*ret_notify = n;
	if (!address || !*address)
		return;
	if (read_address(address, &n))
		n.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (n.fd < 0) {
		log_warn("NOTIFY_SOCKET is \"%s\", which is no socket that can be spoken to: the service manager will "
			 "not hear that the vault is mounted",
			 address);
		return;
	}
	if (environment_number("WATCHDOG_USEC", &usec) &&
	    (!environment_number("WATCHDOG_PID", &pid) || pid == (uint64_t)getpid()))
		n.watchdog_ms = (int64_t)(usec / 3000); /* three signs in the time that one is due in */
	*ret_notify = n;
}

void notify_close(struct notify *n)
{
	if (n->fd >= 0)
		close(n->fd);
	n->fd = -1;
}

static void notify_send(const struct notify *n, const char *state, int fd)
{
	union {
		const struct sockaddr_un *from;
		void *name;
	} to = { .from = &n->to }; /* sendmsg only reads */
	union {
		const char *from;
		void *base;
	} text = { .from = state };
	struct iovec iov = { .iov_base = text.base, .iov_len = strlen(state) };
	struct msghdr m = { .msg_name = to.name, .msg_namelen = n->to_len, .msg_iov = &iov, .msg_iovlen = 1 };
	union passing room;

	if (n->fd < 0)
		return;
	passing_give(&m, &room, fd);
	if (sendmsg(n->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN)
		log_warn("the service manager does not hear us: %s", strerror(errno));
}

void notify_say(const struct notify *n, const char *state) { notify_send(n, state, -1); }

int notify_alive(struct notify *n, bool serving, int64_t now_ms)
{
	if (n->fd < 0 || n->watchdog_ms == 0)
		return -1;
	if (now_ms >= n->next_ms) {
		if (serving)
			notify_say(n, "WATCHDOG=1");
		n->next_ms = now_ms + n->watchdog_ms;
	}
	return (int)(n->next_ms - now_ms);
}

/* ---- what is kept ---- */

void notify_keep(const struct notify *n, const char *name, int fd)
{
	char state[NOTIFY_NAME_MAX + 64];

	/* FDPOLL=0: the manager would close a /dev/fuse that shows an error, as it does while a mount is being replaced
	 */
	snprintf(state, sizeof state, "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
	if (fd >= 0)
		notify_send(n, state, fd);
}

void notify_forget(const struct notify *n, const char *name)
{
	char state[NOTIFY_NAME_MAX + 64];

	snprintf(state, sizeof state, "FDSTOREREMOVE=1\nFDNAME=%s", name);
	notify_say(n, state);
}

/* The nth of "a:b:c". */
static bool nth_name(const char *names, size_t n, char ret_name[NOTIFY_NAME_MAX])
{
	for (; names && n > 0; n--) {
		names = strchr(names, ':');
		names = names ? names + 1 : NULL;
	}
	const size_t len = names ? strcspn(names, ":") : 0;
	if (len == 0 || len >= NOTIFY_NAME_MAX)
		return false;
	memcpy(ret_name, names, len);
	ret_name[len] = '\0';
	return true;
}

size_t notify_take(struct notify_kept *ret_kept, size_t max)
{
	const char *names = getenv("LISTEN_FDNAMES");
	uint64_t pid, count;
	size_t n = 0;

	if (environment_number("LISTEN_PID", &pid) && pid == (uint64_t)getpid() &&
	    environment_number("LISTEN_FDS", &count) && count <= FDS_MAX)
		for (size_t i = 0; i < count; i++) {
			const int fd = FIRST_FD + (int)i;
			if (n < max && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && nth_name(names, i, ret_kept[n].name))
				ret_kept[n++].fd = fd;
			else
				close(fd);
		}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return n;
}
