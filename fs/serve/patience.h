/* What a thread may wait for while it works on a request. A handler that would have to wait for more gives the request
 * on, to a thread that may, and is run there again from its start. */
#ifndef COFFER_FS_SERVE_PATIENCE_H
#define COFFER_FS_SERVE_PATIENCE_H

enum patience {
	WAITS_FOR_NOTHING,  /* the hot thread: all requests go through it */
	WAITS_FOR_RESOLVER, /* to learn who asks; and for the disk where each record must be on it */
	WAITS_FOR_ALL,      /* the database, the key holder, programs */
};

#endif
