/* The attacks on sealed logs that are known, each against a log of three segments. The attacker may write every file;
 * what he lacks is the keys of the past. */
#include "audit_fixture.h"
#include "store/audit/log.h"

static struct log *three_segments(void)
{
	struct log *l = log_new("/tmp");

	l->config.segment_size = 5000;
	ck_assert_int_eq(log_open(l), 0);
	while (audit_at(l->head)->segment < 3 || audit_at(l->head)->size < 2000)
		log_allow(l, 1);
	ck_assert_int_eq(audit_tick(l->a), 0);
	log_verify_clean(l);
	return l;
}

#define ck_found(l)                                                           \
	do {                                                                  \
		int r_ = log_verify(l);                                       \
		ck_assert_msg(r_ == -EBADMSG, "verify: %d %s", r_, (l)->why); \
		ck_assert_str_ne((l)->why, "");                               \
	} while (0)

START_TEST(accepts_a_whole_log)
{
	struct log *l = three_segments();

	ck_assert_uint_eq(l->report.segments, 3);
	ck_assert_uint_eq(l->report.first_seq, 0);
	ck_assert_uint_eq(l->report.last_seq, log_seq(l) - 1);
	ck_assert_uint_eq(l->report.records, log_seq(l));
	ck_assert_uint_eq(l->report.torn, 0);
	ck_assert_uint_eq(l->report.first_segment, 1);
	ck_assert_str_eq(l->why, "");
	log_free(l);
}
END_TEST

/* A sample, or every bit with COFFER_EXHAUSTIVE set. */
START_TEST(finds_every_flipped_bit)
{
	struct log *l = three_segments();
	size_t step = getenv("COFFER_EXHAUSTIVE") ? 1 : 97;

	for (uint32_t segment = 1; segment <= 3; segment++) {
		size_t len;
		char *text = log_text(l, segment, &len), path[400];
		log_path(l, segment, path);
		int fd = open(path, O_WRONLY | O_CLOEXEC);
		for (size_t bit = 0; bit < len * 8; bit += step) {
			char flipped = (char)(text[bit / 8] ^ 1 << bit % 8);
			ck_assert_int_eq(pwrite(fd, &flipped, 1, (off_t)(bit / 8)), 1);
			int r = log_verify(l);
			ck_assert_msg(r == -EBADMSG, "segment %u, byte %zu, bit %zu: %d", segment, bit / 8, bit % 8, r);
			ck_assert_int_eq(pwrite(fd, &text[bit / 8], 1, (off_t)(bit / 8)), 1);
		}
		close(fd);
		free(text);
	}
	log_verify_clean(l);
	log_free(l);
}
END_TEST

START_TEST(says_where_it_fails)
{
	struct log *l = three_segments();
	size_t len, line_len;
	char *text = log_text(l, 2, &len), *line = line_at(text, 3, &line_len), *seq, expected[100];
	unsigned long long number;

	ck_assert_int_eq(sscanf(line, "{\"seq\":%llu", &number), 1);
	seq = strstr(line, "\"allow\"");
	memcpy(seq, "\"deny \"", 7);
	log_text_put(l, 2, text, len);
	ck_found(l);
	snprintf(expected, sizeof expected, "segment 2, line 4 (record %llu expected)", number);
	ck_assert_msg(!strncmp(l->why, expected, strlen(expected)), "%s", l->why);
	free(text);
	log_free(l);
}
END_TEST

/* Lines i of segment 2: removed, doubled, exchanged with the next. */
START_TEST(finds_records_removed_doubled_or_exchanged)
{
	struct log *l = three_segments();
	size_t len;
	char *text = log_text(l, 2, &len), *changed = malloc(2 * len);

	ck_assert_ptr_nonnull(changed);
	for (unsigned int i = 0; i < occurrences(text, "\n"); i++) {
		size_t line_len, next_len, before, rest;
		char *line = line_at(text, i, &line_len);
		before = (size_t)(line - text);
		rest = len - before - line_len;

		memcpy(changed, text, before);
		memcpy(changed + before, line + line_len, rest);
		log_text_put(l, 2, changed, before + rest);
		ck_found(l);

		memcpy(changed, text, before + line_len);
		memcpy(changed + before + line_len, line, line_len + rest);
		log_text_put(l, 2, changed, len + line_len);
		ck_found(l);

		if (rest == 0)
			break;
		line_at(text, i + 1, &next_len);
		memcpy(changed, text, len);
		memcpy(changed + before, line + line_len, next_len);
		memcpy(changed + before + next_len, line, line_len);
		log_text_put(l, 2, changed, len);
		ck_found(l);
	}
	log_text_put(l, 2, text, len);
	log_verify_clean(l);
	free(text);
	free(changed);
	log_free(l);
}
END_TEST

