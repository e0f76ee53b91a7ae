#include "fs/serve/measure.h"

#include <errno.h>

#include "fs/common/clock.h"
#include "fs/serve/made.h"
#include "store/core/tables.h"

/* The kernel takes a size in two steps, in the thread that asked: it notes it, and then cuts the pages. Nobody tells
 * when the second is done; a thread that has waited that long for its turn on a processor is not waited for. */
#define TAKEN_NS INT64_C(1000000000)

static const struct attr_shown newest;

static bool is_newest(struct vault *v, uint32_t secret, uint32_t version)
{
	store_rdlock(v->store);
	const struct catalog_secret *s = store_get(v->store, secret);
	const bool same = !s || s->current == version;
	store_unlock_tables(v->store);
	return same;
}

/* An open file through which `current` is read, and which has no bytes of its own. */
static const struct handle *reader(struct vault *v, uint64_t fh, uint32_t secret)
{
	const struct handle *h = fh ? handle_get(v->handles, fh) : NULL;

	return h && h->object == secret && !h->stage ? h : NULL;
}

/* Who asks, if that is known without a wait: others wait for the lock of a file whose end is looked for. */
static bool move(struct vault *v, const struct call *call, uint64_t fh, const struct measure_ask *ask)
{
	struct call a = *call;

	if (!ask->may_record)
		return false;
	if (a.who)
		return access_move(v, &a, fh);
	a.patience = WAITS_FOR_NOTHING;
	if (call_identify(v, &a))
		return false;
	const bool moved = access_move(v, &a, fh);
	call_release(&a);
	return moved;
}

static size_t slot_of(uint32_t secret) { return secret % TOLD_MAX; }

bool measure_lets_pages(struct vault *v, const struct call *call, uint32_t secret)
{
	struct told *told = &v->told.of[slot_of(secret)];

	if (atomic_load(&told->secret) != secret)
		return true;
	pthread_mutex_lock(&v->told.lock);
	const bool settled = told->newest_to == call->tid && clock_monotonic() - told->when > TAKEN_NS;
	if (settled)
		atomic_store(&told->secret, 0);
	pthread_mutex_unlock(&v->told.lock);
	return settled;
}

/* Before the answer goes. */
static void note(struct vault *v, const struct call *call, uint32_t secret, bool older)
{
	struct told *told = &v->told.of[slot_of(secret)];

	if (!older && atomic_load(&told->secret) != secret)
		return;
	pthread_mutex_lock(&v->told.lock);
	told->newest_to = older ? 0 : call->tid;
	if (older) {
		told->when = clock_monotonic();
		atomic_store(&told->secret, secret);
	}
	pthread_mutex_unlock(&v->told.lock);
}

static struct attr_shown choose(struct vault *v, const struct call *call, const struct measure_ask *ask,
				uint32_t secret, bool *ret_older)
{
	const struct identity *who = call_trusted(call);
	uint64_t fh = ask->fh;
	bool own = fh != 0;

	*ret_older = false;
	if (!fh && who)
		fh = handle_last(v->handles, secret, call->tid, who->tgid, &own);
	const struct handle *h = reader(v, fh, secret);
	if (!h)
		return newest;
	/* by its number, also where that is the newest: another can come before the answer is made */
	struct handle_shown shown = handle_shown(h);
	if (!is_newest(v, secret, shown.version)) {
		const bool certain = ask->fh || (own && !shown.begun); /* whose size is asked for */
		if (own && !shown.begun && move(v, call, fh, ask))
			shown = handle_shown(h);
		else if ((shown.ended && !ask->fh) ||
			 clock_monotonic() - h->opened > (certain ? MEASURE_LONG_NS : MEASURE_NS))
			return newest;
		else
			*ret_older = true;
	}
	/* one that was taken back meanwhile says nothing */
	return handle_get(v->handles, fh) == h ? (struct attr_shown){ shown.version, shown.size } : newest;
}

bool measure_asks(const struct inode *i, bool named) { return !inode_is_dir(i) && (!named || made_is(i)); }

int measure(struct vault *v, const struct call *call, const struct measure_ask *ask, struct attr_shown *ret_shown)
{
	size_t size = 0;
	struct inode i;
	bool older;

	*ret_shown = newest;
	if (!inode_unpack(ask->ino, &i))
		return 0;
	if (made_is(&i)) {
		const int r = made_size(v, call, &i, ask->fh, ask->may_block, &size);
		ret_shown->size = r ? 0 : (uint32_t)size;
		return r == -EAGAIN ? r : 0;
	}
	if (i.type != INODE_CURRENT)
		return 0;
	*ret_shown = choose(v, call, ask, i.secret, &older);
	note(v, call, i.secret, older);
	return 0;
}
