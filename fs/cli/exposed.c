/* What a principal has read, from the audit log; and who still has it open. */
#include "fs/cli/cli.h"

#include <errno.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/cli/auditlog.h"
#include "fs/cli/client.h"
#include "fs/cli/names.h"
#include "fs/cli/output.h"
#include "fs/cli/secrets.h"
#include "fs/timefmt.h"
#include "policy/scope.h"

#define CONTAINER_ID_MIN 12	/* characters of an id that are enough, as docker and podman show them */
#define POLL_FIRST_MS 100
#define POLL_LAST_MS  1000
#define TIMEOUT_NS    INT64_MAX

/* ---- who ---- */

/* What the log can tell of a caller: all conditions must hold. */
struct suspect {
	struct principal principal;	/* users and groups; n may be 0 */
	char *unit, *container;
};

static void suspect_free(struct suspect *s)
{
	free(s->unit);
	free(s->container);
}

static int set_word(char **word, const char *value, const char *kind)
{
	if (*word || !*value)
		return fail(EXIT_USAGE, "%s: one name is expected", kind);
	*word = strdup(value);
	return *word ? EXIT_DONE : fail(EXIT_ERROR, "not enough memory");
}

static int add_condition(struct suspect *s, const char *text)
{
	char canonical[PRINCIPAL_TEXT_MAX];
	struct principal one;
	int status;

	if (!strncmp(text, "unit:", 5))
		return set_word(&s->unit, text + 5, "unit");
	if (!strncmp(text, "container:", 10))
		return set_word(&s->container, text + 10, "container");
	if (!strcmp(text, "host"))
		return fail(EXIT_USAGE, "the log does not tell who was host; leave host out: without container: it is everybody");
	status = principal_argument(text, &one, canonical);
	if (status)
		return status;
	if (s->principal.n == PRINCIPAL_CONDITIONS)
		return fail(EXIT_USAGE, "too many conditions");
	s->principal.conditions[s->principal.n++] = one.conditions[0];
	return EXIT_DONE;
}

static int suspect_parse(const char *text, struct suspect *ret)
{
	char *copy = strdup(text), *rest = copy, *part;
	int status = copy ? EXIT_DONE : fail(EXIT_ERROR, "not enough memory");

	while (status == EXIT_DONE && (part = strsep(&rest, ",")))
		status = add_condition(ret, part);
	free(copy);
	return status;
}

static bool is_container(const char *wanted, const char *there)
{
	const char *id = there ? strchr(there, ':') : NULL;
	size_t n = strlen(wanted);

	if (!there)
		return false;
	return !strcmp(wanted, there) || (id && n >= CONTAINER_ID_MIN && !strncmp(wanted, id + 1, n));
}

/* Whoever ran as a subordinate uid of the user, or in a user namespace of its, was the user: `owner` says so (contrib/doc/AUDIT-FORMAT.md). */
static bool was_user(const json_t *caller, uint32_t uid)
{
	const json_t *owner = json_object_get(caller, "owner");

	return json_integer_value(json_object_get(caller, "uid")) == uid || (owner && json_integer_value(owner) == uid);
}

static bool is_suspect(const struct suspect *s, const json_t *caller)
{
	const json_t *gid = json_object_get(caller, "gid");
	const char *unit = json_string_value(json_object_get(caller, "unit"));

	if (!json_is_object(caller))
		return false;
	for (size_t i = 0; i < s->principal.n; i++) {
		const struct principal_condition *c = &s->principal.conditions[i];

		if ((c->kind == PRINCIPAL_USER && !was_user(caller, c->id)) || (c->kind == PRINCIPAL_GROUP && json_integer_value(gid) != c->id))
			return false;
	}
	if (s->unit && (!unit || strcmp(unit, s->unit) != 0))
		return false;
	return !s->container || is_container(s->container, json_string_value(json_object_get(caller, "container")));
}

/* ---- what ---- */

struct exposed { char name[NAME_LEN_MAX + 1]; uint32_t *versions; size_t n; json_int_t reads; char first[TIME_TEXT_MAX], last[TIME_TEXT_MAX]; };

