/* What was found out of a thread, before it becomes an identity; for the files that resolve callers. */
#ifndef COFFER_FS_CALLER_FINDINGS_H
#define COFFER_FS_CALLER_FINDINGS_H

#include "fs/caller/caller.h"
#include "fs/caller/resolver.h"

#define UNIT_MAX      256
#define CONTAINER_MAX 288
#define MAP_MAX       64 /* of the initial user namespace: one line of three numbers */

struct findings {
	uint32_t uid, gid;
	pid_t tid;
	struct proc_status status; /* groups owned */
	int64_t loginuid;
	bool cgroup_known, answered, full, host;
	char unit[UNIT_MAX], container[CONTAINER_MAX];
	struct resolver_answer answer;
	uint64_t neighbour;
	uint32_t owner;
	enum policy_account account;
	uint32_t *account_groups; /* owned */
	size_t n_account_groups;
};

/* ---- findings.c: reading /proc ---- */

int findings_open_thread(int proc_fd, pid_t tid); /* its directory, O_PATH; -1 and errno */
/* 0; -EBADMSG, -EFBIG (form), -ENOMEM, or what open and read say. Groups are malloc'd. */
int findings_read_status(int thread_fd, struct proc_status *ret_status);
void findings_read_cgroup(int thread_fd, struct findings *f);
int64_t findings_read_loginuid(int thread_fd); /* -1: none */
/* False: it could not be read, or is longer than the initial one's ever is. */
bool findings_read_map(int thread_fd, char ret[MAP_MAX]);
/* The kernel gives them sorted, but may give one twice. */
void findings_sort_groups(struct proc_status *s);

/* ---- identity.c ---- */

/* One reference; NULL: no memory. */
struct identity *identity_new(const struct findings *f);
/* What is compared of it, and where it comes from for the log. 0 or negative errno. */
int identity_digest(struct identity *i, const struct findings *f);
int identity_origin(struct identity *i);

#endif
