/* Acts of offline commands that the owner of the log has yet to record (break-glass beside a running daemon). */
#ifndef COFFER_STORE_CORE_ACTS_H
#define COFFER_STORE_CORE_ACTS_H
#include <stdint.h>

struct store;

int store_pending_act_add(struct store *s, const char *act_json); /* in the transaction */
int store_pending_acts(struct store *s, int (*fn)(uint64_t id, const char *act_json, void *arg), void *arg);
int store_pending_act_done(struct store *s, uint64_t id);

#endif
