/* Decisions and snapshots, case by case. test_policy_model.c asks at random. */
#include "policy/policy.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NOW 1000

static const struct policy_caller alice = { .uid = 1000, .gid = 1000 };
static const struct policy_caller bob = { .uid = 1001, .gid = 1001 };
static const struct policy_caller root = { .uid = 0, .gid = 0, .host = true };

static struct policy_change add(uint64_t id, const char *role, const char *principal, const char *scope)
{
	struct policy_change c = { .kind = POLICY_ADD_BINDING };

	c.binding.id = id;
	c.binding.role = role_builtin_find(role) ? role_builtin_find(role)->id : ROLE_CUSTOM_FIRST;
	ck_assert_int_eq(principal_parse(principal, NULL, NULL, &c.binding.principal), 0);
	snprintf(c.binding.scope, sizeof(c.binding.scope), "%s", scope);
	c.binding.from = INT64_MIN;
	c.binding.until = BINDING_FOREVER;
	return c;
}

static struct policy_change add_window(uint64_t id, const char *principal, const char *scope, int64_t from,
				       int64_t until)
{
	struct policy_change c = add(id, "secrets-user", principal, scope);

	c.binding.from = from;
	c.binding.until = until;
	return c;
}

static struct policy_change removal(uint64_t id)
{
	return (struct policy_change){ .kind = POLICY_REMOVE_BINDING, .binding.id = id };
}

static struct policy_change role(uint32_t id, const char *name, action_set actions)
{
	struct policy_change c = { .kind = POLICY_PUT_ROLE, .role = { .id = id, .actions = actions } };

	snprintf(c.role.name, sizeof(c.role.name), "%s", name);
	return c;
}

/* The snapshot after changes; p passes to it. */
static struct policy *changed(struct policy *p, const struct policy_change *changes, size_t n)
{
	struct policy *next;

	ck_assert_int_eq(policy_apply(p, changes, n, &next), 0);
	policy_unref(p);
	return next;
}

static struct policy *policy_of(const struct policy_change *changes, size_t n)
{
	struct policy *p = policy_new();

	ck_assert_ptr_nonnull(p);
	return changed(p, changes, n);
}

static struct policy_answer ask(const struct policy *p, const struct policy_caller *c, enum action a, const char *name,
				int64_t now)
{
	struct policy_answer answer;

	memset(&answer, 0xff, sizeof(answer));
	policy_decide(p, c, a, name, now, &answer);
	if (answer.decision == POLICY_DENY) {
		ck_assert_uint_eq(answer.binding, 0);
		ck_assert_uint_eq(answer.role, 0);
		ck_assert_int_eq(answer.valid_until, 0);
	}
	return answer;
}

/* The binding that lets c get name, 0 for none. */
static uint64_t who_lets(const struct policy *p, const struct policy_caller *c, const char *name)
{
	return ask(p, c, ACTION_SECRETS_GET, name, NOW).binding;
}

/* ---- deny by default ---- */

START_TEST(denies_everybody_everything_while_there_are_no_bindings)
{
	struct policy *p = policy_new();

	for (unsigned a = 0; a < ACTION_COUNT; a++) {
		ck_assert_uint_eq(ask(p, &alice, (enum action)a, "db", NOW).decision, POLICY_DENY);
		ck_assert_uint_eq(ask(p, &root, (enum action)a, NULL, NOW).decision, POLICY_DENY);
		ck_assert_uint_eq(policy_decide_any(p, &root, (enum action)a, NOW), POLICY_DENY);
	}
	ck_assert_uint_eq(policy_actions(p, &root, NULL, NOW), 0);
	policy_unref(p);
}
END_TEST

START_TEST(denies_caller_without_binding)
{
	struct policy_change c[] = { add(1, "secrets-user", "user:1000", "*") };
	struct policy *p = policy_of(c, 1);

	ck_assert_uint_eq(who_lets(p, &alice, "db"), 1);
	ck_assert_uint_eq(who_lets(p, &bob, "db"), 0);
	policy_unref(p);
}
END_TEST

START_TEST(denies_root_without_binding)
{
	struct policy_change c[] = { add(1, "administrator", "user:1000", "*") };
	struct policy *p = policy_of(c, 1);

	ck_assert_uint_eq(who_lets(p, &root, "db"), 0);
	ck_assert_uint_eq(policy_actions(p, &root, "db", NOW), 0);
	policy_unref(p);
}
END_TEST

START_TEST(denies_where_something_is_missing)
{
	struct policy_change c[] = { add(1, "administrator", "everyone", "*") };
	struct policy *p = policy_of(c, 1);

	ck_assert_uint_eq(who_lets(p, &alice, "db"), 1);
	ck_assert_uint_eq(who_lets(NULL, &alice, "db"), 0);
	ck_assert_uint_eq(who_lets(p, NULL, "db"), 0);
	ck_assert_uint_eq(ask(p, &alice, ACTION_COUNT, "db", NOW).decision, POLICY_DENY);
	ck_assert_uint_eq(ask(p, &alice, (enum action)64, "db", NOW).decision, POLICY_DENY);
	ck_assert_uint_eq(policy_actions(NULL, &alice, "db", NOW), 0);
	ck_assert_uint_eq(policy_decide_any(NULL, &alice, ACTION_SECRETS_GET, NOW), POLICY_DENY);
	ck_assert_uint_eq(policy_decide_any(p, &alice, ACTION_COUNT, NOW), POLICY_DENY);
	policy_unref(p);
}
END_TEST

START_TEST(denies_names_that_cannot_be)
{
	static const char *const bad[] = { "", ".coffer", "a/b", "../x", "a\n", "a**", "\xff" };
	struct policy_change c[] = { add(1, "administrator", "everyone", "*") };
	struct policy *p = policy_of(c, 1);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_uint_eq(who_lets(p, &alice, bad[i]), 0);
		ck_assert_uint_eq(policy_actions(p, &alice, bad[i], NOW), 0);
	}
	policy_unref(p);
}
END_TEST

