#include "policy/condition.h"
#include "policy/snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct binding *binding_of(const struct shared *value)
{
	return &((const struct shared_binding *)(const void *)value)->binding;
}

const struct block *block_of(const struct shared *value)
{
	return &((const struct shared_block *)(const void *)value)->block;
}

const struct role *role_of(const struct shared *value)
{
	return &((const struct shared_role *)(const void *)value)->role;
}

/* ---- snapshots ---- */

struct policy *policy_new(void)
{
	struct policy *p = calloc(1, sizeof(*p));

	if (p)
		atomic_init(&p->refs, 1);
	return p;
}

struct policy *policy_ref(struct policy *p)
{
	atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
	return p;
}

void policy_unref(struct policy *p)
{
	if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
		return;
	tree_unref(p->role_names);
	tree_unref(p->roles);
	tree_unref(p->by_block);
	tree_unref(p->blocks);
	tree_unref(p->admins);
	tree_unref(p->by_role);
	tree_unref(p->by_scope);
	tree_unref(p->by_id);
	free(p);
}

static struct policy *policy_copy(const struct policy *old)
{
	struct policy *p = policy_new();

	if (!p)
		return NULL;
	p->by_id = tree_ref(old->by_id);
	p->by_scope = tree_ref(old->by_scope);
	p->by_role = tree_ref(old->by_role);
	p->admins = tree_ref(old->admins);
	p->blocks = tree_ref(old->blocks);
	p->by_block = tree_ref(old->by_block);
	p->roles = tree_ref(old->roles);
	p->role_names = tree_ref(old->role_names);
	return p;
}

/* ---- where a binding stands ---- */

/* Among groups the highest number: low ones are the system's, and wide. */
static struct principal_condition most_selective(const struct principal *p)
{
	struct principal_condition best = p->conditions[0];

	for (size_t i = 1; i < p->n; i++) {
		const struct principal_condition *c = &p->conditions[i];
		const int rank = condition_kind(c->kind)->rank, least = condition_kind(best.kind)->rank;

		if (rank < least || (rank == least && c->id > best.id))
			best = *c;
	}
	return best;
}

/* A key under construction. Its size is for the longest, by_scope's. */
struct key {
	size_t len;
	uint8_t bytes[1 + 4 + NAME_LEN_MAX + 1 + 8 + 8];
};

_Static_assert(ROLE_NAME_MAX <= sizeof(((struct key *)NULL)->bytes), "a role's name fits a key");

static void key_u32(struct key *k, uint32_t v)
{
	be32(k->bytes + k->len, v);
	k->len += 4;
}

static void key_u64(struct key *k, uint64_t v)
{
	key_u32(k, (uint32_t)(v >> 32));
	key_u32(k, (uint32_t)v);
}

static void key_condition(struct key *k, const struct principal *p)
{
	struct principal_condition c = most_selective(p);

	k->bytes[k->len++] = (uint8_t)c.kind;
	key_u32(k, c.id);
}

/* The end of a key: later ends first, then lower ids. The sign bit is turned so that negative times come before
 * positive. */
static void key_order(struct key *k, const struct binding *b)
{
	key_u64(k, ~((uint64_t)b->until ^ (UINT64_C(1) << 63)));
	key_u64(k, b->id);
}

static struct key id_key(uint64_t id)
{
	struct key k = { 0 };

	key_u64(&k, id);
	return k;
}

static struct key scope_key(const struct binding *b)
{
	size_t n = strlen(b->scope);
	bool prefix = b->scope[n - 1] == '*';
	struct key k = { 0 };

	key_condition(&k, &b->principal);
	n -= prefix;
	memcpy(k.bytes + k.len, b->scope, n);
	k.len += n;
	k.bytes[k.len++] = prefix ? SCOPE_MARK_PREFIX : SCOPE_MARK_EXACT;
	key_order(&k, b);
	return k;
}

static struct key role_key(const struct binding *b)
{
	struct key k = { 0 };

	key_condition(&k, &b->principal);
	key_u32(&k, b->role);
	key_order(&k, b);
	return k;
}

static struct key block_key(const struct block *b)
{
	struct key k = { 0 };

	key_condition(&k, &b->principal);
	key_u64(&k, b->id);
	return k;
}

static bool is_lasting_admin(const struct binding *b)
{
	return b->role == ROLE_ADMINISTRATOR && b->until == BINDING_FOREVER && !strcmp(b->scope, "*");
}

