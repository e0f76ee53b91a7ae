/* Walking the log under the key of each record, from the verify key on. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/audit/format.h"
#include "store/audit/segment.h"
#include "store/audit/walk.h"
#include "store/crypto/secbuf.h"

#define SEQ_MAX      (UINT64_C(1) << 40) /* keys are stepped to one by one: a forged number must not keep us for ever */
#define FIRST_BUFFER (256u << 10)        /* the first record is within it */

struct verification {
	int dir_fd;
	uint8_t key[KEY_LEN];                /* K_0 */
	char vault[6 * AUDIT_VAULT_MAX + 1]; /* as the verify key file names it */
	struct audit_position head;          /* of the head file */
	uint64_t claimed_seq;                /* the daemon's word; 0: none */
	uint8_t claimed[DIGEST_LEN];
	bool head_wrong, claim_wrong;
	bool begun; /* the segment's first record was seen */
	uint32_t first, last;
	uint32_t accounted;                      /* the lowest segment whose removal the log has not told of yet */
	uint32_t unaccounted, unaccounted_first; /* before the first one that is there; how many, and which */
	/* the one right before the first that is there, as its removal was recorded; segment 0: it was not */
	struct audit_removed removed;
	uint64_t first_seq; /* of the first record that is there, and the hash that it names */
	uint8_t first_prev[DIGEST_LEN];
	/* from here on each removal has a record, and nothing else accounts for one */
	bool records_removals;
	uint64_t tampered, tampered_at; /* AuditTampered records, the last one */
	uint32_t segment;
	struct audit_walk walk;
	char *why;
	size_t why_len;
};

#define FAIL(v, ...) (audit_why((v)->why, (v)->why_len, __VA_ARGS__), -EBADMSG)

/* At the moment that the head file, or the daemon, speaks of, the log must be what they say; K too, since whoever
 * cannot know it cannot have written that head. */
static void compare_at(struct verification *v, const struct audit_position *at)
{
	if (at->seq == v->head.seq)
		v->head_wrong = secret_cmp(at->key, v->head.key, KEY_LEN) ||
				secret_cmp(at->prev, v->head.prev, DIGEST_LEN);
	if (v->claimed_seq && at->seq == v->claimed_seq)
		v->claim_wrong = secret_cmp(at->prev, v->claimed, DIGEST_LEN);
}

/* The log has come to speak of `upto`: what lies between the last one that it accounted for and this one is gone
 * without a record, if it is gone. */
static void note_unaccounted(struct verification *v, uint32_t upto)
{
	const uint32_t limit = upto < v->first ? upto : v->first;

	if (limit <= v->accounted)
		return;
	if (!v->unaccounted)
		v->unaccounted_first = v->accounted;
	v->unaccounted += limit - v->accounted;
}

/* A Segment record says from which one on it knows of no removal. The first record that is there is the beginning of
 * what can be checked; a later one adds nothing, but in a log of before: it has that from the head file, which root can
 * write. */
static void account_segment(struct verification *v, uint32_t oldest)
{
	if (!v->accounted || (!v->records_removals && oldest > v->accounted))
		v->accounted = oldest;
}

static void account_removal(struct verification *v, const struct audit_removed *removed)
{
	if (removed->segment < v->accounted)
		return;
	note_unaccounted(v, removed->segment);
	v->accounted = removed->segment + 1;
	if (removed->segment + 1 == v->first)
		v->removed = *removed;
}

static int verified(struct audit_walk *w, const char *line, const struct audit_record *rec)
{
	struct verification *v = w->arg;
	struct audit_removed removed;
	struct audit_torn torn;
	uint32_t number, oldest;
	bool because;

	v->records_removals = v->records_removals || audit_record_is_of_now(line, rec);
	if (audit_record_segment(line, rec, &number, &oldest, &because)) {
		/* no gap in the chain shows it: nothing is left before it */
		if (because && number == v->segment && number == v->first)
			return FAIL(v, "segment %u was removed while the daemon wrote to it", number - 1);
		account_segment(v, oldest);
		v->begun = v->begun || number == v->segment;
	} else if (audit_record_removed(line, rec, &removed)) {
		account_removal(v, &removed);
	} else if (!v->begun && audit_record_torn(line, rec, &torn) && torn.oldest) {
		account_segment(v, torn.oldest);
	} else if (audit_record_is(rec, AUDIT_TAMPERED)) {
		v->tampered++;
		v->tampered_at = rec->seq;
	}
	if (!v->accounted) /* a torn beginning of before does not say what came before it */
		v->accounted = v->records_removals                           ? 1
			       : v->head.oldest && v->head.oldest < v->first ? v->head.oldest
									     : v->first;
	/* A torn beginning names its place, so that no other part of a segment can be made to look like its beginning.
	 */
	if (!v->begun && !audit_record_is(rec, AUDIT_TORN))
		return FAIL(v,
			    "segment %u, line %llu (record %llu): the segment does not begin with its Segment record",
			    v->segment, (unsigned long long)w->line, (unsigned long long)rec->seq);
	v->begun = true;
	compare_at(v, &w->at);
	return 0;
}

