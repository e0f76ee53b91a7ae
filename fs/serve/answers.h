/* Texts that were made for one open handle (ctl's answers, whoami, status, metrics), so that a reader that takes them
 * in pieces gets one text. Private to a worker: one that takes over makes them again. */
#ifndef COFFER_FS_SERVE_ANSWERS_H
#define COFFER_FS_SERVE_ANSWERS_H

#include <stddef.h>
#include <stdint.h>

struct answers;

int answers_new(struct answers **ret_answers);
void answers_free(struct answers *a);

/* What all may have together, in blocks of 4 KiB: 512 MiB; of a neighbour, its share of that (fs/common/shares.h). */
#define ANSWERS_BLOCK   4096u
#define ANSWERS_MAX     131072u
#define ANSWERS_RESERVE 16384u /* for root */
#define ANSWER_SMALL    65536u /* is always kept for ctl: what was done must be said, and these are few */

/* Keeps text (malloc'd; ownership passes, also on error) for the handle of a neighbour. 0; -EAGAIN: it has its share;
 * -ENOMEM. */
int answers_put(struct answers *a, uint64_t fh, uint64_t neighbour, char *text, size_t len);
/* The same of ctl's. */
int answers_put_done(struct answers *a, uint64_t fh, uint64_t neighbour, char *text, size_t len);
/* Copies a piece into a new block (free it). 0 and *ret_len (0 at the end); -ENOENT: none is kept; -ENOMEM. */
int answers_read(struct answers *a, uint64_t fh, uint64_t offset, size_t want, char **ret_piece, size_t *ret_len);
/* 0 or -ENOENT. */
int answers_size(struct answers *a, uint64_t fh, size_t *ret_len);
void answers_drop(struct answers *a, uint64_t fh);

#endif
