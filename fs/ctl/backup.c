/* Requests about backups: writing one, who may recover them.
 *
 * A backup is read in chunks from a snapshot that lives in the worker. What is encrypted to a registered recipient
 * needs secrets/backup alone: the recipient was chosen by an administrator. Any other recipient (a passphrase, a key of
 * the caller's) could be the caller itself, who would read with it what it may not: that needs secrets/get on all that
 * is in it, and gives what the caller could open now (ctl_handout.c). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/ctl/backups.h"
#include "fs/ctl/internal.h"

#define NAMES_MAX 500 /* in one request; more is --all, or several backups */

/* ---- backup ---- */

static bool ad_hoc(const json_t *request) { return json_object_get(request, "public_key") != NULL; }

static int check_backup(struct ctl *c)
{
	const json_t *names = json_object_get(c->in, "names"), *name;
	const json_t *ln = json_object_get(c->in, "ln");
	bool all = json_is_true(json_object_get(c->in, "all"));
	uint8_t bytes[CURVE_LEN];
	size_t i;
	int r;

	if (all == (names != NULL) || (names && (json_array_size(names) == 0 || json_array_size(names) > NAMES_MAX)))
		return ctl_fail(c, EINVAL, "names: 1 to %d names, or all: one of them", NAMES_MAX);
	json_array_foreach((json_t *)(uintptr_t)names, i, name)
		if (!json_is_string(name) || !name_valid(json_string_value(name)))
			return ctl_fail(c, EINVAL, "names: there is one that is no secret's name");
	if (ad_hoc(c->in) == (json_object_get(c->in, "recipient") != NULL))
		return ctl_fail(c, EINVAL, "recipient: the name of one, or a public_key: one of them");
	if (ad_hoc(c->in) && (r = ctl_check_hex(c, "public_key", bytes, CURVE_LEN)) < 0)
		return r;
	if ((json_object_get(c->in, "salt") != NULL) != (ln != NULL) || (ln && !ad_hoc(c->in)))
		return ctl_fail(c, EINVAL, "salt: comes with public_key and ln");
	if (ln && (json_integer_value(ln) < BACKUP_LN_MIN || json_integer_value(ln) > BACKUP_LN_MAX))
		return ctl_fail(c, EINVAL, "ln: %d to %d", BACKUP_LN_MIN, BACKUP_LN_MAX);
	return ln ? ctl_check_hex(c, "salt", bytes, BACKUP_SALT_LEN) : 0;
}

static int ask_backup_of(struct ctl *c, const json_t *request, const char *name)
{
	int r;

	c->secret = name;
	r = ctl_ask(c, ACTION_SECRETS_BACKUP, name);
	if (r == 0 && ad_hoc(request))
		r = ctl_ask(c, ACTION_SECRETS_GET, name);
	return r;
}

static int ask_backup_by(struct ctl *c, const json_t *request)
{
	const json_t *names = json_object_get(request, "names"), *name;
	size_t i;
	int r = 0;

	json_array_foreach((json_t *)(uintptr_t)names, i, name)
		if ((r = ask_backup_of(c, request, json_string_value(name))) < 0)
			return r;
	if (names)
		return 0;
	r = ask_backup_of(c, request, "*");
	/* Roles, bindings and settings are in it; who can open it finds all names in it, too, and what programs hooks
	 * run. */
	if (r == 0)
		r = ctl_ask(c, ACTION_BINDINGS_LIST, "*");
	if (r == 0 && ad_hoc(request))
		r = ctl_ask(c, ACTION_SECRETS_LIST, "*");
	if (r == 0 && ad_hoc(request))
		r = ctl_ask(c, ACTION_VAULT_STATUS, NULL);
	if (r == 0)
		c->secret = NULL;
	return r;
}

static int ask_backup(struct ctl *c) { return ask_backup_by(c, c->in); }

