/* What leaves the log: by retention, recorded before it goes; and otherwise, which is found. */
#include <signal.h>

#include "audit_fixture.h"
#include "store/audit/log.h"

static const char *text_at(struct log *l, uint32_t segment, char **ret_text)
{
	size_t len;

	*ret_text = log_text(l, segment, &len);
	return *ret_text;
}

static unsigned int in_log(struct log *l, const char *what)
{
	unsigned int n = 0;

	for (uint32_t s = 1; s <= audit_at(l->head)->segment; s++) {
		char path[400], *text;
		log_path(l, s, path);
		if (access(path, F_OK) < 0)
			continue;
		n += occurrences(text_at(l, s, &text), what);
		free(text);
	}
	return n;
}

static struct log *segments(uint32_t n)
{
	struct log *l = log_new(in_memory());

	l->config.segment_size = AUDIT_SEGMENT_MIN;
	ck_assert_int_eq(log_open(l), 0);
	while (audit_at(l->head)->segment < n)
		log_allow(l, 1);
	ck_assert_int_eq(audit_tick(l->a), 0);
	return l;
}

static void remove_segment(struct log *l, uint32_t n)
{
	char path[400];

	log_path(l, n, path);
	ck_assert_int_eq(unlink(path), 0);
}

static void next_segment(struct log *l)
{
	const uint32_t before = audit_at(l->head)->segment;

	while (audit_at(l->head)->segment == before)
		log_allow(l, 1);
}

/* Another daemon: what lies in memory is gone. */
static void restart(struct log *l)
{
	audit_close(l->a);
	l->a = NULL;
	memset(l->head, 0, sizeof *l->head);
	ck_assert_msg(log_open(l) == 0, "%s", l->why);
}

static void found_and_told(struct log *l, const char *what)
{
	struct audit_state s;
	char said[200] = "";

	ck_assert_int_eq(audit_tick(l->a), 0);
	ck_assert(audit_tampering(l->a, said, sizeof said));
	ck_assert_msg(strstr(said, what) != NULL, "%s", said);
	audit_state(l->a, &s);
	ck_assert(s.tampered);
	ck_assert_uint_ge(in_log(l, "\"operation\":\"AuditTampered\""), 1);
}

#define ck_found(l, what)                                                                               \
	do {                                                                                            \
		int r_ = log_verify(l);                                                                 \
		ck_assert_msg(r_ == -EBADMSG && strstr((l)->why, what), "verify: %d %s", r_, (l)->why); \
	} while (0)

/* Which ones somebody removes, of 1 to 5, where 6 is open. */
static const struct {
	uint32_t first, last;
	const char *verify;
} removals[] = {
	{ 1, 1, "retention" },
	{ 1, 2, "retention" },
	{ 3, 3, "segment 3 is missing" },
	{ 1, 5, "retention" },
	{ 2, 2, "segment 2 is missing" },
};

START_TEST(finds_what_somebody_removed_while_it_ran)
{
	struct log *l = segments(6);

	log_verify_clean(l);
	for (uint32_t n = removals[_i].first; n <= removals[_i].last; n++)
		remove_segment(l, n);
	ck_found(l, removals[_i].verify);
	found_and_told(l, "are gone");
	audit_tampering_told(l->a);
	ck_found(l, removals[_i].verify);
	/* a new segment does not bless it, nor does another daemon */
	next_segment(l);
	ck_assert_int_eq(audit_tick(l->a), 0);
	ck_found(l, removals[_i].verify);
	ck_assert_uint_eq(in_log(l, "\"operation\":\"AuditTampered\""), 1); /* once for each thing that is amiss */
	ck_assert(!audit_tampering(l->a, (char[200]){ 0 }, 200));
	restart(l);
	next_segment(l);
	found_and_told(l, "are gone");
	ck_found(l, removals[_i].verify);
	log_free(l);
}
END_TEST

START_TEST(finds_what_somebody_removed_while_it_was_stopped)
{
	struct log *l = segments(6);

	audit_close(l->a);
	l->a = NULL;
	memset(l->head, 0, sizeof *l->head);
	for (uint32_t n = removals[_i].first; n <= removals[_i].last; n++)
		remove_segment(l, n);
	ck_found(l, removals[_i].verify);
	ck_assert_int_eq(log_open(l), 0);
	found_and_told(l, "are gone");
	ck_found(l, removals[_i].verify);
	next_segment(l);
	ck_found(l, removals[_i].verify);
	log_free(l);
}
END_TEST

