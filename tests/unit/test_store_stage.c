#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/core/settings.h"
#include "store/core/transaction.h"
#include "store/keys/envelope.h"
#include "store/objects/stages.h"
#include "store_main.h"

static int stage_is(uint64_t stage, const void *want, size_t len, bool dirty)
{
	uint8_t *got = malloc(len + 16);
	struct stage_info info;
	size_t n = 0;
	int r = store_stage_stat(fx.store, stage, &info);

	if (r == 0 && (info.size != len || info.dirty != dirty))
		r = -ERANGE;
	if (r == 0)
		r = store_stage_read(fx.store, stage, 0, got, len + 16, &n);
	if (r == 0 && (n != len || memcmp(got, want, len) != 0))
		r = -ECANCELED;
	free(got);
	return r;
}

static uint64_t stage_new(void)
{
	uint64_t stage = 0;

	ck_assert_int_eq(store_stage_new(fx.store, &stage), 0);
	return stage;
}

static int commit(uint64_t stage, uint32_t id, uint32_t *ret_version)
{
	int r;

	ck_assert_int_eq(store_begin(fx.store), 0);
	r = store_stage_commit(fx.store, stage, id, NULL, ret_version);
	if (r == 0)
		return store_commit(fx.store);
	store_rollback(fx.store);
	return r;
}

START_TEST(new_stage_is_empty_and_clean)
{
	uint64_t stage = stage_new();

	ck_assert_int_eq(stage_is(stage, "", 0, false), 0);
	ck_assert_uint_ne(stage_new(), stage);
	ck_assert_int_eq(stage_is(stage + 100, "", 0, false), -ENOENT);
}
END_TEST

START_TEST(repeated_write_changes_nothing)
{
	uint64_t stage = stage_new();

	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(store_stage_write(fx.store, stage, 10, STAGE_APPEND, "abc", 3), 0);
	ck_assert_int_eq(stage_is(stage, "abc", 3, true), 0);
	ck_assert_int_eq(store_stage_write(fx.store, stage, 11, STAGE_APPEND, "def", 3), 0);
	ck_assert_int_eq(store_stage_write(fx.store, stage, 11, STAGE_APPEND, "def", 3), 0);
	ck_assert_int_eq(stage_is(stage, "abcdef", 6, true), 0);
	ck_assert_int_eq(store_stage_truncate(fx.store, stage, 12, 2), 0);
	ck_assert_int_eq(store_stage_truncate(fx.store, stage, 12, 2), 0);
	ck_assert_int_eq(store_stage_write(fx.store, stage, 0, STAGE_APPEND, "x", 1), 0);
	ck_assert_int_eq(store_stage_write(fx.store, stage, 0, STAGE_APPEND, "x", 1), 0);
	ck_assert_int_eq(stage_is(stage, "abxx", 4, true), 0);
}
END_TEST

START_TEST(repeat_is_known_after_a_new_process_took_over)
{
	uint64_t stage = stage_new();

	ck_assert_int_eq(store_stage_write(fx.store, stage, 10, STAGE_APPEND, "abc", 3), 0);
	ck_assert_int_eq(vault_reopen(&fx), 0);
	ck_assert_int_eq(store_stage_write(fx.store, stage, 10, STAGE_APPEND, "abc", 3), 0);
	ck_assert_int_eq(stage_is(stage, "abc", 3, true), 0);
}
END_TEST

/* Against a plain array: offsets and lengths around the chunk borders, holes, cuts and growth. */
START_TEST(random_writes_and_cuts_match_a_plain_file)
{
	static uint8_t model[VALUE_MAX], data[100000];
	size_t size = 0;
	uint64_t stage = stage_new();

	srand(7);
	for (uint64_t i = 1; i < 120; i++) {
		size_t offset = (size_t)rand() % 300000, len = (size_t)rand() % (i % 3 ? 300 : sizeof data);
		if (i % 5 == 0)
			offset = offset / 16384 * 16384 - (i % 2 && offset >= 16384);
		if (i % 7 == 0) {
			ck_assert_int_eq(store_stage_truncate(fx.store, stage, i, offset), 0);
			if (offset < size)
				memset(model + offset, 0, size - offset);
			size = offset;
			continue;
		}
		for (size_t j = 0; j < len; j++)
			data[j] = (uint8_t)rand();
		ck_assert_int_eq(store_stage_write(fx.store, stage, i, offset, data, len), 0);
		memcpy(model + offset, data, len);
		if (len > 0 && offset + len > size)
			size = offset + len;
		else if (len == 0 && offset > size)
			ck_assert_int_eq(store_stage_truncate(fx.store, stage, 0, size), 0);
		if (i % 10 == 0)
			ck_assert_int_eq(stage_is(stage, model, size, true), 0);
	}
	ck_assert_int_eq(stage_is(stage, model, size, true), 0);
}
END_TEST

