/* A worker's memory outlives it for a moment.
 *
 * The kernel takes the memory of a process that dies apart page by page, on a processor that the next worker and those
 * who wait for it need just then: for 4 ms with 100,000 secrets. So each worker has a second process that shares its
 * address space (CLONE_VM) and thereby keeps it, and frees it a little later, at the lowest priority, when nobody
 * waits. It is the keeper's child, as the worker is.
 *
 * It could read what the worker knows, and may do less: it has the worker's user, no descriptor but one to the worker,
 * and no system calls but those to wait and to end. It waits in the kernel until the keeper ends it, and never comes
 * back from there: a captured worker could have it run what it wrote to its stack, and so go on after its death, with
 * the memory that outlives workers mapped. */
#ifndef COFFER_FS_HELPERS_MM_HOLDER_H
#define COFFER_FS_HELPERS_MM_HOLDER_H

#include <sys/types.h>

/* Starts it and waits until it is confined. In a process that has given up root, before it has threads, and before its
 * filter of system calls, which lets nobody make a process. keeper: it dies with that one. Its pid, for the keeper to
 * end it; or negative errno: there is none, and callers wait longer when this process dies (-ENOSYS: the kernel lacks
 * seccomp or close_range, Linux 5.9). */
pid_t mm_holder_start(pid_t keeper);
/* The keeper knows of it. Until then it ends with this process. */
void mm_holder_keep(void);

#endif
