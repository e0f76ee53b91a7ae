#include "store/keys/calls.h"

#include <errno.h>
#include <string.h>

#include "store/crypto/secbuf.h"
#include "store/keys/kek.h"
#include "store/keys/keys.h"
#include "store/keys/transport.h"

static struct wrap_context context_of(const struct kh_request *q)
{
	struct wrap_context ctx = { .type = (enum wrap_type)q->type, .secret = q->secret, .version = q->version };

	memcpy(ctx.vault, q->vault, sizeof(ctx.vault));
	return ctx;
}

static bool type_known(const struct kh_request *q) { return q->type == WRAP_VAULT_KEY || q->type == WRAP_DEK; }

static int call_wrap_new(struct key_owner *o, const struct kh_request *q, struct kh_item *items, struct kh_reply *reply)
{
	const struct wrap_context ctx = context_of(q);
	size_t len = 0;
	int r = type_known(q) ? wrap_new(o->kek, &ctx, reply->key, reply->record, &len) : -EINVAL;

	(void)items;
	if (r == 0)
		reply->record_len = (uint32_t)len;
	return r;
}

static int call_unwrap(struct key_owner *o, const struct kh_request *q, struct kh_item *items, struct kh_reply *reply)
{
	const struct wrap_context ctx = context_of(q);
	int r;

	(void)items;
	if (!type_known(q))
		return -EINVAL;
	o->unwraps++;
	r = wrap_open(o->kek, &ctx, q->record, q->record_len, reply->key);
	/* -ENOKEY is for a sealed vault; another KEK's record is one that cannot be opened */
	return r == -ENOKEY ? -EBADMSG : r;
}

static int call_seal(struct key_owner *o, const struct kh_request *q, struct kh_item *items, struct kh_reply *reply)
{
	(void)q;
	(void)items;
	(void)reply;
	kek_close(o->kek);
	o->kek = NULL;
	return 0;
}

static int call_state(struct key_owner *o, const struct kh_request *q, struct kh_item *items, struct kh_reply *reply)
{
	(void)q;
	(void)items;
	reply->sealed = !o->kek;
	reply->unwraps = o->unwraps;
	reply->memory = secmem_kind();
	memcpy(reply->provider, o->provider, sizeof(reply->provider));
	if (o->kek)
		kek_id(o->kek, reply->kek_id);
	return 0;
}

/* Signs what the worker says: a captured one can sign a false backup while it lasts, and can never take the key along.
 */
static int call_signer_new(struct key_owner *o, const struct kh_request *q, struct kh_item *items,
			   struct kh_reply *reply)
{
	size_t len = 0;
	int r = signer_new(o->kek, q->vault, reply->record, &len, reply->data);

	(void)items;
	reply->record_len = (uint32_t)len;
	return r;
}

static int call_sign(struct key_owner *o, const struct kh_request *q, struct kh_item *items, struct kh_reply *reply)
{
	(void)items;
	return signer_sign(o->kek, q->vault, q->record, q->record_len, q->data, reply->data);
}

static int call_backup_begin(struct key_owner *o, const struct kh_request *q, struct kh_item *items,
			     struct kh_reply *reply)
{
	struct transport_start start;
	int r = transport_begin(o->kek, q->vault, q->data, &start);

	(void)items;
	if (r == 0) {
		memcpy(reply->record, start.ticket, start.ticket_len);
		reply->record_len = (uint32_t)start.ticket_len;
		memcpy(reply->data, start.box, BOX_LEN);
		memcpy(reply->key, start.stream_key, KEY_LEN);
	}
	secmem_wipe(&start, sizeof(start));
	return r;
}

static struct wrap_context item_was(const struct kh_item *item)
{
	struct wrap_context was = { .type = WRAP_DEK, .secret = item->was_secret, .version = item->was_version };

	memcpy(was.vault, item->was_vault, sizeof(was.vault));
	return was;
}

static int export_item(struct key_owner *o, const uint8_t file_key[KEY_LEN], struct kh_item *item)
{
	const struct wrap_context was = item_was(item);
	uint8_t sealed[SEALED_SEED_LEN];
	int r = item->len > WRAP_RECORD_MAX ? -EBADMSG
					    : transport_export(o->kek, file_key, &was, item->data, item->len, sealed);

	if (r == 0) {
		memcpy(item->data, sealed, sizeof(sealed));
		item->len = sizeof(sealed);
	}
	return r;
}

static int call_backup_export(struct key_owner *o, const struct kh_request *q, struct kh_item *items,
			      struct kh_reply *reply)
{
	uint8_t file_key[KEY_LEN];
	int r = transport_ticket(o->kek, q->vault, q->record, q->record_len, file_key);

	for (uint32_t i = 0; i < q->n_items && r == 0; i++)
		r = export_item(o, file_key, &items[i]);
	secmem_wipe(file_key, sizeof(file_key));
	if (r == 0) {
		o->unwraps += q->n_items;
		reply->n_items = q->n_items;
	}
	return r;
}

