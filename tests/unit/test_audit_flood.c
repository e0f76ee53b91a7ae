/* Who may read, and who is refused, can both do so without end: the log keeps what it promised, and nobody else is
 * refused. The clock is the test's. */
#include <jansson.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <time.h>

#include "audit_fixture.h"
#include "store/audit/log.h"
#include "store/audit/share.h"

#define MS INT64_C(1000000)

static int64_t clock_ns; /* what has passed; 0: the machine's own clock */

int __real_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret)
{
	const int64_t base = id == CLOCK_REALTIME ? INT64_C(1795000000) : 1000, now = clock_ns;

	if (!now)
		return __real_clock_gettime(id, ret);
	ret->tv_sec = base + now / AUDIT_NS;
	ret->tv_nsec = now % AUDIT_NS;
	return 0;
}

/* libcheck looks at the clock, too. */
static void done(struct log *l)
{
	clock_ns = 0;
	log_free(l);
}

struct who {
	uint32_t uid, pid;
	uint64_t neighbour;
	const char *exe, *name;
	uint32_t version;
	uint64_t binding;
	enum audit_operation operation;
	enum audit_result result;
	uint64_t unique;
	bool resent;
	bool privileged;
};

static int asks(struct log *l, const struct who *w)
{
	struct audit_caller who = { .uid = w->uid,
				    .gid = w->uid,
				    .pid = (int32_t)w->pid,
				    .neighbour = w->neighbour ? w->neighbour : w->uid,
				    .loginuid = -1,
				    .comm = "test",
				    .exe = w->exe };
	struct audit_event e = {
		.operation = w->operation ? w->operation : AUDIT_SECRET_GET,
		.result = w->result,
		.error = w->result == AUDIT_ALLOW ? 0 : EACCES,
		.secret = w->name ? w->name : "db",
		.version = w->version ? w->version : 1,
		.caller = &who,
		.binding = w->binding ? w->binding : 7,
		.role = "secrets-user",
		.unique = w->unique,
		.resent = w->resent,
		.privileged = w->privileged,
	};

	memcpy(who.origin, &w->uid, sizeof w->uid);
	memcpy(who.origin + 4, &w->pid, sizeof w->pid);
	who.origin[15] = 1;
	return audit_append(l->a, &e, NULL);
}

/* Every record, parsed. */
static json_t *records(struct log *l)
{
	json_t *all = json_array();

	for (uint32_t s = 1; s <= audit_at(l->head)->segment; s++) {
		char path[400];
		size_t len;
		log_path(l, s, path);
		if (access(path, F_OK) < 0)
			continue;
		char *text = log_text(l, s, &len), *save = NULL;
		for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
			ck_assert_int_eq(json_array_append_new(all, json_loads(line, 0, NULL)), 0);
		free(text);
	}
	return all;
}

#define text_of(record, name)   json_string_value(json_object_get(record, name))
#define number_of(record, name) json_integer_value(json_object_get(record, name))

/* How many records of the caller and how many accesses in them. */
static uint64_t counted(struct log *l, uint32_t uid, const char *result, uint64_t *ret_records)
{
	json_t *all = records(l), *one;
	uint64_t n = 0, lines = 0;
	size_t i;

	json_array_foreach(all, i, one)
		if (number_of(json_object_get(one, "caller"), "uid") == uid &&
		    json_is_object(json_object_get(one, "caller")) && !strcmp(text_of(one, "result"), result)) {
			n += (uint64_t)number_of(one, "count");
			lines++;
		}
	json_decref(all);
	if (ret_records)
		*ret_records = lines;
	return n;
}

static void passes(struct log *l, int64_t ns)
{
	for (; ns > 0; ns -= 250 * MS) {
		clock_ns += 250 * MS;
		ck_assert_int_eq(audit_tick(l->a), 0);
	}
}

static struct log *new_log(void)
{
	struct log *l = log_new(in_memory());

	clock_ns = 1;
	ck_assert_int_eq(log_open(l), 0);
	return l;
}

