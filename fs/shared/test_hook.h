/* For tests only (-DCOFFER_TEST_HOOKS=ON): a worker that looks into its own memory, where memfd_secret lets nobody else
 * look, and one that tries to break out of its cell. No release has it. */
#ifndef COFFER_FS_SHARED_TEST_HOOK_H
#define COFFER_FS_SHARED_TEST_HOOK_H

/* What a captured worker would have at hand. memory: /proc/PID/mem of the key holder. */
struct shared;
struct test_cell {
	const char *kek, *conf, *memory;
	int audit_dir, control, keeper;
	struct shared *shared;
};

/* Starts two threads, before any other thread is started: they inherit the signal mask. 0 or negative errno. - At each
 * SIGUSR1 one searches every readable mapping for the pieces of 16 bytes of the file that the environment's
 * COFFER_TEST_MARKER names, and logs what it found. The file holds the marker with every
 *   bit flipped, so that reading it puts no marker into the memory that is searched.
 * - At each SIGUSR2 with a value (kill --queue) the other makes the attempt of that number, of those in
 * fs/shared/test_hook.c, and logs what it was answered, if it still can; a number that is too high makes it say
 *   how many there are. */
int test_hook_start(const struct test_cell *cell);
/* A directory that the hooks read in spite of the cell; path may be NULL. A descriptor, or -1. */
int test_hook_place(const char *path);

/* Dies here by SIGKILL, where the file that the environment's COFFER_TEST_DIE names holds this point and a number above
 * 0, which is lowered by one: "before 14 2". Points: "before OPCODE" and "after OPCODE" (of the answer),
 * "record-before", "record-after", "commit-before", "commit-after" with 0, "keeping" with the version that a history
 * rule destroys, and "before 0": the word to take over has come. Instead of "before", "hang" waits for ever, "until"
 * until the file is empty, and "answered" instead of "after"; "crash" is a SIGSEGV, and "stuck" reads the file that
 * COFFER_TEST_STUCK names: if its file system does not answer, the thread waits in the kernel, whatever signal comes;
 * "stuck-writing" writes to it, "stuck-placing" likewise by pwrite(2). */
void test_hook_point(const char *point, unsigned number);
void test_hook_open(void); /* before the cell, in which that file cannot be opened */

/* In a build without hooks, nothing. */
#ifdef COFFER_TEST_HOOKS
#define TEST_POINT(point, number) test_hook_point(point, number)
#else
#define TEST_POINT(point, number) ((void)0)
#endif

#endif
