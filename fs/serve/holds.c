#include "fs/serve/holds.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "fs/common/clock.h"
#include "fs/serve/entries.h"
#include "fs/serve/ring.h"
#include "fs/serve/vault.h"
#include "fs/serve/waits.h"
#include "store/core/tables.h"

#define ASKED      64  /* files that the bell was asked for and has not answered */
#define WAIT_MS    100 /* an open waits for the bell this long */
/* and a rename over current: without the bell's look, watches of the file end */
#define LOOKED_MS  2000
/* the bell's word may have been lost; longer than the kernel keeps a lease that is broken */
#define FORGET_MS  60000
#define PAUSE_MS   1000 /* the bell can hold nothing just now: it is not asked before this */
#define LOOK_MS    1000 /* between two files that are let go */
#define STRANGE_MS 50   /* between two questions who the bell is */
#define EXPECT_MS  1000 /* a bell that is started greets long before this */
#define STACK_SIZE (128u * 1024)

/* late: an open has waited for it in vain; no other does. Of a look: it is answered. ino 0: free. */
struct asked {
	uint64_t ino;
	int64_t at_ms;
	bool late;
};

struct holds {
	struct vault *v;
	struct shared_holds *shared;
	pthread_mutex_t lock;
	pthread_cond_t answered;
	struct asked asked[ASKED];
	uint64_t looks; /* asked for so far */
	int64_t not_before_ms;
	_Atomic int64_t strange_ms; /* since when the bell has not greeted, as far as the thread saw; 0: it has */
	uint32_t hand;              /* of the clock that finds what was not opened for the longest time */
	int64_t next_look_ms;
	pthread_t thread;
	int wake[2];
	bool started;
};

/* ---- the table ---- */

static uint32_t first_slot(uint64_t ino) { return (uint32_t)((ino * 0x9e3779b97f4a7c15u) >> 40) & (HOLD_SLOTS - 1); }

/* -1: it is not there. */
static int64_t slot_of(const struct shared_holds *s, uint64_t ino)
{
	for (uint32_t i = first_slot(ino), n = 0; n < HOLD_SLOTS; i = (i + 1) & (HOLD_SLOTS - 1), n++) {
		const uint64_t there = atomic_load_explicit(&s->ino[i], memory_order_relaxed);
		if (there == ino)
			return i;
		if (there == 0)
			break;
	}
	return -1;
}

static void insert(struct shared_holds *s, uint64_t ino)
{
	uint32_t i = first_slot(ino);

	for (size_t n = 0; n < HOLD_SLOTS && s->ino[i] > HOLD_GONE; n++)
		i = (i + 1) & (HOLD_SLOTS - 1);
	s->used += s->ino[i] == 0;
	s->opened[i] = 1;
	s->n++;
	atomic_store_explicit(&s->ino[i], ino, memory_order_release);
}

static void clear(struct shared_holds *s)
{
	s->bell = 0;
	s->n = s->used = 0;
	for (size_t i = 0; i < HOLD_SLOTS; i++)
		s->ino[i] = 0;
}

/* Places of what was let go fill the table in time. For the moment in which they are taken out a file may be found not
 * to be held, which costs its open a question. */
static void tidy(struct shared_holds *s)
{
	static uint64_t kept[BELL_HOLDS]; /* of the one thread that changes the table */
	const int32_t bell = s->bell;
	size_t n = 0;

	for (size_t i = 0; i < HOLD_SLOTS && n < BELL_HOLDS; i++)
		if (s->ino[i] > HOLD_GONE)
			kept[n++] = s->ino[i];
	clear(s);
	for (size_t i = 0; i < n; i++)
		insert(s, kept[i]);
	s->bell = bell;
}

static void add(struct shared_holds *s, uint64_t ino)
{
	if (slot_of(s, ino) >= 0)
		return;
	if (s->used >= HOLD_SLOTS / 2)
		tidy(s);
	if (s->n < BELL_HOLDS)
		insert(s, ino);
}

static void take_out(struct shared_holds *s, uint64_t ino)
{
	const int64_t i = slot_of(s, ino);

	if (i < 0)
		return;
	s->ino[i] = HOLD_GONE;
	s->n--;
}

/* ---- asking ---- */

