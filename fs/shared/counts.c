#include "fs/shared/counts.h"

#include <stddef.h>

uint32_t counts_hash(uint64_t key, uint32_t mask) { return (uint32_t)((key * 0x9e3779b97f4a7c15u) >> 40) & mask; }

static struct count *slot_of(const struct counts *c, uint64_t key)
{
	uint32_t i = counts_hash(key, c->mask);

	while (c->slots[i].n != 0 && c->slots[i].key != key)
		i = (i + 1) & c->mask;
	return &c->slots[i];
}

uint32_t counts_of(const struct counts *c, uint64_t key) { return slot_of(c, key)->n; }

void counts_add(struct counts *c, uint64_t key, uint32_t n)
{
	struct count *slot = slot_of(c, key);

	slot->key = key;
	slot->n += n;
}

/* Removal closes the gap at once: a tombstone for each uid that was ever here would fill the table. */
void counts_drop(struct counts *c, uint64_t key)
{
	struct count *slot = slot_of(c, key);
	uint32_t gap, i;

	if (slot->n == 0 || --slot->n != 0)
		return;
	gap = i = (uint32_t)(slot - c->slots);
	for (;;) {
		i = (i + 1) & c->mask;
		if (c->slots[i].n == 0)
			return;
		uint32_t home = counts_hash(c->slots[i].key, c->mask);
		if (((i - home) & c->mask) < ((i - gap) & c->mask))
			continue; /* it would be moved in front of its home */
		c->slots[gap] = c->slots[i];
		c->slots[i].n = 0;
		gap = i;
	}
}

struct counts counts_moved(const struct counts *from, struct count *slots, uint32_t capacity)
{
	struct counts to = { .slots = slots, .mask = capacity - 1 };

	for (uint32_t i = 0; from->slots && i <= from->mask; i++)
		if (from->slots[i].n != 0)
			counts_add(&to, from->slots[i].key, from->slots[i].n);
	return to;
}
