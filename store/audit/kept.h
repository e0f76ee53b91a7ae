/* Shares that outlive the daemon's memory; without lock. */
#ifndef COFFER_STORE_AUDIT_KEPT_H
#define COFFER_STORE_AUDIT_KEPT_H
#include <stdbool.h>

struct audit;

void audit_shares_load(struct audit *a);
void audit_shares_save(struct audit *a, bool at_once);

#endif
