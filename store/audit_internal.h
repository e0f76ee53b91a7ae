/* Between the files of the audit log; nobody else includes this. */
#ifndef COFFER_STORE_AUDIT_INTERNAL_H
#define COFFER_STORE_AUDIT_INTERNAL_H

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>

#include "store/audit.h"

#define AUDIT_LINE_MAX 8192		/* a record with its newline; the renderer's limits below keep within it */
#define AUDIT_HEX_LEN  (2 * DIGEST_LEN)
#define AUDIT_SEAL_LEN (sizeof ",\"mac\":\"\"}\n" - 1 + AUDIT_HEX_LEN)
#define AUDIT_NS       1000000000

#define AUDIT_SEGMENT_MIN  4096u	/* more than its first record, or segments would follow one another for ever */
#define AUDIT_SEGMENT_AGE  86400u
#define AUDIT_RESERVE      (256u << 10)
#define AUDIT_STEP         (1u << 20)	/* allocated ahead, so that an append needs no further system call */
#define AUDIT_DENY_RATE    20u
#define AUDIT_DENY_BURST   100u
#define AUDIT_DELAY_MS     50u
#define AUDIT_DENY_ALL_RATE  100u	/* of everybody together */
#define AUDIT_DENY_ALL_BURST 1000u
#define AUDIT_OPEN_RATE    20u
#define AUDIT_OPEN_BURST   200u
#define AUDIT_LOOK_RATE    1u		/* listings and the like */
#define AUDIT_LOOK_BURST   20u
#define AUDIT_CAP_FACTOR   4u
#define AUDIT_SHARE_PARTS  8u

/* ---- audit_format.c: rendering and parsing ---- */

#define AUDIT_EXE_MAX     160		/* escaped bytes */
#define AUDIT_VAULT_MAX   64		/* raw bytes; each may become six */
#define AUDIT_SECRET_MAX  255
#define AUDIT_ROLE_MAX    64
#define AUDIT_DETAIL_MAX  512
#define AUDIT_PRINCIPAL_MAX 144		/* ASCII that needs no escapes: eight conditions are 135 bytes; audit_repeat has room for it */

/* What is the same in every record, rendered once. */
struct audit_names {
	char middle[2 * 6 * AUDIT_VAULT_MAX + 64];	/* Z","vault":"…","host":"…","operation":" */
	size_t middle_len;
	char request[20];				/* "<16 hex>- */
	char vault[AUDIT_VAULT_MAX + 1], host[AUDIT_VAULT_MAX + 1];
};
void audit_names_set(struct audit_names *n, const char *vault, const char *host, uint64_t connection);

/* The time as text, but for its nanoseconds, of the second that was asked for last. */
struct audit_clock { int64_t second; char text[20]; };
int64_t audit_now(void);	/* ns since the epoch */

/* Renders the body of a record; at most AUDIT_LINE_MAX - AUDIT_SEAL_LEN - 1 bytes. */
size_t audit_render(char *ret_line, const struct audit_names *names, struct audit_clock *clock, int64_t now,
		    uint64_t seq, uint64_t count, const struct audit_event *e, const uint8_t prev[DIGEST_LEN]);
/* Adds the seal and the newline; *ret_len is the whole line's. Computes the position after it in ret_next (seq, prev, key; the rest is copied). 0 or -EIO. */
int audit_seal(char *line, size_t body_len, const struct audit_position *at, struct audit_position *ret_next, size_t *ret_len);
int audit_evolve(const uint8_t key[KEY_LEN], uint8_t ret_key[KEY_LEN]);

/* Escapes raw into at most room bytes of JSON string content. Returns their number. */
size_t audit_escape(char *ret, size_t room, const char *raw, size_t raw_max);
void audit_hex(char ret[AUDIT_HEX_LEN], const uint8_t digest[DIGEST_LEN]);
int audit_unhex(const char *hex, uint8_t ret[DIGEST_LEN]);

