/* What the worker and the keeper say to each other: SOCK_SEQPACKET, fixed-size messages, descriptors by SCM_RIGHTS. The
 * keeper trusts nothing of it: a captured worker can ask for a new segment only when the open one is full or old, gets
 * none that is closed, and can name no path. */
#ifndef COFFER_FS_PROCESS_CONTROL_H
#define COFFER_FS_PROCESS_CONTROL_H

#include <stdint.h>

enum control_type {
	CONTROL_READY = 1, /* worker: about to read the first request */
	CONTROL_PREPARED,  /* worker: everything is open that can be while another is active */
	/* keeper: no other worker acts any more; take over. With segment `number`, where the log goes on: who must ask
	   for it waits twice for a processor */
	CONTROL_ACTIVATE,
	/* worker: cannot serve; text says why, number is the exit status for the person who started the daemon */
	CONTROL_FATAL,
	CONTROL_HOLDER, /* worker: process `number` keeps its memory (fs/helpers/mm_holder.h); first of all */
	/* worker: segment `number` of the log, made if `create`; answered with the same type, error, and a descriptor
	 */
	CONTROL_SEGMENT,
	/* worker: that segments up to `number` are removed is in the log: the keeper removes what is to go of them;
	   answered with the same type, error, and the last one that is to go */
	CONTROL_RETAIN,
};

#define CONTROL_TEXT_MAX 512

struct control_message {
	uint32_t type;
	int32_t error;
	uint32_t number;
	uint32_t create;
	char text[CONTROL_TEXT_MAX];
};

/* fd_to_pass: -1 for none. 0 or negative errno; -EPIPE when the other end is gone. timeout_ms < 0: for ever. *ret_fd is
 * -1 when none came. */
int control_send(int socket, const struct control_message *m, int fd_to_pass);
int control_receive(int socket, struct control_message *ret_message, int *ret_fd, int timeout_ms);

#endif