/* ---- principals ---- */

START_TEST(supplementary_groups_count)
{
	static const uint32_t groups[] = { 4, 27, 2000 };
	const struct policy_caller c = { .uid = 1000, .gid = 1000, .groups = groups, .n_groups = 3 };
	struct policy_change changes[] = {
		add(1, "secrets-user", "group:4", "first"),         add(2, "secrets-user", "group:2000", "last"),
		add(3, "secrets-user", "group:1000", "own"),        add(4, "secrets-user", "group:28", "other"),
		add(5, "secrets-user", "group:4,group:27", "both"), add(6, "secrets-user", "group:4,group:28", "half"),
	};
	struct policy *p = policy_of(changes, 6);

	ck_assert_uint_eq(who_lets(p, &c, "first"), 1);
	ck_assert_uint_eq(who_lets(p, &c, "last"), 2);
	ck_assert_uint_eq(who_lets(p, &c, "own"), 3);
	ck_assert_uint_eq(who_lets(p, &c, "other"), 0);
	ck_assert_uint_eq(who_lets(p, &c, "both"), 5);
	ck_assert_uint_eq(who_lets(p, &c, "half"), 0);
	ck_assert_uint_eq(who_lets(p, &alice, "first"), 0);
	policy_unref(p);
}
END_TEST

static int64_t spent_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The shortest of some tries, each of 100 questions. */
static int64_t time_of_questions(const struct policy *p, const struct policy_caller *c)
{
	int64_t least = INT64_MAX;

	for (int try = 0; try < 10; try++) {
		const int64_t began = spent_ns();
		for (int i = 0; i < 100; i++)
			ck_assert_uint_eq(who_lets(p, c, "other"), 0);
		const int64_t took = spent_ns() - began;
		least = took < least ? took : least;
	}
	return least;
}

/* Whoever has a user namespace with 65,536 subordinate gids can be in all of them, and is asked about each name of the
 * vault when it lists it. */
START_TEST(all_groups_that_there_can_be_cost_little_more_than_one)
{
	enum { MANY = 65536, FIRST = 100000 };
	static uint32_t groups[MANY];
	struct policy_change changes[] = {
		add(1, "secrets-user", "group:4", "below"),       add(2, "secrets-user", "group:100000", "first"),
		add(3, "secrets-user", "group:123456", "middle"), add(4, "secrets-user", "group:165535", "last"),
		add(5, "secrets-user", "group:165536", "above"),  add(6, "secrets-user", "group:4000000000", "far"),
	};
	const char *const of_caller[] = { "first", "middle", "last" }, *const of_others[] = { "below", "above", "far" };
	struct policy *p = policy_of(changes, 6);

	for (uint32_t i = 0; i < MANY; i++)
		groups[i] = FIRST + i;
	const struct policy_caller one = { .uid = 1000, .gid = 1000, .groups = groups, .n_groups = 1 },
				   all = { .uid = 1000, .gid = 1000, .groups = groups, .n_groups = MANY };
	for (uint64_t i = 0; i < 3; i++) {
		ck_assert_uint_eq(who_lets(p, &all, of_caller[i]), i + 2);
		ck_assert_uint_eq(who_lets(p, &all, of_others[i]), 0);
	}
	const int64_t with_one = time_of_questions(p, &one), with_all = time_of_questions(p, &all);
	ck_assert_msg(with_all < 100 * with_one, "%lld ns with one group, %lld ns with %d", (long long)with_one,
		      (long long)with_all, MANY);
	policy_unref(p);
}
END_TEST

START_TEST(commas_narrow)
{
	struct policy_caller in = { .uid = 1000, .gid = 1000 }, out = in;
	struct policy_change c[] = { add(1, "secrets-user", "user:1000,host", "db") };
	struct policy *p = policy_of(c, 1);

	out.host = true;
	ck_assert_uint_eq(who_lets(p, &in, "db"), 0);
	ck_assert_uint_eq(who_lets(p, &out, "db"), 1);
	ck_assert_uint_eq(who_lets(p, &root, "db"), 0);
	policy_unref(p);
}
END_TEST

START_TEST(root_of_a_container_does_not_inherit_the_vault)
{
	const struct policy_caller contained = { .uid = 0, .gid = 0, .host = false };
	struct policy_change c[] = { add(1, "administrator", "user:0,host", "*") };
	struct policy *p = policy_of(c, 1);

	ck_assert_uint_eq(who_lets(p, &root, "db"), 1);
	ck_assert_uint_eq(policy_actions(p, &root, NULL, NOW), ACTION_ALL);
	ck_assert_uint_eq(policy_actions(p, &contained, NULL, NOW), 0);
	ck_assert_uint_eq(policy_decide_any(p, &contained, ACTION_SECRETS_LIST, NOW), POLICY_DENY);
	policy_unref(p);
}
END_TEST

START_TEST(host_and_everyone_stand_alone)
{
	struct policy_change c[] = { add(1, "secrets-user", "host", "h"), add(2, "secrets-user", "everyone", "e") };
	struct policy *p = policy_of(c, 2);

	ck_assert_uint_eq(who_lets(p, &root, "h"), 1);
	ck_assert_uint_eq(who_lets(p, &alice, "h"), 0);
	ck_assert_uint_eq(who_lets(p, &root, "e"), 2);
	ck_assert_uint_eq(who_lets(p, &alice, "e"), 2);
	policy_unref(p);
}
END_TEST

/* ---- scopes ---- */

