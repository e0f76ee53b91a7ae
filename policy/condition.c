#include "policy/condition.h"

#include <errno.h>
#include <stdlib.h>

static const struct condition_ids none;

/* ---- everyone ---- */

static bool always(const struct policy_caller *caller, uint32_t id)
{
	(void)caller;
	(void)id;
	return true;
}

static struct condition_ids zero(const struct policy_caller *caller)
{
	(void)caller;
	return (struct condition_ids){ .one = true };
}

static struct condition_ids no_ids(const struct policy_caller *caller)
{
	(void)caller;
	return none;
}

static int suppose_nothing(struct supposed_caller *to, uint32_t id)
{
	(void)to;
	(void)id;
	return 0;
}

/* ---- a user ---- */

static bool is_user(const struct policy_caller *caller, uint32_t id) { return caller->uid == id; }

static bool could_be_user(const struct policy_caller *c, uint32_t uid)
{
	return c->uid == uid ||
	       (c->account != POLICY_ACCOUNT_OWN && (c->owner == uid || c->owner == POLICY_OWNER_UNKNOWN));
}

static struct condition_ids user_ids(const struct policy_caller *caller)
{
	return (struct condition_ids){ .one = true, .id = caller->uid };
}

static struct condition_ids owner_ids(const struct policy_caller *caller)
{
	if (caller->owner == POLICY_OWNER_UNKNOWN)
		return (struct condition_ids){ .all = true };
	return (struct condition_ids){ .one = true, .id = caller->owner };
}

static int suppose_user(struct supposed_caller *to, uint32_t id)
{
	if (to->has_user)
		return -EINVAL;
	to->has_user = true;
	to->caller.uid = id;
	return 0;
}

/* ---- a group ---- */

bool principal_has_group(const uint32_t *groups, size_t n, uint32_t gid)
{
	size_t lo = 0, hi = n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (groups[mid] == gid)
			return true;
		if (groups[mid] < gid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

bool principal_in_group(const struct policy_caller *caller, uint32_t gid)
{
	return caller->gid == gid || principal_has_group(caller->groups, caller->n_groups, gid);
}

static bool could_be_in_group(const struct policy_caller *c, uint32_t gid)
{
	if (principal_in_group(c, gid))
		return true;
	switch (c->account) {
	case POLICY_ACCOUNT_OWN:
		return false;
	case POLICY_ACCOUNT_KNOWN:
		return principal_has_group(c->account_groups, c->n_account_groups, gid);
	case POLICY_ACCOUNT_UNKNOWN:
		break;
	}
	return true;
}

static struct condition_ids group_ids(const struct policy_caller *caller)
{
	return (struct condition_ids){
		.one = true, .id = caller->gid, .sorted = caller->groups, .n = caller->n_groups
	};
}

static struct condition_ids account_group_ids(const struct policy_caller *caller)
{
	if (caller->account == POLICY_ACCOUNT_UNKNOWN)
		return (struct condition_ids){ .all = true };
	return (struct condition_ids){ .sorted = caller->account_groups, .n = caller->n_account_groups };
}

static int suppose_group(struct supposed_caller *to, uint32_t id)
{
	if (to->caller.n_groups == SUPPOSED_GROUPS)
		return -EINVAL;
	to->groups[to->caller.n_groups++] = id;
	return 0;
}

/* ---- the host ---- */

static bool is_host(const struct policy_caller *caller, uint32_t id)
{
	(void)id;
	return caller->host;
}

static struct condition_ids host_ids(const struct policy_caller *caller)
{
	return (struct condition_ids){ .one = caller->host };
}

static int suppose_host(struct supposed_caller *to, uint32_t id)
{
	(void)id;
	to->caller.host = true;
	return 0;
}

#ifdef COFFER_TEST_HOOKS
/* ---- the primary group: a condition that a number and a row have brought ---- */

static bool is_primary(const struct policy_caller *caller, uint32_t id) { return caller->gid == id; }

static struct condition_ids primary_ids(const struct policy_caller *caller)
{
	return (struct condition_ids){ .one = true, .id = caller->gid };
}

static int suppose_primary(struct supposed_caller *to, uint32_t id)
{
	to->caller.gid = id;
	return 0;
}
#endif

/* ---- the table ---- */

static const struct condition_kind kinds[] = {
	[PRINCIPAL_EVERYONE] = { .word = "everyone",
				 .blocks = true,
				 .rank = 4,
				 .holds = always,
				 .could_hold = always,
				 .ids = zero,
				 .account_ids = no_ids,
				 .suppose = suppose_nothing },
	[PRINCIPAL_USER] = { .word = "user:",
			     .has_id = true,
			     .once = true,
			     .blocks = true,
			     .rank = 1,
			     .holds = is_user,
			     .could_hold = could_be_user,
			     .ids = user_ids,
			     .account_ids = owner_ids,
			     .suppose = suppose_user },
	[PRINCIPAL_GROUP] = { .word = "group:",
			      .has_id = true,
			      .blocks = true,
			      .rank = 2,
			      .holds = principal_in_group,
			      .could_hold = could_be_in_group,
			      .ids = group_ids,
			      .account_ids = account_group_ids,
			      .suppose = suppose_group },
	/* that a caller is outside every container may be in doubt: what refuses takes it as given */
	[PRINCIPAL_HOST] = { .word = "host",
			     .rank = 3,
			     .holds = is_host,
			     .could_hold = always,
			     .ids = host_ids,
			     .account_ids = no_ids,
			     .suppose = suppose_host },
#ifdef COFFER_TEST_HOOKS
	[PRINCIPAL_TEST] = { .word = "primary:",
			     .has_id = true,
			     .once = true,
			     .blocks = true,
			     .rank = 5,
			     .holds = is_primary,
			     .could_hold = is_primary,
			     .ids = primary_ids,
			     .account_ids = no_ids,
			     .suppose = suppose_primary },
#endif
};

_Static_assert(sizeof(kinds) / sizeof(kinds[0]) == PRINCIPAL_KINDS, "a row for each number");

const struct condition_kind *condition_kind(enum principal_kind kind)
{
	return (unsigned)kind < PRINCIPAL_KINDS && kinds[kind].word ? &kinds[kind] : NULL;
}

/* ---- who need not exist ---- */

/* The ids -1 are nobody's: bindings cannot name them. */
void supposed_begin(struct supposed_caller *s)
{
	s->has_user = false;
	s->caller = (struct policy_caller){ .uid = UINT32_MAX, .gid = UINT32_MAX, .groups = s->groups };
}

int supposed_add(struct supposed_caller *s, const struct principal_condition *c)
{
	const struct condition_kind *kind = condition_kind(c->kind);

	return kind ? kind->suppose(s, c->id) : -EINVAL;
}

static int by_number(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

void supposed_end(struct supposed_caller *s)
{
	size_t n = 0;

	qsort(s->groups, s->caller.n_groups, sizeof(s->groups[0]), by_number);
	for (size_t i = 0; i < s->caller.n_groups; i++)
		if (!n || s->groups[i] != s->groups[n - 1])
			s->groups[n++] = s->groups[i];
	s->caller.n_groups = n;
}
