#include "fs/serve/vault.h"

#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "fs/common/clock.h"
#include "fs/common/log.h"
#include "fs/shared/test_hook.h"
#include "store/core/follow.h"
#include "store/core/transaction.h"
#include "store/grants/grants.h"
#include "store/keys/keys.h"
#include "store/lifecycle/events.h"
#include "store/store.h"

uint64_t vault_neighbour(const struct identity *who) { return who->neighbour; }

uint64_t vault_neighbour_guess(struct vault *v, uint32_t uid)
{
	return neighbours_guess(callers_neighbours(v->callers), uid);
}

static _Atomic uint64_t *known_place(struct vault *v, uint64_t neighbour)
{
	return &v->known[(neighbour * 0x9e3779b97f4a7c15u >> 32) % KNOWN_MAX];
}

bool vault_is_known(struct vault *v, uint64_t neighbour)
{
	return atomic_load_explicit(known_place(v, neighbour), memory_order_relaxed) == neighbour + 1;
}

void vault_note_known(struct vault *v, uint64_t neighbour)
{
	if (!vault_is_known(v, neighbour))
		atomic_store_explicit(known_place(v, neighbour), neighbour + 1, memory_order_relaxed);
}

bool vault_is_bell(const struct vault *v, uint32_t uid, pid_t tid)
{
	const int32_t bell = v->shared->keeper.bell;
	char path[48];
	struct stat st;

	if (uid != v->shared->keeper.bell_uid || tid <= 0 || bell <= 0)
		return false;
	if (tid == bell)
		return true;
	snprintf(path, sizeof path, "%d/task/%d", (int)bell, (int)tid);
	return v->proc_fd > 0 && fstatat(v->proc_fd, path, &st, 0) == 0; /* takes no lock of anybody's */
}

void vault_names_moved(struct vault *v)
{
	const int64_t now = clock_wall();
	int64_t before = vault_names_time(v);
	const int64_t next = now > before ? now : before + 1;

	before = atomic_load(&v->shared->names_moved);
	while (before < next && !atomic_compare_exchange_weak(&v->shared->names_moved, &before, next))
		;
}

int64_t vault_names_time(const struct vault *v)
{
	const int64_t moved = atomic_load(&v->shared->names_moved), started = v->shared->keeper.started;

	return moved > started ? moved : started;
}
