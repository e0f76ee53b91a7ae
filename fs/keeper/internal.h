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

/* ---- keeper_trouble.c ---- */

/* What status shows and the log says: something is not as it should be, though the vault is served. */
void keeper_trouble(struct keeper *k, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- keeper_memory.c: the memory that outlives a worker ---- */

int memory_make(struct keeper *k);
/* As new, for a new mount: what refers to requests, nodes and open files of the old one must not meet those of the new.
 */
int memory_reset(struct keeper *k);
int memory_lock(struct keeper *k);
/* Writes into the shared memory who the keeper is, its paths and options; before each worker starts and has its word,
 * for the one before it could have written there, too. */
void memory_sign(struct keeper *k);

/* ---- keeper_children.c: starting and stopping ---- */

int children_make_channels(struct keeper *k);
/* Starts what should run and does not. Returns how long until something is due (ms), -1: nothing is. */
int children_start_due(struct keeper *k);
int children_start_helper(struct keeper *k, enum helper which);
int children_start_worker(struct keeper *k); /* in the seat that is free */
void children_stop_helper(struct keeper *k, enum helper which);
/* Asks the worker to end, then makes it. */
void children_stop_worker(struct keeper *k, int seat, int64_t patience_ms);
void children_await_rest(void); /* at the end: until they, too, have ended */

/* ---- keeper_seats.c ---- */

int seats_free(const struct keeper *k);  /* -1: none */
void children_publish(struct keeper *k); /* the pids, for status */
/* Who keeps the memory of the worker in the seat. It says so before it looks at anybody's data; still it can name
 * nobody but a child of ours that is nothing else. */
void children_note_holder(struct keeper *k, int seat, pid_t pid);
/* The worker that it was of has gone: its time begins. */
void children_release(struct keeper *k, pid_t holder);
/* whose time has come; returns how long until the next (ms), -1: there is none */
int children_end_holders(struct keeper *k, bool all);
void seats_holder_ended(struct keeper *k, pid_t pid);
const char *children_role(enum helper which);
/* Deaths in a row are answered with growing patience: 0, 50, 100, 200 … 5,000 ms. */
void patience_lose(struct patience *p);
void patience_win(struct patience *p);

/* ---- keeper_ends.c ---- */

void children_reap(struct keeper *k);
/* What is left of the seat's process is not waited for; if it was active, the next one is. */
void dying_leave_behind(struct keeper *k, int seat);

/* ---- keeper_control.c: what changes whose turn it is ---- */

void control_read(struct keeper *k, int seat);

/* ---- keeper_words.c: what does not ---- */

/* Hears one message of the seat's worker, and deals with it. True: *ret is for whoever decides whose turn it is. */
bool words_hear(struct keeper *k, int seat, struct control_message *ret);
/* Of one that has ended: why it could not serve. What else it had said is not heard: it stands ready for nothing any
 * more. */
void control_last_words(struct keeper *k, int seat);

/* ---- keeper_segments.c ---- */

void segments_answer(struct keeper *k, int seat, const struct control_message *m);
void segments_answer_retain(struct keeper *k, int seat, const struct control_message *m);
/* A worker serves, and so has found where the log goes on. What is before that is not for one that is somebody else's
 * by now to cut, where the file system has no append-only attribute. */
void control_close_segments(struct keeper *k);

/* ---- keeper_takeover.c: who is active ---- */

/* A standby stands ready, or the first worker. Makes it active if nobody is. */
void takeover_prepared(struct keeper *k, int seat);
/* SIGCHLD, which is about to say so, comes when the last of its threads has ended. */
bool takeover_is_dead(const struct seat *s);
/* The active worker can do nothing any more: its requests go to the next one. */
void takeover_after_death(struct keeper *k);
/* The active worker finishes what it is at and ends; the one in the seat, which stands ready, is active then. */
void takeover_retire(struct keeper *k, int next, int64_t patience_ms);
/* Another keeper's worker has ended, and ours stands ready. */
void takeover_from_other(struct keeper *k);

/* ---- keeper_state.c ---- */

#define STATE_MAGIC 0x63666b31u
#define STATE_FDS   (14 + 2 * HELPERS * SEATS)

struct keeper_state {
	uint32_t magic, size, shared_size;
	uint32_t list; /* of system calls, that the process is under (sandbox_keeper_list) */
	struct options options;
	struct vaultconf conf;
	struct keeper_users users;
	struct mount_state mount;
	char exe[PATH_MAX];
	/* worker: a pidfd, in a hand-over */
	int shared, fuse, proc, clone, dir, lock, audit_dir, audit_head, kek, unseal, asked, worker;
	struct channel channels[HELPERS][SEATS];
	struct child helpers[HELPERS];
	struct seat seats[SEATS];
	int active;
	pid_t lingering;
	uint32_t segment, closed;
	bool resend;
};
size_t state_descriptors(struct keeper_state *s, int *ret[STATE_FDS]);
void state_save(const struct keeper *k, struct keeper_state *ret);
void state_strip(struct keeper_state *s);      /* takes out what is of this process alone */
int state_check(const struct keeper_state *s); /* 0; -EPROTO: of another version */
int state_restore(struct keeper *k, const struct keeper_state *s);
int state_to_memfd(const struct keeper_state *s, int *ret_fd);
int state_from_memfd(int fd, struct keeper_state *ret);

/* ---- keeper_upgrade.c ---- */

void upgrade_begin(struct keeper *k);              /* SIGHUP */
void upgrade_prepared(struct keeper *k, int seat); /* its worker stands ready */
void upgrade_served(struct keeper *k);             /* and serves. Does not return where all goes well */
void upgrade_worker_died(struct keeper *k, int status);
/* a worker ended before it served, after the old one was retired */
void upgrade_not_served(struct keeper *k);
void upgrade_abandon(struct keeper *k, const char *why); /* if one is under way: what ran before goes on */
int upgrade_watch(struct keeper *k);                     /* as watch; -1: nothing is due */

/* ---- keeper_wire.c ---- */

/* Asks the keeper that holds this store's lock to give it up, if all that it serves is what is left of a mount that is
 * gone. True: it ends. */
bool handover_yield(int store_dir);

/* ---- keeper_handover.c ---- */

int handover_listen(struct keeper *k);
void handover_forget(struct keeper *k);
void handover_accept(struct keeper *k);
/* true: it has taken over, and this process has nothing left to do */
bool handover_read(struct keeper *k);
int handover_watch(struct keeper *k); /* as watch; -1: nothing is due */
int handover_ask(struct keeper *k, char *why, size_t why_len);
/* our worker stands ready; 0: the other keeper's has ended; -EBUSY: it keeps the mount */
int handover_finish(struct keeper *k, char *why, size_t why_len);
void handover_refuse(struct keeper *k, const char *why); /* whoever gets ready to take over must not */

/* ---- keeper_kept.c: what the service manager keeps for the next keeper ---- */

void kept_give(const struct keeper *k); /* the mount is there, or is another one now */
void kept_forget(const struct keeper *k);
bool kept_take(struct keeper *k); /* at the start: is there anything? */
/* 0; -EPROTO: of another version; -EXDEV: another vault's; -EBADF, -ENOTCONN: not whole, or no mount any more */
int kept_adopt(struct keeper *k);

/* ---- keeper_watch.c ---- */

/* Looks at all that runs, where it is time to. Returns how long until the next look (ms). */
int watch(struct keeper *k);

/* ---- keeper_proc.c: when one that was killed and cannot be reaped can do nothing any more ---- */

/* Of one that was sent SIGKILL: nothing of it will run in user space again, for every thread has ended, or waits in the
 * kernel. */
bool dying_cannot_act(pid_t pid);
bool dying_is_killed(pid_t pid); /* by somebody, and its first thread waits in the kernel */
char dying_letter(pid_t pid);    /* its state as in proc_pid_stat(5); '\0': it is gone */

/* ---- keeper_index.c ---- */

/* What one that acted, and is left behind, has locked of the database is free again for the next one. */
void index_free(struct keeper *k);

/* ---- keeper_leftovers.c ---- */

void leftovers_note(struct keeper *k); /* writes down what runs */
void leftovers_forget(struct keeper *k);
void leftovers_end(struct keeper *k); /* of the keeper before us, which is dead: we have its lock */

#endif
