/* How many links of `current` callers are told: one; and two while a file is being renamed over it.
 *
 * When a RENAME is answered, the kernel takes one from the links that it knows of `current`, for it thinks that this
 * file goes. Where none is left it tells those who watch the file so (DELETE_SELF), as soon as the last process has
 * closed it, and their watch is dead. So the kernel is to know of two by then: whoever asks meanwhile is told so, and
 * the bell asks before the answer. It is over when the kernel has let go of the directory's lock, which it holds
 * throughout. */
#ifndef COFFER_FS_SERVE_LINKS_H
#define COFFER_FS_SERVE_LINKS_H

#include <linux/fuse.h>
#include <stdint.h>

struct fuse_in_header;

struct vault;

#define LINKS_RENAMES 32 /* secrets over whose current a file may be renamed at a time */

/* A RENAME over this secret's current may be answered: waits until the kernel knows of two links, or for a while.
 * unique: the request's. */
void links_begin(struct vault *v, uint32_t secret, uint64_t unique);
/* After the answer; parent: the secret's directory. */
void links_answered(struct vault *v, uint64_t parent, uint64_t unique);
/* Before a request is worked on: the kernel sends some with the lock of their directory only. Never blocks. */
void links_seen(struct vault *v, const struct fuse_in_header *in);
/* Never blocks. */
uint32_t links_of(const struct vault *v, uint32_t secret);

#endif
