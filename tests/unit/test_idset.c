#include <stdbool.h>
#include <string.h>

#include "store/core/idset.h"
#include "suite.h"

#define IDS 3000u

/* The ids of a set are those of the model, or those and more. */
static void compare(const struct idset *s, const bool *model, bool exact)
{
	uint32_t next = idset_next(s, 0);

	for (uint32_t id = 1; id < IDS; id++) {
		if (model[id])
			ck_assert_uint_eq(next, id);
		if (exact && !model[id])
			ck_assert_uint_ne(next, id);
		if (next == id)
			next = idset_next(s, id);
	}
	ck_assert_uint_eq(next, 0);
}

START_TEST(random_ranges_match_a_plain_array)
{
	static bool model[IDS];

	srand(5);
	for (int round = 0; round < 20; round++) {
		struct idset *s = idset_new();
		memset(model, 0, sizeof model);
		for (int i = 0; i < 200; i++) {
			uint32_t first = 1 + (uint32_t)rand() % (IDS - 20),
				 last = first + (uint32_t)rand() % 3 * (uint32_t)(rand() % 10);
			ck_assert_int_eq(idset_add(s, first, last), 0);
			for (uint32_t id = first; id <= last; id++)
				model[id] = true;
		}
		compare(s, model, true);
		idset_free(s);
	}
}
END_TEST

/* Every second id, in either order and from both ends: more ranges than there is room for. */
START_TEST(full_set_holds_too_much_and_never_too_little)
{
	const uint32_t n = 4 * IDSET_RANGES;
	struct idset *s = idset_new();
	uint32_t found = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t k = _i == 0 ? i : _i == 1 ? n - 1 - i : i % 2 ? n - 1 - i / 2 : i / 2;
		ck_assert_int_eq(idset_add(s, 2 * k + 2, 2 * k + 2), 0);
	}
	for (uint32_t id = 0; (id = idset_next(s, id));)
		found += id % 2 == 0;
	ck_assert_uint_eq(found, n);
	idset_free(s);
}
END_TEST

START_TEST(ends_of_the_range_and_the_empty_set)
{
	struct idset *s = idset_new();

	ck_assert_uint_eq(idset_next(NULL, 0), 0);
	ck_assert_uint_eq(idset_next(s, 0), 0);
	ck_assert_int_eq(idset_add(s, UINT32_MAX, UINT32_MAX), 0);
	ck_assert_int_eq(idset_add(s, 1, 1), 0);
	ck_assert_uint_eq(idset_next(s, 0), 1);
	ck_assert_uint_eq(idset_next(s, 1), UINT32_MAX);
	ck_assert_uint_eq(idset_next(s, UINT32_MAX), 0);
	idset_free(s);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("idset");
	TCase *t = tcase_create("idset");

	tcase_add_test(t, random_ranges_match_a_plain_array);
	tcase_add_loop_test(t, full_set_holds_too_much_and_never_too_little, 0, 3);
	tcase_add_test(t, ends_of_the_range_and_the_empty_set);
	suite_add_tcase(suite, t);
	return run_suite(suite);
}
