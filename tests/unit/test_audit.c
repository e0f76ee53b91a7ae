#include <jansson.h>
#include <pthread.h>

#include "audit_fixture.h"
#include "store/audit/log.h"

/* ---- records ---- */

static const char *const fields[] = {
	"seq",     "time", "vault",     "host",    "operation",   "result", "errno",  "secret", "version", "caller",
	"binding", "role", "principal", "request", "duration_us", "count",  "detail", "prev",   "mac",
};
static const char *const caller_fields[] = { "uid",      "gid",  "pid",       "comm",  "exe",
					     "loginuid", "unit", "container", "groups" };

/* The last record, parsed; also that every line of the segment is ASCII. */
static json_t *last_record(struct log *l)
{
	size_t len;
	char *text = log_text(l, audit_at(l->head)->segment, &len), *line;
	json_error_t error;

	for (size_t i = 0; i < len; i++)
		ck_assert(text[i] == '\n' || (text[i] >= 0x20 && text[i] < 0x7f));
	ck_assert_int_eq(text[len - 1], '\n');
	text[len - 1] = '\0';
	line = strrchr(text, '\n');
	json_t *record = json_loads(line ? line + 1 : text, JSON_REJECT_DUPLICATES, &error);
	ck_assert_msg(record != NULL, "%s: %s", error.text, line);
	free(text);
	return record;
}

#define text_of(record, name)   json_string_value(json_object_get(record, name))
#define number_of(record, name) json_integer_value(json_object_get(record, name))

START_TEST(writes_every_field_in_the_documented_order)
{
	struct log *l = log_new_open();
	static const uint32_t groups[] = { 4, 27 };
	struct audit_caller who = { .uid = 1000,
				    .gid = 100,
				    .pid = 4711,
				    .loginuid = 1001,
				    .comm = "cat",
				    .exe = "/bin/cat",
				    .unit = "a.service",
				    .container = "podman:1",
				    .groups_known = true,
				    .groups = groups,
				    .n_groups = 2 };
	struct audit_event e = {
		.operation = AUDIT_SECRET_GET,
		.result = AUDIT_DENY,
		.error = EACCES,
		.secret = "db",
		.version = 3,
		.caller = &who,
		.binding = 9,
		.role = "reader",
		.principal = "group:27,host",
		.unique = 12,
		.duration_us = 44,
		.detail = "why",
	};
	size_t i = 0;
	const char *name;
	json_t *value;

	ck_assert_int_eq(audit_append(l->a, &e, NULL), 0);
	json_t *record = last_record(l), *caller = json_object_get(record, "caller");
	json_object_foreach(record, name, value)
		ck_assert_str_eq(name, fields[i++]);
	ck_assert_uint_eq(i, sizeof fields / sizeof fields[0]);
	i = 0;
	json_object_foreach(caller, name, value)
		ck_assert_str_eq(name, caller_fields[i++]);
	ck_assert_uint_eq(i, sizeof caller_fields / sizeof caller_fields[0]);
	ck_assert_int_eq(number_of(record, "seq"), 2);
	ck_assert_uint_eq(strlen(text_of(record, "time")), strlen("2026-01-01T00:00:00.000000000Z"));
	ck_assert_str_eq(text_of(record, "operation"), "SecretGet");
	ck_assert_str_eq(text_of(record, "result"), "deny");
	ck_assert_str_eq(text_of(record, "errno"), "EACCES");
	ck_assert_int_eq(number_of(record, "version"), 3);
	ck_assert_int_eq(number_of(record, "binding"), 9);
	ck_assert_int_eq(number_of(record, "duration_us"), 44);
	ck_assert_int_eq(number_of(record, "count"), 1);
	ck_assert_int_eq(number_of(caller, "loginuid"), 1001);
	ck_assert_uint_eq(json_array_size(json_object_get(caller, "groups")), 2);
	ck_assert_int_eq(json_integer_value(json_array_get(json_object_get(caller, "groups"), 1)), 27);
	ck_assert_str_eq(text_of(record, "principal"), "group:27,host");
	ck_assert_str_eq(strchr(text_of(record, "request"), '-'), "-12");
	json_decref(record);

	/* what does not apply is null, and the daemon has no caller */
	e = (struct audit_event){ .operation = AUDIT_VAULT_START, .result = AUDIT_ALLOW };
	ck_assert_int_eq(audit_append(l->a, &e, NULL), 0);
	record = last_record(l);
	ck_assert_uint_eq(json_object_size(record), sizeof fields / sizeof fields[0]);
	for (i = 0; i < 5; i++)
		ck_assert(json_is_null(json_object_get(record, ((const char *[]){ "errno", "secret", "version",
										  "caller", "request" })[i])));
	json_decref(record);
	log_verify_clean(l);
	log_free(l);
}
END_TEST

