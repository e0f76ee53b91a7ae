/* The end of secrets and versions. What the kernel must know of, because a name goes or moves, is a file operation on
 * the mount. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fs/cli/common/client.h"
#include "fs/cli/common/names.h"
#include "fs/cli/common/output.h"
#include "fs/cli/commands/secrets.h"
#include "fs/cli/commands/commands.h"

static void live_path(const struct mount *m, const char *name, char ret[PATH_MAX + 256])
{
	snprintf(ret, PATH_MAX + 256, "%s/%s", m->path, name);
}

static void deleted_path(const struct mount *m, const char *name, char ret[PATH_MAX + 256])
{
	snprintf(ret, PATH_MAX + 256, "%s/.coffer/deleted/%s", m->path, name);
}

/* What is known of a deleted secret: 0, -ENOENT, or -EACCES where nothing is told. */
static int ask_deleted(const struct mount *m, const char *name, json_t **ret_secret)
{
	json_t *request = json_pack("{s:s, s:s}", "op", "deleted", "name", name), *answer = NULL;
	const char *error;
	int r = -EACCES;

	if (request && client_exchange(m->path, request, false, NULL, 0, &answer) == 0) {
		error = json_string_value(json_object_get(answer, "errno"));
		*ret_secret = json_incref(json_object_get(answer, "secret"));
		r = *ret_secret ? 0 : error && strcmp(error, "ENOENT") == 0 ? -ENOENT : -EACCES;
	}
	json_decref(answer);
	json_decref(request);
	return r;
}

static const char *text(const json_t *secret, const char *key)
{
	const char *s = json_string_value(json_object_get(secret, key));

	return s ? s : "?";
}

static int busy(const char *path)
{
	return fail(EXIT_CONFLICT, "something is mounted on %s; unmount it first, see: findmnt %s", path, path);
}

static int start(struct cli *c, const struct args *a, const struct mount **ret_mount)
{
	int status = secret_name_check(a->operands[0]);

	return status ? status : cli_mount(c, ret_mount);
}

/* ---- delete ---- */

static int explain_delete(struct cli *c, const struct mount *m, const char *name, const char *path, int error)
{
	json_t *secret;

	if (error == EBUSY)
		return busy(path);
	if (error == EXDEV)
		return fail(EXIT_ERROR, "something is mounted between %s and %s/.coffer/deleted; see: findmnt -R %s",
			    path, m->path, m->path);
	if (error != ENOENT || ask_deleted(m, name, &secret) < 0)
		return secret_explain(c, name, NULL, "secrets/delete", error);
	json_decref(secret);
	return fail(EXIT_NOT_FOUND,
		    "%s is deleted already; to bring it back: " COFFER " recover %s; to destroy it for ever: " COFFER
		    " purge %s",
		    name, name, name);
}

int cmd_delete(struct cli *c, const struct args *a)
{
	const char *name = a->operands[0];
	char path[PATH_MAX + 256], to[PATH_MAX + 256];
	const struct mount *m;
	json_t *secret = NULL;
	int status = start(c, a, &m);

	if (status)
		return status;
	live_path(m, name, path);
	deleted_path(m, name, to);
	if (rmdir(path) == 0) {
		printf("%s deleted; it never had a version, so nothing is kept\n", name);
		return EXIT_DONE;
	}
	if (errno != ENOTEMPTY || renameat2(AT_FDCWD, path, AT_FDCWD, to, RENAME_NOREPLACE) < 0)
		return explain_delete(c, m, name, path, errno);
	if (ask_deleted(m, name, &secret) == 0)
		output_line("%s deleted; until %s, when it is purged, it can be brought back: %s recover %s", name,
			    text(secret, "purge"), mount_command(m->path), name);
	else
		printf("%s deleted\n", name);
	json_decref(secret);
	return EXIT_DONE;
}

/* ---- recover ---- */

static int explain_recover(struct cli *c, const struct mount *m, const char *name, const char *path, int error)
{
	json_t *secret;

	if (error == EBUSY)
		return busy(path);
	if (error == EEXIST)
		return fail(EXIT_CONFLICT, "there is a secret %s that is not deleted", name);
	if (error != ENOENT)
		return secret_explain(c, name, NULL, "secrets/recover", error);
	if (ask_deleted(m, name, &secret) < 0)
		return fail(EXIT_NOT_FOUND, "there is no deleted secret %s; see: " COFFER " list --deleted", name);
	json_decref(secret);
	return fail(EXIT_NOT_FOUND,
		    "nothing is left of %s: its content is destroyed, and its name will be free in a moment", name);
}

int cmd_recover(struct cli *c, const struct args *a)
{
	const char *name = a->operands[0];
	char from[PATH_MAX + 256], to[PATH_MAX + 256];
	const struct mount *m;
	int status = start(c, a, &m);

	if (status)
		return status;
	deleted_path(m, name, from);
	live_path(m, name, to);
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) < 0)
		return explain_recover(c, m, name, from, errno);
	printf("%s recovered\n", name);
	return EXIT_DONE;
}

/* ---- purge ---- */

static int explain_purge(struct cli *c, const struct mount *m, const char *name, const char *path, int error)
{
	char live[PATH_MAX + 256];
	json_t *secret;
	int status;

	if (error == EBUSY)
		return busy(path);
	if (error == ENOENT) {
		live_path(m, name, live);
		if (access(live, F_OK) == 0)
			return fail(EXIT_NOT_FOUND,
				    "%s is not deleted; only what is deleted can be purged: " COFFER " delete %s", name,
				    name);
		return fail(EXIT_NOT_FOUND, "there is no deleted secret %s; see: " COFFER " list --deleted", name);
	}
	if (error != EPERM || ask_deleted(m, name, &secret) < 0)
		return secret_explain(c, name, NULL, "secrets/purge", error);
	status = fail(EXIT_DENIED, "purge protection is on: nobody can purge %s before %s, when it is purged by itself",
		      name, text(secret, "purge"));
	json_decref(secret);
	return status;
}

int cmd_purge(struct cli *c, const struct args *a)
{
	const char *name = a->operands[0];
	char path[PATH_MAX + 256];
	const struct mount *m;
	int status = start(c, a, &m);

	if (status)
		return status;
	deleted_path(m, name, path);
	if (access(path, F_OK) < 0 && errno == ENOENT)
		return explain_purge(c, m, name, path, ENOENT);
	status = confirm(a, "All versions of %s are destroyed for ever.", name);
	if (status)
		return status;
	if (rmdir(path) < 0)
		return explain_purge(c, m, name, path, errno);
	printf("%s purged: its versions are destroyed, and its name is free\n", name);
	return EXIT_DONE;
}

/* ---- destroy ---- */

int cmd_destroy(struct cli *c, const struct args *a)
{
	const char *name = a->operands[0], *given = args_value(a, "version");
	json_t *answer = NULL;
	long long version;
	int status = secret_name_check(name);

	if (status == EXIT_DONE && !given)
		status = fail(EXIT_USAGE,
			      "which version of %s is to be destroyed? Give --version N; " COFFER
			      " delete %s deletes all of it",
			      name, name);
	if (status == EXIT_DONE)
		status = version_check(given, &version);
	if (status == EXIT_DONE)
		status = confirm(a, "The content of %s version %lld is destroyed for ever.", name, version);
	if (status)
		return status;
	status = client_change(
		c, json_pack("{s:s, s:s, s:I}", "op", "destroy", "name", name, "version", (json_int_t)version), NULL, 0,
		&answer);
	if (status)
		return status;
	printf("%s version %lld destroyed", name, version);
	output_served(answer);
	json_decref(answer);
	return EXIT_DONE;
}
