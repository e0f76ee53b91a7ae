/* For tests only (-DCOFFER_TEST_HOOKS=ON): a worker that looks into its own memory, where memfd_secret lets nobody else look, and one that tries to break out of its cell. No release has it. */
#ifndef COFFER_FS_TEST_HOOK_H
#define COFFER_FS_TEST_HOOK_H

/* Starts a thread that at each SIGUSR1 searches every readable mapping for the pieces of 16 bytes of the file that the environment's COFFER_TEST_MARKER names, and logs
 * what it found. The file holds the marker with every bit flipped, so that reading it puts no marker into the memory that is searched. Before any other thread is started:
 * they inherit the signal mask. 0 or negative errno. */
int test_hook_start(void);
/* A directory that the hooks read in spite of the cell; path may be NULL. A descriptor, or -1. */
int test_hook_place(const char *path);
/* At each SIGUSR2 with a value (kill --queue) the worker tries what stands under that number in cell_attempts, and logs what it was answered, if it still can. Arguments: what a captured worker would
 * have at hand. */
struct test_cell { const char *kek; int audit_dir, keeper; };
int test_hook_cell(const struct test_cell *cell);

#endif
