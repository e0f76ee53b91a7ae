/* What statfs(2) is told, as df(1) and monitoring ask it: how full the file system is that the store lies on. Anybody
 * may ask, and as often as it likes: so it says nothing of how many secrets there are, and free room in steps of a
 * thousandth, from which no single write can be told. */
#ifndef COFFER_FS_SERVE_SPACE_H
#define COFFER_FS_SERVE_SPACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/statvfs.h>

struct statvfs;

struct space {
	_Atomic uint64_t blocks, free, available;
	_Atomic uint32_t block_size;
};

/* Looks again; may wait for that file system. What cannot be found out stays as it was. */
void space_look(struct space *s, const char *store);
/* The answer, at once. narrow: in numbers of 32 bits, for 32-bit programs. */
void space_fill(const struct space *s, bool narrow, struct statvfs *ret);

#endif
