/* The store: secrets, versions, roles and bindings on disk, and the tables in memory that serve from them.
 *
 * Directory: vault.conf (root), db/vault.db (SQLite in WAL mode, under the worker's user; beside it vault.db-reserve), audit/ (root). SQL and SQLite's types stay in store/.
 *
 * States: store_open reads the name table, unverified: names resolve, nothing is served (sealed). store_unlock gets the vault key from the key
 * holder, verifies every row and the set hash, and builds the policy. store_lock wipes keys and caches.
 *
 * Threads: readers hold store_rdlock for as long as they use borrowed pointers (never across I/O to a caller or the key holder). One transaction
 * at a time; store_begin blocks for it. Each commit moves the epoch, appends to the change table, and then updates the tables in memory in
 * O(changes). Commits are synchronous=FULL: done means on disk.
 *
 * Errors: negative errno. -EROFS or -ENOSPC from the disk, -EIO otherwise; -EBADMSG is an integrity failure; -ENOKEY sealed. */
#ifndef COFFER_STORE_STORE_H
#define COFFER_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/policy.h"
#include "store/envelope.h"
#include "store/keyholder.h"
#include "store/secbuf.h"
#include "store/vaultconf.h"

struct store;

enum object_kind { OBJECT_SECRET = 1, OBJECT_KEY = 2, OBJECT_CERTIFICATE = 3 };

/* Vault-wide settings, under the MAC. */
struct store_settings {
	uint32_t retention_days;	/* 7..90 */
	bool purge_protection;
	bool enforce_validity;
	uint32_t value_max;		/* bytes, 1..VALUE_MAX */
};

/* ---- making and opening ---- */

/* Makes STORE/db with the schema, settings and an administrator binding for each admin. dir exists and is empty but for what init made;
 * the files get the owner uid:gid. 0 or negative errno with one line in why. */
int store_create(const char *dir, const struct vaultconf *conf, struct keys *keys, const struct store_settings *settings,
		 const struct principal *admins, size_t n_admins, uint32_t owner_uid, uint32_t owner_gid, char *why, size_t why_len);

struct store_config {
	const char *dir;
	const struct vaultconf *conf;
	const uint8_t *stage_key;	/* KEY_LEN bytes that live as long as the daemon, for staged writes; NULL: no staging (offline) */
	size_t cipher_cache;		/* bytes; 0: the default, 16 MiB */
	const uint8_t *boot;		/* 16 bytes that name this boot of this machine: time is counted; NULL: it is not (offline) */
	bool migrate;			/* may bring an older schema up to date (a copy db/vault.db.v<N> is kept) */
};

/* -ENOENT (no store), -EPROTONOSUPPORT (newer schema: what to do is in why), -ESTALE (older schema, and migrate is not set), -EBADMSG (schema or rows that cannot be), -EIO. */
int store_open(const struct store_config *config, struct store **ret_store, char *why, size_t why_len);
void store_close(struct store *s);	/* accepts NULL */

/* keys is borrowed and must outlive the store. -ENOKEY while the key holder is sealed; -EBADMSG with a line in why if a row, or the set, is not authentic. */
int store_unlock(struct store *s, struct keys *keys, char *why, size_t why_len);
/* Waits for the transaction that is open, and so must not be called within one. */
void store_lock(struct store *s);
bool store_sealed(const struct store *s);

/* Follows changes that another process committed (break-glass); cheap when there are none. Also writes last-used times of bindings and drops
 * expired request answers. Call every 250 ms or so, from a thread that may block on the disk. cb is called after the tables moved, for each changed secret. -ETIMEDOUT: a transaction is under way, which
 * is not waited for. */
int store_follow(struct store *s, void (*cb)(uint32_t secret, void *arg), void *arg);
/* The same without writing anything: for a process that only stands by while another one serves. */
int store_catch_up(struct store *s, void (*cb)(uint32_t secret, void *arg), void *arg);

