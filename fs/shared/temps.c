#include "fs/shared/temps.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct temps {
	struct temp_table *table;
	pthread_mutex_t lock; /* of the states, and all below */
	struct shares *shares;
	uint32_t opens[TEMPS_MAX];
	bool going[TEMPS_MAX]; /* temps_due gave it out: nobody opens it any more */
	/* that are not free: most vaults have none, and each name that is not there asks */
	_Atomic uint32_t n;
};

/* What an inode has room for: two fields of 28 bits. */
#define ID_MAX ((UINT64_C(1) << 56) - 1)

static const struct shares_config pool = { .units = TEMPS_MAX, .most = TEMPS_MOST, .reserve = TEMPS_RESERVE };

/* The tree's own, and what may come beside `current` one day. What begins with two dots is the bell's: its marker, and
 * what that leads to, which a caller that follows it would else make. */
static const char *const reserved[] = {
	"current",   "versions",      "as",      "ops",          "public.pem",   "public.jwk", "cert.pem",
	"chain.pem", "fullchain.pem", "key.pem", "combined.pem", "keystore.p12", "token",      ".",
};

bool temps_name_valid(const char *name)
{
	const size_t len = strnlen(name, TEMP_NAME_MAX + 1);

	if (!len || len > TEMP_NAME_MAX || strspn(name, "0123456789") == len || !strncmp(name, "..", 2) ||
	    !strncmp(name, ".coffer", 7) || !strncmp(name, ".fuse_hidden", 12))
		return false;
	for (size_t i = 0; i < len; i++)
		if (name[i] <= ' ' || name[i] >= 0x7f || name[i] == '/')
			return false;
	for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
		if (!strcmp(name, reserved[i]))
			return false;
	return true;
}

bool temps_is_lock(const char *name)
{
	const size_t len = strlen(name);

	return len > 5 && !strcmp(name + len - 5, ".lock");
}

static uint32_t state_of(const struct temp *e) { return atomic_load_explicit(&e->state, memory_order_acquire); }

static bool is_there(const struct temp *e) { return state_of(e) >= TEMP_LIVE; }

static uint32_t index_of(const struct temps *t, const struct temp *e) { return (uint32_t)(e - t->table->entries); }

static struct temp *by_id(struct temps *t, uint64_t id)
{
	for (uint32_t i = 0; t && id && i < TEMPS_MAX; i++)
		if (t->table->entries[i].id == id && is_there(&t->table->entries[i]) && !t->going[i])
			return &t->table->entries[i];
	return NULL;
}

static struct temp *by_name(struct temps *t, uint32_t secret, const char *name)
{
	for (uint32_t i = 0; i < TEMPS_MAX; i++) {
		struct temp *e = &t->table->entries[i];
		if (e->secret == secret && state_of(e) == TEMP_LIVE && !t->going[i] && !strcmp(e->name, name))
			return e;
	}
	return NULL;
}

static void count_open(uint64_t fh, struct handle *h, void *arg)
{
	struct temps *t = arg;
	struct temp *e = h->kind == HANDLE_TEMP ? by_id(t, h->of.temp.id) : NULL;

	(void)fh;
	if (e)
		t->opens[index_of(t, e)]++;
}

int temps_new(struct temp_table *table, struct handles *handles, struct temps **ret_temps)
{
	struct temps *t = calloc(1, sizeof *t);
	int r = t ? shares_new(&pool, &t->shares) : -ENOMEM;

	if (r) {
		free(t);
		return r;
	}
	t->table = table;
	pthread_mutex_init(&t->lock, NULL);
	for (uint32_t i = 0; i < TEMPS_MAX; i++) {
		struct temp *e = &table->entries[i];
		e->name[TEMP_NAME_MAX] = '\0'; /* whoever wrote it may have been somebody else's */
		if (!is_there(e) || !e->id || e->id > ID_MAX) {
			atomic_store(&e->state, TEMP_FREE);
			continue;
		}
		shares_force(t->shares, e->neighbour, 1);
		t->n++;
	}
	if (t->n)
		handle_each(handles, 0, count_open, t);
	*ret_temps = t;
	return 0;
}

