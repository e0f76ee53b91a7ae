/* Extended attributes: what `getfattr -d` tells of a version, and of a deleted secret, to those who may list it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/common/clock.h"
#include "fs/serve/decide.h"
#include "fs/serve/names.h"
#include "fs/common/timefmt.h"
#include "store/core/clock.h"
#include "store/core/tables.h"
#include "store/objects/objects.h"

#define PREFIX "user.coffer."

/* What the attributes are made of, copied out from under the lock. */
struct facts {
	char name[NAME_LEN_MAX + 1];
	struct catalog_version version;
	bool has_version, enabled;
	bool deleted;
	int64_t deleted_at, purge_at; /* dates, of a deleted secret */
	uint32_t n_versions;
	uint32_t secret;
	uint64_t binding;
};

static int gather(struct vault *v, const struct call *call, uint64_t ino, struct facts *f)
{
	struct inode i;
	struct verdict j = { 0 };
	struct policy_answer get;
	int r = -ENODATA;

	if (!inode_unpack(ino, &i) || (i.type != INODE_CURRENT && i.type != INODE_VERSION && i.type != INODE_SECRET))
		return -ENODATA;
	const bool dir = i.type == INODE_SECRET;
	store_rdlock(v->store);
	const struct catalog_secret *s = store_get(v->store, i.secret);
	const struct catalog_version *c = s && !dir ? catalog_version(s, i.type == INODE_VERSION ? i.low : s->current)
						    : NULL;
	/* directories have attributes in .coffer/deleted only; what was destroyed has none */
	if (s && (i.type == INODE_CURRENT || (dir && s->deleted) || (c && !c->destroyed))) {
		snprintf(f->name, sizeof f->name, "%s", s->name);
		f->secret = s->id;
		f->enabled = s->enabled;
		f->deleted = s->deleted;
		f->deleted_at = s->changed;
		f->purge_at = s->deleted ? store_purge_date(v->store, s) : 0;
		f->n_versions = s->n_versions;
		f->has_version = c != NULL;
		if (c)
			f->version = *c;
		vault_decide_locked(v, call_trusted(call), kind_action(s, VERB_LIST), s->name, &j);
		if (!j.error) {
			/* the binding that lets the caller in, not the one that lets it look */
			policy_decide(store_policy(v->store), &call->who->policy, kind_action(s, VERB_GET), s->name,
				      clock_wall(), &get);
			f->binding = get.decision == POLICY_ALLOW ? get.binding : j.binding;
			r = 0;
		}
	}
	store_unlock_tables(v->store);
	return r;
}

static char *print_time(int64_t ns, int64_t none)
{
	char text[TIME_TEXT_MAX];
	if (ns == none)
		return NULL;
	time_print(ns, text);
	return strdup(text);
}

static char *print_number(uint64_t n)
{
	char text[24];
	snprintf(text, sizeof text, "%llu", (unsigned long long)n);
	return strdup(text);
}

static char *stored(struct vault *v, const struct facts *f, bool tags)
{
	struct store_attributes a = { 0 };
	char *text = NULL;
	if (!f->has_version || store_version_attributes(v->store, f->secret, f->version.number, &a))
		return NULL;
	const char *wanted = tags ? a.tags_json : a.content_type;
	if (wanted && *wanted && strcmp(wanted, "{}"))
		text = strdup(wanted);
	store_attributes_free(&a);
	return text;
}

static const char *const attribute_names[] = { "version", "created", "expires", "not-before", "enabled", "content-type",
					       "tags",    "binding", "deleted", "purge",      "versions" };
#define ATTRIBUTES (sizeof attribute_names / sizeof *attribute_names)

/* NULL: this version has none (or memory is short). */
static char *value_of(struct vault *v, const struct facts *f, const char *name)
{
	if (!strcmp(name, "deleted"))
		return f->deleted ? print_time(f->deleted_at, INT64_MIN) : NULL;
	if (!strcmp(name, "purge"))
		return f->deleted ? print_time(f->purge_at, INT64_MIN) : NULL;
	if (!strcmp(name, "versions"))
		return f->deleted ? print_number(f->n_versions) : NULL;
	if (!strcmp(name, "binding"))
		return print_number(f->binding);
	if (!strcmp(name, "enabled"))
		return strdup(f->enabled && (!f->has_version || f->version.enabled) ? "true" : "false");
	if (!f->has_version)
		return NULL;
	if (!strcmp(name, "version"))
		return print_number(f->version.number);
	if (!strcmp(name, "created"))
		return print_time(f->version.created, INT64_MIN);
	if (!strcmp(name, "expires"))
		return print_time(f->version.expires, INT64_MAX);
	if (!strcmp(name, "not-before"))
		return print_time(f->version.not_before, INT64_MIN);
	return stored(v, f, !strcmp(name, "tags"));
}

int names_getxattr(struct vault *v, const struct call *call, uint64_t ino, const char *name, char **ret_value,
		   size_t *ret_len)
{
	struct facts f = { 0 };
	char *value = NULL;

	if (strncmp(name, PREFIX, sizeof PREFIX - 1))
		return -ENODATA;
	int r = gather(v, call, ino, &f);
	if (r)
		return r;
	for (size_t k = 0; k < ATTRIBUTES; k++)
		if (!strcmp(name + sizeof PREFIX - 1, attribute_names[k]))
			value = value_of(v, &f, attribute_names[k]);
	if (!value)
		return -ENODATA;
	*ret_value = value;
	*ret_len = strlen(value);
	return 0;
}

int names_listxattr(struct vault *v, const struct call *call, uint64_t ino, char **ret_list, size_t *ret_len)
{
	struct facts f = { 0 };
	char *list = calloc(ATTRIBUTES, 32);
	size_t n = 0;

	if (!list)
		return -ENOMEM;
	if (!gather(v, call, ino, &f))
		for (size_t k = 0; k < ATTRIBUTES; k++) {
			char *value = value_of(v, &f, attribute_names[k]);
			if (value)
				n += (size_t)snprintf(list + n, 32, PREFIX "%s", attribute_names[k]) + 1;
			free(value);
		}
	*ret_list = list;
	*ret_len = n;
	return 0;
}