START_TEST(scopes_decide_as_they_cover)
{
	static const char *const scopes[] = { "*", "d*", "db", "db*", "db-*", "db-a", "db-a*", "db-ab", "e", "db-a.b" };
	static const char *const resources[] = { NULL,   "*",    "d",    "d*",    "db",     "db*",
						 "db-",  "db-*", "db-a", "db-a*", "db-ab",  "db-abc",
						 "db-b", "e",    "e*",   "f",     "db-a.b", "db-a_b" };

	for (size_t i = 0; i < sizeof(scopes) / sizeof(scopes[0]); i++) {
		struct policy_change c[] = { add(1, "secrets-user", "user:1000", scopes[i]) };
		struct policy *p = policy_of(c, 1);

		for (size_t k = 0; k < sizeof(resources) / sizeof(resources[0]); k++) {
			bool want = scope_covers(scopes[i], resources[k]);

			ck_assert_msg((who_lets(p, &alice, resources[k]) == 1) == want, "%s over %s", scopes[i],
				      resources[k] ? resources[k] : "the vault");
		}
		policy_unref(p);
	}
}
END_TEST

START_TEST(the_longest_names_and_prefixes_are_found)
{
	char name[NAME_LEN_MAX + 1], prefix[NAME_LEN_MAX + 1], other[NAME_LEN_MAX + 1];

	memset(name, 'n', NAME_LEN_MAX);
	name[NAME_LEN_MAX] = '\0';
	strcpy(prefix, name);
	prefix[NAME_LEN_MAX - 1] = '*';
	strcpy(other, name);
	other[NAME_LEN_MAX - 1] = 'm';
	struct policy_change c[] = { add(1, "secrets-user", "user:1000", name),
				     add(2, "secrets-user", "user:1001", prefix) };
	struct policy *p = policy_of(c, 2);

	ck_assert_uint_eq(who_lets(p, &alice, name), 1);
	ck_assert_uint_eq(who_lets(p, &alice, other), 0);
	ck_assert_uint_eq(who_lets(p, &bob, name), 2);
	ck_assert_uint_eq(who_lets(p, &bob, other), 2);
	policy_unref(p);
}
END_TEST

/* ---- time ---- */

START_TEST(windows_open_and_close_at_the_nanosecond)
{
	struct policy_change c[] = { add_window(7, "user:1000", "db", 500, 600) };
	struct policy *p = policy_of(c, 1);
	static const struct {
		int64_t now;
		enum policy_decision want;
	} rows[] = {
		{ INT64_MIN, POLICY_DENY }, { 0, POLICY_DENY },    { 499, POLICY_DENY }, { 500, POLICY_ALLOW },
		{ 501, POLICY_ALLOW },      { 599, POLICY_ALLOW }, { 600, POLICY_DENY }, { INT64_MAX, POLICY_DENY }
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct policy_answer a = ask(p, &alice, ACTION_SECRETS_GET, "db", rows[i].now);

		ck_assert_uint_eq(a.decision, rows[i].want);
		ck_assert_int_eq(a.valid_until, rows[i].want ? 600 : 0);
		ck_assert_uint_eq(policy_actions(p, &alice, "db", rows[i].now) != 0, rows[i].want);
		ck_assert_uint_eq(policy_decide_any(p, &alice, ACTION_SECRETS_GET, rows[i].now), rows[i].want);
	}
	policy_unref(p);
}
END_TEST

START_TEST(forever_has_no_end)
{
	struct policy_change c[] = { add(1, "secrets-user", "user:1000", "db") };
	struct policy *p = policy_of(c, 1);

	ck_assert_uint_eq(ask(p, &alice, ACTION_SECRETS_GET, "db", INT64_MIN).decision, POLICY_ALLOW);
	ck_assert_uint_eq(ask(p, &alice, ACTION_SECRETS_GET, "db", INT64_MAX).decision, POLICY_ALLOW);
	ck_assert_int_eq(ask(p, &alice, ACTION_SECRETS_GET, "db", NOW).valid_until, BINDING_FOREVER);
	policy_unref(p);
}
END_TEST

START_TEST(times_before_the_epoch_are_times)
{
	struct policy_change c[] = { add_window(1, "user:1000", "db", -20, -10),
				     add_window(2, "user:1000", "db", -20, 5) };
	struct policy *p = policy_of(c, 2);

	ck_assert_uint_eq(ask(p, &alice, ACTION_SECRETS_GET, "db", -15).binding, 2);
	ck_assert_uint_eq(ask(p, &alice, ACTION_SECRETS_GET, "db", -10).binding, 2);
	ck_assert_uint_eq(ask(p, &alice, ACTION_SECRETS_GET, "db", 5).binding, 0);
	policy_unref(p);
}
END_TEST

START_TEST(the_binding_that_holds_longest_decides)
{
	struct policy_change c[] = {
		add_window(1, "user:1000", "db", 0, 2000),   add_window(2, "user:1000", "d*", 0, 3000),
		add_window(3, "everyone", "*", 0, 2500),     add_window(4, "user:1000", "db", 0, 900),
		add_window(5, "user:1000", "*", 1001, 9000),
	};
	struct policy *p = policy_of(c, 5);
	struct policy_answer a = ask(p, &alice, ACTION_SECRETS_GET, "db", NOW);

	ck_assert_uint_eq(a.binding, 2);
	ck_assert_int_eq(a.valid_until, 3000);
	ck_assert_uint_eq(ask(p, &alice, ACTION_SECRETS_GET, "db", 1001).binding, 5);
	ck_assert_uint_eq(ask(p, &bob, ACTION_SECRETS_GET, "db", NOW).binding, 3);
	policy_unref(p);
}
END_TEST

START_TEST(among_equals_the_lowest_id_decides)
{
	struct policy_change c[] = {
		add(9, "secrets-user", "user:1000", "db"), add(4, "secrets-user", "everyone", "*"),
		add(6, "secrets-user", "user:1000", "d*"), add(5, "secrets-user", "user:1000", "db"),
		add(1, "reader", "user:1000", "db"),
	};
	struct policy *p = policy_of(c, 5);
	struct policy_change gone = removal(4);

	ck_assert_uint_eq(who_lets(p, &alice, "db"), 4);
	p = changed(p, &gone, 1);
	ck_assert_uint_eq(who_lets(p, &alice, "db"), 5);
	ck_assert_uint_eq(ask(p, &alice, ACTION_SECRETS_LIST, "db", NOW).binding, 1);
	policy_unref(p);
}
END_TEST

