/* The arena: units of 4 KiB, handed out in runs; blocks of up to 2 KiB share a unit with others of their size class (a
 * slab).
 *
 *   runs    free runs hang on a list for their length (exact up to 64 units, then one for each power of two);
 *           neighbours are joined when a run is freed, so that values of all sizes can come and go without wearing the
 *           arena out
 *   slabs   one unit of equal blocks, four classes for each doubling; a unit whose blocks are all free goes back to the
 *           runs, unless it is the only one of its class with room
 *
 * What says which unit is what lies in ordinary memory: it holds no secret, and an overrun in the arena cannot reach
 * it. Free memory is always zero but for the links between a slab's free blocks; that is why allocation clears nothing.
 */
#include "store/crypto/secbuf.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define POISON(p, n)   __asan_poison_memory_region((p), (n))
#define UNPOISON(p, n) __asan_unpoison_memory_region((p), (n))
#else
#define POISON(p, n)   ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif
#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif

#define UNIT       4096u
#define UNITS_MAX  (1u << 24) /* 64 GiB */
#define EXACT_BINS 64u
#define BINS       (EXACT_BINS + 25u)
#define NIL        UINT32_MAX
#define NO_BLOCK   UINT16_MAX

enum unit_kind { UNIT_INSIDE = 0, UNIT_FREE_RUN, UNIT_FREE_END, UNIT_RUN, UNIT_SLAB };

struct unit {
	uint8_t kind;
	uint8_t class;       /* SLAB */
	uint16_t live;       /* SLAB: blocks in use */
	uint16_t free_block; /* SLAB: offset of the first free block in the unit */
	uint32_t len;        /* RUN, FREE_RUN: units; FREE_END: the same, to find the beginning */
	uint32_t prev, next; /* FREE_RUN: in its bin; SLAB with room: in its class */
};

static const uint16_t class_size[] = { 16,  32,  48,  64,  80,  96,  112, 128,  160,  192,  224, 256,
				       320, 384, 448, 512, 640, 768, 896, 1024, 1280, 1536, 2048 };
#define CLASSES   (sizeof(class_size) / sizeof(class_size[0]))
#define SMALL_MAX 2048u

static struct {
	pthread_mutex_t lock;
	enum secmem_kind kind;
	uint8_t *base;
	uint32_t n_units;
	uint32_t touched; /* units below this have been handed out at some time */
	size_t used;
	struct unit *units;
	uint32_t bins[BINS];
	uint64_t bin_bits[2];    /* a bit for each bin that is not empty */
	uint32_t slabs[CLASSES]; /* slabs with room */
	unsigned long fail_nth;
	const uint8_t *lost, *lost_end; /* the parent's arena */
} arena = { .lock = PTHREAD_MUTEX_INITIALIZER };

void secmem_wipe(void *p, size_t n)
{
	if (n)
		explicit_bzero(p, n);
}

/* ---- mapping ---- */

/* memfd_secret(2): pages that the kernel itself has no mapping of. The limit on locked memory is charged at mmap, while
 * pages come when touched. */
static int map_memfd_secret(uint8_t *at, size_t size)
{
	int r = 0;
	long fd = syscall(SYS_memfd_secret, (unsigned)O_CLOEXEC);

	if (fd < 0)
		return errno == ENOSYS || errno == EPERM ? -ENOSYS : -errno;
	if (ftruncate((int)fd, (off_t)size) < 0)
		r = -errno;
	else if (mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, (int)fd, 0) == MAP_FAILED)
		r = errno == EAGAIN ? -EPERM : -errno;
	close((int)fd);
	return r;
}