static const struct {
	const char *raw, *read;
} hostile[] = {
	{ "plain", "plain" },
	{ "", "" },
	{ "a\"b\\c", "a\"b\\c" },
	{ "two\nlines\r\t", "two\nlines\r\t" },
	{ "\x01\x1f\x7f", "\x01\x1f\x7f" },
	{ "\xc3\xa9\xe2\x82\xac\xf0\x9f\x94\x91", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x94\x91" },
	{ "\xff", "\\xff" },
	{ "\xc3", "\\xc3" },
	{ "\xc0\x80", "\\xc0\\x80" },
	{ "\xed\xa0\x80", "\\xed\\xa0\\x80" },
	{ "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80" },
	{ "\xe2\x82", "\\xe2\\x82" },
	{ "\",\"operation\":\"Torn\",\"mac\":\"", "\",\"operation\":\"Torn\",\"mac\":\"" },
	{ "\xe2\x80\xa8", "\xe2\x80\xa8" },
};

START_TEST(escapes_whatever_bytes_come)
{
	struct log *l = log_new_open();
	const char *raw = hostile[_i].raw;
	struct audit_caller who = { .comm = raw, .exe = raw, .unit = raw, .container = raw, .loginuid = -1 };
	struct audit_event e = { .operation = AUDIT_SECRET_GET,
				 .result = AUDIT_ALLOW,
				 .secret = raw,
				 .caller = &who,
				 .role = raw,
				 .detail = raw };

	ck_assert_int_eq(audit_append(l->a, &e, NULL), 0);
	json_t *record = last_record(l);
	ck_assert_str_eq(text_of(record, "secret"), hostile[_i].read);
	ck_assert_str_eq(text_of(record, "role"), hostile[_i].read);
	ck_assert_str_eq(text_of(record, "detail"), hostile[_i].read);
	ck_assert_str_eq(text_of(json_object_get(record, "caller"), "comm"), hostile[_i].read);
	json_decref(record);
	log_verify_clean(l);
	log_free(l);
}
END_TEST

START_TEST(cuts_what_is_too_long_and_stays_within_a_line)
{
	static const char fill[] = { 'a', '\x01', '"', '\xff', '\xc3' };
	struct log *l = log_new_open();
	char longest[5000];
	uint32_t groups[1000];

	memset(groups, 0xff, sizeof groups);
	memset(longest, fill[_i], sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	struct audit_caller who = { .uid = UINT32_MAX,
				    .gid = UINT32_MAX,
				    .pid = INT32_MIN,
				    .loginuid = INT64_MAX,
				    .comm = longest,
				    .exe = longest,
				    .unit = longest,
				    .container = longest,
				    .groups_known = true,
				    .groups = groups,
				    .n_groups = 1000 };
	struct audit_event e = {
		.operation = AUDIT_SECRET_LIST_VERSIONS,
		.result = AUDIT_ALLOW,
		.error = 4095,
		.secret = longest,
		.version = UINT32_MAX,
		.caller = &who,
		.binding = INT64_MAX,
		.role = longest,
		.principal = longest,
		.unique = UINT64_MAX >> 7,
		.duration_us = UINT32_MAX,
		.detail = longest,
	};
	audit_caller_render(&who);
	ck_assert_uint_le(who.json_len, AUDIT_CALLER_JSON_MAX);
	ck_assert_int_eq(audit_append(l->a, &e, NULL), 0);
	json_t *record = last_record(l);
	const char *detail = text_of(record, "detail");
	ck_assert_str_eq(detail + strlen(detail) - 3, "...");
	ck_assert_str_eq(text_of(record, "errno"), "E4095");
	const json_t *list = json_object_get(json_object_get(record, "caller"), "groups");
	ck_assert_uint_eq(json_array_size(list), AUDIT_GROUPS_MAX + 1);
	ck_assert_str_eq(json_string_value(json_array_get(list, AUDIT_GROUPS_MAX)), "..."); /* there are more */
	json_decref(record);
	log_verify_clean(l);
	log_free(l);
}
END_TEST

/* ---- the head ---- */

static bool contains(const void *where, size_t len, const void *what)
{
	return memmem(where, len, what, KEY_LEN) != NULL;
}

START_TEST(destroys_the_key_of_the_past)
{
	struct log *l = log_new_open();
	uint8_t past[8][KEY_LEN];
	size_t len;

	for (int i = 0; i < 8; i++) {
		memcpy(past[i], audit_at(l->head)->key, KEY_LEN);
		if (i == 6) /* in the head file for a while */
			ck_assert_int_eq(audit_tick(l->a), 0);
		log_allow(l, 1);
		ck_assert(!contains(l->head, sizeof *l->head, past[i]));
	}
	ck_assert_int_eq(audit_tick(l->a), 0);
	char path[400];
	snprintf(path, sizeof path, "%s/head", l->audit);
	char *head_file = file_get(path, &len);
	for (int i = 0; i < 8; i++) {
		ck_assert(!contains(l->head, sizeof *l->head, past[i]));
		ck_assert(!contains(head_file, len, past[i]));
		ck_assert(!contains(l->a, sizeof *l->a, past[i]));
	}
	ck_assert(contains(head_file, len, audit_at(l->head)->key));
	free(head_file);
	log_free(l);
}
END_TEST

START_TEST(head_file_survives_a_torn_slot)
{
	struct log *l = log_new_open();
	char path[400];
	size_t len;
	struct audit_position p;
	uint64_t generation, newest;

	log_allow(l, 1);
	ck_assert_int_eq(audit_tick(l->a), 0);
	snprintf(path, sizeof path, "%s/head", l->audit);
	char *first = file_get(path, &len);
	ck_assert_uint_eq(len, AUDIT_HEADFILE_SIZE);
	log_allow(l, 1);
	ck_assert_int_eq(audit_tick(l->a), 0);
	char *block = file_get(path, &len);
	ck_assert_int_eq(audit_headfile_decode((uint8_t *)block, &p, &newest), 0);
	ck_assert_uint_eq(p.seq, log_seq(l));
	/* power fails in the middle of writing the new slot, at any byte: the old one, as it was then, still counts */
	size_t at = (size_t)(newest & 1) * AUDIT_HEADFILE_SLOT, other = AUDIT_HEADFILE_SLOT - at;
	memcpy(block + other, first + other, AUDIT_HEADFILE_SLOT);
	for (size_t cut = 0; cut < 144; cut++) {
		char torn[AUDIT_HEADFILE_SIZE];
		memcpy(torn, block, sizeof torn);
		memcpy(torn + at + cut, first + at + cut, 144 - cut);
		/* what was cut off was the same before: nothing is torn */
		if (!memcmp(torn + at, block + at, 144))
			continue;
		ck_assert_int_eq(audit_headfile_decode((uint8_t *)torn, &p, &generation), 0);
		ck_assert_uint_eq(generation, newest - 1);
	}
	for (size_t bit = 0; bit < 144 * 8; bit++) {
		char torn[AUDIT_HEADFILE_SIZE] = "";
		memcpy(torn + at, block + at, 144);
		torn[at + bit / 8] = (char)(torn[at + bit / 8] ^ 1 << bit % 8);
		ck_assert_int_eq(audit_headfile_decode((uint8_t *)torn, &p, &generation), -EBADMSG);
	}
	free(first);
	free(block);
	log_free(l);
}
END_TEST

START_TEST(continues_from_the_head_file_after_the_machine_crashed)
{
	struct log *l = log_new_open();

	log_allow(l, 3);
	ck_assert_int_eq(audit_tick(l->a), 0);
	log_allow(l, 5); /* on the disk, but the head file does not know of them */
	uint64_t seq = log_seq(l);
	log_drop(l);
	memset(l->head, 0, sizeof *l->head);
	ck_assert_int_eq(log_open(l), 0);
	ck_assert_uint_eq(log_seq(l), seq);
	log_allow(l, 1);
	log_verify_clean(l);
	log_free(l);
}
END_TEST

START_TEST(names_what_a_crashed_machine_left_as_torn)
{
	struct log *l = log_new_open();
	size_t len;

	log_allow(l, 3);
	ck_assert_int_eq(audit_tick(l->a), 0);
	log_allow(l, 6);
	log_drop(l);
	/* blocks that never reached the disk read as zeros, and later ones may have */
	char *text = log_text(l, 1, &len), *line = line_at(text, 6, &len);
	memset(line + 10, 0, 700);
	log_text_put(l, 1, text, strlen(text) + 700 + strlen(line + 710));
	free(text);
	memset(l->head, 0, sizeof *l->head);
	ck_assert_int_eq(log_open(l), 0);
	ck_assert_uint_eq(log_seq(l), 7); /* six good ones and the Torn record */
	log_allow(l, 2);
	log_verify_clean(l);
	ck_assert_uint_eq(l->report.torn, 1);
	log_free(l);
}
END_TEST

/* ---- takeover ---- */

START_TEST(rolls_forward_over_a_record_that_the_head_does_not_know)
{
	struct log *l = log_new_open();
	struct audit_head *before = malloc(sizeof *before);

	ck_assert_ptr_nonnull(before);
	log_allow(l, 2);
	memcpy(before, l->head, sizeof *before);
	ck_assert_int_eq(log_event(l, AUDIT_ALLOW, "db", 42, false), 0);
	uint64_t seq = log_seq(l);
	log_drop(l);
	memcpy(l->head, before, sizeof *before); /* killed between write and publish */
	free(before);
	ck_assert_int_eq(log_open(l), 0);
	ck_assert_uint_eq(log_seq(l), seq);
	/* the kernel sends the request again */
	ck_assert_int_eq(log_event(l, AUDIT_ALLOW, "db", 42, true), 0);
	ck_assert_uint_eq(log_seq(l), seq);
	log_verify_clean(l);
	log_free(l);
}
END_TEST

START_TEST(refuses_records_that_no_worker_wrote)
{
	struct log *l = log_new_open();
	struct audit_head *before = malloc(sizeof *before);
	size_t len;

	ck_assert_ptr_nonnull(before);
	log_allow(l, 2);
	memcpy(before, l->head, sizeof *before);
	log_allow(l, _i == 0 ? 2 : 1);
	log_drop(l);
	memcpy(l->head, before, sizeof *before);
	free(before);
	char *text = log_text(l, 1, &len);
	switch (_i) {
	case 0:
		break; /* two records ahead */
	case 1:
		text[len - 4] = text[len - 4] == '0' ? '1' : '0';
		break; /* its seal is wrong */
	case 2:
		len -= strlen(strstr(text, "\"seq\":3")) + 1;
		break; /* the last one before the head is gone, too */
	/* the last one before the head was altered */
	default:
		text[len / 2] ^= 1;
		text[strlen(text) - 700] ^= 1;
		break;
	}
	log_text_put(l, 1, text, len);
	free(text);
	ck_assert_int_eq(log_open(l), -EBADMSG);
	ck_assert_str_ne(l->why, "");
	log_free(l);
}
END_TEST

START_TEST(ends_a_torn_tail_and_names_it)
{
	struct log *l = log_new_open();
	char path[400], detail[200], hex[AUDIT_HEX_LEN + 1] = "";
	static const char tail[] = "{\"seq\":4,\"time\":\"20";
	struct bytes part = { tail, sizeof tail - 1 };
	uint8_t digest[DIGEST_LEN];

	log_allow(l, 2);
	unsigned long long at = audit_at(l->head)->size;
	log_drop(l);
	log_path(l, 1, path);
	int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	ck_assert_int_eq(write(fd, tail, sizeof tail - 1), sizeof tail - 1);
	close(fd);
	ck_assert_int_eq(log_open(l), 0);
	size_t len;
	char *text = log_text(l, 1, &len);
	text[len - 1] = '\0';
	json_t *record = json_loads(strrchr(text, '\n') + 1, 0, NULL);
	free(text);
	ck_assert_str_eq(text_of(record, "operation"), "Torn");
	ck_assert_int_eq(sha256(&part, 1, digest), 0);
	audit_hex(hex, digest);
	snprintf(detail, sizeof detail, "torn, %zu bytes at %llu of segment 1, SHA-256 %s", sizeof tail - 1, at, hex);
	ck_assert_str_eq(text_of(record, "detail"), detail);
	json_decref(record);
	log_allow(l, 1);
	log_verify_clean(l);
	ck_assert_uint_eq(l->report.torn, 1);
	log_free(l);
}
END_TEST

START_TEST(takes_up_a_segment_that_somebody_died_over_making)
{
	struct log *l = log_new_open();
	int fd;

	log_allow(l, 2);
	log_drop(l);
	ck_assert_int_eq(audit_segment_open_at(l->dir_fd, 2, true, 0, &fd), 0);
	if (_i == 1)
		ck_assert_int_eq(write(fd, "{\"seq\":4,", 9), 9);
	close(fd);
	ck_assert_int_eq(log_open(l), 0);
	l->a->config.segment_size = AUDIT_SEGMENT_MIN;
	log_allow(l, 8);
	ck_assert_uint_ge(audit_at(l->head)->segment, 2);
	log_verify_clean(l);
	ck_assert_uint_eq(l->report.torn, (uint64_t)_i);
	log_free(l);
}
END_TEST

START_TEST(writes_a_resent_request_once)
{
	struct log *l = log_new_open();

	ck_assert_int_eq(log_event(l, AUDIT_ALLOW, "db", 100, false), 0);
	uint64_t seq = log_seq(l);
	log_drop(l);
	ck_assert_int_eq(log_open(l), 0);
	ck_assert_int_eq(log_event(l, AUDIT_ALLOW, "db", 100, true), 0);
	ck_assert_uint_eq(log_seq(l), seq);
	ck_assert_int_eq(log_event(l, AUDIT_ALLOW, "db", 102, true), 0); /* died before it was recorded */
	ck_assert_uint_eq(log_seq(l), seq + 1);
	struct audit_event other = {
		.operation = AUDIT_SECRET_SET, .result = AUDIT_ALLOW, .unique = 100, .resent = true
	};
	ck_assert_int_eq(audit_append(l->a, &other, NULL), 0);
	ck_assert_uint_eq(log_seq(l), seq + 2);
	ck_assert_int_eq(log_event(l, AUDIT_ALLOW, "db", 100, false), 0); /* not resent: never swallowed */
	ck_assert_uint_eq(log_seq(l), seq + 3);
	log_free(l);
}
END_TEST

/* The right was revoked in between, or what failed works now: the caller is told of the second end. */
START_TEST(writes_what_became_of_a_resent_request)
{
	struct log *l = log_new_open();
	static const enum audit_result ends[] = { AUDIT_ERROR, AUDIT_ALLOW, AUDIT_DENY };

	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
		uint64_t seq = log_seq(l);
		ck_assert_int_eq(log_event(l, ends[i], "db", 100, i > 0), 0);
		ck_assert_uint_eq(log_seq(l), seq + 1);
		log_drop(l);
		ck_assert_int_eq(log_open(l), 0);
		ck_assert_int_eq(log_event(l, ends[i], "db", 100, true), 0);
		ck_assert_uint_eq(log_seq(l), seq + 1);
	}
	log_free(l);
}
END_TEST

static bool only_100_is(void *arg, uint64_t unique)
{
	(void)arg;
	return unique == 100;
}

/* Its handler was held up behind the record while many others were recorded. */
START_TEST(knows_a_request_for_as_long_as_it_has_no_answer)
{
	struct log *l = log_new_open();

	l->a->config.unanswered = only_100_is;
	ck_assert_int_eq(log_event(l, AUDIT_ALLOW, "db", 98, false), 0);
	ck_assert_int_eq(log_event(l, AUDIT_ALLOW, "db", 100, false), 0);
	for (uint64_t i = 0; i < 2 * AUDIT_RECENTS; i++)
		ck_assert_int_eq(log_event(l, AUDIT_ALLOW, "db", 200 + 2 * i, false), 0);
	log_drop(l);
	ck_assert_int_eq(log_open(l), 0);
	uint64_t seq = log_seq(l);
	ck_assert_int_eq(log_event(l, AUDIT_ALLOW, "db", 100, true), 0);
	ck_assert_uint_eq(log_seq(l), seq);
	/* it had its answer long ago, and is none that comes again */
	ck_assert_int_eq(log_event(l, AUDIT_ALLOW, "db", 98, true), 0);
	ck_assert_uint_eq(log_seq(l), seq + 1);
	log_free(l);
}
END_TEST

/* ---- floods ---- */

static int deny(struct log *l, uint32_t uid, const char *name, enum audit_operation op, uint32_t *ret_delay)
{
	struct audit_caller who = {
		.uid = uid, .gid = uid, .neighbour = uid, .pid = 5, .loginuid = -1, .comm = "flood"
	};
	struct audit_event e = { .operation = op,
				 .result = AUDIT_DENY,
				 .error = EACCES,
				 .secret = name,
				 .caller = &who,
				 .privileged = true };

	return audit_append(l->a, &e, ret_delay);
}

static json_t *flush_one(struct log *l)
{
	for (size_t i = 0; i < AUDIT_FOLDS; i++) /* as if a while had passed */
		l->head->folds[i].tally.last -= 2 * (int64_t)AUDIT_NS;
	ck_assert_int_eq(audit_tick(l->a), 0);
	return last_record(l);
}

START_TEST(delays_then_folds_a_flood_of_denials)
{
	struct log *l = log_new("/tmp");
	uint32_t delay = 0, longest = 0;

	l->config.deny_rate = 1; /* so that the clock plays no part */
	l->config.deny_burst = 10;
	ck_assert_int_eq(log_open(l), 0);
	uint64_t seq = log_seq(l);
	for (int i = 0; i < 1000; i++) {
		ck_assert_int_eq(deny(l, 1000, "db", AUDIT_SECRET_GET, &delay), 0);
		if (i == 0)
			ck_assert_uint_eq(delay, 0);
		longest = delay > longest ? delay : longest;
	}
	ck_assert_uint_eq(longest, AUDIT_DELAY_MS);
	uint64_t written = log_seq(l) - seq;
	ck_assert_uint_ge(written, 10);
	ck_assert_uint_le(written, 15);
	/* another uid is not held back, and what is allowed never is */
	ck_assert_int_eq(deny(l, 1001, "db", AUDIT_SECRET_GET, &delay), 0);
	ck_assert_uint_eq(delay, 0);
	log_allow(l, 50);
	ck_assert_uint_eq(log_seq(l), seq + written + 51);

	/* the count survives the worker */
	log_drop(l);
	ck_assert_int_eq(log_open(l), 0);
	json_t *record = flush_one(l);
	ck_assert_uint_eq((uint64_t)number_of(record, "count"), 1000 - written);
	ck_assert_str_eq(text_of(record, "secret"), "db");
	ck_assert_str_eq(text_of(record, "errno"), "EACCES");
	ck_assert_int_eq(number_of(json_object_get(record, "caller"), "uid"), 1000);
	json_decref(record);
	log_verify_clean(l);
	log_free(l);
}
END_TEST

START_TEST(folds_several_names_into_a_star)
{
	struct log *l = log_new("/tmp");
	char name[32];

	l->config.deny_rate = l->config.deny_burst = 1;
	ck_assert_int_eq(log_open(l), 0);
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof name, "guess%d", i);
		ck_assert_int_eq(deny(l, 1000, name, AUDIT_SECRET_GET, NULL), 0);
	}
	json_t *record = flush_one(l);
	ck_assert_str_eq(text_of(record, "secret"), "*");
	ck_assert_int_ge(number_of(record, "count"), 97);
	json_decref(record);
	log_free(l);
}
END_TEST

