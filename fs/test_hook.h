/* For tests only (-DCOFFER_TEST_HOOKS=ON): a worker that looks into its own memory, where memfd_secret lets nobody else look, and one that tries to break out of its cell. No release has it. */
#ifndef COFFER_FS_TEST_HOOK_H
#define COFFER_FS_TEST_HOOK_H

/* What a captured worker would have at hand. memory: /proc/PID/mem of the key holder. */
struct test_cell { const char *kek, *conf, *memory; int audit_dir, control, keeper; };

/* Starts two threads, before any other thread is started: they inherit the signal mask. 0 or negative errno.
 * - At each SIGUSR1 one searches every readable mapping for the pieces of 16 bytes of the file that the environment's COFFER_TEST_MARKER names, and logs what it found. The file holds the marker with every
 *   bit flipped, so that reading it puts no marker into the memory that is searched.
 * - At each SIGUSR2 with a value (kill --queue) the other makes the attempt of that number, of those in fs/test_hook.c, and logs what it was answered, if it still can; a number that is too high makes it say
 *   how many there are. */
int test_hook_start(const struct test_cell *cell);
/* A directory that the hooks read in spite of the cell; path may be NULL. A descriptor, or -1. */
int test_hook_place(const char *path);

#endif
