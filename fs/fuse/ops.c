#include "fs/fuse/ops.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "fs/serve/appear.h"
#include "fs/serve/at.h"
#include "fs/serve/attr.h"
#include "fs/common/clock.h"
#include "fs/serve/ctl_file.h"
#include "fs/serve/links.h"
#include "fs/common/log.h"
#include "fs/serve/measure.h"
#include "fs/serve/names.h"
#include "fs/serve/record.h"
#include "fs/serve/drops.h"
#include "fs/serve/removal.h"
#include "fs/serve/staging.h"
#include "fs/serve/temporary.h"

/* Entries may be cached for as long as the kernel likes: OPEN always reaches us, and every removal of a name goes
 * through the mount. */
#define FOREVER (10.0 * 365 * 86400)

static struct vault *vault_of(fuse_req_t req) { return fuse_req_userdata(req); }

static void reply_error(fuse_req_t req, int negative_errno) { fuse_reply_err(req, -negative_errno); }

/* Finds out who asks. False: the request went to a thread that may wait, or has its answer. */
static bool identify(fuse_req_t req, struct call *ret_call)
{
	struct vault *v = vault_of(req);
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
		reply_error(req, -EINTR);
		return false;
	}
	*ret_call = c;
	request_is_of(ret_call->neighbour);
	return true;
}

/* The same for what then waits for the database or the key holder: once it is known whose turn that is. */
static bool identify_and_wait(fuse_req_t req, struct call *ret_call)
{
	if (!identify(req, ret_call))
		return false;
	if (request_may_block())
		return true;
	call_release(ret_call);
	request_defer(req, WAITS_FOR_ALL);
	return false;
}

/* True: it was found that only a thread that may wait can do it, and one is asked. */
static bool has_to_wait(fuse_req_t req, int r)
{
	if (r != -EAGAIN || request_may_block())
		return false;
	request_defer(req, WAITS_FOR_ALL);
	return true;
}

/* True: the vault is mounted read-only, and the answer is given. As with any such mount it comes before who asks
 * matters, and nothing is recorded. */
static bool refused_read_only(fuse_req_t req)
{
	const struct fuse_ctx *c = fuse_req_ctx(req);
	struct vault *v = vault_of(req);

	if (!vault_read_only(v) || vault_is_bell(v, c->uid, c->pid))
		return false;
	fuse_reply_err(req, EROFS);
	return true;
}

/* ---- names and attributes ---- */

/* Below an epoch of .coffer/at names go when a secret is deleted elsewhere: each use of one is asked for. Those of
 * requests are used once. */
static double entry_timeout(uint64_t parent)
{
	struct inode dir;

	if (!inode_unpack(parent, &dir))
		return FOREVER;
	return at_is_volatile(&dir) || (dir.type == INODE_OWN && dir.low == OWN_REQUESTS) ? 0 : FOREVER;
}

static void entry_begin(uint64_t ino, struct fuse_entry_param *e)
{
	memset(e, 0, sizeof *e);
	e->ino = ino;
	e->generation = 1; /* another generation would unhash the name under a running container */
	e->entry_timeout = FOREVER;
}

static int entry_for(struct vault *v, const struct call *call, uint64_t ino, struct fuse_entry_param *e)
{
	entry_begin(ino, e);
	return attr_fill(v, call, ino, &e->attr);
}

static bool is_temporary(uint64_t ino)
{
	struct inode i;

	return inode_unpack(ino, &i) && i.type == INODE_TEMP;
}

static bool is_bell(fuse_req_t req)
{
	const struct fuse_ctx *c = fuse_req_ctx(req);

	return vault_is_bell(vault_of(req), c->uid, c->pid);
}

/* Before an answer tells a file's size. False: pages of a value of another size have to go first, and a thread that may
 * wait is asked. */
static bool size_may_go(fuse_req_t req, uint64_t ino, const struct stat *st)
{
	if (!S_ISREG(st->st_mode) ||
	    drops_settle(vault_of(req)->drops, ino, (uint64_t)st->st_size, request_may_block()) || request_may_block())
		return true;
	request_defer(req, WAITS_FOR_ALL);
	return false;
}

