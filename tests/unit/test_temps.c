#include "fs/shared/temps.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

static struct temp_table *table;
static struct handle_table *handles_memory;
static struct handles *handles;
static struct temps *temps;

static void take_over(void)
{
	temps_free(temps);
	handles_free(handles);
	ck_assert_int_eq(handles_new(handles_memory, &handles), 0);
	ck_assert_int_eq(temps_new(table, handles, &temps), 0);
}

static void set_up(void)
{
	table = calloc(1, sizeof *table);
	handles_memory = calloc(1, sizeof *handles_memory);
	ck_assert(table && handles_memory);
	handles = NULL;
	temps = NULL;
	take_over();
}

static void tear_down(void)
{
	temps_free(temps);
	handles_free(handles);
	free(handles_memory);
	free(table);
}

static int add(uint32_t secret, const char *name, uint64_t unique, uint64_t neighbour, struct temp **ret)
{
	struct temp what = { .secret = secret, .unique = unique, .neighbour = neighbour, .owner = { 7 } };

	snprintf(what.name, sizeof what.name, "%s", name);
	return temps_add(temps, &what, ret);
}

/* A worker that was somebody else's may have left anything in the memory that the next one takes over. */
START_TEST(a_counter_that_was_tampered_with_gives_ids_that_inodes_have)
{
	static const uint64_t left[] = { UINT64_MAX, INT64_MAX, (UINT64_C(1) << 56) - 2, (UINT64_C(1) << 56) - 1, 0 };
	struct temp *e[2 * sizeof left / sizeof left[0]], copy;
	size_t n = 0;
	char name[16];

	for (size_t i = 0; i < sizeof left / sizeof left[0]; i++) {
		table->last_id = left[i];
		take_over();
		for (int k = 0; k < 2; k++, n++) {
			snprintf(name, sizeof name, "t%zu", n);
			ck_assert_int_eq(add(1, name, 100 + n, 5, &e[n]), 0);
			ck_assert(e[n]->id && e[n]->id < UINT64_C(1) << 56);
			for (size_t j = 0; j < n; j++)
				ck_assert_uint_ne(e[j]->id, e[n]->id);
		}
	}
	e[0]->id = UINT64_C(1) << 56;
	take_over();
	ck_assert(!temps_find(temps, 1, "t0", &copy));
	ck_assert(temps_find(temps, 1, "t1", &copy));
}
END_TEST

START_TEST(names_of_the_tree_and_of_digits_are_refused)
{
	static const char *const good[] = { ".tmp",         "current.lock", "current~", "sedAbC123",
					    ".current.swp", "#current#",    "4913x",    "a" };
	static const char *const bad[] = { "",        "4913",       "0",     "current", "versions", "as",
					   "ops",     "public.pem", "token", ".",       "..",       "..data",
					   ".coffer", ".cofferx",   "a b",   "a/b",     "a\n",      "\xc3\xa4" };

	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		ck_assert_msg(temps_name_valid(good[i]), "%s", good[i]);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		ck_assert_msg(!temps_name_valid(bad[i]), "%s", bad[i]);
	ck_assert(temps_is_lock("current.lock") && !temps_is_lock(".lock") && !temps_is_lock("lock"));
}
END_TEST

START_TEST(name_is_of_one_secret_and_of_one_request)
{
	struct temp *a, *b, found;

	ck_assert_int_eq(add(1, "x", 10, 5, &a), 0);
	ck_assert_int_eq(add(1, "x", 11, 5, &b), -EEXIST);
	ck_assert_int_eq(add(1, "x", 10, 5, &b), 0); /* the same CREATE, sent again */
	ck_assert_ptr_eq(a, b);
	ck_assert_int_eq(add(2, "x", 12, 5, &b), 0);
	ck_assert_uint_ne(a->id, b->id);
	ck_assert(temps_find(temps, 1, "x", &found) && found.id == a->id);
	ck_assert(!temps_find(temps, 3, "x", &found));
	temps_end(temps, a->id, TEMP_UNLINKED);
	ck_assert(!temps_find(temps, 1, "x", &found) && temps_copy(temps, a->id, &found));
}
END_TEST

