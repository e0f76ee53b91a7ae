#include "fs/serve/decide.h"

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

void vault_copy_name(char *ret, size_t room, const char *name)
{
	size_t n = strnlen(name, room - 1);
	memcpy(ret, name, n);
	ret[n] = '\0';
}

#define ACCOUNT_STANDS_NS INT64_C(60000000000)

void vault_decide_locked(struct vault *v, const struct identity *who, enum action action, const char *name,
			 struct verdict *ret_verdict)
{
	struct policy_answer a = { 0 };

	ret_verdict->epoch = store_epoch(v->store);
	ret_verdict->binding = 0;
	ret_verdict->valid_until = 0;
	ret_verdict->decision = POLICY_DENY;
	ret_verdict->error = EACCES;
	if (store_sealed(v->store)) {
		ret_verdict->error = v->keys_silent ? ETIMEDOUT : ENOKEY;
		return;
	}
	if (!who)
		return;
	const struct policy *p = store_policy(v->store);
	policy_decide(p, &who->policy, action, name, clock_wall(), &a);
	ret_verdict->decision = a.decision;
	if (a.decision != POLICY_ALLOW)
		return;
	const struct role *role = policy_role(p, a.role);
	const struct binding *binding = policy_binding(p, a.binding);
	if (binding)
		ret_verdict->principal = binding->principal;
	ret_verdict->error = 0;
	ret_verdict->binding = a.binding;
	ret_verdict->valid_until = a.valid_until;
	/* an account's groups change without a word to us */
	if (who->policy.account != POLICY_ACCOUNT_OWN && policy_has_blocks(p) &&
	    clock_wall() + ACCOUNT_STANDS_NS < a.valid_until)
		ret_verdict->valid_until = clock_wall() + ACCOUNT_STANDS_NS;
	vault_copy_name(ret_verdict->role, sizeof ret_verdict->role, role ? role->name : "");
}

void vault_decide(struct vault *v, const struct identity *who, enum action action, const char *name,
		  struct verdict *ret_verdict)
{
	store_rdlock(v->store);
	vault_decide_locked(v, who, action, name, ret_verdict);
	store_unlock_tables(v->store);
}

bool vault_may_any(struct vault *v, const struct identity *who, enum verb verb)
{
	return who && !store_sealed(v->store) &&
	       kinds_may_any(store_policy(v->store), &who->policy, verb, clock_wall());
}

bool vault_is_administrator(struct vault *v, const struct identity *who)
{
	struct verdict j = { 0 };

	if (!who)
		return false;
	if (who->host && who->uid == 0)
		return true;
	vault_decide(v, who, ACTION_BINDINGS_CREATE, NULL, &j);
	return !j.error && j.decision == POLICY_ALLOW;
}