static void lookup(struct vault *v, fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct inode i;
	struct fuse_entry_param e = { 0 };
	uint64_t ino;
	int r = names_lookup(v, parent, name, &ino);

	if (!r && parent == FUSE_ROOT_ID && inode_unpack(ino, &i) && i.type == INODE_SECRET &&
	    appear_gives(v, i.secret, is_bell(req)))
		r = -ENOENT;
	if (!r) /* masked attributes: whoever wants his own sends a GETATTR, for they are never cached */
		r = entry_for(v, NULL, ino, &e);
	if (!r && !size_may_go(req, ino, &e.attr))
		return;
	e.entry_timeout = r || !is_temporary(ino) ? entry_timeout(parent) : 0;
	if (r == -ENOENT) {
		memset(&e, 0, sizeof e);
		reply_error(req, r); /* and so not cached: a name that is put shows at once */
	} else if (r) {
		reply_error(req, r);
	} else {
		fuse_reply_entry(req, &e);
	}
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct vault *v = vault_of(req);

	if (!appear_holds_back(v, req, parent, name))
		lookup(v, req, parent, name);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	(void)ino;
	(void)n;
	fuse_reply_none(req); /* inode numbers are a pure function of the store: nothing is counted */
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	(void)count;
	(void)forgets;
	fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct vault *v = vault_of(req);
	struct call a = { 0 };
	struct attr_shown shown;
	struct inode i;
	struct stat st;

	/* what is held back is answered as a GETATTR, and whoever follows an event to a new name asks for nothing else
	 */
	const bool birth = request_current()->statx;
	if (!birth && appear_holds_back(v, req, ino, NULL))
		return;
	/* a directory's are the same for everybody */
	const bool same = !birth && (!inode_unpack(ino, &i) || !measure_asks(&i, fi));
	if (!same && !identify(req, &a))
		return;
	if (!same && staging_emptying(v, ino)) {
		if (!request_may_block()) {
			call_release(&a);
			request_defer(req, WAITS_FOR_ALL);
			return;
		}
		staging_settle(v, ino);
	}
	const struct call named = request_call();
	const struct measure_ask ask = {
		.ino = ino,
		.fh = fi ? fi->fh : 0,
		.may_record = request_current()->patience >= vault_record_waits(v),
		.may_block = request_may_block(),
	};
	int r = measure(v, same ? &named : &a, &ask, &shown);
	if (!r)
		r = attr_fill_shown(v, same ? NULL : &a, ino, &shown, &st);
	if (!r && birth)
		request_current()->born = attr_born(v, &a, ino);
	call_release(&a);
	if (has_to_wait(req, r) || (!r && !size_may_go(req, ino, &st)))
		return;
	if (r)
		reply_error(req, r);
	else
		fuse_reply_attr(req, &st, 0);
}

/* A value's mode is what its bindings say. Programs that copy give what they have written the mode of its source:
 * nothing comes of that, and it is no failure; who would shut its owner out, and anybody else, is told that this is not
 * how. */
static bool mode_will_do(struct vault *v, const struct call *a, const struct stat *st, uint64_t ino, mode_t want)
{
	struct inode i;

	if ((want & 07777) == (st->st_mode & 07777))
		return true;
	/* also one that shuts its owner out: cp -p takes all bits away before it gives those of its source */
	return !(want & 07000) && inode_unpack(ino, &i) && i.type == INODE_CURRENT && a->who &&
	       handle_has_written(v->handles, i.secret, a->who->tgid);
}

static void answer_attributes(struct vault *v, fuse_req_t req, fuse_ino_t ino)
{
	struct stat st;
	int r = attr_fill(v, NULL, ino, &st);

	if (r)
		reply_error(req, r);
	else
		fuse_reply_attr(req, &st, 0);
}

static void forget_request(fuse_req_t req) { fuse_reply_none(req); }

const struct appear_answers *ops_answers(void)
{
	static const struct appear_answers answers = { .attributes = answer_attributes,
						       .lookup = lookup,
						       .forget = forget_request };

	return &answers;
}

