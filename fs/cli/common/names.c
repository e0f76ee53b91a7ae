#include "fs/cli/common/names.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/cli/common/cli.h"
#include "policy/scope.h"

struct unknown {
	enum principal_kind kind;
	char name[64];
};

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
		return fail(EXIT_NOT_FOUND,
			    "there is no %s \"%s\" on this machine; give the number if it lives elsewhere: %s:1000",
			    u.kind == PRINCIPAL_GROUP ? "group" : "user", u.name,
			    u.kind == PRINCIPAL_GROUP ? "group" : "user");
	if (r < 0)
		return fail(EXIT_USAGE,
			    "\"%s\" is not a principal; write user:NAME, group:NAME, host or everyone, joined by "
			    "commas to narrow "
			    "(user:1000,host)",
			    given);
	principal_print(ret_principal, ret_text);
	return EXIT_DONE;
}

int secret_name_check(const char *name)
{
	if (name_valid(name))
		return EXIT_DONE;
	return fail(EXIT_USAGE,
		    "\"%.140s\" cannot be a secret's name: 1 to %d of A-Z a-z 0-9 . _ - and the first a letter or a "
		    "digit%s",
		    name, NAME_LEN_MAX, name_advice(name));
}

/* What people try, and what does instead. */
const char *name_advice(const char *name)
{
	const char *last = strrchr(name, '/');

	if (last && (!strcmp(last, "/current") || strstr(name, "/versions/")))
		return "; that is a file of the tree: give the secret's name alone, db for /vault/db/current";
	if (last)
		return "; there are no folders yet: write prod-db for prod/db, and grant on 'prod-*'";
	if (strchr(name, '@'))
		return "; an address has to be written otherwise: user-at-example.com";
	if (strchr(name, ' '))
		return "; write - or _ for a blank";
	return "";
}
