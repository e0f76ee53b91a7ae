/* The command line of cofferd: STORE MOUNTPOINT [-f] [-o OPTIONS]. Under the name mount.fuse.coffer that of mount(8)'s
 * helpers: STORE MOUNTPOINT [-sfnv] [-t TYPE] [-o OPTIONS], where -f means to pretend. STORE may have "coffer:" before
 * it, as the mount's source has. */
#ifndef COFFER_FS_PROCESS_OPTIONS_H
#define COFFER_FS_PROCESS_OPTIONS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/audit/record.h"
#include "store/crypto/secbuf.h"
#include "store/keys/kek.h"

/* bytes of a prefix of users' names, with the NUL: the longest, PREFIX-helper, then fits into the 31 that Linux has */
#define USERS_MAX 24

#define LABEL_MAX 256

/* Whole pages, and no more than a slot takes (fs/shared/shared.h). */
#define MAX_READ_LEAST   4096u
#define MAX_READ_MOST    (128u * 1024)
/* by tests/bench/max_read.sh: a page more than 64 KiB, so that a value of that length and its end are found by one
 * request; a tenth less for values of some KiB and the buffer of cat, a sixth more for 1 MiB; half of it gains little
 * more, and costs half as much again */
#define MAX_READ_DEFAULT (68u * 1024)

struct options {
	char store[PATH_MAX]; /* absolute, symlinks resolved */
	char mount[PATH_MAX];
	bool foreground;
	bool help, version;
	bool pretend;   /* mount -f: everything but the mount */
	bool read_only; /* every change is EROFS */
	bool remount;   /* of the one that serves: only whether it is read-only is changed */
	/* of SELinux; "": the machine's own for this type */
	struct {
		char context[LABEL_MAX], fscontext[LABEL_MAX], defcontext[LABEL_MAX], rootcontext[LABEL_MAX];
	} labels;
	bool require_sandbox; /* a kernel without Landlock or seccomp is not served on */
	bool nopagecache;     /* sendfile, splice and mmap are refused: nothing ever lies in the page cache */
	bool ino32;           /* st_ino and d_ino fit 32 bits */
	bool takeover;        /* from the keeper that serves this store already */
	bool noresend;        /* replay unanswered requests from the slots, as on kernels before 6.9 */
	enum audit_durability durability;
	uint64_t audit_segment_size; /* bytes, 0: default */
	uint64_t audit_keep_bytes;   /* retention: beyond this much … */
	int64_t audit_keep_seconds;  /* … what is older than this goes */
	bool audit_days_given;
	size_t cipher_cache; /* bytes */
	uint32_t max_read;   /* bytes of one request to read; of a mount that is made */
	size_t plain_pool;   /* bytes of locked memory for plaintext */
	enum secmem_choice locked_memory;
	char users[USERS_MAX]; /* the worker's user; with -keys and -helper behind it the others' */
	/* where the key file lies on this machine: file:PATH or credential:NAME; "": where the store says */
	char kek[KEK_URI_MAX];
	/* seconds that a worker may be at one request; 0: as long as it likes, and who is stopped by a signal stays so
	 * (for a debugger) */
	uint32_t watchdog;
};

/* 0; with one line in why: -EINVAL: no such usage; any other negative errno: the store or the mount point is not there.
 */
int options_parse(int argc, char **argv, struct options *ret_options, char *why, size_t why_len);

extern const char options_usage[];

#endif
