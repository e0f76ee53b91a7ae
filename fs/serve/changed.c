#include "fs/serve/changed.h"

#include "fs/common/log.h"
#include "fs/shared/test_hook.h"
#include "fs/serve/vault.h"
#include "store/core/follow.h"
#include "store/core/transaction.h"
#include "store/grants/grants.h"
#include "store/keys/keys.h"
#include "store/lifecycle/events.h"
#include "store/store.h"
#include "fs/serve/appear.h"

/* The last of the names that the commit made; 0: it made none. */
static uint32_t last_new(struct vault *v, uint32_t mark)
{
	uint32_t last = 0;

	for (uint32_t id = mark - 1; (id = store_touched_next(v->store, id));) {
		store_rdlock(v->store);
		const struct catalog_secret *s = store_get(v->store, id);
		if (s && !s->deleted)
			last = id;
		store_unlock_tables(v->store);
	}
	return last;
}

void vault_changed(struct vault *v, enum vault_rings rings)
{
	const uint32_t mark = appear_mark(v);

	/* whoever still has a right decrypts again: rights may have gone with this commit */
	plain_drop_all(v->plain);
	drops_hurry(v->drops);
	const uint32_t made = rings == RINGS_ALL && mark != UINT32_MAX ? last_new(v, mark) : 0;
	if (made)
		appear_wait(v, made);
	for (uint32_t id = 0; (id = store_touched_next(v->store, id));) {
		if (id < mark) /* of new ones it is rung with the name */
			vault_ring_secret(v, id, store_touched_serves(v->store, id), rings);
		drops_add(v->drops, inode_pack(&(struct inode){ .type = INODE_CURRENT, .secret = id }), DROPS_NO_SIZE);
	}
	vault_events_told(v);
	vault_owes_nothing();
}
