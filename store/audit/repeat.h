/* What is allowed, again and again; with lock. */
#ifndef COFFER_STORE_AUDIT_REPEAT_H
#define COFFER_STORE_AUDIT_REPEAT_H

#include <stdbool.h>

#include "store/audit/fold.h"

/* AUDIT_WRITE, or counted and AUDIT_FOLDED. For what was allowed, to whom it is no act of an administrator. */
enum audit_fate audit_repeat_decide(struct audit *a, const struct audit_event *e);
int audit_repeat_flush(struct audit *a, bool all);

#endif
