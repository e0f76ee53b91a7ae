/* How many of each key there are: open addressing with linear probing, in memory that its owner gives and keeps less
 * than half full. No lock: its owner has one. */
#ifndef COFFER_FS_SHARED_COUNTS_H
#define COFFER_FS_SHARED_COUNTS_H

#include <stdint.h>

struct count {
	uint64_t key;
	uint32_t n; /* 0: empty */
};
struct counts {
	struct count *slots;
	uint32_t mask;
};

/* Of a table with mask + 1 places, a power of two. */
uint32_t counts_hash(uint64_t key, uint32_t mask);
uint32_t counts_of(const struct counts *c, uint64_t key);
void counts_add(struct counts *c, uint64_t key, uint32_t n);
void counts_drop(struct counts *c, uint64_t key); /* one less */
/* All that is in `from`, in slots (zeroed, capacity of them, a power of two). */
struct counts counts_moved(const struct counts *from, struct count *slots, uint32_t capacity);

#endif
