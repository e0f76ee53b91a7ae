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

/* One worker: its parts, by subject. */
struct vault {
	/* what outlives this worker, and what it was started with */
	struct shared *shared;
	const struct options *options;
	int bell_fd, control_fd, fuse_fd, proc_fd;
	bool stackable; /* overlayfs can stand on the mount: what its opens can be told by is refused */

	/* what it serves from */
	struct store *store;
	struct audit *audit;
	struct keys *keys;
	uint32_t seals;     /* shared->keeper.seals when the vault key was taken */
	bool keys_silent;   /* the key holder did not answer: what needs it is ETIMEDOUT, and it is asked again */
	bool unlock_failed; /* rows were not authentic: nothing is served until an administrator has looked */
	bool active;        /* it may write: the log, the store, the shared memory. A standby may not */

	/* who asks */
	struct accounts *accounts;
	struct callers *callers;
	/* neighbours + 1 that an open of a value was allowed to lately, by hash */
	_Atomic uint64_t known[KNOWN_MAX];

	/* what is open, and what its bytes come from */
	struct handles *handles;
	struct plain_pool *plain;
	struct answers *answers;
	struct backups *backups;
	/* by handle index: who opened it for writing, for the record of its commit; NULL after another worker took over
	 */
	struct identity **openers;

	/* what is being written */
	struct temps *temps;
	pthread_mutex_t temps_lock;
	_Atomic uint64_t renames[LINKS_RENAMES]; /* of fs/serve/links.h */
	struct {
		pthread_mutex_t lock;  /* of handles' staged chunks, and: */
		struct shares *shares; /* of these; NULL: not counted yet */
	} staged;
	struct {
		pthread_mutex_t lock;
		_Atomic uint32_t secrets[64]; /* by hash: files that are to be emptied since their RELEASE */
	} emptying;

	/* requests */
	struct ctl_env ctl;
	struct {
		pthread_mutex_t lock;  /* of shared->ctl, and: */
		struct shares *shares; /* of its buffers but the reserve; NULL: not counted yet */
		uint32_t reserved;     /* how many are taken from the reserve, and which: */
		bool reserve[CTL_BUFFERS];
		bool busy[CTL_BUFFERS]; /* a thread is at it */
	} buffers;

	/* what the kernel has, and was told */
	struct drops *drops; /* NULL before it is active, as holds */
	struct holds *holds;
	struct {
		pthread_mutex_t lock;     /* of changes to: */
		struct told of[TOLD_MAX]; /* by hash of the secret */
	} told;
	struct grown grown[GROWN]; /* log and events */
	struct space space; /* looked at now and then: the thread that answers must not wait for the store's disk */

	/* watchers */
	struct appear *appear;
	struct {
		_Atomic uint64_t events; /* how far in the stream of events they were told */
		struct {
			uint64_t others, looks;
			int64_t at, quiet;
		} log; /* vault_ring_log's */
	} rung;

	/* what is done by itself */
	_Atomic int lifecycle_wake; /* eventfd of the thread that does what is due, plus one; 0: it does not run */
	struct {
		int64_t next_look, next_ring;
	} removal; /* removal_tick's */
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
