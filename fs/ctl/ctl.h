/* Requests of .coffer/ctl: one line of JSON, at most CTL_LINE_MAX bytes, then raw bytes if it carries a value; answers
 * have the same form. contrib/doc/PROTOCOL.md is the contract. Everything here asks the same policy and writes the same
 * log as the file operations do. */
#ifndef COFFER_FS_CTL_CTL_H
#define COFFER_FS_CTL_CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/caller/caller.h"
#include "fs/shared/ctl_buffer.h"

struct audit;
struct keys;
struct sandbox_state;
struct secbuf;
struct store;

struct shared;
struct handles;
struct rotation;
struct backups;

/* What requests act on; borrowed. */
struct ctl_env {
	const char *vault; /* its name; NULL: the last part of the store's path */
	struct store *store;
	struct audit *audit;
	struct keys *keys;
	struct shared *shared;            /* process table, mount, store path: for status; may be NULL */
	struct callers *callers;          /* to see who holds a file; may be NULL */
	const struct sandbox_state *cell; /* of this process; NULL: nothing is known of protections */
	int proc_fd;                      /* with it: the root of a procfs that shows the daemon's processes */
	struct backups *backups;          /* being written; may be NULL: none are served */
	struct handles *handles;          /* for the number of open files in metrics; may be NULL */
	/* Commits, in a way that the bell is rung though this process may die before `changed`; NULL: store_commit. */
	int (*commit)(void *arg);
	/* After a commit: rings the bell for the touched secrets, wipes what lost its right. After seal and unseal too.
	 */
	void (*changed)(void *arg);
	/* A request that comes again was done already, perhaps by a worker that died before its names resolved: waits
	 * until they do. May be NULL. */
	void (*found)(void *arg);
	/* The vault was sealed / is to be unlocked with the keys at hand. 0 or negative errno. */
	int (*seal)(void *arg);
	/* As whom a program runs that names no user: 0, or a negative errno with a line in why. NULL: there is no
	 * runner. */
	int (*program_user)(void *arg, uint32_t *ret_user, char *why, size_t why_len);
	/* Would the runner run this command as that user? 0, or a negative errno with a line in why. NULL: there is no
	 * runner. */
	int (*program_check)(void *arg, const char *command, uint32_t user, char *why, size_t why_len);
	/* Runs a policy's program and takes the new value from it; blocks for as long as that may run. unique: the
	 * request that waits. Likewise. */
	int (*program_value)(void *arg, const struct rotation *rotation, const char *name, uint64_t unique,
			     struct secbuf **ret_value, char *why, size_t why_len);
	void *arg;
};

/* Records of one request beyond the first add their number above the request's, which is small: so a request that comes
 * again finds which of them were written. */
#define AUDIT_PART_SHIFT 40

struct ctl_request {
	const char *line; /* without the newline; not NUL-terminated */
	size_t len;
	uint64_t stage;     /* staged value bytes, 0: none came */
	uint64_t value_len; /* bytes in the stage */
	int value_error;    /* 0, or why not all of them are: negative errno */
	bool refused;       /* nothing was staged, for the policy refused it when the line came */
	uint64_t unique;    /* of the FUSE request, for the audit record */
	bool resent;
	/* may be NULL: how long the answer should be held back (denials beyond the rate); written only when there was a
	 * record */
	uint32_t *delay_ms;
};

/* What the line says of the value that follows: 0 and its length (0: none), or -EINVAL (-EFBIG: longer than any value,
 * or set of them, may be; -ENOMEM) with one line for the answer. Called when the newline has come, before any byte is
 * staged. */
int ctl_value_length(const char *line, size_t len, uint64_t *ret_len, char *why, size_t why_len);

/* May the caller store what the line announces, under each of its names, as the policy stands now? Nothing is recorded.
 */
bool ctl_may_stage(const struct ctl_env *env, const struct identity *who, const char *line, size_t len);

/* Carries the request out and makes the whole answer (malloc'd, a JSON line with its newline). 0, or -ENOMEM. Blocks on
 * the store and the key holder. Idempotent by request id. */
int ctl_execute(const struct ctl_env *env, const struct identity *who, const struct ctl_request *request,
		char **ret_answer, size_t *ret_len);

/* An answer that is an error without a request behind it (too long, abandoned, wrong process). */
int ctl_error_answer(int error, const char *message, char **ret_answer, size_t *ret_len);

/* The text of .coffer/whoami, status and metrics. malloc'd. status is filled even while sealed. 0 or negative errno. */
int text_whoami(const struct ctl_env *env, const struct identity *who, char **ret_text, size_t *ret_len);
int text_status(const struct ctl_env *env, char **ret_text, size_t *ret_len);
int text_metrics(const struct ctl_env *env, char **ret_text, size_t *ret_len);

#endif
