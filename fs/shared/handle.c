#include "fs/shared/handle_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_MAGIC  0x63666832u /* "cfh2" */
#define CAPACITY_MIN 256u
#define EACH_BATCH   128u
#define NO_ENTRY     0u /* links are index + 1 */

/* ---- the index of uniques ---- */

static void uniques_insert(struct handles *h, struct handle *e)
{
	uint32_t *head = &h->uniques[counts_hash(e->unique, h->capacity - 1)];

	e->next = *head;
	*head = handles_index_of(h, e) + 1;
}

static void uniques_remove(struct handles *h, struct handle *e)
{
	uint32_t *link = &h->uniques[counts_hash(e->unique, h->capacity - 1)];

	while (*link != NO_ENTRY && *link != handles_index_of(h, e) + 1)
		link = &h->table->entries[*link - 1].next;
	if (*link != NO_ENTRY)
		*link = e->next;
}

/* ---- entries ---- */

static bool is_reader(const struct handle *e)
{
	return e->kind == HANDLE_VALUE && (e->open_flags & O_ACCMODE) != O_WRONLY;
}

static bool is_read_writer(const struct handle *e)
{
	return e->kind == HANDLE_VALUE && (e->open_flags & O_ACCMODE) == O_RDWR;
}

static bool follows(const struct handle *e) { return e->object != 0; }

static uint64_t reader_key(uint32_t secret, uint32_t version) { return (uint64_t)secret << 32 | version; }

static void account(struct handles *h, struct handle *e)
{
	uniques_insert(h, e);
	if (is_reader(e))
		counts_add(&h->readers, reader_key(e->secret, handle_shown(e).version), 1);
	if (is_read_writer(e))
		counts_add(&h->read_writers, e->secret, 1);
	h->uses[handles_index_of(h, e)].neighbour = e->neighbour;
	h->open++;
}

void handles_unaccount(struct handles *h, struct handle *e)
{
	uniques_remove(h, e);
	if (is_reader(e))
		counts_drop(&h->readers, reader_key(e->secret, handle_shown(e).version));
	if (is_read_writer(e))
		counts_drop(&h->read_writers, e->secret);
	h->uses[handles_index_of(h, e)].neighbour = NOBODYS;
	if (follows(e))
		follow_drop(&h->follow, e);
	h->open--;
}

static void push_free(struct handles *h, struct handle *e)
{
	atomic_store_explicit(&e->state, HANDLE_FREE, memory_order_release);
	e->next = h->free;
	h->free = handles_index_of(h, e) + 1;
}

static void move_counts(struct counts *c, struct count *slots, uint32_t capacity)
{
	struct counts moved = counts_moved(c, slots, capacity);

	free(c->slots);
	*c = moved;
}

static void move_chains(struct handles *h, uint32_t *uniques, uint32_t capacity)
{
	uint32_t old_capacity = h->capacity, *old = h->uniques;

	h->uniques = uniques;
	h->capacity = capacity;
	for (uint32_t i = 0; i < old_capacity; i++) {
		for (uint32_t link = old[i]; link != NO_ENTRY;) {
			struct handle *e = &h->table->entries[link - 1];
			link = e->next;
			uniques_insert(h, e);
		}
	}
	free(old);
}

/* Room in every index for n live entries, so that publish and release need no memory. 0 or -ENOMEM. */
static int reserve(struct handles *h, uint32_t n)
{
	uint32_t capacity = h->capacity ? h->capacity : CAPACITY_MIN;

	while (capacity < 2 * n)
		capacity *= 2;
	if (capacity == h->capacity)
		return 0;
	struct count *readers = calloc(capacity, sizeof(*readers)),
		     *read_writers = calloc(capacity, sizeof(*read_writers));
	uint32_t *uniques = calloc(capacity, sizeof(*uniques));
	if (!readers || !read_writers || !uniques || follow_reserve(&h->follow, capacity) < 0) {
		free(readers);
		free(read_writers);
		free(uniques);
		return -ENOMEM;
	}
	move_counts(&h->readers, readers, capacity);
	move_counts(&h->read_writers, read_writers, capacity);
	move_chains(h, uniques, capacity);
	return 0;
}

/* ---- the table ---- */

