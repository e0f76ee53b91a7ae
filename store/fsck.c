
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/binding.h"
#include "policy/block.h"
#include "policy/role.h"
#include "store/core/columns.h"
#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/rows.h"
#include "store/core/rules_table.h"
#include "store/core/schema.h"
#include "store/keys/envelope.h"
#include "store/keys/keys.h"
#include "store/objects/versions.h"
#include "store/opening.h"
#include "store/store.h"

#define FINDINGS_MAX 1000 /* lines; a wholly damaged store need not be told of row by row */

struct check {
	struct store *s;
	struct keys *keys;
	const struct row_keys *row_keys;
	bool deep;
	struct head sum;
	uint64_t findings;
	void (*report)(const char *line, void *arg);
	void *arg;
};

__attribute__((format(printf, 2, 3))) static void finding(struct check *c, const char *format, ...)
{
	char line[512];
	va_list args;

	c->findings++;
	if (c->findings > FINDINGS_MAX || !c->report)
		return;
	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	c->report(line, c->arg);
	if (c->findings == FINDINGS_MAX)
		c->report("more follow, which are not listed", c->arg);
}

/* What SQLite itself finds: pages, indices, constraints. */
static int check_file(struct check *c)
{
	struct query q = db_query(c->s->read, "PRAGMA integrity_check(100)");
	int r;

	while ((r = query_step(&q)) > 0) {
		const char *line = column_text(&q, 0);
		if (!line || strcmp(line, "ok") != 0)
			finding(c, "database: %s", line ? line : "unreadable");
	}
	query_end(&q);
	if (r == -EBADMSG)
		finding(c, "database: its pages are damaged");
	return r == -EBADMSG ? 0 : r;
}

static void check_values(struct check *c, enum row_kind kind, const struct query *q)
{
	struct catalog_secret secret;
	struct catalog_version version;
	struct store_settings settings;
	struct clock_row clock;
	struct rotation rotation;
	struct hook hook;
	uint32_t days;
	struct history history;
	struct binding binding;
	struct block block;
	struct role role;
	int64_t last;
	int r = 0;

	if (kind == ROW_OBJECT)
		r = object_parse(q, &secret, &last);
	else if (kind == ROW_VERSION)
		r = version_parse(q, &version);
	else if (kind == ROW_BINDING)
		r = binding_parse(q, &binding);
	else if (kind == ROW_BLOCK)
		r = block_parse(q, &block);
	else if (kind == ROW_ROLE)
		r = role_parse(q, &role);
	else if (kind == ROW_SETTINGS)
		r = settings_parse(q, c->s->vault, c->s->name, &settings);
	else if (kind == ROW_CLOCK)
		r = clock_parse(q, &clock);
	else if (kind == ROW_ROTATION)
		r = rotation_parse(q, &rotation);
	else if (kind == ROW_HOOK)
		r = hook_parse(q, &hook);
	else if (kind == ROW_NOTICE)
		r = notice_parse(q, &days);
	else if (kind == ROW_HISTORY)
		r = history_parse(q, &history);
	if (r < 0)
		finding(c, "%s row %lld: its values cannot be", row_table(kind)->name, (long long)column_int(q, 0));
}

