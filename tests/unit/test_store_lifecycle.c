/* Rotation policies, events, hooks and marks: what is kept, in which transaction, and what is due when. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/core/database.h"
#include "store/core/transaction.h"
#include "store/grants/grants.h"
#include "store/lifecycle/events.h"
#include "store/lifecycle/marks.h"
#include "store/lifecycle/rules.h"
#include "store/objects/objects.h"
#include "store/store.h"
#include "store_main.h"

#define DAY (86400 * (int64_t)NS_PER_S)

static int64_t clock_at;

static int64_t test_clock(void) { return clock_at; }

static struct rotation policy(const char *scope)
{
	struct rotation p = {
		.action = ROTATION_ROTATE, .every = 90 * DAY, .generator = "uuid", .user = 65534, .timeout = 30
	};

	snprintf(p.scope, sizeof p.scope, "%s", scope);
	return p;
}

static struct hook hook(const char *scope)
{
	struct hook h = {
		.events = EVENT_BIT(EVENT_NEW_VERSION), .command = "/bin/true", .user = 65534, .timeout = 30
	};

	snprintf(h.scope, sizeof h.scope, "%s", scope);
	return h;
}

static uint64_t put_policy(const struct rotation *p)
{
	uint64_t id = 0;

	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_rotation_put(fx.store, p, &id), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	return id;
}

static uint64_t put_hook(const struct hook *h)
{
	uint64_t id = 0;

	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_hook_add(fx.store, h, &id), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	return id;
}

/* The whole stream, read in pieces of `piece` bytes. */
static char *stream(size_t piece)
{
	static char text[1 << 16];
	uint64_t first, end, at;
	size_t n, len = 0;

	store_events_range(fx.store, &first, &end);
	for (at = first;; at += n) {
		ck_assert_int_eq(store_events_read(fx.store, at, text + len, piece, &n), 0);
		len += n;
		if (n == 0)
			break;
	}
	ck_assert_uint_eq(at, end);
	text[len] = '\0';
	return text;
}

static size_t count(const char *text, const char *needle)
{
	size_t n = 0;

	for (; (text = strstr(text, needle)); text++)
		n++;
	return n;
}

START_TEST(each_change_is_one_event_in_its_transaction)
{
	uint32_t id = add_secret(fx.store, "db", "one"), version;
	uint64_t binding = add_binding(fx.store, 5, "reader", "db");
	char *text;

	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_version_add(fx.store, id, "two", 3, NULL, &version), 0);
	store_rollback(fx.store);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_binding_remove(fx.store, binding), 0);
	ck_assert_int_eq(store_secret_delete(fx.store, id), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_secret_recover(fx.store, id), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_secret_delete(fx.store, id), 0);
	ck_assert_int_eq(store_secret_purge(fx.store, id), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);

	text = stream(7);
	ck_assert_uint_eq(
		count(text, "\"event\":\"NewVersionCreated\",\"kind\":\"secret\",\"name\":\"db\",\"version\":1}\n"), 1);
	ck_assert_uint_eq(count(text, "NewVersionCreated"), 1);
	ck_assert_uint_eq(count(text, "\"event\":\"BindingChanged\",\"kind\":\"binding\",\"name\":\"db\""), 2);
	ck_assert_uint_eq(count(text, "\"event\":\"Deleted\""), 2);
	ck_assert_uint_eq(count(text, "\"event\":\"Recovered\""), 1);
	ck_assert_uint_eq(count(text, "\"event\":\"Purged\""), 1);
	ck_assert_str_eq(text, stream(5000));
	ck_assert_int_eq(fsck_quiet(&fx, true), 0);
}
END_TEST

