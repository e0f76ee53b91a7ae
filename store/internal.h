/* What the files of the store share. Lock order: write_mutex, read_mutex, tables_lock, the cache's own mutex. */
#ifndef COFFER_STORE_INTERNAL_H
#define COFFER_STORE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "store/catalog.h"
#include "store/db.h"
#include "store/idset.h"
#include "store/integrity.h"
#include "store/lifecycle.h"
#include "store/reserve.h"
#include "store/store.h"

#define NS_PER_S 1000000000

#define STORE_APPLICATION_ID 0x63666572	/* "cfer" in the database's header */

/* ---- schema.c ---- */

/* From schema `from` to `from + 1`, by adding only. New objects must be written as the new schema.sql has them, because its text is compared afterwards. */
struct migration {
	int from;
	const char *sql;
};
struct schema {
	int version;
	const char *sql;
	const struct migration *migrations;
	size_t n_migrations;
};
extern const char store_schema_sql[];	/* generated from schema.sql */
const struct schema *schema_current(void);

int schema_create(struct db *db, const struct schema *schema);	/* in a transaction */
/* 0; -EPROTONOSUPPORT (newer); -ESTALE (older, and may_migrate is not set); -EBADMSG (not what this version makes); line in why. */
int schema_check(struct db *db, const struct schema *schema, const char *path, bool may_migrate, char *why, size_t why_len);
int schema_compare(struct db *db, const struct schema *schema);	/* 0 or -EBADMSG */
/* Removes the copies that migrations kept: they hold what is to be destroyed. */
int schema_drop_copies(const char *path, const struct schema *schema);

/* ---- cache.c: ciphertext and DEKs of versions lately read ---- */

struct cipher_cache;
struct cached {
	const uint8_t *envelope;	/* held until cache_put_back */
	size_t len;
	uint8_t dek[KEY_LEN];		/* wipe it */
	void *held;
};
int cache_new(size_t bytes, struct cipher_cache **ret_cache);
void cache_free(struct cipher_cache *c);	/* accepts NULL */
bool cache_take(struct cipher_cache *c, uint64_t version, struct cached *ret);
void cache_put_back(struct cached *cached);
bool cache_has(struct cipher_cache *c, uint64_t version);
/* Reading and inserting race with changes: what was read before generation moved is not put in. Takes envelope (malloc'd) over in any case. */
uint64_t cache_generation(struct cipher_cache *c);
void cache_insert(struct cipher_cache *c, uint64_t generation, uint64_t version, uint8_t *envelope, size_t len, const uint8_t dek[KEY_LEN]);
void cache_drop(struct cipher_cache *c, const uint64_t *versions, size_t n);
void cache_clear(struct cipher_cache *c);	/* wipes every key */

/* ---- the tables in memory and how they move ---- */

/* One row that a transaction changed: MACs before and after. */
struct change {
	uint8_t kind;		/* enum row_kind */
	bool before, after;	/* there was a row, there is one */
	uint32_t order;
	int64_t row;
	uint8_t old_mac[DIGEST_LEN], new_mac[DIGEST_LEN];
};
#define CHANGES_LISTED 4096u	/* beyond, the change table says ROW_EVERYTHING, and the tables are loaded anew: memory does not grow with a restore */
#define CHANGES_KEPT   1024u	/* epochs */
#define CHANGE_BITS    20	/* of a change's id, below the epoch */

/* The row of the table clock (clock.c). */
#define BOOT_ID_LEN 16
struct clock_row {
	bool there;
	int64_t counted, uptime;	/* ns */
	uint8_t boot[BOOT_ID_LEN];
};

struct tables {
	struct catalog *catalog;
	struct clock_row clock;
	struct policy *policy;
	struct store_settings settings;
	struct rules *rules;
	uint32_t n_roles, n_bindings, n_blocks;
	struct head head;
};

/* What a commit changed: objects; and those of them that serve something else now (all: not found out which). */
struct touched { struct idset *objects, *served; bool all; };

