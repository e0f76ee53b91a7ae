/* What the keeper says to the service manager that started it, and what that keeps for it: sd_notify(3)'s protocol, and
 * the file descriptor store of systemd.
 *
 * Datagrams of "NAME=value" lines to the socket that $NOTIFY_SOCKET names; systemd promises that they stay as they are
 * (sd_notify(3), NOTES). So the keeper, which is root and stays small, needs no library for them. Without such a socket
 * nothing is said, and every function does nothing. Nothing here waits. */
#ifndef COFFER_FS_KEEPER_NOTIFY_H
#define COFFER_FS_KEEPER_NOTIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct notify {
	int fd; /* -1: nobody listens */
	struct sockaddr_un to;
	socklen_t to_len;
	int64_t watchdog_ms; /* the manager wants a sign of life this often; 0: never */
	int64_t next_ms;     /* when it is due */
};

/* Looks at NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. They stay in the environment, for a keeper that is executed
 * in place of this one. A socket that is not as it should be is said in the log. */
void notify_open(struct notify *ret_notify);
void notify_close(struct notify *n);

/* state: lines such as "READY=1\nSTATUS=…". */
void notify_say(const struct notify *n, const char *state);
/* A sign of life, if one is due and the vault is served. now_ms: CLOCK_MONOTONIC. Returns how long until the next look
 * (ms), -1: never. */
int notify_alive(struct notify *n, bool serving, int64_t now_ms);

/* The manager keeps a duplicate of fd under a name (letters, digits and dashes), and hands it to the next keeper should
 * this one die. notify_forget: it closes what it has under that name. */
void notify_keep(const struct notify *n, const char *name, int fd);
void notify_forget(const struct notify *n, const char *name);

#define NOTIFY_NAME_MAX 32
struct notify_kept {
	char name[NOTIFY_NAME_MAX];
	int fd;
};
/* What the manager had kept: LISTEN_FDS, LISTEN_FDNAMES and LISTEN_PID, which are taken from the environment. All are
 * close-on-exec from now on; those beyond max, or without a name, are closed. How many there are. */
size_t notify_take(struct notify_kept *ret_kept, size_t max);

#endif
