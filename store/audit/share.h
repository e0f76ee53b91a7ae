/* Whose the log is; with lock. */
#ifndef COFFER_STORE_AUDIT_SHARE_H
#define COFFER_STORE_AUDIT_SHARE_H
#include <stdbool.h>
#include <stdint.h>

struct audit;

/* Works out anew what shares are. */
void audit_share_look(struct audit *a);
/* Has the neighbour written its share? */
bool audit_share_over(struct audit *a, uint64_t neighbour);
void audit_share_add(struct audit *a, uint64_t neighbour, uint64_t bytes);
/* The one that has written most, and how many percent of a share; false: nobody anything. */
bool audit_share_heaviest(struct audit *a, uint64_t *ret_neighbour, uint32_t *ret_percent);
/* It is at least that heavy: what a file says. */
void audit_share_put(struct audit *a, uint64_t neighbour, int64_t due);

#endif