/* With the lock. False: nothing was heard for so long. */
static bool wait_until(struct holds *h, int64_t end_ms)
{
	const struct timespec end = { .tv_sec = end_ms / 1000, .tv_nsec = end_ms % 1000 * 1000000 };

	return pthread_cond_timedwait(&h->answered, &h->lock, &end) != ETIMEDOUT;
}

static struct asked *find_asked(struct holds *h, uint64_t ino)
{
	for (size_t i = 0; i < ASKED; i++)
		if (h->asked[i].ino == ino)
			return &h->asked[i];
	return NULL;
}

/* Whether the bell is there and can hold one more. */
static bool can_hold(const struct holds *h)
{
	const int32_t bell = h->v->shared->keeper.bell;

	return bell && atomic_load_explicit(&h->shared->bell, memory_order_relaxed) == bell &&
	       h->shared->n < BELL_HOLDS && clock_ms() >= h->not_before_ms;
}

/* A greeting may have come before the keeper had written down who the bell is. */
static bool knows_bell(const struct holds *h) { return h->shared->bell == h->v->shared->keeper.bell; }

/* The daemon has just started, or its bell has: what is opened before the bell greets would be held by nobody. */
static bool expects_bell(const struct holds *h)
{
	const int64_t since = h->strange_ms;

	return !(h->shared->bell && knows_bell(h)) && !h->v->shared->keeper.ending &&
	       (!since || clock_ms() - since < EXPECT_MS);
}

bool holds_ready(struct holds *h, uint64_t ino)
{
	if (!h)
		return true;
	const int64_t i = slot_of(h->shared, ino);
	if (i >= 0 && h->shared->bell == h->v->shared->keeper.bell) {
		if (!atomic_load_explicit(&h->shared->opened[i], memory_order_relaxed))
			atomic_store_explicit(&h->shared->opened[i], 1, memory_order_relaxed);
		return true;
	}
	pthread_mutex_lock(&h->lock);
	const struct asked *a = find_asked(h, ino);
	const bool ready = can_hold(h) ? (a ? a->late : !find_asked(h, 0)) : !expects_bell(h);
	pthread_mutex_unlock(&h->lock);
	return ready;
}

/* false: it has none, or not any more. */
static bool path_of(struct vault *v, uint64_t ino, char path[BELL_PATH_MAX])
{
	const struct catalog_secret *s;
	struct inode i;

	*path = '\0';
	if (!inode_unpack(ino, &i) || inode_is_dir(&i))
		return false;
	if (i.type == INODE_OWN) {
		const struct entry *e = entry_of(&i);
		if (e && e->held)
			snprintf(path, BELL_PATH_MAX, ".coffer/%s", e->name);
		return *path;
	}
	store_rdlock(v->store);
	s = store_get(v->store, i.secret);
	if (s && !s->deleted && i.type == INODE_CURRENT)
		snprintf(path, BELL_PATH_MAX, "%s/current", s->name);
	else if (s && !s->deleted && i.type == INODE_VERSION)
		snprintf(path, BELL_PATH_MAX, "%s/versions/%u", s->name, i.low);
	store_unlock_tables(v->store);
	return *path;
}

static bool ask(struct holds *h, uint64_t ino)
{
	struct asked *a = find_asked(h, 0);
	char path[BELL_PATH_MAX];

	if (!a || !can_hold(h) || !path_of(h->v, ino, path) || bell_send(h->v->bell_fd, BELL_HOLD, path, ino))
		return false;
	*a = (struct asked){ .ino = ino, .at_ms = clock_ms() };
	return true;
}

void holds_take(struct holds *h, uint64_t ino)
{
	const int64_t until = clock_ms() + WAIT_MS;
	struct asked *a;

	waits_begin();
	pthread_mutex_lock(&h->lock);
	while (expects_bell(h) && wait_until(h, until))
		;
	if (slot_of(h->shared, ino) < 0 && (find_asked(h, ino) || ask(h, ino)))
		while ((a = find_asked(h, ino)) && !a->late)
			if (!wait_until(h, until)) {
				a = find_asked(h, ino);
				if (a)
					a->late = true;
				break;
			}
	pthread_mutex_unlock(&h->lock);
	waits_end();
}

/* Another path to the same file, for the bell does one thing at a time for each, and may wait at the file for the very
 * rename. */
static bool look_path_of(struct vault *v, uint64_t ino, char path[BELL_PATH_MAX])
{
	char *slash;

	if (!path_of(v, ino, path) || !(slash = strrchr(path, '/')) || strlen(path) + 3 > BELL_PATH_MAX)
		return false;
	memmove(slash + 2, slash, strlen(slash) + 1);
	memcpy(slash, "/.", 2);
	return true;
}

