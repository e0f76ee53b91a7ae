/* When what is due: one time for each secret, in a heap. Not locked: one thread owns it. */
#ifndef COFFER_FS_LIFECYCLE_SCHEDULE_H
#define COFFER_FS_LIFECYCLE_SCHEDULE_H

#include <stdint.h>

struct schedule;
int schedule_new(struct schedule **ret_schedule);
void schedule_free(struct schedule *s); /* accepts NULL */
void schedule_clear(struct schedule *s);

/* at INT64_MAX: never. 0 or -ENOMEM. O(log n). */
int schedule_set(struct schedule *s, uint32_t secret, int64_t at);
/* The next time, INT64_MAX: none. */
int64_t schedule_next(const struct schedule *s);
/* The secret whose time has come by `now`, which it leaves; 0: none. */
uint32_t schedule_pop(struct schedule *s, int64_t now);

#endif
