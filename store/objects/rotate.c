#include "store/objects/rotate.h"

#include <errno.h>

#include "store/core/rules_table.h"
#include "store/core/tables.h"
#include "store/objects/objects.h"

bool rotate_policy(struct store *s, const char *name, struct rotation *ret)
{
	const struct rotation *p;

	store_rdlock(s);
	p = rules_rotation(store_rules(s), name);
	if (p)
		*ret = *p;
	store_unlock_tables(s);
	return p != NULL;
}

static int64_t lifetime(const struct catalog_version *v)
{
	if (!v->number || v->expires == INT64_MAX || v->expires <= v->created)
		return 0;
	return v->expires - v->created > EXPIRY_LEAST_NS ? v->expires - v->created : EXPIRY_LEAST_NS;
}

int rotate_add(struct store *s, uint32_t id, int64_t expiry, const void *value, size_t len, int64_t now,
	       uint32_t *ret_version)
{
	struct version_attributes a = { .not_before = INT64_MIN, .expires = INT64_MAX };
	struct store_attributes before = { 0 };
	struct catalog_version current = { 0 };
	const struct catalog_secret *c;
	const struct catalog_version *v;
	int r = 0;

	store_rdlock(s);
	c = store_get(s, id);
	v = c ? catalog_version(c, c->current) : NULL;
	if (v)
		current = *v;
	store_unlock_tables(s);
	if (!c)
		return -ENOENT;
	if (current.number)
		r = store_version_attributes(s, id, current.number, &before);
	if (r < 0)
		return r;
	if (!expiry)
		expiry = lifetime(&current);
	if (expiry)
		a.expires = now + expiry;
	a.content_type = before.content_type;
	a.tags_json = before.tags_json;
	r = store_version_add(s, id, value, len, &a, ret_version);
	store_attributes_free(&before);
	return r;
}