#define LOOK_BIT (UINT64_C(1) << 63) /* of no inode */

/* Each look has a name of its own: the answer to one that nobody waits for any more says nothing of the next. */
static bool ask_look(struct holds *h, uint64_t ino, uint64_t look)
{
	struct asked *a = find_asked(h, 0);
	char path[BELL_PATH_MAX];

	if (!a || !h->shared->bell || !knows_bell(h) || !look_path_of(h->v, ino, path) ||
	    bell_send(h->v->bell_fd, BELL_LOOK, path, look))
		return false;
	*a = (struct asked){ .ino = look, .at_ms = clock_ms() };
	return true;
}

void holds_look(struct holds *h, uint64_t ino)
{
	struct asked *a;

	if (!h)
		return;
	const int64_t end = clock_ms() + LOOKED_MS;
	waits_begin();
	pthread_mutex_lock(&h->lock);
	const uint64_t look = LOOK_BIT | ++h->looks;
	/* the keeper ends the bell for good when the mount is gone, whatever it was asked */
	while (!((a = find_asked(h, look)) && a->late) && !h->v->shared->keeper.ending && clock_ms() < end) {
		if (!a && !ask_look(h, ino, look) && !(h->shared->bell && knows_bell(h)) && !expects_bell(h))
			break;
		wait_until(h, clock_ms() + STRANGE_MS); /* a queue that was full does not say when it has room */
	}
	if (a)
		*a = (struct asked){ 0 };
	pthread_mutex_unlock(&h->lock);
	waits_end();
}

/* ---- what the bell says ---- */

/* Another bell than the one whose files these are: it has none of them. What anybody may open is asked for at once. */
static void greet(struct holds *h, int32_t bell)
{
	if (bell != h->v->shared->keeper.bell || bell == h->shared->bell)
		return;
	clear(h->shared);
	memset(h->asked, 0, sizeof h->asked);
	h->not_before_ms = 0;
	h->shared->waiting = 0;
	h->shared->since = 0;
	h->shared->bell = bell;
	bell_send(h->v->bell_fd, BELL_LISTEN, "", 0);
	for (enum inode_own k = OWN_DIR; k < OWN_END; k++)
		if (entries[k].held)
			ask(h, inode_own(k));
	pthread_cond_broadcast(&h->answered);
}

static void note_held(struct holds *h, const struct bell_answer *m)
{
	struct asked *a = find_asked(h, m->ino);

	if (m->error == 0)
		add(h->shared, m->ino);
	else if (m->error != -ENOENT)
		h->not_before_ms = clock_ms() + PAUSE_MS;
	if (a)
		*a = (struct asked){ 0 };
	pthread_cond_broadcast(&h->answered);
}

/* The kernel knows; or it is asked again. */
static void note_looked(struct holds *h, const struct bell_answer *m)
{
	struct asked *a = m->ino ? find_asked(h, m->ino) : NULL;

	if (a && m->error)
		*a = (struct asked){ 0 };
	else if (a)
		a->late = true;
	pthread_cond_broadcast(&h->answered);
}

static void hear(struct holds *h, const struct bell_answer *m)
{
	if (m->word == BELL_HELLO)
		greet(h, m->pid);
	if (m->pid != h->shared->bell) /* a word of one that is gone */
		return;
	switch ((enum bell_word)m->word) {
	case BELL_HELD:
		if (m->ino > HOLD_GONE)
			note_held(h, m);
		break;
	case BELL_LOOKED:
		note_looked(h, m);
		break;
	case BELL_LOST:
		if (m->ino) {
			take_out(h->shared, m->ino);
		} else {
			clear(h->shared);
			h->shared->bell = m->pid;
			h->not_before_ms = clock_ms() + PAUSE_MS;
		}
		break;
	case BELL_STATE:
		h->shared->waiting = m->waiting;
		h->shared->since = m->since;
		break;
	case BELL_HELLO:
	default:
		break;
	}
}

/* ---- what is let go ---- */

static void note_open(uint64_t fh, struct handle *e, void *arg)
{
	uint64_t *ino = arg;

	(void)fh;
	if (e->ino == *ino)
		*ino = 0;
}

