/* Which requests have no answer yet, in memory that outlives workers: what each thread is at, for the keeper's
 * suspicion and its watchdog; and what waits for its answer though nobody is at it.
 *
 * The log asks, too (audit_config.unanswered): what was recorded of such a request must be known for as long as the
 * request may come again. */
#ifndef COFFER_FS_SHARED_UNANSWERED_H
#define COFFER_FS_SHARED_UNANSWERED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define UNANSWERED_THREADS 128u
#define UNANSWERED_WAITING 256u

/* unique is without the kernel's resend bit; 0: none. began: clock_coarse_ms(). */
struct unanswered_at {
	_Atomic uint64_t unique;
	_Atomic uint32_t began;
	uint32_t pad;
};

struct unanswered {
	struct unanswered_at at[UNANSWERED_THREADS]; /* of slot i: a thread works on it */
	/* its answer is delayed, or its worker died without being to blame */
	_Atomic uint64_t waiting[UNANSWERED_WAITING];
	_Atomic uint32_t n_waiting, next;
};

void unanswered_begin(struct unanswered *u, uint32_t slot, uint64_t unique);
void unanswered_end(struct unanswered *u, uint32_t slot);
/* The watchdog looks at the request as if it had begun then (clock_coarse_ms()). */
void unanswered_began(struct unanswered *u, uint64_t unique, uint32_t when);
/* Nobody is at it, and it has no answer. Where there is no room, one that waits for long goes: its caller was killed,
 * most likely. */
void unanswered_wait(struct unanswered *u, uint64_t unique);
void unanswered_waits_no_more(struct unanswered *u, uint64_t unique);
bool unanswered_has(const struct unanswered *u, uint64_t unique);
/* The keeper: the worker is dead. blame is told each request that a thread was at; NULL: none is to blame, and all of
 * them wait. */
void unanswered_worker_died(struct unanswered *u, void (*blame)(void *arg, uint64_t unique), void *arg);

#endif
