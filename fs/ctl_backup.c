/* Requests about backups: writing one, handing one in, who may recover them.
 *
 * A backup is read in chunks from a snapshot that lives in the worker; a restore is handed in in pieces that wait in the store, and is then carried out by one request in one
 * transaction. What is encrypted to a registered recipient needs secrets/backup alone: the recipient was chosen by an administrator. Any other recipient (a passphrase, a key of the
 * caller's) could be the caller himself, who would read with it what he may not: that needs secrets/get on all that is in it. */
#include "fs/ctl_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/backups.h"
#include "fs/shared.h"
#include "store/backup.h"

#define NAMES_MAX 500	/* in one request; more is --all, or several backups */

/* ---- hex ---- */

static int from_hex(const char *text, uint8_t *ret, size_t n)
{
	if (!text || strlen(text) != 2 * n)
		return -EINVAL;
	for (size_t i = 0; i < 2 * n; i++) {
		char ch = text[i];
		int digit = ch >= '0' && ch <= '9' ? ch - '0' : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
		if (digit < 0)
			return -EINVAL;
		ret[i / 2] = (uint8_t)(i % 2 ? ret[i / 2] | digit : digit << 4);
	}
	return 0;
}

static int check_hex(struct ctl *c, const char *field, uint8_t *ret, size_t n)
{
	return from_hex(ctl_string(c, field), ret, n) == 0 ? 0 : ctl_fail(c, EINVAL, "%s: %zu lower-case hex digits are expected", field, 2 * n);
}

static void set_hex(struct ctl *c, const char *key, const uint8_t *bytes, size_t n)
{
	char text[2 * 64 + 1];

	for (size_t i = 0; i < n; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	ctl_set(c, key, json_string(text));
}

/* ---- backup ---- */

static bool ad_hoc(const json_t *request)
{
	return json_object_get(request, "public_key") != NULL;
}

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
	if (ad_hoc(c->in) && (r = check_hex(c, "public_key", bytes, CURVE_LEN)) < 0)
		return r;
	if ((json_object_get(c->in, "salt") != NULL) != (ln != NULL) || (ln && !ad_hoc(c->in)))
		return ctl_fail(c, EINVAL, "salt: comes with public_key and ln");
	if (ln && (json_integer_value(ln) < BACKUP_LN_MIN || json_integer_value(ln) > BACKUP_LN_MAX))
		return ctl_fail(c, EINVAL, "ln: %d to %d", BACKUP_LN_MIN, BACKUP_LN_MAX);
	return ln ? check_hex(c, "salt", bytes, BACKUP_SALT_LEN) : 0;
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
	/* Roles, bindings and settings are in it. */
	if (r == 0)
		r = ctl_ask(c, ACTION_BINDINGS_LIST, "*");
	if (r == 0)
		c->secret = NULL;
	return r;
}

static int ask_backup(struct ctl *c)
{
	return ask_backup_by(c, c->in);
}

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
		ctl_hint(c, "`%s list` shows what there is", ctl_command(c, command, sizeof(command)));
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
		from_hex(ctl_string(c, "public_key"), ret->key, CURVE_LEN);
		if (ctl_string(c, "salt")) {
			ret->kind = BACKUP_TO_PASSPHRASE;
			from_hex(ctl_string(c, "salt"), ret->salt, BACKUP_SALT_LEN);
			ret->ln = (uint8_t)json_integer_value(json_object_get(c->in, "ln"));
		}
		return 0;
	}
	r = store_recipient_find(c->env->store, name, &found);
	if (r == -ENOENT) {
		ctl_hint(c, "`%s recipient list` shows who is registered; an administrator registers one with `coffer recipient add`", ctl_command(c, command, sizeof(command)));
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
	const struct backup_scope scope = { .all = !ids, .ids = ids, .n = n };
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
	snprintf(c->detail, sizeof(c->detail), "%s to %s%s, epoch %llu", scope.all ? "the whole vault" : n == 1 ? "one secret" : "some secrets",
		 recipient->kind == BACKUP_TO_PASSPHRASE ? "a passphrase" : recipient->name[0] ? "recipient " : "a key of the caller's", recipient->name,
		 (unsigned long long)header.epoch);
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
	ctl_set(c, "secrets", json_integer(n ? (json_int_t)n : (json_int_t)counts.secrets + (json_int_t)counts.deleted));
	return 0;
}

