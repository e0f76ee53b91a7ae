/* Records as text: rendering and parsing. */
#ifndef COFFER_STORE_AUDIT_FORMAT_H
#define COFFER_STORE_AUDIT_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/audit/record.h"
#include "store/crypto/aead.h"

struct audit_position;

#define AUDIT_LINE_MAX 8192 /* a record with its newline; the renderer's limits below keep within it */
#define AUDIT_HEX_LEN  (2 * DIGEST_LEN)
#define AUDIT_SEAL_LEN (sizeof ",\"mac\":\"\"}\n" - 1 + AUDIT_HEX_LEN)
#define AUDIT_NS       1000000000

#define AUDIT_EXE_MAX       160 /* escaped bytes */
#define AUDIT_VAULT_MAX     64  /* raw bytes; each may become six */
#define AUDIT_SECRET_MAX    255
#define AUDIT_ROLE_MAX      64
#define AUDIT_DETAIL_MAX    512
/* ASCII that needs no escapes: eight conditions are 135 bytes; audit_repeat has room for it */
#define AUDIT_PRINCIPAL_MAX 144

/* What is the same in every record, rendered once. */
struct audit_names {
	char middle[2 * 6 * AUDIT_VAULT_MAX + 64]; /* Z","vault":"…","host":"…","operation":" */
	size_t middle_len;
	char request[20]; /* "<16 hex>- */
	char vault[AUDIT_VAULT_MAX + 1], host[AUDIT_VAULT_MAX + 1];
};
void audit_names_set(struct audit_names *n, const char *vault, const char *host, uint64_t connection);

/* The time as text, but for its nanoseconds, of the second that was asked for last. */
struct audit_clock {
	int64_t second;
	char text[20];
};
int64_t audit_now(void); /* ns since the epoch */

/* Renders the body of a record; at most AUDIT_LINE_MAX - AUDIT_SEAL_LEN - 1 bytes. */
size_t audit_render(char *ret_line, const struct audit_names *names, struct audit_clock *clock, int64_t now,
		    uint64_t seq, uint64_t count, const struct audit_event *e, const uint8_t prev[DIGEST_LEN]);
/* Adds the seal and the newline; *ret_len is the whole line's. Computes the position after it in ret_next (seq, prev,
 * key; the rest is copied). 0 or -EIO. */
int audit_seal(char *line, size_t body_len, const struct audit_position *at, struct audit_position *ret_next,
	       size_t *ret_len);
int audit_evolve(const uint8_t key[KEY_LEN], uint8_t ret_key[KEY_LEN]);

/* Escapes raw into at most room bytes of JSON string content. Returns their number. */
size_t audit_escape(char *ret, size_t room, const char *raw, size_t raw_max);
void audit_hex(char ret[AUDIT_HEX_LEN], const uint8_t digest[DIGEST_LEN]);
int audit_hex_value(char c); /* of one digit; -1: it is none */
int audit_unhex(const char *hex, uint8_t ret[DIGEST_LEN]);

/* What a record's result begins with, to its closing quote; by enum audit_result. */
#define AUDIT_RESULTS    (AUDIT_ERROR + 1)
#define AUDIT_OPERATIONS 64 /* more than there are: audit_recent() has six bits for one */
extern const char *const audit_results[AUDIT_RESULTS];

struct audit_record { /* points into the line */
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
bool audit_record_request(const char *line, const struct audit_record *rec, uint64_t *ret_connection,
			  uint64_t *ret_recent);
struct audit_torn {
	uint64_t len, offset, segment;
	uint32_t oldest; /* of one that begins a segment; 0: it does not say */
	uint8_t digest[DIGEST_LEN];
};
/* Was it written by a version that records each removal by retention? The ones before knew no principals. */
bool audit_record_is_of_now(const char *line, const struct audit_record *rec);
bool audit_record_torn(const char *line, const struct audit_record *rec, struct audit_torn *ret);
bool audit_record_segment(const char *line, const struct audit_record *rec, uint32_t *ret_segment, uint32_t *ret_oldest,
			  bool *ret_because);
/* A removal by retention: the segment's number, the number of its last record and that one's h. */
struct audit_removed {
	uint32_t segment;
	uint64_t last;
	uint8_t digest[DIGEST_LEN];
};
bool audit_record_removed(const char *line, const struct audit_record *rec, struct audit_removed *ret);
/* Details that audit itself writes and reads. */
#define AUDIT_REMOVED_DETAIL "segment %u, last record %llu, hash %.64s"
#define AUDIT_SEGMENT_DETAIL "segment %u, oldest %u"
#define AUDIT_TORN_DETAIL    "torn, %llu bytes at %llu of segment %u, SHA-256 %.64s"
#define AUDIT_TORN_OLDEST    "; oldest %u" /* where it stands for the Segment record */

int64_t audit_monotonic(void);
void audit_why(char *why, size_t why_len, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
