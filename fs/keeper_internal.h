/* Between the files of the keeper; nobody else includes this.
 *
 * One thread, one poll. There are two seats for workers: one worker is active, and reads /dev/fuse; the other is the standby, which has opened everything and waits. The keeper's word alone makes
 * a worker active (CONTROL_ACTIVATE), and is given only when no other can act any more. */
#ifndef COFFER_FS_KEEPER_INTERNAL_H
#define COFFER_FS_KEEPER_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/control.h"
#include "fs/keeper.h"
#include "fs/keeper_store.h"
#include "fs/mount.h"
#include "fs/role.h"
#include "fs/shared.h"

enum helper { HELPER_KEYHOLDER, HELPER_RESOLVER, HELPER_BELL, HELPER_RUNNER, HELPERS };
#define SEATS 2

/* A channel between one seat and one helper: both ends stay the keeper's, so that either side can be started again on it. Each seat has its own, so that no worker takes another's answers. */
struct channel { int worker_end, helper_end; };

/* Patience with what dies again and again. */
struct patience {
	unsigned failures;		/* in a row */
	int64_t not_before_ms;		/* not to be started again before this */
};

struct child {
	pid_t pid;			/* 0: not running */
	int64_t started_ms;
	struct patience patience;
	unsigned stopped;		/* how many looks in a row found it stopped */
};

enum seat_state { SEAT_EMPTY = 0, SEAT_PREPARING, SEAT_PREPARED, SEAT_ACTIVATING, SEAT_SERVING };

struct seat {
	pid_t pid;
	enum seat_state state;
	int control;			/* our end; -1: none */
	int64_t started_ms;
	int64_t killed_ms;		/* when we sent it SIGKILL, or first saw that it is dying; 0: not */
	unsigned stopped;
};

struct keeper {
	struct options options;
	struct keeper_store store;
	struct shared *shared;
	struct mount *mount;
	int shared_fd, self_fd, proc_fd, signal_fd, clone_fd;
	bool attached;
	struct channel channels[HELPERS][SEATS];
	struct child helpers[HELPERS];
	struct seat seats[SEATS];
	int active;			/* the seat that serves, or is told to; -1: none */
	struct patience patience;	/* with workers that never become ready */
	pid_t lingering;		/* a worker that was killed, cannot act any more and cannot be reaped yet */
	int64_t next_segment_ms;	/* when a segment may be begun though the last is not full */
	int64_t next_look_ms;		/* of the watchdog */
	pid_t probe;			/* the test read under way, 0: none; then its wait status */
	int probe_status;
	char fatal[CONTROL_TEXT_MAX];
	int fatal_status;
};

/* ---- keeper.c ---- */

int64_t keeper_now_ms(void);
/* What status shows and the log says: something is not as it should be, though the vault is served. */
void keeper_trouble(struct keeper *k, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- keeper_children.c: starting and reaping ---- */

int children_make_channels(struct keeper *k);
/* Starts what should run and does not. Returns how long until something is due (ms), -1: nothing is. */
int children_start_due(struct keeper *k);
int children_start_helper(struct keeper *k, enum helper which);
int children_start_worker(struct keeper *k);		/* in the seat that is free */
void children_reap(struct keeper *k);
void children_stop_helper(struct keeper *k, enum helper which);
/* Asks the worker to end, then makes it. */
void children_stop_worker(struct keeper *k, int seat, int64_t patience_ms);
void children_publish(struct keeper *k);		/* the pids, for status */

/* ---- keeper_control.c: what workers ask ---- */

void control_read(struct keeper *k, int seat);

/* ---- keeper_takeover.c: who is active ---- */

/* A standby stands ready, or the first worker. Makes it active if nobody is. */
void takeover_prepared(struct keeper *k, int seat);
/* The active worker can do nothing any more: its requests go to the next one. */
void takeover_after_death(struct keeper *k, int seat);

#endif
