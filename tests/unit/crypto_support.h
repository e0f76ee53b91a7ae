/* What the tests of store's cryptography share. */
#ifndef COFFER_TESTS_CRYPTO_SUPPORT_H
#define COFFER_TESTS_CRYPTO_SUPPORT_H

#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/crypto/aead.h"
#include "store/crypto/bytes.h"
#include "store/crypto/secbuf.h"
#include "suite.h"

#define ARENA ((size_t)8 << 20)

/* A fixture: each test runs in a process of its own. */
static inline void crypto_setup(void)
{
	int r = secmem_init(ARENA, SECMEM_AUTO);

	ck_assert(r == 0 || r == -EALREADY);
	ck_assert_int_eq(crypto_init(), 0);
}

static inline size_t unhex(const char *text, uint8_t *ret, size_t size)
{
	size_t n = strlen(text) / 2;

	ck_assert(n <= size);
	ck_assert_int_eq(hex_parse(text, strlen(text), ret, n), 0);
	return n;
}

static inline size_t arena_used(void)
{
	size_t used, total;

	secmem_usage(&used, &total);
	return used;
}

#endif
