/* From one record to the next, each proved. */
#ifndef COFFER_STORE_AUDIT_WALK_H
#define COFFER_STORE_AUDIT_WALK_H

#include <stdint.h>

#include "store/audit/head.h"

struct audit_record;

struct audit_walk {
	struct audit_position at; /* after the last record that was accepted */
	uint64_t line;            /* lines seen in this segment */
	uint64_t records, torn;
	/* complete lines after at.size that are not the next record; the first one's number; how many have a record's
	 * shape */
	uint64_t bad_lines, bad_line, bad_shaped;
	const char *bad_why;
	/* called for each record after `at` moved past it; nonzero ends the walk */
	int (*accepted)(struct audit_walk *w, const char *line, const struct audit_record *rec);
	void *arg;
};
/* From at.size to the end of the segment. 0: what lies behind at.size is not (yet) a record: nothing, a torn tail, or
 * bad lines. -EIO, -ENOMEM, or what accepted said. */
int audit_walk_segment(struct audit_walk *w, int fd);

#endif
