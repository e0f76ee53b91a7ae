/* struct audit, for the files of the log alone. */
#ifndef COFFER_STORE_AUDIT_LOG_H
#define COFFER_STORE_AUDIT_LOG_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/audit/format.h"
#include "store/audit/head.h"
#include "store/audit/segment.h"

#define AUDIT_SEGMENT_MIN 4096u /* more than its first record, or segments would follow one another for ever */
#define AUDIT_SEGMENT_AGE 86400u
#define AUDIT_RESERVE     (256u << 10)

#define AUDIT_DENY_RATE      20u
#define AUDIT_DENY_BURST     100u
#define AUDIT_DELAY_MS       50u
#define AUDIT_DENY_ALL_RATE  100u /* of everybody together */
#define AUDIT_DENY_ALL_BURST 1000u
#define AUDIT_OPEN_RATE      20u
#define AUDIT_OPEN_BURST     200u
#define AUDIT_LOOK_RATE      1u /* listings and the like */
#define AUDIT_LOOK_BURST     20u
#define AUDIT_CAP_FACTOR     4u
#define AUDIT_SHARE_PARTS    8u

/* What names in the recents what became of a request: operations have numbers below 64, results below 4. */
static inline uint64_t audit_recent(uint64_t unique, enum audit_operation operation, enum audit_result result)
{
	return unique ? unique << 8 | (uint64_t)result << 6 | (uint64_t)operation : 0;
}

struct audit {
	struct audit_config config;
	struct audit_names names;
	struct audit_clock clock;
	struct audit_head *head;
	pthread_mutex_t lock;
	pthread_cond_t synced; /* with lock: syncing has ended */
	bool syncing;          /* a thread is in fdatasync without the lock; fd may not be closed */
	bool dirty;            /* bytes that are no record lie behind the head */
	/* the open segment was removed or cut: nothing is written before a new one is begun */
	bool lost;
	bool untold; /* and no record says so yet */
	bool tampered, append_only;
	int failing;
	/* records that this process wrote: but those of reading the log, and those */
	_Atomic uint64_t written, looks;
	int fd;              /* the open segment */
	int next_fd;         /* the next one, made but not begun (the disk was full), or -1 */
	bool shares_changed; /* since they were saved */
	uint64_t shares_generation;
	int64_t shares_save_after; /* of the thread that ticks */
	int64_t rotate_after;      /* CLOCK_MONOTONIC ns: a rotation that failed is not tried again before */
	struct audit_space space;
	struct audit_limits {      /* what shares are, as of the last tick */
		uint64_t finished; /* bytes of finished segments */
		uint64_t cap;
		int64_t window, ns_per_byte; /* 0: no shares */
		bool tight;                  /* they count */
	} limits;
	uint64_t headfile_generation, headfile_seq;
	/* audit_retain.c's, of the thread that ticks */
	struct timespec looked_mtime; /* of the directory, when it was last gone through */
	/* CLOCK_MONOTONIC ns: go through it, ask what is to go, though nothing seems to have changed */
	int64_t look_after, retain_after;
	uint32_t front;       /* the lowest segment then; 0: not looked yet */
	uint32_t retained_at; /* the open segment when it was last asked what is to go */
	uint64_t failed_seq;  /* records before it, and not durable, failed to become so */
	/* audit_read.c's; before lock, where both are taken */
	pthread_mutex_t reading_lock;
	/* sizes[i] is of segment sizes_base + i, which is finished; UINT64_MAX: not known */
	uint32_t sizes_base, sizes_len;
	uint64_t *sizes;
	int reading_fd;
	uint32_t reading;
	char line[AUDIT_LINE_MAX + 1];
};

static inline struct audit_position *audit_at(struct audit_head *h)
{
	return &h->positions[atomic_load_explicit(&h->current, memory_order_acquire) & 1];
}
static inline struct audit_position *audit_spare(struct audit_head *h)
{
	return &h->positions[(atomic_load_explicit(&h->current, memory_order_acquire) & 1) ^ 1];
}

static inline uint64_t audit_recent_unique(uint64_t recent) { return recent >> 8; }
/* Of that position's segment. */
static inline uint64_t *audit_allocated(struct audit_head *h, const struct audit_position *p)
{
	return &h->allocated[p - h->positions];
}

/* closes and releases, writes nothing; accepts NULL and what audit_open half built */
void audit_free(struct audit *a);

/* Is a bucket, which empties at one of interval each, not full (span)? *due is the moment at which it will be empty
 * (GCRA, ITU-T I.371): one word, so that it is never half written. What does not fit is not added. */
static inline bool audit_bucket_fits(int64_t due, int64_t now, int64_t interval, int64_t span)
{
	return (due > now ? due - now : 0) + interval <= span;
}

#endif
