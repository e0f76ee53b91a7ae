/* SipHash-2-4 (Aumasson, Bernstein 2012), under the key of the head. */
#include "store/audit/hash.h"

#include <sys/statvfs.h>

#include "store/audit/head.h"

static uint64_t rotl(uint64_t x, int bits) { return x << bits | x >> (64 - bits); }

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[0] = rotl(v[0], 32);
	v[2] += v[3];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

void audit_hash_begin(const struct audit_head *h, struct audit_hash *ret)
{
	*ret = (struct audit_hash){ {
		h->hash_key[0] ^ UINT64_C(0x736f6d6570736575),
		h->hash_key[1] ^ UINT64_C(0x646f72616e646f6d),
		h->hash_key[0] ^ UINT64_C(0x6c7967656e657261),
		h->hash_key[1] ^ UINT64_C(0x7465646279746573),
	} };
}

void audit_hash_word(struct audit_hash *x, uint64_t word)
{
	x->v[3] ^= word;
	sip_round(x->v);
	sip_round(x->v);
	x->v[0] ^= word;
}

uint64_t audit_hash_end(struct audit_hash *x)
{
	x->v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(x->v);
	return x->v[0] ^ x->v[1] ^ x->v[2] ^ x->v[3];
}
