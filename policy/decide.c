/* Asking a snapshot.
 *
 * The index only proposes bindings; whether one speaks of this caller, this resource and this moment is asked of the
 * binding itself, in full, before it allows anything. A mistake in the index can deny, not allow. */
#include "policy/condition.h"
#include "policy/snapshot.h"

#include <string.h>

enum visit { VISIT_NEXT = 0, VISIT_ENOUGH = 1 }; /* 0 and 1, as tree_each wants */

/* One question, with the answer so far. */
struct question {
	const struct policy *policy;
	const struct policy_caller *caller;
	const char *resource; /* "" for the vault */
	size_t resource_len;  /* of a name, or of a prefix without its star */
	bool exact;           /* the resource is a name */
	bool any_scope;       /* policy_decide_any: the resource does not matter */
	int64_t now;
	action_set wanted;
	tree_fn visit;
	const struct binding *best;
	const struct block *block;
	action_set found;
};

static bool has_ended(const struct binding *b, int64_t now) { return b->until != BINDING_FOREVER && now >= b->until; }

static action_set actions_of(const struct question *q, const struct binding *b)
{
	const struct role *role = policy_role(q->policy, b->role);

	return role ? role->actions : 0;
}

/* scope_covers without its checks of form: the snapshot took only valid scopes, and set_resource only valid resources.
 */
static bool covers(const char *scope, const struct question *q)
{
	size_t n = strlen(scope);

	if (scope[n - 1] == '*')
		return n - 1 <= q->resource_len && !memcmp(scope, q->resource, n - 1);
	return q->exact && n == q->resource_len && !memcmp(scope, q->resource, n);
}

static bool speaks_of(const struct binding *b, const struct question *q)
{
	return b->from <= q->now && !has_ended(b, q->now) && principal_match(&b->principal, q->caller) &&
	       (q->any_scope || covers(b->scope, q));
}

static bool better(const struct binding *a, const struct binding *b)
{
	return a->until != b->until ? a->until > b->until : a->id < b->id;
}

/* Bindings come best first (snapshot.h): the first that allows ends the search among its neighbours. */
static int visit_best(struct shared *value, void *arg)
{
	struct question *q = arg;
	const struct binding *b = binding_of(value);

	if (has_ended(b, q->now) || (q->best && !better(b, q->best)))
		return VISIT_ENOUGH;
	if (!(actions_of(q, b) & q->wanted) || !speaks_of(b, q))
		return VISIT_NEXT;
	q->best = b;
	return VISIT_ENOUGH;
}

static int visit_all(struct shared *value, void *arg)
{
	struct question *q = arg;
	const struct binding *b = binding_of(value);

	if (has_ended(b, q->now))
		return VISIT_ENOUGH;
	action_set more = actions_of(q, b) & ~q->found;
	if (more && speaks_of(b, q))
		q->found |= more;
	return VISIT_NEXT;
}

/* All bindings at one condition whose scope covers the resource: prefixes branch off along the way, the name ends it.
 */
static void visit_scopes(struct question *q, struct tree_cursor at)
{
	const uint8_t exact = SCOPE_MARK_EXACT;

	if (tree_walk(&at, (const uint8_t *)q->resource, q->resource_len, SCOPE_MARK_PREFIX, q->visit, q) && q->exact &&
	    tree_step(&at, &exact, 1))
		tree_each(at, q->visit, q);
}

struct role_search {
	struct question *q;
	struct tree_cursor at; /* at a condition in by_role */
};

static int visit_role_bindings(const struct role *role, void *arg)
{
	const struct role_search *s = arg;
	struct tree_cursor at = s->at;
	uint8_t id[4];

	if (!(role->actions & s->q->wanted))
		return VISIT_NEXT;
	be32(id, role->id);
	if (tree_step(&at, id, sizeof(id)))
		tree_each(at, s->q->visit, s->q);
	return s->q->best ? VISIT_ENOUGH : VISIT_NEXT;
}

static void visit_roles(struct question *q, struct tree_cursor at)
{
	struct role_search s = { q, at };

	if (!q->best)
		policy_each_role(q->policy, visit_role_bindings, &s);
}

typedef void (*visit_condition_fn)(struct question *q, struct tree_cursor at);

static void visit_condition(struct question *q, struct tree_cursor at, visit_condition_fn fn, uint32_t id)
{
	uint8_t bytes[4];

	be32(bytes, id);
	if (tree_step(&at, bytes, sizeof(bytes)))
		fn(q, at);
}

/* The place of a kind of condition. */
static bool find_kind(const struct tree_node *index, enum principal_kind kind, struct tree_cursor *ret_at)
{
	const uint8_t byte = (uint8_t)kind;

	*ret_at = tree_cursor(index);
	return tree_step(ret_at, &byte, 1);
}