/* ---- actions and roles ---- */

START_TEST(reader_sees_no_value)
{
	struct policy_change c[] = { add(1, "reader", "user:1000", "*") };
	struct policy *p = policy_of(c, 1);

	ck_assert_uint_eq(ask(p, &alice, ACTION_SECRETS_LIST, "db", NOW).binding, 1);
	ck_assert_uint_eq(ask(p, &alice, ACTION_SECRETS_LIST, "db", NOW).role, 2);
	ck_assert_uint_eq(ask(p, &alice, ACTION_VAULT_STATUS, NULL, NOW).binding, 1);
	ck_assert_uint_eq(who_lets(p, &alice, "db"), 0);
	ck_assert_uint_eq(ask(p, &alice, ACTION_AUDIT_READ, NULL, NOW).binding, 0);
	policy_unref(p);
}
END_TEST

START_TEST(actions_are_the_union_of_what_binds)
{
	struct policy_change c[] = { add(1, "secrets-user", "user:1000", "db*"),
				     add(2, "purge-operator", "everyone", "db"),
				     add(3, "crypto-officer", "user:1000", "other") };
	struct policy *p = policy_of(c, 3);
	action_set user = ACTION_BIT(ACTION_SECRETS_GET) | ACTION_BIT(ACTION_SECRETS_LIST);
	action_set purge = ACTION_BIT(ACTION_SECRETS_PURGE) | ACTION_BIT(ACTION_KEYS_PURGE) |
			   ACTION_BIT(ACTION_CERTIFICATES_PURGE);

	ck_assert_uint_eq(policy_actions(p, &alice, "db", NOW), user | purge);
	ck_assert_uint_eq(policy_actions(p, &alice, "db1", NOW), user);
	ck_assert_uint_eq(policy_actions(p, &bob, "db", NOW), purge);
	ck_assert_uint_eq(policy_actions(p, &alice, NULL, NOW), 0);
	policy_unref(p);
}
END_TEST

START_TEST(decide_any_asks_for_no_name)
{
	struct policy_change c[] = { add(1, "secrets-user", "user:1000,host", "db"),
				     add_window(2, "user:1001", "x", 0, NOW) };
	struct policy *p = policy_of(c, 2);
	struct policy_caller alice_outside = alice;

	alice_outside.host = true;
	ck_assert_uint_eq(policy_decide_any(p, &alice_outside, ACTION_SECRETS_GET, NOW), POLICY_ALLOW);
	ck_assert_uint_eq(policy_decide_any(p, &alice_outside, ACTION_SECRETS_SET, NOW), POLICY_DENY);
	ck_assert_uint_eq(policy_decide_any(p, &alice, ACTION_SECRETS_GET, NOW), POLICY_DENY);
	ck_assert_uint_eq(policy_decide_any(p, &bob, ACTION_SECRETS_GET, NOW - 1), POLICY_ALLOW);
	ck_assert_uint_eq(policy_decide_any(p, &bob, ACTION_SECRETS_GET, NOW), POLICY_DENY);
	policy_unref(p);
}
END_TEST

START_TEST(a_custom_role_changes_under_its_bindings)
{
	struct policy_change first[] = { role(1000, "ci", ACTION_BIT(ACTION_SECRETS_GET)),
					 add(1, "ci", "user:1000", "db") };
	struct policy *old = policy_of(first, 2), *next;
	struct policy_change second = role(1000, "ci", ACTION_BIT(ACTION_SECRETS_SET));

	ck_assert_int_eq(policy_apply(old, &second, 1, &next), 0);
	ck_assert_uint_eq(who_lets(old, &alice, "db"), 1);
	ck_assert_uint_eq(ask(old, &alice, ACTION_SECRETS_GET, "db", NOW).role, 1000);
	ck_assert_uint_eq(who_lets(next, &alice, "db"), 0);
	ck_assert_uint_eq(ask(next, &alice, ACTION_SECRETS_SET, "db", NOW).binding, 1);
	ck_assert_uint_eq(policy_decide_any(next, &alice, ACTION_SECRETS_SET, NOW), POLICY_ALLOW);
	ck_assert_uint_eq(policy_decide_any(next, &alice, ACTION_SECRETS_GET, NOW), POLICY_DENY);
	policy_unref(old);
	policy_unref(next);
}
END_TEST

/* ---- changes ---- */

START_TEST(refuses_bindings_that_make_no_sense)
{
	struct policy *p = policy_new(), *next = NULL;
	struct policy_change rows[16];
	size_t n = 0;

	for (size_t i = 0; i < 16; i++)
		rows[i] = add(1, "reader", "user:1", "db");
	rows[n++].binding.id = 0;
	rows[n++].binding.principal.n = 0;
	rows[n++].binding.principal.n = 9;
	rows[n++].binding.principal.conditions[0].kind = PRINCIPAL_NONE;
	rows[n++].binding.principal.conditions[0].id = UINT32_MAX;
	strcpy(rows[n++].binding.scope, "");
	strcpy(rows[n++].binding.scope, "a/b");
	memset(rows[n++].binding.scope, 'x', sizeof(rows[0].binding.scope));
	rows[n].binding.from = 10;
	rows[n++].binding.until = 10;
	rows[n].binding.from = 11;
	rows[n++].binding.until = 10;
	rows[n++].kind = (enum policy_change_kind)0;
	rows[n++].kind = (enum policy_change_kind)4;
	for (size_t i = 0; i < n; i++) {
		ck_assert_msg(policy_apply(p, &rows[i], 1, &next) == -EINVAL, "row %zu", i);
		ck_assert_ptr_null(next);
	}
	policy_unref(p);
}
END_TEST

