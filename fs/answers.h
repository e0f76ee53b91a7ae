/* Texts that were made for one open handle (ctl's answers, whoami, status, metrics), so that a reader that takes them in pieces gets one text. Private to a worker: one that takes over makes
 * them again. */
#ifndef COFFER_FS_ANSWERS_H
#define COFFER_FS_ANSWERS_H

#include <stddef.h>
#include <stdint.h>

struct answers;

int answers_new(struct answers **ret_answers);
void answers_free(struct answers *a);

/* Keeps text (malloc'd; ownership passes, also on error). 0 or -ENOMEM. */
int answers_put(struct answers *a, uint64_t fh, char *text, size_t len);
/* Copies a piece into a new block (free it). 0 and *ret_len (0 at the end); -ENOENT: none is kept; -ENOMEM. */
int answers_read(struct answers *a, uint64_t fh, uint64_t offset, size_t want, char **ret_piece, size_t *ret_len);
void answers_drop(struct answers *a, uint64_t fh);

#endif