/* What current serves from then on is no new version: who wants hooks to run for it rolls back, which makes one. */
START_TEST(falling_back_by_disabling_or_destroying_is_no_event_and_rolling_back_is)
{
	uint32_t id = add_secret(fx.store, "db", "one");
	struct event_row rows[4];
	uint64_t first, end;
	size_t n = 0;

	add_version(fx.store, id, "two");
	add_version(fx.store, id, "three");
	store_events_range(fx.store, &first, &end);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_version_enable(fx.store, id, 3, false), 0);
	ck_assert_int_eq(store_version_destroy(fx.store, id, 2), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_uint_eq(store_get(fx.store, id)->current, 1);
	ck_assert_int_eq(store_events_next(fx.store, end, rows, 4, &n), 0);
	ck_assert_uint_eq(n, 0);
	add_version(fx.store, id, "one"); /* as rollback does */
	ck_assert_int_eq(store_events_next(fx.store, end, rows, 4, &n), 0);
	ck_assert(n == 1 && rows[0].kind == EVENT_NEW_VERSION && rows[0].version == 4);
}
END_TEST

START_TEST(stream_goes_on_where_it_was_and_is_read_from_any_byte)
{
	uint32_t id = add_secret(fx.store, "db", "one");
	uint64_t first, end, again;
	struct event_row rows[8];
	size_t n = 0, got = 0;
	char byte, whole[1 << 16];

	store_events_range(fx.store, &first, &end);
	ck_assert_int_eq(vault_reopen(&fx), 0);
	store_events_range(fx.store, &first, &again);
	ck_assert_uint_eq(end, again);
	add_version(fx.store, id, "two");
	ck_assert_int_eq(store_events_next(fx.store, end, rows, 8, &n), 0);
	ck_assert_uint_eq(n, 1);
	ck_assert_uint_eq(rows[0].at, end);
	ck_assert_uint_eq(rows[0].version, 2);
	ck_assert_str_eq(rows[0].name, "db");
	store_events_range(fx.store, &first, &end);
	ck_assert_uint_eq(rows[0].next, end);
	strcpy(whole, stream(4096));
	for (uint64_t at = first; at < end; at++) {
		ck_assert_int_eq(store_events_read(fx.store, at, &byte, 1, &got), 0);
		ck_assert_uint_eq(got, 1);
		ck_assert_int_eq(byte, whole[at - first]);
	}
	ck_assert_int_eq(store_events_read(fx.store, end + 5, &byte, 1, &got), 0);
	ck_assert_uint_eq(got, 0);
}
END_TEST

START_TEST(changed_event_is_not_served)
{
	struct event_row rows[8];
	char text[64];
	size_t n;

	add_secret(fx.store, "db", "one");
	raw(&fx, "UPDATE events SET version = 7 WHERE id = (SELECT max(id) FROM events)");
	ck_assert_int_eq(store_events_next(fx.store, 0, rows, 8, &n), -EBADMSG);
	ck_assert_int_eq(store_events_read(fx.store, 200, text, sizeof text, &n), -EBADMSG);
	ck_assert_int_eq(fsck_quiet(&fx, false), -EBADMSG);
}
END_TEST

START_TEST(stream_is_bounded_and_keeps_its_numbers)
{
	uint64_t first = 0, end = 0, last, id;
	struct hook h = hook("db");
	char name[8], byte;
	size_t n;

	add_secret(fx.store, "db", "one");
	id = put_hook(&h);
	store_events_range(fx.store, &first, &last);
	ck_assert_int_eq(store_begin(fx.store), 0);
	for (int i = 0; i < 20000; i++) {
		snprintf(name, sizeof name, "n%d", i);
		struct event e = { .kind = EVENT_NEW_VERSION,
				   .name = name,
				   .version = 1,
				   .detail = "0123456789012345678901234567890123456789012345678901234567890123456789012"
					     "345678901234567890123456789012345678901234567890123456789"
					     "0123456789012345678901234567890123456789012345678901234567890123456789012"
					     "345678901234567890123456789012345678901234567890123456789" };
		for (int k = 0; k < 3; k++)
			ck_assert_int_eq(store_event_add(fx.store, &e), 0);
	}
	ck_assert_int_eq(store_commit(fx.store), 0);
	store_events_range(fx.store, &first, &end);
	ck_assert_uint_gt(end - first, EVENTS_KEPT + EVENTS_KEPT / 8);
	/* A hook that has heard of none of it: only what lies before its place goes. */
	for (int i = 0; i < 8; i++)
		ck_assert_int_eq(events_prune(fx.store), 0);
	store_events_range(fx.store, &first, &end);
	ck_assert_uint_eq(first, last);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_hook_place_put(fx.store, id, &(struct hook_place){ .delivered = end }), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	for (int i = 0; i < 8; i++) {
		fx.store->housekept = 0;
		ck_assert_int_eq(store_follow(fx.store, NULL, NULL), 0);
	}
	store_events_range(fx.store, &first, &last);
	ck_assert_uint_eq(end, last);
	ck_assert_uint_le(end - first, EVENTS_KEPT + EVENTS_KEPT / 8);
	ck_assert_uint_gt(first, 0);
	ck_assert_int_eq(store_events_read(fx.store, 0, &byte, 1, &n), -ESTALE);
	ck_assert_int_eq(store_events_read(fx.store, first, &byte, 1, &n), 0);
	ck_assert_int_eq(byte, '{');
	ck_assert_int_eq(fsck_quiet(&fx, false), 0);
}
END_TEST

