#include "fs/cli/common/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/cli/common/harmless.h"
#include "fs/cli/common/names.h"
#include "fs/common/timefmt.h"

#define RECORD_MAX (1u << 20) /* bytes of one line; the files' own are far shorter */
#define FOLLOW_MS  200

struct reader {
	int fd;
	const struct lines_file *file;
	bool follow, json;
	bool any; /* a record was printed */
	struct lines_filter filter;
	const char *word; /* of lines_each */
	void (*each)(const json_t *record, void *arg);
	void *arg;
	char *line;
	size_t len, size;
};

const char *lines_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static void put_record(const char *line, size_t len)
{
	char *text = strndup(line, len);

	if (text)
		put_harmless_json(stdout, text);
	free(text);
}

static void take_line(struct reader *r, const char *line, size_t len)
{
	json_t *record = json_loadb(line, len, 0, NULL);

	/* A torn line is what a crash leaves; the log's next record names it. */
	if (!json_is_object(record) || !r->file->wanted(&r->filter, record)) {
		json_decref(record);
		return;
	}
	if (!r->json) {
		if (!r->any)
			r->file->print_header();
		r->file->print(record);
	} else {
		/* As it was written: whoever verifies the chain needs the very bytes. A terminal does not. */
		fputs(r->follow ? "" : r->any ? ",\n" : "[\n", stdout);
		if (isatty(STDOUT_FILENO))
			put_record(line, len);
		else
			fwrite(line, 1, len, stdout);
		if (r->follow)
			putchar('\n');
	}
	r->any = true;
	json_decref(record);
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
		r->len = 0; /* no record is that long: not a log's line */
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

static int explain(const struct lines_file *file, const char *mount, int error)
{
	switch (error) {
	case EACCES:
		return fail(EXIT_DENIED,
			    "you may not read %s: no binding gives you audit/read; an administrator can: %s grant "
			    "auditor user:%u --on '*'",
			    file->what, mount_command(mount), (unsigned)geteuid());
	case EKEYREVOKED:
		return fail(EXIT_DENIED, "your right to read %s was taken away", file->what);
	case ENOTCONN:
	case ECONNABORTED:
		return fail(EXIT_UNAVAILABLE, "no daemon stands behind %s any more; see: " COFFER " doctor", mount);
	case ENOKEY:
		return fail(EXIT_UNAVAILABLE,
			    "the vault is sealed, so nobody's right to read %s is known; as root: %s unseal",
			    file->what, mount_command(mount));
	default:
		return fail(exit_for_errno(error), "cannot read %s/.coffer/%s: %s; see: " COFFER " doctor", mount,
			    file->name, strerror(error));
	}
}

/* EXIT_DONE and a reader at the file's beginning; free its line, close its fd. */
static int reader_open(struct cli *c, struct reader *r, const struct mount **ret_mount)
{
	char path[PATH_MAX + 32];
	int status = cli_mount(c, ret_mount);

	if (status)
		return status;
	snprintf(path, sizeof(path), "%s/.coffer/%s", (*ret_mount)->path, r->file->name);
	r->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (r->fd < 0)
		return explain(r->file, (*ret_mount)->path, errno);
	r->line = malloc(r->size);
	return EXIT_DONE;
}

int lines_each(struct cli *c, const struct lines_file *file, const char *word,
	       void (*fn)(const json_t *record, void *arg), void *arg)
{
	struct reader r = { .fd = -1, .file = file, .size = RECORD_MAX, .word = word, .each = fn, .arg = arg };
	const struct mount *m;
	int error, status = reader_open(c, &r, &m);

	if (status)
		return status;
	error = r.line ? drain(&r) : -ENOMEM;
	if (error < 0)
		status = explain(file, m->path, -error);
	free(r.line);
	close(r.fd);
	return status;
}

int lines_run(struct cli *c, const struct args *a, const struct lines_file *file, struct lines_filter filter)
{
	const char *since = args_value(a, "since");
	const struct timespec pause = { .tv_nsec = FOLLOW_MS * 1000000 };
	struct reader r = { .fd = -1,
			    .file = file,
			    .filter = filter,
			    .follow = args_has(a, "follow"),
			    .json = c->output == OUTPUT_JSON,
			    .size = RECORD_MAX };
	const struct mount *m;
	int status, error;

	r.filter.secret = args_value(a, "secret");
	r.filter.since_given = since != NULL;
	status = r.filter.secret ? secret_name_check(r.filter.secret) : EXIT_DONE;
	if (status)
		return status;
	if (since && time_parse_since(since, time_now(), &r.filter.since) < 0)
		return fail(EXIT_USAGE,
			    "--since \"%s\" is not a time; write 2027-01-31T12:00:00Z, or a span such as 12h for the "
			    "last 12 hours",
			    since);
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
		status = explain(file, m->path, -error);
	else if (!r.any && !r.json)
		note("%s", file->none);
	free(r.line);
	close(r.fd);
	return status;
}
