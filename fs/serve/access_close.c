/* The end of an open file: closed, or taken back. */
#include "fs/serve/access.h"

#include <errno.h>

#include "fs/serve/staged.h"

void access_forget_plain(struct vault *v, enum handle_kind kind, uint32_t secret, uint32_t version)
{
	if (kind == HANDLE_VALUE && !handle_readers(v->handles, secret, version))
		plain_linger(v->plain, secret, version);
}

int access_take_back(struct vault *v, const struct handle_ask *wanted, struct handle **ret_handle)
{
	uint64_t fh;
	struct handle *h = handle_take_back(v->handles, wanted, &fh);

	if (!h)
		return -ENFILE;
	answers_drop(v->answers, fh);
	access_forget_plain(v, (enum handle_kind)h->kind, h->secret, handle_shown(h).version);
	handle_pass_on(v->handles, h, wanted);
	*ret_handle = h;
	return 0;
}

void access_close(struct vault *v, uint64_t fh)
{
	struct handle *h = handle_hold(v->handles, fh); /* or it is taken back, and another one's stage is forgotten */
	if (!h)
		return;
	uint32_t secret = h->secret, version = handle_shown(h).version, kind = h->kind;
	staged_drop(v, h);
	identity_unref(v->openers[(uint32_t)fh]);
	v->openers[(uint32_t)fh] = NULL;
	if (kind == HANDLE_TEXT || kind == HANDLE_CTL)
		answers_drop(v->answers, fh);
	handle_release(v->handles, fh);
	handle_let(v->handles, h);
	access_forget_plain(v, (enum handle_kind)kind, secret, version);
}
