/* The bell: a process that touches changed files through the mount, so that inotify watchers in every container hear of it, and opens and closes files so that the kernel
 * drops their page cache. Fire and forget: a bell that is slow or dead costs events, never a request. It has no /dev/fuse, and its root is a detached clone of the mount. */
#ifndef COFFER_FS_BELL_H
#define COFFER_FS_BELL_H

#include <stddef.h>
#include <stdint.h>

enum bell_action {
	BELL_TOUCH = 1,		/* open(O_WRONLY) + futimens({UTIME_OMIT},{UTIME_NOW}) + close: MODIFY and CLOSE_WRITE */
	BELL_DROP,		/* open(O_RDONLY) + close: drops the page cache */
	BELL_RMDIR,		/* rmdir of a name whose secret was purged */
	BELL_TOUCH_DIR,		/* utimensat on a directory (UTIME_OMIT, UTIME_NOW) */
};

#define BELL_PATH_MAX 300

struct bell_message { uint32_t action; char path[BELL_PATH_MAX]; };	/* path relative to the mount's root: "db/current"; "." is the root */

/* The role. root_fd: O_PATH directory at the mount's root. Reads messages from each socket (SOCK_SEQPACKET: a datagram socket does not tell that its peer has closed) until all have closed;
 * coalesces what is already queued; refuses paths with "..", or absolute ones. May hang in an act for as long as the mount does not answer. Returns the exit status. */
int bell_run(int root_fd, const int *clients, size_t n_clients);

/* The client: never blocks. 0; -EAGAIN when the queue is full (the caller counts it); -ENAMETOOLONG; -EPIPE, -ECONNRESET or -ECONNREFUSED: there is no bell. */
int bell_send(int fd, enum bell_action action, const char *path);

#endif