/* touch and cp -p ask for what changes nothing here; who may set is told that it is done. */
static int judge_setattr(struct vault *v, const struct call *a, uint64_t ino, const struct stat *want, int to_set)
{
	struct stat st;
	int r = attr_fill(v, a, ino, &st);
	if (r)
		return r;
	if (vault_is_bell(v, a->uid, a->tid))
		return 0;
	/* a directory's mode is the same for everybody, and watchers would hear of a stranger's touch */
	if (S_ISDIR(st.st_mode) ? !attr_may_set(v, a, ino) : !(st.st_mode & 0200))
		return -EPERM;
	if (((to_set & FUSE_SET_ATTR_MODE) && !mode_will_do(v, a, &st, ino, want->st_mode)) ||
	    ((to_set & FUSE_SET_ATTR_UID) && want->st_uid != st.st_uid) ||
	    ((to_set & FUSE_SET_ATTR_GID) && want->st_gid != st.st_gid))
		return -EPERM;
	return 0;
}

/* Of the vault's own files, at once and whoever asks, for everybody who opens or writes one waits for its lock
 * meanwhile: only what changes nothing, of the one that all may write to. */
static int judge_own_setattr(struct vault *v, const struct fuse_ctx *c, const struct inode *i, const struct stat *want,
			     int to_set)
{
	struct stat st;

	if (vault_is_bell(v, c->uid, c->pid))
		return 0;
	if (inode_is_dir(i))
		return -EPERM;
	const int r = attr_fill(v, NULL, inode_pack(i), &st);
	if (r)
		return r;
	const bool changes = ((to_set & FUSE_SET_ATTR_MODE) && (want->st_mode & 07777) != (st.st_mode & 07777)) ||
			     (to_set & FUSE_SET_ATTR_SIZE) ||
			     ((to_set & FUSE_SET_ATTR_UID) && want->st_uid != st.st_uid) ||
			     ((to_set & FUSE_SET_ATTR_GID) && want->st_gid != st.st_gid);
	return (i->type == INODE_REQUEST || i->low == OWN_CTL) && !changes ? 0 : -EPERM;
}

/* Decided without knowing who asks: 0 or an error, and *ret_decided. */
static int judge_setattr_early(struct vault *v, const struct fuse_ctx *c, uint64_t ino, const struct stat *want,
			       int to_set, const struct fuse_file_info *fi, bool *ret_decided)
{
	struct inode i;
	const struct handle *h = fi ? handle_get(v->handles, fi->fh) : NULL;

	*ret_decided = true;
	if (!inode_unpack(ino, &i))
		return -ENOENT;
	if (i.type == INODE_MARKER)
		return -EPERM;
	if (i.type == INODE_OWN || i.type == INODE_REQUEST || at_is_volatile(&i))
		return judge_own_setattr(v, c, &i, want, to_set);
	if ((to_set & FUSE_SET_ATTR_SIZE) && !fi)
		return -EPERM;
	if ((to_set & FUSE_SET_ATTR_SIZE) && (!h || h->kind != HANDLE_VALUE))
		return -EBADF;
	*ret_decided = false;
	return 0;
}

static int set_attributes(struct vault *v, const struct call *a, uint64_t ino, const struct stat *want, int to_set,
			  const struct fuse_file_info *fi)
{
	if (!(to_set & FUSE_SET_ATTR_SIZE))
		return judge_setattr(v, a, ino, want, to_set);
	if (a->patience < WAITS_FOR_ALL)
		return -EAGAIN;
	return staging_truncate(v, a, fi->fh, (uint64_t)want->st_size);
}