START_TEST(finds_foreign_lines_and_junk)
{
	static const char *const junk[] = { "\n", "x\n", "{}\n", "{\"seq\":5,\"operation\":\"SecretGet\"}\n" };
	struct log *l = three_segments();
	size_t len, line_len, n = strlen(junk[_i]);
	char *text = log_text(l, 1, &len), *changed = malloc(len + 100);

	ck_assert_ptr_nonnull(changed);
	for (unsigned int i = 0; i < 5; i++) {
		size_t before = (size_t)(line_at(text, i, &line_len) - text);
		memcpy(changed, text, before);
		memcpy(changed + before, junk[_i], n);
		memcpy(changed + before + n, text + before, len - before);
		log_text_put(l, 1, changed, len + n);
		ck_found(l);
	}
	free(text);
	free(changed);
	log_free(l);
}
END_TEST

START_TEST(finds_a_tail_cut_off)
{
	struct log *l = three_segments();
	size_t len;
	char *text = log_text(l, 3, &len), path[400];

	for (size_t keep = 0; keep < len; keep += 61) {
		log_text_put(l, 3, text, keep);
		ck_found(l);
	}
	log_path(l, 3, path);
	ck_assert_int_eq(unlink(path), 0);
	ck_found(l);
	ck_assert_msg(strstr(l->why, "cut") != NULL, "%s", l->why);
	free(text);
	log_free(l);
}
END_TEST

/* Beyond the last durable point only the daemon knows: its word is in status. */
START_TEST(finds_a_tail_cut_off_after_the_durable_point_from_the_daemons_word)
{
	struct log *l = three_segments();
	struct audit_state s;
	size_t len;

	char *text = log_text(l, 3, &len);
	log_allow(l, 3);
	audit_state(l->a, &s);
	ck_assert_int_eq(audit_verify_against(l->dir, l->verify, s.seq, s.head, &l->report, l->why, sizeof l->why), 0);
	log_allow(l, 1); /* it went on since */
	ck_assert_int_eq(audit_verify_against(l->dir, l->verify, s.seq, s.head, &l->report, l->why, sizeof l->why), 0);
	log_text_put(l, 3, text, len);
	ck_assert_int_eq(log_verify(l), 0);
	ck_assert_int_eq(audit_verify_against(l->dir, l->verify, s.seq, s.head, &l->report, l->why, sizeof l->why),
			 -EBADMSG);
	s.head[5] = s.head[5] == '0' ? '1' : '0';
	ck_assert_int_eq(audit_verify_against(l->dir, l->verify, s.seq - 3, s.head, &l->report, l->why, sizeof l->why),
			 -EBADMSG);
	ck_assert_int_eq(audit_verify_against(l->dir, l->verify, s.seq, "no hash", &l->report, l->why, sizeof l->why),
			 -EBADMSG);
	free(text);
	log_free(l);
}
END_TEST

/* Records as the attacker makes them: from `seq` on, chained rightly, sealed under the key that he holds. */
static size_t forge(char *ret, struct audit_position *at, unsigned int n)
{
	struct audit_names names;
	struct audit_clock clock = { 0 };
	struct audit_event e = { .operation = AUDIT_SECRET_GET, .result = AUDIT_DENY, .secret = "innocent" };
	size_t used = 0;

	audit_names_set(&names, "test", "box", 1);
	for (unsigned int i = 0; i < n; i++) {
		struct audit_position next;
		size_t len, body = audit_render(ret + used, &names, &clock, audit_now(), at->seq, 1, &e, at->prev);
		ck_assert_int_eq(audit_seal(ret + used, body, at, &next, &len), 0);
		next.size += len;
		*at = next;
		used += len;
	}
	return used;
}

/* Position before line i of the segment, with the key of now. */
static struct audit_position stolen_at(struct log *l, char *text, unsigned int i)
{
	struct audit_position at = *audit_at(l->head);
	struct audit_record rec;
	size_t line_len;
	char *line = line_at(text, i, &line_len);

	ck_assert_int_eq(audit_parse(line, line_len - 1, &rec), 0);
	at.seq = rec.seq;
	at.size = (uint64_t)(line - text);
	memcpy(at.prev, rec.prev, sizeof at.prev);
	return at;
}