static int key_read(struct verification *v, const char *path)
{
	char text[1024] = "", hex[AUDIT_HEX_LEN + 1] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), r = -EBADMSG, ends = 0;
	ssize_t n;

	if (fd < 0) {
		r = errno == ENOENT ? -ENOENT : -EIO;
		audit_why(v->why, v->why_len, "the verify key %s cannot be opened: %s; name the file with --verify-key",
			  path, errno == ELOOP ? "it is a link, and the file itself is wanted" : strerror(errno));
		return r;
	}
	n = read(fd, text, sizeof text - 1);
	close(fd);
	if (n > 0)
		(void)sscanf(text, "coffer audit verify key 1\nvault %384[^\n]\nkey %64[0-9a-f]\n%n", v->vault, hex,
			     &ends);
	if (n > 0 && ends == (int)n && strlen(hex) == AUDIT_HEX_LEN && audit_unhex(hex, v->key) == 0)
		r = 0;
	else if (n > 0 || n == 0) {
		r = -EINVAL;
		audit_why(v->why, v->why_len, "%s is not a verify key file", path);
	}
	secmem_wipe(text, sizeof text);
	secmem_wipe(hex, sizeof hex);
	return r;
}

static int head_read(struct verification *v)
{
	int fd = openat(v->dir_fd, "head", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), r = -EBADMSG;
	uint64_t generation;

	if (fd < 0)
		return FAIL(v,
			    "the head file is missing: without it a log that was cut cannot be told from a whole one");
	/* A running daemon may be writing it: one of the slots is whole, but a read can fall between two writes. */
	for (int tries = 0; r == -EBADMSG && tries < 100; tries++)
		r = audit_headfile_read(fd, &v->head, &generation);
	close(fd);
	return r < 0 ? FAIL(v, "the head file is damaged") : 0;
}

/* The number of the first record that is left: retention may have removed those before. */
static int first_seq(struct verification *v, int fd, uint64_t *ret_seq)
{
	char *buffer = malloc(FIRST_BUFFER), *p = buffer, *end;
	struct audit_record rec;
	ssize_t n = buffer ? pread(fd, buffer, FIRST_BUFFER, 0) : 0;
	int r = buffer ? -EBADMSG : -ENOMEM;

	for (; n > 0 && (end = memchr(p, '\n', (size_t)(buffer + n - p))) != NULL; p = end + 1)
		if (audit_parse(p, (size_t)(end - p), &rec) == 0) {
			*ret_seq = rec.seq;
			memcpy(v->walk.at.prev, rec.prev, DIGEST_LEN); /* sealed in that record */
			r = 0;
			break;
		}
	free(buffer);
	if (r == -EBADMSG)
		audit_why(v->why, v->why_len, "segment %u begins with no record", v->segment);
	return r;
}

/* Retention beside us has removed all that the head file named when we read it; a daemon wrote a later one before it
 * did. */
static bool head_moved_on(struct verification *v)
{
	const uint64_t before = v->head.seq;

	return head_read(v) == 0 && v->head.seq > before;
}