static void set_temporary(fuse_req_t req, uint64_t ino, struct stat *want, int to_set)
{
	struct vault *v = vault_of(req);
	struct timespec now;
	struct stat st;
	struct call a;
	int what = (to_set & FUSE_SET_ATTR_MODE ? TEMPORARY_MODE : 0) |
		   (to_set & FUSE_SET_ATTR_SIZE ? TEMPORARY_SIZE : 0) |
		   (to_set & FUSE_SET_ATTR_ATIME ? TEMPORARY_ATIME : 0) |
		   (to_set & FUSE_SET_ATTR_MTIME ? TEMPORARY_MTIME : 0);

	if (!identify(req, &a))
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	if (to_set & FUSE_SET_ATTR_ATIME_NOW)
		want->st_atim = now;
	if (to_set & FUSE_SET_ATTR_MTIME_NOW)
		want->st_mtim = now;
	int r = temporary_set(v, &a, ino, want, what);
	if (!r)
		r = attr_fill(v, &a, ino, &st);
	call_release(&a);
	if (has_to_wait(req, r))
		return;
	if (r)
		reply_error(req, r);
	else
		fuse_reply_attr(req, &st, 0);
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *want, int to_set, struct fuse_file_info *fi)
{
	struct vault *v = vault_of(req);
	struct call a = { 0 };
	struct inode i;
	struct stat st;
	bool decided;

	if (inode_unpack(ino, &i) && i.type != INODE_OWN && i.type != INODE_REQUEST && refused_read_only(req))
		return;
	if (is_temporary(ino)) {
		set_temporary(req, ino, want, to_set);
		return;
	}
	int r = judge_setattr_early(v, fuse_req_ctx(req), ino, want, to_set, fi, &decided);
	if (!decided && !identify(req, &a))
		return;
	if (!decided)
		r = set_attributes(v, &a, ino, want, to_set, fi);
	if (!r)
		r = attr_fill(v, decided ? NULL : &a, ino, &st);
	if (!r && (to_set & FUSE_SET_ATTR_SIZE))
		st.st_size = want->st_size;
	call_release(&a);
	if (has_to_wait(req, r) || (!r && !(to_set & FUSE_SET_ATTR_SIZE) && !size_may_go(req, ino, &st)))
		return;
	if (r)
		reply_error(req, r);
	else
		fuse_reply_attr(req, &st, 0);
}

static void op_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
	struct call a;
	struct inode i;

	if ((mask & W_OK) && inode_unpack(ino, &i) &&
	    (inode_is_dir(&i) || (i.type != INODE_OWN && i.type != INODE_REQUEST)) && refused_read_only(req))
		return;
	if (!identify(req, &a))
		return;
	int r = attr_access(vault_of(req), &a, ino, mask);
	call_release(&a);
	reply_error(req, r);
}

/* ---- directories ---- */

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct vault *v = vault_of(req);
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

static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	if (fi->fh)
		access_close(vault_of(req), fi->fh);
	reply_error(req, 0);
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
		entry_begin(n->ino, &e);
		note_given(l, n->ino);
		e.entry_timeout = is_temporary(n->ino) ? 0 : entry_timeout(l->ino);
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
	struct listing l = { .req = req, .v = vault_of(req), .ino = ino, .size = size, .plus = plus };
	struct call a;

	/* a record that must be on the disk first is not for the thread that everybody waits for */
	if (request_current()->patience < vault_record_waits(l.v)) {
		request_defer(req, WAITS_FOR_RESOLVER);
		return;
	}
	if (!identify(req, &a))
		return;
	l.call = &a;
	l.buf = malloc(size ? size : 1);
	int r = l.buf ? names_list(l.v, &a, fh, ino, (uint64_t)offset, add_entry, &l) : -ENOMEM;
	call_release(&a);
	if (r)
		reply_error(req, r);
	else
		fuse_reply_buf(req, l.buf, l.used);
	free(l.buf);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	list(req, ino, fi->fh, size, offset, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	list(req, ino, fi->fh, size, offset, true);
}

