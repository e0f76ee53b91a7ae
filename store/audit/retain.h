/* Is the directory as it was left; and what goes by retention. */
#ifndef COFFER_STORE_AUDIT_RETAIN_H
#define COFFER_STORE_AUDIT_RETAIN_H
#include <stdint.h>

struct audit;

/* The oldest segment as the open one's first record has it, for a head that does not say. */
uint32_t audit_oldest_of_before(struct audit *a);
/* Without lock, from the ticking thread: is the directory as it was left? What is not is recorded. */
void audit_look(struct audit *a);
/* Likewise: what is to go by retention is recorded, and then removed. */
void audit_retention(struct audit *a);

#endif
