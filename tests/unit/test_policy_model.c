/* A million random questions, answered by the policy and by a model that shares no code with it: bindings in an array,
 * every one asked each time, and blocks before them. A third of the callers come out of a user namespace, or by a
 * subordinate uid; and of each binding it is asked whether the caller would grant it to itself. Bindings, blocks, roles
 * and snapshots change in between; older snapshots go on being asked. */
#include "policy/policy.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUESTIONS          1000000
#define QUESTIONS_A_CHANGE 16
#define SNAPSHOTS          6
#define BINDINGS_MAX       96
#define CUSTOM_ROLES       4
#define BLOCKS_MAX         4

static uint64_t rng_state = 0x2545f4914f6cdd1du;

static uint64_t rng(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return rng_state * 0x9e3779b97f4a7c15u >> 16;
}

static unsigned below(unsigned n) { return (unsigned)(rng() % n); }

/* ---- the model ---- */

#define UIDS 5
#define GIDS 8

static const uint32_t uids[UIDS] = { 0, 1, 1000, 1001, 4294967294u };
static const uint32_t gids[GIDS] = { 0, 4, 27, 255, 256, 1000, 70000, 4294967294u }; /* ascending */

struct model_binding {
	uint64_t id;
	int uid;       /* index, -1: any */
	unsigned gids; /* bit i: gids[i] is needed */
	bool host;
	char scope[16];
	int64_t from, until;
	unsigned role; /* 1 to 12, or 1000 and up */
};

/* No conditions at all: everyone. */
struct model_block {
	uint64_t id;
	int uid;
	unsigned gids;
};

struct model {
	size_t n, n_blocks;
	struct model_block blocks[BLOCKS_MAX];
	struct model_binding b[BINDINGS_MAX];
	uint64_t custom[CUSTOM_ROLES];
};

/* owners: bit i, the process may be uids[i]'s; uid's own is among them. may: bit i, it may be in gids[i] but for its
 * own groups. Both are all ones where nothing is known. */
struct model_caller {
	int uid;
	unsigned gid, gids; /* index of the primary one; bits of the others */
	bool host;
	int owner; /* index; -1: not known */
	unsigned owners, may;
};

static bool model_covers(const char *scope, const char *resource)
{
	if (scope[0] == '*')
		return true;
	if (!resource)
		return false;
	while (*scope && *scope == *resource && *scope != '*') {
		scope++;
		resource++;
	}
	return *scope == '*' || (*scope == '\0' && *resource == '\0');
}

static bool model_matches(const struct model_binding *b, const struct model_caller *c)
{
	if (b->uid >= 0 && b->uid != c->uid)
		return false;
	for (unsigned i = 0; i < GIDS; i++)
		if ((b->gids & 1u << i) && c->gid != i && !(c->gids & 1u << i))
			return false;
	return !b->host || c->host;
}

static uint64_t model_blocked(const struct model *m, const struct model_caller *c)
{
	uint64_t lowest = 0;

	for (size_t i = 0; i < m->n_blocks; i++) {
		const struct model_block *b = &m->blocks[i];
		unsigned has = c->gids | 1u << c->gid | c->may;

		if ((b->uid < 0 || (c->owners >> b->uid & 1)) && (b->gids & ~has) == 0 && (!lowest || b->id < lowest))
			lowest = b->id;
	}
	return lowest;
}

/* Would the caller, who makes this binding, be one whom it means? The owner of the binding's user is given, -1: not
 * known. */
static bool model_self_grant(const struct model_binding *b, const struct model_caller *c, int owner)
{
	if (b->gids & ~(c->gids | 1u << c->gid | c->may))
		return false;
	return b->uid < 0 || (c->owners >> b->uid & 1) || owner < 0 || c->owner < 0 || owner == c->owner;
}

