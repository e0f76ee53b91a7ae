/* Threads that ask while snapshots change under them. What is compared is that nobody ever sees half a change; races in
 * counting are for the tsan and asan builds to see. */
#include "policy/policy.h"

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASKERS   3
#define CHANGERS 2
#define ROUNDS   2000
#define BINDINGS 64

static struct {
	pthread_mutex_t lock;
	struct policy *now;
	atomic_bool over;
	atomic_ulong asked, wrong;
} shared = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct policy *take(void)
{
	pthread_mutex_lock(&shared.lock);
	struct policy *p = policy_ref(shared.now);
	pthread_mutex_unlock(&shared.lock);
	return p;
}

static struct policy_change add(uint64_t id, uint32_t uid, const char *scope)
{
	struct policy_change c = { .kind = POLICY_ADD_BINDING };

	c.binding.id = id;
	c.binding.role = 4;
	c.binding.principal.n = 1;
	c.binding.principal.conditions[0].kind = PRINCIPAL_USER;
	c.binding.principal.conditions[0].id = uid;
	snprintf(c.binding.scope, sizeof(c.binding.scope), "%s", scope);
	c.binding.from = INT64_MIN;
	c.binding.until = BINDING_FOREVER;
	return c;
}

/* Each snapshot has exactly one of the bindings on "left" and "right": never both, never none. */
static void *askers_work(void *arg)
{
	const struct policy_caller c = { .uid = 1, .gid = 1 };
	struct policy_answer left, right, still;
	char name[16];

	(void)arg;
	for (unsigned long i = 0; !atomic_load(&shared.over); i++) {
		struct policy *p = take();

		snprintf(name, sizeof(name), "s%lu", i % BINDINGS);
		policy_decide(p, &c, ACTION_SECRETS_GET, "left", 0, &left);
		policy_decide(p, &c, ACTION_SECRETS_GET, "right", 0, &right);
		policy_decide(p, &c, ACTION_SECRETS_GET, name, 0, &still);
		bool wrong = left.decision == right.decision || still.binding != i % BINDINGS + 1;
		policy_unref(p);
		atomic_fetch_add(&shared.asked, 1);
		atomic_fetch_add(&shared.wrong, wrong);
	}
	return NULL;
}

/* Changes without the lock, from the same old as the other changer, and publishes: whoever comes last wins. */
static void *changers_work(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		struct policy *old = take(), *next = NULL;
		const struct binding *b = policy_binding(old, 1000);
		bool left = !strcmp(b->scope, "left");
		struct policy_change c[] = { { .kind = POLICY_REMOVE_BINDING, .binding.id = 1000 },
					     add(1000, 1, left ? "right" : "left") };

		if (policy_apply(old, c, 2, &next) < 0) {
			atomic_fetch_add(&shared.wrong, 1);
			policy_unref(old);
			continue;
		}
		pthread_mutex_lock(&shared.lock);
		struct policy *before = shared.now;
		shared.now = next;
		pthread_mutex_unlock(&shared.lock);
		policy_unref(before);
		policy_unref(old);
	}
	return NULL;
}

START_TEST(nobody_sees_half_a_change)
{
	struct policy_change c[BINDINGS + 1];
	struct policy *empty = policy_new();
	pthread_t askers[ASKERS], changers[CHANGERS];
	char name[16];

	for (unsigned i = 0; i < BINDINGS; i++) {
		snprintf(name, sizeof(name), "s%u", i);
		c[i] = add(i + 1, 1, name);
	}
	c[BINDINGS] = add(1000, 1, "left");
	ck_assert_int_eq(policy_apply(empty, c, BINDINGS + 1, &shared.now), 0);
	policy_unref(empty);
	for (int i = 0; i < ASKERS; i++)
		ck_assert_int_eq(pthread_create(&askers[i], NULL, askers_work, NULL), 0);
	for (int i = 0; i < CHANGERS; i++)
		ck_assert_int_eq(pthread_create(&changers[i], NULL, changers_work, NULL), 0);
	for (int i = 0; i < CHANGERS; i++)
		pthread_join(changers[i], NULL);
	atomic_store(&shared.over, true);
	for (int i = 0; i < ASKERS; i++)
		pthread_join(askers[i], NULL);
	ck_assert_uint_eq(atomic_load(&shared.wrong), 0);
	ck_assert_uint_gt(atomic_load(&shared.asked), 0);
	policy_unref(shared.now);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("policy_threads");
	TCase *c = tcase_create("threads");

	tcase_set_timeout(c, 120);
	tcase_add_test(c, nobody_sees_half_a_change);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
