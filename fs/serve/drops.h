/* Pages that must leave the kernel's cache: what sendfile, splice and mmap brought there, everybody who has the file
 * open could see without being asked again.
 *
 * FUSE_NOTIFY_INVAL_INODE drops an inode's pages, mapped ones too, without an open, so that no lease is in its way; it
 * raises no event. It waits in the kernel, deaf to every signal, for a page whose READ is not answered yet. So threads
 * of their own do it, which answer nothing and hold no lock meanwhile: one that waits keeps others' inodes from
 * nothing, and a worker that is killed with one is left behind (fs/keeper/proc.c). */
#ifndef COFFER_FS_SERVE_DROPS_H
#define COFFER_FS_SERVE_DROPS_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/shared/handle.h"

struct drops;

/* Starts the threads. fuse_fd: where the notices are written to. handles: where the inodes are that somebody has open.
 */
int drops_new(int fuse_fd, struct handles *handles, struct drops **ret_drops);
/* Nothing more is begun. Accepts NULL. */
void drops_stop(struct drops *d);
/* Stops it, and waits a moment. False: a thread still waits in the kernel, and comes back to this, to fuse_fd, and
 * perhaps to the handles: they must stay. Accepts NULL. */
bool drops_free(struct drops *d);

#define DROPS_NO_SIZE UINT64_MAX

/* The pages of an inode go, in a moment: those that a reader has just been given are not taken from it before it could
 * look at them, or it would ask for ever. size: in bytes, of the value that the pages are of, and before they are
 * given; DROPS_NO_SIZE where none is given. Never blocks; accepts NULL. */
void drops_add(struct drops *d, uint64_t ino, uint64_t size);
/* To be asked before an answer tells the kernel an inode's size. A smaller one makes it fill the rest of a page with
 * zeros where it is, under everybody who has it mapped: so pages of a value of another size must go first. True: there
 * are none. False: there are; with may_wait they go now, and false means that one waits for a READ which nobody has
 * answered for 20 ms. Accepts NULL. */
bool drops_settle(struct drops *d, uint64_t ino, uint64_t size, bool may_wait);
/* What waits goes now: rights may have gone. */
void drops_hurry(struct drops *d);
/* The pages of every file that is open: where nobody knows what a worker before us had given out. */
void drops_all(struct drops *d);

#endif
