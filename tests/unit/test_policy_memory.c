/* Memory that runs out: the n-th allocation fails, for every n. Linked with --wrap for malloc, calloc and free, which
 * also counts the blocks that are alive. */
#include "policy/policy.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void __wrap_free(void *p);

static long fail_at = -1; /* how many allocations still succeed; -1: all */
static long alive;
static unsigned long made;

static bool refused(void) { return fail_at >= 0 && fail_at-- == 0; }

static void *count(void *p)
{
	alive += p != NULL;
	made += p != NULL;
	return p;
}

void *__wrap_malloc(size_t size) { return refused() ? NULL : count(__real_malloc(size)); }

void *__wrap_calloc(size_t n, size_t size) { return refused() ? NULL : count(__real_calloc(n, size)); }

void __wrap_free(void *p)
{
	alive -= p != NULL;
	__real_free(p);
}

static struct policy_change add(uint64_t id, uint32_t role, const char *principal, const char *scope)
{
	struct policy_change c = { .kind = POLICY_ADD_BINDING };

	c.binding.id = id;
	c.binding.role = role;
	ck_assert_int_eq(principal_parse(principal, NULL, NULL, &c.binding.principal), 0);
	snprintf(c.binding.scope, sizeof(c.binding.scope), "%s", scope);
	c.binding.from = INT64_MIN;
	c.binding.until = BINDING_FOREVER;
	return c;
}

static struct policy_change put_role(action_set actions)
{
	return (struct policy_change){ .kind = POLICY_PUT_ROLE,
				       .role = { .id = 1000, .name = "ci", .actions = actions } };
}

static struct policy_change removal(uint64_t id)
{
	return (struct policy_change){ .kind = POLICY_REMOVE_BINDING, .binding.id = id };
}

static uint64_t who_lets(const struct policy *p, uint32_t uid, const char *name)
{
	const struct policy_caller c = { .uid = uid, .gid = uid };
	struct policy_answer a;

	policy_decide(p, &c, ACTION_SECRETS_GET, name, 0, &a);
	return a.binding;
}

static int count_one(const struct binding *b, void *arg)
{
	(void)b;
	++*(size_t *)arg;
	return 0;
}

static size_t count_bindings(const struct policy *p)
{
	size_t n = 0;

	policy_each_binding(p, count_one, &n);
	return n;
}

#define OLD_BINDINGS 40

static struct policy *old_policy(void)
{
	struct policy_change c[OLD_BINDINGS + 1];
	struct policy *empty = policy_new(), *p = NULL;
	char principal[32], scope[32];

	c[0] = put_role(ACTION_BIT(ACTION_SECRETS_GET));
	for (unsigned i = 1; i <= OLD_BINDINGS; i++) {
		snprintf(principal, sizeof(principal), "user:%u", 1000 + i % 4);
		snprintf(scope, sizeof(scope), i % 5 ? "s%u" : "s%u*", i);
		c[i] = add(i, i % 7 ? 4 : 1000, principal, scope);
	}
	ck_assert_int_eq(policy_apply(empty, c, OLD_BINDINGS + 1, &p), 0);
	policy_unref(empty);
	return p;
}

static void check_old(const struct policy *p)
{
	char scope[32];

	ck_assert_uint_eq(count_bindings(p), OLD_BINDINGS);
	for (unsigned i = 1; i <= OLD_BINDINGS; i++) {
		snprintf(scope, sizeof(scope), "s%u", i);
		ck_assert_uint_eq(who_lets(p, 1000 + i % 4, scope), i);
		ck_assert_uint_eq(who_lets(p, 1000 + (i + 1) % 4, scope), 0);
	}
	ck_assert_uint_eq(policy_count_administrators(p, 0, 0), 0);
	ck_assert_uint_eq(policy_role(p, 1000)->actions, ACTION_BIT(ACTION_SECRETS_GET));
}

/* Adds, removals that merge paths, an administrator that comes and goes, a role that is replaced and one binding of it.
 */
static size_t changes(struct policy_change *c)
{
	size_t n = 0;

	c[n++] = add(100, 4, "user:1000", "s4-more");
	c[n++] = add(101, 1, "user:0,host", "*");
	c[n++] = add(102, 4, "group:7,everyone", "t*");
	c[n++] = removal(1);
	c[n++] = removal(2);
	c[n++] = removal(100);
	c[n++] = removal(101);
	c[n++] = put_role(ACTION_BIT(ACTION_SECRETS_SET));
	c[n++] = add(103, 1000, "user:1000", "s4");
	for (uint64_t id = 10; id < 20; id++)
		c[n++] = removal(id);
	return n;
}