START_TEST(counts_every_denial_of_a_flood_by_many_uids)
{
	struct log *l = log_new("/tmp");
	uint64_t counted = 0;
	size_t len;

	l->config.deny_rate = l->config.deny_burst = 1;
	ck_assert_int_eq(log_open(l), 0);
	for (uint32_t uid = 1; uid <= 1000; uid++)
		for (int i = 0; i < 5; i++)
			ck_assert_int_eq(deny(l, uid, "db", AUDIT_SECRET_GET, NULL), 0);
	json_decref(flush_one(l));
	char *text = log_text(l, 1, &len), *save = NULL;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		json_t *record = json_loads(line, 0, NULL);
		if (!strcmp(text_of(record, "result"), "deny"))
			counted += (uint64_t)number_of(record, "count");
		json_decref(record);
	}
	free(text);
	ck_assert_uint_eq(counted, 5000);
	ck_assert_uint_lt(log_seq(l), 400);
	log_verify_clean(l);
	log_free(l);
}
END_TEST

START_TEST(does_not_write_a_fold_twice_when_killed_in_between)
{
	struct log *l = log_new("/tmp");

	l->config.deny_rate = l->config.deny_burst = 1;
	ck_assert_int_eq(log_open(l), 0);
	for (int i = 0; i < 50; i++)
		ck_assert_int_eq(deny(l, 1000, "db", AUDIT_SECRET_GET, NULL), 0);
	struct audit_fold before = l->head->folds[0];
	ck_assert_uint_gt(before.tally.count, 0);
	json_decref(flush_one(l));
	uint64_t seq = log_seq(l);
	log_drop(l);
	before.tally.written_as = seq - 1; /* the record is there, the entry not yet cleared */
	l->head->folds[0] = before;
	ck_assert_int_eq(log_open(l), 0);
	json_decref(flush_one(l));
	ck_assert_uint_eq(log_seq(l), seq);
	log_free(l);
}
END_TEST

