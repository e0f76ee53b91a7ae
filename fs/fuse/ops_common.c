/* What the requests share. */
#include <errno.h>
#include <string.h>

#include "fs/fuse/ops_internal.h"
#include "fs/serve/at.h"
#include "fs/serve/measure.h"

/* Entries may be cached for as long as the kernel likes: OPEN always reaches us, and every removal of a name goes
 * through the mount. */
#define FOREVER (10.0 * 365 * 86400)

struct vault *ops_vault(fuse_req_t req) { return fuse_req_userdata(req); }

void ops_error(fuse_req_t req, int negative_errno) { fuse_reply_err(req, -negative_errno); }

/* Finds out who asks. False: the request went to a thread that may wait, or has its answer. */
bool ops_identify(fuse_req_t req, struct call *ret_call)
{
	struct vault *v = ops_vault(req);
	struct call c = request_call();

	if (vault_is_bell(v, c.uid, c.tid)) { /* never looked at: its requests must not wait for anything */
		c.neighbour = NEIGHBOUR_ROOT;
		c.doubt = true;
		*ret_call = c;
		return true;
	}
	if (call_identify(v, &c)) {
		request_defer(req, WAITS_FOR_RESOLVER);
		return false;
	}
	if (call_had_answer(v, &c)) {
		call_release(&c);
		ops_error(req, -EINTR);
		return false;
	}
	*ret_call = c;
	request_is_of(ret_call->neighbour);
	return true;
}

/* The same for what then waits for the database or the key holder: once it is known whose turn that is. */
bool ops_identify_and_wait(fuse_req_t req, struct call *ret_call)
{
	if (!ops_identify(req, ret_call))
		return false;
	if (request_may_block())
		return true;
	call_release(ret_call);
	request_defer(req, WAITS_FOR_ALL);
	return false;
}

/* True: it was found that only a thread that may wait can do it, and one is asked. */
bool ops_has_to_wait(fuse_req_t req, int r)
{
	if (r != -EAGAIN || request_may_block())
		return false;
	request_defer(req, WAITS_FOR_ALL);
	return true;
}

/* True: the vault is mounted read-only, and the answer is given. As with any such mount it comes before who asks
 * matters, and nothing is recorded. */
bool ops_refused_read_only(fuse_req_t req)
{
	const struct fuse_ctx *c = fuse_req_ctx(req);
	struct vault *v = ops_vault(req);

	if (!vault_read_only(v) || vault_is_bell(v, c->uid, c->pid))
		return false;
	fuse_reply_err(req, EROFS);
	return true;
}

/* Below an epoch of .coffer/at names go when a secret is deleted elsewhere: each use of one is asked for. Those of
 * requests are used once. */
double ops_entry_timeout(uint64_t parent)
{
	struct inode dir;

	if (!inode_unpack(parent, &dir))
		return FOREVER;
	return at_is_volatile(&dir) || (dir.type == INODE_OWN && dir.low == OWN_REQUESTS) ? 0 : FOREVER;
}

void ops_entry_begin(uint64_t ino, struct fuse_entry_param *e)
{
	memset(e, 0, sizeof *e);
	e->ino = ino;
	e->generation = 1; /* another generation would unhash the name under a running container */
	e->entry_timeout = FOREVER;
}

int ops_entry_for(struct vault *v, const struct call *call, uint64_t ino, struct fuse_entry_param *e)
{
	ops_entry_begin(ino, e);
	return attr_fill(v, call, ino, &e->attr);
}

bool ops_is_temporary(uint64_t ino)
{
	struct inode i;

	return inode_unpack(ino, &i) && i.type == INODE_TEMP;
}

bool ops_is_bell(fuse_req_t req)
{
	const struct fuse_ctx *c = fuse_req_ctx(req);

	return vault_is_bell(ops_vault(req), c->uid, c->pid);
}
