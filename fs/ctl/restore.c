/* Requests about restores: handing a backup in, in pieces that wait in the store, and carrying it out by one request in
 * one transaction. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/ctl/internal.h"
#include "fs/shared/shared.h"
#include "policy/binding.h"
#include "store/backup/pieces.h"
#include "store/backup/restore.h"
#include "store/core/transaction.h"
#include "store/keys/keys.h"
#include "store/objects/stages.h"

/* ---- handing a backup in ---- */

static int ask_restore_any(struct ctl *c) { return ctl_ask_any(c, ACTION_SECRETS_RESTORE); }

static void set_hex(struct ctl *c, const char *key, const uint8_t *bytes, size_t n)
{
	char text[2 * 64 + 1];

	for (size_t i = 0; i < n; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	ctl_set(c, key, json_string(text));
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

	return ctl_check_hex(c, "restore", id, sizeof id);
}

static int run_restore_put(struct ctl *c)
{
	const json_int_t at = json_integer_value(json_object_get(c->in, "at"));
	const struct restore_owner owner = { c->who->uid, (c->who->host && c->who->uid == 0) ||
								  ctl_may(c, ACTION_BINDINGS_CREATE, NULL) };
	uint8_t id[RESTORE_ID_LEN], *bytes;
	size_t n = 0;
	int r;

	if (at < 0 || c->args.value_length == 0)
		return ctl_fail(c, EINVAL, "at: where the piece lies, and value_length: at least one byte");
	ctl_from_hex(ctl_string(c, "restore"), id, sizeof id);
	bytes = malloc(c->args.value_length);
	r = bytes ? store_stage_read(c->env->store, c->request->stage, 0, bytes, c->args.value_length, &n) : -ENOMEM;
	if (r == 0)
		r = n == c->args.value_length ? store_restore_put(c->env->store, id, &owner, (uint64_t)at, bytes, n)
					      : -EIO;
	free(bytes);
	c->unrecorded = true;
	if (r == -EINVAL || r == -ENOENT)
		return ctl_fail(c, EINVAL, "at: pieces come one after the other");
	if (r == -EBUSY) {
		ctl_hint(c, "wait until they have ended; one that is left alone ends after an hour");
		return ctl_fail(c, EBUSY, "too many restores are under way: %d of one user, %d in all",
				RESTORES_PER_UID, RESTORES_MAX - RESTORES_RESERVE);
	}
	if (r == -EDQUOT) {
		ctl_hint(c, "make room on the store's file system, wait until other restores have ended, or restore as "
			    "root: coffer restore --into STORE");
		return ctl_fail(c, ENOSPC,
				"the backup is too long to be handed in: what waits to be restored may take 1/%u of "
				"the disk's free space%s",
				RESTORES_DISK_PART, owner.administrator ? "" : ", and one user's half of that");
	}
	return r < 0 ? ctl_fail_store(c, r, "take a piece of the backup") : 0;
}

static int run_restore_drop(struct ctl *c)
{
	uint8_t id[RESTORE_ID_LEN];
	int r;

	ctl_from_hex(ctl_string(c, "restore"), id, sizeof id);
	r = store_restore_drop(c->env->store, id, c->who->uid);
	c->unrecorded = true;
	return r < 0 ? ctl_fail_store(c, r, "drop the pieces") : 0;
}

/* ---- restoring ---- */

static const char *const policies[] = {
	[RESTORE_REFUSE] = "refuse", [RESTORE_SKIP] = "skip", [RESTORE_APPEND] = "append"
};

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
		r = ctl_check_hex(c, "key", bytes, BOX_LEN);
	if (r == 0)
		r = ctl_check_hex(c, "signer", bytes, DIGEST_LEN);
	return r < 0 ? r : check_existing(c, &existing);
}

static int ask_administrator(struct ctl *c, const char *scope)
{
	if (ctl_ask_administrator(c, scope) == 0)
		return 0;
	return ctl_fail(c, EACCES, "the backup gives more than data on %s, and only an administrator may restore that",
			scope);
}