/* ---- changes ---- */

static bool binding_valid(const struct binding *b)
{
	return b->id != 0 && b->from < b->until && memchr(b->scope, '\0', sizeof(b->scope)) && scope_valid(b->scope) &&
	       principal_valid(&b->principal);
}

static int put(struct tree_node **root, const struct key *k, struct shared *value)
{
	return tree_insert(root, k->bytes, k->len, value);
}

static int drop(struct tree_node **root, const struct key *k) { return tree_remove(root, k->bytes, k->len); }

static int add_binding(struct policy *p, const struct binding *b)
{
	if (!binding_valid(b))
		return -EINVAL;
	if (!policy_role(p, b->role))
		return -ENOENT;
	struct shared_binding *s = malloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	atomic_init(&s->shared.refs, 1);
	s->binding = *b;

	struct key id = id_key(b->id), scope = scope_key(b), role = role_key(b);
	int r = put(&p->by_id, &id, &s->shared);
	if (!r)
		r = put(&p->by_scope, &scope, &s->shared);
	if (!r)
		r = put(&p->by_role, &role, &s->shared);
	if (!r && is_lasting_admin(b))
		r = put(&p->admins, &id, &s->shared);
	shared_unref(&s->shared);
	return r;
}

static int remove_binding(struct policy *p, uint64_t binding_id)
{
	const struct binding *b = policy_binding(p, binding_id);

	if (!b)
		return -ENOENT;
	struct key id = id_key(b->id), scope = scope_key(b), role = role_key(b);
	int r = is_lasting_admin(b) ? drop(&p->admins, &id) : 0;
	if (!r)
		r = drop(&p->by_role, &role);
	if (!r)
		r = drop(&p->by_scope, &scope);
	if (!r)
		r = drop(&p->by_id, &id); /* last: it may hold the last reference to b */
	return r;
}

static int add_block(struct policy *p, const struct block *b)
{
	if (b->id == 0 || !block_principal_valid(&b->principal))
		return -EINVAL;
	struct shared_block *s = malloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	atomic_init(&s->shared.refs, 1);
	s->block = *b;

	struct key id = id_key(b->id), condition = block_key(b);
	int r = put(&p->blocks, &id, &s->shared);
	if (!r)
		r = put(&p->by_block, &condition, &s->shared);
	shared_unref(&s->shared);
	return r;
}

static int remove_block(struct policy *p, uint64_t block_id)
{
	const struct block *b = policy_block(p, block_id);

	if (!b)
		return -ENOENT;
	struct key id = id_key(b->id), condition = block_key(b);
	int r = drop(&p->by_block, &condition);
	if (!r)
		r = drop(&p->blocks, &id); /* last: it may hold the last reference to b */
	return r;
}

static struct key role_id_key(uint32_t id)
{
	struct key k = { 0 };

	key_u32(&k, id);
	return k;
}

static struct key role_name_key(const char *name)
{
	struct key k = { 0 };

	k.len = strlen(name) + 1; /* with the NUL: no name is the beginning of another's key */
	memcpy(k.bytes, name, k.len);
	return k;
}

static int put_role(struct policy *p, const struct role *role)
{
	if (role->id < ROLE_CUSTOM_FIRST || !memchr(role->name, '\0', sizeof(role->name)) ||
	    !role_name_valid(role->name) || (role->actions & ~ACTION_ALL))
		return -EINVAL;
	const struct role *same_id = policy_role(p, role->id);
	const struct role *same_name = policy_role_by_name(p, role->name);
	if (same_name && same_name->id < ROLE_CUSTOM_FIRST)
		same_name = NULL; /* a built-in role that came later than this one */
	if (same_id != same_name)
		return same_name ? -EEXIST : -EINVAL;

	struct shared_role *s = malloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	atomic_init(&s->shared.refs, 1);
	s->role = *role;

	struct key id = role_id_key(role->id), name = role_name_key(role->name);
	int r = same_id ? drop(&p->roles, &id) : 0;
	if (!r && same_id)
		r = drop(&p->role_names, &name);
	if (!r)
		r = put(&p->roles, &id, &s->shared);
	if (!r)
		r = put(&p->role_names, &name, &s->shared);
	shared_unref(&s->shared);
	return r;
}

