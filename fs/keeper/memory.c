/* The memory that outlives every worker, as the keeper makes, signs and clears it. */
#include "fs/keeper/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

/* The kernel's name for this boot. Where it cannot be read, one that holds for this daemon: time without it is then not
 * counted. */
static int read_boot(uint8_t ret[16])
{
	char text[64] = "";
	size_t n = 0;
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		(void)!read(fd, text, sizeof text - 1);
		close(fd);
	}
	for (const char *p = text; *p && n < 16; p++)
		if (sscanf(p, "%2hhx", &ret[n]) == 1 && p[1]) {
			n++;
			p++;
		}
	return n == 16 || getrandom(ret, 16, 0) == 16 ? 0 : -EIO;
}

/* What holds plaintext or keys stays in memory for as long as the keeper lives. */
int memory_lock(struct keeper *k)
{
	struct shared *s = k->shared;
	return mlock(s->slots, sizeof s->slots) || mlock(s->stage_key, KEY_LEN) ||
			       mlock(&s->audit_head, sizeof s->audit_head) || madvise(s, sizeof *s, MADV_DONTDUMP)
		       ? -errno
		       : 0;
}

void memory_sign(struct keeper *k)
{
	struct shared_keeper *s = &k->shared->keeper;

	if (k->giver_fd < 0)
		s->keeper = getpid();
	s->bell_uid = k->store.users.helper;
	s->options = k->options;
	s->read_only = k->options.read_only;
	s->resend = k->resend;
	snprintf(s->vault, sizeof s->vault, "%s", k->store.conf.name);
	snprintf(s->mount, sizeof s->mount, "%s", k->options.mount);
	snprintf(s->store, sizeof s->store, "%s", k->options.store);
}

/* As new, for a new mount: what refers to requests, nodes and open files of the old one must not meet those of the new.
 */
int memory_reset(struct keeper *k)
{
	struct shared *s = k->shared;
	const uint32_t high = s->handles.high;

	memset(s->slots, 0, sizeof s->slots);
	memset(&s->unanswered, 0, sizeof s->unanswered);
	memset(&s->suspects, 0, sizeof s->suspects);
	memset(&s->rings, 0, sizeof s->rings);
	explicit_bzero(&s->audit_head, sizeof s->audit_head);
	memset(&s->handles, 0,
	       offsetof(struct handle_table, entries) +
		       (high < HANDLES_MAX ? high : HANDLES_MAX) * sizeof s->handles.entries[0]);
	for (size_t i = 0; i < CTL_BUFFERS; i++)
		if (s->ctl[i].owner)
			memset(&s->ctl[i], 0, sizeof s->ctl[i]);
	for (size_t i = 0; i < PARKED; i++)
		if (s->parked[i].len)
			memset(&s->parked[i], 0, sizeof s->parked[i]);
	s->tick_began = 0;
	s->keeper.unsealed = 0;
	s->keeper.fresh = 1;
	return getrandom(s->stage_key, KEY_LEN, 0) == KEY_LEN ? 0 : -EIO;
}

int memory_make(struct keeper *k)
{
	struct timespec t;

	k->shared_fd = memfd_create("coffer-shared", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (k->shared_fd < 0 || ftruncate(k->shared_fd, sizeof(struct shared)) ||
	    fcntl(k->shared_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return -errno;
	void *p = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, k->shared_fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	k->shared = p;
	int r = memory_lock(k);
	if (r)
		return r;
	if (memory_reset(k))
		return -EIO;
	if (read_boot(k->shared->keeper.boot))
		return -EIO;
	clock_gettime(CLOCK_REALTIME, &t);
	k->shared->keeper.started = t.tv_sec * 1000000000 + t.tv_nsec;
	memory_sign(k);
	k->shared->size = sizeof(struct shared);
	k->shared->magic = SHARED_MAGIC;
	return 0;
}
