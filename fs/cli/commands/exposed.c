/* What a principal has read, from the audit log; and who still has it open. */
#include "fs/cli/common/cli.h"

#include <errno.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/cli/commands/auditlog.h"
#include "fs/cli/common/client.h"
#include "fs/cli/common/names.h"
#include "fs/cli/common/output.h"
#include "fs/cli/commands/secrets.h"
#include "fs/cli/commands/suspect.h"
#include "fs/common/timefmt.h"
#include "policy/scope.h"
#include "fs/cli/commands/commands.h"

#define POLL_FIRST_MS 100
#define POLL_LAST_MS  1000
#define TIMEOUT_NS    INT64_MAX

/* ---- what ---- */

struct exposed {
	char name[NAME_LEN_MAX + 1];
	uint32_t *versions;
	size_t n;
	json_int_t reads, backups;
	bool certain; /* that it was the one who is asked about */
	char first[TIME_TEXT_MAX], last[TIME_TEXT_MAX];
};

struct survey {
	struct suspect who;
	bool since_given;
	int64_t since;
	char begins[TIME_TEXT_MAX]; /* time of the log's first record */
	void *names;                /* of struct exposed, by tsearch(3) */
	/* when the whole vault was backed up, by records that name no secret; "": never */
	char whole[TIME_TEXT_MAX];
	bool short_of_memory;
	json_t *list; /* while it is printed */
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct exposed *)a)->name, ((const struct exposed *)b)->name);
}

static struct exposed *exposed_of(struct survey *s, const char *name)
{
	struct exposed *new = calloc(1, sizeof(*new)), **found;

	if (!new)
		return NULL;
	snprintf(new->name, sizeof(new->name), "%s", name);
	found = tsearch(new, &s->names, by_name);
	if (!found || *found != new)
		free(new);
	return found ? *found : NULL;
}

static bool add_version(struct exposed *e, uint32_t version)
{
	uint32_t *grown;

	for (size_t i = 0; i < e->n; i++)
		if (e->versions[i] == version)
			return true;
	grown = reallocarray(e->versions, e->n + 1, sizeof(*grown));
	if (!grown)
		return false;
	e->versions = grown;
	grown[e->n++] = version;
	return true;
}

static bool is_word(const json_t *record, const char *field, const char *wanted)
{
	const char *text = json_string_value(json_object_get(record, field));

	return text && !strcmp(text, wanted);
}

/* An open, or a backup that was handed out. One to a registered recipient is not for the eyes of whoever makes it, but
 * what becomes of it nobody knows. */
static bool gives_away(const json_t *record, bool *ret_backup)
{
	*ret_backup = is_word(record, "operation", "SecretBackup");
	return (*ret_backup || is_word(record, "operation", "SecretGet")) && is_word(record, "result", "allow");
}

/* Of a backup's beginning, which names no version: the versions follow, each in a record of its own. Before records had
 * a principal they did not. */
static bool is_older(const json_t *record) { return !json_object_get(record, "principal"); }

static void add(struct survey *s, const json_t *record, bool backup, enum suspicion suspicion)
{
	const char *name = json_string_value(json_object_get(record, "secret"));
	const json_int_t version = json_integer_value(json_object_get(record, "version"));
	char first[TIME_TEXT_MAX], last[TIME_TEXT_MAX];
	struct exposed *e = exposed_of(s, name);

	if (!e || (version > 0 && !add_version(e, (uint32_t)version))) {
		s->short_of_memory = true;
		return;
	}
	*(backup ? &e->backups : &e->reads) += auditlog_count(record, first, last);
	e->certain |= suspicion == SUSPECT_CERTAINLY;
	if (!*e->first)
		snprintf(e->first, sizeof(e->first), "%s", first);
	snprintf(e->last, sizeof(e->last), "%s", last);
}

static void take(const json_t *record, void *arg)
{
	struct survey *s = arg;
	const char *name = json_string_value(json_object_get(record, "secret")),
		   *at = json_string_value(json_object_get(record, "time"));
	const json_int_t version = json_integer_value(json_object_get(record, "version"));
	enum suspicion suspicion;
	bool backup;
	int64_t t;

	if (!at || time_parse_rfc3339(at, &t) < 0)
		return;
	if (!*s->begins)
		snprintf(s->begins, sizeof(s->begins), "%s", at);
	if ((s->since_given && t < s->since) || !gives_away(record, &backup) ||
	    (suspicion = suspect_look(&s->who, record)) == SUSPECT_NOT)
		return;
	if (name && (version > 0 || (backup && is_older(record))))
		add(s, record, backup, suspicion);
	else if (backup && !name && is_older(record))
		snprintf(s->whole, sizeof(s->whole), "%s", at);
}

static void list_one(const void *node, VISIT visit, void *arg)
{
	const struct exposed *e = *(struct exposed *const *)node;
	struct survey *s = arg;
	json_t *versions;

	if (visit != postorder && visit != leaf)
		return;
	versions = json_array();
	for (size_t i = 0; i < e->n; i++)
		json_array_append_new(versions, json_integer(e->versions[i]));
	if (json_array_append_new(s->list, json_pack("{s:s, s:o, s:I, s:I, s:s, s:s, s:b}", "name", e->name, "versions",
						     versions, "reads", e->reads, "backups", e->backups, "first",
						     e->first, "last", e->last, "certain", (int)e->certain)) < 0)
		s->short_of_memory = true;
}

static void exposed_free(void *node)
{
	struct exposed *e = node;

	free(e->versions);
	free(e);
}

