/* Who reads what: an index of open files by the thread, and by the process, that opened them. Private to handle.c,
 * whose lock guards it; rebuilt at each takeover. */
#ifndef COFFER_FS_SHARED_FOLLOW_H
#define COFFER_FS_SHARED_FOLLOW_H

#include "fs/shared/handle.h"

enum follow_by { FOLLOW_THREAD, FOLLOW_PROCESS, FOLLOWS };

struct follow {
	struct handle *entries;   /* of the table; borrowed */
	uint32_t *heads[FOLLOWS]; /* buckets: heads of chains through handle.follow, the last opened first */
	uint32_t capacity;        /* buckets of each: a power of two */
	uint64_t seed;            /* odd: callers choose their thread numbers */
};

void follow_init(struct follow *f, struct handle *entries);
void follow_free(struct follow *f);
/* 0 or -ENOMEM: then all is as it was. */
int follow_reserve(struct follow *f, uint32_t capacity);

void follow_add(struct follow *f, struct handle *e); /* the last that was opened */
void follow_drop(struct follow *f, struct handle *e);
/* Many, by handle.order; sorts all. */
void follow_add_all(struct follow *f, struct handle **all, uint32_t n);

/* The last opened of an object by this thread or process; NULL: none. */
const struct handle *follow_last(const struct follow *f, enum follow_by by, uint32_t object, pid_t id);

#endif
