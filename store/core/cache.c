
#include "store/core/cache.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "store/crypto/secbuf.h"

#define SLOTS     4096u /* DEKs in locked memory, and so entries */
#define SLOTS_MIN 16u
#define BUCKETS   4096u

/* Ciphertext lies in ordinary memory, its DEK in a slot of locked memory. An entry that is being read outlives its
 * eviction. */
struct node {
	uint64_t version;
	uint32_t slot;
	atomic_int refs;
	struct node *chain;
	struct node *newer, *older;
	size_t len;
	uint8_t *envelope;
};

struct cipher_cache {
	pthread_mutex_t mutex;
	size_t limit, used;
	uint64_t generation;
	struct node *buckets[BUCKETS];
	struct node *newest, *oldest;
	uint8_t (*deks)[KEY_LEN]; /* locked; made when the first one comes */
	uint32_t n_slots, n_free;
	uint32_t free[SLOTS];
};

int cache_new(size_t bytes, struct cipher_cache **ret_cache)
{
	struct cipher_cache *c = calloc(1, sizeof *c);

	if (!c)
		return -ENOMEM;
	pthread_mutex_init(&c->mutex, NULL);
	c->limit = bytes;
	*ret_cache = c;
	return 0;
}

static struct node **chain_of(struct cipher_cache *c, uint64_t version)
{
	uint64_t h = version * 0x9e3779b97f4a7c15u; /* Fibonacci hashing */

	return &c->buckets[h >> 52];
}

static struct node *find(struct cipher_cache *c, uint64_t version)
{
	struct node *n = *chain_of(c, version);

	while (n && n->version != version)
		n = n->chain;
	return n;
}

static void node_release(struct node *n)
{
	if (atomic_fetch_sub(&n->refs, 1) != 1)
		return;
	free(n->envelope);
	free(n);
}

static void list_remove(struct cipher_cache *c, struct node *n)
{
	*(n->newer ? &n->newer->older : &c->newest) = n->older;
	*(n->older ? &n->older->newer : &c->oldest) = n->newer;
}

static void list_push(struct cipher_cache *c, struct node *n)
{
	n->newer = NULL;
	n->older = c->newest;
	*(c->newest ? &c->newest->newer : &c->oldest) = n;
	c->newest = n;
}

static size_t cost(const struct node *n) { return sizeof *n + n->len; }

static void drop(struct cipher_cache *c, struct node *n)
{
	struct node **p = chain_of(c, n->version);

	while (*p != n)
		p = &(*p)->chain;
	*p = n->chain;
	list_remove(c, n);
	c->used -= cost(n);
	secmem_wipe(c->deks[n->slot], KEY_LEN);
	c->free[c->n_free++] = n->slot;
	node_release(n);
}

bool cache_take(struct cipher_cache *c, uint64_t version, struct cached *ret)
{
	struct node *n;

	pthread_mutex_lock(&c->mutex);
	n = find(c, version);
	if (n) {
		if (n != c->newest) {
			list_remove(c, n);
			list_push(c, n);
		}
		atomic_fetch_add(&n->refs, 1);
		*ret = (struct cached){ .envelope = n->envelope, .len = n->len, .held = n };
		memcpy(ret->dek, c->deks[n->slot], KEY_LEN);
	}
	pthread_mutex_unlock(&c->mutex);
	return n != NULL;
}

void cache_put_back(struct cached *cached)
{
	node_release(cached->held);
	secmem_wipe(cached, sizeof *cached);
}

bool cache_has(struct cipher_cache *c, uint64_t version)
{
	bool has;

	pthread_mutex_lock(&c->mutex);
	has = find(c, version) != NULL;
	pthread_mutex_unlock(&c->mutex);
	return has;
}

uint64_t cache_generation(struct cipher_cache *c)
{
	uint64_t generation;

	pthread_mutex_lock(&c->mutex);
	generation = c->generation;
	pthread_mutex_unlock(&c->mutex);
	return generation;
}

/* As many slots as the arena has room for; without any, nothing is kept. */
static void make_slots(struct cipher_cache *c)
{
	for (uint32_t n = SLOTS; n >= SLOTS_MIN && !c->deks; n /= 2) {
		c->deks = secmem_alloc(n * sizeof *c->deks);
		if (c->deks)
			c->n_slots = n;
	}
	for (uint32_t i = 0; i < c->n_slots; i++)
		c->free[c->n_free++] = c->n_slots - 1 - i;
}

static bool insert(struct cipher_cache *c, struct node *n, const uint8_t dek[KEY_LEN])
{
	if (!c->deks)
		make_slots(c);
	if (!c->deks || cost(n) > c->limit || find(c, n->version))
		return false;
	while (c->oldest && (c->used + cost(n) > c->limit || c->n_free == 0))
		drop(c, c->oldest);
	assert(c->n_free > 0);
	n->slot = c->free[--c->n_free];
	memcpy(c->deks[n->slot], dek, KEY_LEN);
	c->used += cost(n);
	n->chain = *chain_of(c, n->version);
	*chain_of(c, n->version) = n;
	list_push(c, n);
	return true;
}

void cache_insert(struct cipher_cache *c, uint64_t generation, uint64_t version, uint8_t *envelope, size_t len,
		  const uint8_t dek[KEY_LEN])
{
	struct node *n = calloc(1, sizeof *n);
	bool kept = false;

	if (n) {
		n->version = version;
		n->len = len;
		n->envelope = envelope;
		atomic_init(&n->refs, 1);
		pthread_mutex_lock(&c->mutex);
		kept = c->generation == generation && insert(c, n, dek);
		pthread_mutex_unlock(&c->mutex);
	}
	if (!kept) {
		free(envelope);
		free(n);
	}
}

void cache_drop(struct cipher_cache *c, const uint64_t *versions, size_t n)
{
	struct node *node;

	pthread_mutex_lock(&c->mutex);
	c->generation++;
	for (size_t i = 0; i < n; i++) {
		node = find(c, versions[i]);
		if (node)
			drop(c, node);
	}
	pthread_mutex_unlock(&c->mutex);
}

void cache_clear(struct cipher_cache *c)
{
	pthread_mutex_lock(&c->mutex);
	c->generation++;
	while (c->oldest)
		drop(c, c->oldest);
	pthread_mutex_unlock(&c->mutex);
}

void cache_free(struct cipher_cache *c)
{
	if (!c)
		return;
	cache_clear(c);
	if (c->deks)
		secmem_free(c->deks, c->n_slots * sizeof *c->deks);
	pthread_mutex_destroy(&c->mutex);
	free(c);
}
