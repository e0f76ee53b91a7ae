/* When records are on the disk. */
#ifndef COFFER_STORE_AUDIT_DURABLE_H
#define COFFER_STORE_AUDIT_DURABLE_H
#include <stdint.h>

struct audit;

/* Until every record before seq is on the disk; lets go of the lock meanwhile. 0, -EIO. */
int audit_wait_durable(struct audit *a, uint64_t seq);
/* with lock, which it lets go of meanwhile: everything written, and the head file, are on the disk. 0, -EIO */
int audit_durable_point(struct audit *a);

#endif
