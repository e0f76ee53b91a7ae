/* A keyed hash. */
#ifndef COFFER_STORE_AUDIT_HASH_H
#define COFFER_STORE_AUDIT_HASH_H
#include <stdint.h>

struct audit_head;

/* SipHash-2-4 (Aumasson, Bernstein 2012), under the head's key. */
struct audit_hash {
	uint64_t v[4];
};
void audit_hash_begin(const struct audit_head *h, struct audit_hash *ret);
void audit_hash_word(struct audit_hash *x, uint64_t word);
uint64_t audit_hash_end(struct audit_hash *x);

#endif