/* The version's key must open as its own; deep: its envelope too. */
static int check_version(struct check *c, int64_t id, const struct query *q)
{
	struct wrap_context wrap = { .type = WRAP_DEK, .secret = VERSION_OBJECT(id), .version = VERSION_NUMBER(id) };
	struct envelope_context context = { .secret = VERSION_OBJECT(id), .version = VERSION_NUMBER(id) };
	uint8_t record[WRAP_RECORD_MAX], dek[KEY_LEN] = { 0 }, *envelope = NULL;
	struct secbuf *plain = NULL;
	size_t len = 0, record_len = 0, plain_len = 0;
	int r = version_fetch(c->s->read, q, &envelope, &len, record, &record_len);

	memcpy(wrap.vault, c->s->vault, sizeof wrap.vault);
	memcpy(context.vault, c->s->vault, sizeof context.vault);
	if (r == 0)
		r = envelope_plain_len(envelope, len, &plain_len);
	if (r == 0 && plain_len != (uint64_t)column_int(q, VERSIONS_SIZE))
		r = -EBADMSG;
	if (r == -EBADMSG || r == -ENOENT)
		finding(c, "secret %u version %u: its ciphertext is missing or was changed", VERSION_OBJECT(id),
			VERSION_NUMBER(id));
	if (r < 0)
		goto out;
	r = keys_unwrap(c->keys, &wrap, record, record_len, dek);
	if (r == -EBADMSG)
		finding(c, "secret %u version %u: its key does not open", VERSION_OBJECT(id), VERSION_NUMBER(id));
	if (r < 0 || !c->deep)
		goto out;
	r = secbuf_new(plain_len, &plain);
	if (r == 0)
		r = envelope_open(dek, &context, envelope, len, plain);
	if (r == -EBADMSG)
		finding(c, "secret %u version %u: its ciphertext does not open", VERSION_OBJECT(id),
			VERSION_NUMBER(id));
out:
	secbuf_free(plain);
	secmem_wipe(dek, sizeof dek);
	free(envelope);
	return r == -EBADMSG || r == -ENOENT ? 0 : r;
}

static int check_table(struct check *c, enum row_kind kind)
{
	struct query q = db_query(c->s->read, row_table(kind)->all);
	uint8_t mac[DIGEST_LEN];
	int r;

	while ((r = query_step(&q)) > 0) {
		int64_t id = column_int(&q, 0);
		c->sum.members += row_is_member(kind);
		c->sum.trail_members += row_is_trail(kind);
		r = row_verify(c->row_keys->row, kind, &q, mac);
		if (r == -EBADMSG)
			finding(c, "%s row %lld: not authentic", row_table(kind)->name, (long long)id);
		else if (r == 0)
			r = set_add(c->row_keys, mac, row_is_member(kind) ? &c->sum.hash : &c->sum.trail);
		if (r < 0 && r != -EBADMSG)
			break;
		check_values(c, kind, &q);
		if (kind == ROW_VERSION && !version_destroyed(&q)) {
			r = check_version(c, id, &q);
			if (r < 0)
				break;
		}
	}
	query_end(&q);
	if (r == -EBADMSG) {
		finding(c, "%s: the table cannot be read to its end", row_table(kind)->name);
		r = 0;
	}
	return r;
}

static void check_trail(struct check *c, const struct head *head)
{
	if (!head->has_trail)
		finding(c, "state: sealed by a coffer of before schema 6, which did not cover events, answers and "
			   "acts: start cofferd, and unseal it, so that they are");
	else if (head->trail_members != c->sum.trail_members)
		finding(c, "set: %lld rows of events, answers, acts and the like are there, the head counts %lld",
			(long long)c->sum.trail_members, (long long)head->trail_members);
	else if (secret_cmp(&head->trail, &c->sum.trail, sizeof head->trail) != 0)
		finding(c, "set: the rows of events, answers, acts and the like are not those that the head was sealed "
			   "over");
}

static int check_set(struct check *c)
{
	struct head head;
	uint8_t stored[DIGEST_LEN], mac[DIGEST_LEN];
	int r = head_read(c->s->read, c->row_keys, &head, stored);

	if (r == -EBADMSG) {
		finding(c, "state: the head is missing or damaged");
		return 0;
	}
	if (r < 0)
		return r;
	if (head.members != c->sum.members)
		finding(c, "set: %lld rows are there, the head counts %lld", (long long)c->sum.members,
			(long long)head.members);
	head.hash = c->sum.hash;
	r = head_mac(c->row_keys, c->s->vault, &head, mac);
	if (r == 0 && secret_cmp(mac, stored, DIGEST_LEN) != 0)
		finding(c, "set: the rows are not those that the head was sealed over");
	if (r == 0)
		check_trail(c, &head);
	return r;
}