struct transaction {
	bool open;
	int64_t began;		/* ns */
	int broken;		/* a statement failed half-way: only rollback is left */
	struct head head;
	struct store_settings settings;
	struct change *changes;	/* those of grants, and of all others the first CHANGES_LISTED */
	size_t n_changes, capacity;
	uint64_t changed;	/* how many there were */
	bool trailed;		/* rows of the trail changed */
	struct idset *touched;	/* objects; NULL: none */
	bool events_known;	/* events_end is where the next event's line begins */
	uint64_t events_end;
	bool destroys;		/* content goes for ever: after the commit the log of the database is emptied too */
};

#define BINDING_USES 4096u

struct store {
	char *path;			/* of the database */
	uint8_t vault[16];
	char name[VAULT_NAME_MAX];
	uint8_t vault_record[WRAP_RECORD_MAX];
	size_t vault_record_len;
	const struct schema *schema;
	const uint8_t *stage_key;
	uint8_t *stage_row_key;		/* locked memory */
	int64_t (*clock)(void);		/* ns; tests set their own */
	int64_t (*uptime)(void);	/* CLOCK_BOOTTIME, ns; likewise */
	uint8_t boot[BOOT_ID_LEN];
	bool counts;			/* boot is known: time is counted */
	int64_t opened;			/* uptime */

	pthread_mutex_t write_mutex;	/* write, stage, transaction, reserve, followed */
	struct db *write;		/* synchronous=FULL */
	struct db *stage;		/* synchronous=NORMAL; NULL without staging */
	struct transaction transaction;
	uint32_t changes_listed;	/* CHANGES_LISTED; tests set their own */
	struct reserve reserve;
	bool fills_reserve;		/* the daemon's */
	uint64_t pieces_room;		/* bytes for pieces of restores; 0: by the disk. Tests set their own */
	struct idset *followed;		/* changed by others, not told yet; NULL: none */

	pthread_mutex_t read_mutex;	/* read */
	struct db *read;
	int64_t data_version;

	pthread_rwlock_t tables_lock;
	struct tables tables;
	struct policy *no_policy;	/* while sealed: made ahead, because sealing must not fail */
	_Atomic uint64_t epoch;
	uint32_t stirred[STIRRED_MAX];	/* with tables_lock: touched since somebody asked */
	size_t n_stirred;
	bool stirred_all;
	_Atomic uint64_t events_first, events_end;	/* the stream of events, [first, end) */

	atomic_bool sealed;		/* changes with write_mutex and read_mutex held; so do keys and row_keys */
	struct keys *keys;
	struct row_keys *row_keys;	/* locked memory; NULL while sealed */
	struct cipher_cache *cache;

	pthread_key_t touched;		/* struct touched of this thread's last commit */
	bool has_touched;

	atomic_bool unscrubbed;		/* destroyed content may still stand in the database's log */

	struct { _Atomic uint64_t binding; _Atomic int64_t at; } uses[BINDING_USES];
	int64_t housekept;		/* ns */
};

#define RETENTION_NS(settings) ((int64_t)(settings)->retention_days * 86400 * NS_PER_S)

int64_t store_now(const struct store *s);
int store_open_schema(const struct store_config *config, const struct schema *schema, struct store **ret_store, char *why, size_t why_len);

__attribute__((format(printf, 3, 4))) void store_why(char *why, size_t why_len, const char *format, ...);

/* A store without its database yet; sealed. */
int store_new(const char *dir, const struct vaultconf *conf, const struct schema *schema, size_t cipher_cache, struct store **ret_store);
/* Unwraps the vault key and derives; ret_keys is locked memory of the caller's. */
int store_derive_row_keys(struct store *s, struct keys *keys, struct row_keys **ret_keys);

