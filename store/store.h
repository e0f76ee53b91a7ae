/* The store as a whole: making, opening, unlocking, keeping house, checking.
 *
 * Directory: vault.conf (root), db/vault.db (SQLite in WAL mode, under the worker's user; beside it vault.db-reserve),
 * audit/ (root). SQL and SQLite's types stay in store/.
 *
 * States: store_open reads the name table, unverified: names resolve, nothing is served (sealed). store_unlock gets the
 * vault key from the key holder, verifies every row and the set hash, and builds the policy. store_lock wipes keys and
 * caches.
 *
 * Threads: readers hold store_rdlock for as long as they use borrowed pointers (never across I/O to a caller or the key
 * holder). One transaction at a time; store_begin blocks for it. Each commit moves the epoch, appends to the change
 * table, and then updates the tables in memory in O(changes). Commits are synchronous=FULL: done means on disk.
 *
 * Errors: negative errno. -EROFS or -ENOSPC from the disk, -EIO otherwise; -EBADMSG is an integrity failure; -ENOKEY
 * sealed. */
#ifndef COFFER_STORE_STORE_H
#define COFFER_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/core/tables.h"

struct keys;
struct principal;
struct vaultconf;

struct store;

/* Makes STORE/db with the schema, settings and an administrator binding for each admin. dir exists and is empty but for
 * what init made; the files get the owner uid:gid. 0 or negative errno with one line in why. */
int store_create(const char *dir, const struct vaultconf *conf, struct keys *keys,
		 const struct store_settings *settings, const struct principal *admins, size_t n_admins,
		 uint32_t owner_uid, uint32_t owner_gid, char *why, size_t why_len);

struct store_config {
	const char *dir;
	const struct vaultconf *conf;
	/* KEY_LEN bytes that live as long as the daemon, for staged writes; NULL: no staging (offline) */
	const uint8_t *stage_key;
	size_t cipher_cache; /* bytes; 0: the default, 16 MiB */
	/* 16 bytes that name this boot of this machine: time is counted; NULL: it is not (offline) */
	const uint8_t *boot;
	bool migrate; /* may bring an older schema up to date (a copy db/vault.db.v<N> is kept) */
};

/* -ENOENT (no store), -EPROTONOSUPPORT (newer schema: what to do is in why), -ESTALE (older schema, and migrate is not
 * set), -EBADMSG (schema or rows that cannot be), -EIO. */
int store_open(const struct store_config *config, struct store **ret_store, char *why, size_t why_len);
void store_close(struct store *s); /* accepts NULL */
/* Opens the database anew, after its index was put aside (store/keys/index.h); before anything is written. What is in
 * memory stays; store_catch_up follows as before. On failure the store can only be closed. */
int store_reopen(struct store *s);

/* keys is borrowed and must outlive the store. -ENOKEY while the key holder is sealed; -EBADMSG with a line in why if a
 * row, or the set, is not authentic. */
int store_unlock(struct store *s, struct keys *keys, char *why, size_t why_len);
/* Waits for the transaction that is open, and so must not be called within one. */
void store_lock(struct store *s);

/* Follows changes that another process committed (break-glass); cheap when there are none. Also writes last-used times
 * of bindings and drops expired request answers. Call every 250 ms or so, from a thread that may block on the disk. cb
 * is called after the tables moved, for each changed secret. -ETIMEDOUT: a transaction is under way, which is not
 * waited for. */
int store_follow(struct store *s, void (*cb)(uint32_t secret, void *arg), void *arg);
/* The same without writing anything: for a process that only stands by while another one serves. */
int store_catch_up(struct store *s, void (*cb)(uint32_t secret, void *arg), void *arg);

/* Verifies schema, every row, the set hash, every record and (deep) every envelope by opening it. Calls report with one
 * line for each finding. 0: clean; -EBADMSG: findings; else it could not look. Safe beside a running daemon (reads one
 * snapshot). */
int store_fsck(struct store *s, struct keys *keys, bool deep, void (*report)(const char *line, void *arg), void *arg);

#endif
