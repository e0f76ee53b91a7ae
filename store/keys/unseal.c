/* The other end of the unseal socket: who brings the passphrase. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "store/keys/kek.h"
#include "store/keys/keyholder.h"
#include "store/keys/keyholder_proto.h"

#define UNSEAL_DEADLINE_MS 30000

/* Through a descriptor of its directory, for a socket's address has room for 107 bytes of a path only. Proc's own name
 * of the descriptor is short. */
static int unseal_address(const char *path, struct sockaddr_un *ret, int *ret_dir)
{
	const char *slash = strrchr(path, '/');
	char *dir = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
	int r = -ENOMEM, n;

	if (!dir)
		return r;
	*ret_dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	r = *ret_dir < 0 ? -errno : 0;
	free(dir);
	if (r < 0)
		return r;
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	n = snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s", *ret_dir, slash ? slash + 1 : path);
	return n > 0 && (size_t)n < sizeof(ret->sun_path) ? 0 : -ENAMETOOLONG;
}

static int unseal_connect(const char *path, char *why, size_t why_len)
{
	struct sockaddr_un addr;
	int dir = -1, fd = -1, r = unseal_address(path, &addr, &dir);

	if (r < 0)
		goto out;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	r = fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
out:
	if (dir >= 0)
		close(dir);
	if (r == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	if (r != -EACCES && r != -EPERM) {
		snprintf(why, why_len, "no key holder answers; is cofferd running? Asked: %s", path);
		return -EIO;
	}
	snprintf(why, why_len, "only root may unseal a vault: %s", path);
	return -EACCES;
}

static int send_all(int fd, const uint8_t *p, size_t len, int64_t deadline)
{
	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN) {
			int r = kh_wait(fd, POLLOUT, deadline);
			if (r < 0)
				return r;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -EIO;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* One line, without its newline. */
static int read_answer(int fd, char *ret, size_t size, int64_t deadline)
{
	size_t at = 0;

	while (at < size - 1 && kh_wait(fd, POLLIN, deadline) == 0) {
		ssize_t n = recv(fd, ret + at, size - 1 - at, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n <= 0)
			break;
		at += (size_t)n;
	}
	if (at == 0 || ret[at - 1] != '\n')
		return -EIO;
	ret[at - 1] = '\0';
	return 0;
}

int keyholder_unseal(const char *socket_path, const void *passphrase, size_t len, char *why, size_t why_len)
{
	int64_t deadline = kh_now_ms() + UNSEAL_DEADLINE_MS;
	char answer[512];
	int fd, r;

	if (len > PASSPHRASE_MAX) {
		snprintf(why, why_len, "the passphrase is longer than %d bytes", PASSPHRASE_MAX);
		return -EINVAL;
	}
	fd = unseal_connect(socket_path, why, why_len);
	if (fd < 0)
		return fd;
	r = send_all(fd, passphrase, len, deadline);
	if (r == 0 && shutdown(fd, SHUT_WR) < 0)
		r = -EIO;
	/* a holder that refuses may have answered before it read all */
	r = read_answer(fd, answer, sizeof(answer), deadline);
	if (r < 0) {
		snprintf(why, why_len, "the key holder gave no answer");
	} else if (strcmp(answer, "ok") != 0) {
		snprintf(why, why_len, "%s", strncmp(answer, "error ", 6) == 0 ? answer + 6 : answer);
		r = geteuid() == 0 ? -EKEYREJECTED : -EACCES;
	}
	close(fd);
	return r;
}