/* CVE-2023-31438: cut off and continued, with the head file rewritten to match. */
START_TEST(finds_a_log_cut_off_and_continued_with_a_stolen_key)
{
	struct log *l = three_segments();
	size_t len;
	char *text = log_text(l, 3, &len), *forged = malloc(20000);

	ck_assert_ptr_nonnull(forged);
	for (unsigned int i = 1; i < 3; i++) {
		struct audit_position at = stolen_at(l, text, i);
		memcpy(forged, text, at.size);
		size_t start = (size_t)at.size, used = forge(forged + at.size, &at, 30);
		log_text_put(l, 3, forged, start + used);
		ck_found(l);
		at.segment = 3;
		ck_assert_int_eq(audit_headfile_write(l->head_fd, &at, 1000 + i), 0);
		ck_found(l);
	}
	free(text);
	free(forged);
	log_free(l);
}
END_TEST

/* CVE-2023-31439: one old entry replaced, it and all later ones sealed again with the key of now. */
START_TEST(finds_old_records_sealed_again_with_a_later_key)
{
	struct log *l = three_segments();
	size_t len;
	char *text = log_text(l, 2, &len), *forged = malloc(20000);

	ck_assert_ptr_nonnull(forged);
	struct audit_position at = stolen_at(l, text, 2);
	memcpy(forged, text, at.size);
	size_t start = (size_t)at.size, used = forge(forged + at.size, &at, occurrences(text, "\n") - 2);
	log_text_put(l, 2, forged, start + used);
	ck_found(l);
	free(text);
	free(forged);
	log_free(l);
}
END_TEST

/* The head file cannot be made to agree with a shorter log by somebody who has only a later key. */
START_TEST(finds_a_head_file_made_for_a_shorter_log)
{
	struct log *l = three_segments();
	size_t len;
	char *text = log_text(l, 3, &len);
	struct audit_position at = stolen_at(l, text, 1);

	at.segment = 3;
	log_text_put(l, 3, text, at.size);
	ck_assert_int_eq(audit_headfile_write(l->head_fd, &at, 1000), 0);
	ck_found(l);
	free(text);
	log_free(l);
}
END_TEST

START_TEST(finds_a_head_file_that_is_missing_or_damaged)
{
	struct log *l = three_segments();
	char path[400], zeros[AUDIT_HEADFILE_SIZE] = "";

	snprintf(path, sizeof path, "%s/head", l->audit);
	file_put(path, zeros, sizeof zeros);
	ck_found(l);
	file_put(path, zeros, 7);
	ck_found(l);
	ck_assert_int_eq(unlink(path), 0);
	ck_found(l);
	log_free(l);
}
END_TEST

START_TEST(finds_a_missing_segment_in_the_middle)
{
	struct log *l = three_segments();
	char path[400], other[400];

	log_path(l, 2, path);
	ck_assert_int_eq(unlink(path), 0);
	ck_found(l);
	ck_assert_msg(strstr(l->why, "segment 2 is missing") != NULL, "%s", l->why);
	/* and closing the gap by renaming does not help */
	log_path(l, 3, other);
	ck_assert_int_eq(rename(other, path), 0);
	ck_found(l);
	log_free(l);
}
END_TEST

START_TEST(finds_segments_exchanged)
{
	struct log *l = three_segments();
	char one[400], two[400], temporary[400];

	log_path(l, 1, one);
	log_path(l, 2, two);
	log_path(l, 9, temporary);
	ck_assert_int_eq(rename(one, temporary), 0);
	ck_assert_int_eq(rename(two, one), 0);
	ck_assert_int_eq(rename(temporary, two), 0);
	ck_found(l);
	log_free(l);
}
END_TEST

START_TEST(reports_segments_that_are_no_longer_there_at_the_beginning)
{
	struct log *l = three_segments();
	size_t len, line_len;

	log_retain(l, 1, 0);
	log_verify_clean(l);
	ck_assert_uint_eq(l->report.first_segment, 2);
	ck_assert_uint_gt(l->report.first_seq, 0);
	ck_assert_uint_eq(l->report.unaccounted, 0);
	ck_assert_msg(strstr(l->why, "removed by retention") != NULL, "%s", l->why);

	/* a segment can go as a whole only */
	char *text = log_text(l, 2, &len), *second = line_at(text, 1, &line_len);
	log_text_put(l, 2, second, len - (size_t)(second - text));
	ck_found(l);
	free(text);
	log_free(l);
}
END_TEST

