/* The table of temporary files: names in a secret's directory that a program makes, writes, and renames over `current`
 * (fs/serve/temporary.h has what is done with them). Their bytes are stages of the store.
 *
 * It lies in memory that outlives the worker. An entry is filled while it is BUSY and published by one store of its
 * state; how many files are open on each is counted again from the handles by who takes over. A temporary file is its
 * maker's: the identity that made it, in whatever process. It goes when it has become a version or was unlinked and
 * nobody has it open, or when nobody had it open for TEMP_LIFE_NS. */
#ifndef COFFER_FS_SHARED_TEMPS_H
#define COFFER_FS_SHARED_TEMPS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/shared/handle.h"
#include "fs/common/shares.h"
#include "policy/scope.h"

#define TEMPS_MAX     1024u
#define TEMPS_MOST    128u /* of one neighbour */
#define TEMPS_RESERVE 64u  /* for root */
#define TEMP_LIFE_NS  (INT64_C(300) * 1000000000)
#define TEMP_NAME_MAX 127 /* bytes, as a secret's */

enum temp_state {
	TEMP_FREE = 0,
	TEMP_BUSY,
	TEMP_LIVE,
	TEMP_UNLINKED, /* its name is gone; who has it open goes on */
	TEMP_REPLACED, /* it has become a version: who has it open reads, and writes no more */
};

struct temp {
	_Atomic uint32_t state;
	uint32_t secret;
	uint64_t id;     /* not used again, but after 2^56 others: the file's inode (fs/shared/inode.h) */
	uint64_t unique; /* of the CREATE */
	uint64_t neighbour;
	uint8_t owner[IDENTITY_DIGEST];
	uint64_t stage;  /* 0: nothing was written yet */
	uint32_t staged; /* chunks that are counted for it: fs/serve/staged.h */
	uint32_t mode;   /* as the maker wants to see it */
	uint64_t size;
	int64_t modified, accessed; /* ns since the epoch, as the maker wants to see it */
	int64_t used;               /* monotonic ns */
	uint32_t spoiled;           /* a write failed: no version comes of it */
	uint32_t pad;
	char name[TEMP_NAME_MAX + 1];
};

struct temp_table {
	_Atomic uint64_t last_id;
	struct temp entries[TEMPS_MAX];
};

struct temps;

/* Takes the table over: entries left BUSY go. 0 or -ENOMEM. */
int temps_new(struct temp_table *table, struct handles *handles, struct temps **ret_temps);
void temps_free(struct temps *t); /* accepts NULL */

/* What a temporary file may be called: graphic ASCII, not digits alone (a version's name; and what vim tries to make,
 * to see whether it may rename `current` away), nor a name that is the tree's, now or later. */
bool temps_name_valid(const char *name);
/* `*.lock`: everybody who may set is to see it. */
bool temps_is_lock(const char *name);

/* A copy; false: there is none (of that name, that id). Accept NULL, and then find nothing. */
bool temps_find(struct temps *t, uint32_t secret, const char *name, struct temp *ret_copy);
bool temps_copy(struct temps *t, uint64_t id, struct temp *ret_copy);
/* The first in the table from *at on that has a name in the secret's directory; moves *at behind it. */
bool temps_next(struct temps *t, uint32_t secret, uint32_t *at, struct temp *ret_copy);

/* A new one, open once, of what `what` says; its id is set. 0; -EEXIST: the name is there (*ret_entry is it, opened
 * once more, if its CREATE was this very one: then 0); -EDQUOT: the neighbour has its share. */
int temps_add(struct temps *t, const struct temp *what, struct temp **ret_entry);
/* Opens it once more. NULL: it is gone. An entry that is open stays where it is. */
struct temp *temps_open(struct temps *t, uint64_t id);
/* The entry of an open file: no count changes. NULL: there is none. */
struct temp *temps_get(struct temps *t, uint64_t id);
void temps_close(struct temps *t, uint64_t id, int64_t now);
/* LIVE to UNLINKED or REPLACED. */
void temps_end(struct temps *t, uint64_t id, enum temp_state state);

/* One whose time has come, which nobody finds from then on, until temps_drop; NULL: none. now: monotonic. */
struct temp *temps_due(struct temps *t, int64_t now);
void temps_drop(struct temps *t, struct temp *e);
/* Calls fn for each that is there, under no lock: at a takeover. */
void temps_each(struct temps *t, void (*fn)(struct temp *e, void *arg), void *arg);

#endif
