/* Refusals that wait until they are sent, so that whoever asks for what it may not have cannot ask as fast as it likes:
 * all requests go through one queue in the kernel, and a crowd that is answered at once fills it.
 *
 * Each refusal may wait for a time of its own; and a neighbour (fs/common/shares.h) that is refused more often than
 * DELAYED_RATE waits in any case, the longer the more it asks, up to DELAYED_BRAKE_MS. Nothing but the request's number
 * is kept meanwhile. Pure: times are arguments, in ms of a clock that only goes forward, and the caller has a lock. */
#ifndef COFFER_FS_FUSE_DELAYED_H
#define COFFER_FS_FUSE_DELAYED_H

#include <stdbool.h>
#include <stdint.h>

#define DELAYED_MAX      131072u /* beyond its share of them, a neighbour's refusals go at once */
#define DELAYED_RATE     2000    /* refusals a second */
#define DELAYED_BURST_MS 100     /* what may come at once, as time at that rate */
#define DELAYED_BRAKE_MS 5000    /* a caller that waits cannot be killed */

struct delayed;
struct delayed_answer {
	uint64_t unique, neighbour;
	int64_t due_ms;
	int error;
};

int delayed_new(struct delayed **ret_delayed); /* 0 or -ENOMEM */
void delayed_free(struct delayed *d);          /* accepts NULL */

/* Counts a refusal of the neighbour; how long it should wait for that (ms). */
uint32_t delayed_brake(struct delayed *d, uint64_t neighbour, int64_t now_ms);
/* False: there is no room for it, and it should go at once. */
bool delayed_put(struct delayed *d, const struct delayed_answer *a);
/* One whose time has come, the oldest first. */
bool delayed_take(struct delayed *d, int64_t now_ms, struct delayed_answer *ret_answer);
/* How long until the next (ms, at least 0); -1: there is none. */
int64_t delayed_next(const struct delayed *d, int64_t now_ms);

#endif
