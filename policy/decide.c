/* Asking a snapshot.
 *
 * The index only proposes bindings; whether one speaks of this caller, this resource and this moment is asked of the binding
 * itself, in full, before it allows anything. A mistake in the index can deny, not allow. */
#include "policy/snapshot.h"

#include <string.h>

enum visit { VISIT_NEXT = 0, VISIT_ENOUGH = 1 };	/* 0 and 1, as tree_each wants */

/* One question, with the answer so far. */
struct question {
	const struct policy *policy;
	const struct policy_caller *caller;
	const char *resource;
	size_t resource_len;		/* of a name, or of a prefix without its star */
	bool exact;			/* the resource is a name */
	bool any_scope;			/* policy_decide_any: the resource does not matter */
	int64_t now;
	action_set wanted;
	tree_fn visit;
	const struct binding *best;
	action_set found;
};

static bool has_ended(const struct binding *b, int64_t now)
{
	return b->until != BINDING_FOREVER && now >= b->until;
}

static action_set actions_of(const struct question *q, const struct binding *b)
{
	const struct role *role = policy_role(q->policy, b->role);

	return role ? role->actions : 0;
}

static bool speaks_of(const struct binding *b, const struct question *q)
{
	return b->from <= q->now && !has_ended(b, q->now) && principal_match(&b->principal, q->caller) &&
	       (q->any_scope || scope_covers(b->scope, q->resource));
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

static void visit_marked(struct question *q, struct tree_cursor at, enum scope_mark mark)
{
	const uint8_t byte = (uint8_t)mark;

	if (tree_step(&at, &byte, 1))
		tree_each(at, q->visit, q);
}

/* All bindings at one condition whose scope covers the resource: prefixes branch off along the way, the name ends it. */
static void visit_scopes(struct question *q, struct tree_cursor at)
{
	for (size_t i = 0; i < q->resource_len; i++) {
		const uint8_t byte = (uint8_t)q->resource[i];

		visit_marked(q, at, SCOPE_MARK_PREFIX);
		if (!tree_step(&at, &byte, 1))
			return;
	}
	visit_marked(q, at, SCOPE_MARK_PREFIX);
	if (q->exact)
		visit_marked(q, at, SCOPE_MARK_EXACT);
}

struct role_search {
	struct question *q;
	struct tree_cursor at;		/* at a condition in by_role */
};

static int visit_role_bindings(const struct role *role, void *arg)
{
	const struct role_search *s = arg;
	struct tree_cursor at = s->at;
	struct key k = { 0 };

	if (!(role->actions & s->q->wanted))
		return VISIT_NEXT;
	key_u32(&k, role->id);
	if (tree_step(&at, k.bytes, k.len))
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

static void visit_condition(struct question *q, const struct tree_node *index, visit_condition_fn fn,
			    enum principal_kind kind, uint32_t id)
{
	struct tree_cursor at = tree_cursor(index);
	struct key k = { 0 };

	key_condition(&k, kind, id);
	if (tree_step(&at, k.bytes, k.len))
		fn(q, at);
}

static void visit_groups(struct question *q, const struct tree_node *index, visit_condition_fn fn)
{
	const struct policy_caller *caller = q->caller;
	const struct tree_cursor root = tree_cursor(index);
	struct tree_cursor groups = root;
	const uint8_t kind = PRINCIPAL_GROUP;

	if (!tree_step(&groups, &kind, 1))
		return;		/* no binding speaks of groups: a caller with thousands costs nothing */
	visit_condition(q, index, fn, PRINCIPAL_GROUP, caller->gid);
	for (size_t i = 0; i < caller->n_groups; i++)
		if (caller->groups[i] != caller->gid)
			visit_condition(q, index, fn, PRINCIPAL_GROUP, caller->groups[i]);
}

/* Each condition that holds for the caller, and so each binding that could. */
static void visit_conditions(struct question *q, const struct tree_node *index, visit_condition_fn fn)
{
	visit_condition(q, index, fn, PRINCIPAL_USER, q->caller->uid);
	visit_groups(q, index, fn);
	if (q->caller->host)
		visit_condition(q, index, fn, PRINCIPAL_HOST, 0);
	visit_condition(q, index, fn, PRINCIPAL_EVERYONE, 0);
}

/* False for something that no scope can cover. */
static bool set_resource(struct question *q, const char *name)
{
	q->resource = name;
	if (!name)
		return true;	/* the vault itself: only "*" covers it, which stands before the first byte */
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

	*ret_answer = (struct policy_answer){ .decision = POLICY_DENY };
	if (!p || !caller || (unsigned)action >= ACTION_COUNT || !set_resource(&q, name))
		return;
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

	if (!p || !caller || !set_resource(&q, name))
		return 0;
	visit_conditions(&q, p->by_scope, visit_scopes);
	return q.found;
}

enum policy_decision policy_decide_any(const struct policy *p, const struct policy_caller *caller, enum action action,
				       int64_t now)
{
	struct question q = { .policy = p, .caller = caller, .now = now, .any_scope = true, .visit = visit_best };

	if (!p || !caller || (unsigned)action >= ACTION_COUNT)
		return POLICY_DENY;
	q.wanted = ACTION_BIT(action);
	visit_conditions(&q, p->by_role, visit_roles);
	return q.best ? POLICY_ALLOW : POLICY_DENY;
}
