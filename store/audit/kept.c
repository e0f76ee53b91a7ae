/* What each neighbour has written of late, in a file: memory ends with the daemon, and whoever has filled the log would
 * else begin anew with each start of it.
 *
 * Two slots, written in turn, so that a torn write leaves the other. A slot: "cfls", how many entries, a generation,
 * the time of writing (ns since the epoch), the boot, the entries (neighbour; ns until it is all grown old; beginning
 * with the heaviest), and SHA-256 over all of it. The file is the worker's own, as the memory is: nobody believes more
 * of it than of that (audit_inherit.c). */
#include "store/audit/kept.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/audit/log.h"
#include "store/audit/share.h"

#define MAGIC      0x736c6663u
#define SLOT       8192
#define SAVE_EVERY (10 * (int64_t)AUDIT_NS)

struct entry {
	uint64_t neighbour;
	int64_t left;
};
struct slot {
	uint32_t magic, n;
	uint64_t generation;
	int64_t at;
	uint8_t boot[AUDIT_BOOT_LEN];
	struct entry entries[AUDIT_SHARES];
	uint8_t digest[DIGEST_LEN];
};
_Static_assert(sizeof(struct slot) <= SLOT, "a slot has room");

static int digest_of(const struct slot *s, uint8_t ret[DIGEST_LEN])
{
	const struct bytes all = { (const uint8_t *)s, offsetof(struct slot, digest) };

	return sha256(&all, 1, ret);
}

static bool read_slot(int fd, int i, struct slot *ret)
{
	uint8_t digest[DIGEST_LEN];

	return audit_pread_full(fd, ret, sizeof *ret, (uint64_t)i * SLOT) == 0 && ret->magic == MAGIC &&
	       ret->n <= AUDIT_SHARES && digest_of(ret, digest) == 0 && !memcmp(digest, ret->digest, sizeof digest);
}

/* The newer good one. */
static bool read_newest(int fd, struct slot *ret)
{
	struct slot s;
	bool found = false;

	for (int i = 0; i < 2; i++)
		if (read_slot(fd, i, &s) && (!found || s.generation > ret->generation)) {
			*ret = s;
			found = true;
		}
	return found;
}

static void put_boot(const struct audit *a, uint8_t ret[AUDIT_BOOT_LEN])
{
	memset(ret, 0, AUDIT_BOOT_LEN);
	if (a->config.boot)
		memcpy(ret, a->config.boot, AUDIT_BOOT_LEN);
}

void audit_shares_load(struct audit *a)
{
	const int64_t now = audit_monotonic(), window = a->config.keep_seconds * (int64_t)AUDIT_NS;
	struct slot *s = malloc(sizeof *s);
	uint8_t boot[AUDIT_BOOT_LEN];

	put_boot(a, boot);
	if (s && a->config.shares_fd > 0 && read_newest(a->config.shares_fd, s)) {
		const bool same_boot = !memcmp(s->boot, boot, sizeof boot);
		const int64_t since = audit_now() > s->at ? audit_now() - s->at : 0;
		a->shares_generation = s->generation;
		for (uint32_t i = 0; i < s->n; i++) {
			const struct entry *e = &s->entries[i];
			if (e->left <= since || (!same_boot && a->config.lasts && !a->config.lasts(e->neighbour)))
				continue;
			audit_share_put(a, e->neighbour,
					now + (e->left < window ? e->left : window) -
						(since < window ? since : window));
		}
	}
	free(s);
}

static int heavier(const void *a, const void *b)
{
	const int64_t x = ((const struct entry *)a)->left, y = ((const struct entry *)b)->left;

	return (x < y) - (x > y);
}

/* With lock. */
static void fill(struct audit *a, struct slot *s)
{
	const int64_t now = audit_monotonic();

	*s = (struct slot){ .magic = MAGIC, .generation = ++a->shares_generation, .at = audit_now() };
	put_boot(a, s->boot);
	for (size_t i = 0; i < AUDIT_SHARES; i++)
		if (a->head->shares[i].due > now)
			s->entries[s->n++] = (struct entry){ a->head->shares[i].neighbour,
							     a->head->shares[i].due - now };
}

static bool write_slot(int fd, const struct slot *s)
{
	const ssize_t n = pwrite(fd, s, sizeof *s, (off_t)(s->generation & 1) * SLOT);

	return n == (ssize_t)sizeof *s && fdatasync(fd) == 0;
}

static bool take_changed(struct audit *a, struct slot *s)
{
	pthread_mutex_lock(&a->lock);
	const bool changed = a->shares_changed;
	if (changed)
		fill(a, s);
	a->shares_changed = false;
	pthread_mutex_unlock(&a->lock);
	return changed;
}

void audit_shares_save(struct audit *a, bool at_once)
{
	const int64_t now = audit_monotonic();
	struct slot *s;

	if (a->config.shares_fd <= 0 || (!at_once && now < a->shares_save_after))
		return;
	s = malloc(sizeof *s);
	if (!s)
		return;
	if (take_changed(a, s)) {
		a->shares_save_after = now + SAVE_EVERY;
		/* the heaviest find their places first when it is read */
		qsort(s->entries, s->n, sizeof s->entries[0], heavier);
		if (digest_of(s, s->digest) < 0 || !write_slot(a->config.shares_fd, s)) {
			pthread_mutex_lock(&a->lock);
			a->shares_changed = true; /* again, in a while */
			pthread_mutex_unlock(&a->lock);
		}
	}
	free(s);
}