/* Written out, so that a slip in role.c is not repeated here. */
static const char *const role_words[13] = {
	"",
	"secrets/ keys/ certificates/ bindings/ roles/ vault/ audit/",
	"secrets/list keys/list certificates/list bindings/list vault/status vault/metrics",
	"secrets/",
	"secrets/get secrets/list",
	"certificates/",
	"certificates/get certificates/list",
	"keys/",
	"keys/list keys/update keys/backup keys/encrypt keys/decrypt keys/wrap keys/unwrap keys/sign keys/verify",
	"keys/list keys/wrap keys/unwrap",
	"secrets/purge keys/purge certificates/purge",
	"bindings/list bindings/create bindings/delete",
	"audit/read vault/status vault/metrics",
};
static uint64_t role_actions[13];

static void model_init_roles(void)
{
	for (unsigned role = 1; role <= 12; role++) {
		for (unsigned a = 0; a < ACTION_COUNT; a++) {
			const char *name = action_name((enum action)a);
			size_t noun = (size_t)(strchr(name, '/') - name) + 1;

			for (const char *w = role_words[role]; *w; w += strcspn(w, " "), w += *w == ' ') {
				size_t len = strcspn(w, " ");

				if ((len == noun || len == strlen(name)) && !strncmp(w, name, len))
					role_actions[role] |= UINT64_C(1) << a;
			}
		}
	}
}

struct model_answer {
	const struct model_binding *best;
	uint64_t actions;
	bool any;
	uint64_t block;
};

static struct model_answer model_ask(const struct model *m, const struct model_caller *c, unsigned action,
				     const char *resource, int64_t now)
{
	struct model_answer a = { .block = model_blocked(m, c) };

	if (a.block)
		return a;
	for (size_t i = 0; i < m->n; i++) {
		const struct model_binding *b = &m->b[i];
		uint64_t actions = b->role < 1000 ? role_actions[b->role] : m->custom[b->role - 1000];

		if (now < b->from || (b->until != INT64_MAX && now >= b->until) || !model_matches(b, c))
			continue;
		bool does = actions >> action & 1;
		a.any |= does;
		if (!model_covers(b->scope, resource))
			continue;
		a.actions |= actions;
		if (does && (!a.best || b->until > a.best->until || (b->until == a.best->until && b->id < a.best->id)))
			a.best = b;
	}
	return a;
}

/* ---- random things ---- */

/* Few letters and short: names collide, are prefixes of each other, and differ in a byte below and above the star. */
static void random_name(char *to)
{
	unsigned len = 1 + below(5);

	to[0] = "ab"[below(2)];
	for (unsigned i = 1; i < len; i++)
		to[i] = "ab-."[below(4)];
	to[len] = '\0';
}

static void random_scope(char *to)
{
	switch (below(8)) {
	case 0:
		strcpy(to, "*");
		break;
	case 1:
	case 2:
	case 3:
		random_name(to);
		strcat(to, "*");
		break;
	default:
		random_name(to);
	}
}

static const char *random_resource(char *to)
{
	switch (below(10)) {
	case 0:
		return NULL;
	case 1:
		random_scope(to);
		return to;
	default:
		random_name(to);
		return to;
	}
}

static uint64_t next_id;

static struct model_binding random_binding(uint64_t id)
{
	struct model_binding b = { .id = id, .uid = below(2) ? (int)below(UIDS) : -1, .host = !below(4) };

	for (unsigned k = below(3); k > 0; k--)
		b.gids |= 1u << below(GIDS);
	random_scope(b.scope);
	b.from = below(3) ? (int64_t)below(16) - 4 : INT64_MIN;
	b.until = below(3) ? (b.from == INT64_MIN ? -4 : b.from) + 1 + (int64_t)below(12) : BINDING_FOREVER;
	b.role = below(3) ? 1 + below(12) : 1000 + below(CUSTOM_ROLES);
	return b;
}

/* The same binding as the policy takes it, by way of the text. */
static struct policy_change add(const struct model_binding *b)
{
	struct policy_change c = { .kind = POLICY_ADD_BINDING };
	char words[10][32], text[PRINCIPAL_TEXT_MAX] = "";
	unsigned n = 0;

