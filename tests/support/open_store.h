/* A store as its vault.conf says, open and unlocked, for programs that tests run as root beside a daemon or before it.
 */
#ifndef COFFER_TESTS_OPEN_STORE_H
#define COFFER_TESTS_OPEN_STORE_H

#include "store/keys/vaultconf.h"

struct keys;
struct store;

struct opened {
	struct vaultconf conf;
	struct keys *keys;
	struct store *store;
};

/* 0; or negative errno with a line in why. open_store_end in either case. */
int open_store(const char *dir, struct opened *ret, char *why, size_t why_len);
void open_store_end(struct opened *o);

#endif
