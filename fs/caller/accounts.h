/* Which groups are the user's in whose name a process runs? In a user namespace a process gives up the groups that it
 * came with (setgroups(2)); its user's account keeps them, and a block of a group is asked of these as well
 * (policy/block.h).
 *
 * The worker cannot look an account up, for a name service is foreign code and opens files and sockets: the runner does
 * (RUNNER_GROUPS). Here is what it found. What was not looked up is not known, and a block may then refuse who is not
 * meant; so callers may wait a moment for the first look at their user, one at a time. */
#ifndef COFFER_FS_CALLER_ACCOUNTS_H
#define COFFER_FS_CALLER_ACCOUNTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/principal.h"

#define ACCOUNT_GROUPS_MAX 4096u /* of an account with more nothing is known */

struct accounts;
/* wake: called, from any thread, when there is something to look up. */
int accounts_new(void (*wake)(void *arg), void *arg, struct accounts **ret_accounts);
void accounts_free(struct accounts *a); /* accepts NULL */

/* POLICY_ACCOUNT_KNOWN: *ret_groups, malloc'd, ascending, without duplicates (NULL for none). POLICY_ACCOUNT_UNKNOWN:
 * it is being looked up, or cannot be. What is older than a minute is looked up again while it goes on to be believed,
 * for ten minutes. may_wait: at most ACCOUNT_WAIT_MS for a first look, unless another thread waits. */
#define ACCOUNT_WAIT_MS 200
enum policy_account accounts_groups(struct accounts *a, uint32_t uid, bool may_wait, uint32_t **ret_groups,
				    size_t *ret_n);

/* For who looks up: the next uid. False: there is none. */
bool accounts_next(struct accounts *a, uint32_t *ret_uid);
/* What came of it. error: negative errno; what was known before stays so for its time. groups are in any order. */
void accounts_found(struct accounts *a, uint32_t uid, int error, const uint32_t *groups, size_t n);

#endif
