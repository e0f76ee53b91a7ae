#include "fs/serve/seal.h"

#include <errno.h>
#include <stdio.h>

#include "fs/common/log.h"
#include "fs/shared/test_hook.h"
#include "fs/serve/vault.h"
#include "store/core/follow.h"
#include "store/core/transaction.h"
#include "store/grants/grants.h"
#include "store/keys/keys.h"
#include "store/lifecycle/events.h"
#include "store/store.h"

static int record_unseal(struct vault *v, int r)
{
	const struct audit_event e = { .operation = AUDIT_VAULT_UNSEAL,
				       .result = r ? AUDIT_ERROR : AUDIT_ALLOW,
				       .error = -r,
				       .privileged = true };

	if (audit_append(v->audit, &e, NULL)) {
		store_lock(v->store);
		return -EIO;
	}
	v->shared->keeper.unsealed = r == 0;
	return 0;
}

int vault_unlock(struct vault *v, char *why, size_t why_len)
{
	v->seals = v->shared->keeper.seals; /* before the key is asked for: a seal meanwhile counts */
	int r = store_unlock(v->store, v->keys, why, why_len);

	v->unlock_failed = r == -EBADMSG;
	v->keys_silent = r == -ETIMEDOUT;
	if (r == -ENOKEY || r == -ETIMEDOUT) /* no event yet: it is asked again */
		return r;
	if (v->active && record_unseal(v, r)) {
		snprintf(why, why_len, "the unsealing cannot be logged: make room where the log lies");
		return -EIO;
	}
	return r;
}

static void pass_over(uint32_t secret, void *arg)
{
	(void)secret;
	(void)arg;
}

int vault_stand_by(struct vault *v)
{
	if (!store_sealed(v->store) && v->seals != v->shared->keeper.seals)
		store_lock(v->store);
	return store_catch_up(v->store, pass_over, NULL);
}

void vault_take_over(struct vault *v)
{
	v->active = true;
	space_look(&v->space, v->shared->keeper.store);
	/* to the log, which worker has the key is no event */
	if (!store_sealed(v->store) && !v->shared->keeper.unsealed && record_unseal(v, 0))
		log_error("the unsealing cannot be logged: the vault stays sealed until there is room where the log "
			  "lies");
}

int vault_seal(struct vault *v)
{
	v->shared->keeper.seals++; /* first: whoever takes over from here on finds it */
	int r = keys_seal(v->keys);
	if (audit_flush(v->audit))
		log_warn("what the audit log has counted is not on the disk yet");
	/* our own keys go in any case: doubt means deny */
	store_lock(v->store);
	backups_drop(v->backups);
	plain_drop_all(v->plain);
	drops_hurry(v->drops);
	v->shared->keeper.unsealed = 0;
	return r;
}
