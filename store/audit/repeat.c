/* What is allowed can be repeated for ever, too, by whoever has the right: one process that opens one version in a loop
 * would fill the log within a minute. Each open has its record, up to a rate that no honest program reaches for long;
 * beyond it what one process does again and again is counted. */
#include "store/audit/repeat.h"

#include <stdio.h>
#include <string.h>

#include "store/audit/hash.h"
#include "store/audit/log.h"
#include "store/audit/put.h"
#include "store/audit/tally.h"

#define WAYS        8u                       /* entries of a set */
#define REPEAT_AGE  (700 * (int64_t)1000000) /* with a tick of 250 ms: in the file within a second */
#define FLUSH_BATCH 16

_Static_assert(sizeof((struct audit_repeat *)0)->principal >= AUDIT_PRINCIPAL_MAX, "a principal is not cut");

/* ---- which operations ---- */

/* Looks at lists and texts give no value away: of them it does not matter at what. Whatever changes anything has its
 * record. */
enum folding { FOLD_NEVER = 0, FOLD_OPENS, FOLD_LOOKS };
static const uint8_t folding[] = {
	[AUDIT_SECRET_GET] = FOLD_OPENS,
	[AUDIT_SECRET_LIST] = FOLD_LOOKS,
	[AUDIT_SECRET_LIST_VERSIONS] = FOLD_LOOKS,
	[AUDIT_SECRET_LIST_DELETED] = FOLD_LOOKS,
	[AUDIT_BINDING_LIST] = FOLD_LOOKS,
	[AUDIT_ROLE_LIST] = FOLD_LOOKS,
	[AUDIT_VAULT_STATUS] = FOLD_LOOKS,
	[AUDIT_VAULT_METRICS] = FOLD_LOOKS,
	[AUDIT_AUDIT_READ] = FOLD_LOOKS,
	[AUDIT_CAN_I] = FOLD_LOOKS,
	[AUDIT_HOLDER_LIST] = FOLD_LOOKS,
	[AUDIT_ROTATION_LIST] = FOLD_LOOKS,
	[AUDIT_HOOK_LIST] = FOLD_LOOKS,
	[AUDIT_EVENTS_READ] = FOLD_LOOKS,
	[AUDIT_HISTORY_LIST] = FOLD_LOOKS,
};

static enum folding folding_of(const struct audit_event *e)
{
	static const uint8_t unknown[AUDIT_ORIGIN_LEN];

	if ((size_t)e->operation >= sizeof folding || !memcmp(e->caller->origin, unknown, sizeof unknown))
		return FOLD_NEVER;
	return (enum folding)folding[e->operation];
}

/* ---- streams ---- */

static const char *name_of(const struct audit_event *e) { return e->secret ? e->secret : ""; }

static uint64_t tag_of(const struct audit_head *h, const struct audit_event *e, bool opens)
{
	struct audit_hash x;
	uint64_t words[2];

	audit_hash_begin(h, &x);
	memcpy(words, e->caller->origin, sizeof words);
	audit_hash_word(&x, words[0]);
	audit_hash_word(&x, words[1]);
	audit_hash_word(&x, e->binding);
	audit_hash_word(&x, (uint64_t)e->operation << 32 | (opens ? e->version : 0));
	for (const char *p = name_of(e); opens && *p;) {
		size_t n = strnlen(p, sizeof words[0]);
		words[0] = 0;
		memcpy(words, p, n);
		audit_hash_word(&x, words[0]);
		p += n;
	}
	return audit_hash_end(&x) | 1;
}

/* The stream's entry, or one for it: a free one, or one of the neighbour that has more of this set than we have; NULL:
 * there is none, and nothing is folded. */
static struct audit_stream *stream_of(struct audit_head *h, uint64_t tag, uint64_t neighbour, int64_t now)
{
	struct audit_stream *set = &h->streams[(tag >> 1) % (AUDIT_STREAMS / WAYS) * WAYS], *free_one = NULL;
	unsigned int mine = 0, most = 0;

	for (size_t i = 0; i < WAYS; i++) {
		if (set[i].tag == tag)
			return &set[i];
		if (set[i].due <= now && !set[i].repeat)
			free_one = &set[i];
		mine += set[i].neighbour == neighbour;
	}
	for (size_t i = 0; i < WAYS && !free_one; i++) {
		unsigned int its = 0;
		for (size_t k = 0; k < WAYS; k++)
			its += set[k].neighbour == set[i].neighbour;
		if (!set[i].repeat && set[i].neighbour != neighbour && its > most) {
			most = its;
			if (its > mine + 1)
				free_one = &set[i];
		}
	}
	if (free_one)
		*free_one = (struct audit_stream){ .tag = tag, .neighbour = neighbour };
	return free_one;
}

/* ---- counting ---- */

static bool counts_here(const struct audit_repeat *r, const struct audit_event *e, bool opens)
{
	return r->tally.count && r->operation == e->operation && r->binding == e->binding &&
	       !memcmp(r->origin, e->caller->origin, sizeof r->origin) &&
	       (!opens || (r->version == e->version && !strncmp(r->secret, name_of(e), sizeof r->secret)));
}

/* A neighbour has no more of them than it leaves. NULL: this one gets a record of its own. */
static struct audit_repeat *repeat_new(struct audit_head *h, const struct audit_event *e, uint32_t stream)
{
	struct audit_repeat *r = NULL;
	size_t mine = 0, left = 0;

