#include "fs/serve/record.h"

#include <errno.h>
#include <string.h>

#include "fs/common/log.h"
#include "fs/shared/test_hook.h"
#include "fs/serve/vault.h"
#include "store/core/follow.h"
#include "store/core/transaction.h"
#include "store/grants/grants.h"
#include "store/keys/keys.h"
#include "store/lifecycle/events.h"
#include "store/store.h"
#include "fs/common/clock.h"

/* Whoever administers the vault must be able to see that the log has no room, and what filled it; and to act. */
static bool of_weight(enum audit_operation operation)
{
	return operation == AUDIT_VAULT_STATUS || operation == AUDIT_AUDIT_READ || operation == AUDIT_SECRET_DELETE ||
	       operation == AUDIT_SECRET_RECOVER || operation == AUDIT_SECRET_PURGE;
}

enum patience vault_record_waits(const struct vault *v)
{
	return v->options && v->options->durability == AUDIT_DURABILITY_FDATASYNC ? WAITS_FOR_RESOLVER
										  : WAITS_FOR_NOTHING;
}

int vault_record(struct vault *v, const struct call *by, enum audit_operation operation, const struct verdict *verdict,
		 uint32_t *ret_delay_ms)
{
	int64_t now = clock_wall();
	char principal[PRINCIPAL_TEXT_MAX];
	const struct audit_event e = {
		.operation = operation,
		.result = verdict->error == 0 ? AUDIT_ALLOW
			  : verdict->decision == POLICY_ALLOW || verdict->error == ENOKEY || verdict->error == ETIMEDOUT
				  ? AUDIT_ERROR
				  : AUDIT_DENY,
		.error = verdict->error,
		.secret = verdict->name[0] ? verdict->name : NULL,
		.version = verdict->version,
		.caller = by->who ? &by->who->audit : NULL,
		.binding = verdict->binding,
		.role = verdict->binding ? verdict->role : NULL,
		.principal = verdict->binding && verdict->principal.n ? principal : NULL,
		.unique = by->unique,
		.resent = by->resent,
		.privileged = of_weight(operation) && !strcmp(verdict->role, "administrator"),
		.duration_us = now > by->began ? (uint32_t)((now - by->began) / 1000) : 0,
	};
	if (e.principal)
		principal_print(&verdict->principal, principal);
	if (e.result == AUDIT_DENY)
		atomic_fetch_add_explicit(&v->shared->denials, 1, memory_order_relaxed);
	if (verdict->binding)
		store_binding_used(v->store, verdict->binding, now);
	TEST_POINT("record-before", 0);
	int r = audit_append(v->audit, &e, ret_delay_ms);
	TEST_POINT("record-after", 0);
	if (r == -EDQUOT)
		log_caused(LOG_WARNING,
			   "uid %u is refused, for it and its neighbours have used up their share of the audit log, "
			   "which is full: coffer doctor says more",
			   e.caller->uid);
	return r ? -EIO : 0;
}