START_TEST(keeps_administrators_and_the_daemon_out_of_folding)
{
	struct log *l = log_new("/tmp");
	struct audit_caller who = { .uid = 0, .loginuid = -1 };
	struct audit_event failed = { .operation = AUDIT_BINDING_CREATE,
				      .result = AUDIT_ERROR,
				      .error = EINVAL,
				      .caller = &who,
				      .privileged = true };
	struct audit_event own = { .operation = AUDIT_WORKER_START, .result = AUDIT_ERROR, .error = EIO };

	l->config.deny_rate = l->config.deny_burst = 1;
	ck_assert_int_eq(log_open(l), 0);
	uint64_t seq = log_seq(l);
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(audit_append(l->a, &failed, NULL), 0);
		ck_assert_int_eq(audit_append(l->a, &own, NULL), 0);
	}
	ck_assert_uint_eq(log_seq(l), seq + 40);
	log_free(l);
}
END_TEST

/* ---- segments ---- */

START_TEST(moves_on_by_size_and_by_age)
{
	struct log *l = log_new("/tmp");

	l->config.segment_size = 4096;
	ck_assert_int_eq(log_open(l), 0);
	log_allow(l, 30);
	ck_assert_uint_ge(audit_at(l->head)->segment, 3);
	log_drop(l);
	l->config.segment_size = 0;
	ck_assert_int_eq(log_open(l), 0);
	uint32_t segment = audit_at(l->head)->segment;
	log_allow(l, 3);
	ck_assert_int_eq(audit_tick(l->a), 0);
	ck_assert_uint_eq(audit_at(l->head)->segment, segment);
	audit_at(l->head)->opened -= 2 * 86400 * (int64_t)AUDIT_NS;
	ck_assert_int_eq(audit_tick(l->a), 0);
	ck_assert_uint_eq(audit_at(l->head)->segment, segment + 1);
	log_verify_clean(l);
	ck_assert_uint_eq(l->report.segments, segment + 1);
	log_free(l);
}
END_TEST

