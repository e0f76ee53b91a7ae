/* Requests on their way to .coffer/ctl, in memory that outlives a worker. */
#ifndef COFFER_FS_SHARED_CTL_BUFFER_H
#define COFFER_FS_SHARED_CTL_BUFFER_H

#include <stdatomic.h>
#include <stdint.h>

#define CTL_LINE_MAX 65536 /* bytes of a line */

/* Pages are touched only when used. */
#define CTL_BUFFERS         256u
#define CTL_BUFFERS_MOST    32u /* of one neighbour */
#define CTL_BUFFERS_RESERVE 16u /* of all, and on top of a neighbour's share: for administrators */
struct ctl_buffer {
	_Atomic uint64_t owner; /* fh, 0: free */
	uint32_t len, dead, complete, error, refused, pad;
	uint64_t value_len, value_got;
	/* unique of the WRITE that was begun last, and where it began: a part of it may be here already when it comes
	 * again */
	uint64_t under_way, under_way_at;
	uint8_t line[CTL_LINE_MAX + 1024];
};

#endif
