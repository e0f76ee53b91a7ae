#include "fs/serve/ctl_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/serve/decide.h"
#include "fs/serve/read.h"
#include "fs/serve/staged.h"
#include "store/core/tables.h"
#include "store/objects/stages.h"

/* The answer begins (handle.of.ctl.answer) at the end of the request for a caller that goes on reading, at 0 for one
 * that seeks back. */

static struct ctl_buffer *buffer_of(struct vault *v, const struct handle *h)
{
	return h->of.ctl.buffer && h->of.ctl.buffer <= CTL_BUFFERS ? &v->shared->ctl[h->of.ctl.buffer - 1] : NULL;
}

static struct handle *ctl_handle(struct vault *v, uint64_t fh)
{
	struct handle *h = handle_get(v->handles, fh);
	return h && h->kind == HANDLE_CTL ? h : NULL;
}

/* ---- whose the buffers are: all under ctl_lock ---- */

/* The reserve is counted apart: who takes from it must not become the heaviest by that, and lose it to those whom it is
 * kept from. */
static const struct shares_config pool = { .units = CTL_BUFFERS - CTL_BUFFERS_RESERVE,
					   .most = CTL_BUFFERS_MOST,
					   .forced = CTL_BUFFERS };

/* Counted when it is first asked for: a worker that took over finds the buffers as they are, some of which nobody has
 * any more. NULL: memory is short. */
static struct shares *shares_of(struct vault *v)
{
	if (v->buffers.shares || shares_new(&pool, &v->buffers.shares))
		return v->buffers.shares;
	for (size_t i = 0; i < CTL_BUFFERS; i++) {
		struct ctl_buffer *b = &v->shared->ctl[i];
		const struct handle *h = b->owner ? ctl_handle(v, b->owner) : NULL;
		/* Who else had it of the reserve is not known any more: that counts among the others. */
		v->buffers.reserve[i] = h && h->neighbour == NEIGHBOUR_ROOT &&
					v->buffers.reserved < CTL_BUFFERS_RESERVE;
		if (v->buffers.reserve[i])
			v->buffers.reserved++;
		else if (h)
			shares_force(v->buffers.shares, h->neighbour, 1);
		else
			b->owner = 0;
	}
	return v->buffers.shares;
}

static void let_go(struct vault *v, struct ctl_buffer *b)
{
	struct shares *s = shares_of(v); /* first: it is what finds out whose the reserve is */
	const struct handle *h = ctl_handle(v, b->owner);
	const size_t i = (size_t)(b - v->shared->ctl);

	if (v->buffers.reserve[i])
		v->buffers.reserved--;
	else if (h && s)
		shares_give(s, h->neighbour, 1);
	v->buffers.reserve[i] = false;
	b->owner = 0;
}

/* Where nothing is left, the heaviest neighbour loses one to whoever has less: the first that no thread is at. What was
 * had of the reserve goes back to it. */
static bool take_from_heaviest(struct vault *v, uint64_t neighbour)
{
	struct shares *s = shares_of(v);
	uint32_t held;
	const uint64_t heaviest = shares_heaviest(s, &held);

	if (shares_taken(s) < pool.units || held <= shares_held(s, neighbour) + 1)
		return false;
	for (size_t i = 0; i < CTL_BUFFERS; i++) {
		struct ctl_buffer *b = &v->shared->ctl[i];
		const struct handle *h = b->owner && !v->buffers.busy[i] && !v->buffers.reserve[i]
						 ? ctl_handle(v, b->owner)
						 : NULL;
		if (h && h->neighbour == heaviest) {
			let_go(v, b);
			shares_force(s, neighbour, 1);
			return true;
		}
	}
	return false;
}

enum taken { TAKEN_NONE, TAKEN_SHARE, TAKEN_RESERVE };

static enum taken take_share(struct vault *v, const struct call *call, const struct handle *h)
{
	struct shares *s = shares_of(v);

	if (!s)
		return TAKEN_NONE;
	const bool room = shares_taken(s) + v->buffers.reserved < CTL_BUFFERS;
	if (room && shares_take(s, h->neighbour, 1, SHARE_ORDINARY))
		return TAKEN_SHARE;
	if (room && v->buffers.reserved < CTL_BUFFERS_RESERVE && vault_is_administrator(v, call_trusted(call))) {
		v->buffers.reserved++;
		return TAKEN_RESERVE;
	}
	return take_from_heaviest(v, h->neighbour) ? TAKEN_SHARE : TAKEN_NONE;
}