static int by_id(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* Live secrets by these names, each once, ascending; malloc'd. */
static int find_names(struct ctl *c, uint32_t **ret_ids, size_t *ret_n)
{
	const json_t *names = json_object_get(c->in, "names");
	size_t n = json_array_size(names), kept = 0;
	uint32_t *ids = calloc(n + 1, sizeof *ids);
	const char *missing = NULL;
	char command[256];

	if (!ids)
		return ctl_fail_store(c, -ENOMEM, "back up");
	store_rdlock(c->env->store);
	for (size_t i = 0; i < n && !missing; i++) {
		const char *name = json_string_value(json_array_get(names, i));
		const struct catalog_secret *s = store_find(c->env->store, name);
		if (!s)
			s = store_find_deleted(c->env->store, name);
		if (s)
			ids[i] = s->id;
		else
			missing = name;
	}
	store_unlock_tables(c->env->store);
	if (missing) {
		free(ids);
		ctl_hint(c, "see: %s list", ctl_command(c, command, sizeof(command)));
		return ctl_fail(c, ENOENT, "there is no secret %s", missing);
	}
	qsort(ids, n, sizeof *ids, by_id);
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || ids[kept - 1] != ids[i])
			ids[kept++] = ids[i];
	*ret_ids = ids;
	*ret_n = kept;
	return 0;
}

static int find_recipient(struct ctl *c, struct backup_recipient *ret)
{
	const char *name = ctl_string(c, "recipient");
	struct recipient found;
	char command[256];
	int r;

	*ret = (struct backup_recipient){ .kind = BACKUP_TO_KEY };
	if (ad_hoc(c->in)) {
		ctl_from_hex(ctl_string(c, "public_key"), ret->key, CURVE_LEN);
		if (ctl_string(c, "salt")) {
			ret->kind = BACKUP_TO_PASSPHRASE;
			ctl_from_hex(ctl_string(c, "salt"), ret->salt, BACKUP_SALT_LEN);
			ret->ln = (uint8_t)json_integer_value(json_object_get(c->in, "ln"));
		}
		return 0;
	}
	r = store_recipient_find(c->env->store, name, &found);
	if (r == -ENOENT) {
		ctl_hint(c, "see: %s recipient list; an administrator registers one: %s recipient add",
			 ctl_command(c, command, sizeof(command)), command);
		return ctl_fail(c, ENOENT, "recipient: \"%.64s\" is not registered", name);
	}
	if (r < 0)
		return ctl_fail_store(c, r, "look up the recipient");
	memcpy(ret->name, found.name, sizeof ret->name);
	memcpy(ret->key, found.key, CURVE_LEN);
	return 0;
}

/* One record for each name; look() writes that of the last. */
static int record_names(struct ctl *c)
{
	const json_t *names = json_object_get(c->in, "names");
	size_t n = json_array_size(names);
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		c->secret = json_string_value(json_array_get(names, i));
		c->part = i + 1;
		if (i + 1 < n)
			r = ctl_record(c, AUDIT_ALLOW, 0, false);
	}
	c->part = 0;
	return r;
}

static int begin_backup(struct ctl *c, const struct backup_recipient *recipient, const uint32_t *ids, size_t n)
{
	const struct backup_scope scope = { .all = !ids, .ids = ids, .n = n, .judged = true };
	char session[BACKUP_SESSION_ID];
	struct backup *backup = NULL;
	struct backup_header header;
	int r = backup_open(c->env->store, &scope, recipient, &backup);

	if (r == -EBADMSG && ad_hoc(c->in))
		return ctl_fail(c, EINVAL, "public_key: this is not a key that anything can be encrypted to");
	if (r < 0)
		return ctl_fail_store(c, r, "begin a backup");
	header = *backup_header_of(backup);
	r = backups_add(c->env->backups, c->who, backup, c->request->line, c->request->len, session);
	if (r == -EBUSY) {
		ctl_hint(c, "wait until they have ended; one that is not read on ends after a minute");
		return ctl_fail(c, EBUSY, "too many backups are being written");
	}
	if (r < 0)
		return ctl_fail_store(c, r, "begin a backup");
	snprintf(c->detail, sizeof(c->detail), "%s to %s%s, epoch %llu",
		 scope.all ? "the whole vault"
		 : n == 1  ? "one secret"
			   : "some secrets",
		 recipient->kind == BACKUP_TO_PASSPHRASE ? "a passphrase"
		 : recipient->name[0]                    ? "recipient "
							 : "a key of the caller's",
		 recipient->name, (unsigned long long)header.epoch);
	r = record_names(c);
	if (r < 0) {
		backups_end(c->env->backups, c->who, session);
		c->unrecorded = true;
		return r;
	}
	ctl_set(c, "session", json_string(session));
	ctl_set(c, "epoch", json_integer((json_int_t)header.epoch));
	return 0;
}

