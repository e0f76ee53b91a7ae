/* Between the files of the keeper; nobody else includes this.
 *
 * One thread, one poll. There are two seats for workers: one worker is active, and reads /dev/fuse; the other is the
 * standby, which has opened everything and waits. The keeper's word alone makes a worker active (CONTROL_ACTIVATE), and
 * is given only when no other can act any more. */
#ifndef COFFER_FS_KEEPER_INTERNAL_H
#define COFFER_FS_KEEPER_INTERNAL_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/process/control.h"
#include "fs/keeper/keeper.h"
#include "fs/keeper/store.h"
#include "fs/keeper/mount.h"
#include "fs/keeper/notify.h"
#include "fs/process/role.h"
#include "fs/shared/shared.h"

enum helper { HELPER_KEYHOLDER, HELPER_RESOLVER, HELPER_BELL, HELPER_RUNNER, HELPERS };
#define SEATS 2

/* A channel between one seat and one helper: both ends stay the keeper's, so that either side can be started again on
 * it. Each seat has its own, so that no worker takes another's answers. */
struct channel {
	int worker_end, helper_end;
};

/* Patience with what dies again and again. */
struct patience {
	unsigned failures;     /* in a row */
	int64_t not_before_ms; /* not to be started again before this */
};

struct child {
	pid_t pid; /* 0: not running */
	int64_t started_ms;
	struct patience patience;
	unsigned stopped; /* how many looks in a row found it stopped */
};

enum seat_state { SEAT_EMPTY = 0, SEAT_PREPARING, SEAT_PREPARED, SEAT_ACTIVATING, SEAT_SERVING };

struct seat {
	pid_t pid;
	enum seat_state state;
	int control;       /* our end; -1: none */
	pid_t holder;      /* who keeps its memory, 0: nobody */
	int64_t since_ms;  /* when it was started, or had its word */
	int64_t killed_ms; /* when we sent it SIGKILL, or first saw that it is dying; 0: not */
	unsigned stopped;
	bool told; /* that it does not end */
};

#define HELD 8
/* Who keeps a dead worker's memory, and until when. pid 0: free. */
struct held {
	pid_t pid;
	int64_t until_ms;
};

struct keeper {
	struct options options;
	struct keeper_store store;
	struct shared *shared;
	struct mount *mount;
	int shared_fd, self_fd, proc_fd, signal_fd, clone_fd;
	bool attached;
	/* the kernel can send unanswered requests again; what the shared memory says of it is for workers */
	bool resend;
	char exe[PATH_MAX]; /* the binary on disk */
	int next_fd;        /* the binary of an upgrade under way, -1: none */
	int before_fd;      /* the one before it, until a worker of the new one serves; -1: none */
	enum upgrade {
		UPGRADE_NONE = 0,
		UPGRADE_WORKER /* its first worker gets ready */,
		UPGRADE_SELF /* that one takes over; then this process follows */
	} upgrade;
	int64_t upgrade_deadline_ms;
	int asked_fd; /* where another keeper can ask for the mount; -1: nowhere */
	/* the one that asked and gets ready, -1: none; until when it may take for that */
	int taker_fd;
	int64_t taker_deadline_ms;
	int giver_fd; /* the one that we asked, until it is gone; its worker */
	int giver_worker;
	bool reload, handed_over;
	int stop;     /* the signal that asks us to end, 0: none */
	bool aborted; /* the connection is gone, though nobody unmounted: a new mount is due */
	int64_t next_remount_ms;
	struct channel channels[HELPERS][SEATS];
	struct child helpers[HELPERS];
	struct seat seats[SEATS];
	struct held held[HELD];
	int active;                 /* the seat that serves, or is told to; -1: none */
	struct patience patience;   /* with workers that never become ready */
	int64_t served_ms;          /* when the active one began to serve */
	bool outlived;              /* the mount is gone: what is open is served until it is closed */
	pid_t lingering;            /* one that was killed, cannot act any more and cannot be reaped yet */
	const char *lingering_role; /* NULL: of the binary before this one */
	uint32_t segment;           /* of the log, the newest that a worker was given */
	uint32_t closed;            /* nobody writes to this one or those before it any more */
	int64_t next_segment_ms;    /* when a segment may be begun though the last is not full */
	int64_t next_look_ms;       /* of the watchdog */
	pid_t probe;                /* the test read under way, 0: none; then its wait status */
	int probe_status;
	struct notify notify; /* the service manager, if one started us */
	int kept[4];          /* what it had kept, by keeper_kept.c's order; -1: not */
	char fatal[CONTROL_TEXT_MAX];
	int fatal_status;
};

/* after SIGKILL: what is still there then, and waits in the kernel, may wait for long */
#define UNREAPABLE_MS    20
#define START_TIMEOUT_MS 120000 /* a store of a million secrets is verified in this time, and more */

/* ---- trouble.c ---- */

/* What status shows and the log says: something is not as it should be, though the vault is served. */
void keeper_trouble(struct keeper *k, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- memory.c: the memory that outlives a worker ---- */

int memory_make(struct keeper *k);
/* As new, for a new mount: what refers to requests, nodes and open files of the old one must not meet those of the new.
 */
int memory_reset(struct keeper *k);
int memory_lock(struct keeper *k);
/* Writes into the shared memory who the keeper is, its paths and options; before each worker starts and has its word,
 * for the one before it could have written there, too. */
void memory_sign(struct keeper *k);

#endif
