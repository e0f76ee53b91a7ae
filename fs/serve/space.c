#include "fs/serve/space.h"

#include "fs/shared/inode.h"
#include "policy/scope.h"

#define STEPS 1024u

static uint64_t in_steps(uint64_t n, uint64_t of)
{
	const uint64_t step = of / STEPS;

	return step ? n - n % step : n;
}

void space_look(struct space *s, const char *store)
{
	struct statvfs st;

	if (statvfs(store, &st) < 0 || !st.f_blocks)
		return;
	atomic_store(&s->block_size, (uint32_t)st.f_frsize);
	atomic_store(&s->blocks, st.f_blocks);
	atomic_store(&s->free, in_steps(st.f_bfree, st.f_blocks));
	atomic_store(&s->available, in_steps(st.f_bavail, st.f_blocks));
}

void space_fill(const struct space *s, bool narrow, struct statvfs *ret)
{
	struct statvfs st = {
		.f_bsize = 4096,
		.f_frsize = atomic_load(&s->block_size),
		.f_blocks = atomic_load(&s->blocks),
		.f_bfree = atomic_load(&s->free),
		.f_bavail = atomic_load(&s->available),
		/* a secret takes no inode there: what there is room for is numbers of secrets */
		.f_files = INODE_SECRET_MAX,
		.f_ffree = INODE_SECRET_MAX,
		.f_favail = INODE_SECRET_MAX,
		.f_namemax = NAME_LEN_MAX,
	};

	if (!st.f_frsize)
		st.f_frsize = 4096;
	for (; narrow && st.f_blocks > UINT32_MAX; st.f_frsize *= 2) {
		st.f_blocks /= 2;
		st.f_bfree /= 2;
		st.f_bavail /= 2;
	}
	*ret = st;
}
