/* Transactions as the store itself makes them. The writer's mutex is held. */
#ifndef COFFER_STORE_CORE_TRANSACTION_INTERNAL_H
#define COFFER_STORE_CORE_TRANSACTION_INTERNAL_H
#include <stdbool.h>

struct store;
struct touched;

/* fresh: store_create's, without a head yet; the writer's mutex is held */
int transaction_begin(struct store *s, bool fresh);
int transaction_finish(struct store *s, struct touched *ret_touched);
void touched_free(void *touched); /* accepts NULL */
void transaction_abort(struct store *s);

/* A transaction of housekeeping: the writer's mutex is held, no transaction open, the store unlocked. fn changes rows;
 * what it changed is committed when it gives 0. */
int transaction_run(struct store *s, int (*fn)(struct store *s, void *arg), void *arg);
/* The end of a transaction whose work ended with r: committed, and who is touched forgotten; or taken back, and r. */
int transaction_settle(struct store *s, int r);

#endif