START_TEST(reads_all_segments_as_one_file)
{
	struct log *l = log_new("/tmp");
	char *all = NULL, got[70000];
	size_t all_len = 0, n;
	uint32_t base;
	uint64_t size;

	l->config.segment_size = 4096;
	ck_assert_int_eq(log_open(l), 0);
	log_allow(l, 60);
	ck_assert_int_eq(audit_first_segment(l->a, &base), 0);
	ck_assert_uint_eq(base, 1);
	for (uint32_t s = 1; s <= audit_at(l->head)->segment; s++) {
		size_t len;
		char *text = log_text(l, s, &len);
		all = realloc(all, all_len + len);
		ck_assert_ptr_nonnull(all);
		memcpy(all + all_len, text, len);
		all_len += len;
		free(text);
	}
	ck_assert_int_eq(audit_size(l->a, base, &size), 0);
	ck_assert_uint_eq(size, all_len);
	for (size_t at = 0, step = 1; at < all_len; at += step, step = step * 3 % 5003 + 1) {
		ck_assert_int_eq(audit_read(l->a, base, at, got, step, &n), 0);
		ck_assert_uint_eq(n, step < all_len - at ? step : all_len - at);
		ck_assert_int_eq(memcmp(got, all + at, n), 0);
	}
	/* tail -f: nothing at the end, then what was added */
	ck_assert_int_eq(audit_read(l->a, base, size, got, sizeof got, &n), 0);
	ck_assert_uint_eq(n, 0);
	log_allow(l, 1);
	ck_assert_int_eq(audit_read(l->a, base, size, got, sizeof got, &n), 0);
	ck_assert_uint_gt(n, 0);
	ck_assert_int_eq(got[n - 1], '\n');
	/* a reader keeps its place when retention removes what it has read, and is told when it has not */
	l->keep_bytes = 1;
	ck_assert_int_eq(audit_tick(l->a), 0);
	ck_assert_int_eq(audit_read(l->a, base, size, got, 10, &n), 0);
	ck_assert_uint_gt(n, 0);
	ck_assert_int_eq(audit_read(l->a, base, 4096 * 2 + 1000, got, 10, &n), -ESTALE);
	free(all);
	log_free(l);
}
END_TEST