struct audit_record {		/* points into the line */
	uint64_t seq;
	uint8_t prev[DIGEST_LEN], mac[DIGEST_LEN];
	size_t body_len;
	const char *operation;
	size_t operation_len;
};
/* line without its newline. 0 or -EBADMSG: not a record's shape. */
int audit_parse(const char *line, size_t len, struct audit_record *ret);
/* Of a record whose seal is right. */
bool audit_record_is(const struct audit_record *rec, enum audit_operation op);
bool audit_record_request(const char *line, const struct audit_record *rec, uint64_t *ret_connection, uint64_t *ret_recent);
struct audit_torn { uint64_t len, offset, segment; uint32_t oldest; /* of one that begins a segment; 0: it does not say */ uint8_t digest[DIGEST_LEN]; };
/* Was it written by a version that records each removal by retention? The ones before knew no principals. */
bool audit_record_is_of_now(const char *line, const struct audit_record *rec);
bool audit_record_torn(const char *line, const struct audit_record *rec, struct audit_torn *ret);
bool audit_record_segment(const char *line, const struct audit_record *rec, uint32_t *ret_segment, uint32_t *ret_oldest, bool *ret_because);
/* A removal by retention: the segment's number, the number of its last record and that one's h. */
struct audit_removed { uint32_t segment; uint64_t last; uint8_t digest[DIGEST_LEN]; };
bool audit_record_removed(const char *line, const struct audit_record *rec, struct audit_removed *ret);
/* Details that audit itself writes and reads. */
#define AUDIT_REMOVED_DETAIL "segment %u, last record %llu, hash %.64s"
#define AUDIT_SEGMENT_DETAIL "segment %u, oldest %u"
#define AUDIT_TORN_DETAIL    "torn, %llu bytes at %llu of segment %u, SHA-256 %.64s"
#define AUDIT_TORN_OLDEST    "; oldest %u"	/* where it stands for the Segment record */

/* What names in the recents what became of a request: operations have numbers below 64, results below 4. */
static inline uint64_t audit_recent(uint64_t unique, enum audit_operation operation, enum audit_result result)
{
	return unique ? unique << 8 | (uint64_t)result << 6 | (uint64_t)operation : 0;
}

/* ---- audit_segment.c: files ---- */

#define AUDIT_SEGMENT_NAME_LEN 24
#define AUDIT_SEGMENT_NUMBER_MAX 99999999u
bool audit_append_only(int fd);
bool audit_segment_missing(int dir_fd, uint32_t number);	/* without asking whoever may open it for writing */
int audit_segment_open_reading(int dir_fd, uint32_t number, int *ret_fd);	/* 0, -ENOENT, -EIO */
struct audit_scan { uint32_t first, last, within; uint64_t bytes; };	/* lowest and highest number, 0: there is none; how many lie in [from, to]; with `to`: how long those up to it are together */
int audit_segment_scan(int dir_fd, uint32_t from, uint32_t to, struct audit_scan *ret);	/* 0, -EIO */
void audit_segment_name(uint32_t number, char ret[AUDIT_SEGMENT_NAME_LEN]);

struct audit_space {
	uint64_t allocated;	/* bytes of the segment from its start for which there are blocks */
	uint64_t budget;	/* without fallocate: bytes that may be written before free space is looked at again */
	uint32_t reserve;
	bool plain;		/* fallocate is not supported here */
};
/* Room for len bytes at size, leaving the reserve alone or not. 0, -ENOSPC, -EIO. */
int audit_space_take(struct audit_space *s, int fd, uint64_t size, uint64_t len, bool use_reserve);
/* Whole, in one write(2) if the kernel takes it. 0; negative errno, and then the file may have grown. */
int audit_write(int fd, const void *data, size_t len);
int audit_pread_full(int fd, void *ret, size_t len, uint64_t offset);	/* 0, -EIO; -ENODATA: the file is shorter */

/* The head file: one block of two slots, written in turn, so that a torn write leaves the other. */
#define AUDIT_HEADFILE_SIZE 4096
#define AUDIT_HEADFILE_SLOT 2048
int audit_headfile_decode(const uint8_t block[AUDIT_HEADFILE_SIZE], struct audit_position *ret, uint64_t *ret_generation);	/* 0, -EBADMSG */
int audit_headfile_read(int fd, struct audit_position *ret, uint64_t *ret_generation);
/* Durable when it returns 0; then the older slot, whose key is of the past, is wiped. */
int audit_headfile_write(int fd, const struct audit_position *p, uint64_t generation);

/* ---- audit_verify.c: walking ---- */

struct audit_walk {
	struct audit_position at;	/* after the last record that was accepted */
	uint64_t line;			/* lines seen in this segment */
	uint64_t records, torn;
	uint64_t bad_lines, bad_line, bad_shaped;	/* complete lines after at.size that are not the next record; the first one's number; how many have a record's shape */
	const char *bad_why;
	/* called for each record after `at` moved past it; nonzero ends the walk */
	int (*accepted)(struct audit_walk *w, const char *line, const struct audit_record *rec);
	void *arg;
};
/* From at.size to the end of the segment. 0: what lies behind at.size is not (yet) a record: nothing, a torn tail, or bad lines. -EIO, -ENOMEM, or what accepted said. */
int audit_walk_segment(struct audit_walk *w, int fd);

