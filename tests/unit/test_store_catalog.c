#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/scope.h"
#include "store/core/catalog.h"
#include "store_main.h"

#define IDS 4000u

static struct catalog_entry *entry(struct catalog *c, uint32_t id, const char *name, uint32_t n_versions, bool deleted)
{
	struct catalog_entry *e = catalog_entry_new(c, name, n_versions);

	ck_assert_ptr_nonnull(e);
	catalog_entry_secret(e)->id = id;
	catalog_entry_secret(e)->deleted = deleted;
	for (uint32_t i = 0; i < n_versions; i++)
		catalog_entry_versions(e)[i].number = 2 * i + 1;
	return e;
}

static void name_of(uint32_t id, char name[NAME_LEN_MAX + 1])
{
	snprintf(name, NAME_LEN_MAX + 1, "n%0*u", (int)(5 + id % 100), id); /* lengths of every class */
}

static void compare(struct catalog *c, const int *model)
{
	char name[NAME_LEN_MAX + 1];
	const struct catalog_secret *s;
	struct store_counts counts = { 0 };
	uint32_t n[2] = { 0 };

	for (uint32_t id = 1; id < IDS; id++) {
		name_of(id, name);
		s = catalog_get(c, id);
		ck_assert_int_eq(s != NULL, model[id] != 0);
		ck_assert_ptr_eq(catalog_find(c, name), s);
		if (s)
			n[s->deleted]++;
	}
	for (int deleted = 0; deleted < 2; deleted++) {
		uint32_t walked = 0;
		for (uint32_t after = 0; (s = catalog_next(c, after, deleted)); after = s->id, walked++)
			ck_assert_uint_gt(s->id, after);
		ck_assert_uint_eq(walked, n[deleted]);
	}
	catalog_counts(c, &counts);
	ck_assert_uint_eq(counts.secrets, n[0]);
	ck_assert_uint_eq(counts.deleted, n[1]);
}

START_TEST(random_changes_match_a_plain_array)
{
	static int model[IDS];
	char name[NAME_LEN_MAX + 1];
	struct catalog *c = NULL;

	ck_assert_int_eq(catalog_new(&c), 0);
	srand(3);
	for (int i = 0; i < 30000; i++) {
		uint32_t id = 1 + (uint32_t)rand() % (IDS - 1);
		if (rand() % 3 == 0) {
			catalog_remove(c, id);
			model[id] = 0;
		} else {
			name_of(id, name);
			ck_assert_int_eq(catalog_reserve(c, 1, id), 0);
			catalog_put(c, entry(c, id, name, (uint32_t)rand() % 4, rand() % 5 == 0));
			model[id] = 1;
		}
		if (i % 5000 == 0)
			compare(c, model);
	}
	compare(c, model);
	catalog_free(c);
}
END_TEST

START_TEST(version_is_found_by_number)
{
	struct catalog *c = NULL;

	ck_assert_int_eq(catalog_new(&c), 0);
	ck_assert_int_eq(catalog_reserve(c, 1, OBJECT_ID_MAX), 0);
	catalog_put(c, entry(c, OBJECT_ID_MAX, "x", 5, false));
	const struct catalog_secret *s = catalog_get(c, OBJECT_ID_MAX);
	for (uint32_t n = 0; n < 12; n++) {
		const struct catalog_version *v = catalog_version(s, n);
		ck_assert_int_eq(v != NULL, n % 2 == 1 && n < 10);
		ck_assert(!v || v->number == n);
	}
	ck_assert_ptr_null(catalog_next(c, OBJECT_ID_MAX, false));
	ck_assert_ptr_eq(catalog_next(c, 0, false), s);
	ck_assert_ptr_null(catalog_get(c, 1));
	catalog_free(c);
}
END_TEST

static void nothing(void) {}

int main(void)
{
	const TTest *const tests[] = { random_changes_match_a_plain_array, version_is_found_by_number };

	return store_tests_run("store-catalog", 60, tests, 2, process_init, nothing);
}