static void make_old(struct log *l, uint32_t segment, time_t age)
{
	char path[400];
	struct timespec t[2] = { { .tv_sec = time(NULL) - age }, { .tv_sec = time(NULL) - age } };

	log_path(l, segment, path);
	ck_assert_int_eq(utimensat(AT_FDCWD, path, t, 0), 0);
}

START_TEST(retains_what_is_young_or_within_bounds)
{
	struct log *l = log_new("/tmp");
	uint32_t first, last, due;

	l->config.segment_size = 4096;
	ck_assert_int_eq(log_open(l), 0);
	log_allow(l, 60);
	ck_assert_int_eq(audit_segment_list(l->dir_fd, &first, &last), 0);
	ck_assert_uint_ge(last, 5);
	for (uint32_t s = 1; s <= 3; s++)
		make_old(l, s, 1000);
	ck_assert_int_eq(audit_retain(l->dir_fd, 0, 0, UINT32_MAX, &due), 0);
	ck_assert_uint_eq(due, 0);
	ck_assert_int_eq(audit_retain(l->dir_fd, 1 << 20, 500, UINT32_MAX, &due), 0); /* old, but not too much */
	ck_assert_uint_eq(due, 0);
	ck_assert_int_eq(audit_segment_list(l->dir_fd, &first, &last), 0);
	ck_assert_uint_eq(first, 1);
	log_retain(l, 4096, 500); /* too much, but the later ones are young */
	ck_assert_int_eq(audit_segment_list(l->dir_fd, &first, &last), 0);
	ck_assert_uint_eq(first, 4);
	log_retain(l, 1, 0); /* never the newest, nor the one that may still be written to */
	ck_assert_int_eq(audit_segment_list(l->dir_fd, &first, &last), 0);
	ck_assert_uint_eq(first, last - 1);
	log_verify_clean(l);
	log_free(l);
}
END_TEST