/* Names alone, one on each line, unless a form is asked for: so that they can be piped on. */
static int print_exposed(struct cli *c, const json_t *list)
{
	static const struct column columns[] = {
		{ "NAME", "name" },   { "VERSIONS", "versions" }, { "READS", "reads" },     { "BACKUPS", "backups" },
		{ "FIRST", "first" }, { "LAST", "last" },         { "CERTAIN", "certain" },
	};
	const json_t *one;
	size_t i;

	if (c->output_given)
		return output_list(c, list, columns, sizeof(columns) / sizeof(columns[0]), "nothing was read");
	json_array_foreach(list, i, one)
		output_line("%s", json_string_value(json_object_get(one, "name")));
	if (json_array_size(list) == 0)
		note("nothing was read");
	return EXIT_DONE;
}

/* What the list alone does not say. */
static void print_doubts(const struct survey *s)
{
	size_t possibly = 0, i;
	const json_t *one;

	json_array_foreach(s->list, i, one)
		possibly += !json_is_true(json_object_get(one, "certain"));
	if (possibly)
		note("%zu of these possibly: the log does not tell for certain who it was (--output table shows which)",
		     possibly);
	if (*s->whole)
		note("and a backup of the whole vault, the last at %s: of every secret that there was; the log names "
		     "none of them",
		     s->whole);
}

int cmd_exposed(struct cli *c, const struct args *a)
{
	const char *since = args_value(a, "since");
	struct survey s = { .since_given = since != NULL };
	int64_t begins;
	int status = suspect_parse(a->operands[0], &s.who);

	if (status == EXIT_DONE && since && time_parse_since(since, time_now(), &s.since) < 0)
		status = fail(EXIT_USAGE,
			      "--since \"%s\" is not a time; write 2027-01-31T12:00:00Z, or a span such as 12h for the "
			      "last 12 hours",
			      since);
	if (status == EXIT_DONE)
		status = auditlog_each(c, "\"Secret", take, &s);
	if (status)
		goto out;
	s.list = json_array();
	twalk_r(s.names, list_one, &s);
	if (s.short_of_memory) {
		status = fail(EXIT_ERROR, "not enough memory");
		goto out;
	}
	if (since && *s.begins && time_parse_rfc3339(s.begins, &begins) == 0 && begins > s.since)
		note("the log that is kept begins at %s: what was read before is not in it", s.begins);
	status = print_exposed(c, s.list);
	print_doubts(&s);
out:
	json_decref(s.list);
	tdestroy(s.names, exposed_free);
	suspect_free(&s.who);
	return status;
}

/* ---- holders, wait-drained ---- */

static int named_request(const char *op, const struct args *a, json_t **ret_request)
{
	const char *version = args_value(a, "version");
	long long number = 0;
	int status = secret_name_check(a->operands[0]);

	if (status == EXIT_DONE && version)
		status = version_check(version, &number);
	if (status)
		return status;
	*ret_request = json_pack("{s:s, s:s}", "op", op, "name", a->operands[0]);
	if (*ret_request && version)
		json_object_set_new(*ret_request, "version", json_integer(number));
	return EXIT_DONE;
}

int cmd_holders(struct cli *c, const struct args *a)
{
	static const struct column columns[] = {
		{ "PID", "pid" },         { "COMM", "comm" },   { "UID", "uid" },
		{ "VERSION", "version" }, { "FILES", "files" }, { "SINCE", "since" },
		{ "RUNNING", "running" }, { "UNIT", "unit" },   { "CONTAINER", "container" },
	};
	json_t *request = NULL, *answer = NULL;
	int status = named_request("holders", a, &request);

	if (status == EXIT_DONE)
		status = client_ask(c, request, &answer);
	if (status == EXIT_DONE)
		status = output_list(c, json_object_get(answer, "holders"), columns,
				     sizeof(columns) / sizeof(columns[0]), "nobody has it open");
	json_decref(answer);
	return status;
}

static int64_t monotonic_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* How many files there are: 0 or more; -1 with the error printed. */
static int ask_open(struct cli *c, const json_t *request, json_int_t *ret_open)
{
	json_t *answer = NULL;
	int status = client_ask(c, json_deep_copy(request), &answer);

	if (status == EXIT_DONE)
		*ret_open = json_integer_value(json_object_get(answer, "open"));
	json_decref(answer);
	return status;
}

int cmd_wait_drained(struct cli *c, const struct args *a)
{
	const char *timeout = args_value(a, "timeout");
	int64_t limit = TIMEOUT_NS, began = monotonic_ns(), pause = POLL_FIRST_MS;
	json_t *request = NULL;
	json_int_t open = 0;
	int status;

	if (!args_has(a, "version"))
		return fail(EXIT_USAGE,
			    "--version N is missing: which version is to be closed by everybody? see: " COFFER
			    " holders %s",
			    a->operands[0]);
	if (timeout && time_parse_span(timeout, &limit) < 0)
		return fail(EXIT_USAGE, "--timeout \"%s\" is not a span; write 30s, 5m or 2h", timeout);
	status = named_request("drained", a, &request);
	while (status == EXIT_DONE) {
		status = ask_open(c, request, &open);
		if (status || open == 0)
			break;
		if (monotonic_ns() - began >= limit) {
			status = fail(EXIT_UNAVAILABLE,
				      "version %s of %s is still open in %" JSON_INTEGER_FORMAT
				      " place%s; see: %s holders %s",
				      args_value(a, "version"), a->operands[0], open, open == 1 ? "" : "s",
				      mount_command(c->mount.path), a->operands[0]);
			break;
		}
		nanosleep(&(struct timespec){ .tv_sec = pause / 1000, .tv_nsec = pause % 1000 * 1000000 }, NULL);
		pause = pause * 2 < POLL_LAST_MS ? pause * 2 : POLL_LAST_MS;
	}
	json_decref(request);
	return status;
}