/* Somebody has this request open. Names of requests are hard to guess, but whoever watches their directory hears of one
 * when it is opened, and a write to it that does not end would hold its lock. */
static bool is_taken(struct vault *v, uint64_t ino)
{
	struct inode i;

	if (!inode_unpack(ino, &i) || i.type != INODE_REQUEST)
		return false;
	for (size_t k = 0; k < CTL_BUFFERS; k++) {
		const struct ctl_buffer *b = &v->shared->ctl[k];
		const struct handle *h = b->owner ? ctl_handle(v, b->owner) : NULL;
		if (h && h->ino == ino)
			return true;
	}
	return false;
}

int ctl_file_open(struct vault *v, const struct call *call, uint64_t fh)
{
	struct handle *h = ctl_handle(v, fh);
	struct ctl_buffer *b = v->shared->ctl;
	enum taken taken = TAKEN_NONE;
	int r = 0;

	if (!h)
		return -EBADF;
	if (h->of.ctl.buffer) /* the OPEN came again */
		return 0;
	pthread_mutex_lock(&v->buffers.lock);
	if (is_taken(v, h->ino))
		r = -EBUSY;
	else if ((taken = take_share(v, call, h)) == TAKEN_NONE)
		r = -ENFILE;
	if (!r) {
		while (b->owner) /* there are as many as there are shares */
			b++;
		b->len = b->dead = b->error = b->refused = 0;
		b->value_len = b->value_got = b->under_way = b->under_way_at = 0;
		b->complete = 0;
		b->owner = fh;
		h->of.ctl.buffer = (uint64_t)(b - v->shared->ctl) + 1;
		v->buffers.reserve[b - v->shared->ctl] = taken == TAKEN_RESERVE;
	}
	pthread_mutex_unlock(&v->buffers.lock);
	return r;
}

/* The worker before us may have been somebody else's, and have left any numbers in it: whoever is at it would write
 * where they say. */
static bool is_sound(const struct ctl_buffer *b)
{
	return b->len <= sizeof b->line && b->complete <= 1 && b->value_got < UINT64_MAX / 2 && b->error <= INT32_MAX;
}

/* The handle's buffer, for this thread alone until end_use. -EBADF; -ESTALE: it went to another neighbour; -EAGAIN:
 * another thread is at it. */
static int begin_use(struct vault *v, struct handle *h, uint64_t fh, struct ctl_buffer **ret_buffer)
{
	struct ctl_buffer *b = h ? buffer_of(v, h) : NULL;
	int r = 0;

	if (!b)
		return -EBADF;
	pthread_mutex_lock(&v->buffers.lock);
	if (b->owner != fh)
		r = -ESTALE;
	else if (v->buffers.busy[b - v->shared->ctl])
		r = -EAGAIN;
	else
		v->buffers.busy[b - v->shared->ctl] = true;
	pthread_mutex_unlock(&v->buffers.lock);
	if (!r && !is_sound(b)) {
		b->len = 0;
		b->complete = 0;
		b->value_got = 0;
		b->error = 0;
		b->dead = 1;
	}
	if (!r)
		*ret_buffer = b;
	return r;
}

static void end_use(struct vault *v, const struct ctl_buffer *b)
{
	pthread_mutex_lock(&v->buffers.lock);
	v->buffers.busy[b - v->shared->ctl] = false;
	pthread_mutex_unlock(&v->buffers.lock);
}

/* One process speaks, whatever happens to its descriptor: a setuid program must not lend it its voice. */
static bool same_process(const struct call *a, const struct handle *h)
{
	const struct identity *w = call_trusted(a);
	return w && w->full && w->uid == h->uid && w->gid == h->gid && w->tgid == h->tgid &&
	       w->start_time == h->start_time && w->start_time && w->user_ns == h->user_ns && w->pid_ns == h->pid_ns &&
	       w->mnt_ns == h->mnt_ns;
}

/* A worker may be killed between any two of these stores, and the next one goes on from what it finds: the compiler
 * must leave them in their order. */
static void in_order(void) { atomic_signal_fence(memory_order_seq_cst); }

/* value_len of a line that cannot be carried out: what follows is thrown away, and the answer is about the line */
#define NO_LENGTH UINT64_MAX