START_TEST(protected_segments_cannot_be_cut)
{
	struct log *l = log_new_open();
	char path[400];
	struct audit_state s;

	int r = audit_protect(l->dir_fd, true);
	if (r == 0) {
		l->a->config.segment_size = 4096;
		log_allow(l, 20); /* a new segment is like the one before */
		audit_state(l->a, &s);
		ck_assert(s.append_only);
		ck_assert_uint_ge(audit_at(l->head)->segment, 2);
		log_path(l, audit_at(l->head)->segment, path);
		ck_assert_int_lt(truncate(path, 10), 0);
		ck_assert_int_eq(errno, EPERM);
		ck_assert_int_lt(unlink(path), 0);
		ck_assert_int_eq(audit_tick(l->a), 0);
		/* a torn tail is ended, since it cannot be cut off */
		log_path(l, audit_at(l->head)->segment, path); /* the tick may have begun another one */
		log_drop(l);
		int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
		ck_assert_int_eq(write(fd, "torn", 4), 4);
		close(fd);
		ck_assert_int_eq(log_open(l), 0);
		log_retain(l, 1, 0);
		log_verify_clean(l);
		ck_assert_uint_eq(l->report.torn, 1);
		ck_assert_int_eq(audit_protect(l->dir_fd, false), 0);
		audit_state(l->a, &s);
		ck_assert(!s.append_only);
	}
	log_free(l);
}
END_TEST

START_TEST(notices_that_the_open_segment_was_removed_or_cut)
{
	struct log *l = log_new_open();
	char path[400];
	struct audit_state s;

	log_allow(l, 5);
	log_path(l, 1, path);
	ck_assert_int_eq(_i == 0 ? unlink(path) : truncate(path, 600), 0);
	(void)audit_tick(l->a);
	audit_state(l->a, &s);
	ck_assert(s.tampered);
	ck_assert_uint_eq(audit_at(l->head)->segment, 2);
	log_allow(l, 1); /* and goes on in a new one */
	ck_assert_int_eq(log_verify(l), -EBADMSG);
	log_free(l);
}
END_TEST