START_TEST(each_open_has_its_record_up_to_the_rate)
{
	struct log *l = new_log();
	struct who w = { .uid = 1000, .pid = 5, .result = AUDIT_ALLOW };
	uint64_t lines;

	for (int i = 0; i < 200; i++) /* all at once */
		ck_assert_int_eq(asks(l, &w), 0);
	ck_assert_uint_eq(counted(l, 1000, "allow", &lines), 200);
	ck_assert_uint_eq(lines, 200);
	for (int i = 0; i < 100; i++) { /* and 20 a second for as long as it likes */
		clock_ns += 50 * MS;
		ck_assert_int_eq(asks(l, &w), 0);
	}
	ck_assert_uint_eq(counted(l, 1000, "allow", &lines), 300);
	ck_assert_uint_eq(lines, 300);
	log_verify_clean(l);
	done(l);
}
END_TEST

START_TEST(what_one_process_opens_beyond_it_is_counted_within_a_second)
{
	struct log *l = new_log();
	struct who w = { .uid = 1000, .pid = 5, .exe = "/usr/bin/loop", .result = AUDIT_ALLOW };
	uint64_t lines, before;
	json_t *all, *last;

	for (int i = 0; i < 10000; i++)
		ck_assert_int_eq(asks(l, &w), 0);
	counted(l, 1000, "allow", &before);
	ck_assert_uint_eq(before, 200);
	passes(l, AUDIT_NS);
	ck_assert_uint_eq(counted(l, 1000, "allow", &lines), 10000);
	ck_assert_uint_eq(lines, before + 1);
	all = records(l);
	last = json_array_get(all, json_array_size(all) - 1);
	ck_assert_str_eq(text_of(last, "operation"), "SecretGet");
	ck_assert_str_eq(text_of(last, "secret"), "db");
	ck_assert_int_eq(number_of(last, "version"), 1);
	ck_assert_int_eq(number_of(last, "binding"), 7);
	ck_assert_str_eq(text_of(last, "role"), "secrets-user");
	ck_assert_int_eq(number_of(last, "count"), 9800);
	ck_assert_str_eq(text_of(json_object_get(last, "caller"), "exe"), "/usr/bin/loop");
	ck_assert_int_eq(number_of(json_object_get(last, "caller"), "pid"), 5);
	ck_assert_msg(!strncmp(text_of(last, "detail"), "folded, from 2026-11-18T", 24), "%s", text_of(last, "detail"));
	json_decref(all);
	/* an hour of it is a record a second, not twenty */
	counted(l, 1000, "allow", &before);
	for (int i = 0; i < 36000; i++) {
		clock_ns += 10 * MS;
		ck_assert_int_eq(asks(l, &w), 0);
		if (i % 25 == 24)
			ck_assert_int_eq(audit_tick(l->a), 0);
	}
	counted(l, 1000, "allow", &lines);
	ck_assert_uint_le(lines - before, 2 * 360);
	/* once it comes to rest, its opens have records of their own again */
	passes(l, 30 * (int64_t)AUDIT_NS);
	counted(l, 1000, "allow", &before);
	ck_assert_int_eq(asks(l, &w), 0);
	counted(l, 1000, "allow", &lines);
	ck_assert_uint_eq(lines, before + 1);
	log_verify_clean(l);
	done(l);
}
END_TEST

/* What differs in one of these never counts together, and the first of each has a record of its own. */
static const struct who differ[] = {
	{ .uid = 1000, .pid = 6, .result = AUDIT_ALLOW },
	{ .uid = 1001, .pid = 5, .result = AUDIT_ALLOW },
	{ .uid = 1000, .pid = 5, .version = 2, .result = AUDIT_ALLOW },
	{ .uid = 1000, .pid = 5, .name = "web", .result = AUDIT_ALLOW },
	{ .uid = 1000, .pid = 5, .binding = 8, .result = AUDIT_ALLOW },
};

START_TEST(what_differs_is_not_counted_together)
{
	struct log *l = new_log();
	const struct who w = { .uid = 1000, .pid = 5, .result = AUDIT_ALLOW };
	uint64_t seq;

	for (int i = 0; i < 300; i++)
		ck_assert_int_eq(asks(l, &w), 0);
	seq = log_seq(l);
	ck_assert_int_eq(asks(l, &differ[_i]), 0);
	ck_assert_uint_eq(log_seq(l), seq + 1);
	for (int i = 0; i < 299; i++)
		ck_assert_int_eq(asks(l, &differ[_i]), 0);
	passes(l, AUDIT_NS);
	json_t *all = records(l), *one;
	size_t i, folded = 0;
	json_array_foreach(all, i, one)
		if (number_of(one, "count") > 1) {
			ck_assert_int_eq(number_of(one, "count"), 100);
			folded++;
		}
	ck_assert_uint_eq(folded, 2);
	json_decref(all);
	done(l);
}
END_TEST

