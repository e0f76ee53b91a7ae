/* What the files of this folder share. */
#ifndef COFFER_FS_WORKER_INTERNAL_H
#define COFFER_FS_WORKER_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/process/control.h"
#include "fs/process/role.h"
#include "fs/serve/heap.h"
#include "fs/serve/vault.h"
#include "store/keys/vaultconf.h"

#define TICK_MS 250

struct lifecycle;
struct session;

struct worker {
	const struct role_args *args;
	struct vault vault;
	struct session *session;
	struct vaultconf conf;
	char host[65];
	pthread_mutex_t control_lock;
	pthread_t ticker, log_ticker;
	bool ticking, log_ticking;
	int segment_fd;    /* of the log, which came with the word to act; -1: none */
	uint32_t segment;  /* its number */
	bool store_is_old; /* its schema is brought up to date when nobody else serves from it any more */
	uint32_t index;    /* how often it was put aside before the store was opened */
	int wake[2];
	int linger_fd; /* eventfd: there is plaintext in the pool */
	struct lifecycle *lifecycle;
	struct heap heap;
	bool unmounted; /* the kernel ended the connection */
};

/* ---- keeper.c: what is said to the keeper ---- */

/* Says why this worker cannot serve, to the keeper and so to whoever started the daemon. status is an exit status.
 * -EIO. */
int worker_fatal(struct worker *w, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* What the keeper says to m: 0 or its error. ret_fd may be NULL. */
int worker_ask_keeper(struct worker *w, const struct control_message *m, struct control_message *ret_answer,
		      int *ret_fd);

/* ---- cell.c: what it may use ---- */

/* As root: what needs it; then gives root up, and all that the cell does not have. 0, or -EIO, and the keeper knows
 * why. */
int worker_enter(struct worker *w);

/* ---- log.c ---- */

/* Takes the log over. 0, or -EIO, and the keeper knows why. */
int worker_open_log(struct worker *w);

/* ---- given_up.c: requests that workers died on; for the session, whose userdata is the vault ---- */

uint32_t worker_given_up(void *userdata, const struct fuse_in_header *in);
void worker_lost(void *userdata, const struct fuse_in_header *in, size_t len);

/* ---- ticks.c: what happens by itself, in the active worker ---- */

/* Two threads, which end when wake can be read. 0 or negative errno: worker_stop_ticks joins those that run. */
int worker_start_ticks(struct worker *w);
void worker_stop_ticks(struct worker *w);

#endif
