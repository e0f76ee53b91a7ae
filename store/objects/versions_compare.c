/* Is a new version the value that is served already? Only then asked, when a hook waits for changes. */

#include "store/core/database.h"
#include "store/keys/keys.h"
#include "store/lifecycle/events.h"
#include "store/objects/objects.h"
#include "store/objects/versions.h"

/* Does a hook wait for new values of this secret? */
static bool value_watched(const struct store *s, const char *name)
{
	const struct rules *rules = store_rules(s);
	bool watched = false;

	for (size_t i = 0; i < rules->n_hooks && !watched; i++)
		watched = (rules->hooks[i].events & EVENT_BIT(EVENT_NEW_VERSION)) &&
			  scope_covers(rules->hooks[i].scope, name);
	return watched;
}

/* The version that current serves, if somebody wants to know whether its value changes, and it is that long; 0: none.
 */
static uint32_t compared_with(struct store *s, uint32_t id, size_t len)
{
	const struct catalog_secret *c;
	const struct catalog_version *v = NULL;
	uint32_t number;

	store_rdlock(s);
	c = store_get(s, id);
	if (c && c->enabled && value_watched(s, c->name))
		v = catalog_version(c, c->current);
	number = v && v->size == len ? v->number : 0;
	store_unlock_tables(s);
	return number;
}

/* Is this what current serves already? The older value is opened into locked memory for it, so that nothing that tells
 * of a value has to be kept. Doubt means that it is another. */
bool version_value_same(struct store *s, uint32_t id, const void *value, size_t len)
{
	const uint32_t current = compared_with(s, id, len);
	struct secbuf *before = NULL;
	bool same = false;

	if (current && store_version_read(s, id, current, &before) == 0)
		same = secbuf_len(before) == len && secret_cmp(secbuf_cdata(before), value, len) == 0;
	secbuf_free(before);
	return same;
}

bool version_watched(struct store *s, uint32_t id, size_t len) { return compared_with(s, id, len) != 0; }

bool version_same(struct store *s, uint32_t id, uint32_t version)
{
	struct secbuf *plain = NULL;
	bool same = version_read_new(s, id, version, &plain) == 0 &&
		    version_value_same(s, id, secbuf_cdata(plain), secbuf_len(plain));

	secbuf_free(plain);
	return same;
}
