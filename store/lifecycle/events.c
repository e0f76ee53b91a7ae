/* The stream of events.
 *
 * An event is one line of JSON, printable ASCII, at most EVENT_LINE_MAX bytes:
 *
 *   {"at":1234,"time":"2026-08-01T12:00:00.000000000Z","event":"NewVersionCreated",
 *    "kind":"secret","name":"db","version":3,"detail":"…"}\n
 *
 * at is where the line begins in the stream of all lines that ever were; version and detail are there where there is
 * something to say. The row's id is the same number: one look-up finds the line that any byte belongs to. The stream
 * tells programs that something happened, and what happened is proved by the log. The newest line never goes, so that
 * no number is given twice. */

#include "store/lifecycle/events.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store/core/columns.h"
#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/row_change.h"
#include "store/core/transaction_internal.h"

#define PRUNE_ROWS 2000 /* at a time: writers wait meanwhile */

static const char *const names[EVENT_KINDS] = {
	[EVENT_NEW_VERSION] = "NewVersionCreated",
	[EVENT_NEAR_EXPIRY] = "NearExpiry",
	[EVENT_EXPIRED] = "Expired",
	[EVENT_DELETED] = "Deleted",
	[EVENT_RECOVERED] = "Recovered",
	[EVENT_PURGED] = "Purged",
	[EVENT_BINDING_CHANGED] = "BindingChanged",
	[EVENT_ROTATION_FAILED] = "RotationFailed",
	[EVENT_HOOK_FAILED] = "HookFailed",
	[EVENT_AUDIT_TAMPERED] = "AuditTampered",
	[EVENT_SELF_GRANTED] = "SelfGranted",
	[EVENT_VERSION_DESTROYED] = "VersionDestroyed",
};

/* What the event is about, where it is not a secret. */
static const char *const subjects[EVENT_KINDS] = { [EVENT_BINDING_CHANGED] = "binding",
						   [EVENT_HOOK_FAILED] = "hook",
						   [EVENT_AUDIT_TAMPERED] = "log",
						   [EVENT_SELF_GRANTED] = "binding" };

const char *event_name(enum event_kind kind) { return kind > 0 && kind < EVENT_KINDS ? names[kind] : "unknown"; }

int event_parse(const char *name, enum event_kind *ret_kind)
{
	for (int i = 1; i < EVENT_KINDS; i++)
		if (!strcmp(names[i], name)) {
			*ret_kind = (enum event_kind)i;
			return 0;
		}
	return -EINVAL;
}

/* ---- writing ---- */

int events_range(struct db *db, uint64_t *ret_first, uint64_t *ret_end)
{
	enum { BEGINS, ENDS };
	struct query q = db_query(db, "SELECT id, id + length(line) FROM events WHERE id IN ((SELECT min(id) FROM "
				      "events), (SELECT max(id) FROM events)) ORDER BY id");
	uint64_t first = 0, end = 0;
	int r, n = 0;

	while ((r = query_step(&q)) > 0) {
		if (n++ == 0)
			first = (uint64_t)column_int(&q, BEGINS);
		end = (uint64_t)column_int(&q, ENDS);
	}
	query_end(&q);
	if (r < 0)
		return r;
	*ret_first = first;
	*ret_end = end;
	return 0;
}

int events_position(struct store *s, uint64_t *ret_at)
{
	struct transaction *t = &s->transaction;
	uint64_t first = 0, end = 0;
	int r;

	if (!t->events_known) {
		r = events_range(s->write, &first, &end);
		if (r < 0)
			return transaction_fail(s, r);
		t->events_end = end;
		t->events_known = true;
	}
	*ret_at = t->events_end;
	return 0;
}

/* What would end the line or the string becomes a question mark. */
static void put_detail(char *ret, const char *detail)
{
	size_t n = 0;

	for (; detail && *detail && n < EVENT_DETAIL_MAX; detail++)
		ret[n++] = *detail < 0x20 || *detail > 0x7e || *detail == '"' || *detail == '\\' ? '?' : *detail;
	ret[n] = '\0';
}

static void print_time(int64_t ns, char ret[48])
{
	time_t second = (time_t)(ns / NS_PER_S);
	struct tm tm;
	char text[24];

	gmtime_r(&second, &tm);
	strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(ret, 48, "%s.%09lldZ", text, (long long)(ns % NS_PER_S));
}