/* ---- durability ---- */

static void *append_many(void *arg)
{
	struct log *l = arg;

	for (int i = 0; i < 50; i++) {
		ck_assert_int_eq(log_event(l, AUDIT_ALLOW, "db", 0, false), 0);
		ck_assert_int_eq(i % 10 ? 0 : audit_tick(l->a), 0);
	}
	return NULL;
}

START_TEST(is_durable_before_it_answers_when_asked_for)
{
	struct log *l = log_new("/tmp");
	pthread_t threads[4];

	l->config.durability = AUDIT_DURABILITY_FDATASYNC;
	l->config.segment_size = 16384;
	ck_assert_int_eq(log_open(l), 0);
	log_allow(l, 1);
	ck_assert_uint_eq(l->head->durable_seq, log_seq(l));
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, append_many, l), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(l->head->durable_seq, log_seq(l));
	audit_close(l->a);
	l->a = NULL;
	log_verify_clean(l);
	log_free(l);
}
END_TEST

START_TEST(creates_nothing_over_an_older_log)
{
	struct log *l = log_new("/tmp");
	char other[320];
	size_t len, again;

	char *key = file_get(l->verify, &len);
	ck_assert_int_eq(audit_create(l->dir, l->verify, "test", 0, l->why, sizeof l->why), -EEXIST);
	snprintf(other, sizeof other, "%s/other.verify", l->dir);
	ck_assert_int_eq(audit_create(l->dir, other, "test", 0, l->why, sizeof l->why), -EEXIST);
	ck_assert_int_lt(access(other, F_OK), 0);
	char *same = file_get(l->verify, &again);
	ck_assert_str_eq(key, same);
	free(key);
	free(same);
	log_verify_clean(l);
	struct stat st;
	ck_assert_int_eq(stat(l->verify, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(fstatat(l->dir_fd, "head", &st, 0), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(fstatat(l->dir_fd, "audit-00000001.jsonl", &st, 0), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0640);
	log_free(l);
}
END_TEST

int main(void)
{
	TCase *records = tcase_create("records"), *head = tcase_create("head"), *takeover = tcase_create("takeover"),
	      *floods = tcase_create("floods"), *segments = tcase_create("segments"),
	      *durability = tcase_create("durability");
	TCase *all[] = { records, head, takeover, floods, segments, durability };

	crypto_init();
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		tcase_set_timeout(all[i], 60);
	tcase_add_test(records, writes_every_field_in_the_documented_order);
	tcase_add_loop_test(records, escapes_whatever_bytes_come, 0, sizeof hostile / sizeof hostile[0]);
	tcase_add_loop_test(records, cuts_what_is_too_long_and_stays_within_a_line, 0, 5);
	tcase_add_test(head, destroys_the_key_of_the_past);
	tcase_add_test(head, head_file_survives_a_torn_slot);
	tcase_add_test(head, continues_from_the_head_file_after_the_machine_crashed);
	tcase_add_test(head, names_what_a_crashed_machine_left_as_torn);
	tcase_add_test(takeover, rolls_forward_over_a_record_that_the_head_does_not_know);
	tcase_add_loop_test(takeover, refuses_records_that_no_worker_wrote, 0, 4);
	tcase_add_test(takeover, ends_a_torn_tail_and_names_it);
	tcase_add_loop_test(takeover, takes_up_a_segment_that_somebody_died_over_making, 0, 2);
	tcase_add_test(takeover, writes_a_resent_request_once);
	tcase_add_test(takeover, writes_what_became_of_a_resent_request);
	tcase_add_test(takeover, knows_a_request_for_as_long_as_it_has_no_answer);
	tcase_add_test(floods, delays_then_folds_a_flood_of_denials);
	tcase_add_test(floods, folds_several_names_into_a_star);
	tcase_add_test(floods, counts_every_denial_of_a_flood_by_many_uids);
	tcase_add_test(floods, does_not_write_a_fold_twice_when_killed_in_between);
	tcase_add_test(floods, keeps_administrators_and_the_daemon_out_of_folding);
	tcase_add_test(segments, moves_on_by_size_and_by_age);
	tcase_add_test(segments, reads_all_segments_as_one_file);
	tcase_add_test(segments, retains_what_is_young_or_within_bounds);
	tcase_add_test(segments, protected_segments_cannot_be_cut);
	tcase_add_loop_test(segments, notices_that_the_open_segment_was_removed_or_cut, 0, 2);
	tcase_add_test(durability, is_durable_before_it_answers_when_asked_for);
	tcase_add_test(durability, creates_nothing_over_an_older_log);
	return suite_run(all, sizeof all / sizeof all[0], "audit");
}
