/* Who is asking: from a FUSE request's header to an identity that policy and audit can use (FUSE-level facts: header
 * uid and gid are fsuid and fsgid; pid is a thread id).
 *
 * Doubt is denial: pid 0, a kernel thread, a header that does not agree with /proc/<tid>/status (overlayfs and io_uring
 * personalities send somebody else's credentials), a status that cannot be read or is cut short. While a request is
 * unanswered its thread cannot go away, so reading /proc/<tid> before the reply is not racy. */
#ifndef COFFER_FS_CALLER_CALLER_H
#define COFFER_FS_CALLER_CALLER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/shared/handle.h"
#include "fs/caller/accounts.h"
#include "fs/caller/neighbour.h"
#include "policy/principal.h"
#include "store/audit/record.h"

#define CALLER_CACHE_MS 50 /* setgroups() changes groups in place */

struct identity {
	_Atomic uint32_t refs;
	uint32_t uid, gid; /* fsuid, fsgid */
	pid_t tid, tgid;
	/* of the thread group leader, clock ticks; 0: not known (only `shallow` asked) */
	uint64_t start_time;
	uint64_t user_ns, pid_ns, mnt_ns; /* 0: not known */
	bool host;                        /* established, outside every container */
	uint64_t neighbour;               /* whose share it uses: fs/caller/neighbour.h */
	uint32_t owner;                   /* the user of the machine whose process it is; OWNER_UNKNOWN */
	bool full;                        /* resolver asked: exe, namespaces, start_time are there */
	/* of uid, gid, groups, unit, container, namespaces, host, owner: "another identity" is another digest */
	uint8_t digest[IDENTITY_DIGEST];
	struct policy_caller policy; /* groups point into this block */
	struct audit_caller audit;   /* rendered; strings point into this block */
};

struct callers;

struct callers_config {
	int proc_fd;               /* root of a procfs, O_DIRECTORY: the private one, or /proc */
	int resolver_fd;           /* socket of the resolver (ownership passes), or -1: nothing is host, no exe */
	bool no_host;              /* the daemon is in a container itself */
	struct accounts *accounts; /* the caller's; NULL: no account is known */
};
int callers_new(const struct callers_config *config, struct callers **ret_callers);
void callers_free(struct callers *c);

/* From the cache only: never blocks, reads at most a poll of a pidfd. NULL: not cached, or stale, or the process is
 * gone. Release with identity_unref. */
struct identity *caller_cached(struct callers *c, uint32_t uid, uint32_t gid, pid_t tid);

/* Reads /proc and asks the resolver (again every 500 ms, for 4 s; without an answer the identity is not host, has no
 * exe, `full` is false, and it is not cached), and caches. For any operation but FLUSH: it would hang on the caller's
 * exec lock there. 0, or -EACCES: in doubt, and *ret_why is a static word for the log ("kernel thread", "pid 0",
 * "credentials differ", …). *ret_identity is then a minimal one with the header's uid, gid and pid for the audit record
 * (never to be asked of the policy), or NULL when memory is short. */
int caller_resolve(struct callers *c, uint32_t uid, uint32_t gid, pid_t tid, struct identity **ret_identity,
		   const char **ret_why);

/* Whose share a thread of root's most likely uses: its container's, by its cgroup, or root's. Asks nobody; but the
 * kernel may be changing cgroups. */
uint64_t caller_guess_root(struct callers *c, pid_t tid);

/* What is known of uids before their threads were looked at: for as long as c lives. */
struct neighbours *callers_neighbours(struct callers *c);
/* Asks the resolver for the table of subordinate uids where it is another one than is known; waits for so long at most,
 * and asks once a second. For one thread at a time, which may wait. */
#define CALLERS_FOLLOW_MS 100
#define CALLERS_FIRST_MS  1000 /* before anybody is served */
void callers_follow(struct callers *c, int wait_ms);

/* The thread group of tid, from status alone: safe at FLUSH. 0 or -ESRCH. */
int caller_tgid(struct callers *c, pid_t tid, pid_t *ret_tgid);

struct identity *identity_ref(struct identity *i);
void identity_unref(struct identity *i); /* accepts NULL */

/* Pure parsers, for tests and fuzzing. cgroup: v1 and v2 text of /proc/<tid>/cgroup; fills unit (systemd unit or "")
 * and container ("<runtime>:<id>" or "") from whole path components of known runtimes (docker, podman/libpod, crio,
 * containerd, kubepods, lxc, systemd-nspawn machine.slice); any unknown nesting below them still counts as that
 * container. */
struct proc_status {
	uint32_t uid[4], gid[4]; /* real, effective, saved, fs */
	pid_t tgid, ppid;
	uint32_t n_groups;
	uint32_t *groups; /* malloc'd */
	uint32_t n_nspid;
	bool kthread;
	char comm[64];
};
/* 0 or -EBADMSG; the Kthread: line is used where the kernel has it */
int proc_status_parse(const char *text, size_t len, struct proc_status *ret_status);
void proc_cgroup_parse(const char *text, size_t len, char *ret_unit, size_t unit_len, char *ret_container,
		       size_t container_len);

#endif