static bool is_open(struct holds *h, uint64_t ino)
{
	uint64_t looked_for = ino;
	struct inode i;

	if (inode_unpack(ino, &i) && i.type != INODE_OWN)
		handle_each(h->v->handles, i.secret, note_open, &looked_for);
	else
		looked_for = 0; /* the vault's own stay */
	return looked_for == 0;
}

/* One file, where the table is full. */
static void make_room(struct holds *h)
{
	struct shared_holds *s = h->shared;
	char path[BELL_PATH_MAX];

	if (s->n < BELL_HOLDS || clock_ms() < h->next_look_ms)
		return;
	h->next_look_ms = clock_ms() + LOOK_MS;
	for (size_t n = 0; n < 2 * HOLD_SLOTS; n++) {
		const uint32_t i = h->hand++ & (HOLD_SLOTS - 1);
		const uint64_t ino = s->ino[i];
		if (ino <= HOLD_GONE || atomic_exchange(&s->opened[i], 0) || is_open(h, ino))
			continue;
		take_out(s, ino);
		if (path_of(h->v, ino, path))
			bell_send(h->v->bell_fd, BELL_LET_GO, path, ino);
		return;
	}
}

static void forget_unanswered(struct holds *h)
{
	for (size_t i = 0; i < ASKED; i++)
		if (h->asked[i].ino && clock_ms() - h->asked[i].at_ms > FORGET_MS)
			h->asked[i] = (struct asked){ 0 };
}

/* A worker that was killed may have been counting. */
static void recount(struct shared_holds *s)
{
	s->n = s->used = 0;
	for (size_t i = 0; i < HOLD_SLOTS; i++) {
		s->used += s->ino[i] != 0;
		s->n += s->ino[i] > HOLD_GONE;
	}
}

/* For how long the bell has not greeted. */
static void note_strange(struct holds *h)
{
	if (h->shared->bell && knows_bell(h))
		h->strange_ms = 0;
	else if (!h->strange_ms)
		h->strange_ms = clock_ms();
}

static void *listen_to_bell(void *arg)
{
	struct holds *h = arg;

	for (;;) {
		struct pollfd p[] = { { .fd = h->v->bell_fd, .events = POLLIN },
				      { .fd = h->wake[0], .events = POLLIN } };
		struct bell_answer m;
		poll(p, 2, knows_bell(h) ? LOOK_MS : STRANGE_MS);
		if (p[1].revents)
			return NULL;
		vault_ring_lost(h->v, h->wake[0]);
		pthread_mutex_lock(&h->lock);
		if (!knows_bell(h) && !p[0].revents && h->v->shared->keeper.bell)
			bell_send(h->v->bell_fd, BELL_LISTEN, "", 0);
		while (recv(h->v->bell_fd, &m, sizeof m, MSG_DONTWAIT | MSG_TRUNC) == (ssize_t)sizeof m)
			hear(h, &m);
		note_strange(h);
		make_room(h);
		forget_unanswered(h);
		pthread_mutex_unlock(&h->lock);
		if (p[0].revents & (POLLERR | POLLHUP)) /* the keeper is gone */
			poll(NULL, 0, LOOK_MS);
	}
}

int holds_new(struct vault *v, struct holds **ret_holds)
{
	struct holds *h = calloc(1, sizeof *h);
	pthread_condattr_t monotonic;
	pthread_attr_t attr;
	int r;

	if (!h)
		return -ENOMEM;
	h->v = v;
	h->shared = &v->shared->holds;
	recount(h->shared);
	h->wake[0] = h->wake[1] = -1;
	pthread_mutex_init(&h->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&h->answered, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	r = pipe(h->wake) ? -errno : -pthread_create(&h->thread, &attr, listen_to_bell, h);
	pthread_attr_destroy(&attr);
	if (r) {
		holds_free(h);
		return r;
	}
	h->started = true;
	bell_send(v->bell_fd, BELL_LISTEN, "", 0); /* its answer: which bell it is */
	*ret_holds = h;
	return 0;
}

void holds_free(struct holds *h)
{
	if (!h)
		return;
	if (h->started) {
		(void)!write(h->wake[1], "", 1);
		pthread_join(h->thread, NULL);
	}
	for (int i = 0; i < 2; i++)
		if (h->wake[i] >= 0)
			close(h->wake[i]);
	pthread_cond_destroy(&h->answered);
	pthread_mutex_destroy(&h->lock);
	free(h);
}