#define LINE_SHORT 4096u

/* What may not be stored is not staged either: the disk is not for strangers to fill. The answer is a refusal, if the
 * policy then still says so. */
static void begin_value(struct vault *v, const struct call *call, struct ctl_buffer *b)
{
	char why[128];
	uint64_t n = 0;
	bool good = b->len <= CTL_LINE_MAX && !ctl_value_length((const char *)b->line, b->len, &n, why, sizeof why);
	b->value_len = good ? n : NO_LENGTH;
	b->refused = good && n && !ctl_may_stage(&v->ctl, call->who, (const char *)b->line, b->len);
}

/* Bytes of the line, up to and with its newline; what follows belongs to the value. */
static void gather_line(struct vault *v, const struct call *call, struct ctl_buffer *b, const uint8_t **data,
			size_t *len)
{
	const uint8_t *newline = memchr(*data, '\n', *len);
	size_t take = newline ? (size_t)(newline - *data) : *len;
	size_t room = sizeof b->line - b->len;

	if (take > room)
		take = room; /* longer than any request: execute says so */
	memcpy(b->line + b->len, *data, take);
	in_order();
	b->len += (uint32_t)take;
	if (newline) {
		in_order();
		begin_value(v, call, b);
		in_order();
		b->complete = 1;
		*len -= (size_t)(newline - *data) + 1;
		*data = newline + 1;
	} else {
		*len = 0;
	}
}

static int stage_value(struct vault *v, struct handle *h, struct ctl_buffer *b, uint64_t unique, const uint8_t *data,
		       size_t len)
{
	/* what is too much, or comes to a sealed vault, is counted and thrown away: the answer will say so */
	bool keep = !b->refused && b->value_len <= STAGE_SET_MAX && b->value_got + len <= b->value_len &&
		    !store_sealed(v->store);
	int r = 0;

	if (keep && !h->stage)
		r = store_stage_new(v->store, &h->stage);
	if (!r && keep)
		r = staged_grow(v, h, b->value_got + len);
	if (!r && keep)
		/* the limit of one value is ctl's to judge */
		r = store_stage_write_set(v->store, h->stage, unique, b->value_got, data, len);
	in_order();
	if (!r)
		b->value_got += len;
	return r;
}

/* Where the next WRITE must begin. One that was cut in its middle comes again from its beginning: what of it is here
 * already is passed over. 0, or -ESPIPE. */
static int pass_over(const struct ctl_buffer *b, uint64_t unique, uint64_t offset, const uint8_t **data, size_t *len)
{
	const uint64_t got = b->len + b->complete + b->value_got;

	if (offset == CTL_APPEND)
		offset = b->under_way == unique ? b->under_way_at : got;
	/* a line that is longer than any request has lost its count, and everything of it */
	if (offset == got || b->len == sizeof b->line)
		return 0;
	if (b->under_way != unique || offset > got || got - offset > *len)
		return -ESPIPE;
	*data += got - offset;
	*len -= got - offset;
	return 0;
}

/* The line is gathered in memory, but for a long one not by the thread that everybody waits for: it is parsed at its
 * end. Bytes of a value go to the database. */
static enum patience patience_for(const struct ctl_buffer *b, const uint8_t *data, size_t len)
{
	const uint8_t *newline = b->complete ? NULL : memchr(data, '\n', len);
	const bool value = b->complete ? len > 0 : newline && newline + 1 < data + len;

	if (value)
		return WAITS_FOR_ALL;
	return b->len + len > LINE_SHORT ? WAITS_FOR_RESOLVER : WAITS_FOR_NOTHING;
}

struct piece {
	uint64_t unique, offset;
	const uint8_t *data;
	size_t len;
};

static int write_piece(struct vault *v, const struct call *call, struct handle *h, struct ctl_buffer *b,
		       const struct piece *p)
{
	const uint64_t unique = p->unique;
	const uint8_t *data = p->data;
	size_t len = p->len;

	if (b->dead || !same_process(call, h)) {
		b->dead = 1;
		return -EPERM;
	}
	if (h->last_unique == unique) /* it came again */
		return 0;
	if (h->of.ctl.answer) /* the answer has been begun: one open, one request */
		return -EPERM;
	if (call->patience < patience_for(b, data, len))
		return -EAGAIN;
	int r = pass_over(b, unique, p->offset, &data, &len);
	if (r)
		return r;
	if (b->under_way != unique) {
		b->under_way_at = b->len + b->complete + b->value_got;
		in_order();
	}
	b->under_way = unique;
	in_order();
	if (!b->complete)
		gather_line(v, call, b, &data, &len);
	if (b->complete && len)
		r = stage_value(v, h, b, unique, data, len);
	if (r) {
		/* the answer says what became of the value, not only that it is short */
		b->error = (uint32_t)-r;
		return r;
	}
	in_order();
	h->last_unique = unique;
	return 0;
}

