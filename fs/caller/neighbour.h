/* Whose share does a caller use? Accounting is not by uid: a user of the machine has 65,536 of them (subuid(5)), and a
 * container's root has all.
 *
 * A neighbour is
 *   a user of the machine: with all its subordinate uids, in and out of its namespaces;
 *   a container that root made, whole: by its outermost user or pid namespace, else by its cgroup or mount namespace.
 *   Within it anybody may have any uid, and what is made inside it stays in it;
 *   a range of subordinate uids of which no user is known: root's, where the container is not known (yet), and those of
 *   a name that /etc/passwd does not have.
 *
 * A number, whose upper byte says which of these; a plain user's is its uid, root's is 0. */
#ifndef COFFER_FS_CALLER_NEIGHBOUR_H
#define COFFER_FS_CALLER_NEIGHBOUR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/caller/ancestry.h"
#include "fs/caller/subuid.h"

#define OWNER_UNKNOWN UINT32_MAX

enum neighbour_kind {
	NEIGHBOUR_USER = 0,
	NEIGHBOUR_USER_NS,
	NEIGHBOUR_PID_NS,
	NEIGHBOUR_MNT_NS,
	NEIGHBOUR_CGROUP,
	NEIGHBOUR_RANGE,
	NEIGHBOUR_KINDS
};

#define NEIGHBOUR_TEXT_MAX 48
/* "user:1000", "user-namespace:4026532345" …, for people. */
void neighbour_print(uint64_t neighbour, char ret_text[NEIGHBOUR_TEXT_MAX]);

/* Is it the same in another boot of the machine? Numbers of namespaces are given out anew. */
bool neighbour_lasts(uint64_t neighbour);

/* What /etc/subuid says of a uid. */
struct subordinate {
	bool in_range;
	uint32_t owner, first; /* SUBUID_ROOT, SUBUID_UNKNOWN or a user; where the range begins */
};

/* What is known of a thread. */
struct neighbour_facts {
	uint32_t uid;
	bool host;
	bool answered; /* the resolver: else only uid counts */
	struct ancestry ancestry;
	struct subordinate of_uid, of_owner; /* of_owner: of ancestry.owner */
	uint64_t mnt_ns, our_mnt_ns;         /* 0: not known */
	const char *container, *unit;        /* of its cgroup, "" without */
};
uint64_t neighbour_of(const struct neighbour_facts *f);
/* Of a thread of root's, by its cgroup alone ("" without a container, or a unit). */
uint64_t neighbour_of_cgroup(const char *container, const char *unit);
/* The user of the machine whose processes these are: the one who made the outermost user namespace, or whose
 * subordinate uid this is, else the uid. Where root made the container, the uid (or who has it as a subordinate one).
 * OWNER_UNKNOWN: somebody's, but it is not known whose. */
uint32_t neighbour_owner(const struct neighbour_facts *f);

/* ---- what is known of a uid before its thread was looked at ---- */

struct neighbours;
int neighbours_new(struct neighbours **ret_neighbours);
void neighbours_free(struct neighbours *n); /* accepts NULL */

/* The neighbour that a thread of this uid will most likely turn out to be: what was learned of the uid within the last
 * minute, else the owner of its range in /etc/subuid, else the uid. Never waits for anything slow: a table in memory,
 * under a lock that is held for as long as a look at it takes. uid 0 is root until its thread was looked at. */
uint64_t neighbours_guess(struct neighbours *n, uint32_t uid);
/* The user whose subordinate uid this is by the table, else uid itself (root's are nobody's). OWNER_UNKNOWN: the table
 * is not here yet, or does not know. *ret_in_range (may be NULL). */
uint32_t neighbours_owner(struct neighbours *n, uint32_t uid, bool *ret_in_range);
/* A thread of this uid is this neighbour. Only what a guess would not say is kept, and one neighbour never takes
 * another one's last place. */
void neighbours_learn(struct neighbours *n, uint32_t uid, uint64_t neighbour, int64_t now_ns);
/* Takes the table, numbered as the resolver numbers them. */
void neighbours_set_ranges(struct neighbours *n, struct subuid_table *table, uint32_t number);
uint32_t neighbours_ranges(struct neighbours *n); /* the number; 0: none yet */

#endif