static int run_backup(struct ctl *c)
{
	struct backup_recipient recipient;
	uint32_t *ids = NULL;
	struct store_counts counts;
	size_t n = 0;
	int r;

	if (!c->env->backups)
		return ctl_fail(c, ENOTSUP, "backups are not served here");
	r = find_recipient(c, &recipient);
	if (r == 0 && json_object_get(c->in, "names"))
		r = find_names(c, &ids, &n);
	if (r == 0)
		r = begin_backup(c, &recipient, ids, n);
	free(ids);
	if (r < 0)
		return r;
	store_rdlock(c->env->store);
	store_counts(c->env->store, &counts);
	store_unlock_tables(c->env->store);
	ctl_set(c, "secrets",
		json_integer(n ? (json_int_t)n : (json_int_t)counts.secrets + (json_int_t)counts.deleted));
	return 0;
}

static int fail_gone(struct ctl *c)
{
	c->unrecorded = true;
	ctl_hint(c, "begin the backup again");
	return ctl_fail(
		c, ESTALE,
		"the backup that was being written is gone: its worker was replaced, or it was not read for a minute");
}

/* What was allowed when the backup was begun is asked again for each chunk: a revocation or a block reaches it, as it
 * reaches an open file. */
static int ask_backup_read(struct ctl *c)
{
	const char *session = ctl_string(c, "session");
	char *line = NULL;
	size_t len = 0;
	int r;

	if (!c->env->backups)
		return ctl_fail(c, ENOTSUP, "backups are not served here");
	r = backups_request(c->env->backups, c->who, session, &line, &len);
	if (r == -ESTALE)
		return fail_gone(c);
	c->begun = r == 0 ? json_loadb(line, len, 0, NULL) : NULL;
	free(line);
	if (!c->begun)
		return ctl_fail_store(c, -ENOMEM, "write the backup");
	r = ask_backup_by(c, c->begun);
	if (r < 0)
		backups_end(c->env->backups, c->who, session);
	return r;
}

static int run_backup_read(struct ctl *c)
{
	struct backups_chunk chunk = { .n = (uint64_t)json_integer_value(json_object_get(c->in, "chunk")) };
	const struct backup_judge judge = ctl_handout(c);
	int r = backups_read(c->env->backups, c->who, ctl_string(c, "session"), &judge, &chunk);

	if (r == -ESTALE)
		return fail_gone(c);
	if (r < 0)
		return ctl_fail_store(c, r, "write the backup");
	c->unrecorded = true; /* its pieces are */
	c->raw = chunk.bytes;
	c->raw_len = chunk.len;
	ctl_set(c, "length", json_integer((json_int_t)chunk.len));
	ctl_set(c, "last", json_boolean(chunk.last));
	ctl_set(c, "secrets", json_integer((json_int_t)chunk.counts.secrets));
	ctl_set(c, "versions", json_integer((json_int_t)chunk.counts.versions));
	if (chunk.last)
		ctl_set_left_out(c, chunk.left, chunk.n_left, chunk.more_left);
	free(chunk.left);
	return 0;
}

static int run_backup_end(struct ctl *c)
{
	if (c->env->backups)
		backups_end(c->env->backups, c->who, ctl_string(c, "session"));
	return 0;
}

