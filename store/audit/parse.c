/* Reading records: by position, which is enough since the seal says that we rendered them. */
#include <errno.h>
#include <string.h>

#include "store/audit/format.h"
#include "store/audit/log.h"

/* Digits without a leading zero, ended by `end`. Returns what follows end, or NULL. */
static const char *take_number(const char *p, const char *limit, char end, uint64_t *ret)
{
	uint64_t n = 0;
	const char *start = p;

	for (; p < limit && *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(n, 10u, &n) || __builtin_add_overflow(n, (unsigned int)(*p - '0'), &n))
			return NULL;
	if (p == start || (*start == '0' && p > start + 1) || p == limit || *p != end)
		return NULL;
	*ret = n;
	return p + 1;
}

static const char *take(const char *p, const char *limit, const char *text)
{
	size_t len = strlen(text);

	return p && (size_t)(limit - p) >= len && !memcmp(p, text, len) ? p + len : NULL;
}

int audit_parse(const char *line, size_t len, struct audit_record *ret)
{
	struct audit_record rec = { 0 };
	const char *limit = line + len, *p = take(line, limit, "{\"seq\":"), *tail, *end;

	if (!p || len > AUDIT_LINE_MAX - 1 || !(p = take_number(p, limit, ',', &rec.seq)))
		return -EBADMSG;
	const size_t prev_len = sizeof ",\"prev\":\"\"" - 1 + AUDIT_HEX_LEN, mac_len = AUDIT_SEAL_LEN - 1;
	if ((size_t)(limit - p) < prev_len + mac_len)
		return -EBADMSG;
	tail = limit - mac_len - prev_len;
	if (!(tail = take(tail, limit, ",\"prev\":\"")) || audit_unhex(tail, rec.prev) < 0)
		return -EBADMSG;
	if (!(tail = take(tail + AUDIT_HEX_LEN, limit, "\",\"mac\":\"")) || audit_unhex(tail, rec.mac) < 0 ||
	    !take(tail + AUDIT_HEX_LEN, limit, "\"}"))
		return -EBADMSG;
	rec.body_len = len - mac_len;
	/* A bare quote cannot stand inside a string, so the first match is the field. */
	p = memmem(line, rec.body_len, ",\"operation\":\"", 14);
	if (!p || !(end = memchr(p + 14, '"', (size_t)(line + rec.body_len - p - 14))))
		return -EBADMSG;
	rec.operation = p + 14;
	rec.operation_len = (size_t)(end - rec.operation);
	*ret = rec;
	return 0;
}

bool audit_record_is(const struct audit_record *rec, enum audit_operation op)
{
	const char *name = audit_operation_name(op);

	return rec->operation_len == strlen(name) && !memcmp(rec->operation, name, rec->operation_len);
}

static const char *field(const char *line, const struct audit_record *rec, const char *key)
{
	const char *p = memmem(line, rec->body_len, key, strlen(key));

	return p ? p + strlen(key) : NULL;
}

bool audit_record_request(const char *line, const struct audit_record *rec, uint64_t *ret_connection,
			  uint64_t *ret_recent)
{
	const char *p = field(line, rec, ",\"request\":\""), *limit = line + rec->body_len;
	uint64_t connection = 0, unique;

	if (!p || limit - p < 17)
		return false;
	for (int i = 0; i < 16; i++, p++) {
		int value = audit_hex_value(*p);
		if (value < 0)
			return false;
		connection = connection << 4 | (uint64_t)value;
	}
	if (*p++ != '-' || !take_number(p, limit, '"', &unique))
		return false;
	const char *word = field(line, rec, ",\"result\":\"");
	for (unsigned int op = 1; word && op < AUDIT_OPERATIONS; op++)
		for (unsigned int result = 0; result < AUDIT_RESULTS; result++)
			if (audit_record_is(rec, (enum audit_operation)op) &&
			    take(word, limit, audit_results[result])) {
				*ret_connection = connection;
				*ret_recent = audit_recent(unique, (enum audit_operation)op, (enum audit_result)result);
				return true;
			}
	return false;
}

bool audit_record_is_of_now(const char *line, const struct audit_record *rec)
{
	return field(line, rec, ",\"principal\":") != NULL; /* no string holds a quotation mark as it is */
}

bool audit_record_torn(const char *line, const struct audit_record *rec, struct audit_torn *ret)
{
	const char *limit = line + rec->body_len, *p = field(line, rec, ",\"detail\":\"torn, ");
	struct audit_torn t;

	if (!audit_record_is(rec, AUDIT_TORN) || !p || !(p = take_number(p, limit, ' ', &t.len)))
		return false;
	if (!(p = take(p, limit, "bytes at ")) || !(p = take_number(p, limit, ' ', &t.offset)))
		return false;
	if (!(p = take(p, limit, "of segment ")) || !(p = take_number(p, limit, ',', &t.segment)) ||
	    !(p = take(p, limit, " SHA-256 ")))
		return false;
	if ((size_t)(limit - p) < AUDIT_HEX_LEN + 1 || audit_unhex(p, t.digest) < 0)
		return false;
	p += AUDIT_HEX_LEN;
	t.oldest = 0;
	if (*p != '"') {
		uint64_t oldest;
		if (!(p = take(p, limit, "; oldest ")) || !take_number(p, limit, '"', &oldest) || oldest == 0 ||
		    oldest > AUDIT_SEGMENT_NUMBER_MAX)
			return false;
		t.oldest = (uint32_t)oldest;
	}
	*ret = t;
	return true;
}

bool audit_record_segment(const char *line, const struct audit_record *rec, uint32_t *ret_segment, uint32_t *ret_oldest,
			  bool *ret_because)
{
	const char *limit = line + rec->body_len, *p = field(line, rec, ",\"detail\":\"segment ");
	uint64_t segment, oldest;

	if (!audit_record_is(rec, AUDIT_SEGMENT) || !p || !(p = take_number(p, limit, ',', &segment)))
		return false;
	p = take(p, limit, " oldest ");
	if (!p || (!take_number(p, limit, '"', &oldest) && !take_number(p, limit, ';', &oldest)) ||
	    segment > AUDIT_SEGMENT_NUMBER_MAX || oldest > segment)
		return false;
	*ret_segment = (uint32_t)segment;
	*ret_oldest = (uint32_t)oldest;
	*ret_because = take_number(p, limit, ';', &oldest);
	return true;
}

bool audit_record_removed(const char *line, const struct audit_record *rec, struct audit_removed *ret)
{
	const char *limit = line + rec->body_len, *p = field(line, rec, ",\"detail\":\"segment ");
	struct audit_removed got;
	uint64_t segment;

	if (!audit_record_is(rec, AUDIT_SEGMENT_REMOVE) || !p || !(p = take_number(p, limit, ',', &segment)) ||
	    segment == 0 || segment > AUDIT_SEGMENT_NUMBER_MAX)
		return false;
	if (!(p = take(p, limit, " last record ")) || !(p = take_number(p, limit, ',', &got.last)) ||
	    !(p = take(p, limit, " hash ")))
		return false;
	if ((size_t)(limit - p) < AUDIT_HEX_LEN + 1 || p[AUDIT_HEX_LEN] != '"' || audit_unhex(p, got.digest) < 0)
		return false;
	got.segment = (uint32_t)segment;
	*ret = got;
	return true;
}