static int begin(struct verification *v, int fd)
{
	uint64_t seq;
	uint8_t next[KEY_LEN];
	int r = first_seq(v, fd, &seq);

	if (r < 0)
		return r;
	if (v->first == 1 && seq != 0)
		return FAIL(v, "segment 1, line 1: the log begins with record %llu: those before were removed",
			    (unsigned long long)seq);
	if (seq > v->head.seq && head_moved_on(v))
		return -ESTALE;
	if (seq > v->head.seq || seq > SEQ_MAX)
		return FAIL(v, "segment %u, line 1: record %llu is later than the head file knows", v->segment,
			    (unsigned long long)seq);
	if (seq == 0)
		memset(v->walk.at.prev, 0, DIGEST_LEN);
	v->walk.at.seq = v->first_seq = seq;
	memcpy(v->first_prev, v->walk.at.prev, DIGEST_LEN);
	memcpy(v->walk.at.key, v->key, KEY_LEN);
	for (uint64_t i = 0; i < seq && r == 0; i++) {
		r = audit_evolve(v->walk.at.key, next);
		memcpy(v->walk.at.key, next, KEY_LEN);
	}
	secmem_wipe(next, sizeof next);
	compare_at(v, &v->walk.at);
	return r;
}

/* What stands between the last record of a segment and its end. */
static int tail_check(struct verification *v, int fd, bool last)
{
	struct audit_walk *w = &v->walk;
	struct stat st;

	if (w->bad_lines)
		return FAIL(v, "segment %u, line %llu (record %llu expected): %s%s", v->segment,
			    (unsigned long long)w->bad_line, (unsigned long long)w->at.seq, w->bad_why,
			    w->records == 0 && w->at.seq == 0 ? "; or this is another vault's verify key" : "");
	if (fstat(fd, &st) < 0)
		return -EIO;
	if (!last && (uint64_t)st.st_size > w->at.size)
		return FAIL(v, "segment %u, line %llu (record %llu expected): the line is not ended", v->segment,
			    (unsigned long long)w->line + 1, (unsigned long long)w->at.seq);
	return 0;
}

/* Retention beside us has removed what we were about to read. */
static bool overtaken(struct verification *v)
{
	uint32_t first, last;

	return audit_segment_list(v->dir_fd, &first, &last) == 0 && first > v->segment;
}

/* 0, and *ret_next says whether there is one more segment; -ESTALE: begin again. */
static int segment_check(struct verification *v, bool *ret_next)
{
	int fd = -1, next = -1, r = audit_segment_open_reading(v->dir_fd, v->segment, &fd);

	if (r == -ENOENT)
		return overtaken(v) ? -ESTALE : FAIL(v, "segment %u is missing", v->segment);
	if (r < 0)
		return r;
	v->walk.line = 0;
	v->walk.at.size = 0;
	v->walk.at.segment = v->segment;
	v->begun = false;
	if (v->segment == v->first)
		r = begin(v, fd);
	if (r == 0)
		r = audit_walk_segment(&v->walk, fd);
	if (r < 0)
		goto out;
	r = audit_segment_open_reading(v->dir_fd, v->segment + 1, &next);
	if (r < 0 && r != -ENOENT)
		goto out;
	*ret_next = r == 0 || v->segment < v->last;
	r = 0;
	if (*ret_next) { /* now it is finished: the daemon may have added to it since we came to its end */
		v->walk.line -= v->walk.bad_lines;
		r = audit_walk_segment(&v->walk, fd);
	}
	if (r == 0)
		r = tail_check(v, fd, !*ret_next);
out:
	if (next >= 0)
		close(next);
	close(fd);
	return r;
}

static int segments_check(struct verification *v, struct audit_verify_report *report)
{
	bool more = true;
	int r = audit_segment_list(v->dir_fd, &v->first, &v->last);

	if (r < 0) {
		audit_why(v->why, v->why_len, "there is no log: no segment in its directory");
		return r;
	}
	report->first_segment = v->first;
	report->segments = 0;
	for (v->segment = v->first; more; v->segment++) {
		r = segment_check(v, &more);
		if (v->segment == v->first)
			report->first_seq = v->walk.at.seq - v->walk.records;
		if (r < 0)
			return r;
		report->segments++;
	}
	v->segment--;
	return 0;
}

