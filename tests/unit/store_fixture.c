#include "store_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "policy/binding.h"
#include "policy/role.h"
#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/row_change.h"
#include "store/core/transaction.h"
#include "store/grants/grants.h"
#include "store/keys/envelope.h"
#include "store/keys/kek_provider.h"
#include "store/keys/keys.h"
#include "store/objects/objects.h"
#include "store/store.h"

struct fixture fx;

void process_init(void)
{
	static pid_t done;

	if (done == getpid())
		return;
	int r = secmem_init(16u << 20, SECMEM_AUTO);
	ck_assert_msg(r == 0 || r == -EALREADY, "secmem_init: %d", r);
	ck_assert_int_eq(crypto_init(), 0);
	done = getpid();
}

static void make_conf(struct fixture *f)
{
	struct wrap_context ctx = { .type = WRAP_VAULT_KEY };
	struct kek *kek = NULL;
	uint8_t key[KEY_LEN];
	char why[256];

	memset(&f->conf, 0, sizeof f->conf);
	strcpy(f->conf.name, "test");
	snprintf(f->conf.kek, sizeof f->conf.kek, "file:%s/kek", f->dir);
	ck_assert_int_eq(random_bytes(f->conf.id, sizeof f->conf.id), 0);
	memcpy(ctx.vault, f->conf.id, sizeof ctx.vault);
	struct kek_source source = { .uri = f->conf.kek, .fd = -1 };
	ck_assert_int_eq(kek_create(&source, f->conf.kek_params, &kek, why, sizeof why), 0);
	ck_assert_int_eq(wrap_new(kek, &ctx, key, f->conf.vault_record, &f->conf.vault_record_len), 0);
	ck_assert_int_eq(keys_new_local(kek, &f->keys), 0);
}

void vault_make(struct fixture *f)
{
	struct store_settings settings = { .retention_days = 90, .value_max = VALUE_MAX };
	struct principal admin = { .n = 1, .conditions = { { PRINCIPAL_USER, FIXTURE_ADMIN } } };
	const char *tmp = getenv("TMPDIR");
	char why[256];

	process_init();
	memset(f, 0, sizeof *f);
	snprintf(f->dir, sizeof f->dir, "%s/coffer-store-XXXXXX", tmp && strlen(tmp) < 32 ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(f->dir));
	snprintf(f->db, sizeof f->db, "%s/db/vault.db", f->dir);
	make_conf(f);
	ck_assert_int_eq(random_bytes(f->stage_key, KEY_LEN), 0);
	int r = store_create(f->dir, &f->conf, f->keys, &settings, &admin, 1, getuid(), getgid(), why, sizeof why);
	ck_assert_msg(r == 0, "store_create: %d %s", r, why);
}

int vault_open(struct fixture *f)
{
	struct store_config config = { .dir = f->dir, .conf = &f->conf, .stage_key = f->stage_key, .boot = f->boot };
	char why[512];
	int r = store_open(&config, &f->store, why, sizeof why);

	ck_assert(r == 0 || why[0]);
	if (r < 0)
		return r;
	r = store_unlock(f->store, f->keys, why, sizeof why);
	ck_assert(r == 0 || why[0]);
	return r;
}

void vault_close(struct fixture *f)
{
	store_close(f->store);
	f->store = NULL;
}

void vault_write_conf(struct fixture *f)
{
	int fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	ck_assert_int_eq(vaultconf_write(fd, &f->conf), 0);
	close(fd);
}

int vault_attach(struct fixture *f, const char *dir)
{
	char why[256];
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;
	struct kek *kek = NULL;

	snprintf(f->dir, sizeof f->dir, "%s", dir);
	r = secmem_init(4u << 20, SECMEM_AUTO);
	if (r == 0)
		r = crypto_init();
	if (r == 0)
		r = vaultconf_read(fd, &f->conf, why, sizeof why);
	struct kek_source source = { .uri = f->conf.kek, .params = f->conf.kek_params, .fd = -1 };
	if (r == 0)
		r = kek_open(&source, &kek, why, sizeof why);
	if (r == 0)
		r = keys_new_local(kek, &f->keys);
	struct store_config config = { .dir = f->dir, .conf = &f->conf, .boot = f->boot };
	if (r == 0)
		r = store_open(&config, &f->store, why, sizeof why);
	if (r == 0)
		r = store_unlock(f->store, f->keys, why, sizeof why);
	return r;
}

