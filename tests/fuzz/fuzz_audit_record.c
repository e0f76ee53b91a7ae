/* A line of the log as an attacker writes it; and whatever bytes come as names: the record must be one line of
 * printable ASCII that parses again. */
#include <stdlib.h>
#include <string.h>

#include "store/audit/format.h"
#include "store/audit/head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse(const char *line, size_t len)
{
	struct audit_record rec;
	struct audit_torn torn;
	uint64_t connection, recent;
	uint32_t segment, oldest;
	bool because;

	if (audit_parse(line, len, &rec) < 0)
		return;
	if (rec.body_len >= len || rec.operation < line || rec.operation + rec.operation_len > line + rec.body_len)
		abort();
	(void)audit_record_request(line, &rec, &connection, &recent);
	(void)audit_record_torn(line, &rec, &torn);
	if (audit_record_segment(line, &rec, &segment, &oldest, &because) && oldest > segment)
		abort();
}

/* The input as the text of every field, and then as an attack on the tail of a true record. */
static void render(const uint8_t *data, size_t size)
{
	static struct audit_position at, next;
	static struct audit_names names;
	static struct audit_clock clock;
	char raw[1100], line[AUDIT_LINE_MAX];
	size_t n = size < sizeof raw - 1 ? size : sizeof raw - 1, len;
	struct audit_record rec;

	memcpy(raw, data, n);
	raw[n] = '\0';
	struct audit_caller who = { .comm = raw, .exe = raw, .unit = raw, .container = raw, .pid = -1, .loginuid = -1 };
	struct audit_event e = {
		.operation = n % 2 ? AUDIT_TORN : AUDIT_SEGMENT,
		.result = AUDIT_ERROR,
		.error = (int)n,
		.secret = raw,
		.caller = &who,
		.role = raw,
		.unique = n,
		.detail = raw,
	};
	audit_names_set(&names, raw, raw, 1);
	size_t body = audit_render(line, &names, &clock, (int64_t)n * AUDIT_NS, n, 1, &e, at.prev);
	if (body + AUDIT_SEAL_LEN > sizeof line || audit_seal(line, body, &at, &next, &len) < 0 ||
	    line[len - 1] != '\n')
		abort();
	for (size_t i = 0; i + 1 < len; i++)
		if (line[i] < 0x20 || line[i] > 0x7e)
			abort();
	if (audit_parse(line, len - 1, &rec) < 0 || rec.seq != n || !audit_record_is(&rec, e.operation))
		abort();
	parse(line, len - 1);
	if (n > 3) {
		line[(size_t)(data[0] | data[1] << 8) % len] = (char)data[2];
		parse(line, len - 1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	parse((const char *)data, size);
	render(data, size);
	return 0;
}
