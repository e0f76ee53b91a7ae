/* Writing: bytes are staged, and become a version at FSYNC, at a FLUSH by the process that opened, or at RELEASE.
 * Everything here may block: pool threads only. */
#ifndef COFFER_FS_SERVE_STAGING_H
#define COFFER_FS_SERVE_STAGING_H

#include "fs/serve/access.h"

/* All return 0 or negative errno; idempotent by the request's unique. */
int staging_write(struct vault *v, const struct call *call, uint64_t fh, uint64_t offset, const void *data, size_t len);
int staging_truncate(struct vault *v, const struct call *call, uint64_t fh, uint64_t len);
/* A WRITE of this uid was refused without a look at it: if the file is the uid's own, what else is written to it makes
 * no version. */
void staging_lost(struct vault *v, uint64_t fh, uint32_t uid);
/* Reads the handle's own stage (O_RDWR). -ENOENT: it has none yet, the version is read. ret holds len bytes of locked
 * memory. */
int staging_read(struct vault *v, const struct call *call, uint64_t fh, uint64_t offset, struct secbuf *ret);

/* Makes a version of what was written since the last commit, if anything was. call NULL: at RELEASE, when nobody asks
 * any more, and at a FLUSH, when the caller must not be looked at (it can hold its exec lock): the binding that let the
 * writer in must still stand. ring: the bell tells watchers (the caller's own close does not). */
int staging_commit(struct vault *v, const struct call *call, uint64_t fh, uint64_t unique, bool resent, bool ring);
/* FSYNC. Of who opened with O_TRUNC and never wrote it makes an empty version, unless another version came since.
 * staging_to_sync: is there anything to do? */
bool staging_to_sync(struct vault *v, const struct handle *h);
int staging_sync(struct vault *v, const struct call *call, uint64_t fh);
/* After RELEASE was answered: commits what is left (errors to the log), drops the stage and the handle. */
void staging_release(struct vault *v, uint64_t fh);
/* A worker that takes over ends what others had answered but not committed. */
void staging_recover(struct vault *v);

/* Marks a handle whose RELEASE was answered; true if there is something left for staging_release. */
bool staging_mark_released(struct vault *v, uint64_t fh);

/* The kernel waits for no RELEASE: whoever empties a file and opens it again is to find it empty. staging_emptying:
 * something may be under way for this file (ino); staging_settle ends it. */
bool staging_emptying(struct vault *v, uint64_t ino);
void staging_settle(struct vault *v, uint64_t ino);

#endif
