/* The socket on which one keeper talks to another (fs/keeper/handover.c says what), and mount -o remount to the keeper.
 * Private to the keeper. */
#ifndef COFFER_FS_KEEPER_WIRE_H
#define COFFER_FS_KEEPER_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/process/control.h"
#include "fs/keeper/successors.h"

struct sockaddr_un;

#define WIRE_SOCKET    "keeper.sock"
#define WIRE_ANSWER_MS 10000 /* that an answer is waited for */

enum handover_word {
	HANDOVER_ASK = 1,
	HANDOVER_STATE,
	HANDOVER_READY,
	HANDOVER_GONE,
	HANDOVER_NO,
	HANDOVER_READ_ONLY,
	HANDOVER_READ_WRITE,
	HANDOVER_YIELD,
	HANDOVER_DONE
};

struct handover_message {
	uint32_t magic, word;
	char text[CONTROL_TEXT_MAX];
	struct keeper_state state;
};

void wire_address(int store_dir, struct sockaddr_un *ret);
int wire_say(int fd, enum handover_word word, const struct keeper_state *state, const int *fds, size_t n_fds,
	     const char *text);
/* *ret_n_fds descriptors at most are taken. */
int wire_hear(int fd, int timeout_ms, struct handover_message *ret, int *ret_fds, size_t *ret_n_fds);
bool wire_is_roots(int fd); /* whoever is at the other end */

#endif
