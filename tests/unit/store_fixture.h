/* A vault in a directory of its own, for the tests of the store. */
#ifndef COFFER_TESTS_STORE_FIXTURE_H
#define COFFER_TESTS_STORE_FIXTURE_H

#include <check.h>

#include "store/core/database.h"

struct fixture {
	char dir[64], db[96];
	struct vaultconf conf;
	struct keys *keys;
	uint8_t stage_key[KEY_LEN];
	uint8_t boot[BOOT_ID_LEN];
	struct store *store;
};

#define FIXTURE_ADMIN 1000u /* uid of the administrator */

extern struct fixture fx;

/* Checked fixtures: an open, unlocked store in fx, and its end. */
void fixture_setup(void);
void fixture_teardown(void);

void process_init(void);
void vault_make(struct fixture *f); /* made, closed */
int vault_open(struct fixture *f);  /* opens and unlocks: 0 or the first error */
void vault_close(struct fixture *f);
void vault_remove(struct fixture *f);
int vault_reopen(struct fixture *f);
/* For a process of its own (locked memory does not go through fork): vault.conf, by which it finds the vault in dir;
 * opens and unlocks it. 0 or the first error. */
void vault_write_conf(struct fixture *f);
int vault_attach(struct fixture *f, const char *dir);

/* In a transaction of their own; they fail the test. */
void forget_signer(struct store *s); /* as a store that an older coffer made */
/* Closes the store, with the head that a coffer of schema 5 would have left. */
void older_head(struct fixture *f);
uint32_t add_secret(struct store *s, const char *name, const char *value);
uint32_t add_version(struct store *s, uint32_t id, const char *value);
uint64_t add_binding(struct store *s, uint32_t uid, const char *role, const char *scope);
/* The value of a version equals text: 0; else -ECANCELED or the error. */
int value_is(struct store *s, uint32_t id, uint32_t version, const char *text);

/* SQL through a connection of its own, without the store's knowledge. */
void raw(struct fixture *f, const char *sql);
int64_t raw_int(struct fixture *f, const char *sql);

int fsck_quiet(struct fixture *f, bool deep); /* opens the store if need be */

void copy_file(const char *from, const char *to);

#endif
