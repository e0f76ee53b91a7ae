/* The memory that outlives every worker: one memfd, made by the keeper, mapped by each worker. Zero means "not yet".
 *
 * What lies here is written by the active worker alone, but for `keeper`, which the keeper writes. It is locked where
 * it holds plaintext or keys (slots, audit head, stage key). */
#ifndef COFFER_FS_SHARED_SHARED_H
#define COFFER_FS_SHARED_SHARED_H

#include <limits.h>
#include <linux/fuse.h>
#include <stdatomic.h>
#include <stdint.h>

#include "fs/shared/ctl_buffer.h"
#include "fs/shared/handle.h"
#include "fs/shared/watched.h"
#include "fs/process/options.h"
#include "fs/shared/suspects.h"
#include "fs/shared/temps.h"
#include "fs/shared/unanswered.h"
#include "store/audit/head.h"
#include "store/keys/vaultconf.h"

#define SHARED_MAGIC 0x63666531u

#define FUSE_MAX_WRITE (128u * 1024)
_Static_assert(MAX_READ_MOST <= FUSE_MAX_WRITE, "an answer fits in a slot");
/* Room for one request: header, the largest body, and the kernel's insistence on FUSE_MIN_READ_BUFFER. */
#define SLOT_SIZE (FUSE_MAX_WRITE + 8192u)
#define SLOTS     128u

/* A request between the kernel and its answer: a worker reads straight into it, and zeroes len after the answer. */
struct slot {
	_Atomic uint32_t len;
	uint32_t pad[3];
	uint8_t data[SLOT_SIZE - 16];
};
_Static_assert(SLOTS <= UNANSWERED_THREADS, "each slot's request can be worked on");

/* Requests that wait for a thread and hold no bytes of a value (all but WRITE): they give their slot back
 * (fs/fuse/lanes.h). Pages are touched only when used. */
#define PARKED                5632u
#define PARKED_COMMON         4096u
#define PARKED_KNOWN          512u  /* for those of whom the policy has let in lately */
#define PARKED_LOCKED         1024u /* for those under which the kernel holds a lock */
#define PARKED_MOST           2048u /* of one neighbour, and of the common ones */
#define PARKED_RESERVE        256u  /* for root */
#define PARKED_LOCKED_RESERVE 64u   /* of each of the other two */
_Static_assert(PARKED == PARKED_COMMON + PARKED_KNOWN + PARKED_LOCKED, "each has a place");
#define PARKED_SIZE 640u /* a RENAME with two names fits */
struct parked {
	_Atomic uint32_t len;
	uint32_t resent, pad[2];
	uint8_t data[PARKED_SIZE - 16];
};

/* What watchers may not have heard of yet, for the next worker to ring for. Epochs + 1, so that 0 is none. */
#define RINGS 16u /* more than threads that commit */
struct shared_rings {
	/* watchers know of everything up to here that was not committed by this daemon's own threads, and of what these
	 * committed, but for: */
	_Atomic uint64_t told;
	/* what was rung from here on may have been lost: the keeper's word at a hand-over, or the bell's queue was full
	 */
	_Atomic uint64_t lost;
	_Atomic uint64_t under_way[RINGS]; /* the epoch before a commit whose watchers are not told yet */
};

/* Written by the keeper. */
struct shared_keeper {
	_Atomic int32_t keeper, worker, standby, keyholder, resolver, bell, runner; /* pids, 0: not running */
	_Atomic uint64_t restarts;                                                  /* of workers that died */
	_Atomic uint64_t deaths_of_request; /* requests given up after two workers died on them */
	_Atomic uint64_t upgrades;          /* binaries taken up in place, and hand-overs from another keeper */
	_Atomic uint64_t watchdog_kills;    /* processes that were stuck or stopped, and ended by the keeper */
	/* the mount is being taken away: the worker that is asked to end has no successor */
	_Atomic uint32_t ending;
	/* no worker has been active over this memory yet; cleared by the first */
	_Atomic uint32_t fresh;
	_Atomic uint32_t unsealed; /* the log's last word on it; the active worker's */
	/* how often the vault was sealed: a standby that opened it before must not stay open; the active worker's */
	_Atomic uint32_t seals;
	_Atomic int64_t trouble_at; /* ns, 0: none yet */
	char trouble[256];          /* what was last not as it should be */
	int64_t started;            /* ns */
	_Atomic uint32_t indexes;   /* how often the database's index was put aside (store/keys/index.h) */
	uint32_t in_container;
	/* every change is EROFS; the kernel's mount stays writable, for the bell */
	_Atomic uint32_t read_only;
	uint32_t resend; /* the kernel can send unanswered requests again */
	char mount[PATH_MAX], store[PATH_MAX];
	uint8_t boot[16];  /* names this boot of this machine */
	uint32_t bell_uid; /* the user of the bell: its opens are known by pid and uid */
	char vault[VAULT_NAME_MAX];
	struct options options;
};

/* FUSE_INIT as the kernel sent it and as the keeper answered, for replay to each worker. */
struct shared_init {
	uint32_t request_len, answer_len;
	uint8_t request[512];
	uint8_t answer[256];
};

struct shared {
	uint32_t magic;
	uint32_t size;
	struct shared_keeper keeper;
	struct shared_init init;
	uint8_t stage_key[KEY_LEN];                        /* random, as long as the daemon lives */
	_Atomic uint64_t opens, denials, reads, bell_lost; /* counters of metrics, kept across workers */
	_Atomic uint32_t tick_began;                       /* as unanswered_at.began, of the ticking thread */
	struct unanswered unanswered;
	struct suspects suspects;
	struct shared_rings rings;
	struct shared_holds holds;
	struct shared_appear appear;
	_Atomic int64_t names_moved; /* ns: when a name came or went last; 0: not since the start */
	struct audit_head audit_head;
	struct handle_table handles;
	struct temp_table temps __attribute__((aligned(4096)));
	struct slot slots[SLOTS] __attribute__((aligned(4096)));
	struct ctl_buffer ctl[CTL_BUFFERS] __attribute__((aligned(4096)));
	struct parked parked[PARKED] __attribute__((aligned(4096)));
};

/* The request takes long, and gets on: the watchdog looks at it as if it had just begun. For the thread that is at it;
 * accepts NULL and 0. */
void shared_still_at(struct shared *s, uint64_t unique);
/* What comes next may take that long without a sign of life, on top of what any request may: the disk, for one, gives
 * none. */
void shared_takes(struct shared *s, uint64_t unique, uint32_t ms);
#define SHARED_TAKES_MAX (3600u * 1000)

#endif