/* ---- recipients and drills ---- */

static int ask_update(struct ctl *c) { return ctl_ask(c, ACTION_VAULT_UPDATE, NULL); }

/* Whoever is registered can open all that is backed up from then on, disabled and deleted too: more than any action
 * short of all gives. */
static int ask_recipient_add(struct ctl *c)
{
	char command[256];
	int r = ask_update(c);

	if (r != -EACCES && (r < 0 || ctl_ask_administrator(c, NULL) == 0))
		return r;
	ctl_hint(c,
		 "ask an administrator of the vault to register it; to back up for yourself: %s backup --public-key "
		 "FILE",
		 ctl_command(c, command, sizeof(command)));
	return ctl_fail(c, EACCES,
			"a recipient can open every backup that is made to it, so only an administrator of the vault "
			"may register one");
}

static int check_recipient(struct ctl *c)
{
	uint8_t key[CURVE_LEN];

	c->args.role = ctl_string(c, "name");
	if (!vault_name_valid(c->args.role))
		return ctl_fail(c, EINVAL, "name: 1 to %d of a-z 0-9 - and not a hyphen first", RECIPIENT_NAME_MAX - 1);
	return json_object_get(c->in, "public_key") ? ctl_check_hex(c, "public_key", key, CURVE_LEN) : 0;
}

static int run_recipient_add(struct ctl *c)
{
	const char *name = ctl_string(c, "name");
	uint8_t key[CURVE_LEN];
	char by[32];
	int r;

	ctl_from_hex(ctl_string(c, "public_key"), key, CURVE_LEN);
	snprintf(by, sizeof(by), "user:%u", c->who->policy.uid);
	r = store_recipient_add(c->env->store, name, key, by);
	if (r == -EEXIST)
		return ctl_fail(c, EEXIST, "there is a recipient %s already; remove it first, or choose another name",
				name);
	if (r == -ENOSPC)
		return ctl_fail(c, E2BIG, "there are %d recipients already; remove those that nobody needs",
				RECIPIENTS_MAX);
	if (r < 0)
		return ctl_fail_store(c, r, "register the recipient");
	snprintf(c->detail, sizeof(c->detail), "recipient %s added, key %s", name, ctl_string(c, "public_key"));
	ctl_set(c, "name", json_string(name));
	return 0;
}

static int run_recipient_remove(struct ctl *c)
{
	const char *name = ctl_string(c, "name");
	char command[256];
	int r = store_recipient_remove(c->env->store, name);

	if (r == -ENOENT) {
		ctl_hint(c, "see: %s recipient list", ctl_command(c, command, sizeof(command)));
		return ctl_fail(c, ENOENT, "there is no recipient %s", name);
	}
	if (r < 0)
		return ctl_fail_store(c, r, "remove the recipient");
	snprintf(c->detail, sizeof(c->detail), "recipient %s removed", name);
	ctl_set(c, "name", json_string(name));
	return 0;
}

static int run_recipients(struct ctl *c)
{
	struct recipient *list = NULL;
	json_t *out = json_array();
	size_t n = 0;
	int r = store_recipients(c->env->store, &list, &n);

	if (r < 0) {
		json_decref(out);
		return ctl_fail_store(c, r, "list the recipients");
	}
	for (size_t i = 0; i < n; i++) {
		char key[2 * CURVE_LEN + 1];
		for (size_t k = 0; k < CURVE_LEN; k++)
			snprintf(key + 2 * k, 3, "%02x", list[i].key[k]);
		if (json_array_append_new(out, json_pack("{s:s, s:s, s:o, s:s}", "name", list[i].name, "public_key",
							 key, "created", ctl_time(list[i].created), "created_by",
							 list[i].created_by)) < 0)
			c->short_of_memory = true;
	}
	free(list);
	ctl_set(c, "recipients", out);
	return 0;
}

