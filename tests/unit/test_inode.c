#include "fs/shared/inode.h"

#include <check.h>
#include <stdlib.h>

static const uint32_t edge_ids[] = { 0, 1, 2, 255, 256, 65535, 1u << 27, INODE_SECRET_MAX - 1, INODE_SECRET_MAX };
#define EDGES (sizeof(edge_ids) / sizeof(edge_ids[0]))

/* The rule of the header, said again in other words. */
static bool expected_valid(unsigned type, uint32_t secret, uint32_t low)
{
	switch (type) {
	case INODE_ROOT:
		return secret == 0 && low == 0;
	case INODE_OWN:
		return secret == 0 && low != 0 && low < OWN_END;
	case INODE_SECRET:
	case INODE_VERSIONS:
		return secret != 0 && low == 0;
	case INODE_CURRENT:
		return secret != 0 && low == 0;
	case INODE_VERSION:
		return secret != 0 && low != 0;
	case INODE_EPOCH:
		return secret == 0 && low != 0;
	case INODE_AT:
		return secret != 0 && low != 0;
	case INODE_VIEW:
		return secret != 0 && low <= INODE_VIEWS;
	case INODE_MARKER:
		return secret == 0 && low != 0 && low <= INODE_LOW_MAX;
	case INODE_REQUEST:
		return true;
	case INODE_TEMP:
		return secret != 0 || low != 0;
	default:
		return false;
	}
}

START_TEST(packs_and_unpacks_every_type_at_every_edge)
{
	for (unsigned type = 0; type < 16; type++) {
		for (size_t s = 0; s < EDGES; s++) {
			for (size_t l = 0; l < EDGES; l++) {
				struct inode in = { (enum inode_type)type, edge_ids[s], edge_ids[l] }, out;
				uint64_t ino = inode_pack(&in);
				ck_assert_int_eq(ino != 0, expected_valid(type, in.secret, in.low));
				if (ino == 0)
					continue;
				ck_assert(inode_unpack(ino, &out));
				ck_assert(out.type == in.type && out.secret == in.secret && out.low == in.low);
			}
		}
	}
}
END_TEST

START_TEST(numbers_are_the_documented_ones)
{
	ck_assert_uint_eq(inode_pack(&(struct inode){ .type = INODE_ROOT }), 1);
	ck_assert_uint_eq(inode_own(OWN_CTL), 0x0200000000000002u);
	ck_assert_uint_eq(inode_pack(&(struct inode){ INODE_SECRET, 1, 0 }), 0x0300000010000000u);
	ck_assert_uint_eq(inode_pack(&(struct inode){ INODE_VERSIONS, 0x1234567, 0 }), 0x0412345670000000u);
	ck_assert_uint_eq(inode_pack(&(struct inode){ INODE_CURRENT, 2, 0 }), 0x0500000020000000u);
	ck_assert_uint_eq(inode_pack(&(struct inode){ INODE_VERSION, INODE_SECRET_MAX, INODE_LOW_MAX }),
			  0x06ffffffffffffffu);
	ck_assert_uint_eq(inode_pack(&(struct inode){ INODE_EPOCH, 0, 7 }), 0x4000000070000000u);
	ck_assert_uint_eq(inode_pack(&(struct inode){ INODE_AT, INODE_SECRET_MAX, INODE_EPOCH_MAX }),
			  0x4fffffffffffffffu);
}
END_TEST

START_TEST(refuses_ids_beyond_their_bits)
{
	ck_assert_uint_eq(inode_pack(&(struct inode){ INODE_SECRET, INODE_SECRET_MAX + 1, 0 }), 0);
	ck_assert_uint_eq(inode_pack(&(struct inode){ INODE_SECRET, UINT32_MAX, 0 }), 0);
	ck_assert_uint_eq(inode_pack(&(struct inode){ INODE_VERSION, 1, INODE_LOW_MAX + 1 }), 0);
	ck_assert_uint_eq(inode_pack(&(struct inode){ INODE_VERSIONS, 1, 1 }), 0);
	ck_assert_uint_eq(inode_pack(&(struct inode){ INODE_AT, INODE_SECRET_MAX + 1, 1 }), 0);
	ck_assert_uint_eq(inode_pack(&(struct inode){ INODE_OWN, 0, OWN_END }), 0);
	ck_assert_uint_eq(inode_pack(&(struct inode){ (enum inode_type)16, 1, 1 }), 0);
}
END_TEST

