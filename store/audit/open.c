/* Taking the log over: after the death of a worker from the head in memory, after that of the machine from the head
 * file. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/audit/fold.h"
#include "store/audit/inherit.h"
#include "store/audit/kept.h"
#include "store/audit/log.h"
#include "store/audit/put.h"
#include "store/audit/retain.h"
#include "store/audit/share.h"
#include "store/audit/tally.h"
#include "store/audit/walk.h"
#include "store/crypto/secbuf.h"

#define HEAD_MAGIC 0x61756431u

/* The head as the file has it. magic is stored last: a worker that dies in here leaves an uninitialised head. */
static int head_from_file(struct audit *a, char *why, size_t why_len)
{
	struct audit_head *h = a->head;
	int r;

	memset(h, 0, sizeof *h);
	r = audit_headfile_read(a->config.head_fd, &h->positions[0], &a->headfile_generation);
	if (r < 0) {
		audit_why(why, why_len, "the audit head file is damaged or not a head file");
		return r;
	}
	r = random_bytes(&h->connection, sizeof h->connection);
	if (r == 0)
		r = random_bytes(h->hash_key, sizeof h->hash_key);
	if (r < 0)
		return r;
	h->durable_seq = h->positions[0].seq;
	return 0;
}

static int head_take(struct audit *a, bool *ret_in_memory, char *why, size_t why_len)
{
	struct audit_head *h = a->head;
	struct audit_position in_file;
	int r;

	*ret_in_memory = h->magic == HEAD_MAGIC;
	if (!*ret_in_memory) {
		r = head_from_file(a, why, why_len);
		if (r == 0)
			__atomic_store_n(&h->magic, HEAD_MAGIC, __ATOMIC_RELEASE);
	} else {
		/* The worker may have died with the next key computed, or the last one not yet destroyed. */
		secmem_wipe(audit_spare(h), sizeof(struct audit_position));
		r = audit_headfile_read(a->config.head_fd, &in_file, &a->headfile_generation);
		if (r < 0) { /* it will be written anew; memory is the better word */
			a->headfile_generation = 0;
			r = 0;
		}
		secmem_wipe(&in_file, sizeof in_file);
	}
	if (r == 0)
		a->headfile_seq = *ret_in_memory ? UINT64_MAX : audit_at(h)->seq;
	return r;
}

/* The line before the head must be the one that the head says. */
static int last_line_check(struct audit *a)
{
	const struct audit_position *at = audit_at(a->head);
	size_t len = at->size < sizeof a->line ? (size_t)at->size : sizeof a->line;
	struct audit_record rec;
	uint8_t hash[DIGEST_LEN];
	const char *line;

	if (at->size == 0)
		return 0;
	if (audit_pread_full(a->fd, a->line, len, at->size - len) < 0)
		return -EIO;
	if (a->line[len - 1] != '\n')
		return -EBADMSG;
	line = memrchr(a->line, '\n', len - 1);
	line = line ? line + 1 : a->line;
	len -= (size_t)(line - a->line) + 1;
	if (audit_parse(line, len, &rec) < 0 || rec.seq + 1 != at->seq)
		return -EBADMSG;

	struct bytes body = { line, rec.body_len };
	if (sha256(&body, 1, hash) < 0)
		return -EIO;
	return memcmp(hash, at->prev, sizeof hash) ? -EBADMSG : 0;
}

static int note_request(struct audit_walk *w, const char *line, const struct audit_record *rec)
{
	struct audit *a = w->arg;
	uint64_t connection, recent;

	struct audit_removed removed;

	if (audit_record_removed(line, rec, &removed) && removed.segment >= w->at.oldest)
		w->at.oldest = removed.segment + 1;
	if (audit_record_is(rec, AUDIT_TAMPERED))
		w->at.tampered = w->at.segment;
	bool ours = audit_record_request(line, rec, &connection, &recent) && connection == a->head->connection;
	audit_recent_put(a, &a->head->recents[rec->seq % AUDIT_RECENTS], ours ? recent : 0);
	return 0;
}

/* Goes over what is written and not in the head. A worker can have died over one record; a machine over many, and then
 * what came to the disk of the last ones may be anything. */
static int roll_forward(struct audit *a, bool in_memory, char *why, size_t why_len)
{
	struct audit_walk w = { .at = *audit_at(a->head), .accepted = note_request, .arg = a };
	struct stat st;
	int r, next;

	for (;;) {
		r = audit_walk_segment(&w, a->fd);
		if (r < 0)
			goto out;
		if (fstat(a->fd, &st) < 0) {
			r = -EIO;
			goto out;
		}
		a->dirty = (uint64_t)st.st_size > w.at.size;
		/* An empty or torn next segment is one that somebody died over making: it is taken up when it is
		 * needed. */
		if (a->dirty || audit_segment_missing(a->config.dir_fd, w.at.segment + 1) ||
		    a->config.segment_open(a->config.arg, w.at.segment + 1, false, &next) < 0)
			break;
		if (fstat(next, &st) < 0 || st.st_size == 0) {
			a->next_fd = next;
			break;
		}
		close(a->fd);
		a->fd = next;
		w.at.segment++;
		w.at.size = 0;
		w.at.opened = audit_now();
		w.line = 0;
	}
	if (in_memory && (w.records > 1 || w.bad_shaped)) {
		audit_why(why, why_len, "segment %u does not continue from the head: %s", w.at.segment,
			  w.bad_shaped ? w.bad_why : "more than one record that no worker is known to have written");
		r = -EBADMSG;
		goto out;
	}
	if (w.records || w.at.segment != audit_at(a->head)->segment) {
		*audit_allocated(a->head, audit_spare(a->head)) = w.at.segment == audit_at(a->head)->segment
									  ? *audit_allocated(a->head, audit_at(a->head))
									  : 0;
		*audit_spare(a->head) = w.at;
		audit_publish(a->head);
	}
	r = 0;
out:
	secmem_wipe(&w, sizeof w);
	return r;
}

