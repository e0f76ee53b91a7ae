/* Whose subordinate uids are these? What /etc/subuid says (subuid(5)), as a table of ranges.
 *
 *   line = NAME ":" FIRST ":" COUNT        NAME: a login name, or a uid in digits
 *
 * A user of the machine can run as any of its subordinate uids: in a user namespace, and in the initial one by a setuid
 * file that it made in there. So these uids and the user are one neighbour. Names are looked up in /etc/passwd alone: a
 * name service is foreign code. A name that is not there (LDAP) leaves its range without a known owner. Ranges that
 * only a name service knows (`subid:` in nsswitch.conf) are not seen at all. */
#ifndef COFFER_FS_CALLER_SUBUID_H
#define COFFER_FS_CALLER_SUBUID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SUBUID_LINES_MAX 65536u      /* of /etc/subuid that count; what is behind them is said to be passed over */
#define SUBUID_FILE_MAX  (16u << 20) /* bytes of either file that are read */

/* Root's ranges are no user's: its containers are told apart by their namespaces. UNKNOWN: a name that /etc/passwd does
 * not have, or two users' range. */
#define SUBUID_ROOT    0u
#define SUBUID_UNKNOWN UINT32_MAX

/* uids first to last, inclusive. The ranges of a table are ascending, and none overlaps another. */
struct subuid_range {
	uint32_t first, last, owner;
};

struct subuid_table {
	size_t n;
	struct subuid_range *ranges;
}; /* ranges: malloc'd */

/* What the file holds beside good lines. */
struct subuid_faults {
	uint32_t malformed, first_malformed; /* number of lines, line number */
	uint32_t unknown, first_unknown;
	bool too_long, shared;
};

/* Both texts need no NUL at their ends, and are read without trust in their form. 0 and a table (free its ranges);
 * -ENOMEM. */
int subuid_parse(const char *subuid, size_t subuid_len, const char *passwd, size_t passwd_len,
		 struct subuid_table *ret_table, struct subuid_faults *ret_faults);

/* The range that uid lies in, borrowed, or NULL. */
const struct subuid_range *subuid_find(const struct subuid_table *t, uint32_t uid);

/* Whose is it in the end: a range's owner may lie in another user's range itself. Returns the user, which is uid where
 * no range has it; SUBUID_ROOT where root's has it; SUBUID_UNKNOWN. *ret_range is the range of uid itself, or NULL. */
uint32_t subuid_owner(const struct subuid_table *t, uint32_t uid, const struct subuid_range **ret_range);

/* ---- the files (subuid_file.c) ---- */

/* A table that follows the files. One lock of its own, never held while it waits for anything but them. */
struct subuids;
/* etc_fd: a directory with `subuid` and `passwd` (either may be missing), kept by the caller; -1: nobody has any. */
int subuids_new(int etc_fd, struct subuids **ret_subuids);
void subuids_free(struct subuids *s); /* accepts NULL */
/* Reads the files again where they changed since (looked at once a second at most), and says in the log what was wrong
 * with them. */
void subuids_follow(struct subuids *s);
/* As subuid_owner. *ret_first: where uid's own range begins, valid if the result is true: it lies in one. */
bool subuids_owner(struct subuids *s, uint32_t uid, uint32_t *ret_owner, uint32_t *ret_first);
/* Copies ranges from index `from` on, at most max. Returns how many; *ret_all: how many there are; *ret_number: of
 * which table: another one has another number; never 0. */
size_t subuids_copy(struct subuids *s, uint32_t from, struct subuid_range *ret, size_t max, uint32_t *ret_all,
		    uint32_t *ret_number);

#endif
