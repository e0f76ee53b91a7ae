/* How a name that a request made appears in the mount: put, put-set, restore, and what another process committed to the
 * store.
 *
 * The kernel tells watchers of a new name (CREATE) only if it sees the name come. So the bell makes it through the
 * mount (mkdir), and is answered with the secret that is there. That works only for a name that the kernel does not
 * know yet: until then a new name is hidden, and is ENOENT for everybody. Names of one commit appear together: whoever
 * looks at one that the bell has made (stat, or a look-up in it) waits until the others are made, too; that takes no
 * lock that the bell needs. APPEAR_MS after its commit a name resolves in any case, for the bell's mkdir needs the lock
 * of the vault's directory, and anybody can hold that. The bell can still make it then, until somebody has looked it
 * up.
 *
 * Ids only grow, so what is hidden is what lies above a mark. A name that has resolved once never gets an error again:
 * the mark only rises, and lies in shared memory. */
#ifndef COFFER_FS_SERVE_APPEAR_H
#define COFFER_FS_SERVE_APPEAR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/shared/watched.h"

#define APPEAR_MS 100
struct vault;
struct appear;
struct fuse_req;

/* What becomes of a request that was kept: of the attributes of the directory ino, or of a look-up of name in it; or it
 * is left to the worker that the kernel sends it to next. */
struct appear_answers {
	void (*attributes)(struct vault *v, struct fuse_req *req, uint64_t ino);
	void (*lookup)(struct vault *v, struct fuse_req *req, uint64_t ino, const char *name);
	void (*forget)(struct fuse_req *req);
};

/* The active worker's: starts the thread that rings. answers is borrowed. fresh: nobody has seen anything of this
 * mount, and all that is there resolves. */
int appear_new(struct vault *v, const struct appear_answers *answers, bool fresh, struct appear **ret_appear);
void appear_free(struct appear *a); /* accepts NULL */

/* From which id on names may be hidden, as things stand now: for who looks at several. UINT32_MAX: none. */
uint32_t appear_mark(const struct vault *v);
/* Is this one, for a listing? The tables may be locked. Names that appear together are listed together, for mark does
 * not move meanwhile. */
bool appear_unlisted(const struct vault *v, uint32_t mark, uint32_t secret);
/* Is this one, for a look-up? The tables must not be locked. Never blocks. */
bool appear_is_hidden(struct vault *v, uint32_t secret);

/* A name is about to be given out, to somebody or (bell) to the bell. True: not to the bell, for it can still make it.
 * Never blocks. */
bool appear_gives(struct vault *v, uint32_t secret, bool bell);

/* The name has come through the mount, or is about to be answered: it resolves from now on. */
void appear_at_once(struct vault *v, uint32_t secret);
/* Waits until the secret resolves, at most APPEAR_MS. */
void appear_wait(struct vault *v, uint32_t secret);
/* The same for all that is hidden now. */
void appear_wait_all(struct vault *v);
/* What others may have committed is to appear. Does not wait. */
void appear_look(struct vault *v);

/* The bell's mkdir in the vault's directory. 0 and the secret's inode; -EEXIST: there is no such name. Never blocks. */
int appear_make(struct vault *v, const char *name, uint64_t *ret_ino);
/* Somebody wants the attributes of this directory (name NULL), or a name in it. True: it is made, but not those that
 * appear with it; the request is answered later. */
bool appear_holds_back(struct vault *v, struct fuse_req *req, uint64_t ino, const char *name);

#endif
