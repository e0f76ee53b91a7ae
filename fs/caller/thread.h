/* What /proc says of a thread, and of the machine's init, to a process that may look (the resolver). Each call can hang
 * for as long as the kernel lets whoever it looks at hold it up (exec). */
#ifndef COFFER_FS_CALLER_THREAD_H
#define COFFER_FS_CALLER_THREAD_H

#include <stdbool.h>
#include <sys/types.h>

#include "fs/caller/ancestry.h"
#include "fs/caller/resolver.h"

/* All that can be read of a thread; the first thing that could not is a->error. own: this process's namespaces, with
 * the machine's mount namespace. */
void thread_read(int proc_fd, const struct namespaces *own, pid_t tid, struct resolver_answer *a);
/* "self" or a pid. 0 or negative errno. */
int thread_namespaces_of(int proc_fd, const char *who, struct namespaces *ret);
/* The namespaces of the machine's init; false: this process is in a container, or cannot tell. */
bool thread_find_init(int proc_fd, struct namespaces *ret);

#endif