struct survey {
	struct suspect who;
	bool since_given;
	int64_t since;
	char begins[TIME_TEXT_MAX];	/* time of the log's first record */
	void *names;			/* of struct exposed, by tsearch(3) */
	bool short_of_memory;
	json_t *list;			/* while it is printed */
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

static void take(const json_t *record, void *arg)
{
	struct survey *s = arg;
	const char *name = json_string_value(json_object_get(record, "secret")), *at = json_string_value(json_object_get(record, "time"));
	const char *operation = json_string_value(json_object_get(record, "operation")), *result = json_string_value(json_object_get(record, "result"));
	json_int_t version = json_integer_value(json_object_get(record, "version"));
	char first[TIME_TEXT_MAX], last[TIME_TEXT_MAX];
	struct exposed *e;
	int64_t t;

	if (!at || time_parse_rfc3339(at, &t) < 0)
		return;
	if (!*s->begins)
		snprintf(s->begins, sizeof(s->begins), "%s", at);
	if ((s->since_given && t < s->since) || !operation || strcmp(operation, "SecretGet") || !result || strcmp(result, "allow") || !name || version < 1 ||
	    !is_suspect(&s->who, json_object_get(record, "caller")))
		return;
	e = exposed_of(s, name);
	if (!e || !add_version(e, (uint32_t)version)) {
		s->short_of_memory = true;
		return;
	}
	e->reads += auditlog_count(record, first, last);
	if (!*e->first)
		snprintf(e->first, sizeof(e->first), "%s", first);
	snprintf(e->last, sizeof(e->last), "%s", last);
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
	if (json_array_append_new(s->list, json_pack("{s:s, s:o, s:I, s:s, s:s}", "name", e->name, "versions", versions, "reads", e->reads, "first", e->first, "last", e->last)) < 0)
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
		{ "NAME", "name" }, { "VERSIONS", "versions" }, { "READS", "reads" }, { "FIRST", "first" }, { "LAST", "last" },
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

int cmd_exposed(struct cli *c, const struct args *a)
{
	const char *since = args_value(a, "since");
	struct survey s = { .since_given = since != NULL };
	int64_t begins;
	int status = suspect_parse(a->operands[0], &s.who);

	if (status == EXIT_DONE && since && time_parse_since(since, time_now(), &s.since) < 0)
		status = fail(EXIT_USAGE, "--since \"%s\" is not a time; write 2027-01-31T12:00:00Z, or a span such as 12h for the last 12 hours", since);
	if (status == EXIT_DONE)
		status = auditlog_each(c, "SecretGet", take, &s);
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
		{ "PID", "pid" }, { "COMM", "comm" }, { "UID", "uid" }, { "VERSION", "version" }, { "FILES", "files" }, { "SINCE", "since" }, { "RUNNING", "running" },
		{ "UNIT", "unit" }, { "CONTAINER", "container" },
	};
	json_t *request = NULL, *answer = NULL;
	int status = named_request("holders", a, &request);

	if (status == EXIT_DONE)
		status = client_ask(c, request, &answer);
	if (status == EXIT_DONE)
		status = output_list(c, json_object_get(answer, "holders"), columns, sizeof(columns) / sizeof(columns[0]), "nobody has it open");
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
		return fail(EXIT_USAGE, "--version N is missing: which version is to be closed by everybody? see: coffer holders %s", a->operands[0]);
	if (timeout && time_parse_span(timeout, &limit) < 0)
		return fail(EXIT_USAGE, "--timeout \"%s\" is not a span; write 30s, 5m or 2h", timeout);
	status = named_request("drained", a, &request);
	while (status == EXIT_DONE) {
		status = ask_open(c, request, &open);
		if (status || open == 0)
			break;
		if (monotonic_ns() - began >= limit) {
			status = fail(EXIT_UNAVAILABLE, "version %s of %s is still open in %" JSON_INTEGER_FORMAT " place%s; see: coffer holders %s", args_value(a, "version"), a->operands[0],
				      open, open == 1 ? "" : "s", a->operands[0]);
			break;
		}
		nanosleep(&(struct timespec){ .tv_sec = pause / 1000, .tv_nsec = pause % 1000 * 1000000 }, NULL);
		pause = pause * 2 < POLL_LAST_MS ? pause * 2 : POLL_LAST_MS;
	}
	json_decref(request);
	return status;
}
