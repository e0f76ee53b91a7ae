/* Reading an open file. */
#ifndef COFFER_FS_SERVE_READ_H
#define COFFER_FS_SERVE_READ_H

#include "fs/serve/call.h"

/* room: locked memory of the caller's, of at least size bytes, in which the answer may be made; whoever sends the
 * answer wipes it. */
struct read_ask {
	uint64_t fh;
	uint64_t offset;
	size_t size;
	bool page_cache;
	void *room;
};

/* What a read gives: bytes borrowed from locked memory until read_done, bytes in the caller's room, or a malloc'd copy
 * of text. */
struct read_result {
	const void *data;
	size_t len;
	bool secret;
	struct plain *plain;
	char *text;
};

/* 0; -EAGAIN: only a thread that may block; negative errno. */
int access_read(struct vault *v, const struct call *call, const struct read_ask *ask, bool may_block,
		struct read_result *ret_result);

/* After the answer: what goes to the page cache leaves it from then on. */
void read_done(struct vault *v, struct read_result *r);

#endif
