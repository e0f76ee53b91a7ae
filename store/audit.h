/* The audit log: JSON Lines in segments, chained by hash and sealed by a key that moves forward.
 *
 * Record n is a line  {…,"prev":"<hex>","mac":"<hex>"}\n  whose body is everything before ,"mac". h_n = SHA-256(body of n); prev of n+1 is h_n; mac is HMAC-SHA-256 under
 * K_n of h_n. K_{n+1} = HMAC(K_n, "evolve") and K_n is destroyed: what is written cannot be altered by whoever holds K_{n+1}. Order: append, then evolve.
 * The format and what verify can and cannot find are documented at the top of audit_format.c and in contrib/doc/AUDIT-FORMAT.md.
 *
 * The head (position, hash, key, what is being folded, the uniques last recorded) lies in memory that outlives the process that appends (the keeper's), and at each
 * durable point in a file of one 4096-byte block, STORE/audit/head, so that a machine that crashed goes on from there.
 *
 * Threads: append and tick lock; any thread may call. Append blocks for one write(2). */
#ifndef COFFER_STORE_AUDIT_H
#define COFFER_STORE_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/aead.h"

enum audit_operation {
	AUDIT_SECRET_GET = 1, AUDIT_SECRET_SET, AUDIT_SECRET_UPDATE, AUDIT_SECRET_LIST, AUDIT_SECRET_LIST_VERSIONS, AUDIT_SECRET_DELETE,
	AUDIT_SECRET_RECOVER, AUDIT_SECRET_PURGE, AUDIT_SECRET_BACKUP, AUDIT_SECRET_RESTORE, AUDIT_SECRET_LIST_DELETED, AUDIT_SECRET_DESTROY,
	AUDIT_BINDING_CREATE, AUDIT_BINDING_DELETE, AUDIT_BINDING_LIST, AUDIT_ROLE_CREATE, AUDIT_ROLE_LIST,
	AUDIT_VAULT_CREATE, AUDIT_VAULT_UPDATE, AUDIT_VAULT_SEAL, AUDIT_VAULT_UNSEAL, AUDIT_VAULT_STATUS, AUDIT_VAULT_METRICS, AUDIT_VAULT_START, AUDIT_VAULT_STOP,
	AUDIT_AUDIT_READ, AUDIT_BREAK_GLASS, AUDIT_CAN_I, AUDIT_WORKER_START,
	AUDIT_PRINCIPAL_BLOCK, AUDIT_PRINCIPAL_UNBLOCK, AUDIT_HOLDER_LIST,
	AUDIT_SECRET_NEAR_EXPIRY, AUDIT_SECRET_EXPIRED, AUDIT_ROTATION_SET, AUDIT_ROTATION_DELETE, AUDIT_ROTATION_LIST,
	AUDIT_HOOK_CREATE, AUDIT_HOOK_DELETE, AUDIT_HOOK_LIST, AUDIT_HOOK_RUN, AUDIT_EVENTS_READ,
	AUDIT_SEGMENT,		/* first record of each segment; written by audit itself */
	AUDIT_TORN,		/* names a torn line's length and hash; written by audit itself */
	AUDIT_REQUEST_GIVE_UP,	/* two workers died on it */
	AUDIT_SEGMENT_REMOVE,	/* retention is about to remove a segment; written by audit itself */
	AUDIT_TAMPERED,		/* the directory is not as the log left it; written by audit itself */
	AUDIT_HISTORY_SET, AUDIT_HISTORY_DELETE, AUDIT_HISTORY_LIST,	/* a head on disk has numbers: what is new goes to the end */
};
const char *audit_operation_name(enum audit_operation op);	/* "SecretGet", … */

enum audit_result { AUDIT_DENY = 0, AUDIT_ALLOW, AUDIT_ERROR };

#define AUDIT_GROUPS_MAX      24	/* are listed; of a caller with more, that there are more */
#define AUDIT_CALLER_JSON_MAX 1216
#define AUDIT_ORIGIN_LEN      16

/* Who, as it stands in the record. The strings are raw (audit escapes them) and may be NULL. audit_caller_render fills json once, so that a caller that opens
 * often is not rendered often. */
