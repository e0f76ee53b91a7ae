/* Requests that a worker died on, in memory that outlives it.
 *
 * Which one killed it, when several were being worked on? All are suspects then, and the next worker runs each of them
 * alone: nothing else is worked on meanwhile. If that worker dies too, the one that ran alone is guilty, and no third
 * worker is asked: its caller gets EIO. The innocent have had their answers by then. */
#ifndef COFFER_FS_SHARED_SUSPECTS_H
#define COFFER_FS_SHARED_SUSPECTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SUSPECTS       256u /* more than there are slots */
#define SUSPECT_GUILTY 2u   /* deaths */

/* unique is without the kernel's resend bit; 0: free. Uniques are never used again in a connection. */
struct suspect {
	_Atomic uint64_t unique;
	_Atomic uint32_t deaths;
};

#define PENALTIES 16u
/* A neighbour (fs/common/shares.h) whose requests kill workers waits for its errors, each time twice as long. */
struct penalty {
	uint64_t neighbour;
	uint32_t count, pad;
	int64_t forgiven_ms;
};

struct suspects {
	struct suspect of[SUSPECTS];
	_Atomic uint32_t next;
	struct penalty penalties[PENALTIES];
};

/* The keeper: a worker died while it worked on this. */
void suspects_add(struct suspects *s, uint64_t unique);
/* The worker: how many died on it. */
uint32_t suspects_deaths(struct suspects *s, uint64_t unique);
void suspects_clear(struct suspects *s, uint64_t unique);
/* How long a neighbour waits for the answer to a request that was given up (ms): 1 s, 2 s, … 16 s; a minute without
 * another forgives. */
uint32_t suspects_penalty(struct suspects *s, uint64_t neighbour, int64_t now_ms);

#endif