/* Two changes of a directory within one tick of the clock leave the same time. */
START_TEST(finds_what_somebody_removed_right_after_it_looked)
{
	struct log *l = segments(6);
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT } };
	struct stat st;

	next_segment(l);
	ck_assert_int_eq(audit_tick(l->a), 0);
	ck_assert_int_eq(fstat(l->dir_fd, &st), 0);
	remove_segment(l, 1);
	times[1] = st.st_mtim;
	ck_assert_int_eq(futimens(l->dir_fd, times), 0);
	found_and_told(l, "are gone");
	log_free(l);
}
END_TEST

START_TEST(does_not_tell_again_after_a_worker_died)
{
	struct log *l = segments(4);
	char said[200];

	remove_segment(l, 1);
	ck_assert_int_eq(audit_tick(l->a), 0);
	log_drop(l); /* before anybody was told */
	ck_assert_int_eq(log_open(l), 0);
	ck_assert_int_eq(audit_tick(l->a), 0);
	ck_assert_uint_eq(in_log(l, "AuditTampered"), 1);
	ck_assert(audit_tampering(l->a, said, sizeof said));
	audit_tampering_told(l->a);
	ck_assert(!audit_tampering(l->a, said, sizeof said));
	remove_segment(l, 2); /* and something else is */
	ck_assert_int_eq(audit_tick(l->a), 0);
	ck_assert_uint_eq(in_log(l, "AuditTampered"), 2);
	ck_assert(audit_tampering(l->a, said, sizeof said));
	log_free(l);
}
END_TEST

/* Killed between the record in the file and the head in memory, the next worker reads it from there. */
START_TEST(a_record_that_the_head_does_not_know_moves_the_oldest_segment)
{
	struct log *l = segments(5);
	struct audit_head *before = malloc(sizeof *before);

	ck_assert_ptr_nonnull(before);
	memcpy(before, l->head, sizeof *before);
	l->config.retain = NULL;
	struct audit_removed removed = { .segment = 1, .last = 1 };
	char detail[160], hex[AUDIT_HEX_LEN + 1] = "";
	audit_hex(hex, removed.digest);
	snprintf(detail, sizeof detail, AUDIT_REMOVED_DETAIL, 1u, 1ull, hex);
	struct audit_event e = { .operation = AUDIT_SEGMENT_REMOVE, .result = AUDIT_ALLOW, .detail = detail };
	ck_assert_int_eq(audit_append(l->a, &e, NULL), 0);
	log_drop(l);
	memcpy(l->head, before, sizeof *before);
	free(before);
	ck_assert_int_eq(log_open(l), 0);
	ck_assert_uint_eq(audit_at(l->head)->oldest, 2);
	log_free(l);
}
END_TEST

START_TEST(finds_what_somebody_put_in)
{
	struct log *l = segments(6);
	char path[400], *text;
	size_t len;

	text = log_text(l, 1, &len);
	log_retain(l, 4 * AUDIT_SEGMENT_MIN, 0);
	ck_assert_uint_gt(audit_at(l->head)->oldest, 1);
	if (_i == 0) { /* one that retention removed is there again */
		log_text_put(l, 1, text, len);
		found_and_told(l, "segment 1 is there, which retention had removed");
	} else { /* one that is not begun */
		log_text_put(l, 9, text, len);
		found_and_told(l, "segment 9 is there, which this log has not begun");
	}
	free(text);
	log_path(l, _i == 0 ? 1 : 9, path);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(audit_tick(l->a), 0);
	ck_assert_uint_eq(in_log(l, "AuditTampered"), 1);
	log_verify_clean(l);
	ck_assert_msg(strstr(l->why, "1 record of tampering") != NULL, "%s", l->why);
	ck_assert_uint_eq(l->report.tampered, 1);
	log_free(l);
}
END_TEST

START_TEST(says_for_how_long_it_was_tampered_with)
{
	struct log *l = segments(3);
	struct audit_state s;

	remove_segment(l, 1);
	found_and_told(l, "are gone");
	restart(l);
	audit_state(l->a, &s);
	ck_assert(s.tampered); /* the record is still kept */
	ck_assert_int_eq(audit_tick(l->a), 0);
	for (int i = 0; i < 5; i++)
		next_segment(l);
	audit_at(l->head)->tampered = 3;
	log_retain(l, 1, 0);
	restart(l);
	audit_state(l->a, &s);
	ck_assert(!s.tampered);
	ck_assert_uint_ge(s.oldest, 4);
	log_free(l);
}
END_TEST

