/* The tables in memory, which serve: secrets and versions by name and id, the policy, the settings. Hold the lock while
 * using what they give. */
#ifndef COFFER_STORE_CORE_TABLES_H
#define COFFER_STORE_CORE_TABLES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct policy;
struct store;

enum object_kind { OBJECT_SECRET = 1, OBJECT_KEY = 2, OBJECT_CERTIFICATE = 3, OBJECT_KINDS };

/* Vault-wide settings, under the MAC. */
struct store_settings {
	uint32_t retention_days; /* 7..90 */
	bool purge_protection;
	bool enforce_validity;
	uint32_t value_max; /* bytes, 1..VALUE_MAX */
};

bool store_sealed(const struct store *s);

void store_rdlock(struct store *s);
void store_unlock_tables(struct store *s);

struct catalog_version {
	uint32_t number;
	uint32_t size;      /* plaintext bytes */
	int64_t created;    /* ns */
	int64_t not_before; /* ns, INT64_MIN: none */
	int64_t expires;    /* ns, INT64_MAX: none */
	bool enabled;
	bool destroyed; /* its content is gone for ever; never enabled */
	uint64_t epoch; /* of the commit that made it; 0: before epochs were kept */
	/* of the commit that disabled it; 0: it is enabled, or was disabled before epochs were kept */
	uint64_t withdrawn;
};

struct catalog_secret {
	uint32_t id;  /* never reused, below 2^28 */
	uint8_t kind; /* enum object_kind */
	bool enabled;
	bool deleted;
	uint32_t n_versions;
	uint32_t current; /* the newest enabled version, 0: none */
	int64_t created;  /* ns */
	/* ns: the last change of it, its versions or its state; of a deleted one: when it was deleted */
	int64_t changed;
	int64_t purge_at; /* of a deleted one: see store_purge_left */
	/* ns: since when it serves what it serves; 0: it has served nothing else yet. See store_served_since */
	int64_t served;
	const char *name;
	const struct catalog_version *versions; /* ascending by number */
};

/* Within its times, or in a vault that does not enforce them. */
static inline bool store_version_valid(const struct store_settings *settings, const struct catalog_version *v,
				       int64_t now)
{
	return !settings->enforce_validity || (now >= v->not_before && now < v->expires);
}

const struct catalog_secret *store_find(const struct store *s, const char *name);         /* live; NULL */
const struct catalog_secret *store_find_deleted(const struct store *s, const char *name); /* soft-deleted; NULL */
const struct catalog_secret *store_get(const struct store *s, uint32_t id);               /* either; NULL */
/* ascending id; NULL at the end */
const struct catalog_secret *store_next(const struct store *s, uint32_t after, bool deleted);
/* A deleted secret of which only the name is left: its scheduled purge has destroyed the content, or there never was
 * any. */
static inline bool catalog_emptied(const struct catalog_secret *c) { return c->deleted && c->n_versions == 0; }

const struct catalog_version *catalog_version(const struct catalog_secret *c, uint32_t number); /* NULL */
/* What `current` was at this epoch: the newest version that was made by then and not withdrawn by then. It may have
 * been withdrawn since. A version that was withdrawn and is enabled again counts as if it had been enabled all the
 * time. NULL: there was none. */
const struct catalog_version *catalog_version_at(const struct catalog_secret *c, uint64_t epoch);

uint64_t store_epoch(const struct store *s); /* atomic: no lock needed */
/* borrowed under the lock, never NULL; an empty policy while sealed */
const struct policy *store_policy(const struct store *s);
const struct store_settings *store_settings(const struct store *s);

struct store_counts {
	uint32_t secrets, deleted, versions, bindings, roles, blocks;
};
void store_counts(const struct store *s, struct store_counts *ret);
const uint8_t *store_vault_id(const struct store *s);

/* The secrets that commits, also of other processes, have touched since the last call: at most STIRRED_MAX ids.
 * *ret_all: more, or rules changed, or the vault was opened: look at all. */
#define STIRRED_MAX 1024u
size_t store_stirred(struct store *s, uint32_t ret_ids[STIRRED_MAX], bool *ret_all);

#endif