int vault_reopen(struct fixture *f)
{
	vault_close(f);
	return vault_open(f);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

void vault_remove(struct fixture *f)
{
	vault_close(f);
	keys_free(f->keys);
	f->keys = NULL;
	if (f->dir[0])
		nftw(f->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

void fixture_setup(void)
{
	vault_make(&fx);
	ck_assert_int_eq(vault_open(&fx), 0);
}

void fixture_teardown(void) { vault_remove(&fx); }

void forget_signer(struct store *s)
{
	struct change change;

	ck_assert_int_eq(store_begin(s), 0);
	ck_assert_int_eq(row_out(s, ROW_BACKUP_KEY, 1, &change), 0);
	ck_assert_int_eq(db_exec(s->write, "DELETE FROM backup_keys"), 0);
	ck_assert_int_eq(row_gone(s, &change), 0);
	ck_assert_int_eq(store_commit(s), 0);
}

void older_head(struct fixture *f)
{
	struct head head = f->store->tables.head;
	uint8_t mac[DIGEST_LEN];
	char sql[256], hex[2 * DIGEST_LEN + 1];

	head.has_trail = false;
	ck_assert_int_eq(head_mac(f->store->row_keys, f->store->vault, &head, mac), 0);
	for (size_t i = 0; i < DIGEST_LEN; i++)
		snprintf(hex + 2 * i, 3, "%02x", mac[i]);
	vault_close(f);
	snprintf(sql, sizeof sql, "UPDATE state SET mac = x'%s', serial = NULL, trail_members = NULL, trail = NULL",
		 hex);
	raw(f, sql);
}

uint32_t add_secret(struct store *s, const char *name, const char *value)
{
	uint32_t id = 0, version = 0;

	ck_assert_int_eq(store_begin(s), 0);
	ck_assert_int_eq(store_secret_create(s, name, &id), 0);
	if (value)
		ck_assert_int_eq(store_version_add(s, id, value, strlen(value), NULL, &version), 0);
	ck_assert_int_eq(store_commit(s), 0);
	return id;
}

uint32_t add_version(struct store *s, uint32_t id, const char *value)
{
	uint32_t version = 0;

	ck_assert_int_eq(store_begin(s), 0);
	ck_assert_int_eq(store_version_add(s, id, value, strlen(value), NULL, &version), 0);
	ck_assert_int_eq(store_commit(s), 0);
	return version;
}

uint64_t add_binding(struct store *s, uint32_t uid, const char *role, const char *scope)
{
	struct binding b = { .from = INT64_MIN,
			     .until = BINDING_FOREVER,
			     .principal = { .n = 1, .conditions = { { PRINCIPAL_USER, uid } } } };
	uint64_t id = 0;

	b.role = role_builtin_find(role)->id;
	snprintf(b.scope, sizeof b.scope, "%s", scope);
	ck_assert_int_eq(store_begin(s), 0);
	ck_assert_int_eq(store_binding_add(s, &b, "because", "uid 1", &id), 0);
	ck_assert_int_eq(store_commit(s), 0);
	return id;
}

int value_is(struct store *s, uint32_t id, uint32_t version, const char *text)
{
	struct secbuf *plain = NULL;
	int r = store_version_read(s, id, version, &plain);

	if (r == 0 && (secbuf_len(plain) != strlen(text) || memcmp(secbuf_cdata(plain), text, strlen(text)) != 0))
		r = -ECANCELED;
	secbuf_free(plain);
	return r;
}

void raw(struct fixture *f, const char *sql)
{
	sqlite3 *db = NULL;
	char *error = NULL;

	ck_assert_int_eq(sqlite3_open(f->db, &db), SQLITE_OK);
	sqlite3_busy_timeout(db, 2000);
	int code = sqlite3_exec(db, sql, NULL, NULL, &error);
	ck_assert_msg(code == SQLITE_OK, "%s: %s", sql, error);
	sqlite3_close(db);
}

int64_t raw_int(struct fixture *f, const char *sql)
{
	sqlite3 *db = NULL;
	sqlite3_stmt *stmt = NULL;

	ck_assert_int_eq(sqlite3_open(f->db, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
	int64_t value = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return value;
}

int fsck_quiet(struct fixture *f, bool deep)
{
	struct store_config config = { .dir = f->dir, .conf = &f->conf };
	struct store *s = f->store;
	char why[512];
	int r = s ? 0 : store_open(&config, &s, why, sizeof why);

	if (r == 0)
		r = store_fsck(s, f->keys, deep, NULL, NULL);
	if (!f->store)
		store_close(s);
	return r;
}

void copy_file(const char *from, const char *to)
{
	char block[65536];
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ssize_t n;

	ck_assert(in >= 0 && out >= 0);
	while ((n = read(in, block, sizeof block)) > 0)
		ck_assert_int_eq(write(out, block, (size_t)n), n);
	close(in);
	close(out);
}