static uint32_t first_there(struct log *l)
{
	uint32_t first, last;

	ck_assert_int_eq(audit_segment_list(l->dir_fd, &first, &last), 0);
	return first;
}

/* _i: by size, by age. */
START_TEST(records_each_removal_with_its_end)
{
	struct log *l = segments(6);
	char path[400];
	struct timespec long_ago[2] = { { .tv_sec = time(NULL) - 1000 }, { .tv_sec = time(NULL) - 1000 } };

	for (uint32_t n = 1; n <= 3; n++) {
		log_path(l, n, path);
		ck_assert_int_eq(utimensat(AT_FDCWD, path, long_ago, 0), 0);
	}
	log_retain(l, _i == 0 ? 3 * AUDIT_SEGMENT_MIN : 0, _i == 0 ? 0 : 500);
	ck_assert_uint_eq(first_there(l), 4);
	ck_assert_uint_eq(in_log(l, "\"operation\":\"SegmentRemove\""), 3);
	log_verify_clean(l);
	ck_assert_uint_eq(l->report.tampered, 0);
	/* and one more, by hand */
	remove_segment(l, 4);
	ck_found(l, "retention");
	next_segment(l);
	ck_assert_int_eq(audit_tick(l->a), 0);
	ck_found(l, "1 of the segments before 5 are gone (the first is 4)");
	log_free(l);
}
END_TEST

START_TEST(goes_on_after_years_of_retention)
{
	struct log *l = segments(3);

	for (int i = 0; i < 20; i++) {
		next_segment(l);
		log_retain(l, 2 * AUDIT_SEGMENT_MIN, 0);
		log_verify_clean(l);
		ck_assert_uint_eq(l->report.first_segment, audit_at(l->head)->oldest);
	}
	ck_assert_uint_gt(first_there(l), 15);
	remove_segment(l, first_there(l));
	ck_found(l, "retention");
	log_free(l);
}
END_TEST

static int recorded_only(void *arg, uint32_t recorded, uint32_t *ret_due)
{
	(void)arg, (void)recorded;
	*ret_due = 3;
	return 0;
}

/* The keeper is killed between the record and the removal, after `_i` of three removals. */
START_TEST(removals_that_were_recorded_and_not_made_are_no_fault)
{
	struct log *l = segments(6);

	l->a->config.retain = recorded_only;
	l->a->retain_after = 0;
	ck_assert_int_eq(audit_tick(l->a), 0);
	ck_assert_uint_eq(audit_at(l->head)->oldest, 4);
	ck_assert_uint_eq(first_there(l), 1);
	for (uint32_t n = 1; n <= (uint32_t)_i; n++)
		remove_segment(l, n);
	log_verify_clean(l);
	if (_i == 0) {
		restart(l);
	} else {
		log_drop(l);
		ck_assert_int_eq(log_open(l), 0);
	}
	ck_assert_int_eq(audit_tick(l->a), 0);
	ck_assert_uint_eq(in_log(l, "AuditTampered"), 0);
	log_verify_clean(l);
	log_retain(l, 3 * AUDIT_SEGMENT_MIN, 0); /* which is made up for */
	ck_assert_uint_ge(first_there(l), 4);
	ck_assert_uint_eq(in_log(l, "SegmentRemove"), 3 + first_there(l) - 4);
	log_verify_clean(l);
	log_free(l);
}
END_TEST

START_TEST(removes_nothing_that_it_cannot_record)
{
	struct log *l = segments(6);
	char path[400];
	size_t len;

	/* a segment that does not end as one of ours: whoever looks into it needs it */
	char *text = log_text(l, 2, &len);
	log_text_put(l, 2, text, len - 9);
	log_path(l, 2, path);
	ck_assert_int_eq(truncate(path, (off_t)len - 9), 0);
	free(text);
	log_retain(l, 1, 0);
	ck_assert_uint_eq(first_there(l), 1); /* recorded, but the rest has to wait */
	found_and_told(l, "segment 2 does not end with a record");
	log_retain(l, 1, 0);
	ck_assert_uint_eq(first_there(l), 2);
	ck_assert_uint_eq(in_log(l, "AuditTampered"), 1);
	log_free(l);
}
END_TEST

static void first_key(struct log *l, uint8_t ret[KEY_LEN])
{
	size_t len;
	char *text = file_get(l->verify, &len);

	ck_assert_int_eq(audit_unhex(strstr(text, "\nkey ") + strlen("\nkey "), ret), 0);
	free(text);
}

