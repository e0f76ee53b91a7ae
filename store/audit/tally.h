/* Counting in place of writing; with lock. */
#ifndef COFFER_STORE_AUDIT_TALLY_H
#define COFFER_STORE_AUDIT_TALLY_H
#include <stdbool.h>
#include <stddef.h>

struct audit;
struct audit_event;
struct audit_tally;

/* After a takeover: what was being counted is counted, once; an entry whose record was written is not written again. */
void audit_fold_settle(struct audit *a);
/* One more in a tally, which belongs to folds or repeats at index: it and the request's name together, whoever is
 * killed meanwhile. */
void audit_count(struct audit *a, struct audit_tally *t, bool repeat, size_t index, const struct audit_event *e);
/* "folded, from … to …" */
void audit_fold_detail(const struct audit_tally *t, const char *more, char ret[128]);
/* Ends with the record of a tally, which is free then. */
int audit_tally_write(struct audit *a, const struct audit_event *e, struct audit_tally *t);

#endif