static size_t print_line(const struct event *e, uint64_t at, int64_t now, char ret_line[EVENT_LINE_MAX])
{
	char time[48], version[32] = "", detail[EVENT_DETAIL_MAX + 1], more[EVENT_DETAIL_MAX + 32] = "";

	print_time(now, time);
	put_detail(detail, e->detail);
	if (e->version)
		snprintf(version, sizeof version, ",\"version\":%u", e->version);
	if (detail[0])
		snprintf(more, sizeof more, ",\"detail\":\"%s\"", detail);
	int n = snprintf(ret_line, EVENT_LINE_MAX,
			 "{\"at\":%llu,\"time\":\"%s\",\"event\":\"%s\",\"kind\":\"%s\",\"name\":\"%s\"%s%s}\n",
			 (unsigned long long)at, time, event_name(e->kind),
			 subjects[e->kind] ? subjects[e->kind] : "secret", e->name, version, more);
	return n > 0 && n < EVENT_LINE_MAX ? (size_t)n : 0;
}

int store_event_add(struct store *s, const struct event *e)
{
	struct transaction *t = &s->transaction;
	char line[EVENT_LINE_MAX];
	int64_t now = store_now(s);
	uint64_t at = 0;
	size_t len;
	struct query q;
	int r = transaction_check(s);

	if (r == 0)
		r = events_position(s, &at);
	if (r < 0)
		return r;
	if (e->kind <= 0 || e->kind >= EVENT_KINDS || !e->name || !scope_valid(e->name))
		return -EINVAL;
	len = print_line(e, at, now, line);
	if (len == 0 || at > INT64_MAX - EVENT_LINE_MAX)
		return transaction_fail(s, -EOVERFLOW);
	q = db_query(s->write, "INSERT INTO events(id, time, kind, object, version, same, name, line, mac) VALUES(?, "
			       "?, ?, ?, ?, ?, ?, ?, x'')");
	query_int(&q, (int64_t)at);
	query_int(&q, now);
	query_int(&q, e->kind);
	query_int(&q, e->secret);
	query_int(&q, e->version);
	query_int(&q, e->same);
	query_text(&q, e->name);
	query_text(&q, line);
	r = query_run(&q);
	if (r == 0)
		r = trail_in(s, ROW_EVENT, (int64_t)at);
	if (r < 0)
		return transaction_fail(s, r);
	t->events_end = at + len;
	return 0;
}

int store_event_add_of(struct store *s, enum event_kind kind, uint32_t id, uint32_t version, bool same)
{
	struct query q = db_query(s->write, "SELECT name FROM objects WHERE id = ?");
	char name[NAME_LEN_MAX + 1];
	const char *text;
	int r;

	query_int(&q, id);
	r = query_step(&q);
	text = r > 0 ? column_text(&q, 0) : NULL;
	if (text)
		snprintf(name, sizeof name, "%s", text);
	query_end(&q);
	if (!text)
		return transaction_fail(s, r < 0 ? r : -ENOENT);
	return store_event_add(s, &(struct event){
					  .kind = kind, .secret = id, .version = version, .name = name, .same = same });
}

/* Where the lines begin that are kept: those that some hook has yet to hear of are among them, up to a limit. */
static int kept_from(struct store *s, uint64_t end, uint64_t *ret_from)
{
	struct query q = db_query(s->write, "SELECT min(delivered) FROM hook_places");
	uint64_t from = end - EVENTS_KEPT, least = end > EVENTS_KEPT_MOST ? end - EVENTS_KEPT_MOST : 0;
	int r = query_step(&q);

	if (r > 0 && !column_null(&q, 0) && (uint64_t)column_int(&q, 0) < from)
		from = (uint64_t)column_int(&q, 0) < least ? least : (uint64_t)column_int(&q, 0);
	query_end(&q);
	if (r < 0)
		return r;
	*ret_from = from;
	return 0;
}

static int prune_before(struct store *s, void *arg)
{
	const uint64_t *from = arg;
	struct query q = db_query(s->write,
				  "SELECT max(id) FROM (SELECT id FROM events WHERE id < ? ORDER BY id LIMIT ?)");
	int64_t last = -1;
	int r;

	query_int(&q, (int64_t)*from);
	query_int(&q, PRUNE_ROWS);
	r = query_step(&q);
	if (r > 0 && !column_null(&q, 0))
		last = column_int(&q, 0);
	query_end(&q);
	return r < 0 ? r : trail_remove(s, ROW_EVENT, 0, last);
}

int events_prune(struct store *s)
{
	uint64_t first = atomic_load(&s->events_first), end = atomic_load(&s->events_end), from = 0;
	int r;

	if (end - first <= EVENTS_KEPT + EVENTS_KEPT / 8)
		return 0;
	r = kept_from(s, end, &from);
	if (r < 0 || from <= first)
		return r;
	r = transaction_run(s, prune_before, &from);
	if (r == 0)
		r = events_range(s->write, &first, &end);
	if (r == 0)
		atomic_store(&s->events_first, first);
	return r;
}

