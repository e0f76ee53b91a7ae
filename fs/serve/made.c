#include "fs/serve/made.h"

#include <errno.h>
#include <string.h>

#include "fs/serve/entries.h"
#include "fs/serve/kind_files.h"
#include "fs/serve/read.h"
#include "fs/serve/recheck.h"
#include "store/core/tables.h"

bool made_is(const struct inode *i)
{
	const struct entry *e = entry_of(i);

	return i->type == INODE_VIEW || (e && e->render);
}

/* No two are the same, and none is a secret's number. */
uint32_t made_object(const struct inode *i)
{
	_Static_assert(((uint64_t)INODE_VIEWS + 1) << 28 < HANDLE_OWN + UINT64_C(1),
		       "views and own files have numbers of their own");

	return i->type == INODE_VIEW ? (i->low + 1) << 28 | i->secret : HANDLE_OWN + i->low;
}

static int render(struct vault *v, const struct call *call, const struct handle *h, const struct inode *i,
		  char **ret_text, size_t *ret_len)
{
	const struct entry *e = entry_of(i);

	if (i->type != INODE_VIEW)
		return e && e->render ? e->render(v, call->who, ret_text, ret_len) : -EIO;
	store_rdlock(v->store);
	const struct kind_file *f = kind_view(v, i);
	store_unlock_tables(v->store);
	return f ? f->render(v, i->secret, handle_shown(h).version, ret_text, ret_len) : -EIO;
}

static int make_text(struct vault *v, const struct call *call, struct handle *h, uint64_t fh)
{
	char *text = NULL;
	size_t len = 0;
	struct inode i;
	int r = inode_unpack(h->ino, &i) ? render(v, call, h, &i, &text, &len) : -EIO;

	return r ? r : answers_put(v->answers, fh, h->neighbour, text, len);
}

/* What it says was made for its opener: nobody else reads it. */
static bool is_opener(const struct call *call, const struct handle *h)
{
	return call_trusted(call) && !memcmp(h->digest, call->who->digest, IDENTITY_DIGEST);
}

/* The right to a view can be lost while it is open. 0 or negative errno. */
static int may_still(struct vault *v, const struct call *call, struct handle *h)
{
	struct inode i;

	if (!h->secret || !inode_unpack(h->ino, &i))
		return 0;
	store_rdlock(v->store);
	const struct kind_file *f = kind_view(v, &i);
	const enum verb verb = f ? f->verb : VERB_GET;
	store_unlock_tables(v->store);
	return f ? -access_recheck(v, call, h, verb) : -EACCES;
}

int made_read(struct vault *v, const struct call *call, struct handle *h, const struct read_ask *ask, bool may_block,
	      struct read_result *ret)
{
	if (!is_opener(call, h))
		return -EACCES;
	int r = may_still(v, call, h);
	if (r)
		return r;
	r = answers_read(v->answers, ask->fh, ask->offset, ask->size, &ret->text, &ret->len);
	if (r == -ENOENT) {
		if (!may_block)
			return -EAGAIN;
		r = make_text(v, call, h, ask->fh);
		if (!r)
			r = answers_read(v->answers, ask->fh, ask->offset, ask->size, &ret->text, &ret->len);
	}
	ret->data = ret->text;
	return r;
}

static int size_of(struct vault *v, const struct call *call, struct handle *h, uint64_t fh, bool may_block,
		   size_t *ret_size)
{
	int r = answers_size(v->answers, fh, ret_size);
	if (r != -ENOENT)
		return r;
	if (!may_block)
		return -EAGAIN;
	r = make_text(v, call, h, fh);
	if (r)
		return r == -EAGAIN ? -ENOBUFS : r;
	return answers_size(v->answers, fh, ret_size);
}

int made_size(struct vault *v, const struct call *call, const struct inode *i, uint64_t fh, bool may_block,
	      size_t *ret_size)
{
	const uint32_t object = made_object(i);
	int r = -ENOENT;
	bool own;

	if (!fh && call->who)
		fh = handle_last(v->handles, object, call->tid, call->who->tgid, &own);
	/* or the text would be that of a file which was taken back */
	struct handle *h = fh ? handle_hold(v->handles, fh) : NULL;
	if (!h)
		return -ENOENT;
	if (h->object == object && is_opener(call, h) && !may_still(v, call, h))
		r = size_of(v, call, h, fh, may_block, ret_size);
	handle_let(v->handles, h);
	return r;
}