/* Bounded waits for the mutexes: 0 or -ETIMEDOUT. */
int store_lock_writer(struct store *s);
int store_lock_reader(struct store *s);
/* For what can as well be done a moment later, by a thread that others wait for: -ETIMEDOUT almost at once. */
int store_lock_writer_soon(struct store *s);

#define VERSION_ID(object, number) ((int64_t)((uint64_t)(object) << 32 | (number)))
#define VERSION_OBJECT(id)         ((uint32_t)((uint64_t)(id) >> 32))
#define VERSION_NUMBER(id)         ((uint32_t)(id))

/* ---- load.c ---- */

/* Rows as tables in memory have them, from a query of row_table: 0 or -EBADMSG for values that cannot be. Strings are borrowed from the row. */
int object_parse(const struct query *q, struct catalog_secret *ret_secret, int64_t *ret_last_version);
int version_parse(const struct query *q, struct catalog_version *ret_version);
int binding_parse(const struct query *q, struct binding *ret_binding);
int block_parse(const struct query *q, struct block *ret_block);
int role_parse(const struct query *q, struct role *ret_role);
/* A row of roles, bindings or blocks as the change that makes it. */
int grant_parse(enum row_kind kind, const struct query *q, struct policy_change *ret_change);
int settings_parse(const struct query *q, const uint8_t vault[16], const char *name, struct store_settings *ret_settings);
uint32_t versions_current(const struct catalog_version *versions, uint32_t n);

enum load_trail {
	TRAIL_FROM_HEAD,	/* as the head has it, whose rows were summed before */
	TRAIL_SUMMED,		/* its rows are read, too */
	TRAIL_ADOPTED,		/* the same, and a head from before schema 6 may have none */
};
/* Loads everything in the transaction that db is in. keys NULL: unverified, and without roles and bindings. -ESTALE: the head has no trail, and is not to be adopted. */
int tables_load(struct db *db, const struct row_keys *keys, enum load_trail trail, const uint8_t vault[16], const char *name, struct tables *ret_tables,
		char *why, size_t why_len);
void tables_free(struct tables *t);

/* ---- step.c: from one epoch to the next in O(changes) ---- */

/* By how many their number changes. */
struct grants { int roles, bindings, blocks; };

struct step {
	struct catalog_entry **puts;
	size_t n_puts;
	uint32_t *removes;
	size_t n_removes;
	uint64_t *versions;	/* whose cached content is no longer good */
	size_t n_versions;
	struct policy *policy;
	struct store_settings settings;
	struct clock_row clock;
	struct rules *rules;	/* NULL: as they were */
	struct grants grants;
	struct idset *served;	/* objects that serve something else than before; NULL: none */
	struct tables fresh;	/* catalog is set: everything anew, and nothing of the above */
};
/* Reads the changed rows through db (in a transaction), verifies them and makes everything that applying needs. The writer's mutex is held. */
int step_prepare(struct store *s, struct db *db, const struct change *changes, size_t n, struct step *ret_step);
/* The same for more changes than are listed: reads everything. */
int step_reload(struct store *s, struct db *db, struct step *ret_step);
void step_apply(struct store *s, struct step *step, const struct head *head);	/* cannot fail */
void step_discard(struct store *s, struct step *step);
bool change_is_grant(const struct change *change);	/* a role, a binding, a block */
/* The secret that a row of the change table is about; 0: none. */
uint32_t change_secret(int64_t kind, int64_t row);
/* Adds the object that a change is about, if it is about one: 0 or -ENOMEM. */
int change_touch(struct idset **touched, const struct change *change);
/* The policy as it would be after the changes. */
int step_policy(struct store *s, struct db *db, const struct change *changes, size_t n, struct policy **ret_policy, struct grants *ret_grants);

/* Brings the tables from s's epoch to the database's, in the transaction that db is in; what changed is added to s->followed. */
int follow_apply(struct store *s, struct db *db);

/* false: only attributes differ, or what is not served. */
bool serves_else(const struct store_settings *settings, const struct catalog_secret *before, const struct catalog_secret *after);

