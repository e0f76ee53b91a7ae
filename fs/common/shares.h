/* Who may have how much of what there is a number of: open files, waiting requests, buffers, bytes on the disk. One
 * rule for all of them.
 *
 * Whoever holds a share is a neighbour (fs/caller/neighbour.h): a user with all the uids that are subordinate to it, or
 * a container. A neighbour may take one more while it holds less than half of what is free. So shares shrink as the
 * whole fills: one that is alone comes to a third of it, two whose holdings come and go to a quarter each. Where
 * nothing is left for one that holds less than others do, it is the heaviest that loses: shares_heaviest. `most` is a
 * limit beside that. `reserve` is kept for whoever must be able to act when all others have taken what they can.
 *
 * Pure: no lock (the caller has one), no clock, and nothing that cannot be counted again from what is held, which is
 * how a worker that takes over begins. Each call takes the same short time, however many neighbours there are, but for
 * shares_heaviest. */
#ifndef COFFER_FS_COMMON_SHARES_H
#define COFFER_FS_COMMON_SHARES_H

#include <stdbool.h>
#include <stdint.h>

/* The root user of the machine itself. */
#define NEIGHBOUR_ROOT UINT64_C(0)

struct shares;

struct shares_config {
	uint32_t units;   /* in all, at least 1 */
	uint32_t most;    /* of one neighbour; 0: as much as the rule gives */
	uint32_t reserve; /* of units, and on top of most: for SHARE_RESERVED */
	uint32_t forced;  /* what may be held in all by shares_force; 0: units */
};

enum share_rank { SHARE_ORDINARY, SHARE_RESERVED };

/* 0 or -ENOMEM. */
int shares_new(const struct shares_config *config, struct shares **ret_shares);
void shares_free(struct shares *s); /* accepts NULL */

/* n units more for the neighbour, all or none. False: it has its share already, or nothing is left. */
bool shares_take(struct shares *s, uint64_t neighbour, uint32_t n, enum share_rank rank);
/* The same without asking, for what is held already, or cannot be refused. In all not more than `forced`. */
void shares_force(struct shares *s, uint64_t neighbour, uint32_t n);
void shares_give(struct shares *s, uint64_t neighbour, uint32_t n);

uint32_t shares_held(const struct shares *s, uint64_t neighbour);
uint32_t shares_taken(const struct shares *s); /* by all together */
/* Who holds most, and how much; 0 units: nobody holds anything. Looks at all of them. */
uint64_t shares_heaviest(const struct shares *s, uint32_t *ret_held);
/* The same of all but root of the host, who is to be able to act. */
uint64_t shares_heaviest_user(const struct shares *s, uint32_t *ret_held);
/* Is nearly nothing left of what is not reserved? */
bool shares_full(const struct shares *s);

#endif