START_TEST(policy_of_the_very_name_goes_before_the_longest_prefix)
{
	struct rotation a = policy("*"), b = policy("db-*"), c = policy("db-x"), d = policy("d*");

	put_policy(&a);
	uint64_t prefix = put_policy(&b), name = put_policy(&c);
	put_policy(&d);
	ck_assert_int_eq(vault_reopen(&fx), 0);
	store_rdlock(fx.store);
	ck_assert_uint_eq(rules_rotation(store_rules(fx.store), "db-x")->id, name);
	ck_assert_uint_eq(rules_rotation(store_rules(fx.store), "db-y")->id, prefix);
	ck_assert_str_eq(rules_rotation(store_rules(fx.store), "da")->scope, "d*");
	ck_assert_str_eq(rules_rotation(store_rules(fx.store), "web")->scope, "*");
	store_unlock_tables(fx.store);
}
END_TEST

START_TEST(policy_takes_the_place_of_that_with_its_scope)
{
	struct rotation p = policy("db");
	uint64_t first = put_policy(&p), second;

	p.every = 30 * DAY;
	second = put_policy(&p);
	ck_assert_uint_ne(first, second);
	store_rdlock(fx.store);
	ck_assert_uint_eq(store_rules(fx.store)->n_rotations, 1);
	ck_assert_int_eq(store_rules(fx.store)->rotations[0].every, 30 * DAY);
	store_unlock_tables(fx.store);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_rotation_remove(fx.store, second), 0);
	ck_assert_int_eq(store_rotation_remove(fx.store, second), -ENOENT);
	ck_assert_int_eq(store_commit(fx.store), 0);
	store_rdlock(fx.store);
	ck_assert_uint_eq(store_rules(fx.store)->n_rotations, 0);
	store_unlock_tables(fx.store);
	ck_assert_int_eq(fsck_quiet(&fx, false), 0);
}
END_TEST

/* "Rotation policy: at least 7 days after creation; expiry at least 28 days." */
START_TEST(rotation_at_least_7_days_after_creation_and_expiry_at_least_28_days)
{
	static const struct {
		int64_t every, before, expiry;
		int r;
	} cases[] = {
		{ 7 * DAY, 0, 0, 0 },
		{ 7 * DAY - 1, 0, 0, -EINVAL },
		{ 90 * DAY, 0, 28 * DAY, 0 },
		{ 90 * DAY, 0, 28 * DAY - 1, -EINVAL },
		{ 0, 7 * DAY, 28 * DAY, 0 },
		{ 0, 7 * DAY - 1, 28 * DAY, -EINVAL },
		{ 0, 0, 28 * DAY, -EINVAL },
		{ 7 * DAY, 7 * DAY, 0, -EINVAL },
		{ 0, 22 * DAY, 28 * DAY, -EINVAL },
		{ 0, 21 * DAY, 28 * DAY, 0 },
		{ -1, 0, 0, -EINVAL },
	};
	uint64_t id;

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct rotation p = policy("db");
		p.every = cases[i].every;
		p.before = cases[i].before;
		p.expiry = cases[i].expiry;
		ck_assert_int_eq(store_begin(fx.store), 0);
		ck_assert_msg(store_rotation_put(fx.store, &p, &id) == cases[i].r, "case %zu", i);
		store_rollback(fx.store);
	}
}
END_TEST