START_TEST(apply_fails_whole_at_every_allocation)
{
	struct policy_change c[32];
	size_t n = changes(c);
	struct policy *old = old_policy();
	long at = 0;

	for (;; at++) {
		struct policy *next = NULL;
		long before = alive;

		fail_at = at;
		int r = policy_apply(old, c, n, &next);
		fail_at = -1;
		size_t bindings = next ? count_bindings(next) : 0;
		uint64_t removed = who_lets(next, 1001, "s1");
		policy_unref(next);
		long leaked = alive - before; /* libcheck's own blocks come and go with each ck_assert */
		ck_assert_int_eq(leaked, 0);
		check_old(old);
		if (r == 0) {
			ck_assert_uint_eq(bindings, OLD_BINDINGS - 12 + 2);
			ck_assert_uint_eq(removed, 0);
			break;
		}
		ck_assert_int_eq(r, -ENOMEM);
		ck_assert_ptr_null(next);
	}
	ck_assert_int_gt(at, 30);
	policy_unref(old);
}
END_TEST

START_TEST(loading_fails_whole_at_every_allocation)
{
	enum { N = 60 };
	struct policy_change c[N];
	struct policy *empty = policy_new();
	long at = 0;
	char scope[32];

	for (unsigned i = 0; i < N; i++) {
		snprintf(scope, sizeof(scope), "%c%u", 'a' + (int)(i % 20), i);
		c[i] = add(i + 1, 4, "user:5", scope);
	}
	for (;; at++) {
		struct policy *next = NULL;
		long before = alive;

		fail_at = at;
		int r = policy_apply(empty, c, N, &next);
		fail_at = -1;
		policy_unref(next);
		long leaked = alive - before;
		ck_assert_int_eq(leaked, 0);
		if (r == 0)
			break;
		ck_assert_int_eq(r, -ENOMEM);
		ck_assert_ptr_null(next);
	}
	ck_assert_int_gt(at, N);
	policy_unref(empty);
}
END_TEST

START_TEST(new_fails_when_memory_is_short)
{
	fail_at = 0;
	struct policy *p = policy_new();
	fail_at = -1;
	ck_assert_ptr_null(p);
}
END_TEST

START_TEST(questions_allocate_nothing)
{
	struct policy *p = old_policy();
	static const uint32_t groups[] = { 1, 2, 3 };
	const struct policy_caller c = { .uid = 1001, .gid = 7, .groups = groups, .n_groups = 3, .host = true };
	struct policy_answer a;
	unsigned long before = made;

	policy_decide(p, &c, ACTION_SECRETS_GET, "s1", 0, &a);
	action_set actions = policy_actions(p, &c, "s1", 0);
	enum policy_decision any = policy_decide_any(p, &c, ACTION_SECRETS_PURGE, 0);
	unsigned long after = made;
	ck_assert_uint_eq(after, before);
	ck_assert_uint_eq(a.decision, POLICY_ALLOW);
	ck_assert_uint_ne(actions, 0);
	ck_assert_uint_eq(any, POLICY_DENY);
	policy_unref(p);
}
END_TEST

/* What a change costs: new blocks, whatever the number of bindings. */
START_TEST(a_change_makes_few_blocks_however_many_bindings_there_are)
{
	static const unsigned sizes[] = { 10, 1000, 20000 };
	unsigned long worst = 0;

	for (size_t k = 0; k < 3; k++) {
		struct policy_change *c = calloc(sizes[k], sizeof(*c));
		struct policy *empty = policy_new(), *p = NULL, *next = NULL;
		char scope[32];

		ck_assert_ptr_nonnull(c);
		for (unsigned i = 0; i < sizes[k]; i++) {
			snprintf(scope, sizeof(scope), "s%u", i);
			c[i] = add(i + 1, 4, i % 2 ? "user:5" : "group:6", scope);
		}
		ck_assert_int_eq(policy_apply(empty, c, sizes[k], &p), 0);
		struct policy_change one = add(1000000, 4, "user:5", "s7"), gone = removal(4);
		unsigned long before = made;
		ck_assert_int_eq(policy_apply(p, &one, 1, &next), 0);
		worst = made - before > worst ? made - before : worst;
		policy_unref(next);
		before = made;
		ck_assert_int_eq(policy_apply(p, &gone, 1, &next), 0);
		worst = made - before > worst ? made - before : worst;
		policy_unref(next);
		policy_unref(p);
		policy_unref(empty);
		free(c);
	}
	ck_assert_uint_lt(worst, 40);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		apply_fails_whole_at_every_allocation,
		loading_fails_whole_at_every_allocation,
		new_fails_when_memory_is_short,
		questions_allocate_nothing,
		a_change_makes_few_blocks_however_many_bindings_there_are,
	};
	Suite *s = suite_create("policy_memory");
	TCase *c = tcase_create("memory");

	tcase_set_timeout(c, 60);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_test(c, tests[i]);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