static int check_drill(struct ctl *c)
{
	uint8_t vault[16];
	int64_t created;
	bool given;
	int r = ctl_check_hex(c, "vault", vault, sizeof vault);

	return r < 0 ? r : ctl_check_time(c, "created", 0, &created, &given);
}

static int ask_drill(struct ctl *c) { return ctl_ask(c, ACTION_SECRETS_RESTORE, "*"); }

static int run_drill(struct ctl *c)
{
	struct drill d = { .at = c->now,
			   .secrets = (uint64_t)json_integer_value(json_object_get(c->in, "secrets")),
			   .versions = (uint64_t)json_integer_value(json_object_get(c->in, "versions")) };
	uint8_t vault[16];
	bool given;
	int r;

	ctl_from_hex(ctl_string(c, "vault"), vault, sizeof vault);
	if (memcmp(vault, store_vault_id(c->env->store), sizeof vault) != 0)
		return ctl_fail(c, EINVAL, "vault: the backup is another vault's");
	ctl_check_time(c, "created", 0, &d.backup_created, &given);
	r = store_drill_put(c->env->store, &d);
	if (r < 0)
		return ctl_fail_store(c, r, "keep the date of the drill");
	snprintf(c->detail, sizeof(c->detail), "drill: %llu secrets, %llu versions, all good",
		 (unsigned long long)d.secrets, (unsigned long long)d.versions);
	return 0;
}

/* ---- the table ---- */

static const struct ctl_field no_fields[] = { { 0 } };
static const struct ctl_field backup_fields[] = {
	{ "names", CTL_ARRAY, false },
	{ "all", CTL_BOOL, false },
	{ "recipient", CTL_STRING, false },
	{ "public_key", CTL_STRING, false },
	{ "salt", CTL_STRING, false },
	{ "ln", CTL_INT, false },
	{ 0 },
};
static const struct ctl_field read_fields[] = { { "session", CTL_STRING, true }, { "chunk", CTL_INT, true }, { 0 } };
static const struct ctl_field end_fields[] = { { "session", CTL_STRING, true }, { 0 } };
static const struct ctl_field recipient_fields[] = { { "name", CTL_STRING, true },
						     { "public_key", CTL_STRING, true },
						     { 0 } };
static const struct ctl_field remove_fields[] = { { "name", CTL_STRING, true }, { 0 } };
static const struct ctl_field drill_fields[] = {
	{ "vault", CTL_STRING, true },
	{ "created", CTL_STRING, true },
	{ "secrets", CTL_INT, true },
	{ "versions", CTL_INT, true },
	{ 0 },
};

const struct ctl_op ctl_backup_ops[] = {
	{ .name = "backup",
	  .operation = AUDIT_SECRET_BACKUP,
	  .fields = backup_fields,
	  .check = check_backup,
	  .ask = ask_backup,
	  .run = run_backup },
	{ .name = "backup-read",
	  .operation = AUDIT_SECRET_BACKUP,
	  .fields = read_fields,
	  .ask = ask_backup_read,
	  .run = run_backup_read },
	{ .name = "backup-end", .operation = AUDIT_SECRET_BACKUP, .fields = end_fields, .run = run_backup_end },
	{ .name = "recipient-add",
	  .operation = AUDIT_VAULT_UPDATE,
	  .changes = true,
	  .fields = recipient_fields,
	  .check = check_recipient,
	  .ask = ask_recipient_add,
	  .run = run_recipient_add },
	{ .name = "recipient-remove",
	  .operation = AUDIT_VAULT_UPDATE,
	  .changes = true,
	  .fields = remove_fields,
	  .check = check_recipient,
	  .ask = ask_update,
	  .run = run_recipient_remove },
	{ .name = "recipients", .fields = no_fields, .run = run_recipients },
	{ .name = "drill",
	  .operation = AUDIT_VAULT_UPDATE,
	  .changes = true,
	  .fields = drill_fields,
	  .check = check_drill,
	  .ask = ask_drill,
	  .run = run_drill },
	{ 0 },
};