static int ends_check(struct verification *v)
{
	uint64_t seq = v->walk.at.seq;

	if (seq < v->head.seq)
		return FAIL(v, "the log has been cut: it ends before record %llu, the head file knows %llu records",
			    (unsigned long long)seq, (unsigned long long)v->head.seq);
	if (v->head_wrong)
		return FAIL(v, "the head file is not this log's: at record %llu hash or key differ",
			    (unsigned long long)v->head.seq);
	note_unaccounted(v, v->first);
	if (v->unaccounted)
		return FAIL(v,
			    "%u of the segments before %u are gone (the first is %u), and the log does not say that "
			    "retention removed them",
			    v->unaccounted, v->first, v->unaccounted_first);
	if (v->removed.segment &&
	    (v->removed.last + 1 != v->first_seq || memcmp(v->removed.digest, v->first_prev, DIGEST_LEN)))
		return FAIL(v, "segment %u, which retention removed, is not the one that stood before segment %u",
			    v->removed.segment, v->first);
	if (v->claimed_seq && seq < v->claimed_seq)
		return FAIL(v,
			    "the log has been cut or put back from an old copy: it ends before record %llu, the daemon "
			    "knows %llu records",
			    (unsigned long long)seq, (unsigned long long)v->claimed_seq);
	if (v->claimed_seq && v->claim_wrong)
		return FAIL(v, "the log is not the one that the daemon knows: the hash at record %llu differs",
			    (unsigned long long)v->claimed_seq);
	return 0;
}

static int log_check(struct verification *v, struct audit_verify_report *report)
{
	int r;

	memset(&v->walk, 0, sizeof v->walk);
	memset(&v->removed, 0, sizeof v->removed);
	v->walk.accepted = verified;
	v->walk.arg = v;
	v->head_wrong = v->claim_wrong = true;
	v->accounted = v->unaccounted = v->unaccounted_first = 0;
	v->records_removals = false;
	v->tampered = 0;
	r = head_read(v); /* before the segments: they can only be further on */
	if (r == 0)
		r = segments_check(v, report);
	return r < 0 ? r : ends_check(v);
}

/* On success, what a person should know. */
static void remark(struct verification *v)
{
	char more[128] = "";

	if (v->tampered)
		snprintf(more, sizeof more,
			 "%s%llu record%s of tampering with the log's files, the last one is %llu: coffer audit shows "
			 "what was found",
			 v->first > 1 ? "; " : "", (unsigned long long)v->tampered, v->tampered == 1 ? "" : "s",
			 (unsigned long long)v->tampered_at);
	if (v->first > 1)
		audit_why(v->why, v->why_len, "segments 1 to %u are no longer there (removed by retention)%s",
			  v->first - 1, more);
	else if (v->tampered)
		audit_why(v->why, v->why_len, "%s", more);
}

int audit_verify_against(const char *store_dir, const char *verify_path, uint64_t seq, const char *head,
			 struct audit_verify_report *ret, char *why, size_t why_len)
{
	struct verification v = { .dir_fd = -1, .claimed_seq = head ? seq : 0, .why = why, .why_len = why_len };
	struct audit_verify_report report = { 0 };
	char path[4096];
	int r;

	audit_why(why, why_len, "%s", "");
	if (head && (strlen(head) != AUDIT_HEX_LEN || audit_unhex(head, v.claimed) < 0))
		return FAIL(&v, "the daemon's head is not a hash");
	r = key_read(&v, verify_path);
	if (r < 0)
		goto out;
	if (snprintf(path, sizeof path, "%s/audit", store_dir) >= (int)sizeof path ||
	    (v.dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) {
		r = errno == ENOENT ? -ENOENT : -EIO;
		audit_why(why, why_len, "there is no log in %s: %s", store_dir, strerror(errno));
		goto out;
	}
	r = log_check(&v, &report);
	for (int tries = 0; r == -ESTALE && tries < 20; tries++)
		r = log_check(&v, &report);
	if (r == -ESTALE)
		r = FAIL(&v, "its segments are removed faster than they can be read");
	report.records = v.walk.records;
	report.torn = v.walk.torn;
	report.last_seq = v.walk.records ? v.walk.at.seq - 1 : 0;
	report.unaccounted = v.unaccounted;
	report.tampered = v.tampered;
	if (r == 0)
		remark(&v);
	if (r == 0 || r == -EBADMSG) /* how far it is good */
		*ret = report;
out:
	if (v.dir_fd >= 0)
		close(v.dir_fd);
	secmem_wipe(&v, sizeof v);
	return r;
}

int audit_verify(const char *store_dir, const char *verify_path, struct audit_verify_report *ret, char *why,
		 size_t why_len)
{
	return audit_verify_against(store_dir, verify_path, 0, NULL, ret, why, why_len);
}