START_TEST(nothing_is_counted_of_whom_nobody_could_look_at)
{
	struct log *l = new_log();
	uint64_t seq = log_seq(l);

	log_allow(l, 500); /* the fixture's caller has no origin */
	ck_assert_uint_eq(log_seq(l), seq + 500);
	done(l);
}
END_TEST

START_TEST(changes_and_administrators_are_never_counted)
{
	struct log *l = new_log();
	const struct who put = { .uid = 1000, .pid = 5, .operation = AUDIT_SECRET_SET, .result = AUDIT_ALLOW }, look = {
		.uid = 0, .pid = 6, .operation = AUDIT_VAULT_STATUS, .result = AUDIT_ALLOW, .privileged = true
	};
	uint64_t seq = log_seq(l);

	for (int i = 0; i < 500; i++) {
		ck_assert_int_eq(asks(l, &put), 0);
		ck_assert_int_eq(asks(l, &look), 0);
	}
	ck_assert_uint_eq(log_seq(l), seq + 1000);
	done(l);
}
END_TEST

START_TEST(listings_of_one_process_are_counted_whatever_they_list)
{
	struct log *l = new_log();
	struct who w = { .uid = 1000, .pid = 5, .operation = AUDIT_SECRET_LIST_VERSIONS, .result = AUDIT_ALLOW };
	char name[32];
	uint64_t lines, bytes;
	uint32_t base;

	w.name = name;
	for (int i = 0; i < 50000; i++) {
		snprintf(name, sizeof name, "secret-%d", i);
		if (i % 2500 == 0)
			passes(l, 250 * MS);
		ck_assert_int_eq(asks(l, &w), 0);
	}
	passes(l, AUDIT_NS);
	ck_assert_uint_eq(counted(l, 1000, "allow", &lines), 50000);
	ck_assert_uint_le(lines, 20 + 10 + 5);
	ck_assert_int_eq(audit_first_segment(l->a, &base), 0);
	ck_assert_int_eq(audit_size(l->a, base, &bytes), 0);
	ck_assert_uint_lt(bytes, 64 << 10);
	json_t *all = records(l);
	ck_assert_str_eq(text_of(json_array_get(all, json_array_size(all) - 1), "secret"), "*");
	json_decref(all);
	done(l);
}
END_TEST

START_TEST(counts_survive_the_worker_and_come_to_the_file_when_it_ends)
{
	struct log *l = new_log();
	const struct who w = { .uid = 1000, .pid = 5, .result = AUDIT_ALLOW };
	uint64_t lines;

	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(asks(l, &w), 0);
	switch (_i) {
	case 0: /* killed: whoever takes over writes it before anything else */
		log_drop(l);
		ck_assert_int_eq(log_open(l), 0);
		break;
	case 1: /* stopped */
		audit_close(l->a);
		l->a = NULL;
		break;
	default: /* sealed */
		ck_assert_int_eq(audit_flush(l->a), 0);
		ck_assert_uint_eq(l->head->durable_seq, log_seq(l));
		break;
	}
	ck_assert_uint_eq(counted(l, 1000, "allow", &lines), 1000);
	ck_assert_uint_eq(lines, 201);
	log_verify_clean(l);
	done(l);
}
END_TEST

START_TEST(a_request_that_comes_again_is_counted_once)
{
	struct log *l = new_log();
	struct who w = { .uid = 1000, .pid = 5, .result = AUDIT_ALLOW };

	for (int i = 0; i < 300; i++) {
		w.unique = (uint64_t)i + 1;
		ck_assert_int_eq(asks(l, &w), 0);
	}
	w.resent = true;
	switch (_i) {
	case 0: /* killed after it was counted and noted */
		break;
	case 1: /* counted, but not noted */
		l->head->redo = (struct audit_redo){ .recent = audit_recent(300, AUDIT_SECRET_GET, AUDIT_ALLOW),
						     .repeat = 1,
						     .index = AUDIT_REPEATS - 1,
						     .count = 100 };
		l->head->fold_recents[--l->head->folded % AUDIT_RECENTS] = 0;
		break;
	default: /* not counted yet */
		l->head->redo = (struct audit_redo){ .recent = audit_recent(301, AUDIT_SECRET_GET, AUDIT_ALLOW),
						     .repeat = 1,
						     .index = AUDIT_REPEATS - 1,
						     .count = 101 };
		w.unique = 301;
		break;
	}
	ck_assert_uint_eq(l->head->repeats[AUDIT_REPEATS - 1].tally.count, 100);
	log_drop(l);
	ck_assert_int_eq(log_open(l), 0);
	ck_assert_int_eq(asks(l, &w), 0);
	passes(l, AUDIT_NS);
	ck_assert_uint_eq(counted(l, 1000, "allow", NULL), _i == 2 ? 301 : 300);
	done(l);
}
END_TEST