/* Calls fn for each secret that changed after epoch, once, ascending; of the change table's word, unverified: for telling, not for serving. Where that does not go back so far, or says no more
 * than that everything changed (a restore), for each that got a version since. */
int store_changed_since(struct store *s, uint64_t epoch, void (*fn)(uint32_t secret, void *arg), void *arg);

/* ---- reading the tables in memory: hold the lock ---- */

void store_rdlock(struct store *s);
void store_unlock_tables(struct store *s);

struct catalog_version {
	uint32_t number;
	uint32_t size;		/* plaintext bytes */
	int64_t created;	/* ns */
	int64_t not_before;	/* ns, INT64_MIN: none */
	int64_t expires;	/* ns, INT64_MAX: none */
	bool enabled;
	bool destroyed;		/* its content is gone for ever; never enabled */
	uint64_t epoch;		/* of the commit that made it; 0: before epochs were kept */
	uint64_t withdrawn;	/* of the commit that disabled it; 0: it is enabled, or was disabled before epochs were kept */
};

struct catalog_secret {
	uint32_t id;		/* never reused, below 2^28 */
	uint8_t kind;		/* enum object_kind */
	bool enabled;
	bool deleted;
	uint32_t n_versions;
	uint32_t current;	/* the newest enabled version, 0: none */
	int64_t created;	/* ns */
	int64_t changed;	/* ns: the last change of it, its versions or its state; of a deleted one: when it was deleted */
	int64_t purge_at;	/* of a deleted one: see store_purge_left */
	int64_t served;		/* ns: since when it serves what it serves; 0: it has served nothing else yet. See store_served_since */
	const char *name;
	const struct catalog_version *versions;	/* ascending by number */
};

/* Within its times, or in a vault that does not enforce them. */
static inline bool store_version_valid(const struct store_settings *settings, const struct catalog_version *v, int64_t now)
{
	return !settings->enforce_validity || (now >= v->not_before && now < v->expires);
}

/* Since when `current` is as it is at `now`: the newest version was made, another one or a state took its place, or its times came. Later than before whenever it serves something else, also
 * within one tick of the clock and when the clock was set back. */
int64_t store_served_since(const struct store_settings *settings, const struct catalog_secret *c, int64_t now);

const struct catalog_secret *store_find(const struct store *s, const char *name);		/* live; NULL */
const struct catalog_secret *store_find_deleted(const struct store *s, const char *name);	/* soft-deleted; NULL */
const struct catalog_secret *store_get(const struct store *s, uint32_t id);			/* either; NULL */
const struct catalog_secret *store_next(const struct store *s, uint32_t after, bool deleted);	/* ascending id; NULL at the end */
/* A deleted secret of which only the name is left: its scheduled purge has destroyed the content, or there never was any. */
static inline bool catalog_emptied(const struct catalog_secret *c) { return c->deleted && c->n_versions == 0; }
/* How long it is, in ns, until a deleted secret is purged by itself, and may be where purge protection is on; 0 or less: now. Counted on the vault's own clock, which nobody can set. */
int64_t store_purge_left(const struct store *s, const struct catalog_secret *c);
/* The same as a date of the wall clock as it stands. */
int64_t store_purge_date(const struct store *s, const struct catalog_secret *c);
const struct catalog_version *catalog_version(const struct catalog_secret *c, uint32_t number);	/* NULL */
/* What `current` was at this epoch: the newest version that was made by then and not withdrawn by then. It may have been withdrawn since. A version that was withdrawn and is enabled again counts as if it
 * had been enabled all the time. NULL: there was none. */
const struct catalog_version *catalog_version_at(const struct catalog_secret *c, uint64_t epoch);

