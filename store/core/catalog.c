#include "store/core/catalog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "policy/scope.h"
#include "store/crypto/aead.h"

#define PAGE_SLOTS  1024u
#define CHUNK_BYTES (256u << 10)
#define CLASS_BYTES 16u
/* Longer lists of versions are maps of their own. Each change of a secret makes its list anew: the holes that these
 * leave in the heap are filled by what is small and stays, and then the next list, one version longer, fits nowhere. */
#define MAPPED_FROM (16u << 10)
#define MAPPED_MAX  16384u /* of the 65,530 maps that a process has; beyond, they come from the heap */
#define CLASSES     18u    /* the largest entry: header and a name of 127 bytes */

struct catalog_entry {
	struct catalog_secret secret; /* first: a pointer to it is a pointer to the entry */
	struct catalog_version one;
	struct catalog_entry *next; /* in its bucket, or on its free list */
	uint32_t mapped;            /* bytes of the map that the versions are in; 0: they are in none */
	char name[];
};

_Static_assert(sizeof(struct catalog_entry) + NAME_LEN_MAX + 1 <= CLASS_BYTES * (CLASSES - 1),
	       "a class for every entry");

struct page {
	uint32_t live;
	struct catalog_entry *slots[PAGE_SLOTS];
};

struct chunk {
	struct chunk *next;
};

struct catalog {
	struct catalog_entry **buckets;
	size_t n_buckets; /* a power of two */
	uint64_t seed;
	struct page **pages;
	size_t n_pages;
	struct store_counts counts;
	uint32_t *deleted; /* ids of the deleted, ascending: a few among many are found at once */
	size_t deleted_room;
	/* Blocks for entries come from chunks of their own: no malloc header for each, and a whole catalog goes back to
	 * the kernel at once. */
	struct chunk *chunks;
	size_t chunk_used;
	struct catalog_entry *free[CLASSES];
	uint32_t n_mapped;
};

static struct catalog_version *versions_new(struct catalog *c, uint32_t n, uint32_t *ret_mapped)
{
	const size_t bytes = n * sizeof(struct catalog_version);

	*ret_mapped = 0;
	if (bytes >= MAPPED_FROM && bytes <= UINT32_MAX && c->n_mapped < MAPPED_MAX) {
		void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (map != MAP_FAILED) {
			*ret_mapped = (uint32_t)bytes;
			c->n_mapped++;
			return map;
		}
	}
	return calloc(n, sizeof(struct catalog_version));
}

static void versions_free(struct catalog *c, struct catalog_version *versions, uint32_t mapped)
{
	if (!mapped) {
		free(versions);
		return;
	}
	munmap(versions, mapped);
	c->n_mapped--;
}

int catalog_new(struct catalog **ret_catalog)
{
	struct catalog *c = calloc(1, sizeof *c);

	if (!c)
		return -ENOMEM;
	c->n_buckets = 64;
	c->buckets = calloc(c->n_buckets, sizeof *c->buckets);
	if (!c->buckets || random_bytes(&c->seed, sizeof c->seed) < 0) {
		catalog_free(c);
		return -ENOMEM;
	}
	*ret_catalog = c;
	return 0;
}

void catalog_free(struct catalog *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n_pages; i++) {
		for (size_t j = 0; c->pages[i] && j < PAGE_SLOTS; j++) {
			const struct catalog_entry *e = c->pages[i]->slots[j];
			if (e && e->secret.versions != &e->one)
				versions_free(c, (void *)(uintptr_t)e->secret.versions, e->mapped);
		}
		free(c->pages[i]);
	}
	while (c->chunks) {
		struct chunk *chunk = c->chunks;
		c->chunks = chunk->next;
		munmap(chunk, CHUNK_BYTES);
	}
	free(c->deleted);
	free(c->pages);
	free(c->buckets);
	free(c);
}

static unsigned class_of(const char *name)
{
	return (unsigned)((sizeof(struct catalog_entry) + strlen(name) + CLASS_BYTES) / CLASS_BYTES);
}

static struct catalog_entry *block_new(struct catalog *c, unsigned class)
{
	struct catalog_entry *e = c->free[class];
	size_t size = class * CLASS_BYTES;

