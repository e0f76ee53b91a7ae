#include "fs/cli/commands/doctor_programs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/cli/common/store_access.h"
#include "fs/cli/common/users.h"
#include "fs/helpers/runner.h"

#define USERS_TOLD  64 /* different users of the list; there are hardly more */
#define LINE_LEN    (HOOK_COMMAND_MAX + 32)
#define DESCENT_MAX 64
#define YAMA        "/proc/sys/kernel/yama/ptrace_scope"

/* A user of hooks.allow, how many lines name it, and who else runs as it. */
struct program_user {
	uint32_t uid;
	size_t programs, others;
	pid_t other;
	char comm[32];
};

struct survey {
	void (*say)(void *arg, bool warn, const char *text);
	void *arg;
	bool warned;
	struct program_user users[USERS_TOLD];
	size_t n;
};

__attribute__((format(printf, 2, 3))) static void warn(struct survey *s, const char *format, ...)
{
	char text[768];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	s->warned = true;
	s->say(s->arg, true, text);
}

/* ---- the list ---- */

static void count_line(struct survey *s, const char *line)
{
	char *end;
	unsigned long uid;
	size_t i;

	errno = 0;
	uid = strtoul(line, &end, 10);
	if (errno || end == line || *end != ' ' || uid >= UINT32_MAX)
		return;
	for (i = 0; i < s->n && s->users[i].uid != uid; i++)
		;
	if (i == USERS_TOLD)
		return;
	if (i == s->n)
		s->users[s->n++] = (struct program_user){ .uid = (uint32_t)uid };
	s->users[i].programs++;
}

/* False: no program is allowed. */
static bool read_list(struct survey *s, const char *store)
{
	char path[PATH_MAX + 32], line[LINE_LEN];
	FILE *f;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", store, RUNNER_ALLOW);
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	f = fd < 0 ? NULL : fdopen(fd, "r");
	if (!f) {
		if (fd >= 0)
			close(fd);
		else if (errno != ENOENT)
			warn(s, "%s cannot be looked at: %s", path, strerror(errno));
		return false;
	}
	while (fgets(line, sizeof(line), f))
		count_line(s, line);
	fclose(f);
	return s->n > 0;
}

/* ---- processes ---- */

struct process {
	pid_t parent;
	uint32_t uid;
	char comm[32];
};

static bool read_process(pid_t pid, struct process *ret)
{
	char path[64], line[256];
	unsigned long uid = UINT32_MAX;
	int parent = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	*ret = (struct process){ 0 };
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "Name:\t", 6))
			snprintf(ret->comm, sizeof(ret->comm), "%.*s", (int)strcspn(line + 6, "\n"), line + 6);
		(void)(sscanf(line, "PPid: %d", &parent) || sscanf(line, "Uid: %lu", &uid));
	}
	fclose(f);
	ret->parent = parent;
	ret->uid = (uint32_t)uid;
	return true;
}

/* A program of the daemon's, or what one began. */
static bool descends(const struct process *p, pid_t runner)
{
	struct process up = *p;

	for (int i = 0; runner > 0 && i < DESCENT_MAX && up.parent > 1; i++) {
		if (up.parent == runner)
			return true;
		if (!read_process(up.parent, &up))
			return false;
	}
	return false;
}

static void note_process(struct survey *s, pid_t pid, pid_t runner)
{
	struct process p;

	if (!read_process(pid, &p))
		return;
	for (size_t i = 0; i < s->n; i++) {
		struct program_user *u = &s->users[i];

		if (u->uid != p.uid || u->uid == 0 || descends(&p, runner))
			continue;
		if (!u->others++) {
			u->other = pid;
			snprintf(u->comm, sizeof(u->comm), "%s", p.comm);
		}
	}
}

static void look_at_processes(struct survey *s, pid_t runner)
{
	DIR *d = opendir("/proc");
	struct dirent *e;

	while (d && (e = readdir(d))) {
		char *end;
		const long pid = strtol(e->d_name, &end, 10);

		if (pid > 0 && !*end)
			note_process(s, (pid_t)pid, runner);
	}
	if (d)
		closedir(d);
}

/* ---- what is said ---- */

static bool is_daemons(const char *store, uint32_t uid)
{
	char prefix[USER_MAX + 8], users[USERS][USER_MAX + 8];

	offline_prefix(store, prefix);
	offline_users(prefix, users);
	for (size_t i = 0; i < USERS; i++) {
		const struct passwd *pw = getpwnam(users[i]);
		if (pw && pw->pw_uid == uid)
			return true;
	}
	return false;
}

static void tell_user(struct survey *s, const char *store, const struct program_user *u)
{
	char why[RUNNER_TEXT_MAX];

	if (runner_user_check(u->uid, why, sizeof(why)) < 0) {
		warn(s,
		     "%zu line%s of %s/%s name%s uid %u, nobody, as whom no program runs: set the rules again (coffer "
		     "hook add, coffer rotation set), and take the lines out",
		     u->programs, u->programs == 1 ? "" : "s", store, RUNNER_ALLOW, u->programs == 1 ? "s" : "",
		     u->uid);
		return;
	}
	if (u->uid == 0) /* root reaches everything in any case */
		return;
	if (is_daemons(store, u->uid))
		warn(s,
		     "uid %u, as whom a program runs, is one of the daemon's own: give programs a user of their own "
		     "with --user",
		     u->uid);
	if (u->programs > 1)
		warn(s,
		     "uid %u runs %zu programs, and each could take what another prints: a program that makes values "
		     "had better have a user of its own, with --user",
		     u->uid, u->programs);
	if (u->others)
		warn(s,
		     "process %d (%s)%s also run%s as uid %u, and could take what a program prints that runs as it: "
		     "name another user with --user",
		     (int)u->other, u->comm, u->others > 1 ? " and others" : "", u->others > 1 ? "" : "s", u->uid);
}

/* With Yama only a parent looks into a process, as long as nobody allows more. */
static void look_at_yama(struct survey *s)
{
	char text[16] = "";
	int fd = open(YAMA, O_RDONLY | O_CLOEXEC);
	bool users = false;

	for (size_t i = 0; i < s->n; i++)
		users |= s->users[i].uid != 0;
	if (fd >= 0 && read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	if (fd >= 0)
		close(fd);
	if (users && fd < 0)
		warn(s, "this kernel has no kernel.yama.ptrace_scope: processes of one user can look into each other, "
			"so programs should not share users");
	else if (users && text[0] == '0')
		warn(s, "kernel.yama.ptrace_scope is 0: processes of one user can look into each other; sysctl -w "
			"kernel.yama.ptrace_scope=1 forbids it");
}

void doctor_programs(const char *store, pid_t runner, void (*say)(void *arg, bool warn, const char *text), void *arg)
{
	struct survey s = { .say = say, .arg = arg };

	if (!read_list(&s, store)) {
		if (!s.warned)
			say(arg, false, "none is allowed to run");
		return;
	}
	look_at_processes(&s, runner);
	for (size_t i = 0; i < s.n; i++)
		tell_user(&s, store, &s.users[i]);
	look_at_yama(&s);
	if (!s.warned)
		say(arg, false, "run as users that nobody shares");
}