START_TEST(rules_that_cannot_be_are_refused)
{
	struct rotation p;
	struct hook h;
	uint64_t id;

#define REFUSED_POLICY(change)                                                    \
	do {                                                                      \
		p = policy("db");                                                 \
		change;                                                           \
		ck_assert_int_eq(store_rotation_put(fx.store, &p, &id), -EINVAL); \
	} while (0)
#define REFUSED_HOOK(change)                                                  \
	do {                                                                  \
		h = hook("db");                                               \
		change;                                                       \
		ck_assert_int_eq(store_hook_add(fx.store, &h, &id), -EINVAL); \
	} while (0)
	ck_assert_int_eq(store_begin(fx.store), 0);
	REFUSED_POLICY(strcpy(p.scope, "-x"));
	REFUSED_POLICY(p.action = 3);
	REFUSED_POLICY(p.generator[0] = '\0');
	REFUSED_POLICY(strcpy(p.command, "/bin/true"));
	REFUSED_POLICY(p.generator[0] = '\0'; strcpy(p.command, "true"));
	REFUSED_POLICY(p.generator[0] = '\0'; strcpy(p.command, "/bin/true"); p.timeout = 0);
	REFUSED_POLICY(p.action = ROTATION_NOTIFY);
	REFUSED_HOOK(strcpy(h.command, "true"));
	REFUSED_HOOK(strcpy(h.command, "/bin/true\n"));
	REFUSED_HOOK(memset(h.command, '/', sizeof h.command));
	REFUSED_HOOK(h.events = 0);
	REFUSED_HOOK(h.events = 1);
	REFUSED_HOOK(h.events = EVENT_BIT(EVENT_HOOK_FAILED)); /* a hook that hears of itself would never end */
	REFUSED_HOOK(h.timeout = HOOK_TIMEOUT_MAX + 1);
	REFUSED_HOOK(h.debounce = HOOK_DEBOUNCE_MAX + 1);
	store_rollback(fx.store);
}
END_TEST

START_TEST(changed_rule_is_found)
{
	static const char *const acts[] = {
		"UPDATE hooks SET command = '/bin/sh'",
		"UPDATE hooks SET user = 0",
		"DELETE FROM hooks",
		"UPDATE rotations SET every = every * 2",
		"DELETE FROM rotations",
		"UPDATE notices SET near_days = 31",
		"DELETE FROM notices",
		"INSERT INTO hooks SELECT id + 1, scope, events, command, user, debounce, timeout, created_by, "
		"created, mac FROM hooks",
	};
	struct rotation p = policy("db");
	struct hook h = hook("db");
	char saved[128];

	put_policy(&p);
	put_hook(&h);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_near_expiry_put(fx.store, 14), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	vault_close(&fx);
	snprintf(saved, sizeof saved, "%s/saved", fx.dir);
	copy_file(fx.db, saved);
	for (size_t i = 0; i < sizeof acts / sizeof acts[0]; i++) {
		raw(&fx, acts[i]);
		ck_assert_msg(vault_open(&fx) == -EBADMSG, "opened after %s", acts[i]);
		vault_close(&fx);
		copy_file(saved, fx.db);
	}
	ck_assert_int_eq(vault_open(&fx), 0);
	store_rdlock(fx.store);
	ck_assert_uint_eq(store_rules(fx.store)->near_days, 14);
	store_unlock_tables(fx.store);
}
END_TEST

