#include "fs/cli/common/container.h"

#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/caller/caller.h"

/* include/linux/proc_ns.h: the first namespaces have fixed numbers. */
#define PROC_CGROUP_INIT_INO 0xEFFFFFFBU
#define PROC_PID_INIT_INO    0xEFFFFFFCU
#define PROC_USER_INIT_INO   0xEFFFFFFDU
#define CGROUP_TEXT_MAX      16384

/* An engine that shares the machine's namespaces (--pid=host) still shows in the cgroup. */
static bool in_containers_cgroup(void)
{
	char text[CGROUP_TEXT_MAX], unit[2], container[2];
	int fd = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false; /* a kernel without cgroups */
	n = read(fd, text, sizeof(text));
	close(fd);
	if (n < 0)
		return true;
	proc_cgroup_parse(text, (size_t)n, unit, sizeof(unit), container, sizeof(container));
	return container[0] != '\0';
}

/* The init process's mount namespace. Where /proc/1 is closed even to root, kthreadd tells, which is the second process
 * of the first pid namespace. */
static bool in_own_mount_namespace(void)
{
	struct stat self, init;

	if (stat("/proc/self/ns/mnt", &self) < 0 ||
	    (stat("/proc/1/ns/mnt", &init) < 0 && stat("/proc/2/ns/mnt", &init) < 0))
		return true;
	return self.st_ino != init.st_ino;
}

bool in_container(void)
{
	static const struct {
		const char *path;
		ino_t first;
	} namespaces[] = {
		{ "/proc/self/ns/pid", PROC_PID_INIT_INO },
		{ "/proc/self/ns/user", PROC_USER_INIT_INO },
		{ "/proc/self/ns/cgroup", PROC_CGROUP_INIT_INO },
	};
	struct stat st;

	for (size_t i = 0; i < sizeof(namespaces) / sizeof(namespaces[0]); i++)
		if (stat(namespaces[i].path, &st) < 0 || st.st_ino != namespaces[i].first)
			return true;
	return in_own_mount_namespace() || in_containers_cgroup();
}
