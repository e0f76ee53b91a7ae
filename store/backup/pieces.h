/* Pieces of a stream that is handed in, until the restore: each call a transaction of its own (synchronous=NORMAL). */
#ifndef COFFER_STORE_BACKUP_PIECES_H
#define COFFER_STORE_BACKUP_PIECES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/backup/backup.h"

int restores_expire(struct store *s); /* as requests_expire */

#define RESTORE_ID_LEN     16
#define RESTORE_PIECE_MAX  (1u << 20)
#define RESTORE_PIECE_MIN  4096u /* but for the last one */
#define RESTORE_LIFE_S     3600  /* after its last piece a restore that was left alone is thrown away */
#define RESTORES_MAX       8     /* under way at one time */
#define RESTORES_RESERVE   2     /* of them for administrators */
#define RESTORES_PER_UID   2
/* What is carried out writes its pieces' bytes twice more, into the database and its log: all pieces together may take
 * this part of what is free. Of that one uid may have half, and all but administrators leave an eighth. */
#define RESTORES_DISK_PART 4u

struct restore_owner {
	uint32_t uid;
	bool administrator;
};
/* The same piece at the same place may come again. -EBUSY: too many are under way, of this uid or in all; -EDQUOT:
 * their pieces take too much of the disk; -EINVAL: not where the last one ended; -ENOENT: they are somebody else's. */
int store_restore_put(struct store *s, const uint8_t id[RESTORE_ID_LEN], const struct restore_owner *owner, uint64_t at,
		      const void *data, size_t len);
int store_restore_drop(struct store *s, const uint8_t id[RESTORE_ID_LEN], uint32_t uid);
/* In a transaction: they go with it. */
int store_restore_done(struct store *s, const uint8_t id[RESTORE_ID_LEN], uint32_t uid);

struct restore_pieces {
	struct store *store;
	uint8_t id[RESTORE_ID_LEN];
	uint32_t uid;
};
/* A source for store_restore, within its transaction; pieces is borrowed. */
struct backup_source restore_pieces_source(struct restore_pieces *pieces);

#endif