/* One name, one number: whatever unpacks packs to itself. */
START_TEST(no_two_numbers_name_one_inode)
{
	uint64_t x = 88172645463325252u;

	for (int k = 0; k < 2000000; k++) {
		struct inode i = { 0 };
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		uint64_t ino = k % 2 ? x : x & 0x47ffffff0fffffffu;
		/* not ck_assert for each: it writes to a pipe each time */
		if (inode_unpack(ino, &i) && inode_pack(&i) != ino)
			ck_abort_msg("%016llx", (unsigned long long)ino);
	}
}
END_TEST

START_TEST(a_flipped_bit_is_another_inode_or_none)
{
	uint64_t inos[] = { 1, inode_own(OWN_DIR), inode_pack(&(struct inode){ INODE_CURRENT, 77, 0 }),
			    inode_pack(&(struct inode){ INODE_VERSION, 77, 3 }) };

	for (size_t n = 0; n < sizeof(inos) / sizeof(inos[0]); n++) {
		for (unsigned bit = 0; bit < 64; bit++) {
			struct inode i;
			uint64_t ino = inos[n] ^ UINT64_C(1) << bit;
			bool ok = inode_unpack(ino, &i);
			ck_assert(bit < 60 || bit == 62 || !ok);
			ck_assert(!ok || inode_pack(&i) == ino);
		}
	}
}
END_TEST

START_TEST(leaves_the_result_alone_when_refusing)
{
	static const uint64_t nobody[] = { 0,
					   2,
					   3,
					   UINT64_MAX,
					   UINT64_C(1) << 63,
					   UINT64_C(1) << 56,
					   UINT64_C(2) << 56,
					   UINT64_C(2) << 56 | OWN_END,
					   UINT64_C(4) << 60,
					   UINT64_C(4) << 60 | 5,
					   UINT64_C(5) << 60 | UINT64_C(1) << 28,
					   UINT64_C(7) << 56 | 5,
					   UINT64_C(3) << 56,
					   UINT64_C(7) << 56 | 1u << 28,
					   UINT64_C(5) << 56 | UINT64_C(1) << 28 | 1,
					   UINT64_C(6) << 56 | UINT64_C(1) << 28 };

	for (size_t n = 0; n < sizeof(nobody) / sizeof(nobody[0]); n++) {
		struct inode i = { INODE_CURRENT, 4711, 42 };
		ck_assert(!inode_unpack(nobody[n], &i));
		ck_assert(i.type == INODE_CURRENT && i.secret == 4711 && i.low == 42);
	}
}
END_TEST

START_TEST(knows_directories)
{
	static const struct {
		struct inode i;
		bool dir;
	} table[] = {
		{ { INODE_ROOT, 0, 0 }, true },       { { INODE_SECRET, 1, 0 }, true },
		{ { INODE_VERSIONS, 1, 0 }, true },   { { INODE_CURRENT, 1, 0 }, false },
		{ { INODE_VERSION, 1, 1 }, false },   { { INODE_EPOCH, 0, 1 }, true },
		{ { INODE_AT, 1, 1 }, true },         { { INODE_OWN, 0, OWN_AT }, true },
		{ { INODE_OWN, 0, OWN_DIR }, true },  { { INODE_OWN, 0, OWN_DELETED }, true },
		{ { INODE_OWN, 0, OWN_CTL }, false }, { { INODE_OWN, 0, OWN_AUDIT }, false },
		{ { INODE_NONE, 0, 0 }, false },
	};

	for (size_t n = 0; n < sizeof(table) / sizeof(table[0]); n++)
		ck_assert_int_eq(inode_is_dir(&table[n].i), table[n].dir);
}
END_TEST