START_TEST(limit_is_kept)
{
	static uint8_t big[VALUE_MAX];
	uint64_t stage = stage_new();
	struct store_settings p = *store_settings(fx.store);

	ck_assert_int_eq(store_stage_write(fx.store, stage, 1, 0, big, VALUE_MAX), 0);
	ck_assert_int_eq(store_stage_write(fx.store, stage, 2, STAGE_APPEND, "x", 1), -EFBIG);
	ck_assert_int_eq(store_stage_write(fx.store, stage, 2, UINT64_MAX - 1, "x", 1), -EFBIG);
	ck_assert_int_eq(store_stage_truncate(fx.store, stage, 3, (uint64_t)VALUE_MAX + 1), -EFBIG);
	ck_assert_int_eq(stage_is(stage, big, VALUE_MAX, true), 0);
	p.value_max = 10;
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_settings_put(fx.store, &p), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	stage = stage_new();
	ck_assert_int_eq(store_stage_write(fx.store, stage, 1, 5, "123456", 6), -EFBIG);
	ck_assert_int_eq(store_stage_write(fx.store, stage, 1, 5, "12345", 5), 0);
}
END_TEST

START_TEST(commit_makes_a_version_and_the_stage_clean)
{
	uint32_t id = add_secret(fx.store, "db", NULL), version = 0;
	uint64_t stage = stage_new();

	ck_assert_int_eq(commit(stage, id, &version), -EALREADY);
	ck_assert_int_eq(store_stage_write(fx.store, stage, 1, 0, "one", 3), 0);
	ck_assert_int_eq(commit(stage, id, &version), 0);
	ck_assert_uint_eq(version, 1);
	ck_assert_int_eq(value_is(fx.store, id, 1, "one"), 0);
	ck_assert_int_eq(stage_is(stage, "one", 3, false), 0);
	ck_assert_int_eq(commit(stage, id, &version), -EALREADY);
	ck_assert_int_eq(store_stage_write(fx.store, stage, 2, STAGE_APPEND, "two", 3), 0);
	ck_assert_int_eq(commit(stage, id, &version), 0);
	ck_assert_int_eq(value_is(fx.store, id, 2, "onetwo"), 0);
	ck_assert_int_eq(store_stage_drop(fx.store, stage), 0);
	ck_assert_int_eq(store_stage_drop(fx.store, stage), -ENOENT);
	ck_assert_int_eq(raw_int(&fx, "SELECT count(*) FROM stage_chunks"), 0);
}
END_TEST

START_TEST(rolled_back_commit_leaves_the_stage_dirty)
{
	uint32_t id = add_secret(fx.store, "db", NULL), version = 0;
	uint64_t stage = stage_new();

	ck_assert_int_eq(store_stage_write(fx.store, stage, 1, 0, "one", 3), 0);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_stage_commit(fx.store, stage, id, NULL, &version), 0);
	store_rollback(fx.store);
	ck_assert_int_eq(stage_is(stage, "one", 3, true), 0);
	ck_assert_uint_eq(store_get(fx.store, id)->n_versions, 0);
	ck_assert_int_eq(commit(stage, id, &version), 0);
	ck_assert_uint_eq(version, 1);
}
END_TEST

START_TEST(truncation_alone_makes_it_dirty)
{
	uint32_t id = add_secret(fx.store, "db", "old"), version = 0;
	uint64_t stage = stage_new();

	ck_assert_int_eq(store_stage_truncate(fx.store, stage, 1, 0), 0);
	ck_assert_int_eq(commit(stage, id, &version), 0);
	ck_assert_int_eq(value_is(fx.store, id, version, ""), 0);
}
END_TEST

START_TEST(copy_starts_clean)
{
	uint32_t id = add_secret(fx.store, "db", "old");
	uint64_t stage = stage_new();

	ck_assert_int_eq(store_stage_copy_version(fx.store, stage, id, 1, STAGE_EDITS), 0);
	ck_assert_int_eq(stage_is(stage, "old", 3, false), 0);
	ck_assert_int_eq(store_stage_copy_version(fx.store, stage, id, 2, STAGE_EDITS), -ENOENT);
	ck_assert_int_eq(store_stage_write(fx.store, stage, 1, 1, "X", 1), 0);
	ck_assert_int_eq(stage_is(stage, "oXd", 3, true), 0);
}
END_TEST

