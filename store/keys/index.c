#include "store/keys/index.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define LOCK_NAME  "lock"
#define INDEX_NAME "db/vault.db-shm"

/* A byte of STORE/lock that stands for the index. Whether the file itself is locked (flock) says whether a keeper runs.
 */
#define INDEX_BYTE 1

static int lock_byte(int fd, int command, short type)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = INDEX_BYTE, .l_len = 1 };

	while (fcntl(fd, command, &l))
		if (errno != EINTR)
			return -errno;
	return 0;
}

int index_hold(int store_dir, int *ret_fd)
{
	int fd = openat(store_dir, LOCK_NAME, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	*ret_fd = -1;
	if (fd < 0)
		return errno == EROFS ? 0 : -errno;
	int r = lock_byte(fd, F_OFD_SETLKW, F_RDLCK);
	if (r)
		close(fd);
	else
		*ret_fd = fd;
	return r;
}

int index_put_aside(int store_dir, int lock)
{
	int r = lock_byte(lock, F_OFD_SETLK, F_WRLCK);

	if (r)
		return r == -EACCES ? -EAGAIN : r;
	r = unlinkat(store_dir, INDEX_NAME, 0) && errno != ENOENT ? -errno : 0;
	(void)lock_byte(lock, F_OFD_SETLK, F_UNLCK);
	return r;
}
