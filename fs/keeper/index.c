/* What a process that is left behind has locked of the database. */
#include <errno.h>
#include <string.h>
#include <sys/fsuid.h>

#include "fs/keeper/children.h"
#include "fs/keeper/internal.h"
#include "store/keys/index.h"

void index_free(struct keeper *k)
{
	setfsuid(k->store.users.worker); /* the directory is the worker's, and the keeper may not pass over that */
	int r = index_put_aside(k->store.dir, k->store.lock);

	setfsuid(0);
	if (r == -EAGAIN)
		keeper_trouble(k,
			       "a command has the store open, and what a dead process locked of it stays locked until "
			       "the kernel lets that process go: where nothing can be written, start the daemon again");
	else if (r)
		keeper_trouble(k, "db/vault.db-shm, of which a dead process holds locks, cannot be removed: %s",
			       strerror(-r));
	else if (k->shared) /* before it is there, nobody has opened the database */
		atomic_fetch_add(&k->shared->keeper.indexes, 1);
}