/* A worker that was somebody else's has written what it likes into the tables: the next one reads no further than they
 * reach, loses no count, and what it writes is a record. */
START_TEST(whoever_takes_over_believes_no_length)
{
	struct log *l = new_log();
	const struct who w = { .uid = 1000, .pid = 5, .result = AUDIT_ALLOW },
			 refused = { .uid = 2000, .pid = 6, .result = AUDIT_DENY };
	struct audit_head *h = l->head;

	for (int i = 0; i < 1300; i++)
		ck_assert_int_eq(asks(l, i < 300 ? &w : &refused), 0);
	struct audit_repeat *r = &h->repeats[AUDIT_REPEATS - 1];
	struct audit_fold *f = &h->folds[0];
	ck_assert_uint_eq(r->tally.count, 100);
	ck_assert_uint_gt(f->tally.count, 0);
	const uint64_t folded = f->tally.count;
	switch (_i) {
	case 0:
		r->caller_len = UINT16_MAX;
		break;
	case 1: /* a line of its own */
		r->caller[20] = '\n';
		break;
	case 2:
		memset(r->secret, 'a', sizeof r->secret);
		memset(r->role, 'b', sizeof r->role);
		memset(r->principal, 'c', sizeof r->principal);
		memset(f->secret, 'd', sizeof f->secret);
		break;
	case 3:
		r->operation = f->operation = UINT16_MAX;
		f->result = UINT8_MAX;
		r->tally.first = r->tally.last = f->tally.first = f->tally.last = INT64_MIN;
		break;
	default:
		r->caller_len = 0;
		break;
	}
	r->stream = UINT32_MAX;
	for (size_t i = 0; i < AUDIT_STREAMS; i++)
		h->streams[i].repeat = UINT32_MAX;
	memset(h->tampering.detail, 'e', sizeof h->tampering.detail);
	log_drop(l);
	ck_assert_int_eq(log_open(l), 0);
	log_verify_clean(l);
	size_t len;
	char *text = log_text(l, 1, &len), count[32];
	snprintf(count, sizeof count, "\"count\":%llu", (unsigned long long)folded);
	ck_assert_ptr_nonnull(strstr(text, "\"count\":100"));
	ck_assert_ptr_nonnull(strstr(text, count));
	if (_i == 2)
		for (const char *p = text; (p = strstr(p, "aaaa")); p += strspn(p, "a"))
			ck_assert_uint_lt(strspn(p, "a"), sizeof r->secret);
	free(text);
	json_decref(records(l));
	done(l);
}
END_TEST

/* Nor that a bucket stays full for ever, or that a place is taken which is free. */
START_TEST(whoever_takes_over_believes_no_bucket_that_never_empties)
{
	struct log *l = new_log();
	struct who w = { .uid = 1000, .pid = 5, .result = AUDIT_ALLOW },
		   refused = { .uid = 2000, .pid = 6, .result = AUDIT_DENY };
	uint64_t before, after;

	ck_assert_int_eq(asks(l, &w), 0);
	ck_assert_int_eq(asks(l, &refused), 0);
	for (size_t i = 0; i < AUDIT_STREAMS; i++) {
		l->head->streams[i].due = INT64_MAX;
		l->head->streams[i].repeat = 1 + (uint32_t)(i % AUDIT_REPEATS);
	}
	for (size_t i = 0; i < AUDIT_RATES; i++)
		l->head->rates[i].due = INT64_MAX;
	l->head->all_denials.due = INT64_MAX;
	for (size_t i = 0; i < AUDIT_SHARES; i++)
		l->head->shares[i].due = INT64_MAX;
	log_drop(l);
	ck_assert_int_eq(log_open(l), 0);
	clock_ns += 60 * (int64_t)AUDIT_NS;
	ck_assert_int_eq(audit_tick(l->a), 0);
	counted(l, 1000, "allow", &before);
	ck_assert_int_eq(asks(l, &w), 0);
	counted(l, 1000, "allow", &after);
	ck_assert_uint_eq(after, before + 1);
	counted(l, 2000, "deny", &before);
	ck_assert_int_eq(asks(l, &refused), 0);
	counted(l, 2000, "deny", &after);
	ck_assert_uint_eq(after, before + 1);
	/* another one's opens find a place to be counted */
	w.pid = 77;
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(asks(l, &w), 0);
	ck_assert_uint_lt(log_seq(l), 500);
	done(l);
}
END_TEST