	if (b->host)
		strcpy(words[n++], "host");
	for (unsigned i = 0; i < GIDS; i++)
		if (b->gids & 1u << i)
			snprintf(words[n++], 32, "group:%u", gids[i]);
	if (b->uid >= 0)
		snprintf(words[n++], 32, "user:%u", uids[b->uid]);
	if (n == 0 || !below(4))
		strcpy(words[n++], "everyone");
	unsigned first = below(n);
	for (unsigned i = 0; i < n; i++) {
		strcat(text, words[(first + i) % n]);
		if (i + 1 < n)
			strcat(text, ",");
	}
	ck_assert_int_eq(principal_parse(text, NULL, NULL, &c.binding.principal), 0);
	c.binding.id = b->id;
	c.binding.role = b->role;
	strcpy(c.binding.scope, b->scope);
	c.binding.from = b->from;
	c.binding.until = b->until;
	return c;
}

/* Most speak of few: a block that is wide leaves nothing to compare. */
static struct model_block random_block(uint64_t id)
{
	struct model_block b = { .id = id, .uid = below(4) ? (int)below(UIDS) : -1 };

	for (unsigned k = below(3) + (b.uid < 0 && below(8)); k > 0; k--)
		b.gids |= 1u << below(GIDS);
	return b;
}

static struct policy_change add_block(const struct model_block *b)
{
	struct policy_change c = { .kind = POLICY_ADD_BLOCK, .block.id = b->id };
	char text[PRINCIPAL_TEXT_MAX] = "everyone", *at = text + strlen(text);

	/* "everyone" beside other conditions changes nothing, and must not hide them */
	for (unsigned i = 0; i < GIDS; i++)
		if (b->gids & 1u << i)
			at += sprintf(at, ",group:%u", gids[i]);
	if (b->uid >= 0)
		sprintf(at, ",user:%u", uids[b->uid]);
	ck_assert_int_eq(principal_parse(text[8] && below(2) ? text + 9 : text, NULL, NULL, &c.block.principal), 0);
	return c;
}

static struct policy_change change_block(struct model *m)
{
	if (m->n_blocks && (m->n_blocks == BLOCKS_MAX || below(2))) {
		unsigned victim = below((unsigned)m->n_blocks);
		uint64_t id = m->blocks[victim].id;

		m->blocks[victim] = m->blocks[--m->n_blocks];
		return (struct policy_change){ .kind = POLICY_REMOVE_BLOCK, .block.id = id };
	}
	next_id += 1 + below(300);
	m->blocks[m->n_blocks] = random_block(next_id);
	return add_block(&m->blocks[m->n_blocks++]);
}

static struct policy_change put_role(unsigned i, uint64_t actions)
{
	struct policy_change c = { .kind = POLICY_PUT_ROLE, .role = { .id = 1000 + i, .actions = actions } };

	snprintf(c.role.name, sizeof(c.role.name), "custom-%u", i);
	return c;
}

/* ---- the comparison ---- */

struct pair {
	struct policy *policy;
	struct model model;
};

static void change(struct pair *to, const struct pair *from)
{
	struct policy_change c[8];
	struct model m = from->model;
	struct policy *p;
	unsigned n = 1 + below(8);

	for (unsigned i = 0; i < n; i++) {
		unsigned what = below(20);

		if (what == 0) {
			unsigned role = below(CUSTOM_ROLES);

			m.custom[role] = rng() & rng() & ACTION_ALL;
			c[i] = put_role(role, m.custom[role]);
		} else if (what < 3) {
			c[i] = change_block(&m);
		} else if (m.n && (m.n == BINDINGS_MAX || what < 11)) {
			unsigned victim = below((unsigned)m.n);

			c[i] = (struct policy_change){ .kind = POLICY_REMOVE_BINDING, .binding.id = m.b[victim].id };
			m.b[victim] = m.b[--m.n];
		} else {
			next_id += 1 + below(300);
			m.b[m.n] = random_binding(next_id);
			c[i] = add(&m.b[m.n++]);
		}
	}
	ck_assert_int_eq(policy_apply(from->policy, c, n, &p), 0);
	policy_unref(to->policy);
	to->policy = p;
	to->model = m;
}

