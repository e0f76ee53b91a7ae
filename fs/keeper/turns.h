/* Whose turn it is: what workers say, and who is active. For the files of the keeper. */
#ifndef COFFER_FS_KEEPER_TURNS_H
#define COFFER_FS_KEEPER_TURNS_H

#include "fs/keeper/internal.h"

/* ---- control.c: what changes whose turn it is ---- */

void control_read(struct keeper *k, int seat);

/* ---- words.c: what does not ---- */

/* Hears one message of the seat's worker, and deals with it. True: *ret is for whoever decides whose turn it is. */
bool words_hear(struct keeper *k, int seat, struct control_message *ret);
/* Of one that has ended: why it could not serve. What else it had said is not heard: it stands ready for nothing any
 * more. */
void control_last_words(struct keeper *k, int seat);

/* ---- segments.c ---- */

void segments_answer(struct keeper *k, int seat, const struct control_message *m);
void segments_answer_retain(struct keeper *k, int seat, const struct control_message *m);
/* A worker serves, and so has found where the log goes on. What is before that is not for one that is somebody else's
 * by now to cut, where the file system has no append-only attribute. */
void control_close_segments(struct keeper *k);

/* ---- takeover.c: who is active ---- */

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

#endif
