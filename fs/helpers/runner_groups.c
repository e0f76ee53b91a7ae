/* The groups of an account, by whatever name service this machine has: foreign code, and so in a process that has
 * nothing but a user of its own, and lives for this one look. */
#include "fs/helpers/runner.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "fs/caller/accounts.h"

#define ENTRY_MAX (1u << 20) /* bytes of an account's entry */
#define NOT_FOUND 2

/* Owned by nobody but this process's end. */
static const struct passwd *find(uint32_t uid)
{
	static struct passwd entry;
	struct passwd *found = NULL;
	char *room = NULL;
	int r = ERANGE;

	for (size_t size = 4096; r == ERANGE && size <= ENTRY_MAX; size *= 4) {
		free(room);
		room = malloc(size);
		r = room ? getpwuid_r(uid, &entry, room, size, &found) : ENOMEM;
	}
	return r == 0 ? found : NULL;
}

static int write_all(int fd, const void *data, size_t len)
{
	const char *at = data;

	while (len > 0) {
		ssize_t n = write(fd, at, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

static int give_up_capabilities(void)
{
	cap_t none = cap_init();
	int r = none && cap_set_proc(none) == 0 ? 0 : -1;

	cap_free(none);
	return r;
}

int runner_groups(uint32_t uid, int out)
{
	gid_t groups[ACCOUNT_GROUPS_MAX];
	int n = ACCOUNT_GROUPS_MAX;
	const struct passwd *pw;

	if (give_up_capabilities() || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return 1;
	pw = find(uid);
	if (!pw || getgrouplist(pw->pw_name, pw->pw_gid, groups, &n) < 0)
		return NOT_FOUND;
	const uint32_t count = (uint32_t)n;
	return write_all(out, &count, sizeof count) || write_all(out, groups, count * sizeof *groups) ? 1 : 0;
}
_Static_assert(sizeof(gid_t) == sizeof(uint32_t), "groups are sent as they are");
