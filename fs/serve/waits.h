/* Waiting for the bell in the middle of a request: what the bell does to answer comes as a request of this very mount.
 *
 * So whoever keeps such requests back until this one is done has to know; and nothing that this one does can be what
 * kills the worker meanwhile. */
#ifndef COFFER_FS_SERVE_WAITS_H
#define COFFER_FS_SERVE_WAITS_H

struct waits {
	void (*begin)(void), (*end)(void);
};

/* From now on, what is told of this thread's waits: its caller's, or NULL. */
void waits_of_thread(const struct waits *waits);
/* Around each wait; without a lock that who is told may want. */
void waits_begin(void);
void waits_end(void);

#endif