START_TEST(refuses_what_is_there_and_what_is_not)
{
	struct policy_change one[] = { add(1, "reader", "user:1", "db") };
	struct policy *p = policy_of(one, 1), *next = NULL;
	struct policy_change twice = add(1, "auditor", "host", "*"), gone = removal(2),
			     unknown = add(3, "nobody-knows", "host", "*");
	struct policy_change again[] = { removal(1), removal(1) };

	ck_assert_int_eq(policy_apply(p, &twice, 1, &next), -EEXIST);
	ck_assert_int_eq(policy_apply(p, &gone, 1, &next), -ENOENT);
	ck_assert_int_eq(policy_apply(p, &unknown, 1, &next), -ENOENT);
	ck_assert_int_eq(policy_apply(p, again, 2, &next), -ENOENT);
	unknown.binding.role = 0;
	ck_assert_int_eq(policy_apply(p, &unknown, 1, &next), -ENOENT);
	unknown.binding.role = 14;
	ck_assert_int_eq(policy_apply(p, &unknown, 1, &next), -ENOENT);
	ck_assert_ptr_null(next);
	ck_assert_ptr_nonnull(policy_binding(p, 1));
	policy_unref(p);
}
END_TEST

START_TEST(refuses_roles_that_would_change_what_others_mean)
{
	struct policy_change ci = role(1000, "ci", 1);
	struct policy *p = policy_of(&ci, 1), *next = NULL;
	const struct {
		struct policy_change c;
		int r;
	} rows[] = {
		{ role(1, "administrator", 1), -EINVAL },
		{ role(1, "mine", 1), -EINVAL },
		{ role(999, "mine", 1), -EINVAL },
		{ role(1001, "reader", 1), -EINVAL },
		{ role(1001, "Mine", 1), -EINVAL },
		{ role(1001, "", 1), -EINVAL },
		{ role(1001, "ci", 1), -EEXIST },
		{ role(1000, "renamed", 1), -EINVAL },
		{ role(1001, "mine", ACTION_ALL + 1), -EINVAL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ck_assert_msg(policy_apply(p, &rows[i].c, 1, &next) == rows[i].r, "row %zu", i);
	ck_assert_ptr_null(next);
	policy_unref(p);
}
END_TEST

START_TEST(a_failed_change_leaves_nothing_of_those_before_it)
{
	struct policy_change one[] = { add(1, "secrets-user", "user:1000", "db") };
	struct policy *p = policy_of(one, 1), *next = NULL;
	struct policy_change c[] = { removal(1), add(2, "secrets-user", "user:1001", "db"), removal(99) };

	ck_assert_int_eq(policy_apply(p, c, 3, &next), -ENOENT);
	ck_assert_ptr_null(next);
	ck_assert_uint_eq(who_lets(p, &alice, "db"), 1);
	ck_assert_uint_eq(who_lets(p, &bob, "db"), 0);
	policy_unref(p);
}
END_TEST

START_TEST(changes_apply_in_order)
{
	struct policy_change c[] = { add(1, "secrets-user", "user:1000", "db"), removal(1),
				     add(1, "secrets-user", "user:1001", "db"), role(1000, "ci", 0),
				     role(1000, "ci", ACTION_BIT(ACTION_SECRETS_SET)) };
	struct policy *p = policy_of(c, 5);

	ck_assert_uint_eq(who_lets(p, &alice, "db"), 0);
	ck_assert_uint_eq(who_lets(p, &bob, "db"), 1);
	ck_assert_uint_eq(policy_role(p, 1000)->actions, ACTION_BIT(ACTION_SECRETS_SET));
	policy_unref(p);
}
END_TEST

START_TEST(old_snapshots_answer_as_before)
{
	struct policy *s[101];
	char name[16];

	s[0] = policy_new();
	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "s%u", i / 2);
		struct policy_change c = i % 2 ? removal(i) : add(i + 1, "secrets-user", "user:1000", name);

		ck_assert_int_eq(policy_apply(s[i], &c, 1, &s[i + 1]), 0);
	}
	for (unsigned i = 0; i <= 100; i++) {
		for (unsigned k = 0; k < 50; k++) {
			snprintf(name, sizeof(name), "s%u", k);
			ck_assert_uint_eq(who_lets(s[i], &alice, name), i == 2 * k + 1 ? i : 0);
		}
	}
	for (unsigned i = 0; i <= 100; i++) /* oldest first: what is shared must outlive it */
		policy_unref(s[i]);
}
END_TEST

START_TEST(what_is_added_stays_out_of_older_snapshots)
{
	enum { N = 60 };
	struct policy *s[N + 1];
	char name[16];

	s[0] = policy_new();
	for (unsigned i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "s%u", i);
		struct policy_change c = add(i + 1, "secrets-user", "user:1000", name);

		ck_assert_int_eq(policy_apply(s[i], &c, 1, &s[i + 1]), 0);
	}
	for (unsigned i = 0; i <= N; i++) {
		for (unsigned k = 0; k < N; k++) {
			snprintf(name, sizeof(name), "s%u", k);
			ck_assert_uint_eq(who_lets(s[i], &alice, name), k < i ? k + 1 : 0);
			ck_assert_int_eq(policy_binding(s[i], k + 1) != NULL, k < i);
		}
	}
	for (unsigned i = N + 1; i-- > 0;)
		policy_unref(s[i]);
}
END_TEST

START_TEST(snapshots_share_what_did_not_change)
{
	struct policy_change c[] = { add(1, "secrets-user", "user:1000", "a"), add(2, "secrets-user", "user:1001", "b"),
				     role(1000, "ci", 1) };
	struct policy *old = policy_of(c, 3), *next;
	struct policy_change more = add(3, "secrets-user", "user:1000", "c");

	ck_assert_int_eq(policy_apply(old, &more, 1, &next), 0);
	ck_assert_ptr_eq(policy_binding(old, 1), policy_binding(next, 1));
	ck_assert_ptr_eq(policy_binding(old, 2), policy_binding(next, 2));
	ck_assert_ptr_eq(policy_role(old, 1000), policy_role(next, 1000));
	ck_assert_ptr_null(policy_binding(old, 3));
	policy_unref(old);
	ck_assert_uint_eq(policy_binding(next, 1)->id, 1);
	ck_assert_str_eq(policy_binding(next, 1)->scope, "a");
	policy_unref(next);
}
END_TEST

