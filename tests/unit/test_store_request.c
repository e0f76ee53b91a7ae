#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/core/database.h"
#include "store/core/requests.h"
#include "store/core/transaction.h"
#include "store/store.h"
#include "store_main.h"

static int64_t now = 1000 * (int64_t)NS_PER_S;

static int64_t test_clock(void) { return now; }

static struct request_key key_of(uint32_t uid, unsigned n)
{
	struct request_key key = { .uid = uid, .user_ns = UINT64_MAX - 3 };

	memcpy(key.id, &n, sizeof n);
	return key;
}

static const uint8_t digest[DIGEST_LEN] = { 1 }, other_digest[DIGEST_LEN] = { 2 };

static int put(struct request_key key, const char *answer)
{
	int r;

	ck_assert_int_eq(store_begin(fx.store), 0);
	r = store_request_put(fx.store, &key, digest, answer);
	if (r == 0)
		return store_commit(fx.store);
	store_rollback(fx.store);
	return r;
}

static int find_is(struct request_key key, const uint8_t d[DIGEST_LEN], const char *want)
{
	char *answer = NULL;
	int r = store_request_find(fx.store, &key, d, &answer);

	if (r == 0 && strcmp(answer, want) != 0)
		r = -ECANCELED;
	free(answer);
	return r;
}

START_TEST(first_answer_is_given_again)
{
	ck_assert_int_eq(find_is(key_of(1, 1), digest, ""), -ENOENT);
	ck_assert_int_eq(put(key_of(1, 1), "{\"version\":1}"), 0);
	ck_assert_int_eq(find_is(key_of(1, 1), digest, "{\"version\":1}"), 0);
	ck_assert_int_eq(vault_reopen(&fx), 0);
	ck_assert_int_eq(find_is(key_of(1, 1), digest, "{\"version\":1}"), 0);
	ck_assert_int_eq(put(key_of(1, 1), "another"), -EEXIST);
}
END_TEST

START_TEST(another_request_under_the_same_id_is_a_conflict)
{
	ck_assert_int_eq(put(key_of(1, 1), "a"), 0);
	ck_assert_int_eq(find_is(key_of(1, 1), other_digest, ""), -EEXIST);
}
END_TEST

START_TEST(uid_and_namespace_are_part_of_the_key)
{
	struct request_key key = key_of(1, 1);

	ck_assert_int_eq(put(key, "a"), 0);
	ck_assert_int_eq(find_is(key_of(2, 1), digest, ""), -ENOENT);
	key.user_ns = 5;
	ck_assert_int_eq(find_is(key, digest, ""), -ENOENT);
}
END_TEST

START_TEST(rolled_back_answer_was_never_given)
{
	struct request_key key = key_of(1, 1);

	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_request_put(fx.store, &key, digest, "a"), 0);
	store_rollback(fx.store);
	ck_assert_int_eq(find_is(key, digest, ""), -ENOENT);
}
END_TEST

START_TEST(answer_expires)
{
	fx.store->clock = test_clock;
	ck_assert_int_eq(put(key_of(1, 1), "a"), 0);
	now += (REQUEST_LIFE_S - 1) * (int64_t)NS_PER_S;
	ck_assert_int_eq(find_is(key_of(1, 1), digest, "a"), 0);
	now += 2 * (int64_t)NS_PER_S;
	ck_assert_int_eq(find_is(key_of(1, 1), digest, ""), -ENOENT);
	ck_assert_int_eq(put(key_of(1, 1), "b"), 0);
	ck_assert_int_eq(find_is(key_of(1, 1), digest, "b"), 0);
	now += 2 * REQUEST_LIFE_S * (int64_t)NS_PER_S;
	ck_assert_int_eq(store_follow(fx.store, NULL, NULL), 0);
	ck_assert_int_eq(raw_int(&fx, "SELECT count(*) FROM requests"), 0);
}
END_TEST

