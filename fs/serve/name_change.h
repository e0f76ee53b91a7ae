/* A change of the name space that came as a file operation: mkdir, rmdir, rename. Decided, done and recorded in one
 * transaction, and once, however often the kernel sends it again. */
#ifndef COFFER_FS_SERVE_NAME_CHANGE_H
#define COFFER_FS_SERVE_NAME_CHANGE_H

#include "fs/serve/access.h"
#include "fs/ctl/kinds.h"

struct name_change {
	const char *request; /* at most 8 bytes: names it, with its unique */
	enum verb verb;
	bool deleted; /* done to what is deleted */
	bool own;     /* the daemon's own: neither asked nor recorded */
	const char *name;
	/* from memory, once it is allowed: an error is the answer, and no record is made. NULL: none */
	int (*check)(struct vault *v, const char *name);
	int (*run)(struct vault *v, const char *name); /* in the transaction: 0 or negative errno */
	bool rings; /* watchers of `current` are told: the kernel raises no event on it */
};

/* Waits for the database, but to refuse: that is done at once, for the kernel holds the directories' locks meanwhile.
 * 0, also when an earlier worker did it; -EAGAIN: only a thread that may wait for all can do it (call's patience);
 * -EACCES, -ENOKEY, -EIO, or what run says. */
int name_change(struct vault *v, const struct call *call, const struct name_change *change);

#endif