/* ---- audit.c and audit_open.c ---- */

struct audit {
	struct audit_config config;
	struct audit_names names;
	struct audit_clock clock;
	struct audit_head *head;
	pthread_mutex_t lock;
	pthread_cond_t synced;		/* with lock: syncing has ended */
	bool syncing;			/* a thread is in fdatasync without the lock; fd may not be closed */
	bool dirty;			/* bytes that are no record lie behind the head */
	bool lost;			/* the open segment was removed or cut: nothing is written before a new one is begun */
	bool untold;			/* and no record says so yet */
	bool tampered, append_only;
	int failing;
	_Atomic uint64_t written, looks;	/* records that this process wrote: but those of reading the log, and those */
	int fd;				/* the open segment */
	int next_fd;			/* the next one, made but not begun (the disk was full), or -1 */
	bool shares_changed;		/* since they were saved */
	uint64_t shares_generation;
	int64_t shares_save_after;	/* of the thread that ticks */
	int64_t rotate_after;		/* CLOCK_MONOTONIC ns: a rotation that failed is not tried again before */
	struct audit_space space;
	struct audit_limits {		/* what shares are, as of the last tick */
		uint64_t finished;	/* bytes of finished segments */
		uint64_t cap;
		int64_t window, ns_per_byte;	/* 0: no shares */
		bool tight;		/* they count */
	} limits;
	uint64_t headfile_generation, headfile_seq;
	/* audit_retain.c's, of the thread that ticks */
	struct timespec looked_mtime;	/* of the directory, when it was last gone through */
	int64_t look_after, retain_after;	/* CLOCK_MONOTONIC ns: go through it, ask what is to go, though nothing seems to have changed */
	uint32_t front;			/* the lowest segment then; 0: not looked yet */
	uint32_t retained_at;		/* the open segment when it was last asked what is to go */
	uint64_t failed_seq;		/* records before it, and not durable, failed to become so */
	/* audit_read.c's; before lock, where both are taken */
	pthread_mutex_t reading_lock;
	uint32_t sizes_base, sizes_len;	/* sizes[i] is of segment sizes_base + i, which is finished; UINT64_MAX: not known */
	uint64_t *sizes;
	int reading_fd;
	uint32_t reading;
	char line[AUDIT_LINE_MAX + 1];
};

static inline struct audit_position *audit_at(struct audit_head *h)
{
	return &h->positions[atomic_load_explicit(&h->current, memory_order_acquire) & 1];
}
static inline struct audit_position *audit_spare(struct audit_head *h)
{
	return &h->positions[(atomic_load_explicit(&h->current, memory_order_acquire) & 1) ^ 1];
}
/* Puts what names a request into its place in the recents. Who is pushed out is kept while its request has no answer: its handler may be held up between record and answer for as long as it likes. */
void audit_recent_put(struct audit *a, uint64_t *place, uint64_t recent);
static inline uint64_t audit_recent_unique(uint64_t recent) { return recent >> 8; }
/* Of that position's segment. */
static inline uint64_t *audit_allocated(struct audit_head *h, const struct audit_position *p) { return &h->allocated[p - h->positions]; }
/* Makes the spare position the valid one and destroys the key of the past. */
void audit_publish(struct audit_head *h);

/* Where a line is to be put. */
struct audit_place {
	int fd;
	struct audit_space *space;
	uint32_t segment;
	uint64_t start;		/* the file's size */
	int64_t opened;
	bool newline;		/* end what stands there first */
	bool reserve;		/* the reserve may be used */
	uint32_t oldest;	/* the oldest segment from this record on; 0: as before */
};
/* Renders, seals, writes and publishes one record, whatever the rates say; with lock, which it keeps. tally: what the record tells of, or NULL. A write that failed is undone, or the log is dirty.
 * 0, -EIO, -ENOSPC. */
