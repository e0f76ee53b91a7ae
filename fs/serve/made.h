/* Texts that are made for whoever opened whoami, status, metrics or a view of an object, when they are first read, or
 * their size is asked for. */
#ifndef COFFER_FS_SERVE_MADE_H
#define COFFER_FS_SERVE_MADE_H

#include "fs/serve/access.h"

struct read_ask;
struct read_result;

bool made_is(const struct inode *i);
/* By what an open text is looked for (handle.object). */
uint32_t made_object(const struct inode *i);
/* As access_read, of an open file of that kind. */
int made_read(struct vault *v, const struct call *call, struct handle *h, const struct read_ask *ask, bool may_block,
	      struct read_result *ret);
/* How long the text is that the file gives: fh, or if that is 0, the one that the call opened last. 0; -EAGAIN: only a
 * thread that may block; -ENOENT: it has none open; another error: there is no text. */
int made_size(struct vault *v, const struct call *call, const struct inode *i, uint64_t fh, bool may_block,
	      size_t *ret_size);

#endif