static int call_restore_key(struct key_owner *o, const struct kh_request *q, struct kh_item *items,
			    struct kh_reply *reply)
{
	(void)q;
	(void)items;
	return x25519_public(o->transport, reply->data);
}

static int call_restore_begin(struct key_owner *o, const struct kh_request *q, struct kh_item *items,
			      struct kh_reply *reply)
{
	uint8_t file_key[KEY_LEN];
	int r = box_open(box_label_holder, o->transport, q->data, file_key);

	(void)items;
	if (r == 0)
		r = transport_stream_key(file_key, reply->key);
	secmem_wipe(file_key, sizeof(file_key));
	return r;
}

static int import_item(struct key_owner *o, const struct kh_request *q, const uint8_t file_key[KEY_LEN],
		       struct kh_item *item)
{
	struct wrap_context becomes = { .type = WRAP_DEK,
					.secret = item->becomes_secret,
					.version = item->becomes_version };
	const struct wrap_context was = item_was(item);
	uint8_t record[WRAP_RECORD_MAX];
	size_t len = 0;
	int r = -EBADMSG;

	memcpy(becomes.vault, q->vault, sizeof(becomes.vault));
	if (item->len == SEALED_SEED_LEN)
		r = transport_import(o->kek, file_key, &was, item->data, &becomes, record, &len);
	if (r == 0) {
		memcpy(item->data, record, len);
		item->len = (uint32_t)len;
	}
	return r;
}

static int call_restore_import(struct key_owner *o, const struct kh_request *q, struct kh_item *items,
			       struct kh_reply *reply)
{
	uint8_t file_key[KEY_LEN];
	int r = box_open(box_label_holder, o->transport, q->data, file_key);

	for (uint32_t i = 0; i < q->n_items && r == 0; i++)
		r = import_item(o, q, file_key, &items[i]);
	secmem_wipe(file_key, sizeof(file_key));
	if (r == 0)
		reply->n_items = q->n_items;
	return r;
}

/* How many keys of the vault a call gives away, which is bounded: a captured worker asks, too. */
enum limit { LIMIT_NONE, LIMIT_ONE, LIMIT_EACH_ITEM };

static const struct {
	bool needs_kek;
	enum limit limit;
	int64_t deadline_ms;
	int (*fn)(struct key_owner *o, const struct kh_request *q, struct kh_item *items, struct kh_reply *reply);
} calls[] = {
	[KH_WRAP_NEW] = { true, LIMIT_NONE, KEYS_DEADLINE_MS, call_wrap_new },
	[KH_UNWRAP] = { true, LIMIT_ONE, KEYS_DEADLINE_MS, call_unwrap },
	[KH_SEAL] = { false, LIMIT_NONE, KEYS_DEADLINE_MS, call_seal },
	[KH_STATE] = { false, LIMIT_NONE, KEYS_DEADLINE_MS, call_state },
	[KH_SIGNER_NEW] = { true, LIMIT_NONE, KEYS_DEADLINE_MS, call_signer_new },
	[KH_SIGN] = { true, LIMIT_NONE, KEYS_DEADLINE_MS, call_sign },
	[KH_BACKUP_BEGIN] = { true, LIMIT_NONE, KEYS_DEADLINE_MS, call_backup_begin },
	[KH_BACKUP_EXPORT] = { true, LIMIT_EACH_ITEM, KEYS_DEADLINE_MS, call_backup_export },
	[KH_RESTORE_KEY] = { true, LIMIT_NONE, KEYS_DEADLINE_MS, call_restore_key },
	[KH_RESTORE_BEGIN] = { true, LIMIT_NONE, KEYS_DEADLINE_MS, call_restore_begin },
	[KH_RESTORE_IMPORT] = { true, LIMIT_NONE, KEYS_DEADLINE_MS, call_restore_import },
};

int calls_serve(struct key_owner *o, const struct kh_request *request, struct kh_item *items, struct kh_reply *reply)
{
	if (request->op >= sizeof(calls) / sizeof(calls[0]) || !calls[request->op].fn)
		return -EINVAL;
	const enum limit limit = calls[request->op].limit;
	const int64_t unwraps = limit == LIMIT_ONE ? 1 : limit == LIMIT_EACH_ITEM ? request->n_items : 0;

	if (calls[request->op].needs_kek && !o->kek)
		return -ENOKEY;
	if (request->record_len > WRAP_RECORD_MAX)
		return -EBADMSG;
	if (limit != LIMIT_NONE && o->allowed && !o->allowed(o, unwraps))
		return -EBUSY;
	return calls[request->op].fn(o, request, items, reply);
}

int64_t calls_deadline_ms(enum kh_op op) { return calls[op].deadline_ms; }
