/* The audit log: JSON Lines in segments, chained by hash and sealed by a key that moves forward.
 *
 * Record n is a line  {…,"prev":"<hex>","mac":"<hex>"}\n  whose body is everything before ,"mac". h_n = SHA-256(body of
 * n); prev of n+1 is h_n; mac is HMAC-SHA-256 under K_n of h_n. K_{n+1} = HMAC(K_n, "evolve") and K_n is destroyed:
 * what is written cannot be altered by whoever holds K_{n+1}. Order: append, then evolve. The format and what verify
 * can and cannot find are documented at the top of format.c and in contrib/doc/AUDIT-FORMAT.md.
 *
 * The head (position, hash, key, what is being folded, the uniques last recorded) lies in memory that outlives the
 * process that appends (the keeper's), and at each durable point in a file of one 4096-byte block, STORE/audit/head, so
 * that a machine that crashed goes on from there.
 *
 * Threads: append and tick lock; any thread may call. Append blocks for one write(2). */
#ifndef COFFER_STORE_AUDIT_AUDIT_H
#define COFFER_STORE_AUDIT_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/audit/record.h"
#include "store/crypto/aead.h"

struct audit_head;

#define AUDIT_SEGMENT_SIZE (16u << 20) /* bytes, where audit_config has 0 */

#define AUDIT_BOOT_LEN 16

struct audit_config {
	int dir_fd;  /* STORE/audit; read access only */
	int head_fd; /* STORE/audit/head, O_RDWR */
	struct audit_head *head;
	const char *vault, *host;
	enum audit_durability durability;
	uint64_t segment_size;          /* bytes; 0: 16 MiB */
	uint32_t reserve;               /* bytes kept allocated for privileged records; 0: 256 KiB */
	uint32_t deny_rate, deny_burst; /* denials (and errors) a second and neighbour before folding; 0: 20, 100 */
	/* opens a second that one process makes of one version, each with its record, before folding; 0: 20, 200 */
	uint32_t open_rate, open_burst;
	/* What the log promises: nothing goes that is younger than keep_seconds (0: no promise). Where it has grown to
	 * four times keep_bytes (0: only the disk counts), or the disk is nearly full, those are refused who wrote more
	 * than their share of it: an eighth. */
	uint64_t keep_bytes;
	int64_t keep_seconds;
	/* O_RDWR; where it is kept who has written how much of late, for when the head does not outlive us. 0: nowhere
	 */
	int shares_fd;
	const uint8_t *boot; /* AUDIT_BOOT_LEN bytes that name this boot of the machine; NULL: none */
	/* does this number name the same neighbour in another boot? NULL: each does */
	bool (*lasts)(uint64_t neighbour);
	uint32_t segment_age; /* seconds after which audit_tick begins a new segment; 0: a day */
	/* Opens segment number for appending (O_RDWR|O_APPEND; create: makes it, O_EXCL). The keeper does it for a
	 * worker. */
	int (*segment_open)(void *arg, uint32_t number, bool create, int *ret_fd);
	/* Retention: removes what is to go of the segments up to `recorded`, whose removal is in the log and on the
	 * disk; *ret_due is the last one that is to go, 0: none. NULL: everything stays. Called without a lock. */
	int (*retain)(void *arg, uint32_t recorded, uint32_t *ret_due);
	/* Does the request that was recorded as audit_event.unique still have no answer, so that it may come again?
	 * NULL: none does. Called with the log's lock held; must not wait. */
	bool (*unanswered)(void *arg, uint64_t unique);
	void *arg;
};

struct audit;

/* Takes the log over: initialises the head from the head file if need be, rolls forward over records that are in the
 * segment but not in the head (each verified), ends a torn tail and records it. 0; -EBADMSG: the log does not continue
 * from the head (why says where); -EIO, -ENOMEM. A full disk does not prevent opening: appends then say -ENOSPC. */
int audit_open(const struct audit_config *config, struct audit **ret_audit, char *why, size_t why_len);
void audit_close(struct audit *a); /* flushes folds and makes a durable point; accepts NULL */

/* Writes one record, or folds it: denials and unprivileged errors beyond the rate; what was allowed, where one process
 * does the same again and again, but never what changes anything, nor what an administrator or the daemon did. What is
 * folded is counted when this returns, and the count is in the file within a second. 0; -EIO or -ENOSPC: nothing was
 * written (or, with fdatasync, it is not known to be durable), and nothing may be served; -EDQUOT: likewise, for the
 * caller's neighbour has used up its share, and the log is full. *ret_delay_ms (may be NULL) is how long the caller of
 * a denied request should be kept waiting: 0 to 50. */
int audit_append(struct audit *a, const struct audit_event *e, uint32_t *ret_delay_ms);
/* Would audit_append answer -EDQUOT to this neighbour now, whatever else it says? */
bool audit_would_refuse(struct audit *a, uint64_t neighbour);
/* Everything that is counted is written, and on the disk: when the vault is sealed. 0, -EIO, -ENOSPC. */
int audit_flush(struct audit *a);

