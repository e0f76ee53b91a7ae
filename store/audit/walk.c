/* From one record to the next, each proved. */
#include "store/audit/walk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/audit/format.h"
#include "store/audit/segment.h"
#include "store/crypto/secbuf.h"

#define WALK_BUFFER (256u << 10)

/* len bytes from the position of w on are what the record names. */
static bool torn_matches(const struct audit_walk *w, int fd, uint64_t len, const char *line,
			 const struct audit_record *rec)
{
	struct audit_torn torn;
	uint8_t digest[DIGEST_LEN], *data;
	bool same = false;

	if (!audit_record_torn(line, rec, &torn) || torn.len != len || torn.offset != w->at.size ||
	    torn.segment != w->at.segment)
		return false;
	data = malloc(len ? len : 1);
	struct bytes part = { data, len };
	if (data && audit_pread_full(fd, data, len, w->at.size) == 0 && sha256(&part, 1, digest) == 0)
		same = !memcmp(digest, torn.digest, sizeof digest);
	free(data);
	return same;
}

/* NULL: the line is the next record, and *ret_next is what follows it. */
static const char *line_check(struct audit_walk *w, const char *line, size_t len, struct audit_record *ret_rec,
			      struct audit_position *ret_next)
{
	uint8_t hash[DIGEST_LEN], mac[DIGEST_LEN];
	struct bytes hashed = { hash, sizeof hash };

	if (audit_parse(line, len, ret_rec) < 0)
		return "not a record";
	w->bad_shaped++; /* taken back if it is the record */
	if (ret_rec->seq != w->at.seq)
		return ret_rec->seq < w->at.seq ? "an earlier record stands here: doubled or moved"
						: "records are missing before it, or were moved";
	struct bytes body = { line, ret_rec->body_len };
	if (sha256(&body, 1, hash) < 0 || hmac256(w->at.key, &hashed, 1, mac) < 0)
		return "out of memory";
	if (secret_cmp(ret_rec->prev, w->at.prev, DIGEST_LEN))
		return "the chain is broken: the record before is not the one that this one followed";
	if (secret_cmp(mac, ret_rec->mac, DIGEST_LEN))
		return "the seal is wrong: altered, or not sealed with the key of its moment";
	if (audit_evolve(w->at.key, ret_next->key) < 0)
		return "out of memory";
	memcpy(ret_next->prev, hash, sizeof hash);
	ret_next->seq = w->at.seq + 1;
	w->bad_shaped--;
	return NULL;
}

/* offset: of the line in its file. */
static int line_take(struct audit_walk *w, int fd, uint64_t offset, const char *line, size_t len)
{
	struct audit_position next = w->at;
	struct audit_record rec;
	int r = 0;

	w->line++;
	const char *bad = len == SIZE_MAX ? "not a record: too long" : line_check(w, line, len, &rec, &next);
	if (!bad && audit_record_is(&rec, AUDIT_TORN)) {
		/* the newline before it was put there to end what was torn */
		if (offset == w->at.size || !torn_matches(w, fd, offset - w->at.size - 1, line, &rec))
			bad = "the torn bytes that it names are not there";
		else
			w->torn++;
	} else if (!bad && w->bad_lines) {
		bad = w->bad_why; /* a good record does not excuse what stands before it */
	}
	if (bad) {
		if (w->bad_lines++ == 0) {
			w->bad_line = w->line;
			w->bad_why = bad;
		}
	} else {
		next.size = offset + len + 1;
		w->at = next;
		w->records++;
		w->bad_lines = w->bad_shaped = 0;
		r = w->accepted ? w->accepted(w, line, &rec) : 0;
	}
	secmem_wipe(&next, sizeof next);
	return r;
}

int audit_walk_segment(struct audit_walk *w, int fd)
{
	char *buffer = malloc(WALK_BUFFER);
	uint64_t offset = w->at.size; /* of buffer[0] */
	size_t have = 0;
	bool skipping = false; /* inside a line that is longer than any record */
	uint64_t skip_from = 0;
	int r = buffer ? 0 : -ENOMEM;

	w->bad_lines = w->bad_shaped = 0;
	while (r == 0) {
		ssize_t n = pread(fd, buffer + have, WALK_BUFFER - have, (off_t)(offset + have));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			r = n < 0 ? -EIO : 0;
			break;
		}
		have += (size_t)n;

		char *p = buffer, *limit = buffer + have, *end;
		while (r == 0 && (end = memchr(p, '\n', (size_t)(limit - p))) != NULL) {
			size_t len = skipping ? SIZE_MAX : (size_t)(end - p);
			r = line_take(w, fd, skipping ? skip_from : offset + (uint64_t)(p - buffer), p, len);
			skipping = false;
			p = end + 1;
		}
		have = (size_t)(limit - p);
		offset += (uint64_t)(p - buffer);
		memmove(buffer, p, have);
		if (have >= AUDIT_LINE_MAX) {
			if (!skipping)
				skip_from = offset;
			skipping = true;
			offset += have;
			have = 0;
		}
	}
	free(buffer);
	return r;
}
