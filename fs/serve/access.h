/* The coordinator of opens: who asks, may it, write it down, do it. Knows nothing of libfuse. */
#ifndef COFFER_FS_SERVE_ACCESS_H
#define COFFER_FS_SERVE_ACCESS_H

#include "fs/serve/call.h"

struct open_ask {
	struct inode inode;
	uint64_t ino;
	int flags;
};
struct open_grant {
	uint64_t fh;
	enum handle_kind kind;
	bool writable;
	uint32_t delay_ms;
};

/* The call could open it, and then have a lease on it, for the bell does not hold it yet: holds_take
 * (fs/serve/holds.h) comes first. */
bool access_wants_hold(struct vault *v, const struct call *call, uint64_t ino);
/* Decides, records, and enters the handle. 0 or negative errno. */
int access_open(struct vault *v, const struct call *call, const struct open_ask *ask, struct open_grant *ret_grant);

/* An open `current` that nobody has read yet shows its newest version from now on: decided and recorded as an open.
 * False: it stays as it is. */
bool access_move(struct vault *v, const struct call *call, uint64_t fh);

/* The handle's end: forgets it, wipes what nobody reads any more. Staged bytes are staging.c's. */
void access_close(struct vault *v, uint64_t fh);

/* Between the files of access. Nobody reads this version any more? Then its plaintext goes. */
void access_forget_plain(struct vault *v, enum handle_kind kind, uint32_t secret, uint32_t version);
/* Where handle_new said -ENFILE: what the neighbour that has most did not use for the longest time is this one's
 * (handle_take_back). Its reads fail from then on, ESTALE, whatever the entry is used for. 0, -ENFILE. */
int access_take_back(struct vault *v, const struct handle_ask *wanted, struct handle **ret_handle);

#endif