/* The line as the version before would have written it after `at`, which moves on. */
static size_t line_of_before(const char *line, struct audit_position *at, bool first, char ret[AUDIT_LINE_MAX])
{
	static const char principal[] = ",\"principal\":null";
	struct audit_position next;
	struct audit_record rec;
	size_t len;

	ck_assert_int_eq(audit_parse(line, strlen(line), &rec), 0);
	for (; at->seq < rec.seq; at->seq++) {
		ck_assert_int_eq(audit_evolve(at->key, next.key), 0);
		memcpy(at->key, next.key, KEY_LEN);
	}
	if (first)
		memcpy(at->prev, rec.prev, DIGEST_LEN);
	const char *cut = memmem(line, rec.body_len, principal, strlen(principal));
	ck_assert_ptr_nonnull(cut);
	len = (size_t)(cut - line);
	memcpy(ret, line, len);
	memcpy(ret + len, cut + strlen(principal), rec.body_len - len - strlen(principal));
	len = rec.body_len - strlen(principal);
	audit_hex(ret + len - 1 - AUDIT_HEX_LEN, at->prev);
	ck_assert_int_eq(audit_seal(ret, len, at, &next, &len), 0);
	next.size = at->size + len;
	*at = next;
	return len;
}

/* What is there of the log, sealed anew as the version before would have: its records do not say which principal let
 * anybody in. */
static void lines_of_before(struct log *l, struct audit_position *at)
{
	bool first = true;

	first_key(l, at->key);
	at->seq = 0;
	for (uint32_t s = 1; s <= at->segment; s++) {
		char path[400], *save = NULL;
		size_t len, got = 0;
		log_path(l, s, path);
		if (access(path, F_OK) < 0)
			continue;
		char *text = log_text(l, s, &len), *to = calloc(1, len + AUDIT_LINE_MAX);
		at->size = 0;
		for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
			got += line_of_before(line, at, first, to + got);
			first = false;
		}
		log_text_put(l, s, to, got);
		free(to);
		free(text);
	}
}

/* A log of the version before: its head file does not say which segment is the oldest, and removals have no records. */
static void as_before(struct log *l)
{
	struct audit_position at = *audit_at(l->head);
	uint8_t block[AUDIT_HEADFILE_SIZE];
	char path[400];

	audit_close(l->a);
	l->a = NULL;
	memset(l->head, 0, sizeof *l->head);
	lines_of_before(l, &at);
	ck_assert_int_eq(audit_headfile_write(l->head_fd, &at, 1000000), 0);
	ck_assert_int_eq(audit_pread_full(l->head_fd, block, sizeof block, 0), 0);
	for (size_t slot = 0; slot < sizeof block; slot += AUDIT_HEADFILE_SLOT)
		memset(block + slot + 144, 0, AUDIT_HEADFILE_SLOT - 144);
	snprintf(path, sizeof path, "%s/head", l->audit);
	file_put(path, block, sizeof block);
}

START_TEST(accounts_for_a_log_of_before_from_its_first_record_on)
{
	struct log *l = segments(4);

	/* the version before removed without a record, and then named the oldest one in the next segment */
	remove_segment(l, 1);
	remove_segment(l, 2);
	audit_at(l->head)->oldest = 3;
	next_segment(l);
	as_before(l);
	log_verify_clean(l);
	ck_assert_uint_eq(l->report.first_segment, 3);
	ck_assert_int_eq(log_open(l), 0);
	ck_assert_uint_eq(audit_at(l->head)->oldest, 3);
	ck_assert_int_eq(audit_tick(l->a), 0);
	ck_assert_uint_eq(in_log(l, "AuditTampered"), 0);
	log_verify_clean(l);
	for (int i = 0; i < 3; i++)
		next_segment(l);
	log_retain(l, 4 * AUDIT_SEGMENT_MIN, 0);
	ck_assert_uint_gt(first_there(l), 3);
	log_verify_clean(l);
	remove_segment(l, first_there(l));
	ck_found(l, "retention");
	found_and_told(l, "are gone");
	log_free(l);
}
END_TEST

START_TEST(finds_what_went_before_the_first_start_of_this_version)
{
	struct log *l = segments(5);

	as_before(l);
	remove_segment(l, 1);
	ck_assert_int_eq(log_open(l), 0);
	found_and_told(l, "are gone");
	ck_found(l, "retention");
	log_free(l);
}
END_TEST

