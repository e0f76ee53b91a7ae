/* What the files of the engine share: the store, its locks, its connections. Lock order: write_mutex, read_mutex,
 * tables_lock, the cache's own mutex. Nobody outside store/ includes this. */
#ifndef COFFER_STORE_CORE_DATABASE_H
#define COFFER_STORE_CORE_DATABASE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/core/integrity.h"
#include "store/core/reserve.h"
#include "store/core/tables.h"
#include "store/keys/vaultconf.h"

struct catalog;
struct change;
struct cipher_cache;
struct idset;
struct keys;
struct policy;
struct rules;
struct schema;

#define NS_PER_S 1000000000

/* beyond, the change table says ROW_EVERYTHING, and the tables are loaded anew: memory does not grow with a restore */
#define CHANGES_LISTED 4096u

/* The row of the table clock (clock.c). */
#define BOOT_ID_LEN 16
struct clock_row {
	bool there;
	int64_t counted, uptime; /* ns */
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
struct touched {
	struct idset *objects, *served;
	bool all;
};

struct transaction {
	bool open;
	int64_t began; /* ns */
	int broken;    /* a statement failed half-way: only rollback is left */
	struct head head;
	struct store_settings settings;
	struct change *changes; /* those of grants, and of all others the first CHANGES_LISTED */
	size_t n_changes, capacity;
	uint64_t changed;      /* how many there were */
	bool trailed;          /* rows of the trail changed */
	struct idset *touched; /* objects; NULL: none */
	bool events_known;     /* events_end is where the next event's line begins */
	uint64_t events_end;
	bool destroys; /* content goes for ever: after the commit the log of the database is emptied too */
};

#define BINDING_USES 4096u

struct store {
	char *path; /* of the database */
	uint8_t vault[16];
	char name[VAULT_NAME_MAX];
	uint8_t vault_record[WRAP_RECORD_MAX];
	size_t vault_record_len;
	const struct schema *schema;
	const uint8_t *stage_key;
	uint8_t *stage_row_key;  /* locked memory */
	int64_t (*clock)(void);  /* ns; tests set their own */
	int64_t (*uptime)(void); /* CLOCK_BOOTTIME, ns; likewise */
	uint8_t boot[BOOT_ID_LEN];
	bool counts;    /* boot is known: time is counted */
	int64_t opened; /* uptime */

	pthread_mutex_t write_mutex; /* write, stage, transaction, reserve, followed */
	struct db *write;            /* synchronous=FULL */
	struct db *stage;            /* synchronous=NORMAL; NULL without staging */
	struct transaction transaction;
	uint32_t changes_listed; /* CHANGES_LISTED; tests set their own */
	struct reserve reserve;
	bool fills_reserve;     /* the daemon's */
	uint64_t pieces_room;   /* bytes for pieces of restores; 0: by the disk. Tests set their own */
	struct idset *followed; /* changed by others, not told yet; NULL: none */

	pthread_mutex_t read_mutex; /* read */
	struct db *read;
	int64_t data_version;

	pthread_rwlock_t tables_lock;
	struct tables tables;
	struct policy *no_policy; /* while sealed: made ahead, because sealing must not fail */
	_Atomic uint64_t epoch;
	uint32_t stirred[STIRRED_MAX]; /* with tables_lock: touched since somebody asked */
	size_t n_stirred;
	bool stirred_all;
	_Atomic uint64_t events_first, events_end; /* the stream of events, [first, end) */

	atomic_bool sealed; /* changes with write_mutex and read_mutex held; so do keys and row_keys */
	struct keys *keys;
	struct row_keys *row_keys; /* locked memory; NULL while sealed */
	struct cipher_cache *cache;

	pthread_key_t touched; /* struct touched of this thread's last commit */
	bool has_touched;

	atomic_bool unscrubbed; /* destroyed content may still stand in the database's log */

	struct {
		_Atomic uint64_t binding;
		_Atomic int64_t at;
	} uses[BINDING_USES];
	int64_t housekept; /* ns */
};

#define RETENTION_NS(settings) ((int64_t)(settings)->retention_days * 86400 * NS_PER_S)

int64_t store_now(const struct store *s);

__attribute__((format(printf, 3, 4))) void store_why(char *why, size_t why_len, const char *format, ...);

/* Bounded waits for the mutexes: 0 or -ETIMEDOUT. */
int store_lock_writer(struct store *s);
int store_lock_reader(struct store *s);
/* For what can as well be done a moment later, by a thread that others wait for: -ETIMEDOUT almost at once. */
int store_lock_writer_soon(struct store *s);

#define VERSION_ID(object, number) ((int64_t)((uint64_t)(object) << 32 | (number)))
#define VERSION_OBJECT(id)         ((uint32_t)((uint64_t)(id) >> 32))
#define VERSION_NUMBER(id)         ((uint32_t)(id))

void stir(struct store *s, uint32_t id); /* the tables are locked for writing */

#endif