static uint32_t from_be32(const uint8_t b[4])
{
	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* The first of the sorted ids that is not below id. */
static size_t ids_from(const uint32_t *sorted, size_t n, uint32_t id)
{
	size_t low = 0;

	while (low < n) {
		const size_t mid = low + (n - low) / 2;
		if (sorted[mid] < id)
			low = mid + 1;
		else
			n = mid;
	}
	return low;
}

/* Ids that something speaks of. A caller can be in 65,536 groups, in a user namespace of its own in any: whoever is
 * asked about each name of the vault must not look at each of them again, so the two sorted lists leap over what the
 * other one does not have. */
static void visit_sorted(struct question *q, struct tree_cursor at, visit_condition_fn fn, const uint32_t *wanted,
			 size_t n)
{
	uint8_t bytes[4];

	for (size_t i = 0; i < n;) {
		be32(bytes, wanted[i]);
		if (!tree_next(at, bytes, sizeof(bytes)))
			return;
		const uint32_t id = from_be32(bytes);
		if (id == wanted[i])
			visit_condition(q, at, fn, wanted[i++]);
		else
			i += ids_from(wanted + i, n - i, id);
	}
}

static void visit_ids(struct question *q, struct tree_cursor at, visit_condition_fn fn, const struct condition_ids *ids)
{
	if (ids->one)
		visit_condition(q, at, fn, ids->id);
	visit_sorted(q, at, fn, ids->sorted, ids->n);
}

/* Each condition that holds for the caller, and so each binding that could. */
static void visit_conditions(struct question *q, const struct tree_node *index, visit_condition_fn fn)
{
	struct tree_cursor at;

	for (enum principal_kind kind = PRINCIPAL_NONE + 1; kind < PRINCIPAL_KINDS; kind++) {
		if (!find_kind(index, kind, &at))
			continue;
		const struct condition_ids ids = condition_kind(kind)->ids(q->caller);
		visit_ids(q, at, fn, &ids);
	}
}

/* ---- blocks ---- */

/* Blocks at one condition come in the order of their ids: the first that speaks of the caller is the lowest. */
static int visit_blocks(struct shared *value, void *arg)
{
	struct question *q = arg;
	const struct block *b = block_of(value);

	if (q->block && q->block->id < b->id)
		return VISIT_ENOUGH;
	if (!block_speaks_of(b, q->caller))
		return VISIT_NEXT;
	q->block = b;
	return VISIT_ENOUGH;
}

/* Blocks at several conditions do not. */
static int visit_any_blocks(struct shared *value, void *arg)
{
	struct question *q = arg;
	const struct block *b = block_of(value);

	if ((!q->block || b->id < q->block->id) && block_speaks_of(b, q->caller))
		q->block = b;
	return VISIT_NEXT;
}

static void visit_condition_blocks(struct question *q, struct tree_cursor at) { tree_each(at, visit_blocks, q); }

/* The conditions that could hold beside those that do. What is not known is all of a kind: there are few blocks. */
static void visit_account_blocks(struct question *q, const struct tree_node *index)
{
	struct tree_cursor at;

	for (enum principal_kind kind = PRINCIPAL_NONE + 1; kind < PRINCIPAL_KINDS; kind++) {
		if (!find_kind(index, kind, &at))
			continue;
		const struct condition_ids ids = condition_kind(kind)->account_ids(q->caller);
		if (ids.all)
			tree_each(at, visit_any_blocks, q);
		else
			visit_ids(q, at, visit_condition_blocks, &ids);
	}
}

const struct block *policy_blocked(const struct policy *p, const struct policy_caller *caller)
{
	struct question q = { .policy = p, .caller = caller };

	if (!p || !caller || !p->by_block)
		return NULL;
	visit_conditions(&q, p->by_block, visit_condition_blocks);
	if (caller->account != POLICY_ACCOUNT_OWN)
		visit_account_blocks(&q, p->by_block);
	return q.block;
}

/* ---- questions ---- */

/* False for something that no scope can cover. */
static bool set_resource(struct question *q, const char *name)
{
	q->resource = name ? name : "";
	if (!name)
		return true; /* only "*" covers it, which stands before the first byte */
	if (!scope_valid(name))
		return false;
	q->resource_len = strlen(name);
	q->exact = name[q->resource_len - 1] != '*';
	q->resource_len -= !q->exact;
	return true;
}

void policy_decide(const struct policy *p, const struct policy_caller *caller, enum action action, const char *name,
		   int64_t now, struct policy_answer *ret_answer)
{
	struct question q = { .policy = p, .caller = caller, .now = now, .visit = visit_best };
	const struct block *block;

	*ret_answer = (struct policy_answer){ .decision = POLICY_DENY };
	if (!p || !caller || (unsigned)action >= ACTION_COUNT || !set_resource(&q, name))
		return;
	block = policy_blocked(p, caller);
	if (block) {
		ret_answer->block = block->id;
		return;
	}
	q.wanted = ACTION_BIT(action);
	visit_conditions(&q, p->by_scope, visit_scopes);
	if (!q.best)
		return;
	ret_answer->binding = q.best->id;
	ret_answer->role = q.best->role;
	ret_answer->valid_until = q.best->until;
	ret_answer->decision = POLICY_ALLOW;
}

action_set policy_actions(const struct policy *p, const struct policy_caller *caller, const char *name, int64_t now)
{
	struct question q = { .policy = p, .caller = caller, .now = now, .visit = visit_all };

	if (!p || !caller || !set_resource(&q, name) || policy_blocked(p, caller))
		return 0;
	visit_conditions(&q, p->by_scope, visit_scopes);
	return q.found;
}

enum policy_decision policy_decide_any(const struct policy *p, const struct policy_caller *caller, enum action action,
				       int64_t now)
{
	struct question q = { .policy = p, .caller = caller, .now = now, .any_scope = true, .visit = visit_best };

	if (!p || !caller || (unsigned)action >= ACTION_COUNT || policy_blocked(p, caller))
		return POLICY_DENY;
	q.wanted = ACTION_BIT(action);
	visit_conditions(&q, p->by_role, visit_roles);
	return q.best ? POLICY_ALLOW : POLICY_DENY;
}