static int table_check(struct handle_table *t)
{
	if (t->magic == 0) {
		t->size = (uint32_t)sizeof(*t);
		atomic_store(&t->high, 0);
		__atomic_store_n(&t->magic, TABLE_MAGIC, __ATOMIC_RELEASE);
	}
	return t->magic == TABLE_MAGIC && t->size == sizeof(*t) && atomic_load(&t->high) <= HANDLES_MAX ? 0 : -EPROTO;
}

static const struct shares_config pools[HANDLE_POOLS] = {
	[HANDLES_OF_VALUES] = { VALUES_MAX, VALUES_MOST, HANDLES_RESERVE, HANDLES_MAX },
	[HANDLES_OF_OWN_FILES] = { OWN_FILES_MAX, OWN_FILES_MOST, HANDLES_RESERVE, HANDLES_MAX },
	[HANDLES_OF_DIRECTORIES] = { DIRECTORIES_MAX, DIRECTORIES_MOST, HANDLES_RESERVE, HANDLES_MAX },
};
_Static_assert(VALUES_MAX + OWN_FILES_MAX + DIRECTORIES_MAX == HANDLES_MAX, "the pools are the table");

struct shares *handles_pool(const struct handles *h, uint32_t kind) { return h->shares[handles_pool_kind(kind)]; }

/* In the order in which they were opened. 0 or -ENOMEM. */
static int follow_all(struct handles *h, uint32_t n)
{
	struct handle **all = calloc(n + 1, sizeof(struct handle *));
	uint32_t found = 0;

	if (!all)
		return -ENOMEM;
	for (uint32_t i = 0; i < handles_high(h) && found < n; i++) {
		struct handle *e = &h->table->entries[i];
		if (handles_state_of(e) == HANDLE_OPEN && follows(e))
			all[found++] = e;
	}
	follow_add_all(&h->follow, all, found);
	free(all);
	return 0;
}

static int take_over(struct handles *h)
{
	uint32_t end = handles_high(h), n = 0;
	int r;

	for (uint32_t i = 0; i < end; i++)
		n += handles_state_of(&h->table->entries[i]) == HANDLE_OPEN;
	r = reserve(h, n + 1);
	if (r < 0)
		return r;
	/* downwards, so that the lowest entries are used first */
	for (uint32_t i = end; i-- > 0;) {
		struct handle *e = &h->table->entries[i];
		if (handles_state_of(e) != HANDLE_OPEN) {
			push_free(h, e);
			continue;
		}
		e->comm[HANDLE_COMM - 1] = '\0'; /* whoever wrote it may have been somebody else's */
		account(h, e);
		shares_force(handles_pool(h, e->kind), e->neighbour, 1);
		h->live++;
	}
	return follow_all(h, n);
}

int handles_new(struct handle_table *table, struct handles **ret_handles)
{
	struct handles *h;
	int r;

	r = table_check(table);
	if (r < 0)
		return r;
	h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	h->table = table;
	pthread_mutex_init(&h->lock, NULL);
	/* one that was never open is no candidate: it lies above `high` */
	h->uses = calloc(HANDLES_MAX, sizeof *h->uses);
	r = h->uses ? 0 : -ENOMEM;
	follow_init(&h->follow, table->entries);
	for (int i = 0; i < HANDLE_POOLS && r == 0; i++)
		r = shares_new(&pools[i], &h->shares[i]);
	if (r == 0)
		r = take_over(h);
	if (r < 0) {
		handles_free(h);
		return r;
	}
	*ret_handles = h;
	return 0;
}

void handles_free(struct handles *h)
{
	if (!h)
		return;
	pthread_mutex_destroy(&h->lock);
	for (int i = 0; i < HANDLE_POOLS; i++)
		shares_free(h->shares[i]);
	free(h->readers.slots);
	free(h->read_writers.slots);
	free(h->uniques);
	free(h->uses);
	follow_free(&h->follow);
	free(h);
}

/* An entry to use next: one that was released, else the first that was never used. NULL: the table is full. */
static struct handle *take_free(struct handles *h)
{
	uint32_t end = handles_high(h);