static int fail_gone(struct ctl *c)
{
	c->unrecorded = true;
	ctl_hint(c, "begin the backup again");
	return ctl_fail(c, ESTALE, "the backup that was being written is gone: its worker was replaced, or it was not read for a minute");
}

/* What was allowed when the backup was begun is asked again for each chunk: a revocation or a block reaches it, as it reaches an open file. */
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
	const json_t *chunk = json_object_get(c->in, "chunk");
	struct backup_counts counts;
	bool last = false;
	int r;

	r = backups_read(c->env->backups, c->who, ctl_string(c, "session"), (uint64_t)json_integer_value(chunk), &c->raw, &c->raw_len, &last, &counts);
	if (r == -ESTALE)
		return fail_gone(c);
	if (r < 0)
		return ctl_fail_store(c, r, "write the backup");
	c->unrecorded = true;
	ctl_set(c, "length", json_integer((json_int_t)c->raw_len));
	ctl_set(c, "last", json_boolean(last));
	ctl_set(c, "secrets", json_integer((json_int_t)counts.secrets));
	ctl_set(c, "versions", json_integer((json_int_t)counts.versions));
	return 0;
}

static int run_backup_end(struct ctl *c)
{
	if (c->env->backups)
		backups_end(c->env->backups, c->who, ctl_string(c, "session"));
	return 0;
}

/* ---- handing a backup in ---- */

static int ask_restore_any(struct ctl *c)
{
	return ctl_ask_any(c, ACTION_SECRETS_RESTORE);
}

static int run_restore_key(struct ctl *c)
{
	uint8_t key[CURVE_LEN];
	int r = keys_restore_key(c->env->keys, key);

	if (r < 0)
		return ctl_fail_store(c, r, "ask the key holder for its key");
	c->unrecorded = true;
	set_hex(c, "key", key, sizeof key);
	ctl_set(c, "piece", json_integer(RESTORE_PIECE_MAX));
	return 0;
}

static int check_restore_id(struct ctl *c)
{
	uint8_t id[RESTORE_ID_LEN];

	return check_hex(c, "restore", id, sizeof id);
}

static int run_restore_put(struct ctl *c)
{
	const json_int_t at = json_integer_value(json_object_get(c->in, "at"));
	const struct restore_owner owner = { c->who->uid, (c->who->host && c->who->uid == 0) || ctl_may(c, ACTION_BINDINGS_CREATE, NULL) };
	uint8_t id[RESTORE_ID_LEN], *bytes;
	size_t n = 0;
	int r;

	if (at < 0 || c->args.value_length == 0)
		return ctl_fail(c, EINVAL, "at: where the piece lies, and value_length: at least one byte");
	from_hex(ctl_string(c, "restore"), id, sizeof id);
	bytes = malloc(c->args.value_length);
	r = bytes ? store_stage_read(c->env->store, c->request->stage, 0, bytes, c->args.value_length, &n) : -ENOMEM;
	if (r == 0)
		r = n == c->args.value_length ? store_restore_put(c->env->store, id, &owner, (uint64_t)at, bytes, n) : -EIO;
	free(bytes);
	c->unrecorded = true;
	if (r == -EINVAL || r == -ENOENT)
		return ctl_fail(c, EINVAL, "at: pieces come one after the other");
	if (r == -EBUSY) {
		ctl_hint(c, "wait until they have ended; one that is left alone ends after an hour");
		return ctl_fail(c, EBUSY, "too many restores are under way: %d of one user, %d in all", RESTORES_PER_UID, RESTORES_MAX - RESTORES_RESERVE);
	}
	if (r == -EDQUOT) {
		ctl_hint(c, "make room on the store's file system, wait until other restores have ended, or restore as root: coffer restore --into STORE");
		return ctl_fail(c, ENOSPC, "the backup is too long to be handed in: what waits to be restored may take 1/%u of the disk's free space%s", RESTORES_DISK_PART,
				owner.administrator ? "" : ", and one user's half of that");
	}
	return r < 0 ? ctl_fail_store(c, r, "take a piece of the backup") : 0;
}

static int run_restore_drop(struct ctl *c)
{
	uint8_t id[RESTORE_ID_LEN];
	int r;

	from_hex(ctl_string(c, "restore"), id, sizeof id);
	r = store_restore_drop(c->env->store, id, c->who->uid);
	c->unrecorded = true;
	return r < 0 ? ctl_fail_store(c, r, "drop the pieces") : 0;
}

