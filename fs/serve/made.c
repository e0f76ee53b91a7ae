#include "fs/serve/made.h"

#include <errno.h>
#include <string.h>

#include "fs/serve/entries.h"
#include "fs/serve/read.h"

bool made_is(const struct inode *i)
{
	const struct entry *e = entry_of(i);

	return e && e->render;
}

static int make_text(struct vault *v, const struct call *call, struct handle *h, uint64_t fh)
{
	char *text = NULL;
	size_t len = 0;
	struct inode inode;
	int r = -EIO;

	const struct entry *e = inode_unpack(h->ino, &inode) ? entry_of(&inode) : NULL;
	if (e && e->render)
		r = e->render(v, call->who, &text, &len);
	return r ? r : answers_put(v->answers, fh, h->neighbour, text, len);
}

/* What it says was made for its opener: nobody else reads it. */
static bool is_opener(const struct call *call, const struct handle *h)
{
	return call_trusted(call) && !memcmp(h->digest, call->who->digest, IDENTITY_DIGEST);
}

int made_read(struct vault *v, const struct call *call, struct handle *h, const struct read_ask *ask, bool may_block,
	      struct read_result *ret)
{
	if (!is_opener(call, h))
		return -EACCES;
	int r = answers_read(v->answers, ask->fh, ask->offset, ask->size, &ret->text, &ret->len);
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
	const uint32_t object = HANDLE_OWN + i->low;
	int r = -ENOENT;
	bool own;

	if (!fh && call->who)
		fh = handle_last(v->handles, object, call->tid, call->who->tgid, &own);
	/* or the text would be that of a file which was taken back */
	struct handle *h = fh ? handle_hold(v->handles, fh) : NULL;
	if (!h)
		return -ENOENT;
	if (h->object == object && is_opener(call, h))
		r = size_of(v, call, h, fh, may_block, ret_size);
	handle_let(v->handles, h);
	return r;
}