START_TEST(hook_begins_with_what_comes_after_it)
{
	struct hook h = hook("db");
	struct hook_place place = { 0 };
	uint64_t first, end, id;

	add_secret(fx.store, "db", "one");
	store_events_range(fx.store, &first, &end);
	id = put_hook(&h);
	ck_assert_int_eq(store_hook_place(fx.store, id, &place), 0);
	ck_assert_uint_eq(place.delivered, end);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_hook_place_put(fx.store, id,
					      &(struct hook_place){ .delivered = end + 5,
								    .attempts = 2,
								    .retry = 77,
								    .why = "the program ended with status 1" }),
			 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_int_eq(vault_reopen(&fx), 0);
	ck_assert_int_eq(store_hook_place(fx.store, id, &place), 0);
	ck_assert_uint_eq(place.attempts, 2);
	ck_assert_int_eq(place.retry, 77);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_hook_remove(fx.store, id), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_int_eq(store_hook_place(fx.store, id, &place), -ENOENT);
	ck_assert_int_eq(fsck_quiet(&fx, false), 0);
}
END_TEST

START_TEST(version_with_the_value_served_before_is_marked_where_a_hook_waits)
{
	uint32_t id = add_secret(fx.store, "db", "one"), other = add_secret(fx.store, "web", "one");
	struct hook h = hook("db");
	struct event_row rows[16];
	uint64_t first, end;
	size_t n = 0;

	put_hook(&h);
	store_events_range(fx.store, &first, &end);
	add_version(fx.store, id, "one"); /* the same */
	add_version(fx.store, id, "two"); /* as long, another */
	add_version(fx.store, id, "three");
	add_version(fx.store, other, "one"); /* nobody asks: not looked at */
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_version_enable(fx.store, id, 4, false), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	add_version(fx.store, id, "three"); /* current is "two" again */
	add_version(fx.store, id, "three");
	ck_assert_int_eq(store_events_next(fx.store, end, rows, 16, &n), 0);
	ck_assert_uint_eq(n, 6);
	ck_assert(rows[0].same && !rows[1].same && !rows[2].same && !rows[3].same && !rows[4].same && rows[5].same);
}
END_TEST

START_TEST(near_expiry_30_days_ahead_then_expired_each_once)
{
	struct catalog_version v = {
		.number = 3, .created = 0, .not_before = INT64_MIN, .expires = 365 * DAY, .enabled = true
	};
	struct mark m = { 0 };
	struct due due = lifecycle_due(NULL, &v, &m, NEAR_EXPIRY_DAYS);

	ck_assert(due.kind == DUE_NEAR_EXPIRY && due.at == 335 * DAY);
	due = lifecycle_due(NULL, &v, &m, 10);
	ck_assert(due.kind == DUE_NEAR_EXPIRY && due.at == 355 * DAY);
	m = (struct mark){ .version = 3, .expires = v.expires, .told = TOLD_NEAR };
	due = lifecycle_due(NULL, &v, &m, 30);
	ck_assert(due.kind == DUE_EXPIRED && due.at == 365 * DAY);
	m.told |= TOLD_EXPIRED;
	ck_assert(lifecycle_due(NULL, &v, &m, 30).kind == DUE_NOTHING);
	v.expires += DAY; /* another expiry is another event */
	ck_assert(lifecycle_due(NULL, &v, &m, 30).kind == DUE_NEAR_EXPIRY);
	v.expires = INT64_MAX;
	ck_assert(lifecycle_due(NULL, &v, &m, 30).kind == DUE_NOTHING);
	ck_assert(lifecycle_due(NULL, NULL, &m, 30).kind == DUE_NOTHING);
}
END_TEST

