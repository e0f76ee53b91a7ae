#include "fs/fuse/hot.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fs/serve/access.h"
#include "fs/serve/ctl_file.h"
#include "fs/serve/links.h"
#include "fs/serve/read.h"
#include "fs/serve/staging.h"
#include "fs/serve/temporary.h"
#include "fs/serve/holds.h"

/* FOPEN_PARALLEL_DIRECT_WRITES, since 7.38; unknown bits are passed over. One whose write waits for its own memory then
 * keeps no other from writing. */
#define OPEN_PARALLEL_WRITES (1u << 6)

/* Finds out who asks. False: the request went to a thread that may wait, or has its answer. */
static bool identify(struct vault *v, struct call *ret_call)
{
	struct call c = request_call();

	if (vault_is_bell(v, c.uid, c.tid)) { /* never looked at: its requests must not wait for anything */
		c.neighbour = NEIGHBOUR_ROOT;
		c.doubt = true;
		*ret_call = c;
		return true;
	}
	if (call_identify(v, &c)) {
		request_defer_hot(WAITS_FOR_RESOLVER);
		return false;
	}
	if (call_had_answer(v, &c)) {
		call_release(&c);
		request_reply(-EINTR, NULL, 0);
		return false;
	}
	*ret_call = c;
	request_is_of(ret_call->neighbour);
	return true;
}

/* An OPEN on its way. */
struct opening {
	struct open_ask ask;
	struct open_grant grant;
	bool own_request; /* nobody else knows its name */
	bool temporary;   /* which is its maker's alone */
	bool by_bell;
};

/* What is answered, or waits, whoever asks. True: it has been. */
static bool open_early(struct vault *v, const struct opening *o)
{
	const bool changes = (o->ask.flags & O_ACCMODE) != O_RDONLY || (o->ask.flags & O_TRUNC);

	if (inode_is_dir(&o->ask.inode) || o->ask.inode.type == INODE_MARKER) {
		request_reply(o->ask.inode.type == INODE_MARKER ? -EACCES : -EISDIR, NULL, 0);
		return true;
	}
	if (changes && o->ask.inode.type != INODE_OWN && vault_read_only(v) && !o->by_bell) {
		request_reply(-EROFS, NULL, 0);
		return true;
	}
	/* a record that must be on the disk first is not for the thread that everybody waits for */
	if (v->options->durability == AUDIT_DURABILITY_FDATASYNC && !request_may_ask() && !o->by_bell) {
		request_defer_hot(WAITS_FOR_RESOLVER);
		return true;
	}
	return false;
}

/* What has to be waited for before it can be decided. False: only a thread that may wait can do that. */
static bool open_settle(struct vault *v, const struct call *a, const struct opening *o)
{
	const bool holds = !o->own_request && !o->temporary && access_wants_hold(v, a, o->ask.ino),
		   empties = staging_emptying(v, o->ask.ino) && !o->by_bell;

	if ((holds || empties) && !request_may_block())
		return false;
	if (holds)
		holds_take(v->holds, o->ask.ino);
	if (empties)
		staging_settle(v, o->ask.ino);
	return true;
}

static int open_decide(struct vault *v, const struct call *a, struct opening *o)
{
	if (o->temporary) {
		o->grant.kind = HANDLE_TEMP;
		return temporary_open(v, a, &o->ask, &o->grant.fh);
	}
	int r = access_open(v, a, &o->ask, &o->grant);
	if (!r && o->grant.kind == HANDLE_CTL) {
		r = ctl_file_open(v, a, o->grant.fh);
		if (r)
			access_close(v, o->grant.fh);
	}
	return r;
}

static void open_answer(struct vault *v, const struct open_grant *grant)
{
	struct fuse_open_out out = { .fh = grant->fh, .open_flags = FOPEN_DIRECT_IO };
	/* a writer's FLUSH is where the error of close comes from; a reader's says nothing */
	if (!(grant->kind == HANDLE_VALUE && grant->writable))
		out.open_flags |= FOPEN_NOFLUSH;
	if (grant->kind == HANDLE_CTL)
		out.open_flags |= OPEN_PARALLEL_WRITES;
	/* Where we replay from memory, the worker before us may have answered already, and died before it noted that:
	 * the file is open then. Else the caller was killed meanwhile, and no RELEASE will come. */
	const bool replayed = request_current()->resent && !v->shared->keeper.resend;
	if (request_reply(0, &out, sizeof out) != -ENOENT || replayed)
		return;
	if (grant->kind == HANDLE_CTL)
		ctl_file_release(v, grant->fh);
	else if (grant->kind == HANDLE_TEMP)
		temporary_close(v, grant->fh);
	else
		access_close(v, grant->fh);
}

static void handle_open(struct vault *v, const struct fuse_in_header *in, const struct fuse_open_in *arg)
{
	struct opening o = { .ask = { .ino = in->nodeid, .flags = (int)arg->flags },
			     .by_bell = vault_is_bell(v, in->uid, (pid_t)in->pid) };
	struct call a;

	if (!inode_unpack(o.ask.ino, &o.ask.inode)) {
		request_reply(-EISDIR, NULL, 0);
		return;
	}
	o.temporary = o.ask.inode.type == INODE_TEMP;
	o.own_request = o.ask.inode.type == INODE_REQUEST;
	if (o.own_request)
		o.ask.inode = (struct inode){ .type = INODE_OWN, .low = OWN_CTL };
	if (open_early(v, &o) || !identify(v, &a))
		return;
	const bool settled = open_settle(v, &a, &o);
	const int r = settled ? open_decide(v, &a, &o) : 0;
	call_release(&a);
	if (!settled || (r == -EAGAIN && o.temporary && !request_may_block()))
		request_defer_hot(WAITS_FOR_ALL);
	else if (r)
		request_refuse(r, o.grant.delay_ms);
	else
		open_answer(v, &o.grant);
}