/* ---- restoring ---- */

static const char *const policies[] = { [RESTORE_REFUSE] = "refuse", [RESTORE_SKIP] = "skip", [RESTORE_APPEND] = "append" };

static int check_existing(struct ctl *c, enum restore_existing *ret)
{
	const char *text = ctl_string(c, "existing");

	*ret = RESTORE_REFUSE;
	for (unsigned i = 0; text && i < sizeof policies / sizeof policies[0]; i++)
		if (!strcmp(text, policies[i])) {
			*ret = (enum restore_existing)i;
			return 0;
		}
	return text ? ctl_fail(c, EINVAL, "existing: refuse, skip or append") : 0;
}

static int check_restore(struct ctl *c)
{
	uint8_t bytes[BOX_LEN];
	enum restore_existing existing;
	int r = check_restore_id(c);

	if (r == 0)
		r = check_hex(c, "key", bytes, BOX_LEN);
	if (r == 0)
		r = check_hex(c, "signer", bytes, DIGEST_LEN);
	return r < 0 ? r : check_existing(c, &existing);
}

static int ask_administrator(struct ctl *c, const char *scope)
{
	action_set own;

	store_rdlock(c->env->store);
	own = policy_actions(store_policy(c->env->store), &c->who->policy, scope, c->now);
	store_unlock_tables(c->env->store);
	if (own == ACTION_ALL)
		return 0;
	ctl_deny(c);
	ctl_hint(c, "ask somebody who is administrator on %s", scope);
	return ctl_fail(c, EACCES, "the backup gives more than data on %s, and only an administrator may restore that", scope);
}

static enum action restore_action(uint8_t kind)
{
	return kind == OBJECT_KEY ? ACTION_KEYS_RESTORE : kind == OBJECT_CERTIFICATE ? ACTION_CERTIFICATES_RESTORE : ACTION_SECRETS_RESTORE;
}

/* Who restores, and the lines that hooks.allow must have for what is restored. */
struct restoring { struct ctl *ctl; json_t *programs; size_t bytes; uint64_t more; };
#define PROGRAMS_BYTES 16384	/* of lines in an answer, which is kept with its request: further ones are only counted */

/* "UID COMMAND", as in hooks.allow; each once. The list itself is only root's to change. */
static int note_program(struct restoring *r, const struct restore_item *item)
{
	char line[HOOK_COMMAND_MAX + 16];
	const json_t *there;
	size_t i;

	snprintf(line, sizeof line, "%u %s", item->user, item->command);
	json_array_foreach(r->programs, i, there)
		if (!strcmp(json_string_value(there), line))
			return 0;
	if (r->bytes + strlen(line) > PROGRAMS_BYTES) {
		r->more++;
		return 0;
	}
	r->bytes += strlen(line);
	if (json_array_append_new(r->programs, json_string(line)) < 0)
		r->ctl->short_of_memory = true;
	return 0;
}

/* As rotation-set and hook-add ask. */
static int ask_rule(struct restoring *r, const struct restore_item *item)
{
	int e = item->kind == RESTORE_ITEM_ROTATION ? ctl_ask(r->ctl, ACTION_SECRETS_SET, item->name) : 0;

	if (e == 0 && item->command)
		e = ctl_ask(r->ctl, ACTION_VAULT_UPDATE, NULL);
	return e < 0 || !item->command ? e : note_program(r, item);
}

/* The same questions as of a grant, a new role, a block, a recipient, a policy, a hook, a change of settings by itself. */
static int ask_item(const struct restore_item *item, void *arg)
{
	struct restoring *restoring = arg;
	struct ctl *c = restoring->ctl;
	const struct role role = { .actions = item->actions };
	int r = 0;

	switch (item->kind) {
	case RESTORE_ITEM_SECRET:
		r = ctl_ask(c, restore_action(item->object_kind), item->name);
		return r < 0 || !item->appends ? r : ctl_ask(c, ACTION_SECRETS_SET, item->name);
	case RESTORE_ITEM_ROLE:
		return ctl_ask(c, ACTION_ROLES_CREATE, NULL);
	case RESTORE_ITEM_BINDING:
		r = ctl_ask(c, ACTION_BINDINGS_CREATE, item->binding->scope);
		return r < 0 || role_is_data_role(&role) ? r : ask_administrator(c, item->binding->scope);
	case RESTORE_ITEM_BLOCK:
	case RESTORE_ITEM_RECIPIENT:
		return ask_administrator(c, "*");
	case RESTORE_ITEM_SETTINGS:
		return ctl_ask(c, ACTION_VAULT_UPDATE, NULL);
	case RESTORE_ITEM_ROTATION:
	case RESTORE_ITEM_HOOK:
		return ask_rule(restoring, item);
	}
	return -EACCES;
}

