#include "fs/cli/commands/suspect.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "fs/cli/common/names.h"
#include "policy/scope.h"

#define CONTAINER_ID_MIN 12 /* characters of an id that are enough, as docker and podman show them */
#define ACCOUNT_GROUPS   4096

/* A user's account, as it is today. */
struct account {
	uint32_t uid;
	bool in[PRINCIPAL_CONDITIONS];
};

void suspect_free(struct suspect *s)
{
	free(s->unit);
	free(s->container);
	tdestroy(s->accounts, free);
}

/* ---- who is meant ---- */

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
		return fail(EXIT_USAGE,
			    "the log does not tell who was host; leave host out: without container: it is everybody");
	status = principal_argument(text, &one, canonical);
	if (status)
		return status;
	if (s->principal.n == PRINCIPAL_CONDITIONS)
		return fail(EXIT_USAGE, "too many conditions");
	s->principal.conditions[s->principal.n++] = one.conditions[0];
	return EXIT_DONE;
}

int suspect_parse(const char *text, struct suspect *ret)
{
	char *copy = strdup(text), *rest = copy, *part;
	int status = copy ? EXIT_DONE : fail(EXIT_ERROR, "not enough memory");

	while (status == EXIT_DONE && (part = strsep(&rest, ",")))
		status = add_condition(ret, part);
	free(copy);
	return status;
}

/* ---- the account's groups ---- */

static int by_uid(const void *a, const void *b)
{
	uint32_t x = ((const struct account *)a)->uid, y = ((const struct account *)b)->uid;

	return (x > y) - (x < y);
}

static void look_up(const struct suspect *s, struct account *a)
{
	gid_t *groups = calloc(ACCOUNT_GROUPS, sizeof(*groups));
	const struct passwd *pw = getpwuid(a->uid);
	int n = ACCOUNT_GROUPS;
	/* an account that is in too many groups, or cannot be looked into, could be in each */
	const bool known = groups && pw && getgrouplist(pw->pw_name, pw->pw_gid, groups, &n) >= 0;

	for (size_t i = 0; i < s->principal.n; i++) {
		a->in[i] = pw != NULL && !known;
		for (int k = 0; known && k < n; k++)
			a->in[i] |= groups[k] == s->principal.conditions[i].id;
	}
	free(groups);
}

/* Is the account in the group that this condition names? In doubt it is. */
static bool account_in(struct suspect *s, size_t condition, uint32_t uid)
{
	struct account key = { .uid = uid }, **found = tfind(&key, &s->accounts, by_uid), *new;

	if (found)
		return (*found)->in[condition];
	new = malloc(sizeof(*new));
	if (!new)
		return true;
	*new = key;
	look_up(s, new);
	if (!tsearch(new, &s->accounts, by_uid)) {
		free(new);
		return true;
	}
	return new->in[condition];
}

/* ---- what a record tells ---- */

/* Does the principal that let the caller in name this group? Then the caller was in it. */
static bool principal_names(const json_t *record, uint32_t gid)
{
	const char *text = json_string_value(json_object_get(record, "principal"));
	struct principal p;

	if (!text || principal_parse(text, NULL, NULL, &p) < 0)
		return false;
	for (size_t i = 0; i < p.n; i++)
		if (p.conditions[i].kind == PRINCIPAL_GROUP && p.conditions[i].id == gid)
			return true;
	return false;
}

/* A record that is older than the field has none; one of a caller with many groups ends with a text. */
static enum suspicion look_at_group(struct suspect *s, size_t condition, const json_t *record, const json_t *caller)
{
	const json_t *gid = json_object_get(caller, "gid"), *groups = json_object_get(caller, "groups"),
		     *owner = json_object_get(caller, "owner"), *one;
	/* whose account it is */
	const json_t *uid = json_is_integer(owner) ? owner : json_object_get(caller, "uid");
	const uint32_t wanted = s->principal.conditions[condition].id;
	bool whole = json_is_array(groups);
	size_t i;

	if ((json_is_integer(gid) && json_integer_value(gid) == wanted) || principal_names(record, wanted))
		return SUSPECT_CERTAINLY;
	json_array_foreach(groups, i, one) {
		if (json_is_integer(one) && json_integer_value(one) == wanted)
			return SUSPECT_CERTAINLY;
		whole &= json_is_integer(one);
	}
	if (!whole || !json_is_integer(gid) || !json_is_integer(uid))
		return SUSPECT_POSSIBLY;
	return account_in(s, condition, (uint32_t)json_integer_value(uid)) ? SUSPECT_POSSIBLY : SUSPECT_NOT;
}

/* -1 stands for several, in a record that counts what was many. Whoever ran as a subordinate uid of the user, or in a
 * user namespace of its, was the user: `owner` says so. */
static enum suspicion look_at_user(uint32_t wanted, const json_t *caller)
{
	const json_t *uid = json_object_get(caller, "uid"), *owner = json_object_get(caller, "owner");

	if (json_is_integer(owner) && json_integer_value(owner) == wanted)
		return SUSPECT_CERTAINLY;
	if (!json_is_integer(uid) || json_integer_value(uid) < 0)
		return SUSPECT_POSSIBLY;
	return json_integer_value(uid) == wanted ? SUSPECT_CERTAINLY : SUSPECT_NOT;
}

static bool is_container(const char *wanted, const char *there)
{
	const char *id = strchr(there, ':');
	size_t n = strlen(wanted);

	return !strcmp(wanted, there) || (id && n >= CONTAINER_ID_MIN && !strncmp(wanted, id + 1, n));
}

static enum suspicion least(enum suspicion a, enum suspicion b) { return a < b ? a : b; }

enum suspicion suspect_look(struct suspect *s, const json_t *record)
{
	const json_t *caller = json_object_get(record, "caller");
	const char *unit = json_string_value(json_object_get(caller, "unit")),
		   *container = json_string_value(json_object_get(caller, "container"));
	enum suspicion all = SUSPECT_CERTAINLY;

	if (!json_is_object(caller))
		return SUSPECT_NOT; /* the daemon itself */
	for (size_t i = 0; i < s->principal.n && all != SUSPECT_NOT; i++) {
		const struct principal_condition *c = &s->principal.conditions[i];

		if (c->kind == PRINCIPAL_USER)
			all = least(all, look_at_user(c->id, caller));
		else if (c->kind == PRINCIPAL_GROUP)
			all = least(all, look_at_group(s, i, record, caller));
	}
	if (s->unit && (!unit || strcmp(unit, s->unit) != 0))
		return SUSPECT_NOT;
	return s->container && (!container || !is_container(s->container, container)) ? SUSPECT_NOT : all;
}