/* One neighbour does all that it can to fill the tables: another one's opens are counted as before. */
START_TEST(no_neighbour_takes_the_places_of_another)
{
	struct log *l = new_log();
	struct who many = { .uid = 66000, .neighbour = 1000, .result = AUDIT_ALLOW },
		   honest = { .uid = 2000, .pid = 9, .result = AUDIT_ALLOW };
	uint64_t lines;

	l->config.open_burst = 2;
	log_drop(l);
	ck_assert_int_eq(log_open(l), 0);
	for (uint32_t pid = 1; pid <= 20000; pid++) {
		many.pid = pid;
		many.uid = 66000 + pid;
		for (int i = 0; i < 4; i++)
			ck_assert_int_eq(asks(l, &many), 0);
	}
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(asks(l, &honest), 0);
	passes(l, AUDIT_NS);
	ck_assert_uint_eq(counted(l, 2000, "allow", &lines), 100);
	ck_assert_uint_eq(lines, 3);
	/* likewise for what is refused: its own refusals are in one record of its own */
	many.result = honest.result = AUDIT_DENY;
	for (uint32_t pid = 1; pid <= 5000; pid++) {
		many.uid = 66000 + pid;
		ck_assert_int_eq(asks(l, &many), 0);
	}
	for (int i = 0; i < 300; i++)
		ck_assert_int_eq(asks(l, &honest), 0);
	passes(l, 11 * (int64_t)AUDIT_NS);
	ck_assert_uint_eq(counted(l, 2000, "deny", &lines), 300);
	ck_assert_uint_le(lines, 102);
	log_verify_clean(l);
	done(l);
}
END_TEST