	for (size_t i = 0; i < AUDIT_REPEATS; i++) {
		if (h->repeats[i].tally.count == 0) {
			left++;
			r = &h->repeats[i];
		} else {
			mine += h->repeats[i].neighbour == e->caller->neighbour;
		}
	}
	if (!r || mine >= left || strlen(name_of(e)) >= sizeof r->secret ||
	    strlen(e->role ? e->role : "") >= sizeof r->role)
		return NULL;
	memcpy(r->origin, e->caller->origin, sizeof r->origin);
	r->neighbour = e->caller->neighbour;
	r->binding = e->binding;
	r->version = e->version;
	r->stream = stream;
	r->operation = (uint16_t)e->operation;
	r->mixed = 0;
	snprintf(r->secret, sizeof r->secret, "%s", name_of(e));
	snprintf(r->role, sizeof r->role, "%s", e->role ? e->role : "");
	snprintf(r->principal, sizeof r->principal, "%s", e->principal ? e->principal : "");
	struct audit_caller rendered = { .json_len = e->caller->json_len };
	const struct audit_caller *who = e->caller;
	if (!rendered.json_len) {
		rendered = *who;
		audit_caller_render(&rendered);
		who = &rendered;
	}
	r->caller_len = who->json_len;
	memcpy(r->caller, who->json, who->json_len);
	return r;
}

static bool count(struct audit *a, struct audit_stream *s, const struct audit_event *e, bool opens)
{
	struct audit_head *h = a->head;
	struct audit_repeat *r = s->repeat && s->repeat <= AUDIT_REPEATS ? &h->repeats[s->repeat - 1] : NULL;

	if (!r || !counts_here(r, e, opens))
		r = repeat_new(h, e, (uint32_t)(s - h->streams));
	if (!r)
		return false;
	if (strncmp(r->secret, name_of(e), sizeof r->secret) != 0 || r->version != e->version)
		r->mixed = 1;
	const size_t index = (size_t)(r - h->repeats);
	audit_count(a, &r->tally, true, index, e);
	s->repeat = (uint32_t)index + 1;
	return true;
}

enum audit_fate audit_repeat_decide(struct audit *a, const struct audit_event *e)
{
	const enum folding how = folding_of(e);
	const bool opens = how == FOLD_OPENS;

	if (how == FOLD_NEVER || a->failing) /* what cannot be written is refused, and not counted */
		return AUDIT_WRITE;
	const int64_t interval = AUDIT_NS / (int64_t)(opens ? a->config.open_rate : AUDIT_LOOK_RATE),
		      span = interval * (int64_t)(opens ? a->config.open_burst : AUDIT_LOOK_BURST);
	const int64_t now = audit_monotonic();
	struct audit_stream *s = stream_of(a->head, tag_of(a->head, e, opens), e->caller->neighbour, now);
	if (!s)
		return AUDIT_WRITE;
	const int64_t due = s->due > now ? s->due : now;
	if (audit_bucket_fits(due, now, interval, span)) {
		s->due = due + interval;
		return AUDIT_WRITE;
	}
	/* it stays full for as long as more comes than runs out: only then is what goes on for hours a record a second,
	 * and not twenty */
	s->due = now + span;
	return count(a, s, e, opens) ? AUDIT_FOLDED : AUDIT_WRITE;
}

/* ---- writing what was counted ---- */

static int repeat_write(struct audit *a, struct audit_repeat *r)
{
	struct audit_caller caller = { .neighbour = r->neighbour, .json_len = r->caller_len };
	char detail[128];
	const struct audit_event e = {
		.operation = (enum audit_operation)r->operation,
		.result = AUDIT_ALLOW,
		.secret = r->mixed       ? "*"
			  : r->secret[0] ? r->secret
					 : NULL,
		.version = r->mixed ? 0 : r->version,
		.caller = &caller,
		.binding = r->binding,
		.role = r->role[0] ? r->role : NULL,
		.principal = r->principal[0] ? r->principal : NULL,
		.detail = detail,
	};
	struct audit_stream *s = r->stream < AUDIT_STREAMS ? &a->head->streams[r->stream] : NULL;

	memcpy(caller.json, r->caller, r->caller_len);
	audit_fold_detail(&r->tally, "", detail);
	int x = audit_tally_write(a, &e, &r->tally);
	if (x == 0 && s && s->repeat == (uint32_t)(r - a->head->repeats) + 1)
		s->repeat = 0;
	return x;
}

int audit_repeat_flush(struct audit *a, bool all)
{
	const int64_t now = audit_now();
	unsigned int written = 0;
	int r = 0;

	for (size_t i = 0; i < AUDIT_REPEATS && r == 0; i++) {
		struct audit_repeat *x = &a->head->repeats[i];
		const struct audit_tally *t = &x->tally;
		if (t->count == 0 || !(all || now - t->first >= REPEAT_AGE || now < t->first))
			continue;
		if (++written % FLUSH_BATCH == 0) {
			pthread_mutex_unlock(&a->lock);
			pthread_mutex_lock(&a->lock);
		}
		r = audit_ready(a);
		if (r == 0 && t->count)
			r = repeat_write(a, x);
	}
	return r;
}
