/* When records are on the disk: group commit, and the head file. */
#include "store/audit/durable.h"

#include <errno.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "store/audit/log.h"
#include "store/crypto/secbuf.h"

static void sync_begin(struct audit *a)
{
	a->syncing = true;
	pthread_mutex_unlock(&a->lock);
}

static void sync_end(struct audit *a, int r, uint64_t seq)
{
	pthread_mutex_lock(&a->lock);
	a->syncing = false;
	if (r == 0 && seq > a->head->durable_seq)
		a->head->durable_seq = seq;
	if (r < 0 && seq > a->failed_seq)
		a->failed_seq = seq;
	pthread_cond_broadcast(&a->synced);
}

/* Whoever comes while a sync runs waits, and one of them then syncs for all: group commit. */
int audit_wait_durable(struct audit *a, uint64_t seq)
{
	while (a->head->durable_seq < seq) {
		if (a->failed_seq >= seq) /* a second fdatasync may say yes to pages that the first one dropped */
			return -EIO;
		if (a->syncing) {
			pthread_cond_wait(&a->synced, &a->lock);
			continue;
		}
		uint64_t target = audit_at(a->head)->seq;
		sync_begin(a);
		int r = fdatasync(a->fd) < 0 ? -EIO : 0;
		sync_end(a, r, target);
	}
	return 0;
}

int audit_durable_point(struct audit *a)
{
	struct audit_position at;
	int r = 0;

	while (a->syncing)
		pthread_cond_wait(&a->synced, &a->lock);
	at = *audit_at(a->head);
	if (at.seq == a->headfile_seq)
		goto out;
	sync_begin(a);
	r = fdatasync(a->fd) < 0 ? -EIO : audit_headfile_write(a->config.head_fd, &at, a->headfile_generation + 1);
	sync_end(a, r, at.seq);
	if (r == 0) {
		a->headfile_generation++;
		a->headfile_seq = at.seq;
	}
out:
	secmem_wipe(&at, sizeof at);
	return r;
}