static enum action restore_action(uint8_t kind)
{
	return kind == OBJECT_KEY           ? ACTION_KEYS_RESTORE
	       : kind == OBJECT_CERTIFICATE ? ACTION_CERTIFICATES_RESTORE
					    : ACTION_SECRETS_RESTORE;
}

/* Who restores, and the lines that hooks.allow must have for what is restored. */
struct restoring {
	struct ctl *ctl;
	json_t *programs;
	size_t bytes;
	uint64_t more;
};
/* of lines in an answer, which is kept with its request: further ones are only counted */
#define PROGRAMS_BYTES 16384

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

/* The same questions as of a grant, a new role, a block, a recipient, a policy, a hook, a change of settings by itself.
 */
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
		if (r == 0 && !role_is_data_role(&role))
			r = ask_administrator(c, item->binding->scope);
		return r < 0 ? r : ctl_note_self_grant(c, &item->binding->principal, item->name, item->binding->scope);
	case RESTORE_ITEM_BLOCK:
	case RESTORE_ITEM_RECIPIENT:
		return ask_administrator(c, "*");
	case RESTORE_ITEM_SETTINGS:
		return ctl_ask(c, ACTION_VAULT_UPDATE, NULL);
	case RESTORE_ITEM_HISTORY:
		return ctl_ask(c, ACTION_SECRETS_PURGE, item->name);
	case RESTORE_ITEM_ROTATION:
	case RESTORE_ITEM_HOOK:
		return ask_rule(restoring, item);
	}
	return -EACCES;
}

/* A stream of any length is gone through twice: each piece of it that is read is a sign of life. */
struct pieces_read {
	struct restore_pieces pieces;
	struct ctl *c;
	uint64_t size;
};

/* The slowest disk that a vault is expected to lie on takes that much of a stream in a millisecond, when it is made
 * durable and when its pieces go. */
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
	if (c->error) /* the policy said so, and said why */
		return r;
	if (r == -EEXIST) {
		ctl_hint(c, "%s",
			 json_string_value(json_object_get(c->in, "existing")) &&
					 !strcmp(json_string_value(json_object_get(c->in, "existing")), "append")
				 ? "--existing skip leaves it as it is"
				 : "--existing skip leaves what is there, --existing append adds the backup's versions "
				   "to it; both leave alone what is deleted here");
		return ctl_fail(c, EEXIST, "%s; nothing was restored", *why ? why : "something is there already");
	}
	if (r == -EKEYREJECTED) {
		ctl_hint(c, "name the signer that `coffer status` of the backed-up vault shows, if that is the vault "
			    "you mean");
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
	struct restore_options options = { .box = box,
					   .signer = signer,
					   .grants = json_is_true(json_object_get(c->in, "grants")),
					   .ask = ask_item,
					   .progress = get_on,
					   .arg = &restoring };
	const struct backup_source source = { .read = read_pieces, .arg = &stream };
	struct restore_counts counts;
	struct backup_header header;
	char why[256] = "";
	int r;

	ctl_from_hex(ctl_string(c, "restore"), stream.pieces.id, sizeof stream.pieces.id);
	ctl_from_hex(ctl_string(c, "key"), box, sizeof box);
	ctl_from_hex(ctl_string(c, "signer"), signer, sizeof signer);
	check_existing(c, &options.existing);
	r = store_restore(c->env->store, &source, &options, &header, &counts, why, sizeof why);
	if (r < 0) {
		json_decref(restoring.programs);
		return fail_restore(c, r, why);
	}
	shared_takes(c->env->shared, c->request->unique,
		     stream.size / DISK_BYTES_MS < SHARED_TAKES_MAX ? (uint32_t)(stream.size / DISK_BYTES_MS)
								    : SHARED_TAKES_MAX);
	c->secret = NULL; /* the record is of all of it */
	snprintf(c->detail, sizeof(c->detail),
		 "%llu secrets, %llu versions, %llu appended to, %llu skipped, %llu bindings, %llu policies, %llu "
		 "hooks; from vault %s, epoch %llu, signer %.16s",
		 (unsigned long long)counts.secrets, (unsigned long long)counts.versions,
		 (unsigned long long)counts.appended, (unsigned long long)counts.skipped,
		 (unsigned long long)counts.bindings, (unsigned long long)counts.rotations,
		 (unsigned long long)counts.hooks, header.vault_name, (unsigned long long)header.epoch,
		 ctl_string(c, "signer"));
	ctl_set(c, "secrets", json_integer((json_int_t)counts.secrets));
	ctl_set(c, "versions", json_integer((json_int_t)counts.versions));
	ctl_set(c, "deleted", json_integer((json_int_t)counts.deleted));
	ctl_set(c, "appended", json_integer((json_int_t)counts.appended));
	ctl_set(c, "skipped", json_integer((json_int_t)counts.skipped));
	ctl_set(c, "deleted_here", json_integer((json_int_t)counts.deleted_here));
	ctl_set(c, "deleted_name", counts.deleted_here ? json_string(counts.deleted_name) : json_null());
	ctl_set(c, "roles", json_integer((json_int_t)counts.roles));
	ctl_set(c, "bindings", json_integer((json_int_t)counts.bindings));
	ctl_set(c, "blocks", json_integer((json_int_t)counts.blocks));
	ctl_set(c, "recipients", json_integer((json_int_t)counts.recipients));
	ctl_set(c, "settings", json_boolean(counts.settings));
	ctl_set(c, "rotations", json_integer((json_int_t)counts.rotations));
	ctl_set(c, "hooks", json_integer((json_int_t)counts.hooks));
	ctl_set(c, "histories", json_integer((json_int_t)counts.histories));
	ctl_set(c, "programs", restoring.programs);
	ctl_set(c, "programs_more", json_integer((json_int_t)restoring.more));
	return 0;
}

