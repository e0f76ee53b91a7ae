/* Changing the store: between begin and commit or rollback, on one thread. Errors: see store/store.h. */
#ifndef COFFER_STORE_CORE_TRANSACTION_H
#define COFFER_STORE_CORE_TRANSACTION_H
#include <stdbool.h>
#include <stdint.h>

struct store;

/* Blocks for other transactions; -ENOKEY while sealed; -ETIMEDOUT; -EBADMSG: what lies on disk is not what this process
 * or another holder of the key left (seal). Until it ends this thread must not call store_follow, store_lock,
 * store_pending_act_done or the calls for stages but store_stage_commit: each waits for the transaction. */
int store_begin(struct store *s);
/* The same for an administrator: if the disk is full, with room from the reserve (store/core/reserve.h). */
int store_begin_privileged(struct store *s);
int store_commit(struct store *s); /* 0: on disk and in the tables. Otherwise nothing changed */
void store_rollback(struct store *s);

/* The next of the secrets that this thread's last transaction touched, for the bell; 0: there is none. Valid after
 * store_commit until the thread's next store_begin. Of a transaction that touched thousands of them here and there it
 * may name some that were not, or are no secrets. */
uint32_t store_touched_next(const struct store *s, uint32_t after);
/* Did it change what this secret serves, and not only attributes, or a version that is not served? Too much rather than
 * too little. */
bool store_touched_serves(const struct store *s, uint32_t id);

#endif
