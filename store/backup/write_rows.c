/* Rows of the store as records of a backup: grants, rules and settings. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "policy/role.h"
#include "store/core/columns.h"
#include "store/backup/format.h"
#include "store/backup/write_internal.h"
#include "store/core/db.h"
#include "store/core/rows.h"
#include "store/core/rules_table.h"
#include "store/keys/keys.h"
#include "store/keys/transport.h"

/* Verifies the row that q stands on, and sums it. */
int backup_take_row(struct backup *b, enum row_kind kind, const struct query *q)
{
	uint8_t mac[DIGEST_LEN];
	int r = row_verify(b->keys->row.row, kind, q, mac);

	b->sum.members++;
	return r < 0 ? r : set_add(&b->keys->row, mac, &b->sum.hash);
}

static int put_settings(struct backup *b, const struct query *q)
{
	size_t at = buffer_record(&b->plain, RECORD_SETTINGS);

	buffer_u32(&b->plain, (uint32_t)column_int(q, SETTINGS_RETENTION_DAYS));
	buffer_u8(&b->plain, column_int(q, SETTINGS_PURGE_PROTECTION) != 0);
	buffer_u8(&b->plain, column_int(q, SETTINGS_ENFORCE_VALIDITY) != 0);
	buffer_u32(&b->plain, (uint32_t)column_int(q, SETTINGS_VALUE_MAX));
	buffer_record_end(&b->plain, at);
	b->counts.settings++;
	return 0;
}

static int put_role(struct backup *b, const struct query *q)
{
	char actions[ACTION_COUNT * 40] = "";
	size_t at, len = 0;
	struct role role;
	int r = role_parse(q, &role);

	if (r < 0)
		return r;
	for (unsigned a = 0; a < ACTION_COUNT; a++)
		if (role.actions & ACTION_BIT(a))
			len += (size_t)snprintf(actions + len, sizeof actions - len, "%s%s", len ? " " : "",
						action_name((enum action)a));
	at = buffer_record(&b->plain, RECORD_ROLE);
	buffer_text(&b->plain, role.name);
	buffer_text(&b->plain, actions);
	buffer_record_end(&b->plain, at);
	b->counts.roles++;
	return 0;
}

static int role_name(struct backup *b, uint32_t id, char ret_name[ROLE_NAME_MAX])
{
	const struct role *builtin = role_builtin_get(id);
	struct role role;
	struct query q;
	int r = 0;

	if (builtin) {
		memcpy(ret_name, builtin->name, ROLE_NAME_MAX);
		return 0;
	}
	q = db_query(b->db, row_table(ROW_ROLE)->one);
	query_int(&q, id);
	r = query_step(&q);
	if (r == 0)
		r = -EBADMSG;
	if (r > 0)
		r = role_parse(&q, &role);
	query_end(&q);
	if (r == 0)
		memcpy(ret_name, role.name, ROLE_NAME_MAX);
	return r;
}

static int put_binding(struct backup *b, const struct query *q)
{
	char name[ROLE_NAME_MAX];
	int r = role_name(b, (uint32_t)column_int(q, BINDINGS_ROLE), name);
	size_t at;

	if (r < 0)
		return r;
	at = buffer_record(&b->plain, RECORD_BINDING);
	buffer_text(&b->plain, name);
	buffer_text(&b->plain, column_text(q, BINDINGS_PRINCIPAL));
	buffer_text(&b->plain, column_text(q, BINDINGS_SCOPE));
	buffer_u64(&b->plain, (uint64_t)column_int(q, BINDINGS_VALID_FROM));
	buffer_u64(&b->plain, (uint64_t)column_int(q, BINDINGS_VALID_UNTIL));
	buffer_text(&b->plain, column_text(q, BINDINGS_REASON));
	buffer_text(&b->plain, column_text(q, BINDINGS_CREATED_BY));
	buffer_u64(&b->plain, (uint64_t)column_int(q, BINDINGS_CREATED));
	buffer_record_end(&b->plain, at);
	b->counts.bindings++;
	return 0;
}

static int put_block(struct backup *b, const struct query *q)
{
	size_t at = buffer_record(&b->plain, RECORD_BLOCK);

	buffer_text(&b->plain, column_text(q, BLOCKS_PRINCIPAL));
	buffer_text(&b->plain, column_text(q, BLOCKS_REASON));
	buffer_text(&b->plain, column_text(q, BLOCKS_CREATED_BY));
	buffer_record_end(&b->plain, at);
	b->counts.blocks++;
	return 0;
}

