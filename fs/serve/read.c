#include "fs/serve/read.h"

#include <errno.h>
#include <stdlib.h>

#include "fs/serve/access.h"
#include "fs/serve/attr.h"
#include "fs/serve/holds.h"
#include "fs/common/log.h"
#include "fs/serve/made.h"
#include "fs/serve/measure.h"
#include "fs/serve/recheck.h"
#include "fs/serve/staged.h"
#include "store/core/tables.h"
#include "store/lifecycle/events.h"
#include "store/objects/objects.h"

/* sendfile, splice and mmap fill the page cache, which knows no callers: only what is newest and allowed to this caller
 * now may go there. */
static int judge_page_cache(struct vault *v, const struct call *call, const struct handle *h, uint32_t version)
{
	bool newest;
	struct inode inode;

	if (v->options->nopagecache || !inode_unpack(h->ino, &inode))
		return EINVAL;
	/* who has it open for both could write to a page that others map or splice, past policy and log. His own OPEN
	 * dropped the pages, and his own faults are refused: so there are none, while there are none for anybody. */
	if (inode.type == INODE_CURRENT &&
	    (handle_read_writers(v->handles, h->secret) || !measure_lets_pages(v, call, h->secret)))
		return EINVAL;
	store_rdlock(v->store);
	const struct catalog_secret *s = store_get(v->store, h->secret);
	newest = s && (inode.type == INODE_VERSION || s->current == version);
	store_unlock_tables(v->store);
	return newest ? 0 : EINVAL;
}

/* A reader that takes the whole value at once, as cat does, needs no copy of it to be kept: it is decrypted where the
 * answer is sent from. Unless it comes again and again. */
static int read_whole(struct vault *v, uint32_t secret, const struct handle_shown *shown, const struct read_ask *ask,
		      struct read_result *ret)
{
	if (ask->offset != 0 || ask->size < shown->size || plain_hot(v->plain, secret, shown->version))
		return -EAGAIN;
	int r = store_version_read_into(v->store, secret, shown->version, ask->room, ask->size, &ret->len);
	if (!r)
		ret->data = ask->room;
	return r == -ENOBUFS ? -EIO : r;
}

static int read_value(struct vault *v, const struct call *call, struct handle *h, const struct read_ask *ask,
		      bool may_block, struct read_result *ret)
{
	struct plain *x;
	const struct handle_shown shown = handle_begin(h);
	int r = access_recheck(v, call, h, VERB_GET);
	if (!r && ask->page_cache) {
		/* noted before it is judged: an answer that tells another size sees the one or changes the other */
		drops_add(v->drops, h->ino, shown.size);
		r = judge_page_cache(v, call, h, shown.version);
	}
	if (r)
		return -r;
	if (ask->offset >= shown.size) { /* nothing to decrypt for the read that finds the end */
		handle_end(h);
		return 0;
	}
	ret->secret = true;
	x = plain_get(v->plain, h->secret, shown.version);
	if (!x) {
		r = read_whole(v, h->secret, &shown, ask, ret);
		if (r != -EAGAIN)
			return r == -EBADMSG ? -EIO : r;
		if (!may_block && !store_version_ready(v->store, h->secret, shown.version))
			return -EAGAIN;
		r = plain_load(v->plain, v->store, h->secret, shown.version, &x);
		if (r)
			return r == -ENOMEM || r == -EBADMSG || r == -ENOENT ? -EIO : r;
	}
	const struct secbuf *b = plain_buf(x);
	size_t len = secbuf_len(b);
	ret->plain = x;
	if (ask->offset < len) {
		ret->data = secbuf_cdata(b) + ask->offset;
		ret->len = len - (size_t)ask->offset < ask->size ? len - (size_t)ask->offset : ask->size;
	}
	return 0;
}

/* The right to the log and the events, asked at each read, and room for what is read. */
static int begin_stream(struct vault *v, const struct call *call, struct handle *h, const struct read_ask *ask,
			bool may_block, struct read_result *ret)
{
	struct verdict j = { 0 };
	if (!may_block)
		return -EAGAIN;
	vault_decide(v, call_trusted(call), ACTION_AUDIT_READ, NULL, &j);
	if (j.error)
		return -access_lost_right(h, call, &j);
	ret->text = malloc(ask->size ? ask->size : 1);
	if (!ret->text)
		return -ENOMEM;
	ret->data = ret->text;
	return 0;
}

static int read_audit(struct vault *v, const struct call *call, struct handle *h, const struct read_ask *ask,
		      bool may_block, struct read_result *ret)
{
	int r = begin_stream(v, call, h, ask, may_block, ret);

	return r ? r : audit_read(v->audit, (uint32_t)h->of.audit.first, ask->offset, ret->text, ask->size, &ret->len);
}

static int read_events(struct vault *v, const struct call *call, struct handle *h, const struct read_ask *ask,
		       bool may_block, struct read_result *ret)
{
	int r = begin_stream(v, call, h, ask, may_block, ret);

	if (!r)
		r = store_events_read(v->store, h->of.events.first + ask->offset, ret->text, ask->size, &ret->len);
	return r == -EBADMSG ? -EIO : r;
}

int access_read(struct vault *v, const struct call *call, const struct read_ask *ask, bool may_block,
		struct read_result *ret_result)
{
	struct handle *h = handle_hold(v->handles, ask->fh);
	int r;

	*ret_result = (struct read_result){ .data = "" };
	if (!h)
		return handle_gone(v->handles, ask->fh);
	switch ((enum handle_kind)h->kind) {
	case HANDLE_VALUE:
		atomic_fetch_add_explicit(&v->shared->reads, 1, memory_order_relaxed);
		r = read_value(v, call, h, ask, may_block, ret_result);
		break;
	case HANDLE_TEXT:
		r = ask->page_cache ? -EINVAL : made_read(v, call, h, ask, may_block, ret_result);
		break;
	case HANDLE_AUDIT:
		r = ask->page_cache ? -EINVAL : read_audit(v, call, h, ask, may_block, ret_result);
		break;
	case HANDLE_EVENTS:
		r = ask->page_cache ? -EINVAL : read_events(v, call, h, ask, may_block, ret_result);
		break;
	case HANDLE_BELL:
	case HANDLE_TEMP:
	case HANDLE_CTL:
	case HANDLE_DIR:
	case HANDLE_NONE:
	default:
		r = -EACCES;
	}
	handle_let(v->handles, h);
	if (r)
		read_done(v, ret_result);
	return r;
}

void read_done(struct vault *v, struct read_result *r)
{
	if (r->plain)
		plain_put(v->plain, r->plain);
	free(r->text);
	*r = (struct read_result){ .data = "" };
}
