#include <errno.h>
#include <string.h>

#include "fs/lifecycle/lookups.h"
#include "fs/lifecycle/programs.h"

/* "how many" u32, and each: from a process that ran foreign code. */
static void account_ended(struct vault *v, struct program_result *result)
{
	const size_t len = result->value ? secbuf_len(result->value) : 0;
	uint32_t groups[ACCOUNT_GROUPS_MAX + 1];
	int error = result->error;

	if (!error && (len < sizeof groups[0] || len > sizeof groups))
		error = -EBADMSG;
	if (!error) {
		memcpy(groups, secbuf_cdata(result->value), len);
		error = groups[0] == len / sizeof groups[0] - 1 && len % sizeof groups[0] == 0 ? 0 : -EBADMSG;
	}
	accounts_found(v->accounts, (uint32_t)result->subject, error, groups + 1, error ? 0 : groups[0]);
	result->value = secbuf_free(result->value);
}

void lookups_step(struct vault *v, struct programs *programs)
{
	struct program_result result;
	uint32_t uid;
	int r;

	while (programs_take(programs, PROGRAM_OF_ACCOUNT, &result))
		account_ended(v, &result);
	while (!programs_full(programs) && accounts_next(v->accounts, &uid)) {
		r = programs_groups(programs, uid);
		if (r < 0)
			accounts_found(v->accounts, uid, r, NULL, 0);
	}
}