static int put_recipient(struct backup *b, const struct query *q)
{
	size_t len = 0, at;
	const void *key = column_blob(q, BACKUP_KEYS_PUBLIC_KEY, &len);

	if (!column_null(q, BACKUP_KEYS_RECORD)) /* the signing key stays where it is */
		return 0;
	if (len != CURVE_LEN)
		return -EBADMSG;
	at = buffer_record(&b->plain, RECORD_RECIPIENT);
	buffer_text(&b->plain, column_text(q, BACKUP_KEYS_NAME));
	buffer_bytes(&b->plain, key, len);
	buffer_u64(&b->plain, (uint64_t)column_int(q, BACKUP_KEYS_CREATED));
	buffer_text(&b->plain, column_text(q, BACKUP_KEYS_CREATED_BY));
	buffer_record_end(&b->plain, at);
	b->counts.recipients++;
	return 0;
}

static int put_rotation(struct backup *b, const struct query *q)
{
	struct rotation p;
	int r = rotation_parse(q, &p);
	size_t at;

	if (r < 0)
		return r;
	at = buffer_record(&b->plain, RECORD_ROTATION);
	buffer_text(&b->plain, p.scope);
	buffer_u8(&b->plain, (uint8_t)p.action);
	buffer_u64(&b->plain, (uint64_t)p.every);
	buffer_u64(&b->plain, (uint64_t)p.before);
	buffer_u64(&b->plain, (uint64_t)p.expiry);
	buffer_text(&b->plain, p.generator);
	buffer_text(&b->plain, p.command);
	buffer_u32(&b->plain, p.user);
	buffer_u32(&b->plain, p.timeout);
	buffer_u32(&b->plain, p.created_by);
	buffer_u64(&b->plain, (uint64_t)p.created);
	buffer_record_end(&b->plain, at);
	b->counts.rotations++;
	return 0;
}

static int put_hook(struct backup *b, const struct query *q)
{
	struct hook h;
	int r = hook_parse(q, &h);
	size_t at;

	if (r < 0)
		return r;
	at = buffer_record(&b->plain, RECORD_HOOK);
	buffer_text(&b->plain, h.scope);
	buffer_u32(&b->plain, h.events);
	buffer_text(&b->plain, h.command);
	buffer_u32(&b->plain, h.user);
	buffer_u32(&b->plain, h.debounce);
	buffer_u32(&b->plain, h.timeout);
	buffer_u32(&b->plain, h.created_by);
	buffer_u64(&b->plain, (uint64_t)h.created);
	buffer_record_end(&b->plain, at);
	b->counts.hooks++;
	return 0;
}

static int put_notice(struct backup *b, const struct query *q)
{
	uint32_t days = 0;
	int r = notice_parse(q, &days);
	size_t at;

	if (r < 0)
		return r;
	at = buffer_record(&b->plain, RECORD_NOTICE);
	buffer_u32(&b->plain, days);
	buffer_record_end(&b->plain, at);
	b->counts.notices++;
	return 0;
}

static int put_history(struct backup *b, const struct query *q)
{
	struct history h;
	int r = history_parse(q, &h);
	size_t at;

	if (r < 0)
		return r;
	at = buffer_record(&b->plain, RECORD_HISTORY);
	buffer_text(&b->plain, h.scope);
	buffer_u32(&b->plain, h.versions);
	buffer_u64(&b->plain, (uint64_t)h.span);
	buffer_u32(&b->plain, h.created_by);
	buffer_u64(&b->plain, (uint64_t)h.created);
	buffer_record_end(&b->plain, at);
	b->counts.histories++;
	return 0;
}

/* What is in a backup, by kind; the clock is not: it counts this machine's time. */
static int (*const records[ROW_KINDS])(struct backup *b, const struct query *q) = {
	[ROW_SETTINGS] = put_settings,
	[ROW_ROLE] = put_role,
	[ROW_BINDING] = put_binding,
	[ROW_BLOCK] = put_block,
	[ROW_BACKUP_KEY] = put_recipient,
	[ROW_ROTATION] = put_rotation,
	[ROW_HOOK] = put_hook,
	[ROW_NOTICE] = put_notice,
	[ROW_HISTORY] = put_history,
};

int backup_put_row(struct backup *b, enum row_kind kind, const struct query *q)
{
	return records[kind] ? records[kind](b, q) : 0;
}
