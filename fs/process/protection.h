/* What the kernel holds a process to, as it says itself in /proc: not what the process believes. */
#ifndef COFFER_FS_PROCESS_PROTECTION_H
#define COFFER_FS_PROCESS_PROTECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct protection {
	uint32_t uid;
	bool seccomp; /* a filter is loaded */
	bool no_new_privs;
	uint64_t capabilities; /* permitted: what it has or could take; bit n is capability n */
};

/* The text of /proc/PID/status. 0, or -EBADMSG: a line is missing, or not as proc(5) has it. A kernel without seccomp
 * has no such line, which is no filter. */
int protection_parse(const char *text, struct protection *ret_protection);

/* proc_fd: the root of a procfs. 0 or negative errno (-ENOENT: no such process). */
int protection_look(int proc_fd, pid_t pid, struct protection *ret_protection);

#endif
