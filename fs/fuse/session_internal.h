/* Between request.c, successor.c and session.c; nobody else includes this. */
#ifndef COFFER_FS_FUSE_SESSION_INTERNAL_H
#define COFFER_FS_FUSE_SESSION_INTERNAL_H

#include <pthread.h>

#include "fs/fuse/lanes.h"
#include "fs/fuse/session.h"

struct delayed;
struct fuse_attr_out;
struct fuse_out_header;
struct fuse_session;

#define RESEND_BIT ((uint64_t)1 << 63) /* FUSE_UNIQUE_RESEND */
#define LATER      64u                 /* requests that are kept while others wait for the bell's */

struct pool_thread {
	struct session *session;
	enum lane lane;
	struct slot *own;
	pthread_t thread;
};

struct session {
	struct session_config config;
	struct fuse_session *fuse;
	bool init_seen;
	pthread_mutex_t lock;
	pthread_cond_t work[LANES], slot_free, quiet;
	size_t n_busy;        /* pool threads within a handler … */
	size_t n_given_up;    /* … of which so many were waited for in vain */
	size_t n_waits;       /* … and of which so many wait for the bell, whose requests are to be read */
	uint8_t later[LATER]; /* slots of what was read besides; the hot thread's */
	size_t n_later;
	/* uniques of what was left by the worker before us, as far as they are remembered */
	uint64_t replayed[SLOTS];
	size_t n_replayed;
	bool alone;      /* the hot thread wants no other to be */
	int alone_entry; /* but one, on this; -1: taken, or none */
	uint8_t free_slots[SLOTS];
	size_t n_free;
	struct lanes *lanes;
	bool ending;
	struct pool_thread threads[LANE_THREADS];
	size_t n_threads;
	struct delayed *delayed;
};

/* ---- request.c ---- */

/* 0 or negative errno. */
int session_send(const struct session *s, const void *answer, size_t len);
int request_answer(const struct session *s, uint64_t unique, int error, const void *body, size_t len);
/* as writev(2): libfuse answered it as a GETATTR */
ssize_t request_answer_statx(const struct fuse_out_header *out, const struct fuse_attr_out *attr);
/* whose it is */
uint64_t request_neighbour(const struct session *s, const struct fuse_in_header *in, size_t len);
/* Sends a refusal, or has it wait: only where the kernel can send the request again, should this worker die meanwhile,
 * and where others do not wait for a lock until then. What was recorded is known as unanswered. With the lock. True: it
 * waits. */
bool request_refuse_later(struct session *s, const struct fuse_in_header *in, size_t len, int error, uint32_t delay_ms,
			  bool recorded);
/* Runs the handler. True: answered (or none is due); false: it wants a thread that may wait for more. */
bool session_process(struct session *s, struct slot *slot, enum patience patience, bool resent);
/* After the answer. */
void session_finish(struct slot *slot);
/* Into a slot that is free. */
void session_copy(struct slot *slot, const uint8_t *data, uint32_t len);
/* It is answered with an error: what it would have written is nowhere. */
void session_lose(const struct session *s, const struct slot *slot);
/* With the lock. */
void session_free_slot(struct session *s, uint32_t number);
void session_wake_all(struct session *s);
/* The length, or negative errno. */
long session_read(const struct session *s, struct slot *slot);

/* ---- successor.c ---- */

/* Around a pool thread's wait for the bell, within a request: it is under no suspicion meanwhile. */
void successor_wait_begins(void);
void successor_wait_ends(void);
bool successor_is_suspect(struct session *s, const struct fuse_in_header *in);
/* True: the slot went with it. */
bool successor_run_alone(struct session *s, uint8_t i);
/* What the worker before us has left, in slots, and waiting for a thread. */
void successor_run_left(struct session *s);
/* The worker is asked to end: whoever waits for the bell would wait in vain. What else comes is the next worker's. */
void successor_help_those_who_wait(struct session *s);

#endif
