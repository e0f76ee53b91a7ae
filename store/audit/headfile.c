/* The head file: two slots of which one is whole, whatever was written when the machine stopped. */
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "store/audit/head.h"
#include "store/audit/segment.h"
#include "store/crypto/secbuf.h"

struct slot {
	uint8_t magic[8];
	uint64_t generation;
	uint32_t segment, zero;
	uint64_t seq, size;
	int64_t opened;
	uint8_t prev[DIGEST_LEN], key[KEY_LEN];
	uint8_t sum[DIGEST_LEN];
};
_Static_assert(sizeof(struct slot) == 144 && offsetof(struct slot, sum) == 112, "a slot has no padding");
static const uint8_t slot_magic[8] = "cofaudh1";

/* What came later stands behind the slot: whoever knows the slot alone reads and writes it as before, and what it
 * writes does not fit this any more. */
struct slot_more {
	uint8_t magic[8];
	uint32_t oldest, tampered;
	uint8_t sum[DIGEST_LEN];
};
_Static_assert(sizeof(struct slot_more) == 48 && offsetof(struct slot_more, sum) == 16,
	       "nor has what stands behind it");
static const uint8_t more_magic[8] = "cofaudm1";
struct slot_whole {
	struct slot slot;
	struct slot_more more;
};
_Static_assert(sizeof(struct slot_whole) == 192, "and they stand side by side");

static int slot_sum(const struct slot *s, uint8_t ret[DIGEST_LEN])
{
	struct bytes part = { s, offsetof(struct slot, sum) };

	return sha256(&part, 1, ret);
}

static int more_sum(const struct slot_whole *w, uint8_t ret[DIGEST_LEN])
{
	struct bytes part = { w, offsetof(struct slot_whole, more.sum) };

	return sha256(&part, 1, ret);
}

/* Of a slot that is whole. */
static void more_decode(const uint8_t *data, struct audit_position *ret)
{
	struct slot_whole w;
	uint8_t sum[DIGEST_LEN];

	memcpy(&w, data, sizeof w);
	ret->oldest = ret->tampered = 0;
	if (!memcmp(w.more.magic, more_magic, sizeof more_magic) && more_sum(&w, sum) == 0 &&
	    !memcmp(sum, w.more.sum, sizeof sum) && le32toh(w.more.oldest) <= ret->segment &&
	    le32toh(w.more.tampered) <= ret->segment) {
		ret->oldest = le32toh(w.more.oldest);
		ret->tampered = le32toh(w.more.tampered);
	}
	secmem_wipe(&w, sizeof w);
}

static int slot_decode(const uint8_t *data, struct audit_position *ret, uint64_t *ret_generation)
{
	struct slot s;
	uint8_t sum[DIGEST_LEN];
	int r = -EBADMSG;

	memcpy(&s, data, sizeof s);
	if (memcmp(s.magic, slot_magic, sizeof slot_magic) || slot_sum(&s, sum) < 0 || memcmp(sum, s.sum, sizeof sum))
		goto out;
	s.segment = le32toh(s.segment);
	if (s.zero || s.segment == 0 || s.segment > AUDIT_SEGMENT_NUMBER_MAX)
		goto out;
	ret->segment = s.segment;
	ret->zero = 0;
	ret->seq = le64toh(s.seq);
	ret->size = le64toh(s.size);
	ret->opened = (int64_t)le64toh((uint64_t)s.opened);
	memcpy(ret->prev, s.prev, sizeof s.prev);
	memcpy(ret->key, s.key, sizeof s.key);
	more_decode(data, ret);
	*ret_generation = le64toh(s.generation);
	r = 0;
out:
	secmem_wipe(&s, sizeof s);
	return r;
}

int audit_headfile_decode(const uint8_t block[AUDIT_HEADFILE_SIZE], struct audit_position *ret,
			  uint64_t *ret_generation)
{
	struct audit_position p[2];
	uint64_t generation[2];
	bool valid[2];
	int r = -EBADMSG;

	for (int i = 0; i < 2; i++)
		valid[i] = slot_decode(block + i * AUDIT_HEADFILE_SLOT, &p[i], &generation[i]) == 0;
	if (valid[0] || valid[1]) {
		int i = valid[0] && valid[1] ? generation[1] > generation[0] : valid[1];
		*ret = p[i];
		*ret_generation = generation[i];
		r = 0;
	}
	secmem_wipe(p, sizeof p);
	return r;
}

int audit_headfile_read(int fd, struct audit_position *ret, uint64_t *ret_generation)
{
	uint8_t block[AUDIT_HEADFILE_SIZE];
	int r = audit_pread_full(fd, block, sizeof block, 0);

	if (r == 0)
		r = audit_headfile_decode(block, ret, ret_generation);
	secmem_wipe(block, sizeof block);
	return r == -ENODATA ? -EBADMSG : r;
}

static int pwrite_full(int fd, const void *data, size_t len, off_t offset)
{
	ssize_t n;

	do
		n = pwrite(fd, data, len, offset);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)len ? 0 : -EIO;
}

int audit_headfile_write(int fd, const struct audit_position *p, uint64_t generation)
{
	static const uint8_t nothing[sizeof(struct slot_whole)];
	struct slot_whole s = {
		.slot = {
			.generation = htole64(generation),
			.segment = htole32(p->segment),
			.seq = htole64(p->seq),
			.size = htole64(p->size),
			.opened = (int64_t)htole64((uint64_t)p->opened),
		},
		.more = { .oldest = htole32(p->oldest), .tampered = htole32(p->tampered) },
	};
	off_t at = (off_t)(generation & 1) * AUDIT_HEADFILE_SLOT;
	int r = -EIO;

	memcpy(s.slot.magic, slot_magic, sizeof s.slot.magic);
	memcpy(s.more.magic, more_magic, sizeof s.more.magic);
	memcpy(s.slot.prev, p->prev, sizeof s.slot.prev);
	memcpy(s.slot.key, p->key, sizeof s.slot.key);
	if (slot_sum(&s.slot, s.slot.sum) < 0 || more_sum(&s, s.more.sum) < 0 ||
	    pwrite_full(fd, &s, sizeof s, at) < 0 || fdatasync(fd) < 0)
		goto out;
	/* Only now: until the new slot was on the disk, the old one was the only way back. It reaches the disk with the
	 * next durable point at the latest. */
	(void)pwrite_full(fd, nothing, sizeof nothing, AUDIT_HEADFILE_SLOT - at);
	r = 0;
out:
	secmem_wipe(&s, sizeof s);
	return r;
}
