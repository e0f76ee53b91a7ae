/* Who asks: a caller as its request brings it. */
#ifndef COFFER_FS_SERVE_ASKER_H
#define COFFER_FS_SERVE_ASKER_H

#include "fs/serve/vault.h"

/* A caller as a request brings him. */
struct asker {
	struct identity *who; /* NULL: not even a minimal identity */
	bool doubt;           /* who is for the record only */
	uint32_t uid, gid;
	pid_t tid;
	uint64_t neighbour;     /* whose share it uses */
	enum patience patience; /* of the thread that works on the request */
};

/* 0 (also when in doubt: asker.doubt); -EAGAIN: only a thread that may wait for the resolver can tell. Release with
 * asker_release. */
int asker_identify(struct vault *v, uint32_t uid, uint32_t gid, pid_t tid, enum patience patience,
		   struct asker *ret_asker);
/* Is this a request that was answered already? A thread cannot go away before it has its answer: one that is replayed
 * from memory for a thread that is gone was answered by a worker that died before it noted that. */
bool asker_had_answer(struct vault *v, const struct asker *a, bool resent);
void asker_release(struct asker *a);
/* The identity for the policy: NULL in doubt. */
static inline const struct identity *asker_trusted(const struct asker *a) { return a->doubt ? NULL : a->who; }

#endif