START_TEST(rotate_and_notify_by_time_after_creation_or_before_expiry)
{
	struct catalog_version v = {
		.number = 3, .created = 100 * DAY, .not_before = INT64_MIN, .expires = INT64_MAX, .enabled = true
	};
	struct rotation p = policy("db");
	struct mark m = { .version = 3, .expires = INT64_MAX };
	struct due due = lifecycle_due(&p, &v, &m, 30);

	ck_assert(due.kind == DUE_ROTATE && due.at == 190 * DAY);
	p.every = 0;
	p.before = 30 * DAY;
	ck_assert(lifecycle_due(&p, &v, &m, 30).kind == DUE_NOTHING);
	v.expires = 200 * DAY;
	m = (struct mark){ .version = 3, .expires = v.expires, .told = TOLD_NEAR };
	due = lifecycle_due(&p, &v, &m, 30);
	ck_assert(due.kind == DUE_ROTATE && due.at == 170 * DAY);
	v.expires = m.expires = 101 * DAY; /* never within 7 days of creation; it expires first */
	due = lifecycle_due(&p, &v, &m, 30);
	ck_assert(due.kind == DUE_EXPIRED && due.at == 101 * DAY);
	m.told |= TOLD_EXPIRED;
	due = lifecycle_due(&p, &v, &m, 30);
	ck_assert(due.kind == DUE_ROTATE && due.at == 107 * DAY);
	m.failures = 2;
	m.retry = 120 * DAY;
	ck_assert_int_eq(lifecycle_due(&p, &v, &m, 30).at, 120 * DAY);
	m.version = 2; /* failures of another version do not count */
	m.expires = v.expires;
	ck_assert(lifecycle_due(&p, &v, &m, 30).kind == DUE_NEAR_EXPIRY);

	p = policy("db");
	p.action = ROTATION_NOTIFY;
	v.expires = INT64_MAX;
	m = (struct mark){ 0 };
	due = lifecycle_due(&p, &v, &m, 30);
	ck_assert(due.kind == DUE_NOTIFY && due.at == 190 * DAY);
	m = (struct mark){ .version = 3, .expires = INT64_MAX, .told = TOLD_ROTATION };
	ck_assert(lifecycle_due(&p, &v, &m, 30).kind == DUE_NOTHING);
}
END_TEST

static int only_mark(const struct mark *m, void *arg)
{
	*(struct mark *)arg = *m;
	return 0;
}

START_TEST(mark_moves_with_the_event_that_it_tells_of)
{
	uint32_t id = add_secret(fx.store, "db", "one");
	struct mark m = { .secret = id, .version = 1, .expires = 5, .told = TOLD_NEAR, .failures = 3, .retry = 9 },
		    got = { 0 };
	uint64_t first, before, end;

	store_events_range(fx.store, &first, &before);
	ck_assert_int_eq(store_mark_put(fx.store, &m), -EINVAL);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_mark_put(fx.store, &m), 0);
	ck_assert_int_eq(store_event_add_of(fx.store, EVENT_NEAR_EXPIRY, id, 1, false), 0);
	store_rollback(fx.store);
	ck_assert_int_eq(store_mark_get(fx.store, id, &got), 0);
	ck_assert_uint_eq(got.told, 0);
	store_events_range(fx.store, &first, &end);
	ck_assert_uint_eq(before, end);
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_mark_put(fx.store, &m), 0);
	ck_assert_int_eq(store_event_add_of(fx.store, EVENT_NEAR_EXPIRY, id, 1, false), 0);
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_int_eq(vault_reopen(&fx), 0);
	ck_assert_int_eq(store_marks_each(fx.store, only_mark, &got), 0);
	ck_assert(got.secret == id && got.version == 1 && got.expires == 5 && got.told == TOLD_NEAR &&
		  got.failures == 3 && got.retry == 9);
	raw(&fx, "UPDATE marks SET told = 0");
	ck_assert_int_eq(store_mark_get(fx.store, id, &got), -EBADMSG);
}
END_TEST

START_TEST(what_was_touched_is_told_once)
{
	uint32_t ids[STIRRED_MAX], id = add_secret(fx.store, "db", "one");
	struct rotation p = policy("db");
	bool all = false;

	store_stirred(fx.store, ids, &all);
	ck_assert(all); /* the vault was opened */
	add_version(fx.store, id, "two");
	ck_assert_uint_eq(store_stirred(fx.store, ids, &all), 1);
	ck_assert(!all && ids[0] == id);
	ck_assert_uint_eq(store_stirred(fx.store, ids, &all), 0);
	ck_assert(!all);
	put_policy(&p);
	store_stirred(fx.store, ids, &all);
	ck_assert(all);
	for (unsigned i = 0; i <= STIRRED_MAX; i++) {
		ck_assert_int_eq(store_begin(fx.store), 0);
		ck_assert_int_eq(store_secret_enable(fx.store, id, true), 0);
		ck_assert_int_eq(store_commit(fx.store), 0);
	}
	ck_assert_uint_eq(store_stirred(fx.store, ids, &all), STIRRED_MAX);
	ck_assert(all);
}
END_TEST