/* The bell makes a name that is there already, so that watchers see it come. */
static void make_known(fuse_req_t req, const char *name)
{
	struct vault *v = vault_of(req);
	struct fuse_entry_param e;
	uint64_t ino = 0;

	int r = appear_make(v, name, &ino);
	if (!r)
		r = entry_for(v, NULL, ino, &e);
	if (r)
		reply_error(req, r);
	else
		fuse_reply_entry(req, &e);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct vault *v = vault_of(req);
	struct fuse_entry_param e;
	struct call a = { 0 };
	uint64_t ino = 0;
	(void)mode;

	if (refused_read_only(req))
		return;
	int r = names_check_mkdir(parent, name);
	if (!r && vault_is_bell(v, fuse_req_ctx(req)->uid, fuse_req_ctx(req)->pid)) {
		make_known(req, name);
		return;
	}
	if (!r && !identify(req, &a))
		return;
	if (!r)
		r = names_mkdir(v, &a, parent, name, &ino);
	call_release(&a);
	if (has_to_wait(req, r))
		return;
	if (!r)
		r = entry_for(v, NULL, ino, &e);
	if (r)
		reply_error(req, r);
	else
		fuse_reply_entry(req, &e);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct call a = { 0 };

	if (refused_read_only(req))
		return;
	int r = removal_check_rmdir(parent, name);
	if (!r && !identify(req, &a))
		return;
	if (!r)
		r = removal_rmdir(vault_of(req), &a, parent, name);
	call_release(&a);
	if (!has_to_wait(req, r))
		reply_error(req, r);
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

	int r = entry_for(vault_of(req), NULL, inode_pack(&marker), &e);
	e.entry_timeout = MARKER_S;
	if (r)
		reply_error(req, r);
	else
		fuse_reply_entry(req, &e);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to, const char *to_name,
		      unsigned flags)
{
	if (is_bell(req) && parent == to && is_marker(parent, name, BELL_MARKER_NEW) &&
	    is_marker(to, to_name, BELL_MARKER)) {
		fuse_reply_err(req, 0);
		return;
	}
	const struct rename n = { .from = parent, .name = name, .to = to, .to_name = to_name, .flags = flags };
	struct call a = { 0 };

	if (refused_read_only(req))
		return;
	const bool replaces = temporary_is_rename(vault_of(req), parent, name, to, to_name, flags);
	int r = replaces ? 0 : removal_check_rename(&n);
	if (!r && !identify(req, &a))
		return;
	if (!r && replaces)
		r = temporary_rename(vault_of(req), &a, parent, name);
	else if (!r)
		r = removal_rename(vault_of(req), &a, &n);
	call_release(&a);
	if (has_to_wait(req, r))
		return;
	struct vault *v = vault_of(req);
	const uint64_t unique = request_unique();
	reply_error(req, r);
	if (replaces)
		links_answered(v, parent, unique);
}

/* ---- files: OPEN, READ and RELEASE are in hot.c ---- */

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t offset,
		     struct fuse_file_info *fi)
{
	struct vault *v = vault_of(req);
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
	if (h->kind != HANDLE_CTL && refused_read_only(req)) /* what was taken before it became so is committed */
		return;
	if (!identify(req, &a))
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
	if (has_to_wait(req, r))
		return;
	if (r)
		reply_error(req, r);
	else
		fuse_reply_write(req, size);
}

/* close(2) of any descriptor of the file, by any process: only the opener's commits, and only what was written. The
 * caller may hold its exec lock: nothing but its status is read. */
static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct vault *v = vault_of(req);
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
	reply_error(req, r);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct vault *v = vault_of(req);
	const struct handle *h = handle_get(v->handles, fi->fh);
	struct call a;
	int r = 0;
	(void)ino;
	(void)datasync;

	if (h && staging_to_sync(v, h)) {
		if (!identify_and_wait(req, &a))
			return;
		r = staging_sync(v, &a, fi->fh);
		call_release(&a);
	}
	reply_error(req, r);
}

/* ---- extended attributes, and what there is not ---- */

static void reply_bytes(fuse_req_t req, size_t size, const char *bytes, size_t len)
{
	if (size == 0)
		fuse_reply_xattr(req, len);
	else if (len > size)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, bytes, len);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct call a;
	char *value = NULL;
	size_t len = 0;

	if (strncmp(name, "user.coffer.", 12)) { /* security.capability, asked at every write: at once */
		fuse_reply_err(req, ENODATA);
		return;
	}
	if (!identify_and_wait(req, &a))
		return;
	int r = names_getxattr(vault_of(req), &a, ino, name, &value, &len);
	call_release(&a);
	if (r)
		reply_error(req, r);
	else
		reply_bytes(req, size, value, len);
	free(value);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct call a;
	char *value = NULL;
	size_t len = 0;

	if (!identify_and_wait(req, &a))
		return;
	int r = names_listxattr(vault_of(req), &a, ino, &value, &len);
	call_release(&a);
	if (r)
		reply_error(req, r);
	else
		reply_bytes(req, size, value, len);
	free(value);
}