void temps_free(struct temps *t)
{
	if (!t)
		return;
	shares_free(t->shares);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static bool copy(struct temps *t, const struct temp *e, struct temp *ret_copy)
{
	(void)t;
	if (e)
		memcpy(ret_copy, e, sizeof *e);
	return e;
}

bool temps_find(struct temps *t, uint32_t secret, const char *name, struct temp *ret_copy)
{
	if (!t || !t->n)
		return false;
	pthread_mutex_lock(&t->lock);
	const bool found = copy(t, by_name(t, secret, name), ret_copy);
	pthread_mutex_unlock(&t->lock);
	return found;
}

bool temps_copy(struct temps *t, uint64_t id, struct temp *ret_copy)
{
	if (!t || !t->n)
		return false;
	pthread_mutex_lock(&t->lock);
	const bool found = copy(t, by_id(t, id), ret_copy);
	pthread_mutex_unlock(&t->lock);
	return found;
}

bool temps_next(struct temps *t, uint32_t secret, uint32_t *at, struct temp *ret_copy)
{
	bool found = false;

	if (!t || !t->n)
		return false;
	pthread_mutex_lock(&t->lock);
	for (; *at < TEMPS_MAX && !found; ++*at) {
		const struct temp *e = &t->table->entries[*at];
		found = e->secret == secret && state_of(e) == TEMP_LIVE && !t->going[*at] && copy(t, e, ret_copy);
	}
	pthread_mutex_unlock(&t->lock);
	return found;
}

/* The last is whatever a worker left there, perhaps one that was somebody else's: it starts again where it cannot be.
 */
static uint64_t next_id(struct temps *t)
{
	uint64_t id = atomic_load(&t->table->last_id);

	do
		id = id < ID_MAX ? id + 1 : 1;
	while (by_id(t, id));
	atomic_store(&t->table->last_id, id);
	return id;
}

/* An entry that is nobody's, with its share taken. */
static struct temp *take(struct temps *t, uint64_t neighbour)
{
	if (!shares_take(t->shares, neighbour, 1, SHARE_ORDINARY) &&
	    !(neighbour == NEIGHBOUR_ROOT && shares_take(t->shares, neighbour, 1, SHARE_RESERVED)))
		return NULL;
	for (uint32_t i = 0; i < TEMPS_MAX; i++)
		if (state_of(&t->table->entries[i]) == TEMP_FREE)
			return &t->table->entries[i];
	shares_give(t->shares, neighbour, 1);
	return NULL;
}

int temps_add(struct temps *t, const struct temp *what, struct temp **ret_entry)
{
	int r = -EDQUOT;

	pthread_mutex_lock(&t->lock);
	struct temp *e = by_name(t, what->secret, what->name);
	if (e) {
		r = e->unique == what->unique && !memcmp(e->owner, what->owner, IDENTITY_DIGEST) ? 0 : -EEXIST;
		goto out;
	}
	e = take(t, what->neighbour);
	if (!e)
		goto out;
	atomic_store(&e->state, TEMP_BUSY);
	memcpy((char *)e + sizeof e->state, (const char *)what + sizeof what->state, sizeof *e - sizeof e->state);
	e->id = 0; /* it is not compared with its own */
	e->id = next_id(t);
	t->opens[index_of(t, e)] = 0;
	t->n++;
	atomic_store_explicit(&e->state, TEMP_LIVE, memory_order_release);
	r = 0;
out:
	if (!r) {
		t->opens[index_of(t, e)]++;
		*ret_entry = e;
	}
	pthread_mutex_unlock(&t->lock);
	return r;
}

struct temp *temps_open(struct temps *t, uint64_t id)
{
	if (!t)
		return NULL;
	pthread_mutex_lock(&t->lock);
	struct temp *e = by_id(t, id);
	if (e)
		t->opens[index_of(t, e)]++;
	pthread_mutex_unlock(&t->lock);
	return e;
}

struct temp *temps_get(struct temps *t, uint64_t id)
{
	if (!t)
		return NULL;
	pthread_mutex_lock(&t->lock);
	struct temp *e = by_id(t, id);
	pthread_mutex_unlock(&t->lock);
	return e;
}

void temps_close(struct temps *t, uint64_t id, int64_t now)
{
	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	struct temp *e = by_id(t, id);
	if (e && t->opens[index_of(t, e)])
		t->opens[index_of(t, e)]--;
	if (e)
		e->used = now;
	pthread_mutex_unlock(&t->lock);
}

void temps_end(struct temps *t, uint64_t id, enum temp_state state)
{
	pthread_mutex_lock(&t->lock);
	struct temp *e = by_id(t, id);
	if (e && state_of(e) == TEMP_LIVE)
		atomic_store_explicit(&e->state, state, memory_order_release);
	pthread_mutex_unlock(&t->lock);
}

struct temp *temps_due(struct temps *t, int64_t now)
{
	struct temp *due = NULL;

	if (!t || !t->n)
		return NULL;
	pthread_mutex_lock(&t->lock);
	for (uint32_t i = 0; i < TEMPS_MAX && !due; i++) {
		struct temp *e = &t->table->entries[i];
		if (is_there(e) && !t->going[i] && !t->opens[i] &&
		    (state_of(e) != TEMP_LIVE || now - e->used > TEMP_LIFE_NS))
			due = e;
	}
	/* it stays counted until temps_drop: what it has is given back, and a worker that takes over meanwhile does
	 * that again */
	if (due)
		t->going[index_of(t, due)] = true;
	pthread_mutex_unlock(&t->lock);
	return due;
}

void temps_drop(struct temps *t, struct temp *e)
{
	pthread_mutex_lock(&t->lock);
	shares_give(t->shares, e->neighbour, 1);
	t->n--;
	t->going[index_of(t, e)] = false;
	atomic_store_explicit(&e->state, TEMP_FREE, memory_order_release);
	pthread_mutex_unlock(&t->lock);
}

void temps_each(struct temps *t, void (*fn)(struct temp *e, void *arg), void *arg)
{
	for (uint32_t i = 0; t && i < TEMPS_MAX; i++)
		if (is_there(&t->table->entries[i]))
			fn(&t->table->entries[i], arg);
}