START_TEST(ten_thousand_bindings_load_and_go)
{
	enum { N = 12000 };
	struct policy_change *c = calloc(N, sizeof(*c));
	char name[32];

	ck_assert_ptr_nonnull(c);
	for (unsigned i = 0; i < N; i++) {
		snprintf(name, sizeof(name), i % 3 ? "app-%u" : "app-%u*", i);
		c[i] = add(i + 1, "secrets-user", i % 2 ? "user:1000" : "group:1001", name);
	}
	struct policy *p = policy_of(c, N), *empty;
	for (unsigned i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "app-%u", i);
		ck_assert_uint_ne(who_lets(p, i % 2 ? &alice : &bob, name), 0);
		c[i] = removal(i + 1);
	}
	ck_assert_int_eq(policy_apply(p, c, N, &empty), 0);
	ck_assert_ptr_null(policy_binding(empty, 1));
	ck_assert_uint_eq(policy_decide_any(empty, &alice, ACTION_SECRETS_GET, NOW), POLICY_DENY);
	policy_unref(empty);
	policy_unref(p);
	free(c);
}
END_TEST

/* ---- looking things up ---- */

struct seen {
	uint64_t ids[32];
	size_t n;
	size_t stop_after;
};

static int see_binding(const struct binding *b, void *arg)
{
	struct seen *s = arg;

	s->ids[s->n++] = b->id;
	return s->n == s->stop_after ? 42 : 0;
}

static int see_role(const struct role *r, void *arg)
{
	struct seen *s = arg;

	s->ids[s->n++] = r->id;
	return s->n == s->stop_after ? 42 : 0;
}

START_TEST(bindings_come_in_ascending_id)
{
	static const uint64_t ids[] = { 1, 2, 255, 256, 257, 65536, 1ull << 40, UINT64_MAX };
	static const size_t order[] = { 5, 0, 7, 3, 1, 6, 2, 4 };
	struct policy *p = policy_new();
	struct seen all = { 0 }, some = { .stop_after = 3 };

	for (size_t i = 0; i < 8; i++) {
		struct policy_change c = add(ids[order[i]], "reader", "host", "*");

		p = changed(p, &c, 1);
	}
	ck_assert_int_eq(policy_each_binding(p, see_binding, &all), 0);
	ck_assert_uint_eq(all.n, 8);
	ck_assert_mem_eq(all.ids, ids, sizeof(ids));
	ck_assert_int_eq(policy_each_binding(p, see_binding, &some), 42);
	ck_assert_uint_eq(some.n, 3);
	policy_unref(p);
}
END_TEST

/* A vault of before may have made a role of that name: it is the one that is meant there. */
START_TEST(role_of_ones_own_goes_before_a_built_in_one_that_came_later)
{
	struct policy_change c[] = { role(1002, "secrets-writer", 1) };
	struct policy *p = policy_of(c, 1), *none = policy_of(NULL, 0);

	ck_assert_uint_eq(policy_role_by_name(p, "secrets-writer")->id, 1002);
	ck_assert_uint_eq(policy_role_by_name(none, "secrets-writer")->id, ROLE_LATER_FIRST);
	policy_unref(p);
	policy_unref(none);
}
END_TEST

START_TEST(roles_come_built_in_first)
{
	struct policy_change c[] = { role(1002, "b", 1), role(1000, "c", 1), role(70000, "a", 1) };
	struct policy *p = policy_of(c, 3);
	struct seen all = { 0 }, some = { .stop_after = 14 };

	ck_assert_int_eq(policy_each_role(p, see_role, &all), 0);
	ck_assert_uint_eq(all.n, 16);
	for (size_t i = 0; i < 13; i++)
		ck_assert_uint_eq(all.ids[i], i + 1);
	ck_assert_uint_eq(all.ids[13], 1000);
	ck_assert_uint_eq(all.ids[14], 1002);
	ck_assert_uint_eq(all.ids[15], 70000);
	ck_assert_int_eq(policy_each_role(p, see_role, &some), 42);
	ck_assert_uint_eq(some.n, 14);
	policy_unref(p);
}
END_TEST

START_TEST(roles_are_found_by_id_and_name)
{
	struct policy_change c[] = { role(1000, "ci", 1), role(1001, "ci-deploy", 2) };
	struct policy *p = policy_of(c, 2);

	ck_assert_str_eq(policy_role(p, 1)->name, "administrator");
	ck_assert_str_eq(policy_role(p, 1001)->name, "ci-deploy");
	ck_assert_ptr_null(policy_role(p, 0));
	ck_assert_ptr_null(policy_role(p, 1002));
	ck_assert_uint_eq(policy_role_by_name(p, "ci")->id, 1000);
	ck_assert_uint_eq(policy_role_by_name(p, "ci-deploy")->id, 1001);
	ck_assert_uint_eq(policy_role_by_name(p, "auditor")->id, 12);
	ck_assert_ptr_null(policy_role_by_name(p, "ci-"));
	ck_assert_ptr_null(policy_role_by_name(p, "c"));
	ck_assert_ptr_null(policy_role_by_name(p, ""));
	policy_unref(p);
}
END_TEST

