/* Children: starting and stopping, seats, ends, watching, and what a dead one leaves. For the files of the keeper. */
#ifndef COFFER_FS_KEEPER_CHILDREN_H
#define COFFER_FS_KEEPER_CHILDREN_H

#include "fs/keeper/internal.h"

/* ---- children.c: starting and stopping ---- */

int children_make_channels(struct keeper *k);
/* Starts what should run and does not. Returns how long until something is due (ms), -1: nothing is. */
int children_start_due(struct keeper *k);
int children_start_helper(struct keeper *k, enum helper which);
int children_start_worker(struct keeper *k); /* in the seat that is free */
void children_stop_helper(struct keeper *k, enum helper which);
/* Asks the worker to end, then makes it. */
void children_stop_worker(struct keeper *k, int seat, int64_t patience_ms);
void children_await_rest(void); /* at the end: until they, too, have ended */

/* ---- seats.c ---- */

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

/* ---- ends.c ---- */

void children_reap(struct keeper *k);
/* What is left of the seat's process is not waited for; if it was active, the next one is. */
void dying_leave_behind(struct keeper *k, int seat);

/* ---- watch.c ---- */

/* Looks at all that runs, where it is time to. Returns how long until the next look (ms). */
int watch(struct keeper *k);

/* ---- proc.c: when one that was killed and cannot be reaped can do nothing any more ---- */

/* Of one that was sent SIGKILL: nothing of it will run in user space again, for every thread has ended, or waits in the
 * kernel. */
bool dying_cannot_act(pid_t pid);
bool dying_is_killed(pid_t pid); /* by somebody, and its first thread waits in the kernel */
char dying_letter(pid_t pid);    /* its state as in proc_pid_stat(5); '\0': it is gone */

/* ---- index.c ---- */

/* What one that acted, and is left behind, has locked of the database is free again for the next one. */
void index_free(struct keeper *k);

/* ---- leftovers.c ---- */

void leftovers_note(struct keeper *k); /* writes down what runs */
void leftovers_forget(struct keeper *k);
void leftovers_end(struct keeper *k); /* of the keeper before us, which is dead: we have its lock */

#endif
