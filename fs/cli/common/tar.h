/* Reads a tar archive from a pipe: ustar (POSIX.1-1988), pax (POSIX.1-2001) and GNU names. It reads no byte ahead, so
 * that contents go from the pipe straight to where the caller wants them: locked memory. */
#ifndef COFFER_FS_CLI_COMMON_TAR_H
#define COFFER_FS_CLI_COMMON_TAR_H

#include <stddef.h>
#include <stdint.h>

#define TAR_PATH_MAX 512 /* bytes with the NUL; longer ones cannot be a secret's */

enum tar_type { TAR_FILE, TAR_DIRECTORY, TAR_OTHER };

struct tar_entry {
	enum tar_type type;
	char path[TAR_PATH_MAX];
	uint64_t size;
};

/* The next entry, whose size bytes are read next, then tar_skip over what was left and the padding. 1; 0: the archive's
 * end; -EBADMSG: this is no tar archive, or it is damaged, or cut short; -ENAMETOOLONG; or the error of read(2). */
int tar_next(int fd, struct tar_entry *ret_entry);
/* Passes over what is left of an entry's contents, and over the padding behind them. */
int tar_skip(int fd, const struct tar_entry *e, uint64_t taken);

#endif
