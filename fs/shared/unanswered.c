#include "fs/shared/unanswered.h"

#include <stddef.h>

#include "fs/common/clock.h"
#include "fs/shared/shared.h"

void unanswered_begin(struct unanswered *u, uint32_t slot, uint64_t unique)
{
	atomic_store_explicit(&u->at[slot].began, clock_coarse_ms(), memory_order_relaxed);
	atomic_store_explicit(&u->at[slot].unique, unique, memory_order_release);
}

void unanswered_end(struct unanswered *u, uint32_t slot)
{
	atomic_store_explicit(&u->at[slot].began, 0, memory_order_relaxed);
	atomic_store_explicit(&u->at[slot].unique, 0, memory_order_release);
}

void unanswered_began(struct unanswered *u, uint64_t unique, uint32_t when)
{
	for (size_t i = 0; unique && i < UNANSWERED_THREADS; i++)
		if (atomic_load_explicit(&u->at[i].unique, memory_order_relaxed) == unique)
			atomic_store_explicit(&u->at[i].began, when | 1, memory_order_relaxed);
}

/* The count never is too small: who is killed in between leaves one too many, which costs a look. */
void unanswered_wait(struct unanswered *u, uint64_t unique)
{
	for (size_t i = 0; i < UNANSWERED_WAITING; i++)
		if (atomic_load(&u->waiting[i]) == unique)
			return;
	atomic_fetch_add(&u->n_waiting, 1);
	for (size_t i = 0; i < UNANSWERED_WAITING; i++) {
		uint64_t none = 0;
		if (atomic_compare_exchange_strong(&u->waiting[i], &none, unique))
			return;
	}
	atomic_store(&u->waiting[atomic_fetch_add(&u->next, 1) % UNANSWERED_WAITING], unique);
	atomic_fetch_sub(&u->n_waiting, 1);
}

void unanswered_waits_no_more(struct unanswered *u, uint64_t unique)
{
	if (!atomic_load_explicit(&u->n_waiting, memory_order_acquire))
		return;
	for (size_t i = 0; i < UNANSWERED_WAITING; i++) {
		uint64_t it = unique;
		if (atomic_compare_exchange_strong(&u->waiting[i], &it, 0))
			atomic_fetch_sub(&u->n_waiting, 1);
	}
}

bool unanswered_has(const struct unanswered *u, uint64_t unique)
{
	for (size_t i = 0; i < UNANSWERED_THREADS; i++)
		if (atomic_load_explicit(&u->at[i].unique, memory_order_acquire) == unique)
			return true;
	if (!atomic_load_explicit(&u->n_waiting, memory_order_acquire))
		return false;
	for (size_t i = 0; i < UNANSWERED_WAITING; i++)
		if (atomic_load_explicit(&u->waiting[i], memory_order_acquire) == unique)
			return true;
	return false;
}

void unanswered_worker_died(struct unanswered *u, void (*blame)(void *arg, uint64_t unique), void *arg)
{
	for (uint32_t i = 0; i < UNANSWERED_THREADS; i++) {
		const uint64_t unique = atomic_load(&u->at[i].unique);
		if (unique && blame)
			blame(arg, unique);
		else if (unique)
			unanswered_wait(u, unique);
		unanswered_end(u, i);
	}
}
