/* The key holder: the one process that has the KEK. Its calls are in keys/keys.h. */
#ifndef COFFER_STORE_KEYS_KEYHOLDER_H
#define COFFER_STORE_KEYS_KEYHOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/keys/wrap.h"

/* unwraps a second: beyond what a file system asks for, far below what copying a large vault wants */
#define KEYHOLDER_RATE  50000
#define KEYHOLDER_BURST 200000

/* The role. Runs until its parent dies or every socket has closed; returns the exit status. The process is already
 * under its user, with secmem and crypto initialised.
 *   clients      connected sockets of workers
 *   unseal_fd    listening SOCK_STREAM unix socket, or -1: one passphrase a connection (at most 1024 bytes, to EOF);
 *                answers one line, "ok" or "error TEXT"; the peer's uid must be 0 (SO_PEERCRED). For a file: KEK the
 *                peer sends nothing and the file is read again (src.fd is rewound).
 *   check        the vault key's record (vault.conf keeps a copy in hex), with which a passphrase or file is proven to
 *                be the right one before the holder calls itself unsealed */
struct keyholder_config {
	struct kek_source source;
	/* opened and proven by the caller: passes to the holder, and nothing is read from source; NULL: the holder
	 * opens source */
	struct kek *kek;
	const int *clients;
	size_t n_clients;
	int unseal_fd;
	struct wrap_context check_context;
	const uint8_t *check_record;
	size_t check_len;
	unsigned unwraps_per_second; /* 0: KEYHOLDER_RATE */
	unsigned unwrap_burst;       /* 0: KEYHOLDER_BURST */
	/* tells the clients that it has begun: one that waits for an answer of the holder before asks again, and need
	 * not run into its deadline */
	bool announce;
};
/* 0: every client socket has closed. 1: the key could not be opened or is not this vault's, and the clients were told
 * why (keys_fault); a source that needs a passphrase and has none starts sealed instead. */
int keyholder_run(const struct keyholder_config *config);

/* The client of unseal_fd: sends the passphrase (may be empty) and reads the answer; at most 30 seconds. 0 (also when
 * it was unsealed already, whatever was sent); -EKEYREJECTED; -EACCES (not root); -EINVAL (longer than PASSPHRASE_MAX);
 * -EIO (nobody answers there); text in why. */
int keyholder_unseal(const char *socket_path, const void *passphrase, size_t len, char *why, size_t why_len);

#endif
