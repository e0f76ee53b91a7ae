#include "fs/serve/name_change.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/serve/changed.h"
#include "fs/common/clock.h"
#include "fs/serve/record.h"
#include "store/core/requests.h"
#include "store/core/scrub.h"
#include "store/core/tables.h"
#include "store/core/transaction.h"

/* The kernel sends a request again when a worker died on it: its own unique, within this mount, says whether it was
 * done. */
static struct request_key key_of(struct vault *v, const struct call *call, const struct name_change *c)
{
	struct request_key key = { .uid = UINT32_MAX,
				   .user_ns = v->shared->audit_head.connection,
				   .neighbour = call->neighbour };

	memcpy(key.id, c->request, strnlen(c->request, 8));
	memcpy(key.id + 8, &call->unique, sizeof call->unique);
	return key;
}

/* *ret_operation: as what it is recorded. */
static void decide(struct vault *v, const struct call *call, const struct name_change *c, struct verdict *j,
		   enum audit_operation *ret_operation)
{
	if (c->own)
		return;
	store_rdlock(v->store);
	const struct catalog_secret *s = c->deleted ? store_find_deleted(v->store, c->name)
						    : store_find(v->store, c->name);
	*ret_operation = kind_operation(s, c->verb);
	vault_decide_locked(v, call_trusted(call), kind_action(s, c->verb), c->name, j);
	store_unlock_tables(v->store);
}

static int record(struct vault *v, const struct call *call, enum audit_operation operation, const struct verdict *j)
{
	return operation ? vault_record(v, call, operation, j, NULL) : 0;
}

/* *ret_promised: it is recorded as allowed, whatever came of it. */
static int carry_out(struct vault *v, const struct call *call, const struct name_change *c,
		     const struct request_key *key, const uint8_t digest[DIGEST_LEN], struct verdict *j,
		     bool *ret_promised)
{
	enum audit_operation operation = 0;
	int r = strcmp(j->role, "administrator") ? store_begin(v->store) : store_begin_privileged(v->store);
	if (r)
		return r;
	/* what was allowed before the wait for the transaction may have been revoked by the one before */
	decide(v, call, c, j, &operation);
	r = -j->error;
	if (!r)
		r = c->run(v, c->name);
	if (!r)
		r = store_request_put(v->store, key, digest, "{}");
	if (!r)
		r = record(v, call, operation, j);
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

int name_change(struct vault *v, const struct call *call, const struct name_change *c)
{
	const struct bytes parts[] = { { c->request, strlen(c->request) }, { c->name, strlen(c->name) } };
	const struct request_key key = key_of(v, call, c);
	uint8_t digest[DIGEST_LEN];
	enum audit_operation operation = 0;
	struct verdict j = { 0 };
	bool promised = false;
	char *answer = NULL;
	int r;

	if (call->resent && call->patience < WAITS_FOR_ALL)
		return -EAGAIN; /* the database knows whether it was done */
	r = sha256(parts, 2, digest);
	if (r)
		return r;
	if (call->resent && !store_request_find(v->store, &key, digest, &answer)) {
		free(answer);
		store_scrub(v->store); /* which the one before us may not have come to */
		return 0;
	}
	decide(v, call, c, &j, &operation);
	r = !j.error && c->check ? c->check(v, c->name) : 0;
	if (r)
		return r;
	if (call->patience < (j.error ? vault_record_waits(v) : WAITS_FOR_ALL))
		return -EAGAIN;
	vault_copy_name(j.name, sizeof j.name, c->name);
	r = j.error ? -j.error : carry_out(v, call, c, &key, digest, &j, &promised);
	if (r) {
		j.error = -r;
		/* what takes a promise back is never the record that an earlier worker made of this request */
		struct call failed = *call;
		failed.resent = call->resent && !promised;
		record(v, &failed, operation, &j);
	}
	return r;
}