START_TEST(a_record_costs_no_more_however_long_the_path)
{
	struct log *l = new_log();
	char path[4000];
	const struct who w = { .uid = 1000, .pid = 5, .exe = path, .result = AUDIT_DENY };
	static const char fill[] = { 'a', '\x01', '"', '\xff' };

	memset(path, fill[_i], sizeof path);
	memcpy(path + sizeof path - 13, "/usr/bin/cat", 13);
	path[0] = '/';
	ck_assert_int_eq(asks(l, &w), 0);
	json_t *all = records(l), *caller = json_object_get(json_array_get(all, json_array_size(all) - 1), "caller");
	const char *exe = text_of(caller, "exe");
	char *text = json_dumps(json_object_get(caller, "exe"), JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
	ck_assert_msg(!strncmp(exe, "...", 3) && !strcmp(exe + strlen(exe) - 12, "/usr/bin/cat"), "%s", exe);
	ck_assert_uint_le(strlen(text), AUDIT_EXE_MAX + 2);
	free(text);
	json_decref(all);
	log_verify_clean(l);
	done(l);
}
END_TEST

/* ---- an hour of it ---- */

static uint64_t log_bytes(struct log *l)
{
	uint32_t base;
	uint64_t bytes;

	ck_assert_int_eq(audit_first_segment(l->a, &base), 0);
	ck_assert_int_eq(audit_size(l->a, base, &bytes), 0);
	return bytes;
}

enum attack { ATTACK_ONE_PROCESS, ATTACK_MANY_PROCESSES, ATTACK_LISTS, ATTACK_WRITES, ATTACK_REFUSED, ATTACKS };

static void attack(struct log *l, enum attack how, uint32_t n)
{
	static char path[3000];
	struct who w = { .uid = 100000 + n % 65536, .neighbour = 1000, .pid = 4000 + n, .result = AUDIT_ALLOW };

	switch (how) {
	case ATTACK_ONE_PROCESS:
		w.uid = 1000;
		w.pid = 4000;
		break;
	case ATTACK_LISTS:
		w.operation = n % 2 ? AUDIT_SECRET_LIST : AUDIT_VAULT_STATUS;
		break;
	case ATTACK_WRITES:
		w.operation = AUDIT_SECRET_SET;
		break;
	case ATTACK_REFUSED:
		w.result = n % 3 ? AUDIT_DENY : AUDIT_ERROR;
		memset(path, 'x', sizeof path - 1);
		w.exe = path;
		break;
	case ATTACK_MANY_PROCESSES:
	case ATTACKS:
		break;
	}
	int r = asks(l, &w);
	ck_assert_msg(r == 0 || r == -EDQUOT, "%d", r);
}

/* _i: the attack. The first record of the log is there in the end, and each access of another neighbour, of an
 * administrator and of the daemon is recorded; the log stays within bounds. */
START_TEST(an_hour_at_full_speed_pushes_out_nothing)
{
	struct log *l = log_new(in_memory());
	const uint64_t cap = 4 << 20;
	struct who honest = { .uid = 2000, .result = AUDIT_ALLOW },
		   admin = { .uid = 0,
			     .pid = 1,
			     .operation = AUDIT_BINDING_DELETE,
			     .result = AUDIT_ALLOW,
			     .privileged = true },
		   refused = { .uid = 3000, .pid = 8, .result = AUDIT_DENY };
	uint64_t honest_opens = 0, n = 0;
	struct audit_state s;

	clock_ns = 1;
	l->config.segment_size = 65536;
	l->config.keep_bytes = l->keep_bytes = cap / AUDIT_CAP_FACTOR;
	l->config.keep_seconds = l->keep_seconds = 30 * 86400;
	ck_assert_int_eq(log_open(l), 0);
	for (int second = 0; second < 3600; second++) {
		for (int tick = 0; tick < 4; tick++) {
			for (int i = 0; i < 50; i++)
				attack(l, (enum attack)_i, (uint32_t)n++);
			passes(l, 250 * MS);
		}
		if (second % 10 == 0) {
			honest.pid = (uint32_t)second;
			ck_assert_int_eq(asks(l, &honest), 0);
			honest_opens++;
			ck_assert_int_eq(asks(l, &refused), 0);
			ck_assert_int_eq(asks(l, &admin), 0);
		}
	}
	passes(l, 2 * (int64_t)AUDIT_NS);
	ck_assert_uint_eq(counted(l, 2000, "allow", &n), honest_opens);
	ck_assert_uint_eq(n, honest_opens);
	ck_assert_uint_eq(counted(l, 3000, "deny", NULL), honest_opens);
	ck_assert_uint_eq(counted(l, 0, "allow", NULL), honest_opens + 1); /* and VaultCreate */
	ck_assert_uint_eq(audit_at(l->head)->oldest, 1);                   /* nothing went */
	audit_state(l->a, &s);
	ck_assert_int_eq(s.failing, 0);
	ck_assert_msg(log_bytes(l) <= cap + (1 << 20), "%llu bytes", (unsigned long long)log_bytes(l));
	if (_i == ATTACK_WRITES || _i == ATTACK_MANY_PROCESSES) {
		ck_assert(s.at_cap);
		ck_assert_uint_gt(s.refused, 100000);
		ck_assert_uint_eq(s.heaviest, 1000);
		ck_assert_uint_ge(s.heaviest_percent, 99);
	}
	log_verify_clean(l);
	done(l);
}
END_TEST

/* What was refused has left a count, and whoever has used up a share goes on at its rate. */
START_TEST(who_has_used_up_a_share_is_refused_alone_and_not_for_ever)
{
	struct log *l = log_new(in_memory());
	struct who greedy = { .uid = 1000, .operation = AUDIT_SECRET_SET, .result = AUDIT_ALLOW },
		   other = { .uid = 2000, .operation = AUDIT_SECRET_SET, .result = AUDIT_ALLOW };
	int r = 0, n = 0, passed = 0;

	clock_ns = 1;
	l->config.keep_bytes = 256 << 10;
	l->config.keep_seconds = 86400;
	ck_assert_int_eq(log_open(l), 0);
	while ((r = asks(l, &greedy)) == 0 && ++n < 100000)
		if (n % 100 == 0)
			passes(l, 250 * MS);
	ck_assert_int_eq(r, -EDQUOT);
	ck_assert_uint_ge(log_bytes(l), 1 << 20);
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(asks(l, &other), 0);
	passes(l, 3600 * (int64_t)AUDIT_NS);
	/* a twenty-fourth of a share of 128 KiB has grown old: some ten records */
	while (asks(l, &greedy) == 0)
		passed++;
	ck_assert_int_ge(passed, 4);
	ck_assert_int_le(passed, 20);
	ck_assert_uint_ge(counted(l, 1000, "error", NULL), 1);
	log_verify_clean(l);
	done(l);
}
END_TEST

static bool is_no_namespace(uint64_t neighbour) { return neighbour >> 56 == 0; }

/* The daemon ends, and its memory with it. */
static void restarts(struct log *l)
{
	audit_close(l->a);
	l->a = NULL;
	memset(l->head, 0, sizeof *l->head);
	ck_assert_int_eq(log_open(l), 0);
}

static uint32_t heaviest(struct log *l, uint64_t *ret_neighbour)
{
	struct audit_state s;

	audit_state(l->a, &s);
	*ret_neighbour = s.heaviest;
	return s.heaviest_percent;
}

START_TEST(who_has_written_its_share_has_written_it_after_a_restart_too)
{
	struct log *l = log_new(in_memory());
	struct who greedy = { .uid = 1000, .operation = AUDIT_SECRET_SET, .result = AUDIT_ALLOW },
		   other = { .uid = 2000, .operation = AUDIT_SECRET_SET, .result = AUDIT_ALLOW };
	const uint8_t boot[AUDIT_BOOT_LEN] = { 1 }, another[AUDIT_BOOT_LEN] = { 2 };
	char path[400];
	uint64_t who;
	int r = 0, n = 0;

	clock_ns = 1;
	l->config.keep_bytes = 256 << 10;
	l->config.keep_seconds = 86400;
	l->config.boot = boot;
	l->config.lasts = is_no_namespace;
	snprintf(path, sizeof path, "%s/log-shares", l->dir);
	l->config.shares_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_gt(l->config.shares_fd, 0);
	ck_assert_int_eq(log_open(l), 0);
	while ((r = asks(l, &greedy)) == 0 && ++n < 100000)
		if (n % 100 == 0)
			passes(l, 250 * MS);
	ck_assert_int_eq(r, -EDQUOT);
	restarts(l);
	ck_assert_int_eq(asks(l, &greedy), -EDQUOT);
	ck_assert_int_eq(asks(l, &other), 0);
	/* killed, with all its memory, after the last time that it was saved */
	passes(l, 11 * (int64_t)AUDIT_NS);
	log_drop(l);
	memset(l->head, 0, sizeof *l->head);
	ck_assert_int_eq(log_open(l), 0);
	ck_assert_uint_ge(heaviest(l, &who), 99);
	ck_assert_uint_eq(who, 1000);
	/* a torn slot: the one before it is as good as it was */
	audit_close(l->a);
	l->a = NULL;
	memset(l->head, 0, sizeof *l->head);
	ck_assert_int_eq(pwrite(l->config.shares_fd, "torn", 4, 100), 4);
	ck_assert_int_eq(log_open(l), 0);
	ck_assert_uint_ge(heaviest(l, &who), 98);
	/* in another boot a namespace is another one's */
	pthread_mutex_lock(&l->a->lock);
	for (int i = 0; i < 200; i++)
		audit_share_add(l->a, UINT64_C(2) << 56 | 7, AUDIT_LINE_MAX);
	pthread_mutex_unlock(&l->a->lock);
	restarts(l);
	ck_assert_uint_ge(heaviest(l, &who), 99);
	ck_assert_uint_eq(who, UINT64_C(2) << 56 | 7);
	l->config.boot = another;
	restarts(l);
	ck_assert_uint_ge(heaviest(l, &who), 98);
	ck_assert_uint_eq(who, 1000);
	/* nothing that makes sense is nothing */
	audit_close(l->a);
	l->a = NULL;
	memset(l->head, 0, sizeof *l->head);
	ck_assert_int_eq(ftruncate(l->config.shares_fd, 0), 0);
	ck_assert_int_eq(pwrite(l->config.shares_fd, path, sizeof path, 0), (ssize_t)sizeof path);
	ck_assert_int_eq(log_open(l), 0);
	ck_assert_int_eq(asks(l, &greedy), 0);
	log_verify_clean(l);
	close(l->config.shares_fd);
	done(l);
}
END_TEST

START_TEST(without_a_promise_nobody_is_refused)
{
	struct log *l = log_new(in_memory());
	const struct who greedy = { .uid = 1000, .operation = AUDIT_SECRET_SET, .result = AUDIT_ALLOW };

	clock_ns = 1;
	l->config.segment_size = 8192;
	l->config.keep_bytes = l->keep_bytes = 16384;
	ck_assert_int_eq(log_open(l), 0);
	for (int i = 0; i < 2000; i++) {
		ck_assert_int_eq(asks(l, &greedy), 0);
		if (i % 10 == 0)
			ck_assert_int_eq(audit_tick(l->a), 0);
	}
	ck_assert_uint_gt(audit_at(l->head)->oldest, 10); /* size alone counts */
	log_verify_clean(l);
	done(l);
}
END_TEST

/* The disk is smaller than the log may be. In a mount namespace of its own. */
START_TEST(a_disk_that_is_nearly_full_is_left_to_others)
{
	char where[] = "/tmp/coffer-flood-XXXXXX";
	struct who greedy = { .uid = 1000, .operation = AUDIT_SECRET_SET, .result = AUDIT_ALLOW },
		   other = { .uid = 2000, .operation = AUDIT_SECRET_SET, .result = AUDIT_ALLOW };
	struct audit_state s;
	int r = 0, n = 0;

	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0)
		return;
	ck_assert_int_eq(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	ck_assert_ptr_nonnull(mkdtemp(where));
	ck_assert_int_eq(mount("tmpfs", where, "tmpfs", 0, "size=32m"), 0);
	struct log *l = log_new(where);
	clock_ns = 1;
	l->config.keep_bytes = 1 << 30;
	l->config.keep_seconds = 30 * 86400;
	ck_assert_int_eq(log_open(l), 0);
	while ((r = asks(l, &greedy)) == 0 && ++n < 1000000)
		if (n % 100 == 0)
			ck_assert_int_eq(audit_tick(l->a), 0);
	ck_assert_int_eq(r, -EDQUOT);
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(asks(l, &other), 0);
	audit_state(l->a, &s);
	ck_assert(s.at_cap);
	ck_assert_int_eq(s.failing, 0);
	log_verify_clean(l);
	done(l);
	ck_assert_int_eq(umount(where), 0);
	ck_assert_int_eq(rmdir(where), 0);
}
END_TEST

int main(void)
{
	TCase *counting = tcase_create("counting"), *shares = tcase_create("shares");
	TCase *all[] = { counting, shares };

	crypto_init();
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		tcase_set_timeout(all[i], 300);
	tcase_add_test(counting, each_open_has_its_record_up_to_the_rate);
	tcase_add_test(counting, what_one_process_opens_beyond_it_is_counted_within_a_second);
	tcase_add_loop_test(counting, what_differs_is_not_counted_together, 0, sizeof differ / sizeof differ[0]);
	tcase_add_test(counting, nothing_is_counted_of_whom_nobody_could_look_at);
	tcase_add_test(counting, changes_and_administrators_are_never_counted);
	tcase_add_test(counting, listings_of_one_process_are_counted_whatever_they_list);
	tcase_add_loop_test(counting, counts_survive_the_worker_and_come_to_the_file_when_it_ends, 0, 3);
	tcase_add_loop_test(counting, a_request_that_comes_again_is_counted_once, 0, 3);
	tcase_add_loop_test(counting, whoever_takes_over_believes_no_length, 0, 5);
	tcase_add_test(counting, whoever_takes_over_believes_no_bucket_that_never_empties);
	tcase_add_test(counting, no_neighbour_takes_the_places_of_another);
	tcase_add_loop_test(counting, a_record_costs_no_more_however_long_the_path, 0, 4);
	tcase_add_loop_test(shares, an_hour_at_full_speed_pushes_out_nothing, 0, ATTACKS);
	tcase_add_test(shares, who_has_used_up_a_share_is_refused_alone_and_not_for_ever);
	tcase_add_test(shares, who_has_written_its_share_has_written_it_after_a_restart_too);
	tcase_add_test(shares, without_a_promise_nobody_is_refused);
	tcase_add_test(shares, a_disk_that_is_nearly_full_is_left_to_others);
	return suite_run(all, sizeof all / sizeof all[0], "audit floods");
}
