/* Reading a value through its file on the mount, and why that failed. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/cli/common/client.h"
#include "fs/cli/common/input.h"
#include "fs/cli/common/names.h"
#include "fs/cli/common/output.h"
#include "fs/cli/commands/secrets.h"
#include "fs/cli/commands/commands.h"

/* One question on a secret whose answer only serves an explanation: NULL when there is none. */
static json_t *ask_quietly(const struct cli *c, json_t *request)
{
	json_t *answer = NULL;

	if (request && client_exchange(c->mount.path, request, false, NULL, 0, &answer) == 0 &&
	    !json_is_true(json_object_get(answer, "ok"))) {
		json_decref(answer);
		answer = NULL;
	}
	json_decref(request);
	return answer;
}

/* A binding allows it, and still it was refused. */
static int explain_refused(const char *name, const char *action)
{
	return fail(EXIT_DENIED,
		    "%s was refused although a binding gives you %s: the version is disabled, or the vault was in "
		    "doubt who you are; see: "
		    "" COFFER " versions %s, " COFFER " whoami",
		    name, action, name);
}

/* EACCES has several reasons; the daemon knows which. */
static int explain_denied(const struct cli *c, const char *name, const char *action)
{
	json_t *answer = ask_quietly(c, json_pack("{s:s, s:s, s:s}", "op", "can-i", "action", action, "name", name));
	const char *missing, *grant, *why, *hint, *verb = strchr(action, '/') + 1;
	int status;

	if (!answer)
		return fail(EXIT_DENIED, "you may not %s %s; see: " COFFER " whoami", verb, name);
	missing = json_string_value(json_object_get(answer, "missing"));
	grant = json_string_value(json_object_get(answer, "grant"));
	why = json_string_value(json_object_get(answer, "why"));
	hint = json_string_value(json_object_get(answer, "hint"));
	if (json_is_true(json_object_get(answer, "allowed")))
		status = explain_refused(name, action);
	else if (why && json_is_integer(json_object_get(answer, "block")))
		status = fail(EXIT_DENIED, "you may not %s %s: %s; an administrator can: %s", verb, name, why,
			      grant ? grant : "" COFFER " blocks");
	else if (why && hint)
		status = fail(EXIT_DENIED, "%s; %s", why, hint);
	else if (grant)
		status = fail(EXIT_DENIED, "you may not %s %s: no binding gives you %s; an administrator can: %s", verb,
			      name, missing ? missing : action, grant);
	else
		status = fail(EXIT_DENIED, "you may not %s %s: no binding gives you %s", verb, name,
			      missing ? missing : action);
	json_decref(answer);
	return status;
}

static int explain_missing(struct cli *c, const char *name, const char *version)
{
	char path[PATH_MAX + 256];
	struct stat st;

	snprintf(path, sizeof(path), "%s/.coffer/deleted/%s", c->mount.path, name);
	if (stat(path, &st) == 0)
		return fail(EXIT_NOT_FOUND, "%s is deleted; whoever may recover it can: %s recover %s", name,
			    mount_command(c->mount.path), name);
	snprintf(path, sizeof(path), "%s/%s", c->mount.path, name);
	if (stat(path, &st) < 0)
		return fail(EXIT_NOT_FOUND, "there is no secret %s; see: %s list", name, mount_command(c->mount.path));
	if (version)
		return fail(EXIT_NOT_FOUND, "%s has no version %s; see: %s versions %s", name, version,
			    mount_command(c->mount.path), name);
	return fail(EXIT_NOT_FOUND, "%s has no version to serve (none yet, or all disabled); see: %s versions %s", name,
		    mount_command(c->mount.path), name);
}

int secret_explain(struct cli *c, const char *name, const char *version, const char *action, int error)
{
	switch (error) {
	case EACCES:
		return explain_denied(c, name, action);
	case ENOENT:
		return explain_missing(c, name, version);
	case ENOKEY:
		return fail(EXIT_UNAVAILABLE, "the vault is sealed; as root: %s unseal", mount_command(c->mount.path));
	case EKEYEXPIRED:
		return fail(EXIT_DENIED,
			    "%s has expired, or is not valid yet, and the vault enforces that; see: %s versions %s",
			    name, mount_command(c->mount.path), name);
	case EKEYREVOKED:
		return fail(EXIT_DENIED, "your right to %s was taken away while it was read", name);
	case ENOTCONN:
	case ECONNABORTED:
		return fail(EXIT_UNAVAILABLE, "no daemon stands behind %s any more; see: " COFFER " doctor",
			    c->mount.path);
	case ETIMEDOUT:
		return fail(EXIT_UNAVAILABLE,
			    "the key provider did not answer in time; try again, and see: " COFFER " status");
	case EROFS:
		return fail(c->mount.read_only_here || c->mount.read_only ? EXIT_UNAVAILABLE : EXIT_ERROR, "%s",
			    mount_read_only(&c->mount));
	case ENFILE:
		return fail(EXIT_ERROR, "you have too many files of the vault open; close some");
	case EIO:
		return fail(EXIT_ERROR,
			    "%s could not be served: the access could not be logged (perhaps your share of the log is "
			    "used up: `" COFFER
			    " list` tells), or it is damaged; an administrator sees which with `%s doctor`",
			    name, mount_command(c->mount.path));
	default:
		return fail(exit_for_errno(error), "%s: %s; see: " COFFER " doctor", name, strerror(error));
	}
}

