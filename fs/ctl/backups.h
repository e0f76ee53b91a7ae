/* Backups under way: each a snapshot in this worker, read in chunks by requests of one process. They die with the
 * worker; the client begins again. */
#ifndef COFFER_FS_CTL_BACKUPS_H
#define COFFER_FS_CTL_BACKUPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/caller/caller.h"
#include "store/backup/backup.h"

#define BACKUP_CHUNK      (1u << 20) /* bytes; all but the last chunk */
#define BACKUPS_MAX       6
#define BACKUPS_MOST      2 /* of one neighbour (fs/common/shares.h) */
#define BACKUPS_RESERVE   1 /* for root of the host */
/* a snapshot keeps SQLite's log from being reused: who does not read on loses it */
#define BACKUP_IDLE_S     60
#define BACKUP_SESSION_ID 33 /* hex, with the NUL */

struct backups;
int backups_new(struct backups **ret_backups); /* 0 or -ENOMEM */
void backups_free(struct backups *b);          /* accepts NULL */

/* Takes backup over in any case. The request that it was begun by is kept, for whoever asks whether it would still be
 * allowed. 0; -EBUSY: too many are under way. */
int backups_add(struct backups *b, const struct identity *who, struct backup *backup, const char *request, size_t len,
		char ret_session[BACKUP_SESSION_ID]);
/* That request, malloc'd. -ESTALE: no such session of this process's. */
int backups_request(struct backups *b, const struct identity *who, const char *session, char **ret_request,
		    size_t *ret_len);
struct backups_chunk {
	uint64_t n;     /* which one is wanted */
	uint8_t *bytes; /* malloc'd */
	size_t len;
	bool last;
	struct backup_counts counts; /* so far */
	struct backup_left *left;    /* with the last one: what was left out; malloc'd, NULL: nothing */
	size_t n_left;
	uint64_t more_left;
};
/* A chunk, which must be the next one, or the last one again. judge is asked about what is in it, once. -ESTALE: no
 * such session of this process's, or another chunk. */
int backups_read(struct backups *b, const struct identity *who, const char *session, const struct backup_judge *judge,
		 struct backups_chunk *chunk);
void backups_end(struct backups *b, const struct identity *who, const char *session);
void backups_expire(struct backups *b); /* from time to time */
void backups_drop(struct backups *b);   /* all: the vault is sealed; accepts NULL */

#endif
