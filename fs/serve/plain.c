#include "fs/serve/plain.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "store/crypto/secbuf.h"
#include "store/objects/objects.h"

#define BUCKETS   1024u
#define SEEN      4096u /* versions whose last read is remembered, by hash: a collision costs a decryption */
#define NS_PER_MS INT64_C(1000000)

struct plain {
	struct plain *next;          /* in its bucket */
	struct plain *newer, *older; /* by last use */
	uint32_t secret, version;
	uint32_t refs; /* replies under way */
	bool doomed;   /* out of the table: goes with its last reference */
	bool lingers;  /* nobody has it open */
	int64_t used;
	struct secbuf *buf;
};

struct plain_pool {
	pthread_mutex_t lock;
	size_t cap, size;
	struct plain *buckets[BUCKETS];
	struct plain *newest, *oldest;
	int wake_fd;
	struct {
		_Atomic uint64_t version;
		_Atomic int64_t at;
	} seen[SEEN];
};

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint32_t bucket_of(uint32_t secret, uint32_t version)
{
	return (secret * 2654435761u ^ version * 40503u) % BUCKETS;
}

int plain_pool_new(size_t cap, int wake_fd, struct plain_pool **ret_pool)
{
	struct plain_pool *p = calloc(1, sizeof *p);
	if (!p)
		return -ENOMEM;
	pthread_mutex_init(&p->lock, NULL);
	p->cap = cap;
	p->wake_fd = wake_fd;
	*ret_pool = p;
	return 0;
}

static void unlink_use(struct plain_pool *p, struct plain *x)
{
	*(x->newer ? &x->newer->older : &p->newest) = x->older;
	*(x->older ? &x->older->newer : &p->oldest) = x->newer;
	x->newer = x->older = NULL;
}

static void link_newest(struct plain_pool *p, struct plain *x)
{
	x->older = p->newest;
	x->newer = NULL;
	*(p->newest ? &p->newest->newer : &p->oldest) = x;
	p->newest = x;
	x->used = now_ns();
}

static void destroy(struct plain *x)
{
	secbuf_free(x->buf);
	free(x);
}

/* Takes it out of the table; wipes it unless a reply is being sent from it. */
static void evict(struct plain_pool *p, struct plain *x)
{
	struct plain **at = &p->buckets[bucket_of(x->secret, x->version)];
	while (*at != x)
		at = &(*at)->next;
	*at = x->next;
	unlink_use(p, x);
	p->size -= secbuf_len(x->buf);
	x->doomed = true;
	if (!x->refs)
		destroy(x);
}

void plain_drop_all(struct plain_pool *p)
{
	pthread_mutex_lock(&p->lock);
	while (p->oldest)
		evict(p, p->oldest);
	pthread_mutex_unlock(&p->lock);
}

void plain_pool_free(struct plain_pool *p)
{
	if (!p)
		return;
	plain_drop_all(p);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static struct plain *find(struct plain_pool *p, uint32_t secret, uint32_t version)
{
	struct plain *x = p->buckets[bucket_of(secret, version)];
	while (x && (x->secret != secret || x->version != version))
		x = x->next;
	return x;
}

static struct plain *take(struct plain_pool *p, uint32_t secret, uint32_t version)
{
	struct plain *x = find(p, secret, version);
	if (x) {
		x->refs++;
		x->lingers = false;
		unlink_use(p, x);
		link_newest(p, x);
	}
	return x;
}

struct plain *plain_get(struct plain_pool *p, uint32_t secret, uint32_t version)
{
	pthread_mutex_lock(&p->lock);
	struct plain *x = take(p, secret, version);
	pthread_mutex_unlock(&p->lock);
	return x;
}

static void make_room(struct plain_pool *p, size_t need)
{
	while (p->oldest && p->size + need > p->cap)
		evict(p, p->oldest);
}

int plain_load(struct plain_pool *p, struct store *s, uint32_t secret, uint32_t version, struct plain **ret_plain)
{
	struct plain *x, *other;
	struct secbuf *buf = NULL;
	int r = store_version_read(s, secret, version, &buf);
	if (r == -ENOMEM) { /* the arena is full: what is not being read gives way */
		plain_drop_all(p);
		r = store_version_read(s, secret, version, &buf);
	}
	if (r)
		return r;
	x = calloc(1, sizeof *x);
	if (!x) {
		secbuf_free(buf);
		return -ENOMEM;
	}
	x->secret = secret;
	x->version = version;
	x->buf = buf;
	pthread_mutex_lock(&p->lock);
	other = take(p, secret, version); /* another thread was faster */
	const bool first = !p->oldest;
	if (!other) {
		make_room(p, secbuf_len(buf));
		uint32_t b = bucket_of(secret, version);
		x->next = p->buckets[b];
		p->buckets[b] = x;
		x->refs = 1;
		p->size += secbuf_len(buf);
		link_newest(p, x);
	}
	pthread_mutex_unlock(&p->lock);
	if (first)
		(void)!write(p->wake_fd, &(uint64_t){ 1 }, sizeof(uint64_t));
	if (other)
		destroy(x);
	*ret_plain = other ? other : x;
	return 0;
}

const struct secbuf *plain_buf(const struct plain *x) { return x->buf; }

void plain_put(struct plain_pool *p, struct plain *x)
{
	pthread_mutex_lock(&p->lock);
	if (--x->refs == 0 && x->doomed)
		destroy(x);
	pthread_mutex_unlock(&p->lock);
}

bool plain_hot(struct plain_pool *p, uint32_t secret, uint32_t version)
{
	const uint64_t key = (uint64_t)secret << 32 | version;
	const size_t i = (secret * 2654435761u ^ version * 40503u) % SEEN;
	const int64_t now = now_ns();
	/* two words that are not one: a mix of two versions decrypts once too often, or holds one for a moment too many
	 */
	bool hot = atomic_load_explicit(&p->seen[i].version, memory_order_relaxed) == key &&
		   now - atomic_load_explicit(&p->seen[i].at, memory_order_relaxed) < PLAIN_LINGER_MS * NS_PER_MS;
	atomic_store_explicit(&p->seen[i].version, key, memory_order_relaxed);
	atomic_store_explicit(&p->seen[i].at, now, memory_order_relaxed);
	return hot;
}

void plain_linger(struct plain_pool *p, uint32_t secret, uint32_t version)
{
	pthread_mutex_lock(&p->lock);
	struct plain *x = find(p, secret, version);
	if (x)
		x->lingers = true;
	pthread_mutex_unlock(&p->lock);
}

bool plain_expire(struct plain_pool *p, int idle_ms)
{
	const int64_t now = now_ns();
	bool left;

	pthread_mutex_lock(&p->lock);
	for (struct plain *x = p->oldest, *newer; x && now - x->used >= PLAIN_LINGER_MS * NS_PER_MS; x = newer) {
		newer = x->newer;
		if (x->lingers || now - x->used >= idle_ms * NS_PER_MS)
			evict(p, x);
	}
	left = p->oldest != NULL;
	pthread_mutex_unlock(&p->lock);
	return left;
}
