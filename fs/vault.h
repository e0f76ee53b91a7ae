/* What one worker serves from: its parts, and the small steps that all operations share. */
#ifndef COFFER_FS_VAULT_H
#define COFFER_FS_VAULT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/answers.h"
#include "fs/backups.h"
#include "fs/bell.h"
#include "fs/caller.h"
#include "fs/ctl.h"
#include "fs/drops.h"
#include "fs/handle.h"
#include "fs/inode.h"
#include "fs/links.h"
#include "fs/patience.h"
#include "fs/plain.h"
#include "fs/shared.h"
#include "fs/shares.h"
#include "fs/space.h"
#include "policy/policy.h"

#define KNOWN_MAX 1024u
#define TOLD_MAX  1024u

/* How long a file was that only grows, when somebody last looked, and since when. */
struct grown { _Atomic uint64_t size; _Atomic int64_t since; };
enum { GROWN_AUDIT, GROWN_EVENTS, GROWN };

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
	_Atomic uint64_t renames[LINKS_RENAMES];	/* of fs/links.h */
	struct plain_pool *plain;
	struct answers *answers;
	struct backups *backups;
	struct drops *drops;		/* NULL before it is active, as holds */
	struct holds *holds;
	struct appear *appear;
	struct ctl_env ctl;
	int bell_fd, control_fd, fuse_fd, proc_fd;
	_Atomic uint64_t known[KNOWN_MAX];	/* neighbours + 1 that an open of a value was allowed to lately, by hash */
	_Atomic uint32_t told[TOLD_MAX];	/* secrets, by hash, of whose current an older size was told last: fs/measure.h */
	struct grown grown[GROWN];	/* log and events */
	pthread_mutex_t ctl_lock;	/* of shared->ctl, and: */
	struct shares *ctl_shares;	/* of its buffers but the reserve; NULL: not counted yet */
	uint32_t ctl_reserved;		/* how many are taken from the reserve, and which: */
	bool ctl_reserve[CTL_BUFFERS];
	bool ctl_busy[CTL_BUFFERS];	/* a thread is at it */
	pthread_mutex_t staged_lock;	/* of handles' staged chunks, and: */
	struct shares *staged;		/* of these; NULL: not counted yet */
	_Atomic uint32_t emptying[64];	/* files that are to be emptied since their RELEASE, by secret; and who does it: */
	pthread_mutex_t emptying_lock, temps_lock;
	struct identity **openers;	/* by handle index: who opened it for writing, for the record of its commit; NULL after another worker took over */
	_Atomic int lifecycle_wake;	/* eventfd of the thread that does what is due, plus one; 0: it does not run */
	_Atomic uint64_t events_told;	/* how far in the stream of events watchers were told */
	bool active;			/* it may write: the log, the store, the shared memory. A standby may not */
	uint32_t seals;			/* shared->keeper.seals when the vault key was taken */
	bool keys_silent;		/* the key holder did not answer: what needs it is ETIMEDOUT, and it is asked again */
	struct { uint64_t others, looks; int64_t at, quiet; } log_rung;	/* vault_ring_log's */
	int64_t next_look, next_ring;	/* removal_tick's */
	struct space space;		/* looked at now and then, for the thread that answers must not wait for the store's file system */
	bool stackable;			/* overlayfs can stand on the mount: what its opens can be told by is refused */
	bool unlock_failed;		/* rows were not authentic: nothing is served until an administrator has looked */
};

/* Nanoseconds since the epoch. */
int64_t vault_now(void);
int64_t vault_monotonic(void);	/* ns that no clock's setting moves */

/* A decision with what the audit record needs of it, copied out of the tables so that no lock is held. */
struct verdict {
	int error;			/* 0: go on; positive errno otherwise */
	enum policy_decision decision;
	uint64_t binding;
	uint64_t set_binding;		/* of an open for writing: what lets in its commits */
	int64_t valid_until;
	uint64_t epoch;
	char role[ROLE_NAME_MAX];
	struct principal principal;	/* whom the binding speaks of */
	char name[NAME_LEN_MAX + 1];
	uint32_t secret, version, size;
	bool newest;			/* version is what current serves */
};

/* Copies a name into a fixed field: what snprintf does, without its price on the read path. */
void vault_copy_name(char *ret, size_t room, const char *name);