static int take_over(struct audit *a, bool *ret_in_memory, char *why, size_t why_len)
{
	const struct audit_position *at;
	struct stat st;
	int r = head_take(a, ret_in_memory, why, why_len);

	if (r < 0)
		return r;
	at = audit_at(a->head);
	r = a->config.segment_open(a->config.arg, at->segment, false, &a->fd);
	if (r < 0) {
		a->fd = -1;
		audit_why(why, why_len,
			  "segment %u, where the log goes on, cannot be opened: %s; bring it back, or restore a backup "
			  "into a new vault",
			  at->segment, strerror(-r));
		return r == -ENOENT ? -EBADMSG : r;
	}
	if (fstat(a->fd, &st) < 0)
		return -EIO;
	if ((uint64_t)st.st_size < at->size) {
		audit_why(why, why_len, "segment %u has been cut: it has %llu bytes, the head says %llu", at->segment,
			  (unsigned long long)st.st_size, (unsigned long long)at->size);
		return -EBADMSG;
	}
	r = last_line_check(a);
	if (r < 0) {
		audit_why(why, why_len, "segment %u: the record before byte %llu is not the one that the head names",
			  at->segment, (unsigned long long)at->size);
		return r;
	}
	r = roll_forward(a, *ret_in_memory, why, why_len);
	if (r < 0)
		return r;
	if (audit_at(a->head)->oldest == 0) /* a log of before: it is accounted for from here on */
		audit_at(a->head)->oldest = audit_oldest_of_before(a);
	audit_fold_settle(a);
	if (!*ret_in_memory)
		audit_shares_load(a);
	audit_inherit_tables(a); /* streams are looked up in what is settled */
	return 0;
}

/* As far as the blocks that the file has can bear it out. */
static uint64_t allocated(struct audit *a)
{
	const uint64_t said = *audit_allocated(a->head, audit_at(a->head));
	struct stat st;

	if (fstat(a->fd, &st) < 0)
		return 0;
	const uint64_t there = (uint64_t)st.st_blocks * 512;
	return said < there ? said : there;
}

static void defaults(struct audit_config *c)
{
	if (!c->segment_size)
		c->segment_size = AUDIT_SEGMENT_SIZE;
	if (c->segment_size < AUDIT_SEGMENT_MIN)
		c->segment_size = AUDIT_SEGMENT_MIN;
	if (!c->segment_age)
		c->segment_age = AUDIT_SEGMENT_AGE;
	if (!c->reserve)
		c->reserve = AUDIT_RESERVE;
	if (!c->deny_rate)
		c->deny_rate = AUDIT_DENY_RATE;
	if (!c->deny_burst)
		c->deny_burst = AUDIT_DENY_BURST;
	if (!c->open_rate)
		c->open_rate = AUDIT_OPEN_RATE;
	if (!c->open_burst)
		c->open_burst = AUDIT_OPEN_BURST;
}

int audit_open(const struct audit_config *config, struct audit **ret_audit, char *why, size_t why_len)
{
	struct audit *a = calloc(1, sizeof *a);
	bool in_memory = false;
	int r = -ENOMEM;

	audit_why(why, why_len, "%s", "");
	if (!a)
		return r;
	a->config = *config;
	a->head = config->head;
	a->fd = a->next_fd = a->reading_fd = -1;
	pthread_mutex_init(&a->lock, NULL);
	pthread_mutex_init(&a->reading_lock, NULL);
	pthread_cond_init(&a->synced, NULL);
	defaults(&a->config);
	a->space.reserve = a->config.reserve;
	r = take_over(a, &in_memory, why, why_len);
	if (r < 0)
		goto out;
	audit_names_set(&a->names, config->vault, config->host, a->head->connection);
	a->config.vault = a->names.vault;
	a->config.host = a->names.host;
	a->append_only = audit_append_only(a->fd);
	/* A full disk is no reason to refuse: the appends will say so, and an administrator must be able to act. */
	if (a->dirty && audit_end_torn(a) == -EIO) {
		audit_why(why, why_len, "the torn tail of segment %u cannot be read or ended",
			  audit_at(a->head)->segment);
		r = -EIO;
		goto out;
	}
	a->space.allocated = allocated(a);
	a->failing = audit_space_take(&a->space, a->fd, audit_at(a->head)->size, AUDIT_LINE_MAX, false);
	/* what the one before had counted comes first. What cannot be written stays counted. */
	pthread_mutex_lock(&a->lock);
	audit_share_look(a);
	if (in_memory && audit_ready(a) == 0)
		(void)audit_fold_flush(a, true);
	pthread_mutex_unlock(&a->lock);
	*ret_audit = a;
	a = NULL;
out:
	audit_free(a);
	if (r < 0 && why && why_len > 0 && !why[0])
		audit_why(why, why_len, "the audit log cannot be opened: %s", strerror(-r));
	return r;
}
