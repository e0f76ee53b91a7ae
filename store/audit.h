/* The audit log: JSON Lines in segments, chained by hash and sealed by a key that moves forward.
 *
 * Record n is a line  {…,"prev":"<hex>","mac":"<hex>"}\n  where prev is SHA-256 of line n-1 (without its newline) and mac is HMAC-SHA-256 under K_n of
 * everything before the mac. K_{n+1} = HMAC(K_n, "evolve") and K_n is destroyed: what is written cannot be altered by whoever holds K_{n+1}. Order: append, then evolve.
 * The format and what verify can and cannot find are documented at the top of audit_format.c and in contrib/doc/FORMAT.md.
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
	AUDIT_SECRET_RECOVER, AUDIT_SECRET_PURGE, AUDIT_SECRET_BACKUP, AUDIT_SECRET_RESTORE,
	AUDIT_BINDING_CREATE, AUDIT_BINDING_DELETE, AUDIT_BINDING_LIST, AUDIT_ROLE_CREATE, AUDIT_ROLE_LIST,
	AUDIT_VAULT_CREATE, AUDIT_VAULT_UPDATE, AUDIT_VAULT_SEAL, AUDIT_VAULT_UNSEAL, AUDIT_VAULT_STATUS, AUDIT_VAULT_METRICS, AUDIT_VAULT_START, AUDIT_VAULT_STOP,
	AUDIT_AUDIT_READ, AUDIT_BREAK_GLASS, AUDIT_CAN_I, AUDIT_WORKER_START,
	AUDIT_SEGMENT,		/* first record of each segment; written by audit itself */
	AUDIT_TORN,		/* names a torn line's length and hash; written by audit itself */
};
const char *audit_operation_name(enum audit_operation op);	/* "SecretGet", … */

enum audit_result { AUDIT_DENY = 0, AUDIT_ALLOW, AUDIT_ERROR };

#define AUDIT_CALLER_JSON_MAX 1024

/* Who, as it stands in the record. The strings are raw (audit escapes them) and may be NULL. audit_caller_render fills json once, so that a caller that opens
 * often is not rendered often. */
struct audit_caller {
	uint32_t uid, gid;
	int32_t pid;
	int64_t loginuid;	/* -1: none */
	const char *comm, *exe, *unit, *container;
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
	uint64_t unique;		/* of the FUSE request, without the resend bit; 0: none */
	bool resent;			/* the request carries the resend bit: if unique was recorded already, nothing is written and 0 is returned */
	uint32_t duration_us;
	const char *detail;		/* further words for a person, raw, NULL: none (field "detail") */
	bool privileged;		/* an administrator's act: may use the reserve */
};

/* ---- the head, in memory that the keeper owns ---- */

#define AUDIT_FOLDS   128
#define AUDIT_RECENTS 512
struct audit_fold { uint32_t uid; uint16_t operation; uint16_t error; uint64_t count; int64_t first, last; char secret[128]; struct { double tokens; int64_t at; } rate; };
struct audit_head {
	uint32_t magic;			/* 0: not initialised: audit_open takes it from the head file */
	uint32_t segment;		/* number of the open segment */
	uint64_t seq;			/* of the next record */
	uint64_t size;			/* bytes of the open segment that are whole records */
	uint8_t prev[DIGEST_LEN];
	uint8_t key[KEY_LEN];		/* K_seq: this memory is locked and never dumped */
	uint64_t connection;		/* random, names this mount in "request" */
	uint64_t durable_seq;		/* everything before it was fdatasync'd */
	uint32_t recent_at;
	uint64_t recents[AUDIT_RECENTS];
	struct audit_fold folds[AUDIT_FOLDS];
};

/* ---- opening ---- */

enum audit_durability { AUDIT_DURABILITY_PROCESS = 0, AUDIT_DURABILITY_FDATASYNC };

struct audit_config {
	int dir_fd;			/* STORE/audit; read access only */
	int head_fd;			/* STORE/audit/head, O_RDWR */
	struct audit_head *head;
	const char *vault, *host;
	enum audit_durability durability;
	uint64_t segment_size;		/* bytes; 0: 16 MiB */
	uint32_t reserve;		/* bytes kept allocated for privileged records; 0: 256 KiB */
	uint32_t deny_rate, deny_burst;	/* denials a second and uid before folding; 0: 20, 100 */
	/* Opens segment number for appending (O_RDWR|O_APPEND; create: makes it, O_EXCL). The keeper does it for a worker; it also applies retention. */
	int (*segment_open)(void *arg, uint32_t number, bool create, int *ret_fd);
	void *arg;
};

struct audit;

/* Takes the log over: initialises the head from the head file if need be, rolls forward over records that are in the segment but not in the head (each verified), ends a torn tail
 * and records it. 0; -EBADMSG: the log does not continue from the head (why says where); -EIO, -ENOSPC. */
int audit_open(const struct audit_config *config, struct audit **ret_audit, char *why, size_t why_len);
void audit_close(struct audit *a);	/* flushes folds and makes a durable point; accepts NULL */

/* Writes one record, or folds it (denials beyond the rate). 0; -EIO or -ENOSPC: nothing was written, and nothing may be served. *ret_delay_ms (may be NULL) is how long the caller of a
 * denied request should be kept waiting. */
int audit_append(struct audit *a, const struct audit_event *e, uint32_t *ret_delay_ms);

/* Call about once a second: writes folded records that are due, makes a durable point, moves on to a new segment by age, grows the reserve again. */
int audit_tick(struct audit *a);

/* For status: seq of the next record, the chain's hash in hex, headroom, whether writing fails at present. */
struct audit_state { uint64_t seq; char head[2 * DIGEST_LEN + 1]; uint64_t segments, bytes; uint32_t headroom_percent; int failing; bool append_only; };
void audit_state(struct audit *a, struct audit_state *ret_state);

/* ---- reading: the retained segments from `base` on, one after the other ---- */

int audit_first_segment(struct audit *a, uint32_t *ret_base);
int audit_size(struct audit *a, uint32_t base, uint64_t *ret_size);
int audit_read(struct audit *a, uint32_t base, uint64_t offset, void *ret, size_t len, size_t *ret_read);

/* ---- offline ---- */

/* Makes STORE/audit (root's): the first key, head and segment, with a VaultCreate record; writes the verify key file (0600, O_EXCL). */
int audit_create(const char *store_dir, const char *verify_path, const char *vault, uint32_t group, char *why, size_t why_len);

struct audit_verify_report { uint64_t records, segments, torn, first_seq, last_seq; };
/* Walks every segment under the verify key. Says in why which segment, line and seq fails first. head (may be NULL) is the daemon's own word of {seq, hash}, against truncation.
 * 0; -EBADMSG; -ENOENT (no log, or no verify key). Safe beside a running daemon: a last line without a newline is then not an error. */
int audit_verify(const char *store_dir, const char *verify_path, struct audit_verify_report *ret, char *why, size_t why_len);

/* segment_open for processes that may open the directory themselves (offline commands, the keeper): shared so that names and modes agree. */
int audit_segment_open_at(int dir_fd, uint32_t number, bool create, uint32_t group, int *ret_fd);
/* Removes segments beyond keep_bytes in all and older than keep_seconds, never the newest; called by the keeper when it made a new one. */
int audit_retain(int dir_fd, uint64_t keep_bytes, int64_t keep_seconds);

#endif
