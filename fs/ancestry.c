#include "fs/ancestry.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* User and pid namespaces nest to a depth of 32 (user_namespaces(7), pid_namespaces(7)). */
#define DEPTH_MAX 33

static int number_of(int fd, uint64_t *ret)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	*ret = st.st_ino;
	return 0;
}

/* Takes fd, a namespace that is not ours, and goes outward. 0 and the last one before ours, open; -EPERM: it is not within ours. */
static int outermost(int fd, uint64_t ours, int *ret_fd, uint64_t *ret_number)
{
	uint64_t number = 0;
	int r = -ELOOP;

	for (int i = 0; i < DEPTH_MAX; i++) {
		int parent = ioctl(fd, NS_GET_PARENT);
		r = parent < 0 ? -errno : number_of(parent, &number);
		if (!r && number == ours) {
			close(parent);
			r = number_of(fd, ret_number);
			*ret_fd = fd;
			return r;
		}
		close(fd);
		fd = parent;
		if (r)
			break;
		r = -ELOOP;
	}
	if (fd >= 0)
		close(fd);
	return r;
}

static int look_at_user(int thread_fd, uint64_t ours, struct ancestry *a)
{
	uid_t owner;
	int fd = openat(thread_fd, "ns/user", O_RDONLY | O_CLOEXEC), top = -1, r;

	if (fd < 0)
		return -errno;
	r = outermost(fd, ours, &top, &a->user_ns);
	if (r)
		return r;
	r = ioctl(top, NS_GET_OWNER_UID, &owner) ? -errno : 0;
	close(top);
	if (!r)
		a->owner = owner;
	return r;
}

static int look_at_pid(int thread_fd, uint64_t our_user, uint64_t our_pid, struct ancestry *a)
{
	uint64_t owner = 0;
	int fd = openat(thread_fd, "ns/pid", O_RDONLY | O_CLOEXEC), top = -1, r;

	if (fd < 0)
		return -errno;
	r = outermost(fd, our_pid, &top, &a->pid_ns);
	if (r)
		return r;
	fd = ioctl(top, NS_GET_USERNS);
	r = fd < 0 ? -errno : number_of(fd, &owner);
	if (fd >= 0)
		close(fd);
	close(top);
	a->pid_ns_ours = owner == our_user;
	return r;
}

void ancestry_read(int thread_fd, uint64_t our_user, uint64_t our_pid, uint64_t user_ns, uint64_t pid_ns, struct ancestry *ret_ancestry)
{
	struct ancestry a = { 0 };
	int r = our_user && our_pid && user_ns && pid_ns ? 0 : -EINVAL;

	if (!r && user_ns != our_user)
		r = look_at_user(thread_fd, our_user, &a);
	if (!r && pid_ns != our_pid)
		r = look_at_pid(thread_fd, our_user, our_pid, &a);
	a.known = !r;
	*ret_ancestry = r ? (struct ancestry){ 0 } : a;
}