START_TEST(changed_copy_of_an_older_version_is_stale)
{
	uint32_t id = add_secret(fx.store, "db", "old"), version = 0;
	uint64_t stage = stage_new(), other = stage_new();

	ck_assert_int_eq(store_stage_copy_version(fx.store, stage, id, 1, STAGE_EDITS), 0);
	ck_assert_int_eq(store_stage_write(fx.store, stage, 1, 0, "X", 1), 0);
	ck_assert_int_eq(commit(stage, id, &version), 0);
	ck_assert_int_eq(store_stage_write(fx.store, stage, 2, 1, "Y", 1), 0);
	ck_assert_int_eq(commit(stage, id, &version), 0); /* its own version is no other one */
	ck_assert_int_eq(value_is(fx.store, id, version, "XYd"), 0);
	ck_assert_int_eq(store_stage_write(fx.store, other, 3, 0, "other", 5), 0);
	ck_assert_int_eq(commit(other, id, &version), 0);
	ck_assert_int_eq(store_stage_write(fx.store, stage, 4, 2, "Z", 1), 0);
	ck_assert_int_eq(commit(stage, id, &version), -ESTALE);
	ck_assert_int_eq(stage_is(stage, "XYZ", 3, true), 0);
	ck_assert_int_eq(store_stage_truncate(fx.store, stage, 5, 0), 0); /* nothing of the copy is left */
	ck_assert_int_eq(commit(stage, id, &version), 0);
	ck_assert_int_eq(value_is(fx.store, id, version, ""), 0);
}
END_TEST

START_TEST(appended_bytes_go_behind_what_is_served)
{
	static const enum stage_manner manners[] = { STAGE_APPENDS, STAGE_TAIL };

	for (size_t i = 0; i < 2; i++) {
		uint32_t id = add_secret(fx.store, i ? "b" : "a", "old"), version = 0;
		uint64_t stage = stage_new(), other = stage_new();

		if (manners[i] == STAGE_TAIL)
			ck_assert_int_eq(store_stage_tail(fx.store, stage), 0);
		else
			ck_assert_int_eq(store_stage_copy_version(fx.store, stage, id, 1, STAGE_APPENDS), 0);
		ck_assert_int_eq(store_stage_write(fx.store, stage, 1, STAGE_APPEND, "+1", 2), 0);
		ck_assert_int_eq(store_stage_write(fx.store, other, 2, 0, "other", 5), 0);
		ck_assert_int_eq(commit(other, id, &version), 0);
		ck_assert_int_eq(commit(stage, id, &version), 0);
		ck_assert_int_eq(value_is(fx.store, id, version, "other+1"), 0);
		ck_assert_int_eq(commit(stage, id, &version), -EALREADY);
		ck_assert_int_eq(store_stage_write(fx.store, stage, 3, STAGE_APPEND, "+2", 2), 0);
		ck_assert_int_eq(commit(stage, id, &version), 0);
		ck_assert_int_eq(value_is(fx.store, id, version, "other+1+2"), 0);
		/* emptied, and begun again: once in the place of what is there, then behind it */
		ck_assert_int_eq(store_stage_truncate(fx.store, stage, 4, 0), 0);
		ck_assert_int_eq(store_stage_write(fx.store, stage, 5, STAGE_APPEND, "new", 3), 0);
		ck_assert_int_eq(commit(stage, id, &version), 0);
		ck_assert_int_eq(value_is(fx.store, id, version, "new"), 0);
		ck_assert_int_eq(store_stage_write(fx.store, other, 6, 0, "Other", 5), 0);
		ck_assert_int_eq(commit(other, id, &version), 0);
		ck_assert_int_eq(store_stage_write(fx.store, stage, 7, STAGE_APPEND, "+3", 2), 0);
		ck_assert_int_eq(commit(stage, id, &version), 0);
		ck_assert_int_eq(value_is(fx.store, id, version, "Other+3"), 0);
	}
}
END_TEST

START_TEST(gathered_tail_is_a_copy_of_what_is_served)
{
	uint32_t id = add_secret(fx.store, "db", "old"), version = 0;
	uint64_t stage = stage_new();

	ck_assert_int_eq(store_stage_tail(fx.store, stage), 0);
	ck_assert_int_eq(store_stage_write(fx.store, stage, 1, STAGE_APPEND, "+1", 2), 0);
	ck_assert_int_eq(store_stage_gather(fx.store, stage, id), 0);
	ck_assert_int_eq(store_stage_gather(fx.store, stage, id), 0);
	ck_assert_int_eq(stage_is(stage, "old+1", 5, true), 0);
	ck_assert_int_eq(store_stage_truncate(fx.store, stage, 2, 4), 0);
	ck_assert_int_eq(commit(stage, id, &version), 0);
	ck_assert_int_eq(value_is(fx.store, id, version, "old+"), 0);
}
END_TEST

