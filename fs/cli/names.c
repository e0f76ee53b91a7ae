#include "fs/cli/names.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "fs/cli/cli.h"

struct unknown { enum principal_kind kind; char name[64]; };

static int resolve(enum principal_kind kind, const char *name, void *arg, uint32_t *ret_id)
{
	struct unknown *u = arg;
	const struct passwd *pw;
	const struct group *gr;

	if (kind == PRINCIPAL_USER && (pw = getpwnam(name))) {
		*ret_id = pw->pw_uid;
		return 0;
	}
	if (kind == PRINCIPAL_GROUP && (gr = getgrnam(name))) {
		*ret_id = gr->gr_gid;
		return 0;
	}
	u->kind = kind;
	snprintf(u->name, sizeof(u->name), "%s", name);
	return -ENOENT;
}

int principal_argument(const char *given, struct principal *ret_principal, char ret_text[PRINCIPAL_TEXT_MAX])
{
	struct unknown u = { 0 };
	int r = principal_parse(given, resolve, &u, ret_principal);

	if (r == -ENOENT)
		return fail(EXIT_NOT_FOUND, "there is no %s \"%s\" on this machine; give the number if it lives elsewhere: %s:1000",
			    u.kind == PRINCIPAL_GROUP ? "group" : "user", u.name, u.kind == PRINCIPAL_GROUP ? "group" : "user");
	if (r < 0)
		return fail(EXIT_USAGE, "\"%s\" is not a principal; write user:NAME, group:NAME, host or everyone, joined by commas to narrow "
			    "(user:1000,host)", given);
	principal_print(ret_principal, ret_text);
	return EXIT_DONE;
}