/* Root, while the daemon is down: the head file says then that retention removed what is gone. */
static void head_says_oldest(struct log *l, uint32_t oldest)
{
	struct audit_position at;
	uint64_t generation;

	ck_assert_int_eq(audit_headfile_read(l->head_fd, &at, &generation), 0);
	at.oldest = oldest;
	ck_assert_int_eq(audit_headfile_write(l->head_fd, &at, generation + 1), 0);
}

START_TEST(what_the_head_file_says_accounts_for_nothing)
{
	struct log *l = segments(6);

	audit_close(l->a);
	l->a = NULL;
	memset(l->head, 0, sizeof *l->head);
	remove_segment(l, 1);
	remove_segment(l, 2);
	head_says_oldest(l, 3);
	ck_found(l, "retention");
	ck_assert_int_eq(log_open(l), 0);
	for (int i = 0; i < 3; i++)
		next_segment(l);
	ck_assert_int_eq(audit_tick(l->a), 0);
	ck_found(l, "retention");
	log_free(l);
}
END_TEST

/* Root puts something where the next segment will be: it begins with a Torn record then, and not with one that says
 * what was there before. */
START_TEST(a_torn_beginning_accounts_for_nothing)
{
	struct log *l = segments(3);

	log_text_put(l, 4, "of somebody else", 16);
	next_segment(l);
	ck_assert_uint_eq(in_log(l, "\"operation\":\"Torn\""), 1);
	if (_i)
		log_retain(l, 1, 0); /* and what retention removed is told all the same */
	log_verify_clean(l);
	next_segment(l);
	log_allow(l, 1);
	audit_close(l->a);
	l->a = NULL;
	memset(l->head, 0, sizeof *l->head);
	log_verify_clean(l);
	for (uint32_t n = first_there(l); n < 4; n++)
		remove_segment(l, n);
	head_says_oldest(l, 4);
	ck_found(l, "retention");
	log_free(l);
}
END_TEST

/* The worker is killed at some write, the keeper at some removal: whatever is left, the log is whole, and the next one
 * goes on. */
static int retain_and_die(void *arg, uint32_t recorded, uint32_t *ret_due)
{
	struct log *l = arg;
	uint32_t due;

	for (uint32_t n = 1; n <= recorded; n++) {
		char path[400];
		log_path(l, n, path);
		if (unlink(path) == 0 && --l->keep_seconds == 0)
			raise(SIGKILL);
	}
	return audit_retain(l->dir_fd, l->keep_bytes, 0, 0, ret_due ? ret_due : &due);
}

