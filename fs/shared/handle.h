/* The table of open files, in memory that the keeper owns and every worker maps: a worker's death loses no open file.
 *
 * fh = generation << 32 | index. An entry is filled while it is BUSY and published by one atomic store; whatever
 * RELEASE needs stands in it, for RELEASE carries no uid and no pid. An OPEN that the kernel sends again (after a
 * worker died) finds its entry by the request's unique. One worker is active at a time; its threads share the table
 * under a lock of their own. */
#ifndef COFFER_FS_SHARED_HANDLE_H
#define COFFER_FS_SHARED_HANDLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define IDENTITY_DIGEST 16 /* bytes that stand for one identity: fs/caller/caller.h */

#define HANDLES_MAX 65536
#define HANDLE_COMM 16 /* bytes of the opener's name, with the NUL */

/* Entries are shared among neighbours (fs/common/shares.h) in three pools, so that files which anybody may open leave
 * room for values, which only those have open who may. */
enum handle_pool { HANDLES_OF_VALUES, HANDLES_OF_OWN_FILES, HANDLES_OF_DIRECTORIES, HANDLE_POOLS };
#define VALUES_MAX       40960
#define VALUES_MOST      8192 /* of one neighbour */
#define OWN_FILES_MAX    12288
#define OWN_FILES_MOST   2048
#define DIRECTORIES_MAX  12288
#define DIRECTORIES_MOST 2048
#define HANDLES_RESERVE  512 /* of each pool, and on top of a neighbour's share: for administrators */

enum handle_state { HANDLE_FREE = 0, HANDLE_BUSY, HANDLE_OPEN };

enum handle_kind {
	HANDLE_NONE = 0,
	HANDLE_VALUE,
	HANDLE_CTL,
	HANDLE_TEXT /* whoami, status, metrics */,
	HANDLE_AUDIT,
	HANDLE_BELL /* no entry: fh 0 */,
	HANDLE_DIR,
	HANDLE_EVENTS,
	HANDLE_TEMP
};

/* Whoever was last found to have a right through this handle: to each right its own decision, for who may read need not
 * be who may write. valid_until 0: not decided. */
enum handle_right { HANDLE_MAY_GET, HANDLE_MAY_SET, HANDLE_RIGHTS };
struct handle_decision {
	uint64_t epoch;
	int64_t valid_until;
};
struct handle_reader {
	uint8_t digest[IDENTITY_DIGEST];
	struct handle_decision may[HANDLE_RIGHTS];
};

/* Links are index + 1; 0: none. */
struct handle_link {
	uint32_t next, prev;
};

#define HANDLE_OWN (UINT32_C(1) << 31) /* above any secret's number */

struct handle {
	_Atomic uint32_t state;
	uint32_t generation;
	uint64_t unique; /* of the OPEN, without the resend bit */
	uint64_t ino;
	uint32_t kind;
	uint32_t open_flags; /* O_ACCMODE | O_APPEND | O_TRUNC as the caller gave them */
	uint32_t secret;
	int32_t tid;        /* opener's thread */
	uint32_t uid, gid;  /* opener */
	uint64_t neighbour; /* whose share it is of */
	int32_t tgid;
	/* private to handle.c: chain of the free, or of the open with one hash; rebuilt at each takeover */
	uint32_t next;
	uint64_t start_time, user_ns, pid_ns, mnt_ns;
	uint8_t digest[IDENTITY_DIGEST];
	struct handle_reader reader[2]; /* the opener; the last other identity */
	uint64_t stage;                 /* 0: none */
	uint32_t staged;                /* chunks that are counted for it: fs/serve/staged.h */
	/* by what it is looked for by thread and process: the secret, of who reads its `current`; HANDLE_OWN + enum
	 * inode_own, of a text; 0: by nothing */
	uint32_t object;
	uint64_t binding;
	_Atomic uint64_t shown;       /* of a value: see struct handle_shown */
	uint64_t order;               /* of its publishing */
	int64_t opened;               /* monotonic, ns */
	struct handle_link follow[2]; /* private to handle.c, as next: by thread, by process */
	union {                       /* by kind; zero when it is opened */
		struct {
			uint64_t opened; /* its version then */
			uint64_t marks;  /* what became of its stage: fs/serve/staging.c */
		} value;                 /* HANDLE_VALUE */
		struct {
			uint64_t buffer; /* its number + 1; 0: none yet */
			uint64_t answer; /* where in the file the answer begins, + 1; 0: it has not been begun */
		} ctl;                   /* HANDLE_CTL */
		struct {
			uint64_t first; /* segment, when it was opened */
		} audit;                /* HANDLE_AUDIT */
		struct {
			uint64_t first; /* event, when it was opened: offsets count from it */
		} events;               /* HANDLE_EVENTS */
		struct {
			uint64_t id;
		} temp; /* HANDLE_TEMP */
	} of;
	int64_t since;                /* when it was opened, ns */
	char comm[HANDLE_COMM];       /* of the opener, then */
	_Atomic uint64_t last_unique; /* of the last request that changed the entry, for those that are sent again */
	_Atomic uint64_t last_result;
};