START_TEST(only_lasting_administrators_of_the_vault_count)
{
	struct policy_change c[] = {
		add(1, "administrator", "user:0,host", "*"), add(2, "administrator", "user:1000", "*"),
		add(3, "administrator", "user:1000", "db*"), add(4, "reader", "user:1000", "*"),
		add(5, "administrator", "user:1001", "*"),   add(6, "administrator", "user:1002", "*"),
	};
	c[4].binding.from = 2000;
	c[5].binding.until = 5000;
	struct policy *p = policy_of(c, 6);

	ck_assert_uint_eq(policy_count_administrators(p, 0, NOW), 2);
	ck_assert_uint_eq(policy_count_administrators(p, 1, NOW), 1);
	ck_assert_uint_eq(policy_count_administrators(p, 3, NOW), 2);
	ck_assert_uint_eq(policy_count_administrators(p, 0, 1999), 2);
	ck_assert_uint_eq(policy_count_administrators(p, 0, 2000), 3);
	struct policy_change gone[] = { removal(1), removal(2), removal(3) };
	p = changed(p, gone, 3);
	ck_assert_uint_eq(policy_count_administrators(p, 0, NOW), 0);
	ck_assert_uint_eq(policy_count_administrators(p, 5, 2000), 0);
	policy_unref(p);
}
END_TEST

static struct policy_change block(uint64_t id, const char *principal)
{
	struct policy_change c = { .kind = POLICY_ADD_BLOCK, .block.id = id };

	ck_assert_int_eq(principal_parse(principal, NULL, NULL, &c.block.principal), 0);
	return c;
}

static struct policy_change unblock(uint64_t id)
{
	return (struct policy_change){ .kind = POLICY_REMOVE_BLOCK, .block.id = id };
}

START_TEST(a_block_overrides_every_binding_until_it_is_gone)
{
	const struct policy_change grants[] = { add(1, "secrets-user", "everyone", "*"),
						add(2, "administrator", "user:1000", "*"), block(3, "user:1000") };
	const struct policy_change gone = unblock(3);
	struct policy *p = policy_of(grants, 3);
	struct policy_answer a = ask(p, &alice, ACTION_SECRETS_GET, "db", NOW);

	ck_assert_int_eq(a.decision, POLICY_DENY);
	ck_assert_uint_eq(a.block, 3);
	ck_assert_uint_eq(policy_actions(p, &alice, "db", NOW), 0);
	ck_assert_uint_eq(policy_actions(p, &alice, NULL, NOW), 0);
	ck_assert_int_eq(policy_decide_any(p, &alice, ACTION_SECRETS_LIST, NOW), POLICY_DENY);
	a = ask(p, &bob, ACTION_SECRETS_GET, "db", NOW);
	ck_assert_int_eq(a.decision, POLICY_ALLOW);
	ck_assert_uint_eq(a.block, 0);
	p = changed(p, &gone, 1);
	ck_assert_int_eq(ask(p, &alice, ACTION_VAULT_SEAL, NULL, NOW).decision, POLICY_ALLOW);
	policy_unref(p);
}
END_TEST

START_TEST(blocks_speak_of_groups_and_narrow_by_commas)
{
	static const uint32_t groups[] = { 27, 50 };
	const struct policy_caller member = { .uid = 1002, .gid = 1002, .groups = groups, .n_groups = 2 };
	const struct policy_change grants[] = { add(1, "secrets-user", "everyone", "*"), block(7, "group:50"),
						block(5, "user:1000,group:27"), block(6, "user:1002") };
	struct policy *p = policy_of(grants, 4);

	ck_assert_uint_eq(ask(p, &member, ACTION_SECRETS_GET, "db", NOW).block, 6);             /* the lowest of two */
	ck_assert_int_eq(ask(p, &alice, ACTION_SECRETS_GET, "db", NOW).decision, POLICY_ALLOW); /* not in group 27 */
	policy_unref(p);
}
END_TEST

/* What is known of whose process it is, what blocks there are, and which of them denies. */
static const struct {
	struct policy_caller c;
	uint32_t account_group;
	const char *blocks[2];
	uint64_t denies;
} accounts[] = {
	/* uid and groups say all */
	{ { .uid = 1000, .gid = 1000 }, 0, { "user:1001", "group:50" }, 0 },
	{ { .uid = 1000, .gid = 1000, .owner = 1001 }, 50, { "user:1001", "group:50" }, 0 },
	/* a subordinate uid: its user's blocks too, and not another's */
	{ { .uid = 100005, .gid = 7, .account = POLICY_ACCOUNT_KNOWN, .owner = 1001 },
	  0,
	  { "user:1002", "user:1001" },
	  2 },
	{ { .uid = 100005, .gid = 7, .account = POLICY_ACCOUNT_KNOWN, .owner = 1001 },
	  0,
	  { "user:100005", "user:1001" },
	  1 },
	{ { .uid = 100005, .gid = 7, .account = POLICY_ACCOUNT_KNOWN, .owner = 1001 },
	  0,
	  { "user:1001,group:7", "user:1001,group:8" },
	  1 },
	{ { .uid = 100005, .gid = 7, .account = POLICY_ACCOUNT_KNOWN, .owner = 1001 },
	  0,
	  { "user:1001,group:8", "user:1002" },
	  0 },
	/* groups that were given up */
	{ { .uid = 1001, .gid = 7, .account = POLICY_ACCOUNT_KNOWN, .owner = 1001 },
	  50,
	  { "group:51", "group:50" },
	  2 },
	{ { .uid = 1001, .gid = 7, .account = POLICY_ACCOUNT_KNOWN, .owner = 1001 },
	  50,
	  { "group:7,group:50", "group:50" },
	  1 },
	{ { .uid = 1001, .gid = 7, .account = POLICY_ACCOUNT_KNOWN, .owner = 1001 },
	  50,
	  { "user:1002,group:50", "user:1001,group:51" },
	  0 },
	/* what is not known holds */
	{ { .uid = 1001, .gid = 7, .account = POLICY_ACCOUNT_UNKNOWN, .owner = 1001 },
	  0,
	  { "user:1002", "group:51" },
	  2 },
	{ { .uid = 1001, .gid = 7, .account = POLICY_ACCOUNT_UNKNOWN, .owner = 1001 },
	  0,
	  { "user:1002,group:51", "user:1003" },
	  0 },
	{ { .uid = 1001, .gid = 7, .account = POLICY_ACCOUNT_UNKNOWN, .owner = POLICY_OWNER_UNKNOWN },
	  0,
	  { "user:1003", "user:1002" },
	  1 },
	{ { .uid = 1001, .gid = 7, .account = POLICY_ACCOUNT_KNOWN, .owner = POLICY_OWNER_UNKNOWN },
	  0,
	  { "group:51", "user:1002" },
	  2 },
};

