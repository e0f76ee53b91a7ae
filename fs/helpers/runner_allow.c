/* What the runner may run, and as which words. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/helpers/runner.h"
#include "store/lifecycle/events.h"

#define ALLOW_BYTES_MAX (256 << 10)

bool runner_command_varies(const char *command)
{
	for (const char *p = command; (p = strchr(p, '%')); p += 2)
		if (p[1] == '%')
			continue;
		else
			return true;
	return false;
}

/* ---- words ---- */

struct words {
	char *at, *end;
	char **argv;
	size_t n;
	bool within;
};

static int put(struct words *w, const char *text)
{
	size_t n = strlen(text);

	if (!w->within) {
		if (w->n == RUNNER_WORDS_MAX)
			return -EINVAL;
		w->argv[w->n++] = w->at;
		w->within = true;
	}
	if (n >= (size_t)(w->end - w->at))
		return -EINVAL;
	memcpy(w->at, text, n);
	w->at += n;
	return 0;
}

static void end_word(struct words *w)
{
	if (w->within)
		*w->at++ = '\0';
	w->within = false;
}

static int put_percent(struct words *w, const struct runner_request *q, char what)
{
	char number[16];

	switch (what) {
	case 'n':
		return put(w, q->name);
	case 'v':
		snprintf(number, sizeof number, "%u", q->version);
		return put(w, number);
	case 'e':
		return put(w, q->event ? event_name((enum event_kind)q->event) : "Rotate");
	case '%':
		return put(w, "%");
	default:
		return -EINVAL;
	}
}

/* Takes what stands at *p, and moves on; quote is the quote that is open. */
static int take(struct words *w, const struct runner_request *q, const char **p, char *quote)
{
	char text[2] = { **p, '\0' };

	if (**p == *quote) {
		*quote = '\0';
		(*p)++;
		return 0;
	}
	if (!*quote && (**p == ' ' || **p == '\t')) {
		end_word(w);
		(*p)++;
		return 0;
	}
	if (!*quote && (**p == '\'' || **p == '"')) {
		*quote = *(*p)++;
		return put(w, ""); /* an empty word is one */
	}
	if (**p == '%') {
		int r = put_percent(w, q, (*p)[1]);
		*p += (*p)[1] ? 2 : 1;
		return r;
	}
	if (**p == '\\' && *quote != '\'' && (!*quote || ((*p)[1] && strchr("\\\"$`", (*p)[1])))) {
		text[0] = *++*p;
		if (!text[0])
			return -EINVAL;
	}
	(*p)++;
	return put(w, text);
}

int runner_expand(const struct runner_request *q, char **ret_buf, char *ret_argv[RUNNER_WORDS_MAX + 1])
{
	const size_t room = HOOK_COMMAND_MAX * (NAME_LEN_MAX / 2 + 1); /* every other byte a %n */
	char *buf = malloc(room), quote = '\0';
	struct words w = { .at = buf, .end = buf + room - 1, .argv = ret_argv };
	const char *p = q->command;
	int r = buf ? 0 : -ENOMEM;

	while (r == 0 && *p)
		r = take(&w, q, &p, &quote);
	if (r == 0 && (quote || (!w.within && w.n == 0)))
		r = -EINVAL;
	if (r < 0) {
		free(buf);
		return r;
	}
	end_word(&w);
	ret_argv[w.n] = NULL;
	*ret_buf = buf;
	return 0;
}

char runner_command_shellish(const char *command)
{
	bool begins = true;
	char quote = '\0';

	for (const char *p = command; *p; p++) {
		const bool blank = *p == ' ' || *p == '\t';
		if (quote == '\'' || (quote && *p == quote))
			quote = *p == quote ? '\0' : quote;
		else if (*p == '\\' && p[1])
			p++;
		else if (*p == '$' || *p == '`' || (!quote && strchr("|&;<>()*?[", *p)) ||
			 (!quote && begins && (*p == '#' || *p == '~')))
			return *p;
		else if (!quote && (*p == '\'' || *p == '"'))
			quote = *p;
		begins = !quote && blank;
	}
	return '\0';
}

/* ---- the list ---- */

/* The file as it is now, malloc'd with a NUL. Whoever could change it could have programs run as anybody. */
static int read_list(int dir, char **ret_text, char *why, size_t why_len)
{
	struct stat st;
	char *text = NULL;
	size_t n = 0;
	int fd = openat(dir, RUNNER_ALLOW, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0) {
		if (errno == ENOENT)
			snprintf(why, why_len,
				 "there is no " RUNNER_ALLOW " in the store's directory, so no program may run");
		else
			snprintf(why, why_len, RUNNER_ALLOW " cannot be opened: %s; run: chmod 644 on it",
				 strerror(errno));
		return -EPERM;
	}
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_uid != 0 || (st.st_mode & 022) ||
	    st.st_size > ALLOW_BYTES_MAX) {
		snprintf(why, why_len,
			 RUNNER_ALLOW " must be a file of root's that nobody else can write; run: chown root:root and "
				      "chmod 644 on it");
		goto out;
	}
	text = malloc((size_t)st.st_size + 1);
	while (text && n < (size_t)st.st_size) {
		ssize_t got = read(fd, text + n, (size_t)st.st_size - n);
		if (got <= 0)
			break;
		n += (size_t)got;
	}
