/* Which version an open value shows: the word `shown` of its entry (fs/shared/handle.h), changed without a lock by who
 * reads. */
#include "fs/shared/handle.h"

/* Bits 63 and 62: it was read to its end; somebody has begun to read. 61..32: the version; 31..0: its size. */
#define ENDED (UINT64_C(1) << 63)
#define BEGUN (UINT64_C(1) << 62)

static struct handle_shown unpack(uint64_t word)
{
	return (struct handle_shown){ .version = (uint32_t)(word >> 32) & 0x3fffffffu,
				      .size = (uint32_t)word,
				      .begun = word & BEGUN,
				      .ended = word & ENDED };
}

static uint64_t pack(uint32_t version, uint32_t size) { return (uint64_t)version << 32 | size; }

struct handle_shown handle_shown(const struct handle *e)
{
	return unpack(atomic_load_explicit(&e->shown, memory_order_acquire));
}

void handle_show(struct handle *e, uint32_t version, uint32_t size)
{
	atomic_store_explicit(&e->shown, pack(version, size), memory_order_release);
}

struct handle_shown handle_begin(struct handle *e)
{
	uint64_t word = atomic_load_explicit(&e->shown, memory_order_acquire);

	if (!(word & BEGUN))
		word = atomic_fetch_or(&e->shown, BEGUN);
	return unpack(word);
}

void handle_end(struct handle *e)
{
	if (!handle_shown(e).ended)
		atomic_fetch_or(&e->shown, ENDED);
}

bool handle_show_again(struct handle *e, uint32_t version, uint32_t size, uint32_t *ret_before)
{
	uint64_t word = atomic_load_explicit(&e->shown, memory_order_acquire);

	if ((word & BEGUN) || !atomic_compare_exchange_strong(&e->shown, &word, pack(version, size)))
		return false;
	*ret_before = unpack(word).version;
	return true;
}