uint64_t store_epoch(const struct store *s);	/* atomic: no lock needed */
const struct policy *store_policy(const struct store *s);	/* borrowed under the lock, never NULL; an empty policy while sealed */
const struct store_settings *store_settings(const struct store *s);
void store_binding_used(struct store *s, uint64_t binding, int64_t now);	/* in memory, lock-free */
struct store_counts { uint32_t secrets, deleted, versions, bindings, roles, blocks; };
void store_counts(const struct store *s, struct store_counts *ret);
const uint8_t *store_vault_id(const struct store *s);

/* ---- values ---- */

/* The plaintext of a version into a new buffer: ciphertext from the cache or the database (whose row MAC is checked again), DEK from the locked cache or the key holder.
 * May block on the key holder unless store_version_ready says that it will not. -ENOENT, -ENOKEY, -EBADMSG, -ETIMEDOUT, -ENOMEM, -EIO. Takes the table lock itself. */
int store_version_read(struct store *s, uint32_t secret, uint32_t version, struct secbuf **ret_plain);
/* The same straight into the caller's locked memory, for an answer that takes the whole value; never blocks. -EAGAIN: it would have to (or is not in the cache); -ENOBUFS: longer than room. */
int store_version_read_into(struct store *s, uint32_t secret, uint32_t version, void *ret, size_t room, size_t *ret_len);
bool store_version_ready(struct store *s, uint32_t secret, uint32_t version);

/* What is not in memory. Strings are owned by the struct; free with store_attributes_free. tags_json is one JSON object of strings. */
struct store_attributes { char *content_type; char *tags_json; };
int store_version_attributes(struct store *s, uint32_t secret, uint32_t version, struct store_attributes *ret);
void store_attributes_free(struct store_attributes *a);

struct store_binding_info { char *reason; char *created_by; int64_t created; int64_t last_used; /* 0: never */ };
int store_binding_info(struct store *s, uint64_t binding, struct store_binding_info *ret);
void store_binding_info_free(struct store_binding_info *i);

/* The same of a block; last_used is 0. */
int store_block_info(struct store *s, uint64_t block, struct store_binding_info *ret);

/* ---- changing: between begin and commit or rollback, on one thread ---- */

/* Blocks for other transactions; -ENOKEY while sealed; -ETIMEDOUT; -EBADMSG: what lies on disk is not what this process or another holder of the key left (seal). Until it ends
 * this thread must not call store_follow, store_lock, store_pending_act_done or the calls for stages but store_stage_commit: each waits for the transaction. */
int store_begin(struct store *s);
/* The same for an administrator: if the disk is full, with room from the reserve (store/reserve.h). */
int store_begin_privileged(struct store *s);
int store_commit(struct store *s);	/* 0: on disk and in the tables. Otherwise nothing changed */
void store_rollback(struct store *s);

/* Content that was destroyed may stand in the database's log for as long as somebody else reads an older state of it, or when a process died right after its commit. Empties it. 0: nothing is
 * left, or was; -EAGAIN: try again. Cheap when there is nothing to do. */
int store_scrub(struct store *s);

/* The next of the secrets that this thread's last transaction touched, for the bell; 0: there is none. Valid after store_commit until the thread's next store_begin. Of a transaction that touched thousands of
 * them here and there it may name some that were not, or are no secrets. */
uint32_t store_touched_next(const struct store *s, uint32_t after);
/* Did it change what this secret serves, and not only attributes, or a version that is not served? Too much rather than too little. */
bool store_touched_serves(const struct store *s, uint32_t id);

int store_secret_create(struct store *s, const char *name, uint32_t *ret_id);	/* -EEXIST (live or deleted), -EINVAL */
int store_secret_enable(struct store *s, uint32_t id, bool enabled);		/* -ENOENT */
/* Soft delete: all of it stays, under its name, with a date for its purge. Of one that never had a version nothing is kept but the name (catalog_emptied). -ENOENT. */
int store_secret_delete(struct store *s, uint32_t id);
/* For ever, of one that never had a version. -ENOENT: it is not there, or deleted; -ENOTEMPTY: it had one. */
int store_secret_remove(struct store *s, uint32_t id);
int store_secret_recover(struct store *s, uint32_t id);	/* -ENOENT: not deleted, or its content is destroyed */
/* For ever: keys and ciphertext are overwritten in the database, and after the commit its log is emptied. -ENOENT: not deleted; -EPERM: purge protection is on, and the time has not come. */
int store_secret_purge(struct store *s, uint32_t id);
/* The scheduled purge: the same but for the name, which stays until the mount has let go of it (store_secret_purge). -EAGAIN: the time has not come. */
int store_secret_empty(struct store *s, uint32_t id);