static int apply_one(struct policy *p, const struct policy_change *c)
{
	switch (c->kind) {
	case POLICY_ADD_BINDING:
		return add_binding(p, &c->binding);
	case POLICY_REMOVE_BINDING:
		return remove_binding(p, c->binding.id);
	case POLICY_PUT_ROLE:
		return put_role(p, &c->role);
	case POLICY_ADD_BLOCK:
		return add_block(p, &c->block);
	case POLICY_REMOVE_BLOCK:
		return remove_block(p, c->block.id);
	}
	return -EINVAL;
}

int policy_apply(const struct policy *old, const struct policy_change *changes, size_t n, struct policy **ret_policy)
{
	struct policy *p = policy_copy(old);

	if (!p)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		int r = apply_one(p, &changes[i]);

		if (r < 0) {
			policy_unref(p); /* whatever half of a change it holds goes with it */
			return r;
		}
	}
	*ret_policy = p;
	return 0;
}

/* ---- looking things up ---- */

const struct binding *policy_binding(const struct policy *p, uint64_t id)
{
	struct key k = id_key(id);
	const struct shared *s = tree_find(p->by_id, k.bytes, k.len);

	return s ? binding_of(s) : NULL;
}

const struct block *policy_block(const struct policy *p, uint64_t id)
{
	struct key k = id_key(id);
	const struct shared *s = tree_find(p->blocks, k.bytes, k.len);

	return s ? block_of(s) : NULL;
}

const struct role *policy_role(const struct policy *p, uint32_t id)
{
	if (id < ROLE_CUSTOM_FIRST)
		return role_builtin_get(id);
	struct key k = role_id_key(id);
	const struct shared *s = tree_find(p->roles, k.bytes, k.len);
	return s ? role_of(s) : NULL;
}

const struct role *policy_role_by_name(const struct policy *p, const char *name)
{
	const struct role *builtin = role_builtin_find(name);

	if (!role_name_valid(name))
		return builtin;
	struct key k = role_name_key(name);
	const struct shared *s = tree_find(p->role_names, k.bytes, k.len);
	return s ? role_of(s) : builtin;
}

struct binding_visit {
	int (*fn)(const struct binding *b, void *arg);
	void *arg;
};

static int visit_binding(struct shared *value, void *arg)
{
	const struct binding_visit *v = arg;

	return v->fn(binding_of(value), v->arg);
}

int policy_each_binding(const struct policy *p, int (*fn)(const struct binding *b, void *arg), void *arg)
{
	struct binding_visit v = { fn, arg };

	return tree_each(tree_cursor(p->by_id), visit_binding, &v);
}

bool policy_has_blocks(const struct policy *p) { return p && p->blocks; }

struct block_visit {
	int (*fn)(const struct block *b, void *arg);
	void *arg;
};

static int visit_block(struct shared *value, void *arg)
{
	const struct block_visit *v = arg;

	return v->fn(block_of(value), v->arg);
}

int policy_each_block(const struct policy *p, int (*fn)(const struct block *b, void *arg), void *arg)
{
	struct block_visit v = { fn, arg };

	return tree_each(tree_cursor(p->blocks), visit_block, &v);
}

struct role_visit {
	int (*fn)(const struct role *r, void *arg);
	void *arg;
};

static int visit_role(struct shared *value, void *arg)
{
	const struct role_visit *v = arg;

	return v->fn(role_of(value), v->arg);
}

int policy_each_role(const struct policy *p, int (*fn)(const struct role *r, void *arg), void *arg)
{
	struct role_visit v = { fn, arg };
	size_t n;
	const struct role *builtin = role_builtin(&n);

	for (size_t i = 0; i < n; i++) {
		int r = fn(&builtin[i], arg);

		if (r)
			return r;
	}
	return tree_each(tree_cursor(p->roles), visit_role, &v);
}

struct admin_count {
	const struct policy *policy;
	uint64_t without;
	int64_t now;
	size_t n;
};

static int covers_principal(const struct block *b, void *arg) { return block_covers(b, arg); }

static int count_admin(struct shared *value, void *arg)
{
	struct admin_count *c = arg;
	struct principal who = binding_of(value)->principal;
	const struct binding *b = binding_of(value);

	if (b->id != c->without && b->from <= c->now && !policy_each_block(c->policy, covers_principal, &who))
		c->n++;
	return 0;
}

size_t policy_count_administrators(const struct policy *p, uint64_t without, int64_t now)
{
	struct admin_count c = { .policy = p, .without = without, .now = now };

	tree_each(tree_cursor(p->admins), count_admin, &c);
	return c.n;
}