int secret_open(struct cli *c, const char *name, const char *version, int *ret_fd)
{
	char path[PATH_MAX + 256];
	const struct mount *m;
	int status = cli_mount(c, &m), fd;

	if (status)
		return status;
	if (version)
		snprintf(path, sizeof(path), "%s/%s/versions/%s", m->path, name, version);
	else
		snprintf(path, sizeof(path), "%s/%s/current", m->path, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return secret_explain(c, name, version, "secrets/get", errno);
	*ret_fd = fd;
	return EXIT_DONE;
}

/* Fills the buffer as far as the file goes; a value that fits is written only when all of it was read. */
static int copy_out(struct cli *c, int fd, struct secbuf *b, const char *name, const char *version)
{
	size_t capacity = secbuf_capacity(b), len;
	ssize_t n;
	int r;

	secbuf_set_len(b, capacity);
	do {
		for (len = 0; len < capacity; len += (size_t)n) {
			n = read(fd, secbuf_data(b) + len, capacity - len);
			if (n == 0)
				break;
			if (n < 0 && errno != EINTR)
				return secret_explain(c, name, version, "secrets/get", errno);
			if (n < 0)
				n = 0;
		}
		r = output_bytes(STDOUT_FILENO, secbuf_cdata(b), len);
		if (r < 0)
			return fail(EXIT_ERROR, "cannot write to standard output: %s", strerror(-r));
	} while (len == capacity);
	return EXIT_DONE;
}

/* NAME as it was at an epoch. */
static int open_at(struct cli *c, const char *name, const char *epoch, int *ret_fd)
{
	char path[PATH_MAX + 256];
	const struct mount *m;
	int status = cli_mount(c, &m), fd;

	if (status)
		return status;
	snprintf(path, sizeof(path), "%s/.coffer/at/%s/%s/current", m->path, epoch, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return fail(
			EXIT_NOT_FOUND,
			"%s had no version at epoch %s, or there was no such epoch; the present one: ls %s/.coffer/at",
			name, epoch, m->path);
	if (fd < 0)
		return secret_explain(c, name, NULL, "secrets/get", errno);
	*ret_fd = fd;
	return EXIT_DONE;
}

static int epoch_check(const char *text)
{
	size_t digits = strspn(text, "0123456789");

	if (digits == 0 || text[digits] || *text == '0' || digits > 10)
		return fail(EXIT_USAGE,
			    "--at \"%s\" is not an epoch: a number; the present one is in .coffer/at of the mount",
			    text);
	return EXIT_DONE;
}

int cmd_get(struct cli *c, const struct args *a)
{
	const char *name = a->operands[0], *version = args_value(a, "version"), *epoch = args_value(a, "at");
	const struct mount *m;
	struct secbuf *b = NULL;
	long long number;
	int status = secret_name_check(name), fd = -1;
	char text[24];

	if (status == EXIT_DONE && epoch)
		status = version ? fail(EXIT_USAGE, "--version and --at name two versions; give one of them")
				 : epoch_check(epoch);
	if (status)
		return status;
	if (version) {
		status = version_check(version, &number);
		if (status)
			return status;
		snprintf(text, sizeof(text), "%lld", number);
		version = text;
	}
	status = cli_mount(c, &m);
	if (status == EXIT_DONE)
		status = input_prepare(1);
	if (status == EXIT_DONE)
		status = epoch ? open_at(c, name, epoch, &fd) : secret_open(c, name, version, &fd);
	if (status)
		return status;
	status = EXIT_ERROR;
	b = input_buffer();
	if (b)
		status = copy_out(c, fd, b, name, version);
	secbuf_free(b);
	close(fd);
	return status;
}