struct version_attributes {
	const char *content_type;	/* NULL: none; at most 255 bytes */
	const char *tags_json;		/* NULL: none; a JSON object of at most 15 strings, name and value at most 512 bytes each */
	int64_t not_before, expires;	/* ns, INT64_MIN / INT64_MAX: none */
};
/* A new version with this value. -EFBIG, -EINVAL (attributes), -ENOENT, -ENOKEY, -ETIMEDOUT, -EIO. */
int store_version_add(struct store *s, uint32_t id, const void *value, size_t len, const struct version_attributes *a, uint32_t *ret_version);
int store_version_enable(struct store *s, uint32_t id, uint32_t version, bool enabled);
/* Its content, for ever; the version stays known as destroyed. -ENOENT (no such version, or destroyed already); -EPERM: purge protection is on. */
int store_version_destroy(struct store *s, uint32_t id, uint32_t version);
int store_version_set_attributes(struct store *s, uint32_t id, uint32_t version, const struct version_attributes *a);

int store_role_put(struct store *s, const char *name, action_set actions, uint32_t *ret_id);	/* -EEXIST */
int store_binding_add(struct store *s, const struct binding *b /* id ignored */, const char *reason, const char *created_by, uint64_t *ret_id);
int store_binding_remove(struct store *s, uint64_t id);	/* -ENOENT; -EBUSY: the last administrator */
/* Denies the principal everything. -EINVAL (a principal with host, a text that is too long); -EEXIST: it is blocked already; -EBUSY: no administrator would be left. */
int store_block_add(struct store *s, const struct principal *principal, const char *reason, const char *created_by, uint64_t *ret_id);
int store_block_remove(struct store *s, uint64_t id);	/* -ENOENT */
/* -EINVAL; -EPERM: purge protection off again, or another retention (fixed when the vault is made). */
int store_settings_put(struct store *s, const struct store_settings *settings);

/* ---- answers to requests that may be repeated ---- */

struct request_key { uint32_t uid; uint64_t user_ns; uint8_t id[16]; uint64_t neighbour; /* whose share the answer is kept in (fs/neighbour.h); does not name the request */ };
#define REQUEST_ANSWER_MAX 65536
#define REQUESTS_PER_UID   256		/* of one neighbour */
#define REQUESTS_PER_NEIGHBOUR 1024
#define REQUEST_LIFE_S     600
/* 0 and the first answer (free it); -ENOENT: not seen; -EEXIST: seen with another digest; -ENOKEY. To be sure against the same request in another thread, ask within the transaction. */
int store_request_find(struct store *s, const struct request_key *key, const uint8_t digest[DIGEST_LEN], char **ret_answer);
int store_request_put(struct store *s, const struct request_key *key, const uint8_t digest[DIGEST_LEN], const char *answer);	/* in the transaction */

/* ---- staged writes: encrypted under the daemon's stage key, survive any process's death but the keeper's ---- */

/* Each call is its own short transaction (synchronous=NORMAL) unless said otherwise; ids are random-free and never reused while the daemon lives.
 * unique deduplicates: a call repeated with the unique of the stage's last call gives the same result and changes nothing. */