/* ---- reading ---- */

void store_events_range(const struct store *s, uint64_t *ret_first, uint64_t *ret_end)
{
	*ret_first = atomic_load(&s->events_first);
	*ret_end = atomic_load(&s->events_end);
}

/* Stands q on the line that holds byte `at`, or begins after it. */
static struct query events_from(struct store *s, uint64_t at)
{
	struct query q = db_query(s->read,
				  "SELECT id, time, kind, object, version, same, name, line, mac FROM events"
				  " WHERE id >= ifnull((SELECT max(id) FROM events WHERE id <= ?), 0) ORDER BY id");

	query_int(&q, at > INT64_MAX ? INT64_MAX : (int64_t)at);
	return q;
}

/* Of a verified line, what lies behind `at`. */
static int take_line(struct store *s, const struct query *q, uint64_t at, uint8_t *ret, size_t room, size_t *ret_n)
{
	uint64_t begin = (uint64_t)column_int(q, EVENTS_ID);
	uint8_t mac[DIGEST_LEN];
	const char *line = column_text(q, EVENTS_LINE);
	size_t len = line ? strlen(line) : 0, n;
	int r = row_verify(s->row_keys->row, ROW_EVENT, q, mac);

	if (r < 0)
		return r;
	if (begin > at)
		return -ESTALE;
	n = at - begin < len ? len - (size_t)(at - begin) : 0;
	if (n > room)
		n = room;
	memcpy(ret, line + (len ? at - begin : 0), n);
	*ret_n = n;
	return 0;
}

int store_events_read(struct store *s, uint64_t at, void *ret, size_t len, size_t *ret_read)
{
	struct query q = { 0 };
	size_t got = 0, n = 0;
	int r = store_lock_reader(s);

	if (r < 0)
		return r;
	r = s->row_keys ? 0 : -ENOKEY;
	if (r == 0)
		q = events_from(s, at);
	while (r == 0 && got < len && (r = query_step(&q)) > 0) {
		r = take_line(s, &q, at + got, (uint8_t *)ret + got, len - got, &n);
		if (r == -ESTALE && got > 0)
			r = -EBADMSG; /* a hole */
		got += r == 0 ? n : 0;
		if (r == 0 && n == 0)
			break;
	}
	query_end(&q);
	pthread_mutex_unlock(&s->read_mutex);
	if (r < 0)
		return r;
	*ret_read = got;
	return 0;
}

static int take_row(struct store *s, const struct query *q, struct event_row *ret)
{
	const char *name = column_text(q, EVENTS_NAME), *line = column_text(q, EVENTS_LINE);
	struct event_row row = { .at = (uint64_t)column_int(q, EVENTS_ID),
				 .time = column_int(q, EVENTS_TIME),
				 .kind = (enum event_kind)column_int(q, EVENTS_KIND),
				 .secret = (uint32_t)column_int(q, EVENTS_OBJECT),
				 .version = (uint32_t)column_int(q, EVENTS_VERSION),
				 .same = column_int(q, EVENTS_SAME) != 0 };
	uint8_t mac[DIGEST_LEN];
	int r = row_verify(s->row_keys->row, ROW_EVENT, q, mac);

	if (r < 0)
		return r;
	if (!name || !line || strlen(name) >= sizeof row.name || row.kind <= 0 || row.kind >= EVENT_KINDS)
		return -EBADMSG;
	memcpy(row.name, name, strlen(name) + 1);
	row.next = row.at + strlen(line);
	*ret = row;
	return 0;
}

int store_events_next(struct store *s, uint64_t at, struct event_row *ret_rows, size_t n, size_t *ret_n)
{
	struct query q = { 0 };
	size_t got = 0;
	int r = store_lock_reader(s);

	if (r < 0)
		return r;
	r = s->row_keys ? 0 : -ENOKEY;
	if (r == 0) {
		q = db_query(s->read, "SELECT id, time, kind, object, version, same, name, line, mac FROM events WHERE "
				      "id >= ? ORDER BY id");
		query_int(&q, at > INT64_MAX ? INT64_MAX : (int64_t)at);
	}
	while (r == 0 && got < n && (r = query_step(&q)) > 0) {
		r = take_row(s, &q, &ret_rows[got]);
		got += r == 0;
	}
	query_end(&q);
	pthread_mutex_unlock(&s->read_mutex);
	if (r < 0)
		return r;
	*ret_n = got;
	return 0;
}
