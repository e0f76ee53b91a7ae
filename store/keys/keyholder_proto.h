/* What the key holder and its clients say to each other: one struct a message, over SOCK_SEQPACKET, between two
 * processes of the same binary on the same machine, in its byte order. For keyholder.c and keys.c alone.
 *
 * A request has a number that is not 0; its reply has the same. A message with number 0 says that the holder was sealed
 * or unsealed; one with a result, too, that the holder ends because it cannot have its key: the record is then the line
 * that says why. */
#ifndef COFFER_STORE_KEYS_KEYHOLDER_PROTO_H
#define COFFER_STORE_KEYS_KEYHOLDER_PROTO_H

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <time.h>

#include "store/crypto/curve.h"
#include "store/keys/wrap.h"

enum kh_op {
	KH_WRAP_NEW = 1,
	KH_UNWRAP,
	KH_SEAL,
	KH_STATE,
	KH_SIGNER_NEW,
	KH_SIGN,
	KH_BACKUP_BEGIN,
	KH_BACKUP_EXPORT,
	KH_RESTORE_KEY,
	KH_RESTORE_BEGIN,
	KH_RESTORE_IMPORT,
};

/* After the request, and after its reply, as many of these as it says: no secret lies in them. */
struct kh_item {
	uint64_t was_secret, becomes_secret;
	uint32_t was_version, becomes_version;
	uint32_t len;
	uint32_t pad;
	uint8_t was_vault[16];
	uint8_t data[WRAP_RECORD_MAX];
};

struct kh_request {
	uint64_t number;
	uint64_t secret;
	uint32_t op;
	uint32_t type;
	uint32_t version;
	uint32_t record_len;
	uint32_t n_items;
	uint32_t pad;
	uint8_t vault[16];
	uint8_t data[BOX_LEN]; /* a recipient's key, a box, a digest */
	uint8_t record[WRAP_RECORD_MAX];
};

struct kh_reply {
	uint64_t number;
	uint64_t unwraps;
	int32_t result; /* 0 or negative errno */
	uint32_t sealed;
	uint32_t record_len;
	uint32_t n_items;
	uint32_t memory; /* enum secmem_kind: where the KEK lies, or would */
	/* of a message with number 0: this holder has just begun, and knows nothing of what the one before was asked */
	uint32_t began;
	uint8_t key[KEY_LEN];
	uint8_t data[BOX_LEN]; /* a public key, a box, a signature */
	uint8_t kek_id[KEK_ID_LEN];
	char provider[32];
	uint8_t record[WRAP_RECORD_MAX];
};

_Static_assert(sizeof(struct kh_request) == 56 + BOX_LEN + WRAP_RECORD_MAX, "no padding");
_Static_assert(sizeof(struct kh_reply) == 120 + BOX_LEN + WRAP_RECORD_MAX, "no padding");
_Static_assert(sizeof(struct kh_item) == 48 + WRAP_RECORD_MAX, "no padding");
_Static_assert(SIGNATURE_LEN <= BOX_LEN, "a signature fits");

/* Milliseconds of CLOCK_MONOTONIC. */
static inline int64_t kh_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Until the descriptor is ready for events, or the deadline (as kh_now_ms) comes: 0, -ETIMEDOUT, -EIO. */
static inline int kh_wait(int fd, short events, int64_t deadline)
{
	for (;;) {
		struct pollfd p = { .fd = fd, .events = events };
		int64_t left = deadline - kh_now_ms();
		int n;

		if (left <= 0)
			return -ETIMEDOUT;
		n = poll(&p, 1, (int)left);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -EIO;
	}
}

#endif
