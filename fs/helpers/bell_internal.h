/* What the files of the bell share. */
#ifndef COFFER_FS_HELPERS_BELL_INTERNAL_H
#define COFFER_FS_HELPERS_BELL_INTERNAL_H

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/helpers/bell.h"

/* that something is to be done for, or that are held; beyond that messages stay in the sockets */
#define PATHS        (BELL_HOLDS + 4096u)
#define BUCKETS      4096u
#define CLIENTS_MAX  16
#define THREADS      64 /* so many paths can hang before others do … */
#define THREADS_BUSY 2  /* … and so few are enough while nothing hangs */
#define LEASES       32 /* threads that wait for a lease to go */
#define STACK_SIZE   (256u * 1024)
#define STALLED_MS   20 /* nothing was done for so long: one more thread */
#define RETRY_MS     250
#define LOOKS        20   /* so often is a file looked at, until the kernel knows of two links */
#define SLOW_MS      1000 /* what waits longer is told of */
#define QUIET_MS     2000 /* at the end: for what is under way */
/* threads that wait for a directory, which anybody who lists it can hold; what is to be marked meanwhile is not */
#define MARKS        16u
#define MAKES        2048u /* names that wait to be made; further ones appear without an event */

/* What is to be done for one path, and what is held of it. Of one path one thread does one thing at a time. */
struct path {
	struct path *next_in_bucket, *next; /* next: in the queue */
	bool queued, busy;
	bool touch, attrib, mark, touch_dir, remove, make, hold, let_go, look;
	bool heard;                 /* of this touch a MODIFY was raised already */
	int fd;                     /* held; -1: not */
	uint64_t ino;               /* of what is held, or is to be */
	int64_t since_ms, again_ms; /* when it was asked for; not to be tried before this */
	char name[BELL_PATH_MAX];
};

struct bell {
	int root_fd;
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct path *buckets[BUCKETS];
	struct path *first, **last; /* the queue */
	size_t n_paths, n_held;
	size_t n_threads, n_idle, n_busy, n_leases, n_makes, n_marking;
	bool making;       /* a thread is at a new name */
	int64_t done_ms;   /* when the last act was */
	int64_t paused_ms; /* nothing is held before this */
	int client;        /* who gets the answers; -1: nobody yet */
	struct bell_answer said;
	sigset_t signals; /* blocked while the main thread waits */
	bool ending;
	size_t n_clients;
	struct pollfd clients[CLIENTS_MAX]; /* fd -1: it has closed */
};

/* ---- bell_paths.c; under the lock ---- */

/* Made where there is none. NULL: memory is short. */
struct path *bell_path_find(struct bell *b, const char *name);
bool bell_path_has_work(const struct path *p);
void bell_path_enqueue(struct bell *b, struct path *p);
/* Whoever lists the vault's directory can hold its lock: one thread hangs then, and not all. now in ms. */
bool bell_path_can_begin(const struct bell *b, const struct path *p, int64_t now);
/* The next that is due. NULL: none is. */
struct path *bell_path_take(struct bell *b);
/* Nothing is to be done for it, and nothing held. */
void bell_path_forget(struct bell *b, struct path *p);

#endif