START_TEST(finds_a_log_deleted_while_it_was_open)
{
	struct log *l = log_new_open();
	char path[400];

	log_allow(l, 3);
	log_path(l, 1, path);
	ck_assert_int_eq(unlink(path), 0);
	log_allow(l, 3); /* into a file that nobody sees */
	ck_assert_int_eq(log_verify(l), -ENOENT);
	(void)audit_tick(l->a);
	log_allow(l, 3);
	ck_found(l);
	ck_assert_msg(strstr(l->why, "segment 1 was removed") != NULL, "%s", l->why);
	log_free(l);
}
END_TEST

START_TEST(refuses_another_vaults_key_and_what_is_no_key)
{
	struct log *l = three_segments(), *other = log_new("/tmp");

	ck_assert_int_eq(audit_verify(l->dir, other->verify, &l->report, l->why, sizeof l->why), -EBADMSG);
	ck_assert_msg(strstr(l->why, "another vault's verify key") != NULL, "%s", l->why);
	file_put(other->verify, "coffer audit verify key 1\nvault x\nkey 00\n", 41);
	ck_assert_int_eq(audit_verify(l->dir, other->verify, &l->report, l->why, sizeof l->why), -EINVAL);
	ck_assert_int_eq(unlink(other->verify), 0);
	ck_assert_int_eq(audit_verify(l->dir, other->verify, &l->report, l->why, sizeof l->why), -ENOENT);
	ck_assert_int_eq(audit_verify("/nowhere", l->verify, &l->report, l->why, sizeof l->why), -ENOENT);
	log_free(l);
	log_free(other);
}
END_TEST

START_TEST(excuses_torn_bytes_only_where_they_were_named)
{
	struct log *l = log_new_open();
	char path[400];
	size_t len, line_len;

	log_allow(l, 2);
	log_drop(l);
	log_path(l, 1, path);
	int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	ck_assert_int_eq(write(fd, "{\"seq\":4,\"ti", 12), 12);
	close(fd);
	ck_assert_int_eq(log_open(l), 0);
	log_allow(l, 2);
	log_verify_clean(l);
	ck_assert_uint_eq(l->report.torn, 1);

	char *text = log_text(l, 1, &len), *torn = line_at(text, 4, &line_len), *changed = malloc(len + 10);
	size_t before = (size_t)(torn - text);
	ck_assert_ptr_nonnull(changed);
	ck_assert_uint_eq(line_len, 13);
	torn[3] ^= 1; /* altered */
	log_text_put(l, 1, text, len);
	ck_found(l);
	torn[3] ^= 1;
	memcpy(changed, text, before); /* removed, though Torn names them */
	memcpy(changed + before, torn + line_len, len - before - line_len);
	log_text_put(l, 1, changed, len - line_len);
	ck_found(l);
	memcpy(changed, text, before + 1); /* longer */
	memcpy(changed + before + 1, torn, len - before);
	log_text_put(l, 1, changed, len + 1);
	ck_found(l);
	free(text);
	free(changed);
	log_free(l);
}
END_TEST

START_TEST(does_not_mind_a_log_that_is_being_written)
{
	struct log *l = three_segments();
	size_t len, line_len;

	log_allow(l, 1);
	char *text = log_text(l, 3, &len), *last;
	last = line_at(text, occurrences(text, "\n") - 1, &line_len);
	for (size_t cut = 1; cut < line_len; cut += 13) {
		log_text_put(l, 3, text, (size_t)(last - text) + cut);
		log_verify_clean(l);
		ck_assert_uint_eq(l->report.last_seq, log_seq(l) - 2);
	}
	/* a next segment that was made and not begun */
	int fd;
	log_text_put(l, 3, text, len);
	ck_assert_int_eq(audit_segment_open_at(l->dir_fd, 4, true, 0, &fd), 0);
	close(fd);
	log_verify_clean(l);
	free(text);
	log_free(l);
}
END_TEST

START_TEST(verifies_beside_a_writer)
{
	struct log *l = log_new("/tmp");
	pid_t child;

	l->config.segment_size = 8192;
	ck_assert_int_eq(log_open(l), 0);
	child = fork();
	if (child == 0) {
		for (int i = 0; i < 3000; i++)
			if (log_event(l, AUDIT_ALLOW, "db", 0, false) < 0 || (i % 50 == 0 && audit_tick(l->a) < 0))
				_exit(1);
		_exit(0);
	}
	int status, rounds = 0;
	do {
		log_verify_clean(l);
		rounds++;
	} while (waitpid(child, &status, WNOHANG) == 0);
	ck_assert_int_eq(status, 0);
	ck_assert_int_gt(rounds, 1);
	log_verify_clean(l);
	log_free(l);
}
END_TEST

