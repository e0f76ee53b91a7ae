#include "fs/serve/name_change.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/serve/changed.h"
#include "fs/common/clock.h"
#include "fs/serve/record.h"
#include "store/core/requests.h"
#include "store/core/scrub.h"
#include "store/core/transaction.h"

/* The kernel sends a request again when a worker died on it: its own unique, within this mount, says whether it was
 * done. */
static struct request_key key_of(struct vault *v, const struct asker *asker, const struct name_change *c,
				 uint64_t unique)
{
	struct request_key key = { .uid = UINT32_MAX,
				   .user_ns = v->shared->audit_head.connection,
				   .neighbour = asker->neighbour };

	memcpy(key.id, c->verb, strnlen(c->verb, 8));
	memcpy(key.id + 8, &unique, sizeof unique);
	return key;
}

static void decide(struct vault *v, const struct asker *asker, const struct name_change *c, struct verdict *j)
{
	if (c->operation)
		vault_decide(v, asker_trusted(asker), c->action, c->name, j);
}

static int record(struct vault *v, const struct asker *asker, const struct name_change *c, const struct verdict *j,
		  uint64_t unique, bool resent, int64_t began)
{
	return c->operation ? vault_record(v, c->operation, asker->who, j, unique, resent, began, NULL) : 0;
}

/* *ret_promised: it is recorded as allowed, whatever came of it. */
static int carry_out(struct vault *v, const struct asker *asker, const struct name_change *c,
		     const struct request_key *key, const uint8_t digest[DIGEST_LEN], struct verdict *j,
		     uint64_t unique, bool resent, int64_t began, bool *ret_promised)
{
	int r = strcmp(j->role, "administrator") ? store_begin(v->store) : store_begin_privileged(v->store);
	if (r)
		return r;
	/* what was allowed before the wait for the transaction may have been revoked by the one before */
	decide(v, asker, c, j);
	r = -j->error;
	if (!r)
		r = c->run(v, c->name);
	if (!r)
		r = store_request_put(v->store, key, digest, "{}");
	if (!r)
		r = record(v, asker, c, j, unique, resent, began);
	if (r) {
		store_rollback(v->store);
		return r;
	}
	*ret_promised = true;
	r = vault_commit(v);
	if (!r)
		vault_names_moved(v);
	if (!r)
		vault_changed(v, c->rings ? RINGS_ALL : RINGS_NONE);
	return r;
}

int name_change(struct vault *v, const struct asker *asker, const struct name_change *c, uint64_t unique, bool resent)
{
	const int64_t began = clock_wall();
	const struct bytes parts[] = { { c->verb, strlen(c->verb) }, { c->name, strlen(c->name) } };
	const struct request_key key = key_of(v, asker, c, unique);
	uint8_t digest[DIGEST_LEN];
	struct verdict j = { 0 };
	bool promised = false;
	char *answer = NULL;
	int r;

	if (resent && asker->patience < WAITS_FOR_ALL)
		return -EAGAIN; /* the database knows whether it was done */
	r = sha256(parts, 2, digest);
	if (r)
		return r;
	if (resent && !store_request_find(v->store, &key, digest, &answer)) {
		free(answer);
		store_scrub(v->store); /* which the one before us may not have come to */
		return 0;
	}
	decide(v, asker, c, &j);
	r = !j.error && c->check ? c->check(v, c->name) : 0;
	if (r)
		return r;
	if (asker->patience < (j.error ? vault_record_waits(v) : WAITS_FOR_ALL))
		return -EAGAIN;
	vault_copy_name(j.name, sizeof j.name, c->name);
	r = j.error ? -j.error : carry_out(v, asker, c, &key, digest, &j, unique, resent, began, &promised);
	if (r) {
		j.error = -r;
		/* what takes a promise back is never the record that an earlier worker made of this request */
		record(v, asker, c, &j, unique, resent && !promised, began);
	}
	return r;
}
