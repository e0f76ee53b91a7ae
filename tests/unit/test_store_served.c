/* Since when a secret serves what it serves: later with each change of it, whatever the clock does, and with nothing
 * else. */
#include "store/core/database.h"
#include "store/core/served.h"
#include "store/core/transaction.h"
#include "store/objects/objects.h"
#include "store_main.h"

#define NOW (1000000 * (int64_t)NS_PER_S)

static int64_t wall = NOW;
static int64_t test_wall(void) { return wall; }

static int64_t since(uint32_t id)
{
	store_rdlock(fx.store);
	const int64_t at = store_served_since(store_settings(fx.store), store_get(fx.store, id), wall);
	store_unlock_tables(fx.store);
	return at;
}

static uint32_t make(void)
{
	wall = NOW;
	fx.store->clock = test_wall;
	uint32_t id = add_secret(fx.store, "db", "one");
	ck_assert_int_eq(since(id), NOW);
	return id;
}

static void enable(uint32_t id, uint32_t version, bool enabled)
{
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_version_enable(fx.store, id, version, enabled), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
}

static void change(int r)
{
	ck_assert_int_eq(r, 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
}

START_TEST(each_change_of_what_is_served_is_later_within_one_tick_and_with_a_clock_that_goes_back)
{
	const uint32_t id = make();
	int64_t at = since(id);

	for (int round = 0; round < 2; round++, wall -= NOW / 2) {
		add_version(fx.store, id, "two");
		ck_assert_int_eq(since(id), ++at);
		enable(id, (uint32_t)round + 2, false);
		ck_assert_int_eq(since(id), ++at);
		ck_assert_int_eq(store_begin(fx.store), 0);
		change(store_secret_enable(fx.store, id, false));
		ck_assert_int_eq(since(id), ++at);
		ck_assert_int_eq(store_begin(fx.store), 0);
		change(store_secret_enable(fx.store, id, true));
		ck_assert_int_eq(since(id), ++at);
		ck_assert_int_eq(store_begin(fx.store), 0);
		change(store_secret_delete(fx.store, id));
		ck_assert_int_eq(store_begin(fx.store), 0);
		change(store_secret_recover(fx.store, id));
		ck_assert_int_gt(since(id), at);
		at = since(id);
	}
	ck_assert_int_eq(vault_reopen(&fx), 0);
	ck_assert_int_eq(since(id), at);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
}
END_TEST

START_TEST(it_is_when_the_version_was_made_or_another_took_its_place)
{
	const uint32_t id = make();

	wall = NOW + 10;
	add_version(fx.store, id, "two");
	ck_assert_int_eq(since(id), NOW + 10);
	wall = NOW + 20;
	enable(id, 1, false);
	enable(id, 1, true);
	ck_assert_int_eq(since(id), NOW + 10); /* what is not served */
	enable(id, 2, false);
	ck_assert_int_eq(since(id), NOW + 20);
	wall = NOW + 30;
	ck_assert_int_eq(store_begin(fx.store), 0);
	change(store_version_destroy(fx.store, id, 1));
	ck_assert_int_eq(since(id), NOW + 30); /* nothing is served */
	wall = NOW + 40;
	add_version(fx.store, id, "three");
	ck_assert_int_eq(since(id), NOW + 40);
}
END_TEST

START_TEST(many_changes_in_one_transaction_are_one)
{
	const uint32_t id = make();

	fx.store->changes_listed = 1; /* the tables are loaded anew */
	wall = NOW + 10;
	add_version(fx.store, id, "two");
	ck_assert_int_eq(since(id), NOW + 10);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_version_enable(fx.store, id, 2, false), 0);
	change(store_version_enable(fx.store, id, 2, true));
	ck_assert_int_eq(since(id), NOW + 10);
}
END_TEST

START_TEST(times_of_a_version_count_where_they_are_enforced)
{
	const uint32_t id = make();
	const struct version_attributes times = { .not_before = NOW + 10, .expires = NOW + 20 };
	struct store_settings settings;

	ck_assert_int_eq(store_begin(fx.store), 0);
	change(store_version_set_attributes(fx.store, id, 1, &times));
	store_rdlock(fx.store);
	settings = *store_settings(fx.store);
	store_unlock_tables(fx.store);
	wall = NOW + 30;
	ck_assert_int_eq(since(id), NOW);
	settings.enforce_validity = true;
	for (int64_t at = NOW; at < NOW + 30; at++)
		ck_assert_int_eq(store_served_since(&settings, store_get(fx.store, id), at), at < NOW + 10 ? NOW
											     : at < NOW + 20
												     ? NOW + 10
												     : NOW + 20);
}
END_TEST

STORE_TESTS("store-served", 60, each_change_of_what_is_served_is_later_within_one_tick_and_with_a_clock_that_goes_back,
	    it_is_when_the_version_was_made_or_another_took_its_place, many_changes_in_one_transaction_are_one,
	    times_of_a_version_count_where_they_are_enforced)