/* Rows that hang in the air: one query for each way, a finding for each row. */
static int check_links(struct check *c)
{
	static const struct {
		const char *sql, *what;
	} links[] = {
		{ "SELECT id FROM version_data WHERE id NOT IN (SELECT id FROM versions)", "ciphertext of no version" },
		{ "SELECT id FROM versions WHERE (id >> 32) NOT IN (SELECT id FROM objects)", "version of no secret" },
		{ "SELECT id FROM version_data WHERE id IN (SELECT id FROM versions WHERE length(dek_record) = 0)",
		  "ciphertext of a destroyed version" },
		{ "SELECT id FROM objects WHERE deleted_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM clock)",
		  "deleted secret, and no clock" },
		{ "SELECT v.id FROM versions v JOIN objects o ON o.id = v.id >> 32 WHERE (v.id & 4294967295) > "
		  "o.last_version",
		  "version beyond its secret's last" },
		{ "SELECT id FROM hooks WHERE id NOT IN (SELECT id FROM hook_places)",
		  "hook without a place in the events" },
		{ "SELECT e.id FROM events e JOIN events n ON n.id = (SELECT min(id) FROM events WHERE id > e.id) "
		  "WHERE n.id != e.id + length(e.line)",
		  "event before a gap" },
		{ "SELECT id FROM bindings WHERE role >= 1000 AND role NOT IN (SELECT id FROM roles)",
		  "binding of an unknown role" },
	};
	int r = 0;

	for (size_t i = 0; i < sizeof links / sizeof links[0] && r == 0; i++) {
		struct query q = db_query(c->s->read, links[i].sql);
		while ((r = query_step(&q)) > 0)
			finding(c, "%s: row %lld", links[i].what, (long long)column_int(&q, 0));
		query_end(&q);
		if (r == -EBADMSG)
			r = 0; /* told by check_file */
	}
	return r;
}

static int check_all(struct check *c)
{
	static const enum row_kind kinds[] = {
		ROW_SETTINGS, ROW_OBJECT,      ROW_VERSION,  ROW_ROLE,  ROW_BINDING, ROW_BLOCK,
		ROW_CLOCK,    ROW_BACKUP_KEY,  ROW_ROTATION, ROW_HOOK,  ROW_NOTICE,  ROW_HISTORY,
		ROW_REQUEST,  ROW_PENDING_ACT, ROW_DRILL,    ROW_EVENT, ROW_MARK,    ROW_HOOK_PLACE,
		ROW_CHANGE,   ROW_BINDING_USE, ROW_KEK,
	};
	int r = check_file(c);

	if (r == 0 && schema_compare(c->s->read, c->s->schema) == -EBADMSG)
		finding(c, "schema: not what schema %d has", c->s->schema->version);
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && r == 0; i++)
		r = check_table(c, kinds[i]);
	if (r == 0)
		r = check_set(c);
	return r < 0 ? r : check_links(c);
}

int store_fsck(struct store *s, struct keys *keys, bool deep, void (*report)(const char *line, void *arg), void *arg)
{
	struct check c = { .s = s, .keys = keys, .deep = deep, .report = report, .arg = arg };
	struct row_keys *row_keys = NULL;
	int r = store_derive_row_keys(s, keys, &row_keys);

	if (r == -EBADMSG)
		finding(&c, "vault.conf: the vault's key does not open with this KEK");
	if (r < 0)
		return r;
	c.row_keys = row_keys;
	r = store_lock_reader(s);
	if (r == 0) {
		r = db_begin(s->read, false);
		if (r == 0)
			r = check_all(&c);
		db_rollback(s->read);
		pthread_mutex_unlock(&s->read_mutex);
	}
	secmem_free(row_keys, sizeof *row_keys);
	if (r == 0 && c.findings > 0)
		r = -EBADMSG;
	return r;
}