/* A stream of any length is gone through twice: each piece of it that is read is a sign of life. */
struct pieces_read { struct restore_pieces pieces; struct ctl *c; uint64_t size; };

/* The slowest disk that a vault is expected to lie on takes that much of a stream in a millisecond, when it is made durable and when its pieces go. */
#define DISK_BYTES_MS 512u

static int read_pieces(void *arg, uint64_t offset, void *ret, size_t len, size_t *ret_len)
{
	struct pieces_read *p = arg;
	const struct backup_source source = restore_pieces_source(&p->pieces);
	int r;

	shared_still_at(p->c->env->shared, p->c->request->unique);
	r = source.read(source.arg, offset, ret, len, ret_len);
	if (r == 0 && offset + *ret_len > p->size)
		p->size = offset + *ret_len;
	return r;
}

/* So is each record: a block, for one, is weighed against all bindings. */
static void get_on(uint64_t done, uint64_t size, void *arg)
{
	const struct restoring *r = arg;

	(void)done;
	(void)size;
	shared_still_at(r->ctl->env->shared, r->ctl->request->unique);
}

static int fail_restore(struct ctl *c, int r, const char *why)
{
	if (c->error)			/* the policy said so, and said why */
		return r;
	if (r == -EEXIST) {
		ctl_hint(c, "--existing skip leaves what is there, --existing append adds the backup's versions to it");
		return ctl_fail(c, EEXIST, "%s; nothing was restored", *why ? why : "something is there already");
	}
	if (r == -EKEYREJECTED) {
		ctl_hint(c, "name the signer that `coffer status` of the backed-up vault shows, if that is the vault you mean");
		return ctl_fail(c, EKEYREJECTED, "%s; nothing was restored", why);
	}
	if (*why)
		return ctl_fail(c, -r, "%s; nothing was restored", why);
	return ctl_fail_store(c, r, "restore, and nothing was restored");
}

static int restore(struct ctl *c)
{
	uint8_t box[BOX_LEN], signer[DIGEST_LEN];
	struct pieces_read stream = { .pieces = { .store = c->env->store, .uid = c->who->uid }, .c = c };
	struct restoring restoring = { .ctl = c, .programs = json_array() };
	struct restore_options options = { .box = box, .signer = signer, .grants = json_is_true(json_object_get(c->in, "grants")), .ask = ask_item, .progress = get_on,
					   .arg = &restoring };
	const struct backup_source source = { .read = read_pieces, .arg = &stream };
	struct restore_counts counts;
	struct backup_header header;
	char why[256] = "";
	int r;

	from_hex(ctl_string(c, "restore"), stream.pieces.id, sizeof stream.pieces.id);
	from_hex(ctl_string(c, "key"), box, sizeof box);
	from_hex(ctl_string(c, "signer"), signer, sizeof signer);
	check_existing(c, &options.existing);
	r = store_restore(c->env->store, &source, &options, &header, &counts, why, sizeof why);
	if (r < 0) {
		json_decref(restoring.programs);
		return fail_restore(c, r, why);
	}
	shared_takes(c->env->shared, c->request->unique, stream.size / DISK_BYTES_MS < SHARED_TAKES_MAX ? (uint32_t)(stream.size / DISK_BYTES_MS) : SHARED_TAKES_MAX);
	c->secret = NULL;	/* the record is of all of it */
	snprintf(c->detail, sizeof(c->detail), "%llu secrets, %llu versions, %llu appended to, %llu skipped, %llu bindings, %llu policies, %llu hooks; from vault %s, epoch %llu, signer %.16s",
		 (unsigned long long)counts.secrets, (unsigned long long)counts.versions, (unsigned long long)counts.appended, (unsigned long long)counts.skipped,
		 (unsigned long long)counts.bindings, (unsigned long long)counts.rotations, (unsigned long long)counts.hooks, header.vault_name, (unsigned long long)header.epoch, ctl_string(c, "signer"));
	ctl_set(c, "secrets", json_integer((json_int_t)counts.secrets));
	ctl_set(c, "versions", json_integer((json_int_t)counts.versions));
	ctl_set(c, "deleted", json_integer((json_int_t)counts.deleted));
	ctl_set(c, "appended", json_integer((json_int_t)counts.appended));
	ctl_set(c, "skipped", json_integer((json_int_t)counts.skipped));
	ctl_set(c, "roles", json_integer((json_int_t)counts.roles));
	ctl_set(c, "bindings", json_integer((json_int_t)counts.bindings));
	ctl_set(c, "blocks", json_integer((json_int_t)counts.blocks));
	ctl_set(c, "recipients", json_integer((json_int_t)counts.recipients));
	ctl_set(c, "settings", json_boolean(counts.settings));
	ctl_set(c, "rotations", json_integer((json_int_t)counts.rotations));
	ctl_set(c, "hooks", json_integer((json_int_t)counts.hooks));
	ctl_set(c, "programs", restoring.programs);
	ctl_set(c, "programs_more", json_integer((json_int_t)restoring.more));
	return 0;
}

