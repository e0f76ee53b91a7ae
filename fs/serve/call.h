/* A call: who asks, and by which request. Made once for each request, where it is taken up (fs/fuse/). */
#ifndef COFFER_FS_SERVE_CALL_H
#define COFFER_FS_SERVE_CALL_H

#include "fs/serve/vault.h"

/* A caller as a request brings him. */
struct call {
	struct identity *who; /* NULL: not even a minimal identity */
	bool doubt;           /* who is for the record only */
	uint32_t uid, gid;
	pid_t tid;
	uint64_t neighbour;     /* whose share it uses */
	enum patience patience; /* of the thread that works on the request */
	uint64_t unique;        /* of the request, without the kernel's resend bit; 0: none */
	bool resent;            /* another worker may have seen it */
	int64_t began;          /* ns since the epoch: when this thread took it up, for the record */
};

/* Fills in who, doubt and neighbour by uid, gid, tid and patience. 0 (also when in doubt); -EAGAIN: only a thread that
 * may wait for the resolver can tell. Release with call_release. */
int call_identify(struct vault *v, struct call *call);
/* Is this a request that was answered already? A thread cannot go away before it has its answer: one that is replayed
 * from memory for a thread that is gone was answered by a worker that died before it noted that. */
bool call_had_answer(struct vault *v, const struct call *call);
void call_release(struct call *call);
/* The identity for the policy: NULL in doubt. */
static inline const struct identity *call_trusted(const struct call *a) { return a->doubt ? NULL : a->who; }

#endif
