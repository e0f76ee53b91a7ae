/* Requests: directories, and names that come, go and move. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/fuse/ops_internal.h"
#include "fs/serve/appear.h"
#include "fs/common/clock.h"
#include "fs/serve/measure.h"
#include "fs/serve/names.h"
#include "fs/serve/record.h"
#include "fs/serve/removal.h"
#include "fs/serve/temporary.h"

void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct vault *v = ops_vault(req);
	const struct fuse_ctx *c = fuse_req_ctx(req);
	const bool replayed = request_current()->resent && !v->shared->keeper.resend;
	if (ino == inode_own(OWN_REQUESTS)) { /* whose lock nobody is to hold */
		fuse_reply_err(req, EACCES);
		return;
	}
	fi->fh = names_opendir(v, c->uid, c->gid, c->pid, ino, request_unique(), request_current()->resent);
	fi->cache_readdir = 0;
	fi->keep_cache = 0;
	/* whose caller was killed meanwhile is never released; for one that is replayed from memory see handle_open in
	 * hot.c */
	if (fuse_reply_open(req, fi) == -ENOENT && fi->fh && !replayed)
		access_close(v, fi->fh);
}

void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	if (fi->fh)
		access_close(ops_vault(req), fi->fh);
	ops_error(req, 0);
}

struct listing {
	fuse_req_t req;
	struct vault *v;
	uint64_t ino;
	const struct call *call;
	char *buf;
	size_t size, used;
	bool plus;
};

static void note_given(const struct listing *l, uint64_t ino)
{
	struct inode i;

	if (l->ino == FUSE_ROOT_ID && inode_unpack(ino, &i) && i.type == INODE_SECRET)
		appear_gives(l->v, i.secret, false);
}

static int add_entry(const struct names_entry *n, void *arg)
{
	struct listing *l = arg;
	struct fuse_entry_param e = { 0 };
	size_t need;
	char *at = l->buf + l->used;
	const size_t room = l->size - l->used;

	/* "." and ".." bring no inode of their own: the kernel would count a lookup that nobody forgets */
	const bool dot = !strcmp(n->name, ".") || !strcmp(n->name, "..");
	if (!dot && l->plus) {
		ops_entry_begin(n->ino, &e);
		note_given(l, n->ino);
		e.entry_timeout = ops_is_temporary(n->ino) ? 0 : ops_entry_timeout(l->ino);
		if (attr_fill_locked(l->v, l->call, n->ino, &e.attr))
			return 0;
		/* the kernel asks for what comes without an inode when it needs it */
		if (S_ISREG(e.attr.st_mode) && !drops_settle(l->v->drops, n->ino, (uint64_t)e.attr.st_size, false))
			e.ino = 0;
	}
	if (dot || !l->plus) {
		e.attr.st_ino = inode_shown(n->ino, l->v->options->ino32);
		e.attr.st_mode = S_IFDIR;
		struct inode i;
		if (inode_unpack(n->ino, &i) && !inode_is_dir(&i))
			e.attr.st_mode = S_IFREG;
	}
	if (l->plus)
		need = fuse_add_direntry_plus(l->req, at, room, n->name, &e, (off_t)n->next);
	else
		need = fuse_add_direntry(l->req, at, room, n->name, &e.attr, (off_t)n->next);
	if (need > room)
		return 1;
	l->used += need;
	return 0;
}

static void list(fuse_req_t req, fuse_ino_t ino, uint64_t fh, size_t size, off_t offset, bool plus)
{
	struct listing l = { .req = req, .v = ops_vault(req), .ino = ino, .size = size, .plus = plus };
	struct call a;

	/* a record that must be on the disk first is not for the thread that everybody waits for */
	if (request_current()->patience < vault_record_waits(l.v)) {
		request_defer(req, WAITS_FOR_RESOLVER);
		return;
	}
	if (!ops_identify(req, &a))
		return;
	l.call = &a;
	l.buf = malloc(size ? size : 1);
	int r = l.buf ? names_list(l.v, &a, fh, ino, (uint64_t)offset, add_entry, &l) : -ENOMEM;
	call_release(&a);
	if (r)
		ops_error(req, r);
	else
		fuse_reply_buf(req, l.buf, l.used);
	free(l.buf);
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	list(req, ino, fi->fh, size, offset, false);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	list(req, ino, fi->fh, size, offset, true);
}

