#include <errno.h>
#include <string.h>

#include "fs/common/clock.h"
#include "fs/ctl/ctl.h"
#include "fs/ctl/internal.h"
#include "fs/shared/shared.h"
#include "policy/scope.h"
#include "store/core/requests.h"
#include "store/core/transaction.h"
#include "store/objects/stages.h"

int ctl_record(struct ctl *c, enum audit_result result, int error, bool again)
{
	int64_t us = (clock_monotonic() - c->started) / 1000;
	struct audit_event e = {
		.operation = c->operation ? c->operation : c->op->operation,
		.result = result,
		.error = error,
		.secret = c->secret,
		.version = c->version,
		.caller = &c->who->audit,
		.binding = c->binding,
		.role = c->role_name[0] ? c->role_name : NULL,
		.principal = c->principal[0] ? c->principal : NULL,
		.unique = c->request->unique ? c->request->unique + (c->part << AUDIT_PART_SHIFT) : 0,
		.resent = c->request->resent && !again,
		.duration_us = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us,
		.detail = c->detail[0] ? c->detail : NULL,
		.self_grant = c->self_grant,
		/* looking does not eat the reserve, but for the look that tells that the log is full */
		.privileged = c->role == ROLE_ADMINISTRATOR &&
			      (c->op->changes || c->op->operation == AUDIT_VAULT_STATUS),
	};
	uint32_t delay = 0;
	char command[256];
	int r = audit_append(c->env->audit, &e, &delay);

	if (r == 0 && c->request->delay_ms)
		*c->request->delay_ms = delay;
	if (r == -EDQUOT) {
		ctl_hint(c,
			 "who wrote how much of it, an administrator sees with: %s doctor; cofferd -o audit_keep=SIZE "
			 "makes it larger",
			 ctl_command(c, command, sizeof(command)));
		ctl_fail(c, EIO, "the audit log is full, and you have used up your share of it, so nothing was done");
	} else if (r < 0) {
		ctl_hint(c,
			 "make room for the log (STORE/audit); nothing is served that cannot be recorded; see "
			 "audit.failing of: %s status",
			 ctl_command(c, command, sizeof(command)));
		ctl_fail(c, EIO, "the audit log cannot be written (%s), so nothing was done", strerror(-r));
	}
	return r;
}