/* ---- served.c ---- */

/* Writes down since when what the open transaction changed serves something else. */
int served_mark(struct store *s);

/* ---- transaction.c ---- */

int transaction_check(const struct store *s);		/* 0, or -EINVAL without an open one, or why it is broken */
int transaction_fail(struct store *s, int error);	/* marks it broken; returns error */
int64_t transaction_epoch(const struct store *s);	/* that the commit will move to */
int transaction_begin(struct store *s, bool fresh);	/* fresh: store_create's, without a head yet; the writer's mutex is held */
int transaction_finish(struct store *s, struct touched *ret_touched);
void touched_free(void *touched);	/* accepts NULL */
void transaction_abort(struct store *s);

/* Around every change of a member row. row_out verifies the row as it is and takes it out of the set (-ENOENT: no such row); then change it; row_in
 * gives it its MAC and puts it in. A new row needs only row_in, a removed one row_out and row_gone. */
int row_out(struct store *s, enum row_kind kind, int64_t row, struct change *ret_change);
int row_in(struct store *s, const struct change *change);
int row_gone(struct store *s, const struct change *change);
struct change row_new(enum row_kind kind, int64_t row);
/* The same for rows of the trail, which nobody follows. trail_out verifies the row as it is and takes it out of the set: 1, or 0 when there is none; then change it, and trail_in puts it
 * in. trail_remove takes out and deletes the rows with ids from `from` to `to`. A failure breaks the transaction. */
int trail_out(struct store *s, enum row_kind kind, int64_t row);
int trail_in(struct store *s, enum row_kind kind, int64_t row);
int trail_remove(struct store *s, enum row_kind kind, int64_t from, int64_t to);
/* A transaction of housekeeping: the writer's mutex is held, no transaction open, the store unlocked. fn changes rows; what it changed is committed when it gives 0. */
int transaction_run(struct store *s, int (*fn)(struct store *s, void *arg), void *arg);
/* The end of a transaction whose work ended with r: committed, and who is touched forgotten; or taken back, and r. */
int transaction_settle(struct store *s, int r);
/* The MAC of a row that is not a member of either set. */
int row_stamp(struct db *db, const uint8_t key[KEY_LEN], enum row_kind kind, int64_t row);

/* ---- clock.c: the time that has passed, as nobody can set it ---- */

int clock_parse(const struct query *q, struct clock_row *ret_row);
/* What the clock shows now; the caller holds the tables' lock or the writer's mutex. */
int64_t clock_counted(const struct store *s);
/* In the transaction: what has been counted goes to disk; *ret_counted (may be NULL) is what stands there. */
int clock_write(struct store *s, int64_t *ret_counted);
/* Now and then, so that a machine's end does not lose much of it. The writer's mutex is held, no transaction open. */
int clock_keep(struct store *s);

/* ---- scrub.c: what a destroying commit leaves in the database's log ---- */

/* The writer's mutex is held, no transaction open. */
int scrub(struct store *s);

int settings_insert(struct store *s, const struct store_settings *settings);	/* store_create */

/* ---- versions.c ---- */

/* Of the version on whose row q stands. */
bool version_destroyed(const struct query *q);
/* Key and ciphertext of a version, whose row stays, or goes too. */
int version_erase(struct store *s, int64_t id, bool row_too);

/* What belongs to the version on whose row q stands: its key's record, and its envelope (malloc'd), which must have the hash that the row names.
 * 0 or -EBADMSG. */
int version_fetch(struct db *db, const struct query *q, uint8_t **ret_envelope, size_t *ret_len, uint8_t ret_record[WRAP_RECORD_MAX],
		  size_t *ret_record_len);

/* Does a hook wait for new values of the secret, and is what it serves that long? Only then version_same is worth its while. */
bool version_watched(struct store *s, uint32_t id, size_t len);
/* Has a version that this transaction made the value that current serves before it? Doubt means no. */
bool version_same(struct store *s, uint32_t id, uint32_t version);