struct audit_caller {
	uint32_t uid, gid;
	int32_t pid;
	int64_t loginuid;	/* -1: none */
	bool has_owner;		/* the process is another user's than uid says: */
	uint32_t owner;
	uint64_t neighbour;	/* whose share of the log its records take: what it is the log does not know */
	uint8_t origin[AUDIT_ORIGIN_LEN];	/* the same for what one process with one identity asks, and for nothing else; zeros: not known, and nothing of it is folded */
	const char *comm, *exe, *unit, *container;
	bool groups_known;
	const uint32_t *groups;	/* supplementary ones */
	size_t n_groups;
	uint16_t json_len;	/* 0: not rendered */
	char json[AUDIT_CALLER_JSON_MAX];
};
void audit_caller_render(struct audit_caller *c);

struct audit_event {
	enum audit_operation operation;
	enum audit_result result;
	int error;			/* positive errno, 0: none */
	const char *secret;		/* raw, NULL: none */
	uint32_t version;		/* 0: none */
	const struct audit_caller *caller;	/* NULL: the daemon itself */
	uint64_t binding;		/* 0: none */
	const char *role;		/* NULL: none */
	const char *principal;		/* of the binding: canonical text; NULL: none */
	uint64_t unique;		/* of the FUSE request, without the resend bit; 0: none */
	bool resent;			/* the request carries the resend bit: if (unique, operation, result) was recorded already, nothing is written and 0 is returned. What comes to another result than before is recorded: the last record is what the caller got */
	uint32_t duration_us;
	const char *detail;		/* further words for a person, raw, NULL: none (field "detail") */
	bool self_grant;		/* of a binding: it can mean the caller (field "self", true; else there is none) */
	bool privileged;		/* an administrator's act: may use the reserve (unless it was denied: anybody can be denied) */
};

/* ---- the head, in memory that the keeper owns ---- */

#define AUDIT_FOLDS   128	/* the last one takes what finds no room in the others */
#define AUDIT_RATES   256	/* likewise */
#define AUDIT_STREAMS 4096
#define AUDIT_REPEATS 256
#define AUDIT_SHARES  256
#define AUDIT_RECENTS 4096
#define AUDIT_NAME_MAX 128	/* of what is kept in here */
#define AUDIT_KEPT    4096	/* more than the records of one request (a set) */

/* Where the next record goes. */
struct audit_position {
	uint32_t segment;		/* number of the open segment */
	uint32_t oldest;		/* the lowest one of which no record says that it was removed; 0: not known yet (a head file of before) */
	uint64_t seq;			/* of the next record */
	uint64_t size;			/* bytes of the open segment that are accounted for */
	int64_t opened;			/* when the segment was begun, ns since the epoch */
	uint8_t prev[DIGEST_LEN];	/* h_{seq-1} */
	uint8_t key[KEY_LEN];		/* K_seq: this memory is locked and never dumped */
	uint32_t tampered;		/* the segment in which the last AuditTampered record lies; 0: there is none */
	uint32_t zero;
};

/* How often, and when. count is stored last when an entry is made, and zeroed first when it is written. */
struct audit_tally {
	uint64_t count;			/* 0: free */
	uint64_t written_as;		/* seq of the record that is being written of it; 0: none */
	int64_t first, last;		/* ns since the epoch */
};

/* Denials that were counted, not written. */
struct audit_fold {
	struct audit_tally tally;
	uint64_t neighbour;
	uint32_t uid;			/* UINT32_MAX: several */
	uint16_t operation, error;
	uint8_t result, mixed;		/* mixed: secret was not always the same */
	uint8_t coarse;			/* whatever the neighbour was denied: of several callers and operations */
	char secret[AUDIT_NAME_MAX];
};
struct audit_rate { uint64_t neighbour; int64_t due; /* CLOCK_MONOTONIC ns; in the past: free */ };