START_TEST(whoever_is_killed_in_a_retention_leaves_a_whole_log)
{
	struct log *l = segments(6);
	int status;

	l->keep_bytes = 2 * AUDIT_SEGMENT_MIN;
	l->keep_seconds = _i;
	l->config.retain = retain_and_die;
	audit_close(l->a);
	l->a = NULL;
	pid_t child = fork();
	if (child == 0) {
		if (log_open(l) < 0)
			_exit(1);
		for (;;) {
			next_segment(l);
			l->a->retain_after = 0;
			if (audit_tick(l->a) < 0)
				_exit(2);
		}
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	log_verify_clean(l);
	ck_assert_int_eq(log_open(l), 0);
	l->keep_seconds = 0;
	l->a->config.retain = log_retain_callback;
	ck_assert_int_eq(audit_tick(l->a), 0);
	ck_assert_uint_eq(in_log(l, "AuditTampered"), 0);
	log_verify_clean(l);
	log_free(l);
}
END_TEST

/* Retention goes on, `behind_verify` segments of it, when the verifier has read the head file and is about to look
 * which segments there are. */
static struct log *beside_verify;
static uint32_t behind_verify;
int __real_audit_segment_list(int dir_fd, uint32_t *ret_first, uint32_t *ret_last);
int __wrap_audit_segment_list(int dir_fd, uint32_t *ret_first, uint32_t *ret_last);

int __wrap_audit_segment_list(int dir_fd, uint32_t *ret_first, uint32_t *ret_last)
{
	struct log *l = beside_verify;

	beside_verify = NULL; /* once: what it does lists segments, too */
	for (uint32_t i = 0; l && i < behind_verify; i++)
		next_segment(l);
	if (l)
		log_retain(l, 1, 0);
	return __real_audit_segment_list(dir_fd, ret_first, ret_last);
}

START_TEST(verifies_though_all_that_the_head_file_named_was_removed_meanwhile)
{
	struct log *l = segments(3);

	behind_verify = (uint32_t)_i;
	beside_verify = l;
	log_verify_clean(l);
	ck_assert_ptr_null(beside_verify);
	ck_assert_uint_eq(l->report.first_segment, 2 + (uint32_t)_i); /* the open one, and the one before it */
	log_free(l);
}
END_TEST

/* Nobody moves the head file on: then it is an old one that was put back, or the records are. */
START_TEST(finds_a_head_file_from_before_the_first_segment)
{
	struct log *l = segments(3);
	uint8_t old[AUDIT_HEADFILE_SIZE];
	char path[400];

	ck_assert_int_eq(audit_pread_full(l->head_fd, old, sizeof old, 0), 0);
	next_segment(l);
	next_segment(l);
	log_retain(l, 1, 0);
	snprintf(path, sizeof path, "%s/head", l->audit);
	file_put(path, old, sizeof old);
	ck_found(l, "later than the head file knows");
	log_free(l);
}
END_TEST

/* Whoever counted up to it would make a hundred million system calls, twice. */
START_TEST(a_name_with_a_huge_number_is_one_file)
{
	struct log *l = log_new("/tmp");
	uint32_t due;
	int fd = openat(l->dir_fd, "audit-99999999.jsonl", O_RDWR | O_CREAT | O_CLOEXEC, 0640);

	ck_assert_int_ge(fd, 0);
	close(fd);
	ck_assert_int_eq(audit_retain(l->dir_fd, 1 << 20, 86400, 0, &due), 0);
	ck_assert_uint_eq(due, 0);
	ck_assert_int_le(audit_protect(l->dir_fd, false), 0);
	log_free(l);
}
END_TEST

START_TEST(verifies_beside_retention)
{
	struct log *l = segments(4);
	int status, rounds = 0;
	pid_t child = fork();

	if (child == 0) {
		l->keep_bytes = 3 * AUDIT_SEGMENT_MIN;
		for (int i = 0; i < 300; i++) {
			next_segment(l);
			if (audit_tick(l->a) < 0)
				_exit(1);
		}
		_exit(0);
	}
	do {
		log_verify_clean(l);
		rounds++;
	} while (waitpid(child, &status, WNOHANG) == 0);
	ck_assert_int_eq(status, 0);
	ck_assert_int_gt(rounds, 1);
	log_free(l);
}
END_TEST

int main(void)
{
	TCase *retention = tcase_create("retention"), *tampering = tcase_create("tampering"),
	      *before = tcase_create("a log of before");
	TCase *all[] = { retention, tampering, before };

	crypto_init();
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		tcase_set_timeout(all[i], 120);
	tcase_add_loop_test(tampering, finds_what_somebody_removed_while_it_ran, 0,
			    sizeof removals / sizeof removals[0]);
	tcase_add_loop_test(tampering, finds_what_somebody_removed_while_it_was_stopped, 0,
			    sizeof removals / sizeof removals[0]);
	tcase_add_test(tampering, finds_what_somebody_removed_right_after_it_looked);
	tcase_add_test(tampering, does_not_tell_again_after_a_worker_died);
	tcase_add_loop_test(tampering, finds_what_somebody_put_in, 0, 2);
	tcase_add_test(tampering, says_for_how_long_it_was_tampered_with);
	tcase_add_loop_test(retention, records_each_removal_with_its_end, 0, 2);
	tcase_add_test(retention, a_record_that_the_head_does_not_know_moves_the_oldest_segment);
	tcase_add_test(retention, goes_on_after_years_of_retention);
	tcase_add_loop_test(retention, removals_that_were_recorded_and_not_made_are_no_fault, 0, 4);
	tcase_add_test(retention, removes_nothing_that_it_cannot_record);
	tcase_add_loop_test(retention, whoever_is_killed_in_a_retention_leaves_a_whole_log, 1, 6);
	tcase_add_test(retention, verifies_beside_retention);
	tcase_add_loop_test(retention, verifies_though_all_that_the_head_file_named_was_removed_meanwhile, 0, 3);
	tcase_add_test(retention, finds_a_head_file_from_before_the_first_segment);
	tcase_add_test(before, accounts_for_a_log_of_before_from_its_first_record_on);
	tcase_add_test(before, a_name_with_a_huge_number_is_one_file);
	tcase_add_test(before, finds_what_went_before_the_first_start_of_this_version);
	tcase_add_test(before, what_the_head_file_says_accounts_for_nothing);
	tcase_add_loop_test(before, a_torn_beginning_accounts_for_nothing, 0, 2);
	return suite_run(all, sizeof all / sizeof all[0], "audit retention");
}