	if (h->free != NO_ENTRY) {
		struct handle *e = &h->table->entries[h->free - 1];
		h->free = e->next;
		return e;
	}
	if (end == HANDLES_MAX)
		return NULL;
	/* before the entry is touched: the next worker looks no further than this */
	atomic_store_explicit(&h->table->high, end + 1, memory_order_release);
	return &h->table->entries[end];
}

static bool has_share(struct handles *h, const struct handle_ask *ask)
{
	struct shares *s = handles_pool(h, ask->kind);

	return shares_take(s, ask->neighbour, 1, SHARE_ORDINARY) ||
	       (ask->reserved && shares_take(s, ask->neighbour, 1, SHARE_RESERVED));
}

void handles_begin_life(struct handle *e, const struct handle_ask *ask)
{
	/* An fh of the entry's last life must not match its next one; 0 is never a generation, so that no fh is 0. */
	const uint32_t generation = handles_generation_of(e) + 1;

	__atomic_store_n(&e->generation, generation ? generation : 1, __ATOMIC_RELAXED);
	atomic_store_explicit(&e->state, HANDLE_BUSY, memory_order_release);
	memset((char *)e + offsetof(struct handle, unique), 0, sizeof(*e) - offsetof(struct handle, unique));
	e->uid = ask->uid;
	e->unique = ask->unique;
	e->neighbour = ask->neighbour;
	e->kind = ask->kind;
}

int handle_new(struct handles *h, const struct handle_ask *ask, struct handle **ret_handle)
{
	struct handle *e = NULL;
	int r;

	pthread_mutex_lock(&h->lock);
	r = reserve(h, h->live + 1);
	if (r < 0)
		goto out;
	r = -ENFILE;
	if (!has_share(h, ask))
		goto out;
	e = take_free(h);
	if (!e) {
		shares_give(handles_pool(h, ask->kind), ask->neighbour, 1);
		goto out;
	}
	handles_begin_life(e, ask);
	h->live++;
	*ret_handle = e;
	r = 0;
out:
	pthread_mutex_unlock(&h->lock);
	return r;
}

uint64_t handle_publish(struct handles *h, struct handle *e)
{
	uint64_t fh;

	pthread_mutex_lock(&h->lock);
	e->order = ++h->table->orders;
	account(h, e);
	__atomic_store_n(&h->uses[handles_index_of(h, e)].at, handles_coarse_now(), __ATOMIC_RELAXED);
	if (follows(e))
		follow_add(&h->follow, e);
	fh = handles_fh_of(h, e);
	atomic_store_explicit(&e->state, HANDLE_OPEN, memory_order_release);
	pthread_mutex_unlock(&h->lock);
	return fh;
}

static void give_back(struct handles *h, struct handle *e)
{
	shares_give(handles_pool(h, e->kind), e->neighbour, 1);
	h->live--;
	push_free(h, e);
}

void handle_abandon(struct handles *h, struct handle *e)
{
	pthread_mutex_lock(&h->lock);
	give_back(h, e);
	pthread_mutex_unlock(&h->lock);
}

struct handle *handle_get(struct handles *h, uint64_t fh)
{
	uint32_t i = (uint32_t)fh;
	struct handle *e;

	if (i >= handles_high(h))
		return NULL;
	e = &h->table->entries[i];
	/* the state first: an entry that was taken again in between has another generation */
	return handles_state_of(e) == HANDLE_OPEN && handles_generation_of(e) == (uint32_t)(fh >> 32) ? e : NULL;
}

struct handle *handle_by_unique(struct handles *h, uint64_t unique, uint64_t *ret_fh)
{
	struct handle *found = NULL;

	pthread_mutex_lock(&h->lock);
	for (uint32_t link = h->uniques[counts_hash(unique, h->capacity - 1)]; link != NO_ENTRY && !found;) {
		struct handle *e = &h->table->entries[link - 1];
		if (e->unique == unique)
			found = e;
		link = e->next;
	}
	if (found)
		*ret_fh = handles_fh_of(h, found);
	pthread_mutex_unlock(&h->lock);
	return found;
}

static bool writes(struct handle *e) { return e->kind == HANDLE_VALUE && (e->open_flags & O_ACCMODE) != O_RDONLY; }