/* Entries at and above `high` were never used: their pages are not there yet, and nobody touches them. */
struct handle_table {
	uint32_t magic;
	uint32_t size;
	_Atomic uint32_t high;
	uint32_t pad;
	uint64_t orders;
	struct handle entries[HANDLES_MAX];
};

struct handles; /* one process's view */

/* Takes the table over (an all-zero one is initialised): frees entries left BUSY, counts shares, indexes uniques. 0;
 * -ENOMEM; -EPROTO: the table has another layout. What entries left BUSY had taken (a stage, a ctl buffer) is then
 * nobody's: whoever owns those looks for the ones that no open handle names. */
int handles_new(struct handle_table *table, struct handles **ret_handles);
void handles_free(struct handles *h);

/* reserved: for an administrator, who must be able to act when others have all that they can. */
struct handle_ask {
	uint64_t unique, neighbour;
	uint32_t uid;
	enum handle_kind kind;
	bool reserved;
};
/* A BUSY entry, zeroed but for what ask says: -ENFILE (this neighbour has its share of the pool), -ENOMEM. Fill it,
 * then publish or abandon. unique, neighbour, kind, secret, object, tid, tgid and open_flags must not change once it is
 * published: what is counted by them is taken off again by them. */
int handle_new(struct handles *h, const struct handle_ask *ask, struct handle **ret_handle);
uint64_t handle_publish(struct handles *h, struct handle *e); /* returns fh */
void handle_abandon(struct handles *h, struct handle *e);

/* NULL: no such open handle (a wrong index or generation). One that can be taken back may be another one's at any
 * moment: what is done with it beside a look is done between handle_hold and handle_let. */
struct handle *handle_get(struct handles *h, uint64_t fh);
/* What to answer then: -ESTALE for one that was taken back (its RELEASE is yet to come), -EBADF for one that never was.
 */
int handle_gone(struct handles *h, uint64_t fh);
/* The same as handle_get, and it stays the caller's until handle_let. */
struct handle *handle_hold(struct handles *h, uint64_t fh);
void handle_let(struct handles *h, struct handle *e);

/* Where handle_new said -ENFILE, and nearly nothing is left in the pool: an open handle of the neighbour that has most
 * there, if that is more than this one would have; of those that no thread holds, the one that was not used for the
 * longest time. Only what can be read and not written is taken back, and nothing of root's. NULL: there is none. It is
 * BUSY now, and nobody finds it any more: forget what hangs on *ret_fh, then handle_pass_on it. */
struct handle *handle_take_back(struct handles *h, const struct handle_ask *ask, uint64_t *ret_fh);
/* It is this neighbour's, as handle_new has it. */
void handle_pass_on(struct handles *h, struct handle *e, const struct handle_ask *ask);
struct handle *handle_by_unique(struct handles *h, uint64_t unique, uint64_t *ret_fh); /* for a resent OPEN */
void handle_release(struct handles *h, uint64_t fh);                                   /* idempotent */

/* Which version an open value shows, its size, and how far it was read: one word of the entry, for they change
 * together, and a worker may die in between. */
struct handle_shown {
	uint32_t version, size;
	bool begun, ended;
};
struct handle_shown handle_shown(const struct handle *e);
void handle_show(struct handle *e, uint32_t version, uint32_t size); /* before it is published */
struct handle_shown handle_begin(struct handle *e); /* somebody reads: from now on it stays at its version */
void handle_end(struct handle *e);                  /* somebody has found its end */
/* Another version, if nobody has begun to read; for handle_move, which counts it. */
bool handle_show_again(struct handle *e, uint32_t version, uint32_t size, uint32_t *ret_before);
/* Moves one that nobody has read yet to another version. False: somebody has, or it is closed. */
bool handle_move(struct handles *h, uint64_t fh, uint32_t version, uint32_t size);
/* The last opened of those (fh, 0: none) through which a thread reads an object; else, and *ret_own is false then, its
 * process. O(1). */
uint64_t handle_last(struct handles *h, uint32_t object, pid_t tid, pid_t tgid, bool *ret_own);

/* Has this process the secret's value open for writing, or had it until HANDLE_WRITTEN_S ago? Looks at all that is
 * open; what was closed is forgotten with the worker, or when many others closed theirs. */
#define HANDLE_WRITTEN_S 10u
bool handle_has_written(struct handles *h, uint32_t secret, pid_t tgid);
/* Calls fn for each open handle of a secret (0: of all), without a lock: entries may be released meanwhile, by fn too;
 * those opened meanwhile may be missed. */
void handle_each(struct handles *h, uint32_t secret, void (*fn)(uint64_t fh, struct handle *e, void *arg), void *arg);
/* How many open HANDLE_VALUE handles there are of (secret, version) for reading (O_RDONLY, O_RDWR): the plaintext is
 * wiped at zero. O(1). */
uint32_t handle_readers(struct handles *h, uint32_t secret, uint32_t version);
/* How many of a secret are open for both reading and writing: through those its page cache could be written. O(1). */
uint32_t handle_read_writers(struct handles *h, uint32_t secret);
size_t handle_count(struct handles *h);

#endif
