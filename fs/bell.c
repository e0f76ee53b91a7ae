#include "fs/bell.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define QUEUE_MAX   256		/* messages taken up at once: what a commit of many secrets leaves behind */
#define CLIENTS_MAX 16

struct bell {
	int root_fd;
	size_t n_clients;
	struct pollfd clients[CLIENTS_MAX];	/* fd -1: it has closed */
	size_t n;
	struct bell_message queue[QUEUE_MAX];
};

/* The bell has the rights of its user on the mount and nowhere else; a message is still not trusted to stay there. */
static bool path_allowed(const char path[BELL_PATH_MAX])
{
	size_t len = strnlen(path, BELL_PATH_MAX);

	if (len == 0 || len == BELL_PATH_MAX || path[0] == '/')
		return false;
	for (const char *p = path; p;) {
		size_t n = strcspn(p, "/");
		if (n == 2 && p[0] == '.' && p[1] == '.')
			return false;
		p = p[n] == '/' ? p + n + 1 : NULL;
	}
	return true;
}

/* ---- the acts; errors are not answered: a file may be gone by now, a vault sealed, a right denied ---- */

/* A caller blocked in a request that nobody answers is in D state and cannot be timed out from inside: the keeper may kill this process at any moment, and events are all that is lost. */
static void touch(int root_fd, const char *path)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_NOW } };
	int fd = openat(root_fd, path, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)futimens(fd, times);
	close(fd);
}

static void drop(int root_fd, const char *path)
{
	int fd = openat(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
}

static void touch_dir(int root_fd, const char *path)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_NOW } };

	(void)utimensat(root_fd, path, times, AT_SYMLINK_NOFOLLOW);
}

static void ring(int root_fd, const struct bell_message *m)
{
	switch (m->action) {
	case BELL_TOUCH: touch(root_fd, m->path); break;
	case BELL_DROP: drop(root_fd, m->path); break;
	case BELL_RMDIR: (void)unlinkat(root_fd, m->path, AT_REMOVEDIR); break;	/* EBUSY while something is mounted there: it is asked for again */
	case BELL_TOUCH_DIR: touch_dir(root_fd, m->path); break;
	default: break;
	}
}

/* ---- the queue ---- */

/* Ten rotations of one file in a burst are one event: watchers read the file, not the event. */
static void enqueue(struct bell *b, const struct bell_message *m)
{
	if (!path_allowed(m->path))
		return;
	for (size_t i = 0; i < b->n; i++)
		if (b->queue[i].action == m->action && strcmp(b->queue[i].path, m->path) == 0)
			return;
	b->queue[b->n++] = *m;
}

/* Takes up what one client has sent, as far as there is room. False: it has closed. */
static bool drain(struct bell *b, int fd)
{
	while (b->n < QUEUE_MAX) {
		struct bell_message m;
		ssize_t n = recv(fd, &m, sizeof(m), MSG_DONTWAIT | MSG_TRUNC);
		if (n == (ssize_t)sizeof(m))
			enqueue(b, &m);
		else if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return false;
		else if (n < 0 && errno == EAGAIN)
			return true;
	}
	return true;
}

static size_t open_clients(const struct bell *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n_clients; i++)
		n += b->clients[i].fd >= 0;
	return n;
}

int bell_run(int root_fd, const int *clients, size_t n_clients)
{
	struct bell *b;

	if (n_clients > CLIENTS_MAX)
		return EXIT_FAILURE;
	b = calloc(1, sizeof(*b));
	if (!b)
		return EXIT_FAILURE;
	b->root_fd = root_fd;
	b->n_clients = n_clients;
	for (size_t i = 0; i < n_clients; i++)
		b->clients[i] = (struct pollfd){ .fd = clients[i], .events = POLLIN };
	while (open_clients(b) > 0) {
		if (poll(b->clients, (nfds_t)n_clients, -1) < 0 && errno != EINTR)
			break;
		for (size_t i = 0; i < n_clients; i++)
			if (b->clients[i].fd >= 0 && !drain(b, b->clients[i].fd))
				b->clients[i].fd = -1;
		for (size_t i = 0; i < b->n; i++)
			ring(b->root_fd, &b->queue[i]);
		b->n = 0;
	}
	free(b);
	return EXIT_SUCCESS;
}

int bell_send(int fd, enum bell_action action, const char *path)
{
	struct bell_message m = { .action = action };
	size_t len = strlen(path);

	if (len >= sizeof(m.path))
		return -ENAMETOOLONG;
	memcpy(m.path, path, len);
	if (send(fd, &m, sizeof(m), MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof(m))
		return 0;
	return errno == EWOULDBLOCK || errno == ENOBUFS || errno == ENOMEM ? -EAGAIN : -errno;
}