void handle_release(struct handles *h, uint64_t fh)
{
	struct handle *e;

	pthread_mutex_lock(&h->lock);
	e = handle_get(h, fh);
	if (e) {
		if (writes(e))
			h->writers[(uint32_t)e->tgid % WRITERS_KEPT] = (struct writer){ e->secret, e->tgid,
											handles_coarse_now() };
		handles_unaccount(h, e);
		give_back(h, e);
	}
	pthread_mutex_unlock(&h->lock);
}

bool handle_move(struct handles *h, uint64_t fh, uint32_t version, uint32_t size)
{
	uint32_t before;

	pthread_mutex_lock(&h->lock);
	struct handle *e = handle_get(h, fh);
	const bool moved = e && handle_show_again(e, version, size, &before);
	if (moved && is_reader(e)) {
		counts_drop(&h->readers, reader_key(e->secret, before));
		counts_add(&h->readers, reader_key(e->secret, version), 1);
	}
	pthread_mutex_unlock(&h->lock);
	return moved;
}

uint64_t handle_last(struct handles *h, uint32_t object, pid_t tid, pid_t tgid, bool *ret_own)
{
	pthread_mutex_lock(&h->lock);
	const struct handle *e = follow_last(&h->follow, FOLLOW_THREAD, object, tid);
	*ret_own = e && e->tgid == tgid; /* numbers of threads are used again */
	if (!*ret_own)
		e = follow_last(&h->follow, FOLLOW_PROCESS, object, tgid);
	const uint64_t fh = e ? handles_fh_of(h, e) : 0;
	pthread_mutex_unlock(&h->lock);
	return fh;
}

/* Up to EACH_BATCH open handles of the secret from entry *at on; moves *at. */
static uint32_t collect(struct handles *h, uint32_t secret, uint32_t *at, uint64_t ret_fhs[EACH_BATCH])
{
	uint32_t n = 0, end, i;

	pthread_mutex_lock(&h->lock);
	end = handles_high(h);
	for (i = *at; i < end && n < EACH_BATCH; i++) {
		struct handle *e = &h->table->entries[i];
		if (handles_state_of(e) == HANDLE_OPEN && (secret == 0 || e->secret == secret))
			ret_fhs[n++] = handles_fh_of(h, e);
	}
	pthread_mutex_unlock(&h->lock);
	*at = i;
	return n;
}

bool handle_has_written(struct handles *h, uint32_t secret, pid_t tgid)
{
	const struct writer *w = &h->writers[(uint32_t)tgid % WRITERS_KEPT];

	pthread_mutex_lock(&h->lock);
	bool found = w->secret == secret && w->tgid == tgid && handles_coarse_now() - w->at <= HANDLE_WRITTEN_S;
	for (uint32_t i = 0; i < handles_high(h) && !found; i++) {
		struct handle *e = &h->table->entries[i];
		found = handles_state_of(e) == HANDLE_OPEN && e->secret == secret && e->tgid == tgid && writes(e);
	}
	pthread_mutex_unlock(&h->lock);
	return found;
}

void handle_each(struct handles *h, uint32_t secret, void (*fn)(uint64_t fh, struct handle *e, void *arg), void *arg)
{
	uint64_t fhs[EACH_BATCH];
	uint32_t at = 0;

	while (at < handles_high(h)) {
		uint32_t n = collect(h, secret, &at, fhs);
		for (uint32_t i = 0; i < n; i++) {
			struct handle *e = handle_get(h, fhs[i]);
			if (e)
				fn(fhs[i], e, arg);
		}
	}
}

uint32_t handle_readers(struct handles *h, uint32_t secret, uint32_t version)
{
	uint32_t n;

	pthread_mutex_lock(&h->lock);
	n = counts_of(&h->readers, reader_key(secret, version));
	pthread_mutex_unlock(&h->lock);
	return n;
}

uint32_t handle_read_writers(struct handles *h, uint32_t secret)
{
	uint32_t n;

	pthread_mutex_lock(&h->lock);
	n = counts_of(&h->read_writers, secret);
	pthread_mutex_unlock(&h->lock);
	return n;
}

size_t handle_count(struct handles *h)
{
	size_t n;

	pthread_mutex_lock(&h->lock);
	n = h->open;
	pthread_mutex_unlock(&h->lock);
	return n;
}