/* Nobody's programs may keep events for ever. */
START_TEST(hook_that_never_hears_keeps_events_up_to_a_limit)
{
	struct hook h = hook("db");
	uint64_t first, end, place;

	store_events_range(fx.store, &first, &place);
	put_hook(&h);
	add_secret(fx.store, "db", "one");
	raw(&fx, "INSERT INTO events SELECT 250 * 1048576, time, kind, object, version, same, name, line, mac FROM "
		 "events WHERE id < 1048576 LIMIT 1");
	ck_assert_int_eq(store_follow(fx.store, NULL, NULL), 0);
	ck_assert_int_eq(events_prune(fx.store), 0);
	store_events_range(fx.store, &first, &end);
	ck_assert_uint_eq(first, place);
	raw(&fx, "INSERT INTO events SELECT 260 * 1048576, time, kind, object, version, same, name, line, mac FROM "
		 "events WHERE id < 1048576 LIMIT 1");
	ck_assert_int_eq(store_follow(fx.store, NULL, NULL), 0);
	ck_assert_int_eq(events_prune(fx.store), 0);
	store_events_range(fx.store, &first, &end);
	ck_assert_uint_eq(first, 250 * 1048576);
}
END_TEST

/* The wall clock of the store is what events carry, and nothing else is taken for it. */
START_TEST(event_carries_the_time_of_its_change)
{
	add_secret(fx.store, "db", NULL);
	fx.store->clock = test_clock;
	clock_at = 1785585600 * (int64_t)NS_PER_S + 5;
	ck_assert_int_eq(store_begin(fx.store), 0);
	ck_assert_int_eq(store_event_add(fx.store, &(struct event){ .kind = EVENT_ROTATION_FAILED,
								    .name = "db",
								    .detail = "a \"b\"\n\\" }),
			 0);
	ck_assert_int_eq(store_event_add(fx.store,
					 &(struct event){ .kind = EVENT_ROTATION_FAILED, .name = "not a name" }),
			 -EINVAL);
	ck_assert_int_eq(store_commit(fx.store), 0);
	ck_assert_ptr_nonnull(strstr(stream(4096),
				     "\"time\":\"2026-08-01T12:00:00.000000005Z\",\"event\":\"RotationFailed\","
				     "\"kind\":\"secret\",\"name\":\"db\",\"detail\":\"a ?b???\"}\n"));
}
END_TEST

STORE_TESTS("store-lifecycle", 120, each_change_is_one_event_in_its_transaction,
	    falling_back_by_disabling_or_destroying_is_no_event_and_rolling_back_is,
	    stream_goes_on_where_it_was_and_is_read_from_any_byte, changed_event_is_not_served,
	    stream_is_bounded_and_keeps_its_numbers, policy_of_the_very_name_goes_before_the_longest_prefix,
	    policy_takes_the_place_of_that_with_its_scope,
	    rotation_at_least_7_days_after_creation_and_expiry_at_least_28_days, rules_that_cannot_be_are_refused,
	    changed_rule_is_found, hook_begins_with_what_comes_after_it,
	    version_with_the_value_served_before_is_marked_where_a_hook_waits,
	    near_expiry_30_days_ahead_then_expired_each_once, rotate_and_notify_by_time_after_creation_or_before_expiry,
	    mark_moves_with_the_event_that_it_tells_of, what_was_touched_is_told_once,
	    event_carries_the_time_of_its_change, hook_that_never_hears_keeps_events_up_to_a_limit)
