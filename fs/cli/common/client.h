/* Requests to MOUNT/.coffer/ctl (contrib/doc/PROTOCOL.md). A request whose answer was lost is repeated under the same
 * id for some seconds: the daemon carries it out once. */
#ifndef COFFER_FS_CLI_COMMON_CLIENT_H
#define COFFER_FS_CLI_COMMON_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/cli/common/cli.h"

#define CLIENT_PATIENCE_MS 10000

/* One request and its answer, whatever the answer says. request is borrowed; a request that changes something gets its
 * random id here. value (may be NULL) are the bytes that follow the line. 0; or a negative errno: the last one met;
 * -EPROTO for an answer that is no JSON; -EHOSTDOWN: the file could not be opened, nothing was sent. */
int client_exchange(const char *mount, json_t *request, bool changes, const void *value, size_t len,
		    json_t **ret_answer);

/* The whole of it for a command: finds the mount, asks, prints what went wrong. request is stolen (NULL, or without its
 * op: it could not be made, which is said). EXIT_DONE and an answer that is ok; else the exit status. */
int client_ask(struct cli *c, json_t *request, json_t **ret_answer);
int client_change(struct cli *c, json_t *request, const void *value, size_t len, json_t **ret_answer);

/* The same for values too long to be held at once: send writes all of them to the file, and may be called again when an
 * answer was lost. 0 or negative errno. */
int client_change_streamed(struct cli *c, json_t *request, int (*send)(int fd, void *arg), void *arg,
			   json_t **ret_answer);

/* A request that changes nothing and carries bytes, or gets some after its answer's line (ret_bytes, malloc'd; NULL:
 * none are expected). An answer that is ESTALE (what the request went on with died with its worker) is not printed:
 * *ret_stale. */
int client_send(struct cli *c, json_t *request, const void *value, size_t len, json_t **ret_answer, uint8_t **ret_bytes,
		size_t *ret_len, bool *ret_stale);

/* Prints an answer that is not ok; returns its exit status. */
int client_report(const json_t *answer);

/* Sets key unless value is NULL. A value that is not UTF-8 text empties the request, so that it is not made at all. */
void client_set(json_t *request, const char *key, const char *value);

#endif