static int by_number(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* What programs keep in a double, or in 32 bits, is still the number of one thing. */
START_TEST(shows_numbers_that_programs_can_hold_and_tell_apart)
{
	static const struct inode shown[] = {
		{ INODE_ROOT, 0, 0 },
		{ INODE_OWN, 0, OWN_DIR },
		{ INODE_OWN, 0, OWN_END - 1 },
		{ INODE_SECRET, 1, 0 },
		{ INODE_SECRET, INODE_SECRET_MAX, 0 },
		{ INODE_VERSIONS, 1, 0 },
		{ INODE_VERSIONS, INODE_SECRET_MAX, 0 },
		{ INODE_CURRENT, 1, 0 },
		{ INODE_CURRENT, INODE_SECRET_MAX, 0 },
		{ INODE_VERSION, 1, 1 },
		{ INODE_VERSION, 1, 2 },
		{ INODE_VERSION, 2, 1 },
		{ INODE_VERSION, (1 << 19) - 1, (1 << 11) - 1 },
		{ INODE_VERSION, 1 << 19, 1 },
		{ INODE_VERSION, 1, 1 << 11 },
		{ INODE_VERSION, (1 << 26) - 1, (1 << 24) - 1 },
		{ INODE_VERSION, 1 << 26, 1 },
		{ INODE_VERSION, 1, 1 << 24 },
		{ INODE_VERSION, INODE_SECRET_MAX, INODE_LOW_MAX },
		{ INODE_EPOCH, 0, 1 },
		{ INODE_EPOCH, 0, INODE_EPOCH_MAX },
		{ INODE_AT, 1, 1 },
		{ INODE_AT, INODE_SECRET_MAX, INODE_EPOCH_MAX },
		{ INODE_REQUEST, 0, 0 },
		{ INODE_REQUEST, 1, 2 },
		{ INODE_REQUEST, INODE_SECRET_MAX, INODE_LOW_MAX },
	};
	uint64_t seen[sizeof shown / sizeof *shown];

	for (int narrow = 0; narrow < 2; narrow++)
		for (size_t n = 0; n < sizeof shown / sizeof *shown; n++) {
			seen[n] = inode_shown(inode_pack(&shown[n]), narrow);
			ck_assert_uint_ne(seen[n], 0);
			ck_assert_uint_lt(seen[n], narrow ? UINT64_C(1) << 32 : UINT64_C(1) << 53);
			for (size_t k = 0; k < n; k++)
				ck_assert_uint_ne(seen[n], seen[k]);
		}
	ck_assert_uint_eq(inode_shown(0, false), 0);
	ck_assert_uint_eq(inode_shown(UINT64_MAX, true), 0);
}
END_TEST

/* 300,000 versions, and as many names below .coffer/at: hashes of 50 bits meet once in 25,000 such vaults. */
START_TEST(shows_no_number_twice_in_a_large_vault)
{
	enum { N = 300000 };
	uint64_t *seen = calloc(2 * N, sizeof *seen);

	ck_assert_ptr_nonnull(seen);
	for (uint32_t n = 0; n < N; n++) {
		seen[2 * n] = inode_shown(inode_pack(&(struct inode){ INODE_VERSION, 1 + n % 1000 * 250000,
								      1 + n / 1000 * 800000 }),
					  false);
		seen[2 * n + 1] = inode_shown(inode_pack(&(struct inode){ INODE_AT, 1 + n % 1000, 1 + n / 1000 }),
					      false);
	}
	qsort(seen, 2 * N, sizeof *seen, by_number);
	size_t twice = 0;
	for (size_t n = 1; n < 2 * N; n++)
		twice += seen[n] == seen[n - 1];
	ck_assert_uint_eq(twice, 0);
	free(seen);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("inode");
	TCase *t = tcase_create("inode");
	SRunner *r = srunner_create(s);

	suite_add_tcase(s, t);
	tcase_add_test(t, packs_and_unpacks_every_type_at_every_edge);
	tcase_add_test(t, numbers_are_the_documented_ones);
	tcase_add_test(t, refuses_ids_beyond_their_bits);
	tcase_add_test(t, no_two_numbers_name_one_inode);
	tcase_add_test(t, a_flipped_bit_is_another_inode_or_none);
	tcase_add_test(t, leaves_the_result_alone_when_refusing);
	tcase_add_test(t, knows_directories);
	tcase_add_test(t, shows_numbers_that_programs_can_hold_and_tell_apart);
	tcase_add_test(t, shows_no_number_twice_in_a_large_vault);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