/* The handle's own stage, where it has one. -ENOENT: it has none, the version is read. */
static int read_stage(struct vault *v, const struct call *a, const struct read_ask *ask)
{
	struct secbuf *buf = NULL;
	const struct handle *h = handle_get(v->handles, ask->fh);
	const bool temporary = h && h->kind == HANDLE_TEMP;
	int r = secbuf_new(ask->size, &buf);
	if (!r)
		r = temporary ? temporary_read(v, a, ask, buf) : staging_read(v, a, ask->fh, ask->offset, buf);
	if (!r)
		request_reply_secret(secbuf_cdata(buf), secbuf_len(buf));
	else if (r != -ENOENT)
		request_reply(r, NULL, 0);
	secbuf_free(buf);
	return r;
}

static void handle_read(struct vault *v, const struct fuse_read_in *arg)
{
	struct read_result result = { 0 };
	struct call a;
	const struct handle *h = handle_get(v->handles, arg->fh);
	const bool stages = h && (h->kind == HANDLE_TEMP ||
				  (h->kind == HANDLE_VALUE && (h->open_flags & O_ACCMODE) == O_RDWR));
	const bool ctl = h && h->kind == HANDLE_CTL;
	const struct read_ask ask = {
		.fh = arg->fh,
		.offset = arg->offset,
		.size = arg->size < FUSE_MAX_WRITE ? arg->size : FUSE_MAX_WRITE,
		.room = request_room(),
		/* read, pread and preadv name an owner; who fills the page cache does not */
		.page_cache = !(arg->read_flags & FUSE_READ_LOCKOWNER),
	};
	int r = h ? 0 : handle_gone(v->handles, arg->fh);

	/* Before anything that waits, for every open of the file waits meanwhile: only values go to the page cache, and
	 * of these not bytes that are staged, or may be, which are this handle's alone. */
	if (!r && ask.page_cache && (stages || h->kind != HANDLE_VALUE || v->options->nopagecache))
		r = -EINVAL;
	if (r) {
		request_reply(r, NULL, 0);
		return;
	}
	if (!identify(v, &a))
		return;
	if ((stages || ctl) && !request_may_block()) {
		call_release(&a);
		request_defer_hot(WAITS_FOR_ALL);
		return;
	}
	if (stages && read_stage(v, &a, &ask) != -ENOENT) {
		call_release(&a);
		return;
	}
	if (ctl)
		r = ctl_file_read(v, &a, ask.fh, ask.offset, ask.size, &result);
	else
		r = access_read(v, &a, &ask, request_may_block(), &result);
	call_release(&a);
	if (r == -EAGAIN && !request_may_block())
		request_defer_hot(WAITS_FOR_ALL);
	else if (r)
		request_reply(r, NULL, 0);
	else if (result.secret)
		request_reply_secret(result.data, result.len);
	else
		request_reply(0, result.data, result.len);
	read_done(v, &result);
}

static void handle_release_request(struct vault *v, uint64_t fh)
{
	const struct handle *h = handle_get(v->handles, fh);
	const bool left = staging_mark_released(v, fh);

	if (h && (h->kind == HANDLE_CTL || left) && !request_may_block()) {
		request_defer_hot(WAITS_FOR_ALL);
		return;
	}
	if (h && h->kind == HANDLE_CTL) {
		ctl_file_release(v, fh);
		request_reply(0, NULL, 0);
	} else if (h && h->kind == HANDLE_TEMP) {
		temporary_close(v, fh);
		request_reply(0, NULL, 0);
	} else if (left) {
		/* never waited for; what is left is in the handle, whoever commits it */
		request_reply(0, NULL, 0);
		staging_release(v, fh);
	} else {
		access_close(v, fh);
		request_reply(0, NULL, 0);
	}
}

bool hot_known(void *userdata, uint64_t neighbour) { return vault_is_known(userdata, neighbour); }

bool hot_bell(void *userdata, const struct fuse_in_header *in)
{
	return vault_is_bell(userdata, in->uid, (pid_t)in->pid);
}

uint64_t hot_neighbour(void *userdata, const struct fuse_in_header *in, size_t len)
{
	struct vault *v = userdata;
	const struct handle *h = NULL;

	if (in->opcode == FUSE_RELEASE && len - sizeof *in >= sizeof(struct fuse_release_in))
		h = handle_get(v->handles, ((const struct fuse_release_in *)(const void *)(in + 1))->fh);
	return h ? h->neighbour : vault_neighbour_guess(v, in->uid);
}

uint64_t hot_container(void *userdata, const struct fuse_in_header *in)
{
	struct vault *v = userdata;

	return caller_guess_root(v->callers, (pid_t)in->pid);
}

bool hot_handle(void *userdata, const struct fuse_in_header *in, size_t len)
{
	const void *arg = in + 1;
	const size_t body = len - sizeof *in;

	links_seen(userdata, in);
	switch (in->opcode) {
	case FUSE_OPEN:
		if (body < sizeof(struct fuse_open_in))
			return false;
		handle_open(userdata, in, arg);
		return true;
	case FUSE_READ:
		if (body < sizeof(struct fuse_read_in))
			return false;
		handle_read(userdata, arg);
		return true;
	case FUSE_RELEASE:
		if (body < sizeof(struct fuse_release_in))
			return false;
		handle_release_request(userdata, ((const struct fuse_release_in *)arg)->fh);
		return true;
	default:
		return false;
	}
}