static int after_restore(struct ctl *c)
{
	uint8_t id[RESTORE_ID_LEN];

	from_hex(ctl_string(c, "restore"), id, sizeof id);
	(void)store_restore_drop(c->env->store, id, c->who->uid);	/* else they go within the hour */
	return 0;
}

/* The whole of it, and back: what it says is what would happen now. */
static int run_restore_check(struct ctl *c)
{
	int r = store_begin(c->env->store);

	if (r < 0)
		return ctl_fail_store(c, r, "begin a restore");
	r = restore(c);
	store_rollback(c->env->store);
	if (r == 0) {
		char what[sizeof c->detail];
		memcpy(what, c->detail, sizeof what);
		snprintf(c->detail, sizeof c->detail, "dry run: %.*s", (int)sizeof c->detail - 16, what);
	}
	return r;
}

/* ---- recipients and drills ---- */

static int ask_update(struct ctl *c)
{
	return ctl_ask(c, ACTION_VAULT_UPDATE, NULL);
}

static int check_recipient(struct ctl *c)
{
	uint8_t key[CURVE_LEN];

	c->args.role = ctl_string(c, "name");
	if (!vault_name_valid(c->args.role))
		return ctl_fail(c, EINVAL, "name: 1 to %d of a-z 0-9 - and not a hyphen first", RECIPIENT_NAME_MAX - 1);
	return json_object_get(c->in, "public_key") ? check_hex(c, "public_key", key, CURVE_LEN) : 0;
}

static int run_recipient_add(struct ctl *c)
{
	const char *name = ctl_string(c, "name");
	uint8_t key[CURVE_LEN];
	char by[32];
	int r;

	from_hex(ctl_string(c, "public_key"), key, CURVE_LEN);
	snprintf(by, sizeof(by), "user:%u", c->who->policy.uid);
	r = store_recipient_add(c->env->store, name, key, by);
	if (r == -EEXIST)
		return ctl_fail(c, EEXIST, "there is a recipient %s already; remove it first, or choose another name", name);
	if (r == -ENOSPC)
		return ctl_fail(c, E2BIG, "there are %d recipients already; remove those that nobody needs", RECIPIENTS_MAX);
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
		ctl_hint(c, "`%s recipient list` shows who is registered", ctl_command(c, command, sizeof(command)));
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
		if (json_array_append_new(out, json_pack("{s:s, s:s, s:o, s:s}", "name", list[i].name, "public_key", key, "created", ctl_time(list[i].created),
							 "created_by", list[i].created_by)) < 0)
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
	int r = check_hex(c, "vault", vault, sizeof vault);

	return r < 0 ? r : ctl_check_time(c, "created", 0, &created, &given);
}

static int ask_drill(struct ctl *c)
{
	return ctl_ask(c, ACTION_SECRETS_RESTORE, "*");
}