struct asked {
	struct model_caller model;
	struct policy_caller policy;
	uint32_t groups[GIDS], account[GIDS];
};

static size_t list_groups(unsigned bits, uint32_t *to)
{
	size_t n = 0;

	for (unsigned i = 0; i < GIDS; i++)
		if (bits & 1u << i)
			to[n++] = gids[i];
	return n;
}

/* One in three is not known by its uid and groups alone. What the policy is told is told of the model's bits: who is
 * known to be one owner's, or anybody's. */
static void random_caller(struct asked *a)
{
	struct model_caller *m = &a->model;
	struct policy_caller *c = &a->policy;

	*m = (struct model_caller){ .uid = (int)below(UIDS),
				    .gid = below(GIDS),
				    .gids = (unsigned)rng() & (unsigned)rng() & 0xff,
				    .host = below(2) };
	*c = (struct policy_caller){ .uid = uids[m->uid], .gid = gids[m->gid], .groups = a->groups, .host = m->host };
	c->n_groups = list_groups(m->gids, a->groups);
	m->owner = m->uid;
	m->owners = 1u << m->uid;
	if (below(3))
		return;
	m->owner = (int)below(UIDS + 1) - 1;
	c->owner = m->owner < 0 ? POLICY_OWNER_UNKNOWN : uids[m->owner];
	m->owners |= m->owner < 0 ? ~0u : 1u << m->owner;
	if (below(4)) {
		c->account = POLICY_ACCOUNT_KNOWN;
		m->may = (unsigned)rng() & (unsigned)rng() & 0xff;
		c->account_groups = a->account;
		c->n_account_groups = list_groups(m->may, a->account);
	} else {
		c->account = POLICY_ACCOUNT_UNKNOWN;
		m->may = ~0u;
	}
}

static void compare_self_grant(const struct asked *a, uint64_t *own)
{
	const struct model_binding b = random_binding(1);
	const struct policy_change c = add(&b);
	const int owner = (int)below(UIDS + 1) - 1;
	const bool want = model_self_grant(&b, &a->model, owner);
	const bool got = principal_could_mean(&c.binding.principal, &a->policy,
					      owner < 0 ? POLICY_OWNER_UNKNOWN : uids[owner]);
	*own += got;
	if (got != want)
		ck_abort_msg("self-grant: uid %u, account %d, to user index %d with groups %x", a->policy.uid,
			     a->policy.account, b.uid, b.gids);
}

static void compare(const struct pair *pair, uint64_t *allowed, uint64_t *blocked, uint64_t *own)
{
	struct asked a;
	char buf[16];
	const char *resource = random_resource(buf);
	unsigned action = below(ACTION_COUNT);
	int64_t now = (int64_t)below(20) - 5;
	struct policy_answer got;

	random_caller(&a);
	const struct model_caller mc = a.model;
	const struct policy_caller c = a.policy;
	struct model_answer want = model_ask(&pair->model, &mc, action, resource, now);

	policy_decide(pair->policy, &c, (enum action)action, resource, now, &got);
	bool right = want.best ? got.decision == POLICY_ALLOW && got.binding == want.best->id &&
					 got.role == want.best->role && got.valid_until == want.best->until
			       : got.decision == POLICY_DENY && !got.binding && !got.role && !got.valid_until;
	right = right && got.block == want.block;
	*allowed += want.best != NULL;
	*blocked += want.block != 0;
	/* not ck_assert for each: it writes to a pipe each time */
	if (!right)
		ck_abort_msg(
			"decide: uid %u, %s to %s at %lld: binding %llu and block %llu, the model says %llu and %llu",
			c.uid, action_name((enum action)action), resource ? resource : "the vault", (long long)now,
			(unsigned long long)got.binding, (unsigned long long)got.block,
			want.best ? (unsigned long long)want.best->id : 0, (unsigned long long)want.block);
	if (policy_actions(pair->policy, &c, resource, now) != want.actions)
		ck_abort_msg("actions: uid %u to %s at %lld", c.uid, resource ? resource : "the vault", (long long)now);
	if (policy_decide_any(pair->policy, &c, (enum action)action, now) != (want.any ? POLICY_ALLOW : POLICY_DENY))
		ck_abort_msg("any: uid %u, %s at %lld", c.uid, action_name((enum action)action), (long long)now);
	compare_self_grant(&a, own);
}

