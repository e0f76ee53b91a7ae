#include "policy/block.h"

#include "policy/condition.h"

bool block_principal_valid(const struct principal *p)
{
	if (!principal_valid(p))
		return false;
	for (size_t i = 0; i < p->n; i++)
		if (!condition_kind(p->conditions[i].kind)->blocks)
			return false;
	return true;
}

static bool could_hold(const struct principal_condition *c, const struct policy_caller *caller)
{
	const struct condition_kind *k = condition_kind(c->kind);

	return k && k->could_hold(caller, c->id);
}

bool block_speaks_of(const struct block *b, const struct policy_caller *caller)
{
	for (size_t i = 0; i < b->principal.n; i++)
		if (!could_hold(&b->principal.conditions[i], caller))
			return false;
	return b->principal.n > 0;
}

static bool has_condition(const struct principal *p, const struct principal_condition *c)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->conditions[i].kind == c->kind && p->conditions[i].id == c->id)
			return true;
	return false;
}

bool block_covers(const struct block *b, const struct principal *p)
{
	for (size_t i = 0; i < b->principal.n; i++)
		if (b->principal.conditions[i].kind != PRINCIPAL_EVERYONE &&
		    !has_condition(p, &b->principal.conditions[i]))
			return false;
	return b->principal.n > 0;
}

static uint32_t owner_of(const struct policy_caller *c) { return c->account == POLICY_ACCOUNT_OWN ? c->uid : c->owner; }

bool principal_could_mean(const struct principal *p, const struct policy_caller *caller, uint32_t owner_of_user)
{
	const uint32_t owner = owner_of(caller);

	for (size_t i = 0; i < p->n; i++) {
		const struct principal_condition *c = &p->conditions[i];
		const bool same_owner = owner == owner_of_user || owner == POLICY_OWNER_UNKNOWN ||
					owner_of_user == POLICY_OWNER_UNKNOWN;

		if (!(c->kind == PRINCIPAL_USER && same_owner) && !could_hold(c, caller))
			return false;
	}
	return p->n > 0;
}