START_TEST(goes_when_nobody_has_it_open_for_its_life)
{
	struct temp *e;

	ck_assert_int_eq(add(1, "x", 10, 5, &e), 0);
	ck_assert_ptr_null(temps_due(temps, 10 * TEMP_LIFE_NS)); /* it is open */
	temps_close(temps, e->id, 1000);
	ck_assert_ptr_null(temps_due(temps, 1000 + TEMP_LIFE_NS));
	ck_assert_ptr_eq(temps_due(temps, 1001 + TEMP_LIFE_NS), e);
	ck_assert_ptr_null(temps_open(temps, e->id));
	ck_assert_ptr_null(temps_due(temps, 1001 + TEMP_LIFE_NS)); /* somebody is at it */
	take_over();                                               /* and died */
	ck_assert_ptr_eq(temps_due(temps, 1001 + TEMP_LIFE_NS), e);
	temps_drop(temps, e);
	ck_assert_uint_eq(e->state, TEMP_FREE);
}
END_TEST

START_TEST(what_was_unlinked_goes_with_its_last_close)
{
	struct temp *e;

	ck_assert_int_eq(add(1, "x", 10, 5, &e), 0);
	temps_end(temps, e->id, TEMP_UNLINKED);
	ck_assert_ptr_null(temps_due(temps, 0));
	temps_close(temps, e->id, 0);
	ck_assert_ptr_eq(temps_due(temps, 0), e);
	temps_drop(temps, e);
}
END_TEST

START_TEST(neighbour_has_its_share_and_another_worker_counts_again)
{
	char name[16];
	struct temp *e;

	for (uint32_t i = 0; i < TEMPS_MOST; i++) {
		snprintf(name, sizeof name, "x%u", i);
		ck_assert_int_eq(add(1, name, i + 1, 5, &e), 0);
	}
	ck_assert_int_eq(add(1, "more", 9999, 5, &e), -EDQUOT);
	ck_assert_int_eq(add(1, "more", 9999, 6, &e), 0);
	take_over();
	ck_assert_int_eq(add(1, "more2", 9998, 5, &e), -EDQUOT);
	/* no handle says that any is open: a worker died between the two */
	for (uint32_t i = 0; i < TEMPS_MOST + 1; i++) {
		e = temps_due(temps, TEMP_LIFE_NS + 1);
		ck_assert_ptr_nonnull(e);
		temps_drop(temps, e);
	}
	ck_assert_int_eq(add(1, "more2", 9998, 5, &e), 0);
}
END_TEST

START_TEST(entry_that_was_being_filled_is_free_for_the_next_worker)
{
	struct temp *e;

	ck_assert_int_eq(add(1, "x", 10, 5, &e), 0);
	e->state = TEMP_BUSY;
	take_over();
	ck_assert_uint_eq(e->state, TEMP_FREE);
	ck_assert_int_eq(add(1, "x", 10, 5, &e), 0);
	ck_assert_uint_eq(e->id, 2);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("temps");
	TCase *t = tcase_create("temps");
	SRunner *r = srunner_create(s);

	suite_add_tcase(s, t);
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, a_counter_that_was_tampered_with_gives_ids_that_inodes_have);
	tcase_add_test(t, names_of_the_tree_and_of_digits_are_refused);
	tcase_add_test(t, name_is_of_one_secret_and_of_one_request);
	tcase_add_test(t, goes_when_nobody_has_it_open_for_its_life);
	tcase_add_test(t, what_was_unlinked_goes_with_its_last_close);
	tcase_add_test(t, neighbour_has_its_share_and_another_worker_counts_again);
	tcase_add_test(t, entry_that_was_being_filled_is_free_for_the_next_worker);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
