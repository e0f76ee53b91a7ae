/* Requests: names and attributes. */
#include <errno.h>
#include <string.h>

#include "fs/fuse/ops.h"
#include "fs/fuse/ops_internal.h"
#include "fs/serve/appear.h"
#include "fs/serve/at.h"
#include "fs/serve/measure.h"
#include "fs/serve/record.h"
#include "fs/serve/staging.h"
#include "fs/serve/temporary.h"

/* Before an answer tells a file's size. False: pages of a value of another size have to go first, and a thread that may
 * wait is asked. */
static bool size_may_go(fuse_req_t req, uint64_t ino, const struct stat *st)
{
	if (!S_ISREG(st->st_mode) ||
	    drops_settle(ops_vault(req)->drops, ino, (uint64_t)st->st_size, request_may_block()) || request_may_block())
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
	    appear_gives(v, i.secret, ops_is_bell(req)))
		r = -ENOENT;
	if (!r) /* masked attributes: whoever wants his own sends a GETATTR, for they are never cached */
		r = ops_entry_for(v, NULL, ino, &e);
	if (!r && !size_may_go(req, ino, &e.attr))
		return;
	e.entry_timeout = r || !ops_is_temporary(ino) ? ops_entry_timeout(parent) : 0;
	if (r == -ENOENT) {
		memset(&e, 0, sizeof e);
		ops_error(req, r); /* and so not cached: a name that is put shows at once */
	} else if (r) {
		ops_error(req, r);
	} else {
		fuse_reply_entry(req, &e);
	}
}

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct vault *v = ops_vault(req);

	if (!appear_holds_back(v, req, parent, name))
		lookup(v, req, parent, name);
}

void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	(void)ino;
	(void)n;
	fuse_reply_none(req); /* inode numbers are a pure function of the store: nothing is counted */
}

void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	(void)count;
	(void)forgets;
	fuse_reply_none(req);
}

void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct vault *v = ops_vault(req);
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
	if (!same && !ops_identify(req, &a))
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
	if (ops_has_to_wait(req, r) || (!r && !size_may_go(req, ino, &st)))
		return;
	if (r)
		ops_error(req, r);
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
		ops_error(req, r);
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
	struct vault *v = ops_vault(req);
	struct timespec now;
	struct stat st;
	struct call a;
	int what = (to_set & FUSE_SET_ATTR_MODE ? TEMPORARY_MODE : 0) |
		   (to_set & FUSE_SET_ATTR_SIZE ? TEMPORARY_SIZE : 0) |
		   (to_set & FUSE_SET_ATTR_ATIME ? TEMPORARY_ATIME : 0) |
		   (to_set & FUSE_SET_ATTR_MTIME ? TEMPORARY_MTIME : 0);

	if (!ops_identify(req, &a))
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
	if (ops_has_to_wait(req, r))
		return;
	if (r)
		ops_error(req, r);
	else
		fuse_reply_attr(req, &st, 0);
}

void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *want, int to_set, struct fuse_file_info *fi)
{
	struct vault *v = ops_vault(req);
	struct call a = { 0 };
	struct inode i;
	struct stat st;
	bool decided;

	if (inode_unpack(ino, &i) && i.type != INODE_OWN && i.type != INODE_REQUEST && ops_refused_read_only(req))
		return;
	if (ops_is_temporary(ino)) {
		set_temporary(req, ino, want, to_set);
		return;
	}
	int r = judge_setattr_early(v, fuse_req_ctx(req), ino, want, to_set, fi, &decided);
	if (!decided && !ops_identify(req, &a))
		return;
	if (!decided)
		r = set_attributes(v, &a, ino, want, to_set, fi);
	if (!r)
		r = attr_fill(v, decided ? NULL : &a, ino, &st);
	if (!r && (to_set & FUSE_SET_ATTR_SIZE))
		st.st_size = want->st_size;
	call_release(&a);
	if (ops_has_to_wait(req, r) || (!r && !(to_set & FUSE_SET_ATTR_SIZE) && !size_may_go(req, ino, &st)))
		return;
	if (r)
		ops_error(req, r);
	else
		fuse_reply_attr(req, &st, 0);
}

void op_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
	struct call a;
	struct inode i;

	if ((mask & W_OK) && inode_unpack(ino, &i) &&
	    (inode_is_dir(&i) || (i.type != INODE_OWN && i.type != INODE_REQUEST)) && ops_refused_read_only(req))
		return;
	if (!ops_identify(req, &a))
		return;
	int r = attr_access(ops_vault(req), &a, ino, mask);
	call_release(&a);
	ops_error(req, r);
}
