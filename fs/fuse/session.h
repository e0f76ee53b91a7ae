/* Receiving requests: our own loop around libfuse's low-level session.
 *
 * One hot thread reads /dev/fuse into a slot and runs the handler at once. A handler that finds that it would wait (for
 * the resolver, the key holder, the disk) says so by request_defer(); the request then goes to a thread that may, which
 * runs the same handler from its start. So one slow open does not stall the others, and no handler needs a second form.
 * Requests wait for these threads in lanes (fs/fuse/lanes.h); what has no place there is answered EAGAIN. */
#ifndef COFFER_FS_FUSE_SESSION_H
#define COFFER_FS_FUSE_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/serve/call.h"
#include "fs/serve/patience.h"
#include "fs/shared/shared.h"

struct fuse_in_header;
struct fuse_lowlevel_ops;
struct fuse_req;

struct session;

struct session_config {
	int fuse_fd;
	struct shared *shared;
	const struct fuse_lowlevel_ops *ops;
	void *userdata; /* of the callbacks: struct vault */
	/* Answers the requests of the read path without libfuse, which allocates and locks for each; false: not one of
	 * them. */
	bool (*hot)(void *userdata, const struct fuse_in_header *in, size_t len);
	/* Whose request it is, as far as that is known without asking anybody: a RELEASE names nobody. */
	uint64_t (*neighbour)(void *userdata, const struct fuse_in_header *in, size_t len);
	/* The same of one that is root's, as far as is known: its container's, where it has one. Takes longer. */
	uint64_t (*container)(void *userdata, const struct fuse_in_header *in);
	/* Has the policy let this neighbour in lately? */
	bool (*known)(void *userdata, uint64_t neighbour);
	bool (*bell)(void *userdata, const struct fuse_in_header *in);
	/* A request that two workers died on is answered EIO: raises the alarm, and says how long its caller is to wait
	 * for that (ms). */
	uint32_t (*given_up)(void *userdata, const struct fuse_in_header *in);
	/* A WRITE is answered with an error, and its bytes are nowhere. */
	void (*lost)(void *userdata, const struct fuse_in_header *in, size_t len);
	const volatile bool *stop;
};

/* Replays FUSE_INIT. 0 or negative errno. */
int session_new(const struct session_config *config, struct session **ret_session);
/* Serves until *stop or the connection's end. Before the first read it goes through requests that a dead worker left in
 * the slots (only where the kernel cannot send them again). */
int session_run(struct session *s);
/* No handler runs any more after it returns. */
void session_end(struct session *s); /* what waits is answered, and the threads end; accepts NULL */
void session_free(struct session *s);

/* Within a handler, of its own request: */
struct request {
	const struct fuse_in_header *header; /* NULL outside of a request */
	struct session *session;
	struct slot *slot;
	enum patience patience;
	bool deferred;
	enum patience wants; /* of the thread that it goes to */
	uint64_t neighbour;  /* whose request it is, once who asks is known */
	bool neighbour_known;
	bool resent;       /* another worker may have seen it */
	bool waits;        /* its answer is delayed */
	bool statx;        /* its answer is to have the time of birth, which is: */
	int64_t born;      /* ns since the epoch; INT64_MIN: not known, or not for the caller */
	size_t secret_len; /* bytes of plaintext that the answer left in the slot */
};
struct request *request_current(void);
static inline bool request_may_ask(void) { return request_current()->patience >= WAITS_FOR_RESOLVER; }
static inline bool request_may_block(void) { return request_current()->patience == WAITS_FOR_ALL; }
/* It is known by now whose request this is. */
static inline void request_is_of(uint64_t neighbour)
{
	request_current()->neighbour = neighbour;
	request_current()->neighbour_known = true;
}
/* Gives the request to a thread that may wait for more: request_defer consumes req without an answer. The handler
 * returns at once. */
void request_defer(struct fuse_req *req, enum patience wants);
void request_defer_hot(enum patience wants);

/* Answers of handlers that were called without libfuse. error is negative or 0; body may be NULL. The result is 0, or
 * -ENOENT: the caller was killed meanwhile. */
int request_reply(int error, const void *body, size_t len);
/* Answers a refusal, after delay_ms if there is room to keep it waiting (a uid that floods is slowed down); never
 * blocks. */
void request_refuse(int error, uint32_t delay_ms);
/* Locked memory behind the request, of FUSE_MAX_WRITE bytes, in which an answer can be made. */
void *request_room(void);
/* Answers with plaintext, from the room or from other locked memory. The kernel takes an answer by pinning its pages,
 * which memfd_secret(2) refuses: such bytes go through the room. The room is wiped behind the answer. */
void request_reply_secret(const void *data, size_t len);
/* Sends the answers whose time has come; returns how long until the next (ms), -1: there is none. Called by the ticking
 * thread. */
int session_send_delayed(struct session *s);
/* The call that the request is, before it is known who asks. */
struct call request_call(void);
/* unique without the kernel's resend bit. */
uint64_t request_unique(void);

#endif
