#include "fs/caller/ancestry.h"

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

/* Takes fd, a namespace that is not ours, and goes outward. 0 and the last one before ours, open; -EPERM: it is not
 * within ours. */
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

/* A mount namespace has no parent; its user namespace says who could make it. Where that cannot be seen it is not ours.
 */
static bool is_mnt_ours(int thread_fd, uint64_t our_user)
{
	uint64_t owner = 0;
	int fd = openat(thread_fd, "ns/mnt", O_RDONLY | O_CLOEXEC), user = fd < 0 ? -1 : ioctl(fd, NS_GET_USERNS);
	const bool ours = user >= 0 && !number_of(user, &owner) && owner == our_user;

	if (user >= 0)
		close(user);
	if (fd >= 0)
		close(fd);
	return ours;
}

void ancestry_read(int thread_fd, const struct namespaces *ours, const struct namespaces *theirs,
		   struct ancestry *ret_ancestry)
{
	struct ancestry a = { 0 };
	int r = ours->user && ours->pid && theirs->user && theirs->pid ? 0 : -EINVAL;

	if (!r && theirs->user != ours->user)
		r = look_at_user(thread_fd, ours->user, &a);
	if (!r && theirs->pid != ours->pid)
		r = look_at_pid(thread_fd, ours->user, ours->pid, &a);
	if (!r && !a.user_ns && ours->mnt && theirs->mnt && theirs->mnt != ours->mnt)
		a.mnt_ns_ours = is_mnt_ours(thread_fd, ours->user);
	a.known = !r;
	*ret_ancestry = r ? (struct ancestry){ 0 } : a;
}
