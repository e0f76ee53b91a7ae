
#include "fs/lifecycle/programs.h"
#include "fs/lifecycle/subject.h"
#include "fs/serve/decide.h"
#include "store/lifecycle/marks.h"

bool subject_fill(const struct store *s, const struct catalog_secret *c, struct subject *ret)
{
	const struct rules *rules = store_rules(s);
	const struct catalog_version *v = c && !c->deleted && c->enabled ? catalog_version(c, c->current) : NULL;
	const struct rotation *policy = v ? rules_rotation(rules, c->name) : NULL;

	if (!v || (!policy && v->expires == INT64_MAX))
		return false;
	*ret = (struct subject){
		.id = c->id, .current = *v, .has_policy = policy != NULL, .near_days = rules->near_days
	};
	vault_copy_name(ret->name, sizeof ret->name, c->name);
	if (policy)
		ret->policy = *policy;
	return true;
}

bool subject_get(struct store *store, uint32_t id, struct subject *ret)
{
	store_rdlock(store);
	bool there = subject_fill(store, store_get(store, id), ret);
	store_unlock_tables(store);
	return there;
}

struct due subject_due(const struct subject *s, const struct mark *m)
{
	return lifecycle_due(s->has_policy ? &s->policy : NULL, &s->current, m, s->near_days);
}
