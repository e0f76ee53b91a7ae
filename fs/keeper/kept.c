/* The second net, under a keeper that is killed: the service manager keeps a duplicate of /dev/fuse, of the shared
 * memory and of the mount, and gives them to the keeper that it starts next. The connection never closes; who waits for
 * an answer goes on waiting, and open files, staged writes and the head of the log are where they were. Everything else
 * is opened or made anew.
 *
 * What is kept stands under a name each; "state" says which mount it is, in this version's own layout. What does not
 * fit is given back, and this start fails: the next one finds nothing kept, and begins afresh with a new mount. */
#include "fs/keeper/internal.h"
#include "fs/keeper/successors.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "fs/common/log.h"

enum kept { KEPT_STATE, KEPT_SHARED, KEPT_FUSE, KEPT_CLONE, KEPT };
static const char *const names[KEPT] = { "state", "shared", "fuse", "mount" };

void kept_forget(const struct keeper *k)
{
	for (size_t i = 0; i < KEPT; i++)
		notify_forget(&k->notify, names[i]);
}

void kept_give(const struct keeper *k)
{
	static struct keeper_state s;
	int state = -1;

	if (k->notify.fd < 0)
		return;
	kept_forget(k);
	state_save(k, &s);
	state_strip(&s);
	int r = state_to_memfd(&s, &state);
	if (r) {
		log_warn("the service manager keeps nothing for us: %s", strerror(-r));
		return;
	}
	const int fds[KEPT] = { [KEPT_STATE] = state,
				[KEPT_SHARED] = k->shared_fd,
				[KEPT_FUSE] = mount_fuse_fd(k->mount),
				[KEPT_CLONE] = k->clone_fd };
	for (size_t i = 0; i < KEPT; i++)
		notify_keep(&k->notify, names[i], fds[i]);
	close(state);
}

bool kept_take(struct keeper *k)
{
	struct notify_kept kept[KEPT];
	const size_t n = notify_take(kept, KEPT);
	size_t found = 0;

	for (size_t i = 0; i < KEPT; i++)
		k->kept[i] = -1;
	for (size_t i = 0; i < n; i++) {
		size_t which = 0;
		while (which < KEPT && strcmp(kept[i].name, names[which]) != 0)
			which++;
		if (which == KEPT || k->kept[which] >= 0) {
			close(kept[i].fd);
			continue;
		}
		k->kept[which] = kept[i].fd;
		found++;
	}
	return found > 0;
}

/* The store is open, by this keeper: what was kept of it is its mount and its memory. */
int kept_adopt(struct keeper *k)
{
	static struct keeper_state s;
	int r = state_from_memfd(k->kept[KEPT_STATE], &s);

	if (r)
		return r;
	if (strcmp(s.options.store, k->options.store) || strcmp(s.options.mount, k->options.mount))
		return -EXDEV;
	s.options = k->options;
	s.conf = k->store.conf;
	s.users = k->store.users;
	s.dir = k->store.dir;
	s.lock = k->store.lock;
	s.audit_dir = k->store.audit_dir;
	s.audit_head = k->store.audit_head;
	s.kek = k->store.kek;
	s.unseal = k->store.unseal;
	s.asked = -1;
	s.shared = k->kept[KEPT_SHARED];
	s.fuse = k->kept[KEPT_FUSE];
	s.clone = k->kept[KEPT_CLONE];
	memcpy(s.channels, k->channels, sizeof s.channels);
	memcpy(s.exe, k->exe, sizeof s.exe);
	if (s.shared < 0 || s.fuse < 0 || s.clone < 0)
		return -EBADF;
	r = state_restore(k, &s);
	close(k->kept[KEPT_STATE]);
	k->kept[KEPT_STATE] = -1;
	if (r)
		return r;
	k->shared->keeper.ending = 0;
	k->shared->keeper.fresh = 0;
	/* its worker died of the keeper's death: what it was at is under no suspicion */
	unanswered_worker_died(&k->shared->unanswered, NULL, NULL);
	memory_sign(k);
	return mount_aborted(k->mount) || !mount_attached(k->mount) ? -ENOTCONN : 0;
}