/* A block that covers the binding whoever asks: told of the model's two numbers, not of conditions. */
static bool model_covered(const struct model *m, const struct model_binding *b)
{
	for (size_t i = 0; i < m->n_blocks; i++)
		if ((m->blocks[i].uid < 0 || m->blocks[i].uid == b->uid) && (m->blocks[i].gids & ~b->gids) == 0)
			return true;
	return false;
}

static int sum_block(const struct block *b, void *arg)
{
	*(uint64_t *)arg += b->id;
	return 0;
}

/* What the listing and the count of administrators say of a snapshot. */
static int sum_id(const struct binding *b, void *arg)
{
	*(uint64_t *)arg += b->id;
	return 0;
}

static void compare_whole(const struct pair *pair)
{
	uint64_t got = 0, want = 0;
	size_t admins = 0, admins_without = 0;
	uint64_t without = pair->model.n ? pair->model.b[0].id : 0;

	for (size_t i = 0; i < pair->model.n; i++) {
		const struct model_binding *b = &pair->model.b[i];
		bool admin = b->role == 1 && !strcmp(b->scope, "*") && b->until == INT64_MAX && b->from <= 3 &&
			     !model_covered(&pair->model, b);

		want += b->id;
		admins += admin;
		admins_without += admin && b->id != without;
	}
	policy_each_binding(pair->policy, sum_id, &got);
	ck_assert_uint_eq(got, want);
	got = want = 0;
	for (size_t i = 0; i < pair->model.n_blocks; i++)
		want += pair->model.blocks[i].id;
	policy_each_block(pair->policy, sum_block, &got);
	ck_assert_uint_eq(got, want);
	ck_assert_uint_eq(policy_count_administrators(pair->policy, 0, 3), admins);
	ck_assert_uint_eq(policy_count_administrators(pair->policy, without, 3), admins_without);
}

START_TEST(policy_agrees_with_the_model_on_a_million_questions)
{
	static struct pair pairs[SNAPSHOTS];
	struct policy_change roles[CUSTOM_ROLES];
	uint64_t allowed = 0, blocked = 0, own = 0;

	model_init_roles();
	for (unsigned i = 0; i < CUSTOM_ROLES; i++)
		roles[i] = put_role(i, 0);
	for (unsigned i = 0; i < SNAPSHOTS; i++) {
		struct policy *empty = policy_new();

		ck_assert_int_eq(policy_apply(empty, roles, CUSTOM_ROLES, &pairs[i].policy), 0);
		policy_unref(empty);
	}
	for (unsigned long q = 0; q < QUESTIONS; q++) {
		if (q % QUESTIONS_A_CHANGE == 0) {
			unsigned to = below(SNAPSHOTS);

			change(&pairs[to], &pairs[below(SNAPSHOTS)]);
			if (q % (64 * QUESTIONS_A_CHANGE) == 0)
				compare_whole(&pairs[to]);
		}
		compare(&pairs[below(SNAPSHOTS)], &allowed, &blocked, &own);
	}
	/* a comparison of denials alone would prove little */
	ck_assert_uint_gt(allowed, QUESTIONS / 10);
	ck_assert_uint_lt(allowed, QUESTIONS - QUESTIONS / 10);
	ck_assert_uint_gt(blocked, QUESTIONS / 10);
	ck_assert_uint_lt(blocked, QUESTIONS / 2);
	ck_assert_uint_gt(own, QUESTIONS / 10);
	ck_assert_uint_lt(own, QUESTIONS - QUESTIONS / 10);
	for (unsigned i = 0; i < SNAPSHOTS; i++)
		policy_unref(pairs[i].policy);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("policy_model");
	TCase *c = tcase_create("model");

	tcase_set_timeout(c, 240);
	tcase_add_test(c, policy_agrees_with_the_model_on_a_million_questions);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
