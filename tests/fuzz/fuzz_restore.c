/* Records that nobody's vault wrote, in a stream whose seals and signature are right: a restore refuses them or takes
 * them, and whatever it began is not there after the rollback. An input is laid over the records of a true backup of a
 * vault with something of each kind, or stands behind the first of them. */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "policy/principal.h"
#include "store/backup/format.h"
#include "store/backup/restore.h"
#include "store/core/database.h"
#include "store/core/rules_table.h"
#include "store/core/transaction.h"
#include "store/grants/grants.h"
#include "store/keys/kek_provider.h"
#include "store/keys/keys.h"
#include "store/keys/transport.h"
#include "store/lifecycle/rules.h"
#include "store/objects/objects.h"
#include "store/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RECORDS_MAX 16384

static struct vault {
	char dir[64];
	struct vaultconf conf;
	struct keys *keys;
	struct store *store;
} v;
static uint8_t header[BACKUP_HEADER_MAX], records[RECORDS_MAX], signer_record[WRAP_RECORD_MAX], fingerprint[DIGEST_LEN],
	box[BOX_LEN];
static size_t header_len, records_len, signer_record_len;
static struct stream_cipher cipher;

static void must(int r)
{
	if (r < 0) {
		fprintf(stderr, "set-up: %s\n", strerror(-r));
		abort();
	}
}

