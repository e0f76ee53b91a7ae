/* How much of a secret's history is kept: what a rule lets go, by which clock, and what it must never touch. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store/core/database.h"
#include "store/core/rules_table.h"
#include "store/core/settings.h"
#include "store/core/transaction.h"
#include "store/lifecycle/history.h"
#include "store/objects/objects.h"
#include "store_main.h"

#define DAY (86400 * (int64_t)NS_PER_S)
#define NOW (1000 * DAY)

static int64_t wall = NOW, up = 5 * DAY;
static int64_t test_wall(void) { return wall; }
static int64_t test_up(void) { return up; }

static void clocks(void)
{
	fx.store->clock = test_wall;
	fx.store->uptime = test_up;
	fx.store->opened = up;
}

static uint64_t put_rule(const char *scope, uint32_t versions, int64_t span)
{
	struct history h = { .versions = versions, .span = span };
	uint64_t id = 0;

	snprintf(h.scope, sizeof h.scope, "%s", scope);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_history_put(fx.store, &h, &id), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	return id;
}

/* ---- what goes, of versions that were made so many days ago: 1 is the oldest ---- */

struct secret {
	struct catalog_version v[8];
	struct catalog_secret c;
};

static void make(struct secret *s, const int *days, uint32_t n)
{
	memset(s, 0, sizeof *s);
	for (uint32_t i = 0; i < n; i++)
		s->v[i] = (struct catalog_version){ .number = i + 1, .created = NOW - days[i] * DAY, .enabled = true };
	s->c = (struct catalog_secret){ .id = 1, .n_versions = n, .current = n, .versions = s->v };
}

/* The numbers as one text. */
static const char *goes(const struct history *h, const struct secret *s, struct history_clocks now, int64_t *ret_next)
{
	static char text[64];
	uint32_t numbers[8];
	size_t n = history_goes(h, &s->c, now, numbers, 8, ret_next), len = 0;

	text[0] = '\0';
	for (size_t i = 0; i < n; i++)
		len += (size_t)snprintf(text + len, sizeof text - len, "%u ", numbers[i]);
	return text;
}

static const int five_days[] = { 400, 300, 200, 100, 1 };
static const struct {
	uint32_t versions;
	int64_t days;
	const char *goes;
	int64_t next_days;
} rules[] = {
	{ 1, 0, "1 2 3 4 ", 0 },
	{ 2, 0, "1 2 3 ", 0 },
	{ 5, 0, "", 0 },
	{ 9, 0, "", 0 },
	/* 1 was replaced 300 days ago, 4 one day ago */
	{ 0, 365, "", 65 },
	{ 0, 300, "1 ", 100 },
	{ 0, 250, "1 ", 50 },
	{ 0, 1, "1 2 3 4 ", 0 },
	/* both are promises */
	{ 2, 250, "1 ", 50 },
	{ 4, 90, "1 ", 0 },
	{ 5, 1, "", 0 },
	{ 1, 365, "", 65 },
};

START_TEST(version_goes_when_neither_number_keeps_it)
{
	const struct history h = {
		.scope = "*", .versions = rules[_i].versions, .span = rules[_i].days * DAY, .created = NOW - 900 * DAY
	};
	struct secret s;
	int64_t next;

	make(&s, five_days, 5);
	ck_assert_str_eq(goes(&h, &s, (struct history_clocks){ NOW, 900 * DAY }, &next), rules[_i].goes);
	if (rules[_i].next_days)
		ck_assert_int_eq(next, NOW + rules[_i].next_days * DAY);
	else
		ck_assert_int_eq(next, INT64_MAX);
}
END_TEST

START_TEST(what_current_serves_stays)
{
	const struct history h = { .scope = "*", .versions = 1, .created = NOW };
	struct secret s;
	int64_t next;

	make(&s, five_days, 5);
	s.v[4].enabled = s.v[3].enabled = s.v[2].enabled = false;
	s.c.current = 2;
	ck_assert_str_eq(goes(&h, &s, (struct history_clocks){ NOW, 0 }, &next), "1 3 4 ");
	/* where nothing is served, the newest that has content */
	s.c.current = 0;
	s.v[4].destroyed = true;
	ck_assert_str_eq(goes(&h, &s, (struct history_clocks){ NOW, 0 }, &next), "1 2 3 ");
}
END_TEST

START_TEST(what_was_just_replaced_can_be_read_to_its_end)
{
	const struct history h = { .scope = "*", .versions = 1, .created = NOW };
	struct secret s;
	int64_t next;

	make(&s, (const int[]){ 10, 0 }, 2);
	ck_assert_str_eq(goes(&h, &s, (struct history_clocks){ NOW, 0 }, &next), "");
	ck_assert_int_eq(next, NOW + HISTORY_GRACE_NS);
}
END_TEST

/* A leap of the wall clock destroys nothing; a version that was made under a clock that was behind is not old for that.
 */
