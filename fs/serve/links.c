#include "fs/serve/links.h"

#include <stdatomic.h>
#include <stdbool.h>

#include "fs/common/clock.h"
#include "fs/serve/holds.h"
#include "fs/shared/inode.h"
#include "fs/serve/vault.h"

/* A place has the secret, and then which rename it is; or, where that was answered, since when, in ms. 0: free. */
#define ANSWERED   (UINT64_C(1) << 32)
#define REST_SHIFT 33
#define DONE_MS    2000 /* the kernel has ended it by then, whether it was seen or not */

static uint64_t now_ms(void) { return (uint64_t)(clock_monotonic() / 1000000) & (UINT64_MAX >> REST_SHIFT); }

static uint64_t begun(uint32_t secret, uint64_t unique)
{
	return secret | unique >> 1 << REST_SHIFT; /* the kernel's own are even */
}

static bool is_over(uint64_t rename) { return (rename & ANSWERED) && now_ms() - (rename >> REST_SHIFT) > DONE_MS; }

/* NULL: no file is being renamed over its current. */
static _Atomic uint64_t *find(struct vault *v, uint32_t secret)
{
	for (size_t i = 0; i < LINKS_RENAMES; i++)
		if ((uint32_t)atomic_load_explicit(&v->renames[i], memory_order_relaxed) == secret)
			return &v->renames[i];
	return NULL;
}

static _Atomic uint64_t *find_dir(struct vault *v, uint64_t ino, uint32_t *ret_secret)
{
	struct inode dir;

	if (!inode_unpack(ino, &dir) || dir.type != INODE_SECRET)
		return NULL;
	*ret_secret = dir.secret;
	return find(v, dir.secret);
}

/* A free place; else that of the rename that was answered first, which is the likeliest to have ended. There are more
 * places than threads that answer. */
static _Atomic uint64_t *take(struct vault *v, uint64_t rename)
{
	for (;;) {
		_Atomic uint64_t *place = NULL;
		uint64_t there = 0, oldest = 0;

		for (size_t i = 0; i < LINKS_RENAMES; i++) {
			const uint64_t other = atomic_load(&v->renames[i]);
			const uint64_t age = !other             ? UINT64_MAX
					     : other & ANSWERED ? 1 + now_ms() - (other >> REST_SHIFT)
								: 0;
			if (age > oldest) {
				oldest = age;
				there = other;
				place = &v->renames[i];
			}
		}
		if (!place || atomic_compare_exchange_strong(place, &there, rename))
			return place;
	}
}

void links_begin(struct vault *v, uint32_t secret, uint64_t unique)
{
	_Atomic uint64_t *place = find(v, secret);

	if (place) /* the directory's lock keeps all others of this secret away */
		atomic_store(place, begun(secret, unique));
	else
		place = take(v, begun(secret, unique));
	if (place)
		holds_look(v->holds, inode_pack(&(struct inode){ .type = INODE_CURRENT, .secret = secret }));
}

/* The kernel may have sent the next before the thread that answered this one comes here. */
void links_answered(struct vault *v, uint64_t parent, uint64_t unique)
{
	uint32_t secret;
	_Atomic uint64_t *place = find_dir(v, parent, &secret);
	uint64_t this = place ? begun(secret, unique) : 0;

	if (place)
		atomic_compare_exchange_strong(place, &this, secret | ANSWERED | now_ms() << REST_SHIFT);
}

void links_seen(struct vault *v, const struct fuse_in_header *in)
{
	_Atomic uint64_t *place;
	uint32_t secret;
	uint64_t there;

	switch (in->opcode) {
	case FUSE_CREATE:
	case FUSE_MKNOD:
	case FUSE_MKDIR:
	case FUSE_SYMLINK:
	case FUSE_LINK:
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_RENAME:
	case FUSE_RENAME2:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
		place = find_dir(v, in->nodeid, &secret);
		there = place ? atomic_load(place) : 0;
		if (there & ANSWERED)
			atomic_compare_exchange_strong(place, &there, 0);
		break;
	default:
		break;
	}
}

uint32_t links_of(const struct vault *v, uint32_t secret)
{
	for (size_t i = 0; i < LINKS_RENAMES; i++) {
		const uint64_t there = atomic_load_explicit(&v->renames[i], memory_order_relaxed);
		if ((uint32_t)there == secret && !is_over(there))
			return 2;
	}
	return 1;
}
