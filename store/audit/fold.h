/* Floods of what is refused; with lock. */
#ifndef COFFER_STORE_AUDIT_FOLD_H
#define COFFER_STORE_AUDIT_FOLD_H
#include <stdbool.h>
#include <stdint.h>

struct audit;
struct audit_event;

enum audit_fate { AUDIT_WRITE = 0, AUDIT_FOLDED, AUDIT_KNOWN, AUDIT_REFUSED };
enum audit_fate audit_fold_decide(struct audit *a, const struct audit_event *e, uint32_t *ret_delay_ms);
/* Writes entries that are due, or all; lets go of the lock in between. The first error. */
int audit_fold_flush(struct audit *a, bool all);

#endif