/* How fast one process asks for one thing: a bucket, as audit_rate's. In sets, found by a keyed hash. */
struct audit_stream {
	uint64_t tag;			/* of process, operation, binding, secret and version */
	int64_t due;			/* CLOCK_MONOTONIC ns; in the past: free */
	uint64_t neighbour;
	uint32_t repeat;		/* where it is being counted, plus one; 0: nowhere */
	uint32_t zero;
};
/* What was allowed, and counted, not written. All but secret (where mixed) is the same for all that are counted here, and for the record of its own that the first of them has. */
struct audit_repeat {
	struct audit_tally tally;
	uint8_t origin[AUDIT_ORIGIN_LEN];
	uint64_t neighbour, binding;
	uint32_t version, stream;
	uint16_t operation;
	uint8_t mixed;
	char secret[AUDIT_NAME_MAX], role[64], principal[144];
	uint16_t caller_len;
	char caller[AUDIT_CALLER_JSON_MAX];
};
/* What a neighbour has written of late: the moment at which all of it will have grown old (CLOCK_MONOTONIC ns; in the past: free). */
struct audit_share { uint64_t neighbour; int64_t due; };

/* What is being added to a tally: whoever is killed in the middle of it has it finished by the next worker, once. recent is stored last, and zeroed last. */
struct audit_redo {
	uint64_t recent;		/* 0: nothing is under way */
	uint32_t index;
	uint8_t repeat;			/* in repeats, not in folds */
	uint64_t count;			/* after it */
};

/* What was found amiss in the directory, and recorded: so that no worker records it twice, and whoever is to be told of it (audit_tampering) is, though a worker dies in between. */
struct audit_tampering {
	uint32_t missing, first_missing, foreign;	/* how many segments are gone and which is the first; one that is there and should not */
	uint32_t found, told;				/* counts */
	char detail[160];				/* of the last one */
};

/* A worker may be killed between any two stores: positions[current & 1] is the valid one, the other is written while it is not looked at and then published by storing current. */
struct audit_head {
	uint32_t magic;			/* 0: not initialised: audit_open takes it from the head file */
	_Atomic uint32_t current;
	struct audit_position positions[2];
	uint64_t allocated[2];		/* bytes of each one's segment for which there are blocks, from its start */
	uint64_t connection;		/* random, names this mount in "request" */
	uint64_t hash_key[2];		/* random: nobody shall choose what meets in a set */
	uint64_t durable_seq;		/* everything before it was fdatasync'd */
	uint64_t recents[AUDIT_RECENTS];	/* request and operation of record seq, at seq % AUDIT_RECENTS; 0: none */
	uint64_t fold_recents[AUDIT_RECENTS];	/* likewise of what was folded, at folded % AUDIT_RECENTS */
	uint64_t folded;
	uint64_t kept[AUDIT_KEPT];	/* what would have been pushed out of these two by newer ones, though its request has no answer yet */
	uint64_t n_kept;
	struct audit_tampering tampering;
	uint64_t refused;		/* how often somebody was refused who had used up a share of the log */
	struct audit_redo redo;
	struct audit_fold folds[AUDIT_FOLDS];
	struct audit_rate rates[AUDIT_RATES];
	struct audit_rate all_denials;	/* of everybody together */
	struct audit_stream streams[AUDIT_STREAMS];
	struct audit_repeat repeats[AUDIT_REPEATS];
	struct audit_share shares[AUDIT_SHARES];
};

/* The number of the open segment, 0: the head is not initialised. For the keeper: what lies there is the worker's word. */
uint32_t audit_head_segment(const struct audit_head *head);

/* ---- opening ---- */

#define AUDIT_SEGMENT_SIZE (16u << 20)	/* bytes, where audit_config has 0 */

enum audit_durability { AUDIT_DURABILITY_PROCESS = 0, AUDIT_DURABILITY_FDATASYNC };

#define AUDIT_BOOT_LEN 16