	if (e) {
		c->free[class] = e->next;
		return e;
	}
	if (!c->chunks || c->chunk_used + size > CHUNK_BYTES) {
		struct chunk *chunk = mmap(NULL, CHUNK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
					   0);
		if (chunk == MAP_FAILED)
			return NULL;
		chunk->next = c->chunks;
		c->chunks = chunk;
		c->chunk_used = CLASS_BYTES; /* the chunk's own header */
	}
	e = (void *)((uint8_t *)c->chunks + c->chunk_used);
	c->chunk_used += size;
	return e;
}

struct catalog_entry *catalog_entry_new(struct catalog *c, const char *name, uint32_t n_versions)
{
	struct catalog_version *versions = NULL;
	struct catalog_entry *e;
	uint32_t mapped = 0;

	if (n_versions > 1) {
		versions = versions_new(c, n_versions, &mapped);
		if (!versions)
			return NULL;
	}
	e = block_new(c, class_of(name));
	if (!e) {
		versions_free(c, versions, mapped);
		return NULL;
	}
	memset(e, 0, sizeof *e);
	memcpy(e->name, name, strlen(name) + 1);
	e->secret.name = e->name;
	e->secret.n_versions = n_versions;
	e->secret.versions = versions ? versions : &e->one;
	e->mapped = mapped;
	return e;
}

void catalog_entry_free(struct catalog *c, struct catalog_entry *e)
{
	if (!e)
		return;
	if (e->secret.versions != &e->one)
		versions_free(c, (void *)(uintptr_t)e->secret.versions, e->mapped);
	unsigned class = class_of(e->name);
	e->next = c->free[class];
	c->free[class] = e;
}

struct catalog_secret *catalog_entry_secret(struct catalog_entry *e) { return &e->secret; }

struct catalog_version *catalog_entry_versions(struct catalog_entry *e)
{
	return (struct catalog_version *)(uintptr_t)e->secret.versions;
}

/* FNV-1a from a random start, mixed at the end (the finaliser of MurmurHash3): who may name secrets cannot choose the
 * buckets. */
static size_t bucket_of(const struct catalog *c, const char *name)
{
	uint64_t h = c->seed;

	for (const unsigned char *p = (const unsigned char *)name; *p; p++)
		h = (h ^ *p) * 0x100000001b3u;
	h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdu;
	h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53u;
	return (size_t)(h ^ (h >> 33)) & (c->n_buckets - 1);
}

static struct catalog_entry **slot_of(const struct catalog *c, uint32_t id)
{
	struct page *page = id / PAGE_SLOTS < c->n_pages ? c->pages[id / PAGE_SLOTS] : NULL;

	return page ? &page->slots[id % PAGE_SLOTS] : NULL;
}

static int grow_buckets(struct catalog *c, size_t entries)
{
	size_t n = c->n_buckets, old = c->n_buckets;
	struct catalog_entry **from = c->buckets, **to;

	while (n < entries)
		n *= 2;
	if (n == old)
		return 0;
	to = calloc(n, sizeof *to);
	if (!to)
		return -ENOMEM;
	c->buckets = to;
	c->n_buckets = n;
	for (size_t i = 0; i < old; i++)
		for (struct catalog_entry *e = from[i], *next; e; e = next) {
			size_t b = bucket_of(c, e->name);
			next = e->next;
			e->next = to[b];
			to[b] = e;
		}
	free(from);
	return 0;
}

int catalog_reserve(struct catalog *c, size_t more, uint32_t id)
{
	size_t need = id / PAGE_SLOTS + 1;

	if (need > c->n_pages) {
		size_t n = need > 2 * c->n_pages ? need : 2 * c->n_pages;
		struct page **pages = realloc(c->pages, n * sizeof *pages);
		if (!pages)
			return -ENOMEM;
		memset(pages + c->n_pages, 0, (n - c->n_pages) * sizeof *pages);
		c->pages = pages;
		c->n_pages = n;
	}
	if (!c->pages[need - 1]) {
		c->pages[need - 1] = calloc(1, sizeof(struct page));
		if (!c->pages[need - 1])
			return -ENOMEM;
	}
	if (c->counts.deleted + more > c->deleted_room) {
		size_t room = 2 * c->deleted_room > c->counts.deleted + more ? 2 * c->deleted_room
									     : c->counts.deleted + more;
		uint32_t *grown = realloc(c->deleted, room * sizeof *grown);
		if (!grown)
			return -ENOMEM;
		c->deleted = grown;
		c->deleted_room = room;
	}
	return grow_buckets(c, (size_t)c->counts.secrets + c->counts.deleted + more);
}