out:
	close(fd);
	if (!text)
		return -EPERM;
	text[n] = '\0';
	*ret_text = text;
	return 0;
}

/* Nobody else can put another in its place: not in a directory above it. With the sticky bit nobody takes away or
 * renames what is not his. */
static bool ways_are_safe(const char *path, uint32_t user)
{
	char upto[PATH_MAX];
	struct stat st;

	if (strlen(path) >= sizeof upto)
		return false;
	for (const char *slash = path; (slash = strchr(slash, '/')); slash++) {
		snprintf(upto, sizeof upto, "%.*s", (int)(slash - path + 1), path);
		if (stat(upto, &st) || (st.st_uid != 0 && st.st_uid != user) ||
		    ((st.st_mode & 022) && !(st.st_mode & S_ISVTX)))
			return false;
	}
	return true;
}

/* Not writable by anybody but root and the user who runs it, under its name and where links lead to: else a line of the
 * list would say nothing. */
static int check_program(const char *path, uint32_t user, char *why, size_t why_len)
{
	char real[PATH_MAX];
	struct stat st;

	if (stat(path, &st)) {
		const int e = errno;
		if (e == ENOENT || e == ENOTDIR)
			snprintf(why, why_len, "there is no program %.120s", path);
		else
			snprintf(why, why_len, "%.120s: %s", path, strerror(e));
		return e == ENOENT || e == ENOTDIR ? -ENOENT : -EPERM;
	}
	if (!S_ISREG(st.st_mode)) {
		snprintf(why, why_len, "%.120s is %s, not a program", path,
			 S_ISDIR(st.st_mode) ? "a directory" : "no file");
		return -EPERM;
	}
	if (!(st.st_mode & 0111)) {
		snprintf(why, why_len, "%.120s is not executable: chmod +x", path);
		return -EPERM;
	}
	if ((st.st_mode & 022) || (st.st_uid != 0 && st.st_uid != user)) {
		snprintf(why, why_len,
			 "%.120s can be written by others than root and the user who runs it: chown root, chmod go-w",
			 path);
		return -EPERM;
	}
	if (!realpath(path, real) || !ways_are_safe(path, user) || !ways_are_safe(real, user)) {
		snprintf(why, why_len,
			 "%.80s: in a directory above it others could put another program in its place: chown root, "
			 "chmod go-w",
			 path);
		return -EPERM;
	}
	return 0;
}

/* Whoever runs as the same user as a program can take the pipe that the program prints a new value into. */
int runner_user_check(uint32_t user, char *why, size_t why_len)
{
	struct passwd pw, *found = NULL;
	char buf[4096];

	if (user != HOOK_USER_NOBODY &&
	    (getpwuid_r(user, &pw, buf, sizeof buf, &found) || !found || strcmp(pw.pw_name, "nobody") != 0))
		return 0;
	snprintf(why, why_len,
		 "uid %u is nobody, whose every process could take what the program prints: set the rule again without "
		 "--user, or with a user of its own",
		 user);
	return -EPERM;
}

int runner_command_check(uint32_t user, const char *command, char *why, size_t why_len)
{
	struct runner_request q = { .user = user, .name = "x", .version = 1 };
	char *argv[RUNNER_WORDS_MAX + 1], *buf = NULL;
	int r = runner_user_check(user, why, why_len);

	if (r < 0)
		return r;
	/* a percent in the path would let whoever names a secret choose among programs */
	if ((size_t)snprintf(q.command, sizeof q.command, "%s", command) >= sizeof q.command || command[0] != '/' ||
	    strcspn(command, " ") > strcspn(command, "%'\"\\\t") || runner_expand(&q, &buf, argv) < 0) {
		snprintf(why, why_len,
			 "a command is a program's whole path and words as a shell has them, with %%n, %%v, %%e and "
			 "%%%% alone for percents, each quote closed, and neither in the path");
		return -EINVAL;
	}
	r = check_program(argv[0], user, why, why_len);
	free(buf);
	return r;
}

int runner_allowed(int dir, uint32_t user, const char *command, char *why, size_t why_len)
{
	char wanted[HOOK_COMMAND_MAX + 16], *text = NULL, *rest;
	bool found = false;
	int r = runner_user_check(user, why, why_len);

	if (r == 0)
		r = read_list(dir, &text, why, why_len);
	if (r < 0)
		return r;
	snprintf(wanted, sizeof wanted, "%u %s", user, command);
	for (char *line = strtok_r(text, "\n", &rest); line && !found; line = strtok_r(NULL, "\n", &rest))
		found = !strcmp(line, wanted);
	free(text);
	if (found)
		return runner_command_check(user, command, why, why_len);
	snprintf(why, why_len, RUNNER_ALLOW " has no line \"%.120s\"", wanted);
	return -EPERM;
}