/* The bell makes a name that is there already, so that watchers see it come. */
static void make_known(fuse_req_t req, const char *name)
{
	struct vault *v = ops_vault(req);
	struct fuse_entry_param e;
	uint64_t ino = 0;

	int r = appear_make(v, name, &ino);
	if (!r)
		r = ops_entry_for(v, NULL, ino, &e);
	if (r)
		ops_error(req, r);
	else
		fuse_reply_entry(req, &e);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct vault *v = ops_vault(req);
	struct fuse_entry_param e;
	struct call a = { 0 };
	uint64_t ino = 0;
	(void)mode;

	if (ops_refused_read_only(req))
		return;
	int r = names_check_mkdir(parent, name);
	if (!r && vault_is_bell(v, fuse_req_ctx(req)->uid, fuse_req_ctx(req)->pid)) {
		make_known(req, name);
		return;
	}
	if (!r && !ops_identify(req, &a))
		return;
	if (!r)
		r = names_mkdir(v, &a, parent, name, &ino);
	call_release(&a);
	if (ops_has_to_wait(req, r))
		return;
	if (!r)
		r = ops_entry_for(v, NULL, ino, &e);
	if (r)
		ops_error(req, r);
	else
		fuse_reply_entry(req, &e);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct call a = { 0 };

	if (ops_refused_read_only(req))
		return;
	int r = removal_check_rmdir(parent, name);
	if (!r && !ops_identify(req, &a))
		return;
	if (!r)
		r = removal_rmdir(ops_vault(req), &a, parent, name);
	call_release(&a);
	if (!ops_has_to_wait(req, r))
		ops_error(req, r);
}

/* ---- the marker: an event, and nothing that can be looked up ---- */

#define MARKER_S 0.2 /* so long the kernel knows it: the bell renames it at once */

static bool is_marker(fuse_ino_t parent, const char *name, const char *which)
{
	struct inode dir;

	return inode_unpack(parent, &dir) && dir.type == INODE_SECRET && !strcmp(name, which);
}

/* Its inode is another one each time: the kernel renames nothing over itself. */
static void mark(fuse_req_t req)
{
	const struct inode marker = { .type = INODE_MARKER,
				      .low = ((uint32_t)(clock_monotonic() / 1000) & INODE_LOW_MAX) | 1 };
	struct fuse_entry_param e;

	int r = ops_entry_for(ops_vault(req), NULL, inode_pack(&marker), &e);
	e.entry_timeout = MARKER_S;
	if (r)
		ops_error(req, r);
	else
		fuse_reply_entry(req, &e);
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to, const char *to_name, unsigned flags)
{
	if (ops_is_bell(req) && parent == to && is_marker(parent, name, BELL_MARKER_NEW) &&
	    is_marker(to, to_name, BELL_MARKER)) {
		fuse_reply_err(req, 0);
		return;
	}
	const struct rename n = { .from = parent, .name = name, .to = to, .to_name = to_name, .flags = flags };
	struct call a = { 0 };

	if (ops_refused_read_only(req))
		return;
	const bool replaces = temporary_is_rename(ops_vault(req), parent, name, to, to_name, flags);
	int r = replaces ? 0 : removal_check_rename(&n);
	if (!r && !ops_identify(req, &a))
		return;
	if (!r && replaces)
		r = temporary_rename(ops_vault(req), &a, parent, name);
	else if (!r)
		r = removal_rename(ops_vault(req), &a, &n);
	call_release(&a);
	if (ops_has_to_wait(req, r))
		return;
	struct vault *v = ops_vault(req);
	const uint64_t unique = request_unique();
	ops_error(req, r);
	if (replaces)
		links_answered(v, parent, unique);
}

void op_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name)
{
	(void)link;
	if (ops_is_bell(req) && is_marker(parent, name, BELL_MARKER_NEW))
		mark(req);
	else if (!ops_refused_read_only(req))
		fuse_reply_err(req, EPERM);
}

void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct inode i;

	if (inode_unpack(ino, &i) && i.type == INODE_MARKER)
		fuse_reply_readlink(req, BELL_MARKER_LEADS);
	else
		fuse_reply_err(req, EINVAL);
}

void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	(void)ino;
	(void)parent;
	(void)name;
	if (!ops_refused_read_only(req))
		fuse_reply_err(req, EPERM);
}
