#include "fs/cli/commands/allow.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/cli/common/client.h"
#include "fs/cli/common/store_access.h"
#include "fs/cli/common/users.h"
#include "fs/helpers/runner.h"

/* ---- arguments ---- */

/* The first word as execvp would find it. */
static int find_program(const char *word, size_t len, char *ret_path, size_t room)
{
	const char *path = getenv("PATH");

	if (memchr(word, '/', len))
		return word[0] != '/'                                                     ? -EINVAL
		       : (size_t)snprintf(ret_path, room, "%.*s", (int)len, word) >= room ? -ENAMETOOLONG
											  : 0;
	for (const char *dir = path ? path : ""; *dir; dir += strcspn(dir, ":"), dir += *dir == ':') {
		int n = (int)strcspn(dir, ":");
		if (n == 0 || dir[0] != '/')
			continue;
		if ((size_t)snprintf(ret_path, room, "%.*s/%.*s", n, dir, (int)len, word) >= room)
			continue;
		if (access(ret_path, X_OK) == 0)
			return 0;
	}
	return -ENOENT;
}

int command_argument(const char *option, const char *given, char *ret_command, size_t len)
{
	size_t word = strcspn(given, " ");
	char path[HOOK_COMMAND_MAX];
	int r = word ? find_program(given, word, path, sizeof(path)) : -EINVAL;

	if (runner_command_shellish(given))
		return fail(EXIT_USAGE,
			    "--%s: '%c' means something to a shell, and none reads this: quote it where a word has it; "
			    "for what a shell does, name a script, or /bin/sh -c '…'",
			    option, runner_command_shellish(given));
	if (strcspn(given, "'\"\\") < word)
		return fail(EXIT_USAGE, "--%s \"%.100s\": the program's path stands without quotes", option, given);
	if (r == -ENOENT)
		return fail(EXIT_NOT_FOUND, "--%s: there is no program %.*s; name it by its whole path", option,
			    (int)word, given);
	if (r == -ENAMETOOLONG)
		return fail(EXIT_USAGE, "--%s: at most %zu bytes; put what is longer into a script", option, len - 1);
	if (r < 0)
		return fail(EXIT_USAGE, "--%s \"%.100s\": begin with a program's name, or its whole path", option,
			    given);
	if ((size_t)snprintf(ret_command, len, "%s%s", path, given + word) >= len)
		return fail(EXIT_USAGE, "--%s: at most %zu bytes; put what is longer into a script", option, len - 1);
	return EXIT_DONE;
}

static int default_user(struct cli *c, uint32_t *ret_uid)
{
	char prefix[USER_MAX + 8], name[USER_MAX + 8];
	const struct passwd *pw;
	const struct mount *m;
	int status = cli_mount(c, &m);

	if (status)
		return status;
	offline_prefix(m->store, prefix);
	offline_hooks_user(prefix, name);
	pw = getpwnam(name);
	*ret_uid = pw ? pw->pw_uid : HOOK_USER_ABSENT;
	return EXIT_DONE;
}

int user_argument(struct cli *c, const char *given, uint32_t *ret_uid)
{
	const struct passwd *pw = given ? getpwnam(given) : NULL;
	char *end, why[256];
	unsigned long n;

	if (!given)
		return default_user(c, ret_uid);
	if (pw) {
		n = pw->pw_uid;
	} else {
		errno = 0;
		n = strtoul(given, &end, 10);
		if (errno || *end || given[0] < '0' || given[0] > '9' || n >= UINT32_MAX)
			return fail(EXIT_NOT_FOUND, "--user: there is no user \"%s\" on this machine", given);
	}
	if (runner_user_check((uint32_t)n, why, sizeof(why)) < 0)
		return fail(EXIT_USAGE, "--user %s: %s", given, why);
	*ret_uid = (uint32_t)n;
	return EXIT_DONE;
}

/* ---- the list ---- */

/* At the end, or not at all: half a line would allow another command. */
static int append(int fd, off_t end, const char *line, bool open_end)
{
	char text[HOOK_COMMAND_MAX + 20];
	const int len = snprintf(text, sizeof(text), "%s%s\n", open_end ? "\n" : "", line);
	const ssize_t n = write(fd, text, (size_t)len);

	if (n == len)
		return 0;
	const int r = n < 0 ? -errno : -ENOSPC;
	return n > 0 && ftruncate(fd, end) < 0 ? -EIO : r;
}

