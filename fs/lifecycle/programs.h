/* The worker's side of the runner: programs under way, their new values, their results.
 *
 * One thread looks (programs_step); any thread may ask. A value goes from the program's pipe straight into locked
 * memory. A run whose runner has died, or that is over its time with no word, has failed; the runner's own deadline
 * comes first. */
#ifndef COFFER_FS_LIFECYCLE_PROGRAMS_H
#define COFFER_FS_LIFECYCLE_PROGRAMS_H

#include <poll.h>
#include <stdatomic.h>

#include "fs/helpers/runner.h"
#include "store/crypto/secbuf.h"

struct rotation;

enum program_owner { PROGRAM_OF_CALLER = 1, PROGRAM_OF_ROTATION, PROGRAM_OF_HOOK, PROGRAM_OF_ACCOUNT };

/* What came of it. Text is one line for a person. */
struct program_result {
	uint64_t subject, tag; /* as they were given */
	uint64_t cookie;       /* of the request that began the run: not ours, if another worker's was first */
	/* 0; -EPERM: not allowed; -ETIMEDOUT; -EPIPE: the runner died; -ECHILD: it failed; -ENODATA: it printed
	 * nothing; -EFBIG: too much */
	int error;
	char why[RUNNER_TEXT_MAX + 64];
	struct secbuf *value; /* the taker's to free; NULL: none was wanted, or error */
};

struct programs;
/* wake: eventfd of the thread that looks. pid: where the keeper writes the runner's pid. */
int programs_new(int runner_fd, int wake, const _Atomic int32_t *pid, struct programs **ret_programs);
/* Nobody will look any more: who waits gets -ECANCELED. */
void programs_close(struct programs *p);
void programs_free(struct programs *p); /* accepts NULL */

/* Starts a run; number and type of the request are filled in. value_max: bytes of a value, if one is wanted. 0;
 * -EAGAIN: too many are under way, or the runner takes nothing. */
int programs_start(struct programs *p, const struct runner_request *request, size_t value_max, enum program_owner owner,
		   uint64_t subject, uint64_t tag);
/* Asks for a run that a worker before us may have begun under the request's key: its result, or at once -ENOENT
 * (-EINVAL of a runner that is older than the question). */
int programs_resume(struct programs *p, const struct runner_request *request, enum program_owner owner,
		    uint64_t subject, uint64_t tag);
/* Asks for the groups of an account: the subject of the result is uid, its value what RUNNER_GROUPS promises. As
 * programs_start. */
int programs_groups(struct programs *p, uint32_t uid);
/* Would a start find no room now? Would a value by hand? */
bool programs_full(struct programs *p);
bool programs_by_hand_full(struct programs *p);
/* Is there one of this owner and subject, under way or with a result that was not taken? */
bool programs_busy(struct programs *p, enum program_owner owner, uint64_t subject);
/* Takes a result. False: there is none. */
bool programs_take(struct programs *p, enum program_owner owner, struct program_result *ret);

/* For the thread that looks: what to poll for (at most PROGRAMS_POLL), how long to wait at most (ms, -1: for ever), and
 * what to do after it. */
#define PROGRAMS_POLL 17
size_t programs_poll(struct programs *p, struct pollfd ret_fds[PROGRAMS_POLL], int *ret_wait_ms);
void programs_step(struct programs *p);

/* For others, who wait for it. */
#define PROGRAMS_BY_HAND      2
#define PROGRAMS_BY_HAND_FULL "others are being rotated by programs; try again when one of these has ended"
/* As whom a program runs that names no user. 0; -ENOENT (there is no such user), -EPERM, or that the runner did not
 * answer, with one line in why. */
int programs_default_user(struct programs *p, uint32_t *ret_user, char *why, size_t why_len);
int programs_check(struct programs *p, const char *command, uint32_t user, char *why, size_t why_len);
/* At most PROGRAMS_BY_HAND wait at a time, for each keeps a thread of the pool: -EAGAIN.
 * still (may be NULL) is called from time to time while it waits: a program may run for longer than anything else that
 * a request waits for. */
int programs_value(struct programs *p, const struct rotation *rotation, const char *name, uint32_t version,
		   size_t value_max, void (*still)(void *arg), void *arg, struct secbuf **ret_value, char *why,
		   size_t why_len);

#endif
