/* Exit statuses of `coffer`, and which errno gives which: one table for the daemon's answers and for the command. */
#ifndef COFFER_FS_COMMON_EXITCODE_H
#define COFFER_FS_COMMON_EXITCODE_H

enum exit_status {
	EXIT_DONE = 0,
	EXIT_ERROR = 1,
	EXIT_USAGE = 2, /* the request makes no sense, whoever asks */
	EXIT_DENIED = 3,
	EXIT_NOT_FOUND = 4,
	EXIT_CONFLICT = 5,
	EXIT_INTEGRITY = 6,
	EXIT_UNAVAILABLE = 7, /* not mounted, sealed, the key provider is silent */
};

/* The status for an errno, positive or negative; 0 gives EXIT_DONE. */
enum exit_status exit_for_errno(int error);

/* "EACCES" for EACCES or -EACCES; "EIO" for what has no name here. Static storage. */
const char *errno_symbol(int error);

/* The positive errno that a symbol names, or 0. */
int errno_from_symbol(const char *symbol);

#endif