/* Adds the line unless it is there. Without a lock: everybody may read the file, and could hold one for ever. */
static int add_line(int fd, const char *line)
{
	struct stat st;
	char *text, *at;
	size_t len = strlen(line);
	ssize_t n;
	bool there = false;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_uid != 0 || (st.st_mode & 022))
		return -EPERM;
	text = calloc(1, (size_t)st.st_size + 2);
	if (!text)
		return -ENOMEM;
	n = pread(fd, text, (size_t)st.st_size, 0);
	for (at = text; n > 0 && !there && (at = strstr(at, line)); at++)
		there = (at == text || at[-1] == '\n') && (at[len] == '\n' || at[len] == '\0');
	/* a last line without its newline would swallow ours */
	bool open_end = n > 0 && text[n - 1] != '\n';
	free(text);
	if (n != st.st_size)
		return n < 0 ? -errno : -EIO;
	return there ? 0 : append(fd, st.st_size, line, open_end);
}

/* The store's directory, if this is its machine and its root: by the mount's source, which the kernel has from who
 * mounted it. What the daemon says comes from its worker, and is not where root writes. */
static int open_store(const char *store)
{
	struct stat st;
	int dir = open(store, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return -errno;
	if (fstat(dir, &st) || st.st_uid != 0 || (st.st_mode & 022)) {
		close(dir);
		return -EPERM;
	}
	return dir;
}

/* The runner reads it as another user, whatever umask root has. -1 and errno. */
static int open_list(int dir)
{
	const int flags = O_RDWR | O_APPEND | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(dir, RUNNER_ALLOW, flags | O_CREAT | O_EXCL, 0644);

	if (fd < 0 && errno == EEXIST)
		return openat(dir, RUNNER_ALLOW, flags);
	if (fd >= 0 && fchmod(fd, 0644) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static int allow(const struct mount *m, const char *command, uint32_t user)
{
	char path[PATH_MAX + 32], line[HOOK_COMMAND_MAX + 16], why[512] = "", prefix[USER_MAX + 8], name[USER_MAX + 8];
	int dir, fd, r;

	if (user == HOOK_USER_ABSENT) {
		offline_prefix(m->store, prefix);
		offline_hooks_user(prefix, name);
		return fail(EXIT_NOT_FOUND,
			    "there is no user %s, as whom programs run: %s %s; or name another with --user", name,
			    USERADD, name);
	}
	/* A line for what cannot run would stay, and count once it can. */
	r = runner_command_check(user, command, why, sizeof(why));
	if (r < 0)
		return fail(r == -ENOENT   ? EXIT_NOT_FOUND
			    : r == -EINVAL ? EXIT_USAGE
					   : EXIT_DENIED,
			    "%s; nothing was allowed", why);
	dir = open_store(m->store);

	snprintf(path, sizeof(path), "%s/%s", m->store, RUNNER_ALLOW);
	if (dir == -EPERM)
		return fail(EXIT_DENIED, "%s must be a directory of root's that nobody else can write", m->store);
	if (dir < 0)
		return fail(EXIT_ERROR, "cannot open %s: %s", path, strerror(-dir));
	fd = open_list(dir);
	r = errno;
	close(dir);
	if (fd < 0)
		return fail(EXIT_ERROR, "cannot open %s: %s", path, strerror(r));
	snprintf(line, sizeof(line), "%u %s", user, command);
	r = add_line(fd, line);
	close(fd);
	if (r == -EPERM)
		return fail(EXIT_DENIED, "%s must be a file of root's that nobody else can write", path);
	if (r < 0)
		return fail(EXIT_ERROR, "cannot write %s: %s", path, strerror(-r));
	note("allowed in %s: %s", path, line);
	return EXIT_DONE;
}

int change_with_command(struct cli *c, json_t *request, const char *command, uint32_t user, json_t **ret_answer)
{
	const struct mount *m;
	json_t *answer = NULL, *copy = json_deep_copy(request);
	const char *error;
	int status = copy ? cli_mount(c, &m) : fail(EXIT_ERROR, "not enough memory");
	int r;

	if (status)
		goto out;
	if (geteuid() == 0) {
		r = client_exchange(m->path, copy, true, NULL, 0, &answer);
		if (r == 0 && json_is_true(json_object_get(answer, "ok"))) {
			*ret_answer = answer;
			answer = NULL;
			goto out;
		}
		error = r == 0 ? json_string_value(json_object_get(answer, "errno")) : NULL;
		if (error && !strcmp(error, "EPERM"))
			status = allow(m, command, user);
	}
	if (status == EXIT_DONE)
		status = client_change(c, json_incref(request), NULL, 0, ret_answer);
out:
	json_decref(answer);
	json_decref(copy);
	json_decref(request);
	return status;
}
