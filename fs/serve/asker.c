#include <errno.h>

#include "fs/serve/access.h"
#include "fs/serve/attr.h"
#include "fs/serve/holds.h"
#include "fs/common/log.h"
#include "fs/serve/made.h"
#include "fs/serve/measure.h"
#include "fs/serve/staged.h"
#include "store/core/tables.h"
#include "store/lifecycle/events.h"
#include "store/objects/objects.h"

int asker_identify(struct vault *v, uint32_t uid, uint32_t gid, pid_t tid, enum patience patience,
		   struct asker *ret_asker)
{
	struct asker a = { .uid = uid, .gid = gid, .tid = tid, .patience = patience };
	const char *why = NULL;

	a.who = caller_cached(v->callers, uid, gid, tid);
	if (!a.who) {
		if (patience < WAITS_FOR_RESOLVER)
			return -EAGAIN;
		if (caller_resolve(v->callers, uid, gid, tid, &a.who, &why)) {
			a.doubt = true;
			log_caused(LOG_WARNING, "caller %d (uid %u) is in doubt: %s", (int)tid, uid,
				   why ? why : "memory is short");
		}
	}
	a.neighbour = a.who && !a.doubt ? vault_neighbour(a.who) : vault_neighbour_guess(v, uid);
	*ret_asker = a;
	return 0;
}

bool asker_had_answer(struct vault *v, const struct asker *a, bool resent)
{
	pid_t tgid;

	return resent && !v->shared->keeper.resend && a->doubt && a->tid > 0 &&
	       caller_tgid(v->callers, a->tid, &tgid) != 0;
}

void asker_release(struct asker *a)
{
	identity_unref(a->who);
	a->who = NULL;
}