static int after_restore(struct ctl *c)
{
	uint8_t id[RESTORE_ID_LEN];

	ctl_from_hex(ctl_string(c, "restore"), id, sizeof id);
	(void)store_restore_drop(c->env->store, id, c->who->uid); /* else they go within the hour */
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

/* ---- the table ---- */

static const struct ctl_field no_fields[] = { { 0 } };
static const struct ctl_field put_fields[] = {
	{ "restore", CTL_STRING, true }, { "at", CTL_INT, true }, { "value_length", CTL_INT, true }, { 0 }
};
static const struct ctl_field drop_fields[] = { { "restore", CTL_STRING, true }, { 0 } };
static const struct ctl_field restore_fields[] = {
	{ "restore", CTL_STRING, true },   { "key", CTL_STRING, true },   { "signer", CTL_STRING, true },
	{ "existing", CTL_STRING, false }, { "grants", CTL_BOOL, false }, { 0 },
};

const struct ctl_op ctl_restore_ops[] = {
	{ .name = "restore-key",
	  .operation = AUDIT_SECRET_RESTORE,
	  .fields = no_fields,
	  .ask = ask_restore_any,
	  .run = run_restore_key },
	{ .name = "restore-put",
	  .operation = AUDIT_SECRET_RESTORE,
	  .fields = put_fields,
	  .check = check_restore_id,
	  .ask = ask_restore_any,
	  .run = run_restore_put },
	{ .name = "restore-drop",
	  .operation = AUDIT_SECRET_RESTORE,
	  .fields = drop_fields,
	  .check = check_restore_id,
	  .ask = ask_restore_any,
	  .run = run_restore_drop },
	{ .name = "restore-check",
	  .operation = AUDIT_SECRET_RESTORE,
	  .fields = restore_fields,
	  .check = check_restore,
	  .ask = ask_restore_any,
	  .run = run_restore_check },
	{ .name = "restore",
	  .operation = AUDIT_SECRET_RESTORE,
	  .changes = true,
	  .fields = restore_fields,
	  .check = check_restore,
	  .ask = ask_restore_any,
	  .run = restore,
	  .after = after_restore },
	{ 0 },
};