static int run_drill(struct ctl *c)
{
	struct drill d = { .at = c->now, .secrets = (uint64_t)json_integer_value(json_object_get(c->in, "secrets")),
			   .versions = (uint64_t)json_integer_value(json_object_get(c->in, "versions")) };
	uint8_t vault[16];
	bool given;
	int r;

	from_hex(ctl_string(c, "vault"), vault, sizeof vault);
	if (memcmp(vault, store_vault_id(c->env->store), sizeof vault) != 0)
		return ctl_fail(c, EINVAL, "vault: the backup is another vault's");
	ctl_check_time(c, "created", 0, &d.backup_created, &given);
	r = store_drill_put(c->env->store, &d);
	if (r < 0)
		return ctl_fail_store(c, r, "keep the date of the drill");
	snprintf(c->detail, sizeof(c->detail), "drill: %llu secrets, %llu versions, all good", (unsigned long long)d.secrets, (unsigned long long)d.versions);
	return 0;
}

/* ---- the table ---- */

static const struct ctl_field no_fields[] = { { 0 } };
static const struct ctl_field backup_fields[] = {
	{ "names", CTL_ARRAY, false }, { "all", CTL_BOOL, false }, { "recipient", CTL_STRING, false }, { "public_key", CTL_STRING, false },
	{ "salt", CTL_STRING, false }, { "ln", CTL_INT, false }, { 0 },
};
static const struct ctl_field read_fields[] = { { "session", CTL_STRING, true }, { "chunk", CTL_INT, true }, { 0 } };
static const struct ctl_field end_fields[] = { { "session", CTL_STRING, true }, { 0 } };
static const struct ctl_field put_fields[] = { { "restore", CTL_STRING, true }, { "at", CTL_INT, true }, { "value_length", CTL_INT, true }, { 0 } };
static const struct ctl_field drop_fields[] = { { "restore", CTL_STRING, true }, { 0 } };
static const struct ctl_field restore_fields[] = {
	{ "restore", CTL_STRING, true }, { "key", CTL_STRING, true }, { "signer", CTL_STRING, true }, { "existing", CTL_STRING, false },
	{ "grants", CTL_BOOL, false }, { 0 },
};
static const struct ctl_field recipient_fields[] = { { "name", CTL_STRING, true }, { "public_key", CTL_STRING, true }, { 0 } };
static const struct ctl_field remove_fields[] = { { "name", CTL_STRING, true }, { 0 } };
static const struct ctl_field drill_fields[] = {
	{ "vault", CTL_STRING, true }, { "created", CTL_STRING, true }, { "secrets", CTL_INT, true }, { "versions", CTL_INT, true }, { 0 },
};

const struct ctl_op ctl_backup_ops[] = {
	{ .name = "backup", .operation = AUDIT_SECRET_BACKUP, .fields = backup_fields, .check = check_backup, .ask = ask_backup, .run = run_backup },
	{ .name = "backup-read", .operation = AUDIT_SECRET_BACKUP, .fields = read_fields, .ask = ask_backup_read, .run = run_backup_read },
	{ .name = "backup-end", .operation = AUDIT_SECRET_BACKUP, .fields = end_fields, .run = run_backup_end },
	{ .name = "restore-key", .operation = AUDIT_SECRET_RESTORE, .fields = no_fields, .ask = ask_restore_any, .run = run_restore_key },
	{ .name = "restore-put", .operation = AUDIT_SECRET_RESTORE, .fields = put_fields, .check = check_restore_id, .ask = ask_restore_any, .run = run_restore_put },
	{ .name = "restore-drop", .operation = AUDIT_SECRET_RESTORE, .fields = drop_fields, .check = check_restore_id, .ask = ask_restore_any, .run = run_restore_drop },
	{ .name = "restore-check", .operation = AUDIT_SECRET_RESTORE, .fields = restore_fields, .check = check_restore, .ask = ask_restore_any, .run = run_restore_check },
	{ .name = "restore", .operation = AUDIT_SECRET_RESTORE, .changes = true, .fields = restore_fields, .check = check_restore, .ask = ask_restore_any,
	  .run = restore, .after = after_restore },
	{ .name = "recipient-add", .operation = AUDIT_VAULT_UPDATE, .changes = true, .fields = recipient_fields, .check = check_recipient, .ask = ask_update,
	  .run = run_recipient_add },
	{ .name = "recipient-remove", .operation = AUDIT_VAULT_UPDATE, .changes = true, .fields = remove_fields, .check = check_recipient, .ask = ask_update,
	  .run = run_recipient_remove },
	{ .name = "recipients", .fields = no_fields, .run = run_recipients },
	{ .name = "drill", .operation = AUDIT_VAULT_UPDATE, .changes = true, .fields = drill_fields, .check = check_drill, .ask = ask_drill, .run = run_drill },
	{ 0 },
};