struct audit_config {
	int dir_fd;			/* STORE/audit; read access only */
	int head_fd;			/* STORE/audit/head, O_RDWR */
	struct audit_head *head;
	const char *vault, *host;
	enum audit_durability durability;
	uint64_t segment_size;		/* bytes; 0: 16 MiB */
	uint32_t reserve;		/* bytes kept allocated for privileged records; 0: 256 KiB */
	uint32_t deny_rate, deny_burst;	/* denials (and errors) a second and neighbour before folding; 0: 20, 100 */
	uint32_t open_rate, open_burst;	/* opens a second that one process makes of one version, each with its record, before folding; 0: 20, 200 */
	/* What the log promises: nothing goes that is younger than keep_seconds (0: no promise). Where it has grown to four times keep_bytes (0: only the disk counts), or the disk is nearly full, those are refused who wrote
	 * more than their share of it: an eighth. */
	uint64_t keep_bytes;
	int64_t keep_seconds;
	int shares_fd;			/* O_RDWR; where it is kept who has written how much of late, for when the head does not outlive us. 0: nowhere */
	const uint8_t *boot;		/* AUDIT_BOOT_LEN bytes that name this boot of the machine; NULL: none */
	bool (*lasts)(uint64_t neighbour);	/* does this number name the same neighbour in another boot? NULL: each does */
	uint32_t segment_age;		/* seconds after which audit_tick begins a new segment; 0: a day */
	/* Opens segment number for appending (O_RDWR|O_APPEND; create: makes it, O_EXCL). The keeper does it for a worker. */
	int (*segment_open)(void *arg, uint32_t number, bool create, int *ret_fd);
	/* Retention: removes what is to go of the segments up to `recorded`, whose removal is in the log and on the disk; *ret_due is the last one that is to go, 0: none. NULL: everything stays. Called without a lock. */
	int (*retain)(void *arg, uint32_t recorded, uint32_t *ret_due);
	/* Does the request that was recorded as audit_event.unique still have no answer, so that it may come again? NULL: none does. Called with the log's lock held; must not wait. */
	bool (*unanswered)(void *arg, uint64_t unique);
	void *arg;
};

struct audit;

/* Takes the log over: initialises the head from the head file if need be, rolls forward over records that are in the segment but not in the head (each verified), ends a torn tail
 * and records it. 0; -EBADMSG: the log does not continue from the head (why says where); -EIO, -ENOMEM. A full disk does not prevent opening: appends then say -ENOSPC. */
int audit_open(const struct audit_config *config, struct audit **ret_audit, char *why, size_t why_len);
void audit_close(struct audit *a);	/* flushes folds and makes a durable point; accepts NULL */

/* Writes one record, or folds it: denials and unprivileged errors beyond the rate; what was allowed, where one process does the same again and again, but never what changes anything, nor what an administrator or the daemon did.
 * What is folded is counted when this returns, and the count is in the file within a second. 0; -EIO or -ENOSPC: nothing was written (or, with fdatasync, it is not known to be durable), and nothing may be served;
 * -EDQUOT: likewise, for the caller's neighbour has used up its share, and the log is full. *ret_delay_ms (may be NULL) is how long the caller of a denied request should be kept waiting: 0 to 50. */
int audit_append(struct audit *a, const struct audit_event *e, uint32_t *ret_delay_ms);
/* Would audit_append answer -EDQUOT to this neighbour now, whatever else it says? */
bool audit_would_refuse(struct audit *a, uint64_t neighbour);
/* Everything that is counted is written, and on the disk: when the vault is sealed. 0, -EIO, -ENOSPC. */
int audit_flush(struct audit *a);

/* Call about once a second, from one thread: writes folded records that are due, makes a durable point, moves on to a new segment by age, grows the reserve again; looks whether the directory is as it was left, and applies
 * retention. */
int audit_tick(struct audit *a);

/* Something was found amiss in the directory (and recorded) of which audit_tampering_told has not been called yet: ret says what. */
bool audit_tampering(struct audit *a, char *ret, size_t len);
void audit_tampering_told(struct audit *a);

