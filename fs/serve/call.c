#include "fs/serve/call.h"

#include <errno.h>

#include "fs/common/log.h"

int call_identify(struct vault *v, struct call *call)
{
	const char *why = NULL;

	call->doubt = false;
	call->who = caller_cached(v->callers, call->uid, call->gid, call->tid);
	if (!call->who) {
		if (call->patience < WAITS_FOR_RESOLVER)
			return -EAGAIN;
		if (caller_resolve(v->callers, call->uid, call->gid, call->tid, &call->who, &why)) {
			call->doubt = true;
			log_caused(LOG_WARNING, "caller %d (uid %u) is in doubt: %s", (int)call->tid, call->uid,
				   why ? why : "memory is short");
		}
	}
	call->neighbour = call->who && !call->doubt ? vault_neighbour(call->who) : vault_neighbour_guess(v, call->uid);
	return 0;
}

bool call_had_answer(struct vault *v, const struct call *call)
{
	pid_t tgid;

	return call->resent && !v->shared->keeper.resend && call->doubt && call->tid > 0 &&
	       caller_tgid(v->callers, call->tid, &tgid) != 0;
}

void call_release(struct call *call)
{
	identity_unref(call->who);
	call->who = NULL;
}
