/* Requests: files. OPEN, READ and RELEASE are in hot.c. */
#include <errno.h>

#include "fs/fuse/ops_internal.h"
#include "fs/serve/ctl_file.h"
#include "fs/serve/staging.h"
#include "fs/serve/temporary.h"

void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct vault *v = ops_vault(req);
	struct call a;
	(void)ino;

	if (fi->writepage) { /* from a mapping, by nobody whom the kernel would name */
		fuse_reply_err(req, EPERM);
		return;
	}
	const struct handle *h = handle_get(v->handles, fi->fh);
	if (!h || (h->kind != HANDLE_CTL && h->kind != HANDLE_VALUE && h->kind != HANDLE_TEMP)) {
		fuse_reply_err(req, EBADF);
		return;
	}
	if (h->kind != HANDLE_CTL && ops_refused_read_only(req)) /* what was taken before it became so is committed */
		return;
	if (!ops_identify(req, &a))
		return;
	int r = -EAGAIN;
	if (h->kind == HANDLE_CTL)
		r = ctl_file_write(v, &a, fi->fh, fi->flags & O_APPEND ? CTL_APPEND : (uint64_t)offset,
				   (const uint8_t *)buf, size);
	else if (request_may_block() && h->kind == HANDLE_TEMP)
		r = temporary_write(v, &a, fi->fh, (uint64_t)offset, buf, size);
	else if (request_may_block())
		r = staging_write(v, &a, fi->fh, (uint64_t)offset, buf, size);
	call_release(&a);
	if (ops_has_to_wait(req, r))
		return;
	if (r)
		ops_error(req, r);
	else
		fuse_reply_write(req, size);
}

/* close(2) of any descriptor of the file, by any process: only the opener's commits, and only what was written. The
 * caller may hold its exec lock: nothing but its status is read. */
void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct vault *v = ops_vault(req);
	const struct handle *h = handle_get(v->handles, fi->fh);
	pid_t tgid = 0;
	int r = 0;
	(void)ino;

	if (h && h->kind == HANDLE_VALUE && h->stage) {
		if (!request_may_block()) {
			request_is_of(h->neighbour);
			request_defer(req, WAITS_FOR_ALL);
			return;
		}
		if (!caller_tgid(v->callers, fuse_req_ctx(req)->pid, &tgid) && tgid == h->tgid)
			r = staging_commit(v, NULL, fi->fh, request_unique(), request_current()->resent, false);
	}
	ops_error(req, r);
}

void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct vault *v = ops_vault(req);
	const struct handle *h = handle_get(v->handles, fi->fh);
	struct call a;
	int r = 0;
	(void)ino;
	(void)datasync;

	if (h && staging_to_sync(v, h)) {
		if (!ops_identify_and_wait(req, &a))
			return;
		r = staging_sync(v, &a, fi->fh);
		call_release(&a);
	}
	ops_error(req, r);
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	(void)parent;
	(void)name;
	(void)mode;
	(void)rdev;
	if (!ops_refused_read_only(req))
		fuse_reply_err(req, EPERM);
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	const struct temporary_ask ask = { .parent = parent, .name = name, .mode = mode, .flags = fi->flags };
	struct vault *v = ops_vault(req);
	const bool replayed = request_current()->resent && !v->shared->keeper.resend;
	struct fuse_entry_param e;
	struct call a = { 0 };
	uint64_t ino = 0;

	if (ops_refused_read_only(req))
		return;
	int r = temporary_check(parent, name);
	if (!r && !ops_identify(req, &a))
		return;
	if (!r)
		r = temporary_create(v, &a, &ask, &ino, &fi->fh);
	if (!r)
		r = ops_entry_for(v, &a, ino, &e);
	call_release(&a);
	if (ops_has_to_wait(req, r))
		return;
	if (r) {
		ops_error(req, r);
		return;
	}
	e.entry_timeout = 0; /* the kernel keeps it in the place of `current`, when it is renamed over that */
	fi->direct_io = fi->noflush = 1;
	if (fuse_reply_create(req, &e, fi) == -ENOENT && !replayed)
		temporary_close(v, fi->fh);
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct call a = { 0 };

	if (ops_refused_read_only(req))
		return;
	int r = temporary_check(parent, name);
	if (!r && !ops_identify(req, &a))
		return;
	if (!r)
		r = temporary_unlink(ops_vault(req), &a, parent, name);
	call_release(&a);
	if (!ops_has_to_wait(req, r))
		ops_error(req, r);
}