/* The number under which a KEK stands in the table. */
int kek_row(struct store *s, const uint8_t kek[KEK_ID_LEN], int64_t *ret_id);
bool content_type_valid(const char *text);
/* Checks tags and writes them in one canonical form, sorted; malloc'd. -EINVAL. */
int tags_parse(const char *json, char **ret_canonical);

/* ---- rules.c ---- */

bool rotation_valid(const struct rotation *p);
bool hook_valid(const struct hook *h);
int rotation_parse(const struct query *q, struct rotation *ret);
int hook_parse(const struct query *q, struct hook *ret);
int notice_parse(const struct query *q, uint32_t *ret_near_days);
/* A column's text, or number, where it fits. */
bool rule_take_text(const struct query *q, int i, char *ret, size_t room);
bool rule_take_u32(const struct query *q, int i, uint32_t *ret);
/* Does the scope cover the name, and more narrowly than the best one so far (NULL: none)? */
bool rule_nearer(const char *scope, const char *best, const char *name);
/* Around a change of a table of rules: -E2BIG (RULES_MAX), by a query that counts its rows; the row that was just inserted; a row that goes (-ENOENT). */
int rules_room(struct store *s, const char *count);
int rule_inserted(struct store *s, enum row_kind kind, uint64_t *ret_id);
int rule_remove(struct store *s, enum row_kind kind, const char *sql, uint64_t id);
bool history_valid(const struct history *h);
int history_parse(const struct query *q, struct history *ret);
struct rules *rules_new(void);		/* none; NULL: no memory */
void rules_free(struct rules *r);	/* accepts NULL */
/* All rules, in the transaction that db is in; row is asked about each row first (0, or the error that ends it). */
int rules_load(struct db *db, int (*row)(enum row_kind kind, const struct query *q, void *arg), void *arg, struct rules **ret_rules);

/* ---- events.c ---- */

int events_range(struct db *db, uint64_t *ret_first, uint64_t *ret_end);
/* In the transaction: where the next event's line begins. */
int events_position(struct store *s, uint64_t *ret_at);
int events_prune(struct store *s);	/* the writer's mutex is held, no transaction open */

/* ---- marks.c ---- */

int mark_forget(struct store *s, uint32_t secret);	/* in the transaction */
void stir(struct store *s, uint32_t id);		/* the tables are locked for writing */

/* ---- bindings.c ---- */

/* The principal as text, if it says what it should when it is read again. 0 or -EINVAL. */
int binding_principal_text(const struct principal *p, char ret_text[PRINCIPAL_TEXT_MAX]);
#define REASON_MAX     1024
#define CREATED_BY_MAX 256

/* Reason, creator and date of a binding or a block, which lie in three columns side by side. The reader's mutex is held and the store unlocked; the caller frees, also on failure. -ENOENT. */
int store_read_info(struct store *s, enum row_kind kind, uint64_t id, int reason, struct store_binding_info *info);
int binding_uses_flush(struct store *s);	/* the writer's mutex is held, no transaction open */

/* ---- requests.c ---- */

int requests_expire(struct store *s);	/* likewise */

/* ---- backup_keys.c ---- */

struct recipient;
int signer_insert(struct store *s, struct keys *keys);
int recipient_insert(struct store *s, const struct recipient *new);
/* Verified; ret_record (WRAP_RECORD_MAX bytes) may be NULL. -ENOENT. */
int signer_read(struct db *db, const struct row_keys *keys, uint8_t ret_public[CURVE_LEN], uint8_t *ret_record, size_t *ret_len);

/* ---- stages.c ---- */

/* Around a short transaction of the stage connection; stage_end commits when r is 0. -EOPNOTSUPP: the store was opened without staging. */
int stage_begin(struct store *s);
int stage_end(struct store *s, int r);

/* ---- restore_pieces.c ---- */

int restores_expire(struct store *s);	/* as requests_expire */

#endif
