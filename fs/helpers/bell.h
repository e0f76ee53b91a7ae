/* The bell: a process that touches changed files through the mount, so that inotify watchers in every container hear of
 * it, and that keeps files open for writing so that nobody gets a lease on them. Never waited for: a bell that is slow
 * or dead costs events, and no request its answer. It has no /dev/fuse, and its root is a detached clone of the mount.
 *
 * What cannot be done now is kept and tried again until it is: somebody's lease goes away in fs.lease-break-time at the
 * latest. An act may also hang for as long as somebody else's request does; then its thread hangs, and that path's
 * other acts wait for it; other paths have other threads. */
#ifndef COFFER_FS_HELPERS_BELL_H
#define COFFER_FS_HELPERS_BELL_H

#include <stddef.h>
#include <stdint.h>

#include "fs/shared/watched.h"

enum bell_action {
	/* a ring: open(O_WRONLY) + futimens({UTIME_OMIT},{UTIME_NOW}) + close: MODIFY and CLOSE_WRITE. Where a lease
	   forbids the open, MODIFY comes first and the rest when it can */
	BELL_TOUCH = 1,
	BELL_RMDIR,     /* rmdir of a name whose secret was purged. Not tried again: whoever asked does that */
	BELL_TOUCH_DIR, /* utimensat on a directory (UTIME_OMIT, UTIME_NOW) */
	BELL_ATTRIB,    /* utimensat with both times: ATTRIB, and no open */
	/* makes and renames a link beside the one that is named: CREATE and MOVED_TO of BELL_MARKER in its directory,
	   which nothing else raises. Not tried again */
	BELL_MARK,
	/* mkdir of a new name in the vault's directory, one at a time, for all wait for one lock. Not tried again */
	BELL_MAKE,
	BELL_HOLD,   /* keeps the file open for writing from now on; answered with its ino */
	BELL_LET_GO, /* ends that, with a ring, for the close raises CLOSE_WRITE */
	BELL_LOOK,   /* a stat, until the kernel knows of two links of the file; answered with BELL_LOOKED */
	BELL_LISTEN, /* from now on this client gets the answers; the first is BELL_HELLO. It has no path */
};

#define BELL_MARKER       "..data"
#define BELL_MARKER_NEW   "..data_tmp"
/* a symbolic link: who follows it finds nothing, and least of all a directory to watch */
#define BELL_MARKER_LEADS "..nowhere"

#define BELL_PATH_MAX 300

/* path relative to the mount's root: "db/current"; "." is the root */
struct bell_message {
	uint32_t action;
	uint32_t pad;
	uint64_t ino;
	char path[BELL_PATH_MAX];
};

enum bell_word {
	/* the bell has started, or was told BELL_LISTEN: what another one held is held no more */
	BELL_HELLO = 1,
	/* of BELL_HOLD: error 0: it is held; -EBUSY: held files are given up just now; or the errno of the open */
	BELL_HELD,
	BELL_LOST,   /* this ino is not held any more; 0: nothing is */
	BELL_LOOKED, /* of BELL_LOOK; error -EAGAIN: the kernel knows of one link still */
	BELL_STATE,  /* waiting and since have changed */
};

/* waiting: how many paths wait for more than a moment; since: for how long the first of them, ns since the epoch, 0:
 * none. */
struct bell_answer {
	uint32_t word;
	int32_t error;
	uint64_t ino;
	int32_t pid;
	uint32_t waiting;
	int64_t since;
};

/* The role. root_fd: O_PATH directory at the mount's root. Reads messages from each socket (SOCK_SEQPACKET: a datagram
 * socket does not tell that its peer has closed) until all have closed; merges what waits for one path; refuses paths
 * with "..", or absolute ones. SIGUSR1: gives up all that it holds, for BELL_PAUSE_MS, so that the mount can be made
 * read-only (bell_catch_signal). Returns the exit status. */
int bell_run(int root_fd, const int *clients, size_t n_clients);
void bell_catch_signal(void); /* before the cell */
#define BELL_PAUSE_MS 10000

/* The client: never blocks. 0; -EAGAIN when the queue is full (the caller counts it); -ENAMETOOLONG; -EPIPE,
 * -ECONNRESET or -ECONNREFUSED: there is no bell. */
int bell_send(int fd, enum bell_action action, const char *path, uint64_t ino);

#endif
