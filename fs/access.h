/* The coordinator of opens and reads: who asks, may he, write it down, do it. Knows nothing of libfuse. */
#ifndef COFFER_FS_ACCESS_H
#define COFFER_FS_ACCESS_H

#include "fs/vault.h"

/* A caller as a request brings him. */
struct asker {
	struct identity *who;	/* NULL: not even a minimal identity */
	bool doubt;		/* who is for the record only */
	uint32_t uid, gid;
	pid_t tid;
	uint64_t neighbour;	/* whose share it uses */
	enum patience patience;	/* of the thread that works on the request */
};

/* 0 (also when in doubt: asker.doubt); -EAGAIN: only a thread that may wait for the resolver can tell. Release with asker_release. */
int asker_identify(struct vault *v, uint32_t uid, uint32_t gid, pid_t tid, enum patience patience, struct asker *ret_asker);
/* Is this a request that was answered already? A thread cannot go away before it has its answer: one that is replayed from memory for a thread that is gone was answered by a worker that died before it noted that. */
bool asker_had_answer(struct vault *v, const struct asker *a, bool resent);
void asker_release(struct asker *a);
/* The identity for the policy: NULL in doubt. */
static inline const struct identity *asker_trusted(const struct asker *a) { return a->doubt ? NULL : a->who; }

struct open_ask { struct inode inode; uint64_t ino; int flags; uint64_t unique; bool resent; };
struct open_grant { uint64_t fh; enum handle_kind kind; bool writable; uint32_t delay_ms; };

/* The asker could open it, and then have a lease on it, for the bell does not hold it yet: holds_take (fs/holds.h) comes first. */
bool access_wants_hold(struct vault *v, const struct asker *asker, uint64_t ino);
/* Decides, records, and enters the handle. 0 or negative errno. */
int access_open(struct vault *v, const struct asker *asker, const struct open_ask *ask, struct open_grant *ret_grant);

/* room: locked memory of the caller's, of at least size bytes, in which the answer may be made; whoever sends the answer wipes it. */
struct read_ask { uint64_t fh; uint64_t offset; size_t size; bool page_cache; uint64_t unique; bool resent; void *room; };

/* What a read gives: bytes borrowed from locked memory until read_done, bytes in the caller's room, or a malloc'd copy of text. */
struct read_result { const void *data; size_t len; bool secret; struct plain *plain; char *text; uint64_t drop; /* the inode whose page cache it goes to, 0: to none */ };

/* 0; -EAGAIN: only a thread that may block; negative errno. */
int access_read(struct vault *v, const struct asker *asker, const struct read_ask *ask, bool may_block, struct read_result *ret_result);
/* An open `current` that nobody has read yet shows its newest version from now on: decided and recorded as an open. False: it stays as it is. */
bool access_move(struct vault *v, const struct asker *asker, uint64_t fh, uint64_t unique, bool resent);
/* After the answer: what goes to the page cache leaves it from then on. */
void read_done(struct vault *v, struct read_result *r);

/* The handle's end: forgets it, wipes what nobody reads any more. Staged bytes are staging.c's. */
void access_close(struct vault *v, uint64_t fh);

/* Between the files of access. Nobody reads this version any more? Then its plaintext goes. */
void access_forget_plain(struct vault *v, enum handle_kind kind, uint32_t secret, uint32_t version);
/* Where handle_new said -ENFILE: what the neighbour that has most did not use for the longest time is this one's (handle_take_back). Its reads fail from then on, ESTALE, whatever the entry is used for. 0, -ENFILE. */
int access_take_back(struct vault *v, const struct handle_ask *wanted, struct handle **ret_handle);

/* May this asker act through a handle that somebody else opened, or whose decision has aged? Decides again if need be. 0, or positive errno. */
int access_recheck(struct vault *v, const struct asker *asker, struct handle *h, enum action action, uint64_t unique, bool resent);
/* Of an open directory: has this identity been recorded as one who lists it? And: it was. */
bool access_looked(struct handle *h, const struct identity *who);
void access_note_look(struct handle *h, const struct identity *who);
/* Does the opener's own decision about this action still stand, without asking again? */
bool access_opener_stands(struct vault *v, const struct handle *h, enum action action);

#endif