/* Asks the policy about an action on a name (NULL: the vault). who may be NULL: denied. */
void vault_decide(struct vault *v, const struct identity *who, enum action action, const char *name, struct verdict *ret_verdict);
/* The same under a table lock that the caller holds. */
void vault_decide_locked(struct vault *v, const struct identity *who, enum action action, const char *name, struct verdict *ret_verdict);

/* One who must be able to act when others have used up what there is: whoever may grant, and root of the host (a sealed vault knows no policy). */
bool vault_is_administrator(struct vault *v, const struct identity *who);

/* Whose share of things a caller uses (fs/shares.h): once it is known who that is, and before, without asking anybody. */
uint64_t vault_neighbour(const struct identity *who);
uint64_t vault_neighbour_guess(struct vault *v, uint32_t uid);

/* Was an open of a value ever allowed to the neighbour? Whoever is let in now and then does not wait behind those who never are. Forgotten when many others were, and with the worker. */
bool vault_is_known(struct vault *v, uint64_t neighbour);
void vault_note_known(struct vault *v, uint64_t neighbour);

/* Is the caller a thread of the bell: its process and its user, both from the keeper. */
bool vault_is_bell(const struct vault *v, uint32_t uid, pid_t tid);

/* Mounted read-only: nothing that a caller or a clock asks for is changed. */
static inline bool vault_read_only(const struct vault *v) { return atomic_load(&v->shared->keeper.read_only); }

/* What a thread must be able to wait for to write a record. */
enum patience vault_record_waits(const struct vault *v);
/* Writes the record of a verdict. 0, or -EIO: nothing may be served. *ret_delay_ms may be NULL. */
int vault_record(struct vault *v, enum audit_operation operation, const struct identity *who, const struct verdict *verdict, uint64_t unique, bool resent, int64_t began,
		 uint32_t *ret_delay_ms);

/* Ends the transaction and, where it succeeds, owes its watchers the word: vault_changed gives it, on the same thread; if this worker dies before that, the next one's vault_ring_missed does. As store_commit. */
int vault_commit(struct vault *v);
/* After a commit: watchers hear of it (of what came through the mount, the kernel tells them: no rings, or of a write the marker alone), new names appear in the mount, which is waited for (fs/appear.h), and plaintext that may have lost its readers goes. */
enum vault_rings { RINGS_NONE, RINGS_MARKER, RINGS_ALL };
void vault_changed(struct vault *v, enum vault_rings rings);
/* Watchers know of what others committed up to this epoch. */
void vault_told(struct vault *v, uint64_t epoch);
/* When a worker takes over: rings for what was committed and, for all that the one before has left word of, not rung. */
void vault_ring_missed(struct vault *v);
/* One that finds the bell's queue full is counted, and comes again with vault_ring_lost. */
void vault_ring(struct vault *v, enum bell_action action, const char *path);
/* Rings again for all that may not have been heard for a full queue, where there is any; waits for room. From a thread of its own: stop_fd is readable when it should end, and leave the rest to the next. */
void vault_ring_lost(struct vault *v, int stop_fd);
/* A secret's current is another, or came or went with it: for the store's callbacks, arg is the vault. */
void vault_ring_current(uint32_t secret, void *arg);

/* After a commit that may have added events: watchers of .coffer/events hear of it, and whoever delivers them. Part of vault_changed. */
void vault_events_told(struct vault *v);
bool vault_events_new(const struct vault *v);	/* Are there some that nobody was told of? */

/* Watchers of .coffer/audit hear of what was written since. For one thread, as often as they are to hear at most. A watcher that reads the log when it hears makes a record, which is not to ring for it again: records of
 * reading the log ring only when nothing was rung for a while, which grows with each such ring. */
void vault_ring_log(struct vault *v);

/* A name came or went: what stat says of the directories that have names. Never backwards, whatever the wall clock says. */
void vault_names_moved(struct vault *v);
int64_t vault_names_time(const struct vault *v);

/* There is something for the thread that does what is due: arg is the vault. */
void vault_wake_lifecycle(void *arg);

/* Gets the vault key and verifies everything; the active worker records it. 0; -ENOKEY; -EBADMSG. */
int vault_unlock(struct vault *v, char *why, size_t why_len);
int vault_seal(struct vault *v);
/* A standby follows the store, and throws its keys away where the vault was sealed since it took them. 0 or what store_catch_up says. */
int vault_stand_by(struct vault *v);
/* Once it may write: records what it found as a standby. */
void vault_take_over(struct vault *v);

#endif