int store_stage_new(struct store *s, uint64_t *ret_stage);
/* What a stage's bytes are to the secret's other writers, when they become a version: */
enum stage_manner {
	STAGE_REPLACES,		/* the whole value, whatever there is by then: how each stage begins */
	STAGE_EDITS,		/* a copy of a version, changed: -ESTALE if another one is served by then */
	STAGE_APPENDS,		/* a copy of a version, and what goes behind whatever is served by then. What has no copy in it: */
	STAGE_TAIL,		/* appended bytes alone */
};
#define STAGE_NO_BASE   (-1)	/* it is a copy of nothing that is served: it replaces that */
#define STAGE_LEFT_BASE (-2)	/* no version has its bytes, for others came between */
/* Starts as a copy (of nothing: version 0), clean. manner: STAGE_EDITS or STAGE_APPENDS. */
int store_stage_copy_version(struct store *s, uint64_t stage, uint32_t secret, uint32_t version, enum stage_manner manner);
/* An empty stage is STAGE_TAIL from now on. */
int store_stage_tail(struct store *s, uint64_t stage);
/* One that is STAGE_TAIL gets what is served now before its bytes, and is STAGE_EDITS: for who cuts it somewhere. Any other stays as it is. */
int store_stage_gather(struct store *s, uint64_t stage, uint32_t secret);
#define STAGE_APPEND UINT64_MAX
int store_stage_write(struct store *s, uint64_t stage, uint64_t unique, uint64_t offset, const void *data, size_t len);	/* -EFBIG beyond the limit */
/* The same for a stage that holds the values of a set, one after the other: it may have STAGE_SET_MAX bytes, whatever one value may. */
#define STAGE_SET_MAX (16u << 20)
int store_stage_write_set(struct store *s, uint64_t stage, uint64_t unique, uint64_t offset, const void *data, size_t len);
int store_stage_truncate(struct store *s, uint64_t stage, uint64_t unique, uint64_t len);
int store_stage_read(struct store *s, uint64_t stage, uint64_t offset, void *ret, size_t len, size_t *ret_read);
struct stage_info { uint64_t size, unique /* of the last change */, start /* what is in no version yet */; int64_t base; enum stage_manner manner; bool dirty; };
int store_stage_stat(struct store *s, uint64_t stage, struct stage_info *ret);
/* In the transaction: the stage's bytes become a new version, as its manner says, and the stage is clean, both or neither. -EALREADY: it was clean (nothing done); -ESTALE, -EFBIG. */
int store_stage_commit(struct store *s, uint64_t stage, uint32_t secret, const struct version_attributes *a, uint32_t *ret_version);
/* In the transaction: len bytes at offset become a new version; the stage is clean when store_stage_clean says so, in the same transaction. -EALREADY: it was clean; -EINVAL: beyond its end. */
int store_stage_commit_part(struct store *s, uint64_t stage, uint64_t offset, size_t len, uint32_t secret, const struct version_attributes *a, uint32_t *ret_version);
int store_stage_clean(struct store *s, uint64_t stage);
int store_stage_drop(struct store *s, uint64_t stage);
/* A new worker: stages that no open file names, for whoever made one died before he could say so. keep need not be sorted. */
int store_stages_retain(struct store *s, const uint64_t *keep, size_t n);
int store_stages_clear(struct store *s);	/* a new daemon: what is left belongs to a dead key */

/* ---- acts of offline commands that the owner of the log has yet to record (break-glass beside a running daemon) ---- */

int store_pending_act_add(struct store *s, const char *act_json);	/* in the transaction */
int store_pending_acts(struct store *s, int (*fn)(uint64_t id, const char *act_json, void *arg), void *arg);
int store_pending_act_done(struct store *s, uint64_t id);

/* ---- offline checks ---- */

/* Verifies schema, every row, the set hash, every record and (deep) every envelope by opening it. Calls report with one line for each finding.
 * 0: clean; -EBADMSG: findings; else it could not look. Safe beside a running daemon (reads one snapshot). */
int store_fsck(struct store *s, struct keys *keys, bool deep, void (*report)(const char *line, void *arg), void *arg);

#endif