/* What follows a line that begins with `fence`, up to the closing fence. */
static char *block_of(const char *text, const char *fence, size_t *ret_len)
{
	const char *start = strstr(text, fence), *end;

	ck_assert_ptr_nonnull(start);
	start = strchr(start, '\n') + 1;
	end = strstr(start, "```");
	ck_assert_ptr_nonnull(end);
	*ret_len = (size_t)(end - start);
	return strndup(start, *ret_len);
}

START_TEST(decodes_the_documented_example)
{
	struct log *l = log_new("/tmp");
	char path[400], *doc, *part, *p;
	uint8_t head[AUDIT_HEADFILE_SIZE] = { 0 };
	size_t len;
	unsigned int at, byte;
	int n;

	doc = file_get(AUDIT_FORMAT_DOC, &len);
	part = block_of(doc, "```verify-key\n", &len);
	file_put(l->verify, part, len);
	free(part);
	part = block_of(doc, "```jsonl\n", &len);
	log_text_put(l, 1, part, len);
	free(part);
	ck_assert_int_eq(sscanf(strstr(doc, "```head"), "```head %u", &at), 1);
	part = block_of(doc, "```head", &len);
	for (p = part; sscanf(p, "%2x%n", &byte, &n) == 1; p += n)
		head[at++] = (uint8_t)byte;
	free(part);
	snprintf(path, sizeof path, "%s/head", l->audit);
	file_put(path, head, sizeof head);
	log_verify_clean(l);
	ck_assert_uint_eq(l->report.records, 5);
	ck_assert_uint_eq(l->report.torn, 1);
	head[at - 60] ^= 1;
	file_put(path, head, sizeof head);
	ck_found(l);
	/* and a daemon goes on from there */
	head[at - 60] ^= 1;
	file_put(path, head, sizeof head);
	ck_assert_int_eq(log_open(l), 0);
	log_allow(l, 1);
	log_verify_clean(l);
	free(doc);
	log_free(l);
}
END_TEST

/* How many records before the fault are good. */
START_TEST(reports_how_far_the_log_is_good)
{
	struct log *l = three_segments();
	size_t len, line_len;
	char *text = log_text(l, 1, &len), *line = line_at(text, 4, &line_len);

	line[line_len / 2] ^= 4;
	log_text_put(l, 1, text, len);
	memset(&l->report, 0xff, sizeof l->report);
	ck_found(l);
	ck_assert_uint_eq(l->report.records, 4);
	ck_assert_uint_eq(l->report.last_seq, 3);
	free(text);
	log_free(l);
}
END_TEST

int main(void)
{
	TCase *attacks = tcase_create("attacks"), *honest = tcase_create("honest");
	TCase *all[] = { attacks, honest };

	crypto_init();
	tcase_set_timeout(attacks, getenv("COFFER_EXHAUSTIVE") ? 3600 : 120);
	tcase_set_timeout(honest, 120);
	tcase_add_test(attacks, finds_every_flipped_bit);
	tcase_add_test(attacks, says_where_it_fails);
	tcase_add_test(attacks, finds_records_removed_doubled_or_exchanged);
	tcase_add_loop_test(attacks, finds_foreign_lines_and_junk, 0, 4);
	tcase_add_test(attacks, finds_a_tail_cut_off);
	tcase_add_test(attacks, finds_a_tail_cut_off_after_the_durable_point_from_the_daemons_word);
	tcase_add_test(attacks, finds_a_log_cut_off_and_continued_with_a_stolen_key);
	tcase_add_test(attacks, finds_old_records_sealed_again_with_a_later_key);
	tcase_add_test(attacks, finds_a_head_file_made_for_a_shorter_log);
	tcase_add_test(attacks, finds_a_head_file_that_is_missing_or_damaged);
	tcase_add_test(attacks, finds_a_missing_segment_in_the_middle);
	tcase_add_test(attacks, finds_segments_exchanged);
	tcase_add_test(attacks, reports_segments_that_are_no_longer_there_at_the_beginning);
	tcase_add_test(attacks, finds_a_log_deleted_while_it_was_open);
	tcase_add_test(attacks, refuses_another_vaults_key_and_what_is_no_key);
	tcase_add_test(attacks, excuses_torn_bytes_only_where_they_were_named);
	tcase_add_test(attacks, reports_how_far_the_log_is_good);
	tcase_add_test(honest, accepts_a_whole_log);
	tcase_add_test(honest, decodes_the_documented_example);
	tcase_add_test(honest, does_not_mind_a_log_that_is_being_written);
	tcase_add_test(honest, verifies_beside_a_writer);
	return suite_run(all, sizeof all / sizeof all[0], "audit verify");
}