START_TEST(clear_removes_all_and_ids_go_on)
{
	uint64_t stage = stage_new();

	ck_assert_int_eq(store_stage_write(fx.store, stage, 1, 0, "one", 3), 0);
	ck_assert_int_eq(store_stages_clear(fx.store), 0);
	ck_assert_int_eq(stage_is(stage, "", 0, false), -ENOENT);
	ck_assert_int_eq(raw_int(&fx, "SELECT count(*) FROM stage_chunks"), 0);
	ck_assert_uint_gt(stage_new(), stage);
}
END_TEST

START_TEST(tampered_stage_is_refused)
{
	static const char *const acts[] = {
		"UPDATE stages SET size = 2",
		"UPDATE stages SET counter = 0",
		"UPDATE stages SET last_unique = 7",
		"UPDATE stages SET dirty = 0",
		"UPDATE stage_chunks SET counter = counter + 1",
		"UPDATE stage_chunks SET sealed = zeroblob(length(sealed))",
		"UPDATE stage_chunks SET sealed = substr(sealed, 1, length(sealed) - 1)",
		"UPDATE stage_chunks SET sealed = x''",
	};
	uint8_t got[16];
	size_t n;

	for (size_t i = 0; i < sizeof acts / sizeof acts[0]; i++) {
		uint64_t stage;
		ck_assert_int_eq(store_stages_clear(fx.store), 0);
		stage = stage_new();
		ck_assert_int_eq(store_stage_write(fx.store, stage, 1, 0, "one", 3), 0);
		raw(&fx, acts[i]);
		ck_assert_msg(store_stage_read(fx.store, stage, 0, got, sizeof got, &n) == -EBADMSG, "%s", acts[i]);
		ck_assert_msg(store_stage_write(fx.store, stage, 2, 1, "X", 1) == -EBADMSG, "%s", acts[i]);
	}
}
END_TEST

START_TEST(chunk_of_another_stage_is_refused)
{
	uint64_t a = stage_new(), b = stage_new();
	uint8_t got[16];
	size_t n;

	ck_assert_int_eq(store_stage_write(fx.store, a, 1, 0, "one", 3), 0);
	ck_assert_int_eq(store_stage_write(fx.store, b, 2, 0, "two", 3), 0);
	raw(&fx, "UPDATE stage_chunks SET sealed = (SELECT sealed FROM stage_chunks ORDER BY id LIMIT 1)");
	ck_assert_int_eq(store_stage_read(fx.store, b, 0, got, sizeof got, &n), -EBADMSG);
	ck_assert_int_eq(store_stage_read(fx.store, a, 0, got, sizeof got, &n), 0);
}
END_TEST

START_TEST(staged_bytes_are_not_on_disk)
{
	static const char needle[] = "PLAINTEXT-THAT-MUST-NOT-BE-FOUND";
	static char file[1 << 20];
	static const char *const suffixes[] = { "", "-wal" };
	char path[128];
	uint64_t stage = stage_new();

	ck_assert_int_eq(store_stage_write(fx.store, stage, 1, 0, needle, strlen(needle)), 0);
	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "%s%s", fx.db, suffixes[i]);
		FILE *f = fopen(path, "r");
		ck_assert_ptr_nonnull(f);
		size_t n = fread(file, 1, sizeof file, f);
		ck_assert_uint_gt(n, 0);
		ck_assert_ptr_null(memmem(file, n, needle, strlen(needle)));
		fclose(f);
	}
}
END_TEST

STORE_TESTS("store-stage", 120, new_stage_is_empty_and_clean, repeated_write_changes_nothing,
	    repeat_is_known_after_a_new_process_took_over, random_writes_and_cuts_match_a_plain_file, limit_is_kept,
	    commit_makes_a_version_and_the_stage_clean, rolled_back_commit_leaves_the_stage_dirty,
	    truncation_alone_makes_it_dirty, copy_starts_clean, changed_copy_of_an_older_version_is_stale,
	    appended_bytes_go_behind_what_is_served, gathered_tail_is_a_copy_of_what_is_served,
	    clear_removes_all_and_ids_go_on, tampered_stage_is_refused, chunk_of_another_stage_is_refused,
	    staged_bytes_are_not_on_disk)
