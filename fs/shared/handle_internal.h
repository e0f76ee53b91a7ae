/* Between handle.c and handle_take.c; nobody else includes this. */
#ifndef COFFER_FS_SHARED_HANDLE_INTERNAL_H
#define COFFER_FS_SHARED_HANDLE_INTERNAL_H

#include <pthread.h>
#include <time.h>

#include "fs/shared/counts.h"
#include "fs/shared/follow.h"
#include "fs/shared/handle.h"
#include "fs/common/shares.h"

#define NOBODYS UINT64_MAX
struct use {
	uint64_t neighbour;    /* NOBODYS: not open */
	uint32_t at;           /* coarse seconds: opened, or read last */
	_Atomic uint32_t held; /* by how many threads */
};
/* For one to be taken back. */
struct search {
	uint32_t at;   /* coarse seconds */
	uint32_t most; /* of what could be taken back nobody had more */
};

/* Who closed a value that it had written; some are enough. */
#define WRITERS_KEPT 64u
struct writer {
	uint32_t secret;
	int32_t tgid;
	uint32_t at; /* coarse seconds */
};

/* Everything here but writers can be rebuilt from the table, and is, by whoever takes it over: a kill -9 in the middle
 * of a change loses nothing. */
struct handles {
	struct handle_table *table;
	pthread_mutex_t lock; /* of all below, and of every change of a state in the table */
	uint32_t free;        /* head of the free list */
	uint32_t live;        /* BUSY or OPEN */
	uint32_t open;
	uint32_t capacity; /* slots of each index: a power of two, at least 2 * live */
	struct shares *shares[HANDLE_POOLS];
	struct counts readers;
	struct counts read_writers;
	uint32_t *uniques; /* buckets: heads of chains through handle.next */
	struct use *uses;  /* of each entry, beside it: a look at all of them is short */
	struct search searches[HANDLE_POOLS];
	struct writer writers[WRITERS_KEPT];
	struct follow follow;
};

static inline uint32_t handles_coarse_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (uint32_t)t.tv_sec + 1;
}

static inline uint32_t handles_index_of(const struct handles *h, const struct handle *e)
{
	return (uint32_t)(e - h->table->entries);
}

static inline uint32_t handles_high(const struct handles *h)
{
	return atomic_load_explicit(&h->table->high, memory_order_acquire);
}

static inline uint32_t handles_state_of(struct handle *e)
{
	return atomic_load_explicit(&e->state, memory_order_acquire);
}

/* handle_get compares the generation without the lock. */
static inline uint32_t handles_generation_of(const struct handle *e)
{
	return __atomic_load_n(&e->generation, __ATOMIC_RELAXED);
}

static inline uint64_t handles_fh_of(const struct handles *h, const struct handle *e)
{
	return (uint64_t)handles_generation_of(e) << 32 | handles_index_of(h, e);
}

static inline enum handle_pool handles_pool_kind(uint32_t kind)
{
	if (kind == HANDLE_VALUE || kind == HANDLE_TEMP)
		return HANDLES_OF_VALUES;
	return kind == HANDLE_DIR ? HANDLES_OF_DIRECTORIES : HANDLES_OF_OWN_FILES;
}

/* With the lock. */
struct shares *handles_pool(const struct handles *h, uint32_t kind);
/* nobody finds it by its unique, thread or process any more */
void handles_unaccount(struct handles *h, struct handle *e);
void handles_begin_life(struct handle *e, const struct handle_ask *ask); /* BUSY, and of another generation */

#endif