START_TEST(flood_of_one_uid_drops_only_its_own_oldest)
{
	ck_assert_int_eq(put(key_of(2, 1), "mine"), 0);
	ck_assert_int_eq(store_begin(fx.store), 0);
	for (unsigned i = 0; i < REQUESTS_PER_UID + 44; i++) {
		struct request_key key = key_of(1, i);
		ck_assert_int_eq(store_request_put(fx.store, &key, digest, "x"), 0);
	}
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_int_eq(raw_int(&fx, "SELECT count(*) FROM requests WHERE uid = 1"), REQUESTS_PER_UID);
	ck_assert_int_eq(find_is(key_of(1, 43), digest, ""), -ENOENT);
	ck_assert_int_eq(find_is(key_of(1, 44), digest, "x"), 0);
	ck_assert_int_eq(find_is(key_of(2, 1), digest, "mine"), 0);
}
END_TEST

static struct request_key key_in(uint64_t neighbour, uint32_t uid, unsigned n)
{
	struct request_key key = key_of(uid, n);

	key.neighbour = neighbour;
	return key;
}

START_TEST(flood_of_a_neighbour_with_many_uids_drops_only_its_own_oldest)
{
	enum { UIDS = 400, EACH = 5 };

	ck_assert_int_eq(put(key_in(7, 1, 1000000), "mine"), 0);
	ck_assert_int_eq(store_begin(fx.store), 0);
	for (unsigned i = 0; i < UIDS * EACH; i++) {
		struct request_key key = key_in(8, 1 + i % UIDS, i);
		ck_assert_int_eq(store_request_put(fx.store, &key, digest, "x"), 0);
	}
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_int_eq(raw_int(&fx, "SELECT count(*) FROM requests WHERE neighbour = 8"), REQUESTS_PER_NEIGHBOUR);
	ck_assert_int_eq(find_is(key_in(8, 1, UIDS * EACH - UIDS), digest, "x"), 0);
	ck_assert_int_eq(find_is(key_in(7, 1, 1000000), digest, "mine"), 0);
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
}
END_TEST

START_TEST(the_same_uid_elsewhere_drops_nothing_here)
{
	ck_assert_int_eq(put(key_in(7, 1, 1000000), "mine"), 0);
	ck_assert_int_eq(store_begin(fx.store), 0);
	for (unsigned i = 0; i <= REQUESTS_PER_UID; i++) {
		struct request_key key = key_in(8, 1, i);
		ck_assert_int_eq(store_request_put(fx.store, &key, digest, "x"), 0);
	}
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_int_eq(raw_int(&fx, "SELECT count(*) FROM requests WHERE neighbour = 8"), REQUESTS_PER_UID);
	ck_assert_int_eq(find_is(key_in(7, 1, 1000000), digest, "mine"), 0);
}
END_TEST

START_TEST(forged_answer_is_refused)
{
	ck_assert_int_eq(put(key_of(1, 1), "a"), 0);
	raw(&fx, "UPDATE requests SET answer = 'b'");
	ck_assert_int_eq(find_is(key_of(1, 1), digest, ""), -EBADMSG);
}
END_TEST

START_TEST(too_long_an_answer_is_refused)
{
	char *answer = malloc(REQUEST_ANSWER_MAX + 2);

	memset(answer, 'x', REQUEST_ANSWER_MAX + 1);
	answer[REQUEST_ANSWER_MAX + 1] = 0;
	ck_assert_int_eq(put(key_of(1, 1), answer), -EMSGSIZE);
	ck_assert_int_eq(put(key_of(1, 1), answer + 1), 0);
	free(answer);
}
END_TEST

STORE_TESTS("store-request", 120, first_answer_is_given_again, another_request_under_the_same_id_is_a_conflict,
	    uid_and_namespace_are_part_of_the_key, rolled_back_answer_was_never_given, answer_expires,
	    flood_of_one_uid_drops_only_its_own_oldest, flood_of_a_neighbour_with_many_uids_drops_only_its_own_oldest,
	    the_same_uid_elsewhere_drops_nothing_here, forged_answer_is_refused, too_long_an_answer_is_refused)