/* For status: seq of the next record, the chain's hash in hex, headroom, whether writing fails at present. */
struct audit_state {
	uint64_t seq;
	char head[2 * DIGEST_LEN + 1];
	uint64_t segments, bytes;
	uint32_t headroom_percent;	/* of the file system; 0 while ordinary records find no room */
	int failing;			/* negative errno of the last record, 0: it was written */
	bool append_only;		/* the open segment has the attribute */
	bool reserve_allocated;		/* the reserve is really allocated; false: the file system cannot, free space is watched instead */
	bool tampered;			/* a segment was removed, cut or put in by somebody else, and the record that says so is still kept */
	uint32_t oldest;		/* the lowest segment that retention has left */
	uint64_t cap;			/* bytes at which shares count; 0: only the disk's room does */
	bool at_cap;			/* they count */
	uint64_t refused;		/* how often somebody was refused for it */
	uint64_t heaviest;		/* the neighbour that wrote most of late, and how much of its share, in percent; 0: nothing worth a word */
	uint32_t heaviest_percent;
};
void audit_state(struct audit *a, struct audit_state *ret_state);

/* ---- reading: the retained segments from `base` on, one after the other ---- */

/* -ENOENT: none. audit_read: -ESTALE: retention removed the segment that offset lies in. At the end *ret_read is 0. */
/* How many records this process has written, but for those of reading the log, and how many of these. For who tells watchers of the log. */
void audit_written(const struct audit *a, uint64_t *ret_others, uint64_t *ret_looks);
int audit_first_segment(struct audit *a, uint32_t *ret_base);
int audit_size(struct audit *a, uint32_t base, uint64_t *ret_size);
int audit_read(struct audit *a, uint32_t base, uint64_t offset, void *ret, size_t len, size_t *ret_read);

/* ---- offline ---- */

/* Makes STORE/audit (root's): the first key, head and segment, with a VaultCreate record; writes the verify key file (0600, O_EXCL). */
int audit_create(const char *store_dir, const char *verify_path, const char *vault, uint32_t group, char *why, size_t why_len);

struct audit_verify_report {
	uint64_t records, segments, torn, first_seq, last_seq;
	uint32_t first_segment;		/* more than 1: earlier ones were removed */
	uint32_t unaccounted;		/* removed ones of which the log does not say that retention removed them */
	uint64_t tampered;		/* AuditTampered records */
};
/* Walks every segment under the verify key. Says in why which segment, line and seq fails first; on success why holds a remark for a person, or "".
 * 0; -EBADMSG (*ret then tells how far the log is good): also where a segment is gone that no record accounts for; -ENOENT (no log, or no verify key); -EIO, -ENOMEM. Safe beside a running daemon: a last line without a newline is not an error. */
int audit_verify(const char *store_dir, const char *verify_path, struct audit_verify_report *ret, char *why, size_t why_len);
/* The same, and the log must contain what the daemon's status (or a checkpoint noted elsewhere) said: audit.seq, audit.head. This finds a log and head file put back together from an old copy. */
int audit_verify_against(const char *store_dir, const char *verify_path, uint64_t seq, const char *head, struct audit_verify_report *ret, char *why, size_t why_len);

/* segment_open for processes that may open the directory themselves (offline commands, the keeper): shared so that names and modes agree. */
int audit_segment_open_at(int dir_fd, uint32_t number, bool create, uint32_t group, int *ret_fd);
/* Lowest and highest number there; holes are not looked for. 0, -ENOENT, -EIO. */
int audit_segment_list(int dir_fd, uint32_t *ret_first, uint32_t *ret_last);
/* Retention, as the keeper applies it. Segments are to go that lie beyond keep_bytes in all and are older than keep_seconds, never the newest two; a bound of 0 is no bound, both 0: everything stays. *ret_due: the last one
 * that is to go, 0: none. Of those, the ones up to `recorded` are removed: a removal is in the log before it happens. Negative errno of the first removal that failed. */
int audit_retain(int dir_fd, uint64_t keep_bytes, int64_t keep_seconds, uint32_t recorded, uint32_t *ret_due);
/* Sets (on) or clears the append-only attribute of every segment; a new segment is made like the one before it. The keeper sets it when it starts: a captured worker can then not cut the segment that it
 * holds open; and clears it when it ends, so that a store can be removed. Needs CAP_LINUX_IMMUTABLE. 0, -EOPNOTSUPP (the file system has none), -EPERM. */
int audit_protect(int dir_fd, bool on);

#endif
