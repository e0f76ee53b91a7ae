#include "policy/block.h"

bool block_principal_valid(const struct principal *p)
{
	if (!principal_valid(p))
		return false;
	for (size_t i = 0; i < p->n; i++)
		if (p->conditions[i].kind == PRINCIPAL_HOST)
			return false;
	return true;
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
		if (b->principal.conditions[i].kind != PRINCIPAL_EVERYONE && !has_condition(p, &b->principal.conditions[i]))
			return false;
	return b->principal.n > 0;
}
