/* A file beside `current`, written and then renamed over it, as careful programs do: for who may set. It is its maker's
 * alone; others see that the name is taken, and a lock's name, and nothing else; an administrator may remove it. What
 * may block says so by -EAGAIN where the call's patience is too short. All are idempotent by the request's unique. */
#ifndef COFFER_FS_SERVE_TEMPORARY_H
#define COFFER_FS_SERVE_TEMPORARY_H

#include <sys/stat.h>

#include "fs/serve/access.h"

struct read_ask;

struct stat;

/* Before it is known who asks: 0; -EPERM: not a place, or not a name, for one; -ENAMETOOLONG. */
int temporary_check(uint64_t parent, const char *name);

struct temporary_ask {
	uint64_t parent;
	const char *name;
	uint32_t mode;
	int flags;
};
int temporary_create(struct vault *v, const struct call *a, const struct temporary_ask *ask, uint64_t *ret_ino,
		     uint64_t *ret_fh);
/* OPEN of one that is there. */
int temporary_open(struct vault *v, const struct call *a, const struct open_ask *ask, uint64_t *ret_fh);
void temporary_close(struct vault *v, uint64_t fh);

int temporary_write(struct vault *v, const struct call *a, uint64_t fh, uint64_t offset, const void *data, size_t len);
int temporary_read(struct vault *v, const struct call *a, const struct read_ask *ask, struct secbuf *ret);
/* A WRITE of this uid was refused without a look at it. */
void temporary_lost(struct vault *v, uint64_t fh, uint32_t uid);
/* What TEMPORARY_… of to_set names; size too. */
enum { TEMPORARY_MODE = 1, TEMPORARY_SIZE = 2, TEMPORARY_ATIME = 4, TEMPORARY_MTIME = 8, TEMPORARY_OWNER = 16 };
int temporary_set(struct vault *v, const struct call *a, uint64_t ino, const struct stat *want, int to_set);

int temporary_unlink(struct vault *v, const struct call *a, uint64_t parent, const char *name);
/* Is it one over its secret's `current`? */
bool temporary_is_rename(struct vault *v, uint64_t parent, const char *name, uint64_t to, const char *to_name,
			 unsigned flags);
int temporary_rename(struct vault *v, const struct call *a, uint64_t parent, const char *name);

/* Its attributes as the call sees them; NULL: as a stranger does. Under the table lock. -ENOENT. */
int temporary_stat(struct vault *v, const struct call *a, uint64_t ino, struct stat *st);
/* May the call see the name in a listing? may_set: it may set the secret. */
bool temporary_listed(const struct call *a, const struct temp *t, bool may_set);

/* What is due goes, with its bytes. May block. */
void temporary_tick(struct vault *v);

#endif