/* ---- a vault with something of each kind ---- */

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void vault_remove(void)
{
	store_close(v.store);
	keys_free(v.keys);
	nftw(v.dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void vault_make(void)
{
	struct store_settings settings = { .retention_days = 90, .value_max = VALUE_MAX };
	struct principal admin = { .n = 1, .conditions = { { PRINCIPAL_USER, 1000 } } };
	struct wrap_context ctx = { .type = WRAP_VAULT_KEY };
	struct kek *kek = NULL;
	uint8_t key[KEY_LEN];
	char why[256];

	snprintf(v.dir, sizeof v.dir, "/tmp/coffer-fuzz-XXXXXX");
	must(mkdtemp(v.dir) ? 0 : -errno);
	strcpy(v.conf.name, "fuzz");
	snprintf(v.conf.kek, sizeof v.conf.kek, "file:%s/kek", v.dir);
	must(random_bytes(v.conf.id, sizeof v.conf.id));
	memcpy(ctx.vault, v.conf.id, sizeof ctx.vault);
	struct kek_source source = { .uri = v.conf.kek, .fd = -1 };
	must(kek_create(&source, v.conf.kek_params, &kek, why, sizeof why));
	must(wrap_new(kek, &ctx, key, v.conf.vault_record, &v.conf.vault_record_len));
	must(keys_new_local(kek, &v.keys));
	must(store_create(v.dir, &v.conf, v.keys, &settings, &admin, 1, getuid(), getgid(), why, sizeof why));
	must(store_open(&(struct store_config){ .dir = v.dir, .conf = &v.conf }, &v.store, why, sizeof why));
	must(store_unlock(v.store, v.keys, why, sizeof why));
	atexit(vault_remove);
}

static void fill(const uint8_t recipient[CURVE_LEN])
{
	const struct version_attributes attributes = { .content_type = "text/plain",
						       .tags_json = "{\"team\":\"db\"}",
						       .not_before = 5,
						       .expires = 4000000000000000000 };
	const struct principal blocked = { .n = 1, .conditions = { { PRINCIPAL_USER, 3000 } } };
	const struct rotation rotation = { .scope = "db*",
					   .action = ROTATION_ROTATE,
					   .every = 90 * 86400 * (int64_t)NS_PER_S,
					   .generator = "password:32" };
	const struct hook hook = { .scope = "tls-*",
				   .events = EVENT_BIT(EVENT_NEW_VERSION),
				   .command = "/usr/bin/reload nginx",
				   .debounce = 500,
				   .timeout = 9 };
	uint32_t id, version, role;
	uint64_t number;

	must(store_begin(v.store));
	must(store_secret_create(v.store, "db", &id));
	must(store_version_add(v.store, id, "one", 3, &attributes, &version));
	must(store_version_add(v.store, id, "two", 3, NULL, &version));
	must(store_version_destroy(v.store, id, 1));
	must(store_secret_create(v.store, "web", &id));
	must(store_version_add(v.store, id, "", 0, NULL, &version));
	must(store_secret_create(v.store, "gone", &id));
	must(store_version_add(v.store, id, "x", 1, NULL, &version));
	must(store_secret_delete(v.store, id));
	must(store_role_put(v.store, "rotator", ACTION_BIT(ACTION_SECRETS_SET), &role));
	must(store_block_add(v.store, &blocked, "leak", "user:0", &number));
	must(store_recipient_add(v.store, "safe", recipient, "user:0"));
	must(store_rotation_put(v.store, &rotation, &number));
	must(store_hook_add(v.store, &hook, &number));
	must(store_near_expiry_put(v.store, 14));
	must(store_commit(v.store));
}

/* Its backup, of one frame: the records, and what seals others in their place. */
static void back_up(void)
{
	struct backup_recipient recipient = { .kind = BACKUP_TO_KEY, .name = "safe" };
	uint8_t private_key[CURVE_LEN] = { 9 }, file_key[KEY_LEN], holder[CURVE_LEN], public[CURVE_LEN];
	static uint8_t stream[2 * RECORDS_MAX];
	struct backup *backup = NULL;
	struct backup_header h;
	char why[256];
	size_t len = 0, n = 0;
	bool last;

	must(x25519_public(private_key, recipient.key));
	fill(recipient.key);
	must(backup_open(v.store, &(struct backup_scope){ .all = true }, &recipient, &backup));
	must(backup_read(backup, stream, sizeof stream, &len));
	backup_close(backup);
	must(backup_header_parse(stream, len, &h, &header_len, why, sizeof why));
	memcpy(header, stream, header_len);
	must(box_open(box_label_recipient, private_key, h.box, file_key));
	must(transport_stream_key(file_key, cipher.key));
	must(sha256(&(struct bytes){ header, header_len }, 1, cipher.header_hash));
	must(frame_length(stream + header_len, &n, &last));
	must(last ? 0 : -EFBIG);
	must(frame_open(&cipher, stream + header_len, n, records, &records_len));
	must(keys_restore_key(v.keys, holder));
	must(box_seal(box_label_holder, holder, file_key, box));
	must(signer_read(v.store->read, v.store->row_keys, public, signer_record, &signer_record_len));
	must(signer_fingerprint(public, fingerprint));
}

/* ---- the streams ---- */

struct memory {
	const uint8_t *data;
	size_t len;
};

static int read_memory(void *arg, uint64_t offset, void *ret, size_t len, size_t *ret_len)
{
	const struct memory *m = arg;
	size_t n = offset < m->len ? m->len - (size_t)offset : 0;

	n = n < len ? n : len;
	if (n)
		memcpy(ret, m->data + offset, n);
	*ret_len = n;
	return 0;
}

static int restore(const uint8_t *plain, size_t len, enum restore_existing existing)
{
	static uint8_t stream[BACKUP_HEADER_MAX + FRAME_MAX + FRAME_OVERHEAD + SIGNATURE_LEN];
	struct memory m = { stream, header_len + len + FRAME_OVERHEAD + SIGNATURE_LEN };
	const struct backup_source source = { .read = read_memory, .arg = &m };
	const struct restore_options options = {
		.box = box, .signer = fingerprint, .existing = existing, .grants = true
	};
	struct stream_hash hash = { 0 };
	struct restore_counts counts;
	struct backup_header h;
	char why[256];
	int r;

	cipher.counter = 0;
	memcpy(stream, header, header_len);
	must(frame_seal(&cipher, plain, len, true, stream + header_len));
	must(stream_hash_add(&hash, stream, header_len));
	must(stream_hash_add(&hash, stream + header_len, len + FRAME_OVERHEAD));
	must(keys_sign(v.keys, v.conf.id, signer_record, signer_record_len, hash.digest,
		       stream + m.len - SIGNATURE_LEN));
	must(store_begin(v.store));
	r = store_restore(v.store, &source, &options, &h, &counts, why, sizeof why);
	store_rollback(v.store);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t mixed[RECORDS_MAX + 8192];
	enum restore_existing existing = size ? (enum restore_existing)(data[0] % 3) : RESTORE_APPEND;
	struct store_counts before, after;
	size_t at = 0;

	if (!records_len) {
		(void)secmem_init((size_t)1 << 20, SECMEM_AUTO);
		must(crypto_init());
		vault_make();
		back_up();
		must(restore(records, records_len, RESTORE_SKIP));
	}
	store_counts(v.store, &before);
	/* places and changes, each in three bytes */
	memcpy(mixed, records, records_len);
	for (size_t i = 1; i + 2 < size && i < 30; i += 3)
		mixed[(size_t)(data[i] << 8 | data[i + 1]) % records_len] ^= data[i + 2];
	(void)restore(mixed, records_len, existing);
	/* behind so many of the true records */
	for (size_t i = 1, n = size > 1 ? data[1] % 16 : 0; i <= n && at + RECORD_HEAD < records_len; i++)
		at += RECORD_HEAD + ((size_t)records[at + 3] << 8 | records[at + 4]);
	if (at < records_len && size > 2) {
		size_t more = size - 2 < 8192 ? size - 2 : 8192;
		memcpy(mixed, records, at);
		memcpy(mixed + at, data + 2, more);
		(void)restore(mixed, at + more, existing);
	}
	store_counts(v.store, &after);
	if (memcmp(&before, &after, sizeof before) != 0)
		abort();
	return 0;
}
