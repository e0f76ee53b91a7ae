/* What can be asked of whoever has the KEK, a row for each call. The key holder serves its clients by this table, and a
 * process that has the KEK itself (init, offline commands, drills) serves itself by it. For keyholder.c and keys.c
 * alone. */
#ifndef COFFER_STORE_KEYS_CALLS_H
#define COFFER_STORE_KEYS_CALLS_H

#include <stdbool.h>
#include <stdint.h>

#include "store/keys/keyholder_proto.h"

struct kek;

struct key_owner {
	struct kek *kek; /* NULL: sealed */
	char provider[32];
	uint64_t unwraps;
	/* CURVE_LEN bytes of locked memory, the caller's: a private key for as long as this process lives, to which
	 * file keys of restores are sealed */
	uint8_t *transport;
	/* May so many keys be unwrapped now? NULL: as many as one likes. */
	bool (*allowed)(struct key_owner *o, int64_t unwraps);
};

/* Does what the request asks. items are the request's, and then the reply's; reply is zeroed, in locked memory. 0;
 * -ENOKEY (sealed); -EBADMSG (what is to be opened does not open); -EBUSY (not allowed now); -EINVAL (no such call);
 * -ENOMEM; -EIO. Blocks only as long as the KEK does. */
int calls_serve(struct key_owner *o, const struct kh_request *request, struct kh_item *items, struct kh_reply *reply);
/* How long whoever asks waits for the answer, waiting for its turn included; ms. */
int64_t calls_deadline_ms(enum kh_op op);

#endif
