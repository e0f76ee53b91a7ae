#include "fs/cli/auditlog.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/cli/client.h"
#include "fs/cli/output.h"
#include "fs/cli/secrets.h"
#include "fs/timefmt.h"

#define RECORD_MAX (1u << 20)	/* bytes of one line; the log's own are far shorter */
#define FOLLOW_MS  200

struct filter {
	bool since_given, denied;
	int64_t since;
	const char *secret;
};

struct reader {
	int fd;
	bool follow, json;
	bool any;		/* a record was printed */
	struct filter filter;
	const char *word;	/* of auditlog_each */
	void (*each)(const json_t *record, void *arg);
	void *arg;
	char *line;
	size_t len, size;
};

static bool wanted(const struct filter *f, const json_t *record)
{
	const char *time = json_string_value(json_object_get(record, "time"));
	const char *result = json_string_value(json_object_get(record, "result"));
	const char *secret = json_string_value(json_object_get(record, "secret"));
	int64_t t;

	if (f->since_given && (!time || time_parse_rfc3339(time, &t) < 0 || t < f->since))
		return false;
	if (f->denied && (!result || strcmp(result, "deny") != 0))
		return false;
	return !f->secret || (secret && strcmp(secret, f->secret) == 0);
}

/* "alice(1000)", or the number alone. */
static void who(const json_t *caller, char *ret, size_t len)
{
	const json_t *uid = json_object_get(caller, "uid");
	const struct passwd *pw;

	if (!json_is_integer(uid)) {
		snprintf(ret, len, "coffer itself");
		return;
	}
	pw = getpwuid((uid_t)json_integer_value(uid));
	if (pw)
		snprintf(ret, len, "%s(%u)", pw->pw_name, (unsigned)json_integer_value(uid));
	else
		snprintf(ret, len, "%u", (unsigned)json_integer_value(uid));
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

/* Columns of a fixed width: the log may be long, and may still be growing. */
static void print_record(const json_t *record)
{
	const json_t *caller = json_object_get(record, "caller"), *number;
	char user[128], subject[192], *line = NULL;
	const char *secret = text_of(record, "secret");

	who(caller, user, sizeof(user));
	number = json_object_get(record, "version");
	if (*secret && json_integer_value(number) > 0)
		snprintf(subject, sizeof(subject), "%s/%" JSON_INTEGER_FORMAT, secret, json_integer_value(number));
	else
		snprintf(subject, sizeof(subject), "%s", *secret ? secret : "-");
	if (asprintf(&line, "%-30s  %-18s  %-6s  %-24s  %-20s  %s%s%s%s%s", text_of(record, "time"), text_of(record, "operation"),
		     text_of(record, "result"), subject, user, text_of(caller, "comm"), *text_of(caller, "container") ? " " : "",
		     text_of(caller, "container"), *text_of(record, "detail") ? ": " : "", text_of(record, "detail")) < 0)
		return;
	output_harmless(line);
	fputs(line, stdout);
	free(line);
	number = json_object_get(record, "count");
	if (json_integer_value(number) > 1)
		printf(" (%" JSON_INTEGER_FORMAT " times)", json_integer_value(number));
	putchar('\n');
}

static void print_header(void)
{
	printf("%-30s  %-18s  %-6s  %-24s  %-20s  %s\n", "TIME", "OPERATION", "RESULT", "SECRET/VERSION", "CALLER", "PROCESS");
}

static void hand_line(struct reader *r, const char *line, size_t len)
{
	json_t *record = r->any && !memmem(line, len, r->word, strlen(r->word)) ? NULL : json_loadb(line, len, 0, NULL);

	if (json_is_object(record)) {
		r->each(record, r->arg);
		r->any = true;
	}
	json_decref(record);
}

static void take_line(struct reader *r, const char *line, size_t len)
{
	json_t *record = json_loadb(line, len, 0, NULL);

	/* A torn line is what a crash leaves; the log's next record names it. */
	if (!json_is_object(record) || !wanted(&r->filter, record)) {
		json_decref(record);
		return;
	}
	if (!r->json) {
		if (!r->any)
			print_header();
		print_record(record);
	} else {
		/* As it was written: whoever verifies the chain needs the very bytes. */
		fputs(r->follow ? "" : r->any ? ",\n" : "[\n", stdout);
		fwrite(line, 1, len, stdout);
		if (r->follow)
			putchar('\n');
	}
	r->any = true;
	json_decref(record);
}

static void take_lines(struct reader *r)
{
	size_t done = 0;
	char *end;

	while ((end = memchr(r->line + done, '\n', r->len - done))) {
		(r->each ? hand_line : take_line)(r, r->line + done, (size_t)(end - r->line) - done);
		done = (size_t)(end - r->line) + 1;
	}
	memmove(r->line, r->line + done, r->len - done);
	r->len -= done;
	if (r->len == r->size)
		r->len = 0;	/* no record is that long: not a log's line */
}

/* Reads on until the end: 0, or negative errno. */
static int drain(struct reader *r)
{
	for (;;) {
		ssize_t n = read(r->fd, r->line + r->len, r->size - r->len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		r->len += (size_t)n;
		take_lines(r);
	}
}

static int explain(const char *mount, int error)
{
	switch (error) {
	case EACCES:
		return fail(EXIT_DENIED, "you may not read the audit log: no binding gives you audit/read; an administrator can: coffer -m %s grant "
			    "auditor user:%u --on '*'", mount, (unsigned)geteuid());
	case EKEYREVOKED:
		return fail(EXIT_DENIED, "your right to read the audit log was taken away");
	case ENOTCONN:
	case ECONNABORTED:
		return fail(EXIT_UNAVAILABLE, "no daemon stands behind %s any more; see: coffer doctor", mount);
	case ENOKEY:
		return fail(EXIT_UNAVAILABLE, "the vault is sealed, so nobody's right to read the log is known; as root: coffer unseal");
	default:
		return fail(exit_for_errno(error), "cannot read %s/.coffer/audit: %s; see: coffer doctor", mount, strerror(error));
	}
}

/* EXIT_DONE and a reader at the log's beginning; free its line, close its fd. */
static int reader_open(struct cli *c, struct reader *r, const struct mount **ret_mount)
{
	char path[PATH_MAX + 32];
	int status = cli_mount(c, ret_mount);

	if (status)
		return status;
	snprintf(path, sizeof(path), "%s/.coffer/audit", (*ret_mount)->path);
	r->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (r->fd < 0)
		return explain((*ret_mount)->path, errno);
	r->line = malloc(r->size);
	return EXIT_DONE;
}

int auditlog_each(struct cli *c, const char *word, void (*fn)(const json_t *record, void *arg), void *arg)
{
	struct reader r = { .fd = -1, .size = RECORD_MAX, .word = word, .each = fn, .arg = arg };
	const struct mount *m;
	int error, status = reader_open(c, &r, &m);

	if (status)
		return status;
	error = r.line ? drain(&r) : -ENOMEM;
	if (error < 0)
		status = explain(m->path, -error);
	free(r.line);
	close(r.fd);
	return status;
}

int cmd_audit(struct cli *c, const struct args *a)
{
	const char *since = args_value(a, "since");
	const struct timespec pause = { .tv_nsec = FOLLOW_MS * 1000000 };
	struct reader r = { .fd = -1, .follow = args_has(a, "follow"), .json = c->output == OUTPUT_JSON, .size = RECORD_MAX };
	const struct mount *m;
	int status, error;

	r.filter.denied = args_has(a, "denied");
	r.filter.secret = args_value(a, "secret");
	r.filter.since_given = since != NULL;
	status = r.filter.secret ? secret_name_check(r.filter.secret) : EXIT_DONE;
	if (status)
		return status;
	if (since && time_parse_since(since, time_now(), &r.filter.since) < 0)
		return fail(EXIT_USAGE, "--since \"%s\" is not a time; write 2027-01-31T12:00:00Z, or a span such as 12h for the last 12 hours", since);
	status = reader_open(c, &r, &m);
	if (status)
		return status;
	error = r.line ? drain(&r) : -ENOMEM;
	while (error == 0 && r.follow) {
		if (fflush(stdout) != 0)
			break;
		nanosleep(&pause, NULL);
		error = drain(&r);
	}
	/* What was printed stays a whole JSON text, whatever happened after it. */
	if (r.json && !r.follow)
		fputs(r.any ? "\n]\n" : "[]\n", stdout);
	if (error < 0)
		status = explain(m->path, -error);
	else if (!r.any && !r.json)
		note("no records that match");
	free(r.line);
	close(r.fd);
	return status;
}