START_TEST(wall_clock_alone_does_not_make_old)
{
	const struct history h = { .scope = "*", .span = 90 * DAY, .created = NOW, .counted = 7 * DAY };
	struct secret s;
	int64_t next;

	make(&s, (const int[]){ 10, 5, 1 }, 3);
	ck_assert_str_eq(goes(&h, &s, (struct history_clocks){ NOW + 3650 * DAY, 8 * DAY }, &next), "");
	ck_assert_int_eq(next, NOW + 3650 * DAY + 84 * DAY);
	ck_assert_str_eq(goes(&h, &s, (struct history_clocks){ NOW + 85 * DAY, 92 * DAY }, &next), "1 ");
	/* and not by the vault's clock alone */
	ck_assert_str_eq(goes(&h, &s, (struct history_clocks){ NOW, 900 * DAY }, &next), "");
	s.v[1].created = s.v[2].created = 0;
	ck_assert_str_eq(goes(&h, &s, (struct history_clocks){ NOW + 79 * DAY, 86 * DAY }, &next), "");
	ck_assert_str_eq(goes(&h, &s, (struct history_clocks){ NOW + 80 * DAY, 87 * DAY }, &next), "1 2 ");
}
END_TEST

/* ---- the rules of a vault ---- */

static uint32_t aged(const char *name)
{
	uint32_t id;

	wall -= 10 * DAY;
	id = add_secret(fx.store, name, "one");
	add_version(fx.store, id, "two");
	wall += DAY;
	add_version(fx.store, id, "three");
	wall += 9 * DAY;
	return id;
}

static size_t store_goes(uint32_t id, uint64_t *ret_rule)
{
	struct history rule = { 0 };
	uint32_t numbers[8];
	int64_t next;
	size_t n;

	store_rdlock(fx.store);
	n = store_history_goes(fx.store, store_get(fx.store, id), numbers, 8, &next, &rule);
	store_unlock_tables(fx.store);
	if (ret_rule)
		*ret_rule = rule.id;
	return n;
}

START_TEST(rule_of_the_very_name_goes_before_the_longest_prefix)
{
	uint64_t all, prefix, name, rule;
	uint32_t db, web;

	clocks();
	db = aged("db-main");
	web = aged("web");
	ck_assert_uint_eq(store_goes(db, NULL), 0);
	all = put_rule("*", 1, 0);
	prefix = put_rule("db-*", 2, 0);
	ck_assert(store_goes(web, &rule) == 2 && rule == all);
	ck_assert(store_goes(db, &rule) == 1 && rule == prefix);
	name = put_rule("db-main", 3, 0);
	ck_assert(store_goes(db, &rule) == 0 && rule == name);
	/* another one takes its place */
	ck_assert_uint_ne(put_rule("db-main", 1, 0), name);
	ck_assert_uint_eq(store_goes(db, NULL), 2);
	ck_assert_uint_eq(store_rules(fx.store)->n_histories, 3);
	ck_assert_int_eq(vault_reopen(&fx), 0);
	clocks();
	ck_assert_uint_eq(store_goes(db, NULL), 2);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
}
END_TEST

START_TEST(nothing_goes_of_a_deleted_secret_nor_under_purge_protection)
{
	struct store_settings settings;
	uint32_t db, web;

	clocks();
	db = aged("db");
	web = aged("web");
	put_rule("*", 1, 0);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_secret_delete(fx.store, db), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_uint_eq(store_goes(db, NULL), 0);
	ck_assert_uint_eq(store_goes(web, NULL), 2);
	settings = *store_settings(fx.store);
	settings.purge_protection = true;
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_settings_put(fx.store, &settings), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_uint_eq(store_goes(web, NULL), 0);
}
END_TEST

/* The rule's time is counted by the uptime, also in another process of the same boot. */
START_TEST(time_is_counted_by_the_vaults_clock)
{
	uint32_t db;

	clocks();
	db = aged("db");
	put_rule("db", 0, 30 * DAY);
	wall += 4000 * DAY;
	ck_assert_uint_eq(store_goes(db, NULL), 0);
	up += 22 * DAY;
	ck_assert_uint_eq(store_goes(db, NULL), 2);
}
END_TEST

#define REFUSED(change)                                                                               \
	do {                                                                                          \
		struct history h = { .scope = "db", .versions = 2 };                                  \
		uint64_t id;                                                                          \
		change;                                                                               \
		ck_assert_msg(store_history_put(fx.store, &h, &id) == -EINVAL, "taken: %s", #change); \
	} while (0)

START_TEST(rules_that_cannot_be_are_refused)
{
	ck_assert_int_eq(store_begin(fx.store), 0);
	REFUSED(strcpy(h.scope, "-x"));
	REFUSED(h.versions = 0);
	REFUSED(h.versions = HISTORY_VERSIONS_MAX + 1);
	REFUSED(h.span = -1);
	REFUSED(h.span = 5);
	REFUSED(h.span = HISTORY_SPAN_MAX + 1);
	ck_assert_int_eq(store_history_remove(fx.store, 9), -ENOENT);
	store_rollback(fx.store);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = { what_current_serves_stays,
				       what_was_just_replaced_can_be_read_to_its_end,
				       wall_clock_alone_does_not_make_old,
				       rule_of_the_very_name_goes_before_the_longest_prefix,
				       nothing_goes_of_a_deleted_secret_nor_under_purge_protection,
				       time_is_counted_by_the_vaults_clock,
				       rules_that_cannot_be_are_refused };
	Suite *suite = suite_create("store-history");
	TCase *t = tcase_create("store-history");

	tcase_add_checked_fixture(t, fixture_setup, fixture_teardown);
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, version_goes_when_neither_number_keeps_it, 0, sizeof rules / sizeof rules[0]);
	for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
		tcase_add_test(t, tests[i]);
	suite_add_tcase(suite, t);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