START_TEST(a_block_holds_for_whoever_it_means)
{
	for (size_t i = 0; i < sizeof(accounts) / sizeof(accounts[0]); i++) {
		const struct policy_change changes[] = { add(9, "secrets-user", "everyone", "*"),
							 block(1, accounts[i].blocks[0]),
							 block(2, accounts[i].blocks[1]) };
		struct policy *p = policy_of(changes, 3);
		struct policy_caller c = accounts[i].c;

		c.account_groups = &accounts[i].account_group;
		c.n_account_groups = accounts[i].account_group != 0;
		const struct policy_answer a = ask(p, &c, ACTION_SECRETS_GET, "db", NOW);
		ck_assert_msg(a.block == accounts[i].denies, "%zu: block %llu", i, (unsigned long long)a.block);
		ck_assert_int_eq(a.decision, a.block ? POLICY_DENY : POLICY_ALLOW);
		ck_assert_int_eq(policy_decide_any(p, &c, ACTION_SECRETS_GET, NOW), a.decision);
		policy_unref(p);
	}
}
END_TEST

/* A right is given to the uid and the groups that a process has. */
START_TEST(an_account_gives_no_right)
{
	static const uint32_t groups[] = { 50 };
	const struct policy_caller c = { .uid = 100005,
					 .gid = 7,
					 .account = POLICY_ACCOUNT_KNOWN,
					 .owner = 1001,
					 .account_groups = groups,
					 .n_account_groups = 1 };
	const struct policy_change grants[] = { add(1, "secrets-user", "user:1001", "*"),
						add(2, "secrets-user", "group:50", "*") };
	struct policy *p = policy_of(grants, 2);

	ck_assert_int_eq(ask(p, &c, ACTION_SECRETS_GET, "db", NOW).decision, POLICY_DENY);
	policy_unref(p);
}
END_TEST

START_TEST(refuses_blocks_that_make_no_sense)
{
	const struct policy_change first = block(3, "user:1000");
	struct policy *p = policy_of(&first, 1), *next;
	struct policy_change c = block(0, "user:1001");

	ck_assert_int_eq(policy_apply(p, &c, 1, &next), -EINVAL);
	c = block(3, "user:1001");
	ck_assert_int_eq(policy_apply(p, &c, 1, &next), -EEXIST);
	/* doubt about a caller's host would let him through */
	c = block(4, "user:1001,host");
	ck_assert_int_eq(policy_apply(p, &c, 1, &next), -EINVAL);
	c = unblock(4);
	ck_assert_int_eq(policy_apply(p, &c, 1, &next), -ENOENT);
	policy_unref(p);
}
END_TEST

START_TEST(administrators_that_a_block_covers_do_not_count)
{
	const struct policy_change grants[] = { add(1, "administrator", "user:0,host", "*"),
						add(2, "administrator", "group:4", "*"), block(3, "user:0"),
						block(4, "user:7,group:4") };
	const struct policy_change everyone = block(5, "everyone");
	struct policy *p = policy_of(grants, 4);

	ck_assert_uint_eq(policy_count_administrators(p, 0, NOW), 1);
	ck_assert_uint_eq(policy_count_administrators(p, 2, NOW), 0);
	p = changed(p, &everyone, 1);
	ck_assert_uint_eq(policy_count_administrators(p, 0, NOW), 0);
	policy_unref(p);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		denies_everybody_everything_while_there_are_no_bindings,
		denies_caller_without_binding,
		denies_root_without_binding,
		denies_where_something_is_missing,
		denies_names_that_cannot_be,
		supplementary_groups_count,
		all_groups_that_there_can_be_cost_little_more_than_one,
		commas_narrow,
		root_of_a_container_does_not_inherit_the_vault,
		host_and_everyone_stand_alone,
		scopes_decide_as_they_cover,
		the_longest_names_and_prefixes_are_found,
		windows_open_and_close_at_the_nanosecond,
		forever_has_no_end,
		times_before_the_epoch_are_times,
		the_binding_that_holds_longest_decides,
		among_equals_the_lowest_id_decides,
		reader_sees_no_value,
		actions_are_the_union_of_what_binds,
		decide_any_asks_for_no_name,
		a_custom_role_changes_under_its_bindings,
		refuses_bindings_that_make_no_sense,
		refuses_what_is_there_and_what_is_not,
		refuses_roles_that_would_change_what_others_mean,
		a_failed_change_leaves_nothing_of_those_before_it,
		changes_apply_in_order,
		old_snapshots_answer_as_before,
		what_is_added_stays_out_of_older_snapshots,
		snapshots_share_what_did_not_change,
		ten_thousand_bindings_load_and_go,
		bindings_come_in_ascending_id,
		roles_come_built_in_first,
		role_of_ones_own_goes_before_a_built_in_one_that_came_later,
		roles_are_found_by_id_and_name,
		only_lasting_administrators_of_the_vault_count,
		a_block_overrides_every_binding_until_it_is_gone,
		blocks_speak_of_groups_and_narrow_by_commas,
		refuses_blocks_that_make_no_sense,
		administrators_that_a_block_covers_do_not_count,
		a_block_holds_for_whoever_it_means,
		an_account_gives_no_right,
	};
	Suite *s = suite_create("policy");
	TCase *c = tcase_create("policy");

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