/* cp -p and install set an ACL first, and are content with the mode only if they hear that there are none here */
static int xattr_refusal(const char *name) { return strncmp(name, "user.coffer.", 12) ? EOPNOTSUPP : EPERM; }

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	(void)ino;
	(void)value;
	(void)size;
	(void)flags;
	if (!refused_read_only(req))
		fuse_reply_err(req, xattr_refusal(name));
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	(void)ino;
	if (!refused_read_only(req))
		fuse_reply_err(req, xattr_refusal(name));
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	(void)parent;
	(void)name;
	(void)mode;
	(void)rdev;
	if (!refused_read_only(req))
		fuse_reply_err(req, EPERM);
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	const struct temporary_ask ask = { .parent = parent, .name = name, .mode = mode, .flags = fi->flags };
	struct vault *v = vault_of(req);
	const bool replayed = request_current()->resent && !v->shared->keeper.resend;
	struct fuse_entry_param e;
	struct call a = { 0 };
	uint64_t ino = 0;

	if (refused_read_only(req))
		return;
	int r = temporary_check(parent, name);
	if (!r && !identify(req, &a))
		return;
	if (!r)
		r = temporary_create(v, &a, &ask, &ino, &fi->fh);
	if (!r)
		r = entry_for(v, &a, ino, &e);
	call_release(&a);
	if (has_to_wait(req, r))
		return;
	if (r) {
		reply_error(req, r);
		return;
	}
	e.entry_timeout = 0; /* the kernel keeps it in the place of `current`, when it is renamed over that */
	fi->direct_io = fi->noflush = 1;
	if (fuse_reply_create(req, &e, fi) == -ENOENT && !replayed)
		temporary_close(v, fi->fh);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct call a = { 0 };

	if (refused_read_only(req))
		return;
	int r = temporary_check(parent, name);
	if (!r && !identify(req, &a))
		return;
	if (!r)
		r = temporary_unlink(vault_of(req), &a, parent, name);
	call_release(&a);
	if (!has_to_wait(req, r))
		reply_error(req, r);
}

static void op_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name)
{
	(void)link;
	if (is_bell(req) && is_marker(parent, name, BELL_MARKER_NEW))
		mark(req);
	else if (!refused_read_only(req))
		fuse_reply_err(req, EPERM);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct inode i;

	if (inode_unpack(ino, &i) && i.type == INODE_MARKER)
		fuse_reply_readlink(req, BELL_MARKER_LEADS);
	else
		fuse_reply_err(req, EINVAL);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	(void)ino;
	(void)parent;
	(void)name;
	if (!refused_read_only(req))
		fuse_reply_err(req, EPERM);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	const struct vault *v = vault_of(req);
	struct statvfs st;
	(void)ino;

	space_fill(&v->space, v->options->ino32, &st);
	fuse_reply_statfs(req, &st);
}

/* The connection's flags are the keeper's: libfuse is told to want nothing that he did not grant. */
static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct vault *v = userdata;
	const struct fuse_init_out *out = (const void *)(v->shared->init.answer + sizeof(struct fuse_out_header));
	conn->want &= FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
		      FUSE_CAP_PARALLEL_DIROPS;
	conn->max_write = out->max_write;
	conn->max_readahead = out->max_readahead;
	conn->time_gran = 1;
}

static const struct fuse_lowlevel_ops table = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.access = op_access,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.releasedir = op_releasedir,
	.mkdir = op_mkdir,
	.write = op_write,
	.flush = op_flush,
	.fsync = op_fsync,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.setxattr = op_setxattr,
	.removexattr = op_removexattr,
	.mknod = op_mknod,
	.create = op_create,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.rename = op_rename,
	.symlink = op_symlink,
	.readlink = op_readlink,
	.link = op_link,
	.statfs = op_statfs,
};

const struct fuse_lowlevel_ops *ops_table(void) { return &table; }
