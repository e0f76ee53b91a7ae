/* What a keeper needs to go on where another one stopped: the same process after it executed a new binary, or another
 * process that asked for it (keeper_upgrade.c, keeper_handover.c).
 *
 * One struct, whose layout is this version's own: magic and size say whether the other side knows it. Descriptors go by
 * number (exec) or by SCM_RIGHTS in the order of descriptors(). */
#include "fs/keeper/internal.h"
#include "fs/keeper/successors.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fs/process/sandbox.h"

size_t state_descriptors(struct keeper_state *s, int *ret[STATE_FDS])
{
	size_t n = 0;
	int *const one[] = {
		&s->shared,
		&s->fuse,
		&s->proc,
		&s->clone,
		&s->dir,
		&s->lock,
		&s->audit_dir,
		&s->audit_head,
		&s->kek,
		&s->unseal,
		&s->asked,
		&s->worker,
		&s->seats[0].control,
		&s->seats[1].control,
	};
	for (size_t i = 0; i < sizeof one / sizeof *one; i++)
		ret[n++] = one[i];
	for (size_t i = 0; i < HELPERS * SEATS; i++) {
		ret[n++] = &s->channels[i / SEATS][i % SEATS].worker_end;
		ret[n++] = &s->channels[i / SEATS][i % SEATS].helper_end;
	}
	return n;
}

void state_save(const struct keeper *k, struct keeper_state *ret)
{
	*ret = (struct keeper_state){
		.magic = STATE_MAGIC,
		.size = sizeof *ret,
		.shared_size = sizeof(struct shared),
		.list = sandbox_keeper_list(),
		.options = k->options,
		.conf = k->store.conf,
		.users = k->store.users,
		.shared = k->shared_fd,
		.fuse = mount_fuse_fd(k->mount),
		.proc = k->proc_fd,
		.clone = k->clone_fd,
		.dir = k->store.dir,
		.lock = k->store.lock,
		.audit_dir = k->store.audit_dir,
		.audit_head = k->store.audit_head,
		.kek = k->store.kek,
		.unseal = k->store.unseal,
		.asked = k->asked_fd,
		.worker = -1,
		.active = k->active,
		.lingering = k->lingering,
		.segment = k->segment,
		.closed = k->closed,
		.resend = k->resend,
	};
	mount_save(k->mount, &ret->mount);
	memcpy(ret->channels, k->channels, sizeof ret->channels);
	memcpy(ret->helpers, k->helpers, sizeof ret->helpers);
	memcpy(ret->seats, k->seats, sizeof ret->seats);
	memcpy(ret->exe, k->exe, sizeof ret->exe);
}

/* Helpers and workers are of one keeper, and end with it: another one has its own, its own channels to them, and its
 * own view of processes. */
void state_strip(struct keeper_state *s)
{
	memset(s->helpers, 0, sizeof s->helpers);
	memset(s->seats, 0, sizeof s->seats);
	for (int i = 0; i < SEATS; i++)
		s->seats[i].control = -1;
	for (size_t i = 0; i < HELPERS * SEATS; i++)
		s->channels[i / SEATS][i % SEATS] = (struct channel){ -1, -1 };
	s->active = -1;
	s->lingering = 0;
	s->proc = -1;
}

int state_check(const struct keeper_state *s)
{
	return s->magic == STATE_MAGIC && s->size == sizeof *s && s->shared_size == sizeof(struct shared) &&
			       s->active >= -1 && s->active < SEATS
		       ? 0
		       : -EPROTO;
}

int state_restore(struct keeper *k, const struct keeper_state *s)
{
	int r = state_check(s);
	if (r)
		return r;
	k->options = s->options;
	k->store = (struct keeper_store){ .dir = s->dir,
					  .lock = s->lock,
					  .audit_dir = s->audit_dir,
					  .audit_head = s->audit_head,
					  .kek = s->kek,
					  .unseal = s->unseal,
					  .conf = s->conf,
					  .users = s->users };
	k->shared_fd = s->shared;
	k->proc_fd = s->proc;
	k->clone_fd = s->clone;
	k->asked_fd = s->asked;
	k->giver_worker = s->worker;
	k->active = s->active;
	k->lingering = s->lingering;
	k->segment = s->segment;
	k->closed = s->closed;
	k->resend = s->resend;
	k->attached = true;
	memcpy(k->channels, s->channels, sizeof k->channels);
	memcpy(k->helpers, s->helpers, sizeof k->helpers);
	memcpy(k->seats, s->seats, sizeof k->seats);
	memcpy(k->exe, s->exe, sizeof k->exe);
	void *p = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, k->shared_fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	k->shared = p;
	if (k->shared->magic != SHARED_MAGIC || k->shared->size != sizeof(struct shared))
		return -EPROTO;
	r = memory_lock(k);
	return r ? r : mount_adopt(&s->mount, s->fuse, &k->mount);
}

int state_to_memfd(const struct keeper_state *s, int *ret_fd)
{
	int fd = memfd_create("coffer-state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (write(fd, s, sizeof *s) != (ssize_t)sizeof *s ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		int r = -errno;
		close(fd);
		return r ? r : -EIO;
	}
	*ret_fd = fd;
	return 0;
}

int keeper_can_resume(int state_fd)
{
	static struct keeper_state s;
	return state_from_memfd(state_fd, &s) ? 1 : 0;
}

int state_from_memfd(int fd, struct keeper_state *ret)
{
	if (pread(fd, ret, sizeof *ret, 0) != (ssize_t)sizeof *ret)
		return -EPROTO;
	return state_check(ret);
}
