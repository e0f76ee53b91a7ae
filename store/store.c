
#include "store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "policy/policy.h"
#include "store/backup/pieces.h"
#include "store/core/cache.h"
#include "store/core/clock.h"
#include "store/core/database.h"
#include "store/core/db.h"
#include "store/core/follow.h"
#include "store/core/idset.h"
#include "store/core/load.h"
#include "store/core/requests.h"
#include "store/core/schema.h"
#include "store/core/transaction_internal.h"
#include "store/grants/internal.h"
#include "store/keys/keys.h"
#include "store/lifecycle/events.h"
#include "store/opening.h"

#define CIPHER_CACHE_BYTES (16u << 20)
#define READ_CACHE_KIB     2048
#define WRITE_CACHE_KIB    1024
#define STAGE_CACHE_KIB    512
#define HOUSEKEEPING_NS    (60 * (int64_t)NS_PER_S)

static int64_t realtime(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* Time since the machine's start, with what it slept: nobody can set it. */
static int64_t boottime(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* ---- opening ---- */

/* STORE may be reached through links; db/ is the worker's, and whoever opens the store may have more rights than it: no
 * links from there on. */
static int database_path(const char *dir, char **ret_path)
{
	char *real = realpath(dir, NULL), *path = NULL;
	struct stat st;
	int r = -errno;

	if (!real)
		return r;
	r = asprintf(&path, "%s/db", real) < 0 ? -ENOMEM : 0;
	if (r < 0)
		path = NULL;
	if (r == 0 && lstat(path, &st) == 0 && !S_ISDIR(st.st_mode))
		r = -ENOTDIR;
	free(path);
	path = NULL;
	if (r == 0)
		r = asprintf(&path, "%s/db/vault.db", real) < 0 ? -ENOMEM : 0;
	free(real);
	if (r == 0)
		*ret_path = path;
	return r;
}

static int locks_init(struct store *s)
{
	pthread_rwlockattr_t attributes;

	if (pthread_key_create(&s->touched, touched_free) != 0)
		return -ENOMEM;
	s->has_touched = true;
	pthread_mutex_init(&s->write_mutex, NULL);
	pthread_mutex_init(&s->read_mutex, NULL);
	/* Readers come without pause: a commit must not wait for a moment without any. */
	pthread_rwlockattr_init(&attributes);
	pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&s->tables_lock, &attributes);
	pthread_rwlockattr_destroy(&attributes);
	return 0;
}

int store_new(const char *dir, const struct vaultconf *conf, const struct schema *schema, size_t cipher_cache,
	      struct store **ret_store)
{
	struct store *s = calloc(1, sizeof *s);
	int r;

	if (!s)
		return -ENOMEM;
	s->clock = realtime;
	s->uptime = boottime;
	s->opened = boottime();
	s->changes_listed = CHANGES_LISTED;
	s->reserve.fd = -1;
	s->schema = schema;
	s->vault_record_len = conf->vault_record_len;
	memcpy(s->vault, conf->id, sizeof s->vault);
	memcpy(s->name, conf->name, sizeof s->name);
	memcpy(s->vault_record, conf->vault_record, sizeof s->vault_record);
	atomic_init(&s->sealed, true);
	r = locks_init(s);
	if (r == 0)
		r = cache_new(cipher_cache ? cipher_cache : CIPHER_CACHE_BYTES, &s->cache);
	s->no_policy = policy_new();
	if (r == 0 && !s->no_policy)
		r = -ENOMEM;
	if (r == 0)
		r = database_path(dir, &s->path);
	if (r < 0) {
		store_close(s);
		return r;
	}
	s->housekept = store_now(s);
	*ret_store = s;
	return 0;
}

static int stage_keys(struct store *s, const uint8_t *stage_key)
{
	s->stage_key = stage_key;
	s->stage_row_key = secmem_alloc(KEY_LEN);
	if (!s->stage_row_key)
		return -ENOMEM;
	return hkdf256(stage_key, "coffer stage row 1", (struct bytes){ s->vault, sizeof s->vault }, s->stage_row_key);
}

static const struct db_options write_options = { .durable = true, .cache_kib = WRITE_CACHE_KIB };

static int open_connections(struct store *s)
{
	int r = db_open(s->path, &(struct db_options){ .durable = true, .cache_kib = READ_CACHE_KIB }, &s->read);

	if (r == 0 && s->stage_key)
		r = db_open(s->path, &(struct db_options){ .cache_kib = STAGE_CACHE_KIB }, &s->stage);
	return r;
}

static int open_databases(struct store *s, const struct store_config *config, char *why, size_t why_len)
{
	int r = db_open(s->path, &write_options, &s->write);

	/* SQLite opens for reading what it may not write. A standby that could then not take over is none. It does so,
	 * too, with a file whose header asks for a newer SQLite to write it. */
	if (r == 0 && config->stage_key && sqlite3_db_readonly(db_handle(s->write), "main") == 1)
		r = access(s->path, W_OK) == 0 ? -EBADMSG : -EROFS;
	if (r == 0)
		r = schema_check(s->write, s->schema, s->path, config->migrate, why, why_len);
	if (r < 0)
		return r;
	r = db_exec(s->write, "PRAGMA journal_mode=WAL");
	if (r == 0 && config->stage_key)
		r = stage_keys(s, config->stage_key);
	return r == 0 ? open_connections(s) : r;
}

static void events_set(struct store *s, uint64_t first, uint64_t end)
{
	atomic_store(&s->events_first, first);
	atomic_store(&s->events_end, end);
}

/* Loads in one snapshot. Mutexes are held, or nobody else knows the store yet. */
static int load_snapshot(struct store *s, const struct row_keys *keys, enum load_trail trail, struct tables *ret_tables,
			 char *why, size_t why_len)
{
	uint64_t first = 0, end = 0;
	int r = db_begin(s->read, false);

	if (r == 0)
		r = db_get_int(s->read, "PRAGMA data_version", &s->data_version);
	if (r == 0)
		r = events_range(s->read, &first, &end);
	if (r == 0)
		events_set(s, first, end);
	if (r == 0)
		r = tables_load(s->read, keys, trail, s->vault, s->name, ret_tables, why, why_len);
	db_rollback(s->read);
	return r;
}

int store_open_schema(const struct store_config *config, const struct schema *schema, struct store **ret_store,
		      char *why, size_t why_len)
{
	struct store *s = NULL;
	int r;

	store_why(why, why_len, "%s", "");
	r = store_new(config->dir, config->conf, schema, config->cipher_cache, &s);
	if (r == 0 && config->boot) {
		memcpy(s->boot, config->boot, BOOT_ID_LEN);
		s->counts = true;
		/* the process before us may have died between its commit and its scrub */
		atomic_init(&s->unscrubbed, true);
	}
	if (r == 0) {
		s->fills_reserve = config->stage_key;
		reserve_open(s->path, s->fills_reserve, &s->reserve);
		reserve_lend(&s->reserve);
		r = open_databases(s, config, why, why_len);
	}
	if (r == 0)
		r = load_snapshot(s, NULL, TRAIL_FROM_HEAD, &s->tables, why, why_len);
	if (s)
		reserve_return(&s->reserve);
	if (r == 0 && s->fills_reserve)
		reserve_fill(&s->reserve);
	if (r < 0) {
		if (why && why_len > 0 && !why[0])
			store_why(why, why_len, "the store %s cannot be opened: %s", config->dir,
				  r == -EBADMSG  ? "its database is damaged: see coffer fsck, or restore a backup"
				  : r == -EACCES ? "its user cannot pass a directory above it, or may not read it: "
						   "namei -l on its path shows which"
						 : strerror(-r));
		store_close(s);
		return r;
	}
	atomic_store(&s->epoch, s->tables.head.epoch);
	*ret_store = s;
	return 0;
}

int store_open(const struct store_config *config, struct store **ret_store, char *why, size_t why_len)
{
	return store_open_schema(config, schema_current(), ret_store, why, why_len);
}

void store_close(struct store *s)
{
	if (!s)
		return;
	if (s->write && s->row_keys)
		binding_uses_flush(s);
	db_close(s->stage);
	db_close(s->read);
	db_close(s->write); /* last: checkpoints */
	reserve_close(&s->reserve);
	cache_free(s->cache);
	tables_free(&s->tables);
	policy_unref(s->no_policy);
	if (s->row_keys)
		secmem_free(s->row_keys, sizeof *s->row_keys);
	if (s->stage_row_key)
		secmem_free(s->stage_row_key, KEY_LEN);
	if (s->has_touched) {
		touched_free(pthread_getspecific(s->touched));
		pthread_key_delete(s->touched);
		pthread_rwlock_destroy(&s->tables_lock);
		pthread_mutex_destroy(&s->read_mutex);
		pthread_mutex_destroy(&s->write_mutex);
	}
	idset_free(s->followed);
	idset_free(s->transaction.touched);
	free(s->transaction.changes);
	free(s->path);
	free(s);
}

/* ---- unlocking and locking ---- */

/* The vault key is here for as long as the row keys take to derive. */
int store_derive_row_keys(struct store *s, struct keys *keys, struct row_keys **ret_keys)
{
	struct wrap_context ctx = { .type = WRAP_VAULT_KEY };
	uint8_t *vault_key = secmem_alloc(KEY_LEN);
	struct row_keys *row_keys = secmem_alloc(sizeof *row_keys);
	int r = -ENOMEM;

	if (!vault_key || !row_keys)
		goto out;
	memcpy(ctx.vault, s->vault, sizeof ctx.vault);
	r = keys_unwrap(keys, &ctx, s->vault_record, s->vault_record_len, vault_key);
	if (r == 0)
		r = row_keys_derive(vault_key, s->vault, row_keys);
	if (r < 0)
		goto out;
	*ret_keys = row_keys;
	row_keys = NULL;
out:
	if (row_keys)
		secmem_free(row_keys, sizeof *row_keys);
	if (vault_key)
		secmem_free(vault_key, KEY_LEN);
	return r;
}

static int lock_both(struct store *s)
{
	int r = store_lock_writer(s);

	if (r < 0)
		return r;
	r = store_lock_reader(s);
	if (r < 0)
		pthread_mutex_unlock(&s->write_mutex);
	return r;
}

static void unlock_both(struct store *s)
{
	pthread_mutex_unlock(&s->read_mutex);
	pthread_mutex_unlock(&s->write_mutex);
}

int store_reopen(struct store *s)
{
	int r = lock_both(s);

	if (r < 0)
		return r;
	db_abandon(s->stage);
	db_abandon(s->read);
	db_abandon(s->write);
	s->stage = s->read = s->write = NULL;
	s->data_version = 0; /* of another connection: it says nothing of this one's */
	r = db_open(s->path, &write_options, &s->write);
	if (r == 0)
		r = open_connections(s);
	unlock_both(s);
	return r;
}

static struct tables tables_swap(struct store *s, struct tables fresh)
{
	struct tables old;

	pthread_rwlock_wrlock(&s->tables_lock);
	old = s->tables;
	s->tables = fresh;
	s->stirred_all = true;
	atomic_store(&s->epoch, fresh.head.epoch);
	pthread_rwlock_unlock(&s->tables_lock);
	return old;
}

/* A store that an older coffer wrote has no hash of its trail yet: it is made of the rows that are there, which are
 * taken as they are, once. That a head is so old proves itself by its MAC: to pass for one, the whole main set would
 * have to be put back to what it was then. */
static int adopt_trail(struct store *s, const struct row_keys *keys, char *why, size_t why_len)
{
	struct tables tables = { 0 };
	int r;

	reserve_lend(&s->reserve);
	r = db_begin(s->write, true);
	if (r == 0)
		r = tables_load(s->write, keys, TRAIL_ADOPTED, s->vault, s->name, &tables, why, why_len);
	/* Another process may have been faster. */
	if (r == 0 && !tables.head.has_trail) {
		tables.head.has_trail = true;
		tables.head.serial = 1;
		r = head_write(s->write, keys, s->vault, &tables.head);
		if (r == 0)
			r = db_commit(s->write);
	}
	db_rollback(s->write);
	reserve_return(&s->reserve);
	tables_free(&tables);
	if (r < 0 && r != -EBADMSG)
		store_why(why, why_len, "the database cannot be brought up to date: %s", strerror(-r));
	return r;
}

static int load_summed(struct store *s, const struct row_keys *keys, struct tables *ret_tables, char *why,
		       size_t why_len)
{
	int r = load_snapshot(s, keys, TRAIL_SUMMED, ret_tables, why, why_len);

	if (r != -ESTALE)
		return r;
	r = adopt_trail(s, keys, why, why_len);
	return r < 0 ? r : load_snapshot(s, keys, TRAIL_SUMMED, ret_tables, why, why_len);
}

int store_unlock(struct store *s, struct keys *keys, char *why, size_t why_len)
{
	struct row_keys *row_keys = NULL;
	struct tables fresh = { 0 }, old;
	int r;

	store_why(why, why_len, "%s", "");
	r = store_derive_row_keys(s, keys, &row_keys);
	if (r == -EBADMSG)
		store_why(why, why_len,
			  "the vault's key in vault.conf does not open with this KEK: either belongs to another vault, "
			  "or was changed");
	else if (r < 0 && keys_fault(keys, why, why_len) == 0)
		store_why(why, why_len, "the vault's key cannot be had from the key holder: %s", strerror(-r));
	if (r < 0)
		return r;
	r = lock_both(s);
	if (r == 0) {
		r = s->row_keys ? -EALREADY : load_summed(s, row_keys, &fresh, why, why_len);
		if (r == 0) {
			old = tables_swap(s, fresh);
			s->keys = keys;
			s->row_keys = row_keys;
			row_keys = NULL;
			atomic_store(&s->sealed, false);
			tables_free(&old);
		}
		unlock_both(s);
	}
	if (row_keys)
		secmem_free(row_keys, sizeof *row_keys);
	return r == -EALREADY ? 0 : r;
}

void store_lock(struct store *s)
{
	struct policy *old;

	/* Sealing must not fail: it waits for as long as a transaction takes. */
	pthread_mutex_lock(&s->write_mutex);
	pthread_mutex_lock(&s->read_mutex);
	atomic_store(&s->sealed, true);
	s->keys = NULL;
	if (s->row_keys)
		secmem_free(s->row_keys, sizeof *s->row_keys);
	s->row_keys = NULL;
	pthread_rwlock_wrlock(&s->tables_lock);
	old = s->tables.policy;
	s->tables.policy = policy_ref(s->no_policy);
	pthread_rwlock_unlock(&s->tables_lock);
	cache_clear(s->cache);
	unlock_both(s);
	policy_unref(old);
}

/* ---- following ---- */

static int follow_database(struct store *s)
{
	struct head head;
	uint8_t mac[DIGEST_LEN];
	uint64_t first = 0, end = 0;
	int64_t data_version;
	int r = store_lock_reader(s);

	if (r < 0)
		return r;
	r = db_begin(s->read, false);
	if (r == 0)
		r = db_get_int(s->read, "PRAGMA data_version", &data_version);
	if (r == 0 && data_version != s->data_version) {
		r = head_read(s->read, NULL, &head, mac);
		if (r == 0 && head.epoch != s->tables.head.epoch)
			r = follow_apply(s, s->read);
		if (r == 0)
			r = events_range(s->read, &first, &end);
		if (r == 0) {
			events_set(s, first, end);
			s->data_version = data_version;
		}
	}
	db_rollback(s->read);
	pthread_mutex_unlock(&s->read_mutex);
	return r;
}

static int housekeep(struct store *s)
{
	int64_t now = store_now(s);
	int r;

	if (now - s->housekept < HOUSEKEEPING_NS && now >= s->housekept)
		return 0;
	s->housekept = now;
	/* While it is sealed nothing of it is authentic, and nothing that is can be changed. */
	if (!s->row_keys)
		return restores_expire(s);
	r = clock_keep(s);
	if (r == 0)
		r = binding_uses_flush(s);
	if (r == 0)
		r = events_prune(s);
	if (r == 0)
		r = requests_expire(s);
	return r < 0 ? r : restores_expire(s);
}

static int follow(struct store *s, bool write, void (*cb)(uint32_t secret, void *arg), void *arg)
{
	struct idset *followed;
	int r = store_lock_writer_soon(s);

	if (r < 0)
		return r;
	r = follow_database(s);
	if (r == 0 && write)
		housekeep(s); /* what it could not write now, it writes later */
	if (write && s->fills_reserve)
		reserve_fill(&s->reserve);
	followed = s->followed;
	s->followed = NULL;
	pthread_mutex_unlock(&s->write_mutex);
	for (uint32_t id = 0; cb && (id = idset_next(followed, id));)
		cb(id, arg);
	idset_free(followed);
	return r;
}

int store_follow(struct store *s, void (*cb)(uint32_t secret, void *arg), void *arg)
{
	return follow(s, true, cb, arg);
}

int store_catch_up(struct store *s, void (*cb)(uint32_t secret, void *arg), void *arg)
{
	return follow(s, false, cb, arg);
}