static int map_mlock(uint8_t *at, size_t size)
{
	if (mmap(at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		return errno == EAGAIN ? -EPERM : -errno;
	/* a huge page would lock 2 MiB for one key */
	(void)madvise(at, size, MADV_NOHUGEPAGE);
	if (mlock2(at, size, MLOCK_ONFAULT) < 0 && (errno != ENOSYS || mlock(at, size) < 0))
		return errno == ENOMEM || errno == EAGAIN ? -EPERM : -errno;
	return 0;
}

/* Replaces what is mapped at `at`; a failed attempt leaves something there that the next one replaces. */
static int map_locked(uint8_t *at, size_t size, enum secmem_choice choice, enum secmem_kind *ret_kind)
{
	enum secmem_kind kind = SECMEM_MEMFD_SECRET;
	int r = -ENOSYS;

	if (choice != SECMEM_ONLY_MLOCK)
		r = map_memfd_secret(at, size);
	if (r < 0 && choice != SECMEM_ONLY_MEMFD_SECRET) {
		kind = SECMEM_MLOCK;
		r = map_mlock(at, size);
	}
	if (r < 0)
		return r;
	/* A forked child would share the blocks of a memfd but have free lists of its own. */
	if (madvise(at, size, MADV_DONTFORK) < 0 || madvise(at, size, MADV_DONTDUMP) < 0)
		return -errno;
	*ret_kind = kind;
	return 0;
}

static void forget_in_child(void)
{
	if (arena.kind != SECMEM_NONE) {
		arena.lost = arena.base;
		arena.lost_end = arena.base + (size_t)arena.n_units * UNIT;
		munmap(arena.units, (size_t)arena.n_units * sizeof(struct unit));
	}
	arena.kind = SECMEM_NONE;
	arena.base = NULL;
	arena.units = NULL;
	arena.used = arena.n_units = arena.touched = 0;
	pthread_mutex_unlock(&arena.lock);
}

static void lock_before_fork(void) { pthread_mutex_lock(&arena.lock); }

static void unlock_after_fork(void) { pthread_mutex_unlock(&arena.lock); }

/* ---- runs ---- */

static uint32_t bin_of(uint32_t len)
{
	if (len <= EXACT_BINS)
		return len - 1;
	return EXACT_BINS + 31u - (uint32_t)__builtin_clz(len) - 6u; /* 65..127 is the first */
}

static void run_link(uint32_t at, uint32_t len)
{
	uint32_t bin = bin_of(len), head = arena.bins[bin];

	arena.units[at].kind = UNIT_FREE_RUN;
	arena.units[at].len = len;
	arena.units[at].prev = NIL;
	arena.units[at].next = head;
	if (head != NIL)
		arena.units[head].prev = at;
	if (len > 1) {
		arena.units[at + len - 1].kind = UNIT_FREE_END;
		arena.units[at + len - 1].len = len;
	}
	arena.bins[bin] = at;
	arena.bin_bits[bin / 64] |= (uint64_t)1 << (bin % 64);
}

static void run_unlink(uint32_t at)
{
	struct unit *u = &arena.units[at];
	uint32_t bin = bin_of(u->len);

	if (u->next != NIL)
		arena.units[u->next].prev = u->prev;
	if (u->prev != NIL)
		arena.units[u->prev].next = u->next;
	else
		arena.bins[bin] = u->next;
	if (arena.bins[bin] == NIL)
		arena.bin_bits[bin / 64] &= ~((uint64_t)1 << (bin % 64));
	arena.units[at + u->len - 1].kind = UNIT_INSIDE;
	u->kind = UNIT_INSIDE;
}

/* The first bin at or after `bin` that has a run, or BINS. */
static uint32_t bin_next(uint32_t bin)
{
	for (uint32_t word = bin / 64; word < 2; word++) {
		uint64_t bits = arena.bin_bits[word];
		if (word == bin / 64)
			bits &= ~(uint64_t)0 << (bin % 64);
		if (bits)
			return word * 64 + (uint32_t)__builtin_ctzll(bits);
	}
	return BINS;
}

static uint32_t run_find(uint32_t len)
{
	uint32_t bin = bin_of(len);

	if (bin >= EXACT_BINS) { /* the runs of its own bin may be too short */
		for (uint32_t at = arena.bins[bin]; at != NIL; at = arena.units[at].next)
			if (arena.units[at].len >= len)
				return at;
		bin++;
	}
	bin = bin_next(bin);
	return bin < BINS ? arena.bins[bin] : NIL;
}

static uint32_t run_take(uint32_t len)
{
	uint32_t at = run_find(len), whole;

	if (at == NIL)
		return NIL;
	whole = arena.units[at].len;
	run_unlink(at);
	if (whole > len)
		run_link(at + len, whole - len);
	arena.units[at].kind = UNIT_RUN;
	arena.units[at].len = len;
	if (at + len > arena.touched)
		arena.touched = at + len;
	return at;
}

static void run_give(uint32_t at, uint32_t len)
{
	arena.units[at].kind = UNIT_INSIDE;
	if (at + len < arena.n_units && arena.units[at + len].kind == UNIT_FREE_RUN) {
		uint32_t after = at + len;
		len += arena.units[after].len;
		run_unlink(after);
	}
	if (at > 0 && (arena.units[at - 1].kind == UNIT_FREE_END || arena.units[at - 1].kind == UNIT_FREE_RUN)) {
		uint32_t before = at - arena.units[at - 1].len;
		len += arena.units[before].len;
		run_unlink(before);
		at = before;
	}
	run_link(at, len);
}

/* ---- slabs ---- */

static uint8_t *unit_address(uint32_t at) { return arena.base + (size_t)at * UNIT; }

static uint8_t class_of(size_t size)
{
	uint8_t class = 0;

	while (class_size[class] < size)
		class ++;
	return class;
}

static void slab_link(uint32_t at)
{
	struct unit *u = &arena.units[at];

	u->prev = NIL;
	u->next = arena.slabs[u->class];
	if (u->next != NIL)
		arena.units[u->next].prev = at;
	arena.slabs[u->class] = at;
}

static void slab_unlink(uint32_t at)
{
	struct unit *u = &arena.units[at];

	if (u->next != NIL)
		arena.units[u->next].prev = u->prev;
	if (u->prev != NIL)
		arena.units[u->prev].next = u->next;
	else
		arena.slabs[u->class] = u->next;
}

/* A free block begins with the offset of the next one. */
static uint16_t link_get(uint32_t at, uint16_t block)
{
	uint16_t next;

	UNPOISON(unit_address(at) + block, sizeof(next));
	memcpy(&next, unit_address(at) + block, sizeof(next));
	return next;
}

static void link_set(uint32_t at, uint16_t block, uint16_t next)
{
	memcpy(unit_address(at) + block, &next, sizeof(next));
	POISON(unit_address(at) + block, class_size[arena.units[at].class]);
}

static uint32_t slab_new(uint8_t class)
{
	uint32_t at = run_take(1);
	uint16_t size = class_size[class], next = NO_BLOCK;

	if (at == NIL)
		return NIL;
	UNPOISON(unit_address(at), UNIT);
	arena.units[at].kind = UNIT_SLAB;
	arena.units[at].class = class;
	arena.units[at].live = 0;
	for (uint32_t i = UNIT / size; i > 0; i--) {
		uint16_t block = (uint16_t)((i - 1) * size);
		link_set(at, block, next);
		next = block;
	}
	arena.units[at].free_block = next;
	slab_link(at);
	return at;
}

static void *slab_take(uint8_t class)
{
	uint32_t at = arena.slabs[class];
	struct unit *u;
	uint16_t block;

	if (at == NIL)
		at = slab_new(class);
	if (at == NIL)
		return NULL;
	u = &arena.units[at];
	block = u->free_block;
	u->free_block = link_get(at, block);
	u->live++;
	if (u->free_block == NO_BLOCK)
		slab_unlink(at);
	UNPOISON(unit_address(at) + block, class_size[class]);
	memset(unit_address(at) + block, 0, sizeof(uint16_t));
	return unit_address(at) + block;
}

/* The block is wiped already. */
static void slab_give(uint32_t at, uint16_t block)
{
	struct unit *u = &arena.units[at];
	bool was_full = u->free_block == NO_BLOCK;

	link_set(at, block, u->free_block);
	u->free_block = block;
	u->live--;
	if (was_full)
		slab_link(at);
	if (u->live == 0 && (u->next != NIL || u->prev != NIL)) {
		slab_unlink(at);
		UNPOISON(unit_address(at), UNIT);
		secmem_wipe(unit_address(at), UNIT); /* the links */
		POISON(unit_address(at), UNIT);
		run_give(at, 1);
	}
}

/* ---- interface ---- */

int secmem_init(size_t size, enum secmem_choice choice)
{
	static bool fork_handlers;
	const size_t guard = UNIT;
	size_t n, bytes;
	uint8_t *map = MAP_FAILED;
	struct unit *units = MAP_FAILED;
	enum secmem_kind kind = SECMEM_NONE;
	int r = -ENOMEM;

	assert(sysconf(_SC_PAGESIZE) == UNIT);
	if (size == 0 || size > (size_t)UNITS_MAX * UNIT)
		return -EINVAL;
	n = (size + UNIT - 1) / UNIT;
	bytes = n * UNIT;
	if (arena.kind != SECMEM_NONE)
		return -EALREADY;

	/* a page that cannot be touched on each side */
	map = mmap(NULL, bytes + 2 * guard, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	units = mmap(NULL, n * sizeof(struct unit), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED || units == MAP_FAILED)
		goto out;
	r = map_locked(map + guard, bytes, choice, &kind);
	if (r < 0)
		goto out;
	if (!fork_handlers && pthread_atfork(lock_before_fork, unlock_after_fork, forget_in_child) != 0) {
		r = -ENOMEM;
		goto out;
	}
	fork_handlers = true;

	arena.base = map + guard;
	arena.units = units;
	arena.n_units = (uint32_t)n;
	for (size_t i = 0; i < BINS; i++)
		arena.bins[i] = NIL;
	for (size_t i = 0; i < CLASSES; i++)
		arena.slabs[i] = NIL;
	memset(arena.bin_bits, 0, sizeof(arena.bin_bits));
	run_link(0, (uint32_t)n);
	POISON(arena.base, bytes);
	arena.kind = kind;
	return 0;
out:
	if (units != MAP_FAILED)
		munmap(units, n * sizeof(struct unit));
	if (map != MAP_FAILED)
		munmap(map, bytes + 2 * guard);
	return r;
}

enum secmem_kind secmem_kind(void) { return arena.kind; }

const char *secmem_kind_name(void) { return secmem_name(arena.kind); }

const char *secmem_name(enum secmem_kind kind)
{
	switch (kind) {
	case SECMEM_MEMFD_SECRET:
		return "memfd_secret";
	case SECMEM_MLOCK:
		return "mlock";
	case SECMEM_NONE:
		break;
	}
	return "none";
}

void secmem_usage(size_t *ret_used, size_t *ret_total)
{
	pthread_mutex_lock(&arena.lock);
	*ret_used = arena.used;
	*ret_total = (size_t)arena.n_units * UNIT;
	pthread_mutex_unlock(&arena.lock);
}

enum secmem_place secmem_place(const void *p)
{
	const uint8_t *at = p;

	if (arena.base && at >= arena.base && at < arena.base + (size_t)arena.n_units * UNIT)
		return SECMEM_HERE;
	if (arena.lost && at >= arena.lost && at < arena.lost_end)
		return SECMEM_LOST;
	return SECMEM_ELSEWHERE;
}

void *secmem_alloc(size_t size)
{
	uint8_t *p = NULL;

	if (size == 0)
		size = 1;
	if (size > (size_t)UNITS_MAX * UNIT)
		return NULL;
	pthread_mutex_lock(&arena.lock);
	if (arena.kind == SECMEM_NONE || (arena.fail_nth && --arena.fail_nth == 0))
		goto out;
	if (size <= SMALL_MAX) {
		uint8_t class = class_of(size);
		p = slab_take(class);
		if (p)
			arena.used += class_size[class];
	} else {
		uint32_t units = (uint32_t)((size + UNIT - 1) / UNIT), at = run_take(units);
		if (at != NIL) {
			p = unit_address(at);
			arena.used += (size_t)units * UNIT;
			UNPOISON(p, (size_t)units * UNIT);
		}
	}
out:
	pthread_mutex_unlock(&arena.lock);
	return p;
}

void secmem_free(void *p, size_t size)
{
	size_t offset, bytes;
	uint32_t at;

	if (!p)
		return;
	assert(secmem_place(p) == SECMEM_HERE);
	offset = (size_t)((uint8_t *)p - arena.base);
	at = (uint32_t)(offset / UNIT);
	if (size == 0)
		size = 1;
	bytes = size <= SMALL_MAX ? class_size[class_of(size)] : (size + UNIT - 1) / UNIT * UNIT;
	secmem_wipe(p, bytes);

	pthread_mutex_lock(&arena.lock);
	arena.used -= bytes;
	if (size <= SMALL_MAX) {
		assert(arena.units[at].kind == UNIT_SLAB && class_size[arena.units[at].class] == bytes);
		assert(offset % UNIT % bytes == 0);
		slab_give(at, (uint16_t)(offset % UNIT));
	} else {
		assert(arena.units[at].kind == UNIT_RUN && arena.units[at].len == bytes / UNIT && offset % UNIT == 0);
		POISON(p, bytes);
		run_give(at, (uint32_t)(bytes / UNIT));
	}
	pthread_mutex_unlock(&arena.lock);
}

void secmem_fail_nth(unsigned long nth)
{
	pthread_mutex_lock(&arena.lock);
	arena.fail_nth = nth;
	pthread_mutex_unlock(&arena.lock);
}

/* Free memory is looked at too: what was not wiped is what the caller wants to hear of. */
__attribute__((no_sanitize("address"))) bool secmem_contains(const void *needle, size_t len)
{
	const uint8_t *want = needle, *end;
	bool found = false;

	pthread_mutex_lock(&arena.lock);
	end = arena.base + (size_t)arena.touched * UNIT;
	for (const uint8_t *at = arena.base; len && !found && (size_t)(end - at) >= len; at++) {
		size_t same = 0;
		while (same < len && at[same] == want[same])
			same++;
		found = same == len;
	}
	pthread_mutex_unlock(&arena.lock);
	return found;
}