/* Call about once a second, from one thread: writes folded records that are due, makes a durable point, moves on to a
 * new segment by age, grows the reserve again; looks whether the directory is as it was left, and applies retention. */
int audit_tick(struct audit *a);

/* Something was found amiss in the directory (and recorded) of which audit_tampering_told has not been called yet: ret
 * says what. */
bool audit_tampering(struct audit *a, char *ret, size_t len);
void audit_tampering_told(struct audit *a);

/* For status: seq of the next record, the chain's hash in hex, headroom, whether writing fails at present. */
struct audit_state {
	uint64_t seq;
	char head[2 * DIGEST_LEN + 1];
	uint64_t segments, bytes;
	uint32_t headroom_percent; /* of the file system; 0 while ordinary records find no room */
	int failing;               /* negative errno of the last record, 0: it was written */
	bool append_only;          /* the open segment has the attribute */
	/* the reserve is really allocated; false: the file system cannot, free space is watched instead */
	bool reserve_allocated;
	/* a segment was removed, cut or put in by somebody else, and the record that says so is still kept */
	bool tampered;
	uint32_t oldest;  /* the lowest segment that retention has left */
	uint64_t cap;     /* bytes at which shares count; 0: only the disk's room does */
	bool at_cap;      /* they count */
	uint64_t refused; /* how often somebody was refused for it */
	/* the neighbour that wrote most of late, and how much of its share, in percent; 0: nothing worth a word */
	uint64_t heaviest;
	uint32_t heaviest_percent;
};
void audit_state(struct audit *a, struct audit_state *ret_state);

/* -ENOENT: none. audit_read: -ESTALE: retention removed the segment that offset lies in. At the end *ret_read is 0. */
/* How many records this process has written, but for those of reading the log, and how many of these. For who tells
 * watchers of the log. */
void audit_written(const struct audit *a, uint64_t *ret_others, uint64_t *ret_looks);
int audit_first_segment(struct audit *a, uint32_t *ret_base);
int audit_size(struct audit *a, uint32_t base, uint64_t *ret_size);
int audit_read(struct audit *a, uint32_t base, uint64_t offset, void *ret, size_t len, size_t *ret_read);

/* Makes STORE/audit (root's): the first key, head and segment, with a VaultCreate record; writes the verify key file
 * (0600, O_EXCL). */
int audit_create(const char *store_dir, const char *verify_path, const char *vault, uint32_t group, char *why,
		 size_t why_len);

struct audit_verify_report {
	uint64_t records, segments, torn, first_seq, last_seq;
	uint32_t first_segment; /* more than 1: earlier ones were removed */
	uint32_t unaccounted;   /* removed ones of which the log does not say that retention removed them */
	uint64_t tampered;      /* AuditTampered records */
};
/* Walks every segment under the verify key. Says in why which segment, line and seq fails first; on success why holds a
 * remark for a person, or "". 0; -EINVAL (no verify key file); -EBADMSG (*ret then tells how far the log is good): also
 * where a segment is gone that no record accounts for; -ENOENT (no log, or no verify key); -EIO, -ENOMEM. Safe beside a
 * running daemon: a last line without a newline is not an error. */
int audit_verify(const char *store_dir, const char *verify_path, struct audit_verify_report *ret, char *why,
		 size_t why_len);
/* The same, and the log must contain what the daemon's status (or a checkpoint noted elsewhere) said: audit.seq,
 * audit.head. This finds a log and head file put back together from an old copy. */
int audit_verify_against(const char *store_dir, const char *verify_path, uint64_t seq, const char *head,
			 struct audit_verify_report *ret, char *why, size_t why_len);

/* segment_open for processes that may open the directory themselves (offline commands, the keeper): shared so that
 * names and modes agree. */
int audit_segment_open_at(int dir_fd, uint32_t number, bool create, uint32_t group, int *ret_fd);
/* Lowest and highest number there; holes are not looked for. 0, -ENOENT, -EIO. */
int audit_segment_list(int dir_fd, uint32_t *ret_first, uint32_t *ret_last);
/* Retention, as the keeper applies it. Segments are to go that lie beyond keep_bytes in all and are older than
 * keep_seconds, never the newest two; a bound of 0 is no bound, both 0: everything stays. *ret_due: the last one that
 * is to go, 0: none. Of those, the ones up to `recorded` are removed: a removal is in the log before it happens.
 * Negative errno of the first removal that failed. */
int audit_retain(int dir_fd, uint64_t keep_bytes, int64_t keep_seconds, uint32_t recorded, uint32_t *ret_due);
/* Sets (on) or clears the append-only attribute of every segment; a new segment is made like the one before it. The
 * keeper sets it when it starts: a captured worker can then not cut the segment that it holds open; and clears it when
 * it ends, so that a store can be removed. Needs CAP_LINUX_IMMUTABLE. 0, -EOPNOTSUPP (the file system has none),
 * -EPERM. */
int audit_protect(int dir_fd, bool on);

#endif