int ctl_file_write(struct vault *v, const struct call *call, uint64_t fh, uint64_t offset, const uint8_t *data,
		   size_t len)
{
	struct handle *h = ctl_handle(v, fh);
	struct ctl_buffer *b = NULL;
	int r = begin_use(v, h, fh, &b);

	if (r)
		return r;
	r = write_piece(v, call, h, b,
			&(struct piece){ .unique = call->unique, .offset = offset, .data = data, .len = len });
	end_use(v, b);
	return r;
}

static int execute(struct vault *v, const struct call *call, const struct handle *h, const struct ctl_buffer *b,
		   char **ret_text, size_t *ret_len)
{
	if (b->len > CTL_LINE_MAX)
		return ctl_error_answer(E2BIG, "the request's line is longer than 65536 bytes", ret_text, ret_len);
	if (!b->complete)
		return ctl_error_answer(EINVAL,
					"the request is not complete: one line of JSON ending in a newline is wanted "
					"before the answer is read",
					ret_text, ret_len);
	/* whether the value fits the line, the limit and the vault's state is ctl's to judge, and to record */
	const struct ctl_request request = {
		.line = (const char *)b->line,
		.len = b->len,
		.stage = h->stage,
		.value_len = b->value_len != NO_LENGTH ? b->value_got : 0,
		.value_error = -(int)b->error,
		.refused = b->refused != 0,
		.unique = call->unique,
		.resent = call->resent,
	};
	return ctl_execute(&v->ctl, call->who, &request, ret_text, ret_len);
}

struct wanted {
	uint64_t fh, unique, offset;
	size_t size;
	bool resent;
};

static int read_piece(struct vault *v, const struct call *call, struct handle *h, struct ctl_buffer *b,
		      const struct wanted *w, struct read_result *ret_result)
{
	const uint64_t fh = w->fh, offset = w->offset;
	char *text;
	size_t len;

	if (b->dead || !same_process(call, h)) {
		b->dead = 1;
		return -EPERM;
	}
	if (!h->of.ctl.answer)
		h->of.ctl.answer = offset + 1;
	uint64_t base = h->of.ctl.answer - 1;
	if (offset < base)
		return -EINVAL;
	int r = answers_read(v->answers, fh, offset - base, w->size, &ret_result->text, &ret_result->len);
	if (r == -ENOENT && offset > base)
		/* the worker that had the answer is gone: the client asks again, with the same id */
		return -ESTALE;
	if (r == -ENOENT) {
		r = execute(v, call, h, b, &text, &len);
		if (!r)
			r = answers_put_done(v->answers, fh, h->neighbour, text, len);
		if (!r)
			r = answers_read(v->answers, fh, 0, w->size, &ret_result->text, &ret_result->len);
	}
	ret_result->data = ret_result->text;
	return r;
}

int ctl_file_read(struct vault *v, const struct call *call, uint64_t fh, uint64_t offset, size_t size,
		  struct read_result *ret_result)
{
	struct handle *h = ctl_handle(v, fh);
	struct ctl_buffer *b = NULL;
	int r = begin_use(v, h, fh, &b);

	if (r)
		return r;
	r = read_piece(
		v, call, h, b,
		&(struct wanted){
			.fh = fh, .unique = call->unique, .offset = offset, .size = size, .resent = call->resent },
		ret_result);
	end_use(v, b);
	return r;
}

void ctl_file_release(struct vault *v, uint64_t fh)
{
	struct handle *h = ctl_handle(v, fh);
	if (!h)
		return;
	struct ctl_buffer *b = buffer_of(v, h);
	if (h->stage)
		store_stage_drop(v->store, h->stage);
	if (b) {
		pthread_mutex_lock(&v->buffers.lock);
		if (b->owner == fh)
			let_go(v, b);
		pthread_mutex_unlock(&v->buffers.lock);
	}
	access_close(v, fh);
}
