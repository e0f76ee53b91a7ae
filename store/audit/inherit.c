/* What the worker before us left in the head. It may have been somebody else's in the end, and has written there what
 * it liked. The numbers of the log itself are checked against the files (audit_open.c); here the tables are made such
 * that whoever reads them reads no further than they reach, and that no bucket stays full for ever. Counts are kept,
 * whatever stands beside them. */
#include "store/audit/inherit.h"

#include <string.h>

#include "store/audit/log.h"

#define UNKNOWN_CALLER                                                                                        \
	"{\"uid\":null,\"gid\":null,\"pid\":null,\"comm\":null,\"exe\":null,\"loginuid\":null,\"unit\":null," \
	"\"container\":null,\"groups\":null}"

static void end_text(char *text, size_t size) { text[size - 1] = '\0'; }

static void tally_check(struct audit_tally *t)
{
	if (t->first < 0)
		t->first = 0;
	if (t->last < 0)
		t->last = 0;
}

static bool is_caller(const char *json, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (json[i] < 0x20 || json[i] > 0x7e)
			return false;
	return len > 2 && json[0] == '{' && json[len - 1] == '}';
}

static void repeat_check(struct audit_repeat *r)
{
	tally_check(&r->tally);
	end_text(r->secret, sizeof r->secret);
	end_text(r->role, sizeof r->role);
	end_text(r->principal, sizeof r->principal);
	if (r->tally.count == 0 || (r->caller_len <= sizeof r->caller && is_caller(r->caller, r->caller_len)))
		return;
	r->caller_len = sizeof UNKNOWN_CALLER - 1;
	memcpy(r->caller, UNKNOWN_CALLER, r->caller_len);
}
_Static_assert(sizeof UNKNOWN_CALLER <= AUDIT_CALLER_JSON_MAX, "nobody fits where somebody does");

static void bucket_check(int64_t *due, int64_t latest)
{
	if (*due > latest)
		*due = latest;
}

/* Who died between a record and this leaves a stream that says it is counted, and is not: nobody else would ever have
 * its place. */
static void stream_check(struct audit_head *h, size_t index)
{
	struct audit_stream *s = &h->streams[index];
	const struct audit_repeat *r = s->repeat && s->repeat <= AUDIT_REPEATS ? &h->repeats[s->repeat - 1] : NULL;

	if (!r || r->tally.count == 0 || r->stream != index)
		s->repeat = 0;
}

static int64_t span(uint32_t rate, uint32_t burst) { return AUDIT_NS / (int64_t)rate * (int64_t)burst; }

void audit_inherit_tables(struct audit *a)
{
	struct audit_head *h = a->head;
	const int64_t now = audit_monotonic(), opens = span(a->config.open_rate, a->config.open_burst),
		      looks = span(AUDIT_LOOK_RATE, AUDIT_LOOK_BURST);

	for (size_t i = 0; i < AUDIT_FOLDS; i++) {
		tally_check(&h->folds[i].tally);
		end_text(h->folds[i].secret, sizeof h->folds[i].secret);
	}
	for (size_t i = 0; i < AUDIT_REPEATS; i++)
		repeat_check(&h->repeats[i]);
	for (size_t i = 0; i < AUDIT_STREAMS; i++) {
		bucket_check(&h->streams[i].due, now + (opens > looks ? opens : looks));
		stream_check(h, i);
	}
	for (size_t i = 0; i < AUDIT_RATES; i++)
		bucket_check(&h->rates[i].due, now + span(a->config.deny_rate, a->config.deny_burst));
	bucket_check(&h->all_denials.due, now + span(AUDIT_DENY_ALL_RATE, AUDIT_DENY_ALL_BURST));
	for (size_t i = 0; i < AUDIT_SHARES; i++)
		bucket_check(&h->shares[i].due, now + a->config.keep_seconds * (int64_t)AUDIT_NS);
	end_text(h->tampering.detail, sizeof h->tampering.detail);
}
