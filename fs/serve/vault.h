/* What one worker serves from: its parts, and the small steps that all operations share. */
#ifndef COFFER_FS_SERVE_VAULT_H
#define COFFER_FS_SERVE_VAULT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/serve/answers.h"
#include "fs/ctl/backups.h"
#include "fs/helpers/bell.h"
#include "fs/caller/caller.h"
#include "fs/ctl/ctl.h"
#include "fs/serve/drops.h"
#include "fs/shared/handle.h"
#include "fs/shared/inode.h"
#include "fs/serve/links.h"
#include "fs/serve/patience.h"
#include "fs/serve/plain.h"
#include "fs/shared/shared.h"
#include "fs/common/shares.h"
#include "fs/serve/space.h"
#include "policy/policy.h"

struct appear;
struct holds;

#define KNOWN_MAX 1024u
#define TOLD_MAX  1024u

/* How long a file was that only grows, when somebody last looked, and since when. */
struct grown {
	_Atomic uint64_t size;
	_Atomic int64_t since;
};
enum { GROWN_AUDIT, GROWN_EVENTS, GROWN };

/* An older size of a secret's `current` was told, and when last (CLOCK_MONOTONIC, ns): fs/serve/measure.h. */
struct told {
	_Atomic uint32_t secret;
	int64_t when;
	pid_t newest_to; /* the thread that was told the newest since, last; 0: none was */
};

struct vault {
	struct shared *shared;
	const struct options *options;
	struct store *store;
	struct audit *audit;
	struct keys *keys;
	struct accounts *accounts;
	struct callers *callers;
	struct handles *handles;
	struct temps *temps;
	_Atomic uint64_t renames[LINKS_RENAMES]; /* of fs/serve/links.h */
	struct plain_pool *plain;
	struct answers *answers;
	struct backups *backups;
	struct drops *drops; /* NULL before it is active, as holds */
	struct holds *holds;
	struct appear *appear;
	struct ctl_env ctl;
	int bell_fd, control_fd, fuse_fd, proc_fd;
	/* neighbours + 1 that an open of a value was allowed to lately, by hash */
	_Atomic uint64_t known[KNOWN_MAX];
	pthread_mutex_t told_lock;  /* of changes to: */
	struct told told[TOLD_MAX]; /* by hash of the secret */
	struct grown grown[GROWN];  /* log and events */
	pthread_mutex_t ctl_lock;   /* of shared->ctl, and: */
	struct shares *ctl_shares;  /* of its buffers but the reserve; NULL: not counted yet */
	uint32_t ctl_reserved;      /* how many are taken from the reserve, and which: */
	bool ctl_reserve[CTL_BUFFERS];
	bool ctl_busy[CTL_BUFFERS];  /* a thread is at it */
	pthread_mutex_t staged_lock; /* of handles' staged chunks, and: */
	struct shares *staged;       /* of these; NULL: not counted yet */
	/* files that are to be emptied since their RELEASE, by secret; and who does it: */
	_Atomic uint32_t emptying[64];
	pthread_mutex_t emptying_lock, temps_lock;
	/* by handle index: who opened it for writing, for the record of its commit; NULL after another worker took over
	 */
	struct identity **openers;
	_Atomic int lifecycle_wake;   /* eventfd of the thread that does what is due, plus one; 0: it does not run */
	_Atomic uint64_t events_told; /* how far in the stream of events watchers were told */
	bool active;                  /* it may write: the log, the store, the shared memory. A standby may not */
	uint32_t seals;               /* shared->keeper.seals when the vault key was taken */
	/* the key holder did not answer: what needs it is ETIMEDOUT, and it is asked again */
	bool keys_silent;
	struct {
		uint64_t others, looks;
		int64_t at, quiet;
	} log_rung;                   /* vault_ring_log's */
	int64_t next_look, next_ring; /* removal_tick's */
	/* looked at now and then, for the thread that answers must not wait for the store's file system */
	struct space space;
	bool stackable; /* overlayfs can stand on the mount: what its opens can be told by is refused */
	/* rows were not authentic: nothing is served until an administrator has looked */
	bool unlock_failed;
};

/* Whose share of things a caller uses (fs/common/shares.h): once it is known who that is, and before, without asking
 * anybody. */
uint64_t vault_neighbour(const struct identity *who);
uint64_t vault_neighbour_guess(struct vault *v, uint32_t uid);

/* Was an open of a value ever allowed to the neighbour? Whoever is let in now and then does not wait behind those who
 * never are. Forgotten when many others were, and with the worker. */
bool vault_is_known(struct vault *v, uint64_t neighbour);
void vault_note_known(struct vault *v, uint64_t neighbour);

/* Is the caller a thread of the bell: its process and its user, both from the keeper. */
bool vault_is_bell(const struct vault *v, uint32_t uid, pid_t tid);

/* Mounted read-only: nothing that a caller or a clock asks for is changed. */
static inline bool vault_read_only(const struct vault *v) { return atomic_load(&v->shared->keeper.read_only); }

/* A name came or went: what stat says of the directories that have names. Never backwards, whatever the wall clock
 * says. */
void vault_names_moved(struct vault *v);
int64_t vault_names_time(const struct vault *v);

#endif
