/* .coffer/ctl as a file: gathers one request from the writes of one process, has it carried out at the first read, and
 * hands out the answer in pieces. */
#ifndef COFFER_FS_SERVE_CTL_FILE_H
#define COFFER_FS_SERVE_CTL_FILE_H

#include "fs/serve/access.h"

struct read_result;

/* Reserves the buffer of a handle that call has just opened: 0; -EBUSY: somebody has this request open; -ENFILE: this
 * neighbour has its share of them (fs/common/shares.h), which others with less may take from it: -ESTALE is then what
 * its next call says. */
int ctl_file_open(struct vault *v, const struct call *call, uint64_t fh);
/* -EAGAIN: only a thread that may wait for all can take it, for it has bytes of a value; nothing was done. */
/* offset CTL_APPEND: behind what was written, as for a file that was opened to append. */
#define CTL_APPEND UINT64_MAX
int ctl_file_write(struct vault *v, const struct call *call, uint64_t fh, uint64_t offset, const uint8_t *data,
		   size_t len);
int ctl_file_read(struct vault *v, const struct call *call, uint64_t fh, uint64_t offset, size_t size,
		  struct read_result *ret_result);
void ctl_file_release(struct vault *v, uint64_t fh);

#endif
