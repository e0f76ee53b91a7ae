/* The resolver: a process with CAP_SYS_PTRACE and nothing else, which answers what /proc shows only to the powerful: a
 * thread's namespaces and where they come from, and its executable. It also reads /etc/subuid, which a worker cannot.
 * Protocol: SOCK_SEQPACKET, one fixed-size question, one answer with the same number. */
#ifndef COFFER_FS_CALLER_RESOLVER_H
#define COFFER_FS_CALLER_RESOLVER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/caller/ancestry.h"
#include "fs/caller/neighbour.h"
#include "fs/caller/subuid.h"

#define RESOLVER_EXE_MAX     512
#define RESOLVER_DEADLINE_MS 500  /* of one question */
#define RESOLVER_RETRY_MS    4000 /* of a caller who asks again when he gets no answer */

enum resolver_kind { RESOLVER_THREAD = 0, RESOLVER_RANGES };
/* RANGES: the table of subordinate uids, from range number `from` on. */
struct resolver_question {
	uint64_t number;
	int32_t tid;
	uint32_t uid; /* of the caller */
	uint32_t kind, from;
};
struct resolver_answer {
	uint64_t number;
	int32_t error; /* 0 or negative errno; what could be read is still there */
	/* 1: init_* below are the init process's namespaces and this process is not in a container */
	uint32_t init_known;
	uint64_t user_ns, pid_ns, mnt_ns, start_time;
	uint64_t init_user_ns, init_pid_ns, init_mnt_ns;
	uint64_t own_mnt_ns; /* the resolver's own, which is the init process's or stands in for it */
	struct ancestry ancestry;
	struct subordinate of_uid, of_owner;  /* of the question's uid; of ancestry.owner */
	uint32_t table, n_ranges, all_ranges; /* RANGES: the table's number, how many are here, how many there are */
	union {
		char exe[RESOLVER_EXE_MAX]; /* THREAD. NUL-terminated, cut if longer */
		struct subuid_range ranges[RESOLVER_EXE_MAX / sizeof(struct subuid_range)];
	};
};

/* The role: answers on each socket until all have closed. proc_fd: the root of a procfs. etc_fd: /etc, -1: nobody has
 * subordinate uids. Returns the exit status.
 *
 * A thread that is in the middle of an exec can make reads of its /proc files hang (D state, killable): each question
 * is read by a thread of a small pool and answered -ETIMEDOUT after RESOLVER_PATIENCE_MS if it hangs, and the others go
 * on. At most RESOLVER_THREADS_MAX hang at one time; then questions are answered -ETIMEDOUT, or -EBUSY at once. */
#define RESOLVER_PATIENCE_MS 300
#define RESOLVER_THREADS     4
#define RESOLVER_THREADS_MAX 16
int resolver_run(int proc_fd, int etc_fd, const int *clients, size_t n_clients);

/* ---- the client (resolver_client.c), for any number of threads ---- */

struct resolver_client;
/* fd becomes the client's. 0 or negative errno. */
int resolver_client_new(int fd, struct resolver_client **ret_client);
/* Nobody asks any more. Accepts NULL. */
void resolver_client_free(struct resolver_client *client);
/* Blocks until deadline (ns, CLOCK_MONOTONIC) at most. 0 and the answer, whose error may say more; -ETIMEDOUT, -EAGAIN
 * (the socket is full), -EPIPE (there is no resolver). */
int resolver_ask(struct resolver_client *client, pid_t tid, uint32_t uid, int64_t deadline,
		 struct resolver_answer *ret_answer);
/* The whole table of subordinate uids, its ranges malloc'd. The same; -EALREADY: it is number `known`; -ENOMEM; -EAGAIN
 * also where the table changed meanwhile. */
int resolver_ask_ranges(struct resolver_client *client, uint32_t known, int64_t deadline,
			struct subuid_table *ret_table, uint32_t *ret_number);

#endif
