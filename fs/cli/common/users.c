#include "fs/cli/common/users.h"

#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>

void offline_users(const char *prefix, char ret_names[USERS][USER_MAX + 8])
{
	static const char *const ends[USERS] = { "", "-keys", "-helper" };

	for (size_t i = 0; i < USERS; i++)
		snprintf(ret_names[i], USER_MAX + 8, "%.*s%s", USER_MAX - 1, prefix, ends[i]);
}

void offline_hooks_user(const char *prefix, char ret_name[USER_MAX + 8])
{
	snprintf(ret_name, USER_MAX + 8, "%.*s-hooks", USER_MAX - 1, prefix);
}

void offline_prefix(const char *store, char ret_prefix[USER_MAX + 8])
{
	char path[PATH_MAX + 8];
	const struct passwd *pw;
	struct stat st;

	snprintf(path, sizeof(path), "%s/db", store ? store : "");
	pw = store && stat(path, &st) == 0 ? getpwuid(st.st_uid) : NULL;
	snprintf(ret_prefix, USER_MAX + 8, "%s", pw ? pw->pw_name : USER_WORKER);
}