int audit_put_at(struct audit *a, const struct audit_event *e, struct audit_tally *tally, const struct audit_place *place);
/* The same at the end of the open segment, after audit_ready; its bytes are the caller's neighbour's. */
int audit_put(struct audit *a, const struct audit_event *e, struct audit_tally *tally);
/* Ends a torn tail and begins a new segment where that is due; may let go of the lock for a moment. 0, -EIO, -ENOSPC. */
int audit_ready(struct audit *a);
/* A Torn record for what lies in the place's file from `from` to its start. */
int audit_put_torn(struct audit *a, uint64_t from, struct audit_place *place);
/* Ends the bytes that lie behind the head. */
int audit_end_torn(struct audit *a);
/* The open segment is not what we wrote. */
void audit_note_lost(struct audit *a);
/* Moves on to a new segment; the old one goes on being used where that fails, and for a second it is not tried again. Not while syncing. because: for the record, or NULL. */
int audit_rotate(struct audit *a, const char *because);
/* Until every record before seq is on the disk; lets go of the lock meanwhile. 0, -EIO. */
int audit_wait_durable(struct audit *a, uint64_t seq);
int audit_durable_point(struct audit *a);	/* with lock, which it lets go of meanwhile: everything written, and the head file, are on the disk. 0, -EIO */
void audit_free(struct audit *a);	/* closes and releases, writes nothing; accepts NULL and what audit_open half built */
int64_t audit_monotonic(void);
void audit_why(char *why, size_t why_len, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ---- audit_retain.c ---- */

/* The oldest segment as the open one's first record has it, for a head that does not say. */
uint32_t audit_oldest_of_before(struct audit *a);
/* Without lock, from the ticking thread: is the directory as it was left? What is not is recorded. */
void audit_look(struct audit *a);
/* Likewise: what is to go by retention is recorded, and then removed. */
void audit_retention(struct audit *a);
/* With lock, after audit_ready: an AuditTampered record, of which whoever asks is told. 0, -EIO, -ENOSPC. */
int audit_put_tampered(struct audit *a, const char *detail);

/* ---- audit_inherit.c ---- */

/* At a takeover, before anything reads them: the tables of the head hold what can be used, whoever wrote them. */
void audit_inherit_tables(struct audit *a);

/* ---- audit_fold.c; with lock ---- */

enum audit_fate { AUDIT_WRITE = 0, AUDIT_FOLDED, AUDIT_KNOWN, AUDIT_REFUSED };
enum audit_fate audit_fold_decide(struct audit *a, const struct audit_event *e, uint32_t *ret_delay_ms);
/* Writes entries that are due, or all; lets go of the lock in between. The first error. */
int audit_fold_flush(struct audit *a, bool all);
/* After a takeover: what was being counted is counted, once; an entry whose record was written is not written again. */
void audit_fold_settle(struct audit *a);
/* One more in a tally, which belongs to folds or repeats at index: it and the request's name together, whoever is killed meanwhile. */
void audit_count(struct audit *a, struct audit_tally *t, bool repeat, size_t index, const struct audit_event *e);
/* "folded, from … to …" */
void audit_fold_detail(const struct audit_tally *t, const char *more, char ret[128]);
/* Ends with the record of a tally, which is free then. */
int audit_tally_write(struct audit *a, const struct audit_event *e, struct audit_tally *t);

/* Is a bucket, which empties at one of interval each, not full (span)? *due is the moment at which it will be empty (GCRA, ITU-T I.371): one word, so that it is never half written. What does not fit is not added. */
static inline bool audit_bucket_fits(int64_t due, int64_t now, int64_t interval, int64_t span)
{
	return (due > now ? due - now : 0) + interval <= span;
}

/* ---- audit_repeat.c; with lock ---- */

/* AUDIT_WRITE, or counted and AUDIT_FOLDED. For what was allowed, to whom it is no act of an administrator. */
enum audit_fate audit_repeat_decide(struct audit *a, const struct audit_event *e);
int audit_repeat_flush(struct audit *a, bool all);

/* ---- audit_share.c; with lock ---- */

/* Works out anew what shares are. */
void audit_share_look(struct audit *a);
/* Has the neighbour written its share? */
bool audit_share_over(struct audit *a, uint64_t neighbour);
void audit_share_add(struct audit *a, uint64_t neighbour, uint64_t bytes);
/* The one that has written most, and how many percent of a share; false: nobody anything. */
bool audit_share_heaviest(struct audit *a, uint64_t *ret_neighbour, uint32_t *ret_percent);
/* It is at least that heavy: what a file says. */
void audit_share_put(struct audit *a, uint64_t neighbour, int64_t due);

/* ---- audit_kept.c: shares that outlive the daemon's memory; without lock ---- */

void audit_shares_load(struct audit *a);
void audit_shares_save(struct audit *a, bool at_once);

/* SipHash-2-4 (Aumasson, Bernstein 2012), under the head's key. */
struct audit_hash { uint64_t v[4]; };
void audit_hash_begin(const struct audit_head *h, struct audit_hash *ret);
void audit_hash_word(struct audit_hash *x, uint64_t word);
uint64_t audit_hash_end(struct audit_hash *x);

#endif
