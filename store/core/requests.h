/* Answers to requests that may be repeated. */
#ifndef COFFER_STORE_CORE_REQUESTS_H
#define COFFER_STORE_CORE_REQUESTS_H

#include <stdint.h>

#include "store/crypto/aead.h"

struct store;

struct request_key {
	uint32_t uid;
	uint64_t user_ns;
	uint8_t id[16];
	uint64_t neighbour; /* whose share the answer is kept in (fs/caller/neighbour.h); does not name the request */
};
#define REQUEST_ANSWER_MAX     65536
#define REQUESTS_PER_UID       256 /* of one neighbour */
#define REQUESTS_PER_NEIGHBOUR 1024
#define REQUEST_LIFE_S         600
/* 0 and the first answer (free it); -ENOENT: not seen; -EEXIST: seen with another digest; -ENOKEY. To be sure against
 * the same request in another thread, ask within the transaction. */
int store_request_find(struct store *s, const struct request_key *key, const uint8_t digest[DIGEST_LEN],
		       char **ret_answer);
/* in the transaction */
int store_request_put(struct store *s, const struct request_key *key, const uint8_t digest[DIGEST_LEN],
		      const char *answer);

int requests_expire(struct store *s); /* likewise */

#endif