/* Where in the list of the deleted the first one from id on stands. */
static size_t deleted_from(const struct catalog *c, uint32_t id)
{
	size_t low = 0, high = c->counts.deleted;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (c->deleted[middle] < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void list_deleted(struct catalog *c, uint32_t id, bool add)
{
	size_t at = deleted_from(c, id), behind = c->counts.deleted - at;

	if (add) {
		memmove(c->deleted + at + 1, c->deleted + at, behind * sizeof *c->deleted);
		c->deleted[at] = id;
	} else {
		memmove(c->deleted + at, c->deleted + at + 1, (behind - 1) * sizeof *c->deleted);
	}
}

static void count(struct catalog *c, const struct catalog_secret *s, bool add)
{
	uint32_t *n = s->deleted ? &c->counts.deleted : &c->counts.secrets;

	if (s->deleted)
		list_deleted(c, s->id, add);
	if (add) {
		*n += 1;
		c->counts.versions += s->n_versions;
	} else {
		*n -= 1;
		c->counts.versions -= s->n_versions;
	}
}

void catalog_put(struct catalog *c, struct catalog_entry *e)
{
	size_t b;

	catalog_remove(c, e->secret.id);
	b = bucket_of(c, e->name);
	e->next = c->buckets[b];
	c->buckets[b] = e;
	*slot_of(c, e->secret.id) = e;
	c->pages[e->secret.id / PAGE_SLOTS]->live++;
	count(c, &e->secret, true);
}

void catalog_remove(struct catalog *c, uint32_t id)
{
	struct catalog_entry **slot = slot_of(c, id), **p;

	if (!slot || !*slot)
		return;
	struct catalog_entry *e = *slot;
	for (p = &c->buckets[bucket_of(c, e->name)]; *p != e; p = &(*p)->next)
		;
	*p = e->next;
	*slot = NULL;
	c->pages[id / PAGE_SLOTS]->live--;
	count(c, &e->secret, false);
	catalog_entry_free(c, e);
}

const struct catalog_secret *catalog_find(const struct catalog *c, const char *name)
{
	for (const struct catalog_entry *e = c->buckets[bucket_of(c, name)]; e; e = e->next)
		if (strcmp(e->name, name) == 0)
			return &e->secret;
	return NULL;
}

const struct catalog_secret *catalog_get(const struct catalog *c, uint32_t id)
{
	struct catalog_entry **slot = slot_of(c, id);

	return slot && *slot ? &(*slot)->secret : NULL;
}

const struct catalog_secret *catalog_next(const struct catalog *c, uint32_t after, bool deleted)
{
	size_t j = ((size_t)after + 1) % PAGE_SLOTS, at;

	if (deleted) {
		at = deleted_from(c, after + 1);
		return at < c->counts.deleted ? catalog_get(c, c->deleted[at]) : NULL;
	}
	for (size_t i = ((size_t)after + 1) / PAGE_SLOTS; i < c->n_pages; i++, j = 0) {
		if (!c->pages[i] || c->pages[i]->live == 0)
			continue;
		for (; j < PAGE_SLOTS; j++) {
			const struct catalog_entry *e = c->pages[i]->slots[j];
			if (e && !e->secret.deleted)
				return &e->secret;
		}
	}
	return NULL;
}

const struct catalog_version *catalog_version(const struct catalog_secret *c, uint32_t number)
{
	uint32_t low = 0, high = c->n_versions;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (c->versions[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low < c->n_versions && c->versions[low].number == number ? &c->versions[low] : NULL;
}

const struct catalog_version *catalog_version_at(const struct catalog_secret *c, uint64_t epoch)
{
	for (uint32_t i = c->n_versions; i > 0; i--) {
		const struct catalog_version *v = &c->versions[i - 1];
		if (v->epoch <= epoch && (v->enabled || v->withdrawn > epoch))
			return v;
	}
	return NULL;
}

void catalog_counts(const struct catalog *c, struct store_counts *ret)
{
	ret->secrets = c->counts.secrets;
	ret->deleted = c->counts.deleted;
	ret->versions = c->counts.versions;
}
