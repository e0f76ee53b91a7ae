/* Requests, on a real store, a real log and a file: key in a temporary directory. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/ctl/backups.h"
#include "fs/ctl/ctl.h"
#include "fs/common/exitcode.h"
#include "fs/serve/name_change.h"
#include "fs/serve/record.h"
#include "fs/shared/shared.h"
#include "fs/common/timefmt.h"
#include "store/core/transaction.h"
#include "store/grants/grants.h"
#include "store/keys/envelope.h"
#include "store/keys/keys.h"
#include "store/keys/vaultconf.h"
#include "store/objects/objects.h"
#include "store/objects/stages.h"
#include "store/store.h"

/* ---- the vault of each test ---- */

static struct {
	char dir[64];
	struct vaultconf conf;
	struct keys *keys;
	struct store *store;
	struct audit *audit;
	int audit_fd, head_fd, segment_fd;
	struct audit_head head;
	uint8_t stage_key[KEY_LEN];
	struct ctl_env env;
	unsigned changed, sealings;
	unsigned ids;
	uint64_t unique;
} v;

static struct identity admin, alice, bob;

static void on_changed(void *arg)
{
	(void)arg;
	v.changed++;
}

static int on_seal(void *arg)
{
	(void)arg;
	v.sealings++;
	store_lock(v.store);
	return 0;
}

static int on_segment_open(void *arg, uint32_t number, bool create, int *ret_fd)
{
	int r = audit_segment_open_at(v.audit_fd, number, create, (uint32_t)getgid(), &v.segment_fd);

	(void)arg;
	if (r == 0)
		*ret_fd = v.segment_fd;
	return r;
}

static void make_identity(struct identity *i, uint32_t uid)
{
	*i = (struct identity){
		.refs = 1, .uid = uid, .gid = uid, .tid = 100, .tgid = 100, .user_ns = 1, .host = true, .full = true
	};
	i->policy = (struct policy_caller){ .uid = uid, .gid = uid, .host = true };
	i->audit = (struct audit_caller){ .uid = uid, .gid = uid, .pid = 100, .loginuid = -1, .comm = "test" };
	audit_caller_render(&i->audit);
}

static void make_vault(void)
{
	char why[512] = "", uri[128], path[128], verify[128], params[KEK_PARAMS_MAX] = "";
	struct store_settings settings = { .retention_days = 90, .value_max = VALUE_MAX };
	struct wrap_context ctx = { .type = WRAP_VAULT_KEY };
	struct kek_source source = { .uri = uri, .fd = -1 };
	struct principal root;
	uint8_t key[KEY_LEN];
	struct kek *kek;

	strcpy(v.dir, "/tmp/coffer-ctl-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(v.dir));
	snprintf(uri, sizeof(uri), "file:%s/kek", v.dir);
	ck_assert_msg(kek_create(&source, params, &kek, why, sizeof(why)) == 0, "%s", why);
	strcpy(v.conf.name, "test");
	memset(v.conf.id, 7, sizeof(v.conf.id));
	strcpy(v.conf.kek, uri);
	memcpy(ctx.vault, v.conf.id, sizeof(ctx.vault));
	ck_assert_int_eq(wrap_new(kek, &ctx, key, v.conf.vault_record, &v.conf.vault_record_len), 0);
	ck_assert_int_eq(keys_new_local(kek, &v.keys), 0);
	ck_assert_int_eq(principal_parse("user:0,host", NULL, NULL, &root), 0);
	snprintf(path, sizeof(path), "%s/store", v.dir);
	ck_assert_int_eq(mkdir(path, 0755), 0);
	ck_assert_msg(store_create(path, &v.conf, v.keys, &settings, &root, 1, getuid(), getgid(), why, sizeof(why)) ==
			      0,
		      "%s", why);
	snprintf(verify, sizeof(verify), "%s/verify", v.dir);
	ck_assert_msg(audit_create(path, verify, "test", getgid(), why, sizeof(why)) == 0, "%s", why);
}

static void open_vault(void)
{
	char why[512] = "", path[128];
	struct store_config config = { .dir = path, .conf = &v.conf, .stage_key = v.stage_key };
	struct audit_config log = { .head = &v.head,
				    .vault = "test",
				    .host = "here",
				    .deny_rate = 1000,
				    .deny_burst = 1000,
				    .segment_open = on_segment_open };

	snprintf(path, sizeof(path), "%s/store", v.dir);
	ck_assert_msg(store_open(&config, &v.store, why, sizeof(why)) == 0, "%s", why);
	ck_assert_msg(store_unlock(v.store, v.keys, why, sizeof(why)) == 0, "%s", why);
	snprintf(path, sizeof(path), "%s/store/audit", v.dir);
	log.dir_fd = v.audit_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	log.head_fd = v.head_fd = openat(v.audit_fd, "head", O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(v.head_fd, 0);
	ck_assert_msg(audit_open(&log, &v.audit, why, sizeof(why)) == 0, "%s", why);
}

static void setup(void)
{
	memset(&v, 0, sizeof(v));
	v.unique = 1000;
	ck_assert_int_eq(secmem_init(8 << 20, SECMEM_AUTO), 0);
	ck_assert_int_eq(crypto_init(), 0);
	make_identity(&admin, 0);
	make_identity(&alice, 1000);
	make_identity(&bob, 1001);
	make_vault();
	open_vault();
	v.env = (struct ctl_env){ .vault = "test",
				  .store = v.store,
				  .audit = v.audit,
				  .keys = v.keys,
				  .shared = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE,
						 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
				  .changed = on_changed,
				  .seal = on_seal };
	ck_assert_ptr_ne(v.env.shared, MAP_FAILED);
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void teardown(void)
{
	audit_close(v.audit);
	close(v.audit_fd);
	close(v.head_fd);
	store_close(v.store);
	keys_free(v.keys);
	munmap(v.env.shared, sizeof(struct shared));
	nftw(v.dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- asking ---- */

static json_t *answer_to(const struct identity *who, const struct ctl_request *request)
{
	char *answer = NULL;
	size_t answer_len = 0;
	json_t *o;

	ck_assert_int_eq(ctl_execute(&v.env, who, request, &answer, &answer_len), 0);
	ck_assert_uint_eq(strlen(answer), answer_len);
	ck_assert_int_eq(answer[answer_len - 1], '\n');
	ck_assert_ptr_eq(strchr(answer, '\n'), answer + answer_len - 1);
	o = json_loadb(answer, answer_len, JSON_REJECT_DUPLICATES, NULL);
	ck_assert_msg(json_is_object(o), "%s", answer);
	ck_assert(json_is_boolean(json_object_get(o, "ok")));
	free(answer);
	return o;
}

static json_t *execute(const struct identity *who, const char *line, size_t len, uint64_t stage, uint64_t value_len)
{
	const struct ctl_request request = {
		.line = line, .len = len, .stage = stage, .value_len = value_len, .unique = v.unique++
	};
	return answer_to(who, &request);
}

static json_t *ask(const struct identity *who, const char *line) { return execute(who, line, strlen(line), 0, 0); }

static void with_id(const char *line, unsigned id, char *ret, size_t len)
{
	snprintf(ret, len, "{\"id\":\"%032x\",%s", id, line + 1);
}

/* The line, which begins with a brace, under a new id. */
static json_t *change(const struct identity *who, const char *line)
{
	char buf[4096];

	with_id(line, ++v.ids, buf, sizeof(buf));
	return ask(who, buf);
}

static uint64_t stage(const void *value, size_t len)
{
	uint64_t id;

	ck_assert_int_eq(store_stage_new(v.store, &id), 0);
	for (size_t at = 0; at < len; at += 100000)
		ck_assert_int_eq(store_stage_write(v.store, id, ++v.unique, at, (const char *)value + at,
						   len - at < 100000 ? len - at : 100000),
				 0);
	return id;
}

static json_t *put_value_as(const struct identity *who, const char *name, const void *value, size_t len, unsigned id)
{
	char line[256], buf[512];

	snprintf(line, sizeof(line), "{\"op\":\"put\",\"name\":\"%s\",\"value_length\":%zu}", name, len);
	with_id(line, id, buf, sizeof(buf));
	return execute(who, buf, strlen(buf), len ? stage(value, len) : 0, len);
}

static json_t *put(const struct identity *who, const char *name, const char *value)
{
	return put_value_as(who, name, value, strlen(value), ++v.ids);
}

static void ok(json_t *answer)
{
	char *text = json_dumps(answer, 0);

	ck_assert_msg(json_is_true(json_object_get(answer, "ok")), "%s", text);
	free(text);
	json_decref(answer);
}

static json_t *must(json_t *answer)
{
	json_incref(answer);
	ok(answer);
	return answer;
}

static json_int_t number(json_t *answer, const char *key)
{
	const json_t *o = json_object_get(answer, key);

	ck_assert_msg(json_is_integer(o), "%s", key);
	return json_integer_value(o);
}

static const char *string(const json_t *answer, const char *key)
{
	const char *s = json_string_value(json_object_get(answer, key));

	ck_assert_msg(s != NULL, "%s", key);
	return s;
}

/* The answer is this error, and says so in one line. */
static void fails(json_t *answer, const char *error, int status, const char *word)
{
	char *text = json_dumps(answer, 0);

	ck_assert_msg(json_is_false(json_object_get(answer, "ok")), "%s", text);
	ck_assert_msg(!strcmp(string(answer, "errno"), error), "%s", text);
	ck_assert_msg(number(answer, "exit") == status, "%s", text);
	ck_assert_msg(strstr(string(answer, "message"), word) != NULL, "%s lacks %s", text, word);
	string(answer, "hint");
	free(text);
	json_decref(answer);
}

/* ---- the log ---- */

static json_t *records(void)
{
	json_t *list = json_array();
	uint32_t base;
	uint64_t size;
	size_t n, at = 0;
	char *text, *line, *rest;

	ck_assert_int_eq(audit_first_segment(v.audit, &base), 0);
	ck_assert_int_eq(audit_size(v.audit, base, &size), 0);
	text = calloc(1, size + 1);
	ck_assert_ptr_nonnull(text);
	for (; at < size; at += n) {
		ck_assert_int_eq(audit_read(v.audit, base, at, text + at, size - at, &n), 0);
		ck_assert_uint_gt(n, 0);
	}
	rest = text;
	while ((line = strsep(&rest, "\n")))
		if (*line) {
			json_t *o = json_loads(line, 0, NULL);
			ck_assert_msg(o != NULL, "%s", line);
			json_array_append_new(list, o);
		}
	free(text);
	return list;
}

static size_t n_records(void)
{
	json_t *list = records();
	size_t n = json_array_size(list);

	json_decref(list);
	return n;
}

/* The last record is of this operation, result and secret. */
static void recorded(const char *operation, const char *result, const char *secret, uint32_t uid)
{
	json_t *list = records(), *last = json_array_get(list, json_array_size(list) - 1);
	char *text = json_dumps(last, 0);

	ck_assert_msg(!strcmp(string(last, "operation"), operation), "%s is not %s", text, operation);
	ck_assert_msg(!strcmp(string(last, "result"), result), "%s is not %s", text, result);
	if (secret)
		ck_assert_msg(!strcmp(string(last, "secret"), secret), "%s", text);
	ck_assert_msg(number(json_object_get(last, "caller"), "uid") == uid, "%s", text);
	free(text);
	json_decref(list);
}

static void grant(const char *role, const char *principal, const char *on)
{
	char line[512];

	snprintf(line, sizeof(line), "{\"op\":\"grant\",\"role\":\"%s\",\"principal\":\"%s\",\"on\":\"%s\"}", role,
		 principal, on);
	ok(change(&admin, line));
}

static void value_is(const char *name, uint32_t version, const char *expected)
{
	struct secbuf *b = NULL;
	uint32_t id;

	store_rdlock(v.store);
	ck_assert_ptr_nonnull(store_find(v.store, name));
	id = store_find(v.store, name)->id;
	store_unlock_tables(v.store);
	ck_assert_int_eq(store_version_read(v.store, id, version, &b), 0);
	ck_assert_uint_eq(secbuf_len(b), strlen(expected));
	ck_assert_int_eq(memcmp(secbuf_cdata(b), expected, strlen(expected)), 0);
	secbuf_free(b);
}

/* ---- parsing ---- */

START_TEST(refuses_lines_that_are_no_request)
{
	static const struct {
		const char *line, *word;
	} t[] = {
		{ "", "JSON" },
		{ "hello", "JSON" },
		{ "{", "JSON" },
		{ "[]", "object" },
		{ "\"x\"", "JSON" },
		{ "null", "JSON" },
		{ "{\"op\":\"roles\"} x", "JSON" },
		{ "{\"op\":\"roles\",\"op\":\"roles\"}", "twice" },
		{ "{\"op\":\"ro\\u0000les\"}", "JSON" },
		{ "{\"op\":\"\xff\"}", "JSON" },
		{ "{\"op\":[[[[[1]]]]]}", "deeper" },
		{ "{}", "op" },
		{ "{\"op\":7}", "op" },
		{ "{\"op\":\"fly\"}", "\"fly\"" },
		{ "{\"op\":\"roles\",\"colour\":1}", "colour" },
		{ "{\"op\":\"show\"}", "name" },
		{ "{\"op\":\"show\",\"name\":7}", "name: a string" },
		{ "{\"op\":\"show\",\"name\":null}", "name" },
		{ "{\"op\":\"show\",\"name\":\"a/b\"}", "a/b" },
		{ "{\"op\":\"show\",\"name\":\".x\"}", ".x" },
		{ "{\"op\":\"show\",\"name\":\"\"}", "name" },
		{ "{\"op\":\"seal\"}", "id" },
		{ "{\"op\":\"seal\",\"id\":\"1\"}", "id" },
		{ "{\"op\":\"seal\",\"id\":7}", "id" },
		{ "{\"op\":\"seal\",\"id\":\"0123456789012345678901234567890g\"}", "id" },
		{ "{\"op\":\"seal\",\"id\":\"012345678901234567890123456789012\"}", "id" },
		{ "{\"op\":\"list\",\"deleted\":1}", "deleted: true or false" },
		{ "{\"op\":\"list\",\"value_length\":1}", "value_length" },
		{ "{\"op\":\"can-i\",\"action\":\"secrets/fly\",\"name\":\"a\"}", "secrets/fly" },
		{ "{\"op\":\"can-i\",\"action\":\"secrets/get\",\"name\":\"a*b\"}", "a*b" },
	};
	size_t before = n_records();

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		fails(ask(&admin, t[i].line), "EINVAL", EXIT_USAGE, t[i].word);
	ck_assert_uint_eq(n_records(), before);
}
END_TEST

START_TEST(refuses_values_of_changes_that_make_no_sense)
{
	static const struct {
		const char *line, *word;
	} t[] = {
		{ "{\"op\":\"put\",\"name\":\"a\"}", "value_length" },
		{ "{\"op\":\"put\",\"name\":\"a\",\"value_length\":-1}", "value_length" },
		{ "{\"op\":\"put\",\"name\":\"a\",\"value_length\":5}", "5 bytes were announced and 0 came" },
		{ "{\"op\":\"put\",\"name\":\"a\",\"value_length\":0,\"expires\":\"tomorrow\"}", "tomorrow" },
		{ "{\"op\":\"put\",\"name\":\"a\",\"value_length\":0,\"expires\":\"2026-02-30T00:00:00Z\"}",
		  "expires" },
		{ "{\"op\":\"put\",\"name\":\"a\",\"value_length\":0,\"expires\":\"1h\",\"not_before\":\"2h\"}",
		  "expires" },
		{ "{\"op\":\"put\",\"name\":\"a\",\"value_length\":0,\"tags\":{\"k\":1}}", "\"k\"" },
		{ "{\"op\":\"put\",\"name\":\"a\",\"value_length\":0,\"tags\":{\"\":\"x\"}}", "tags" },
		{ "{\"op\":\"put\",\"name\":\"a\",\"value_length\":0,\"tags\":{\"k\":\"a\\nb\"}}", "\"k\"" },
		{ "{\"op\":\"put\",\"name\":\"a\",\"value_length\":0,\"content_type\":\"a\\u0007\"}", "content_type" },
		{ "{\"op\":\"attr\",\"name\":\"a\"}", "one of" },
		{ "{\"op\":\"attr\",\"name\":\"a\",\"version\":0,\"expires\":null}", "version" },
		{ "{\"op\":\"rollback\",\"name\":\"a\"}", "version" },
		{ "{\"op\":\"rollback\",\"name\":\"a\",\"version\":5000000000}", "version" },
		{ "{\"op\":\"grant\",\"role\":\"reader\",\"principal\":\"user:bob\",\"on\":\"a\"}", "user:bob" },
		{ "{\"op\":\"grant\",\"role\":\"reader\",\"principal\":\"user:4294967295\",\"on\":\"a\"}",
		  "principal" },
		{ "{\"op\":\"grant\",\"role\":\"reader\",\"principal\":\"user:1\",\"on\":\"**\"}", "**" },
		{ "{\"op\":\"grant\",\"role\":\"reader\",\"principal\":\"user:1\",\"on\":\"a\",\"until\":\"2001-01-"
		  "01T00:00:00Z\"}",
		  "until" },
		{ "{\"op\":\"grant\",\"role\":\"reader\",\"principal\":\"user:1\",\"on\":\"a\",\"until\":\"1h\","
		  "\"from\":\"2h\"}",
		  "until" },
		{ "{\"op\":\"revoke\"}", "role" },
		{ "{\"op\":\"revoke\",\"binding\":1,\"role\":\"reader\"}", "binding" },
		{ "{\"op\":\"revoke\",\"binding\":0}", "binding" },
		{ "{\"op\":\"role-create\",\"name\":\"Bad\",\"actions\":[\"secrets/get\"]}", "Bad" },
		{ "{\"op\":\"role-create\",\"name\":\"x\",\"actions\":[]}", "actions" },
		{ "{\"op\":\"role-create\",\"name\":\"x\",\"actions\":[\"secrets/fly\"]}", "secrets/fly" },
		{ "{\"op\":\"role-create\",\"name\":\"x\",\"actions\":[7]}", "actions" },
		{ "{\"op\":\"put-set\",\"value_length\":0,\"items\":[]}", "1 to 256" },
		{ "{\"op\":\"put-set\",\"value_length\":0,\"items\":[7]}", "items" },
		{ "{\"op\":\"put-set\",\"value_length\":0,\"items\":[{\"name\":\"db\"}]}", "items" },
		{ "{\"op\":\"put-set\",\"value_length\":0,\"items\":[{\"name\":\"db\",\"value_length\":0,\"x\":1}]}",
		  "items" },
		{ "{\"op\":\"put-set\",\"value_length\":0,\"items\":[{\"name\":\".db\",\"value_length\":0}]}",
		  "secret's name" },
		{ "{\"op\":\"put-set\",\"value_length\":1,\"items\":[{\"name\":\"db\",\"value_length\":0}]}",
		  "announced" },
		{ "{\"op\":\"put-set\",\"value_length\":0,\"items\":[{\"name\":\"db\",\"value_length\":0},{\"name\":"
		  "\"db\",\"value_length\":0}]}",
		  "twice" },
		{ "{\"op\":\"vault\"}", "one of" },
		{ "{\"op\":\"vault\",\"value_max\":0}", "value_max" },
		{ "{\"op\":\"vault\",\"value_max\":1048577}", "value_max" },
	};
	size_t before = n_records();

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		fails(change(&admin, t[i].line), "EINVAL", EXIT_USAGE, t[i].word);
	ck_assert_uint_eq(n_records(), before);
	ck_assert_uint_eq(v.changed, 0);
}
END_TEST

START_TEST(reads_the_length_of_the_value_that_follows)
{
	static const struct {
		const char *line;
		int r;
		uint64_t len;
	} t[] = {
		{ "{\"op\":\"put\",\"value_length\":5}", 0, 5 },
		{ "{\"op\":\"put\",\"value_length\":0}", 0, 0 },
		{ "{\"op\":\"list\"}", 0, 0 },
		{ "{\"op\":\"put\",\"value_length\":1048576}", 0, 1048576 },
		{ "{\"op\":\"put\",\"value_length\":1048577}", -EFBIG, 0 },
		{ "{\"op\":\"put-set\",\"value_length\":16777216}", 0, 16777216 },
		{ "{\"op\":\"put-set\",\"value_length\":16777217}", -EFBIG, 0 },
		{ "{\"op\":\"list\",\"value_length\":5}", -EINVAL, 0 },
		{ "{\"value_length\":5}", -EINVAL, 0 },
		{ "{\"op\":\"put\",\"value_length\":\"5\"}", -EINVAL, 0 },
		{ "{\"op\":\"put\",\"value_length\":1e2}", -EINVAL, 0 },
		{ "nonsense", -EINVAL, 0 },
	};
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		char why[256] = "";
		uint64_t len = 0;
		ck_assert_msg(ctl_value_length(t[i].line, strlen(t[i].line), &len, why, sizeof(why)) == t[i].r, "%s",
			      t[i].line);
		ck_assert_uint_eq(len, t[i].len);
		ck_assert_int_eq(t[i].r < 0, why[0] != '\0');
	}
}
END_TEST

START_TEST(refuses_lines_that_are_too_long)
{
	size_t len = CTL_LINE_MAX;
	char *line = malloc(len);

	memset(line, ' ', len);
	memcpy(line, "{\"op\":\"roles\"}", 14);
	fails(execute(&admin, line, len, 0, 0), "EINVAL", EXIT_USAGE, "longer");
	ok(execute(&admin, line, len - 1, 0, 0));
	free(line);
}
END_TEST

/* ---- put ---- */

START_TEST(put_makes_secret_and_versions)
{
	json_t *a = must(put(&admin, "db", "one"));

	ck_assert_int_eq(number(a, "version"), 1);
	ck_assert(json_is_true(json_object_get(a, "created_secret")));
	ck_assert_str_eq(string(a, "name"), "db");
	json_decref(a);
	recorded("SecretSet", "allow", "db", 0);
	a = must(put(&admin, "db", "two"));
	ck_assert_int_eq(number(a, "version"), 2);
	ck_assert(json_is_false(json_object_get(a, "created_secret")));
	json_decref(a);
	ok(put(&admin, "empty", ""));
	value_is("db", 1, "one");
	value_is("db", 2, "two");
	value_is("empty", 1, "");
	ck_assert_uint_eq(v.changed, 3);
}
END_TEST

START_TEST(put_keeps_attributes)
{
	json_t *a, *s;

	ok(change(&admin, "{\"op\":\"put\",\"name\":\"db\",\"value_length\":0,\"content_type\":\"text/"
			  "plain\",\"not_before\":\"2026-01-01T00:00:00Z\","
			  "\"expires\":\"2200-01-01T02:00:00+02:00\",\"tags\":{\"b\":\"2\",\"a\":\"\xc3\xa4\"}}"));
	a = must(ask(&admin, "{\"op\":\"show\",\"name\":\"db\"}"));
	s = json_object_get(a, "secret");
	ck_assert_str_eq(string(s, "content_type"), "text/plain");
	ck_assert_str_eq(string(s, "not_before"), "2026-01-01T00:00:00Z");
	ck_assert_str_eq(string(s, "expires"), "2200-01-01T00:00:00Z");
	ck_assert_str_eq(string(json_object_get(s, "tags"), "a"), "\xc3\xa4");
	ck_assert_int_eq(number(s, "version"), 1);
	ck_assert_int_eq(number(s, "versions"), 1);
	ck_assert_int_eq(number(s, "size"), 0);
	ck_assert_int_gt(number(s, "binding"), 0);
	ck_assert(json_is_true(json_object_get(s, "enabled")));
	json_decref(a);
	recorded("SecretList", "allow", "db", 0);
}
END_TEST

START_TEST(put_without_the_right_is_denied_and_recorded)
{
	json_t *a = put(&alice, "db", "one");

	ck_assert_msg(strstr(string(a, "hint"), "coffer grant secrets-writer user:1000 --on db;") != NULL, "%s",
		      string(a, "hint"));
	ck_assert_msg(strstr(string(a, "hint"), "can-i secrets/set db") != NULL, "%s", string(a, "hint"));
	fails(a, "EACCES", EXIT_DENIED, "secrets/set on db");
	recorded("SecretSet", "deny", "db", 1000);
	ck_assert_uint_eq(v.changed, 0);
	store_rdlock(v.store);
	ck_assert_ptr_null(store_find(v.store, "db"));
	store_unlock_tables(v.store);
}
END_TEST

START_TEST(put_beyond_the_vaults_limit_names_it)
{
	const char *line =
		"{\"op\":\"put\",\"id\":\"0123456789abcdef0123456789ABCDEF\",\"name\":\"db\",\"value_length\":5}";
	uint64_t early = stage("12345", 5);

	ok(change(&admin, "{\"op\":\"vault\",\"value_max\":4}"));
	recorded("VaultUpdate", "allow", NULL, 0);
	fails(execute(&admin, line, strlen(line), early, 5), "EFBIG", EXIT_ERROR, "limit is 4");
	recorded("SecretSet", "error", "db", 0);
	ok(put(&admin, "db", "1234"));
}
END_TEST

START_TEST(put_to_a_disabled_secret_is_denied)
{
	ok(put(&admin, "db", "one"));
	ok(change(&admin, "{\"op\":\"disable\",\"name\":\"db\"}"));
	fails(put(&admin, "db", "two"), "EACCES", EXIT_DENIED, "disabled");
	recorded("SecretSet", "error", "db", 0);
}
END_TEST

START_TEST(put_takes_a_large_value)
{
	size_t len = 700001;
	char *value = malloc(len + 1);

	memset(value, 'x', len);
	value[len] = '\0';
	ok(put(&admin, "big", value));
	value_is("big", 1, value);
	free(value);
}
END_TEST

/* ---- repeating ---- */

START_TEST(a_repeated_request_happens_once)
{
	json_t *a = must(put_value_as(&admin, "db", "one", 3, 77)), *b;
	size_t n = n_records();

	b = must(put_value_as(&admin, "db", "one", 3, 77));
	ck_assert(json_equal(a, b));
	json_decref(a);
	json_decref(b);
	ck_assert_uint_eq(n_records(), n);
	ck_assert_uint_eq(v.changed, 1);
	a = must(ask(&admin, "{\"op\":\"versions\",\"name\":\"db\"}"));
	ck_assert_uint_eq(json_array_size(json_object_get(a, "versions")), 1);
	json_decref(a);
}
END_TEST

/* As after the death of a worker that had committed: the stage is the same, and clean. */
START_TEST(a_request_that_comes_again_after_its_commit_happens_once)
{
	const char *line =
		"{\"op\":\"put\",\"id\":\"0123456789abcdef0123456789abcdef\",\"name\":\"db\",\"value_length\":3}";
	struct ctl_request request = {
		.line = line, .len = strlen(line), .stage = stage("one", 3), .value_len = 3, .unique = 77
	};
	char *first, *second;
	size_t n, len;

	ck_assert_int_eq(ctl_execute(&v.env, &admin, &request, &first, &len), 0);
	n = n_records();
	request.resent = true;
	ck_assert_int_eq(ctl_execute(&v.env, &admin, &request, &second, &len), 0);
	ck_assert_str_eq(first, second);
	ck_assert_uint_eq(n_records(), n);
	free(first);
	free(second);
	store_rdlock(v.store);
	ck_assert_uint_eq(store_find(v.store, "db")->n_versions, 1);
	store_unlock_tables(v.store);
}
END_TEST

/* Sent again to another worker, after the one before had committed it, and died. */
static json_t *comes_again(const struct identity *who, const char *line)
{
	const struct ctl_request request = {
		.line = line, .len = strlen(line), .unique = v.unique - 1, .resent = true
	};
	return answer_to(who, &request);
}

/* What takes away the right to do it. */
START_TEST(a_change_that_takes_its_own_right_away_is_answered_when_it_comes_again)
{
	static const char *const lines[] = {
		"{\"op\":\"revoke\",\"role\":\"administrator\",\"principal\":\"user:1000\",\"on\":\"*\"}",
		"{\"op\":\"block\",\"principal\":\"user:1000\",\"force\":true}",
	};
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char line[512];
		ok(change(&admin,
			  "{\"op\":\"grant\",\"role\":\"administrator\",\"principal\":\"user:1000\",\"on\":\"*\"}"));
		with_id(lines[i], 600 + (unsigned)i, line, sizeof(line));
		json_t *a = must(ask(&alice, line));
		size_t n = n_records();
		json_t *b = comes_again(&alice, line);
		ck_assert_msg(json_equal(a, b), "%s", line);
		ck_assert_uint_eq(n_records(), n);
		/* repeated by him, he is asked for his rights of now */
		fails(ask(&alice, line), "EACCES", EXIT_DENIED, "");
		json_decref(a);
		json_decref(b);
	}
}
END_TEST

static int died_before_sealing(void *arg)
{
	(void)arg;
	return 0;
}

START_TEST(a_seal_that_comes_again_seals)
{
	char line[128];

	with_id("{\"op\":\"seal\"}", 99, line, sizeof(line));
	v.env.seal = died_before_sealing;
	ok(ask(&admin, line));
	v.env.seal = on_seal;
	size_t n = n_records();
	ok(comes_again(&admin, line));
	ck_assert(store_sealed(v.store));
	ck_assert_uint_eq(n_records(), n);
}
END_TEST

START_TEST(every_change_that_is_repeated_gives_the_first_answer)
{
	static const char *const lines[] = {
		"{\"op\":\"put\",\"name\":\"x\",\"value_length\":0}",
		"{\"op\":\"attr\",\"name\":\"db\",\"expires\":\"90d\"}",
		"{\"op\":\"disable\",\"name\":\"db\"}",
		"{\"op\":\"enable\",\"name\":\"db\"}",
		"{\"op\":\"rollback\",\"name\":\"db\",\"version\":1}",
		"{\"op\":\"destroy\",\"name\":\"db\",\"version\":1}",
		"{\"op\":\"grant\",\"role\":\"reader\",\"principal\":\"user:1\",\"on\":\"db\"}",
		"{\"op\":\"revoke\",\"role\":\"reader\",\"principal\":\"user:1\",\"on\":\"db\"}",
		"{\"op\":\"revoke\",\"binding\":2}",
		"{\"op\":\"role-create\",\"name\":\"getter\",\"actions\":[\"secrets/get\"]}",
		"{\"op\":\"vault\",\"value_max\":1000}",
		"{\"op\":\"seal\"}",
	};
	ok(put(&admin, "db", "one"));
	ok(change(&admin, "{\"op\":\"grant\",\"role\":\"reader\",\"principal\":\"user:2\",\"on\":\"db\"}"));
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char line[512];
		with_id(lines[i], 500 + (unsigned)i, line, sizeof(line));
		v.changed = 0;
		json_t *a = must(ask(&admin, line));
		size_t n = n_records();
		json_t *b = must(ask(&admin, line));
		ck_assert_msg(json_equal(a, b), "%s", line);
		ck_assert_uint_eq(n_records(), n);
		ck_assert_uint_eq(v.changed, 1);
		json_decref(a);
		json_decref(b);
	}
}
END_TEST

START_TEST(every_operation_that_asks_denies_who_has_no_binding)
{
	static const struct {
		const char *line, *operation, *action;
	} t[] = {
		{ "{\"op\":\"put\",\"name\":\"db\",\"value_length\":0}", "SecretSet", "secrets/set on db" },
		{ "{\"op\":\"list\"}", "SecretList", "secrets/list" },
		{ "{\"op\":\"list\",\"deleted\":true}", "SecretListDeleted", "secrets/list" },
		{ "{\"op\":\"deleted\",\"name\":\"db\"}", "SecretListDeleted", "secrets/list on db" },
		{ "{\"op\":\"destroy\",\"name\":\"db\",\"version\":1}", "SecretDestroy", "secrets/purge on db" },
		{ "{\"op\":\"show\",\"name\":\"db\"}", "SecretList", "secrets/list on db" },
		{ "{\"op\":\"versions\",\"name\":\"db\"}", "SecretListVersions", "secrets/list on db" },
		{ "{\"op\":\"attr\",\"name\":\"db\",\"expires\":null}", "SecretUpdate", "secrets/update on db" },
		{ "{\"op\":\"enable\",\"name\":\"db\"}", "SecretUpdate", "secrets/update on db" },
		{ "{\"op\":\"disable\",\"name\":\"db\",\"version\":1}", "SecretUpdate", "secrets/update on db" },
		{ "{\"op\":\"rollback\",\"name\":\"db\",\"version\":1}", "SecretSet", "secrets/get on db" },
		{ "{\"op\":\"grant\",\"role\":\"reader\",\"principal\":\"user:1\",\"on\":\"db\"}", "BindingCreate",
		  "bindings/create on db" },
		{ "{\"op\":\"revoke\",\"binding\":1}", "BindingDelete", "bindings/delete on *" },
		{ "{\"op\":\"revoke\",\"binding\":99}", "BindingDelete", "bindings/delete" },
		{ "{\"op\":\"revoke\",\"role\":\"reader\",\"principal\":\"user:1\",\"on\":\"db\"}", "BindingDelete",
		  "bindings/delete on db" },
		{ "{\"op\":\"put-set\",\"value_length\":0,\"items\":[{\"name\":\"db\",\"value_length\":0}]}",
		  "SecretSet", "secrets/set on db" },
		{ "{\"op\":\"holders\",\"name\":\"db\"}", "HolderList", "audit/read on the vault" },
		{ "{\"op\":\"drained\",\"name\":\"db\",\"version\":1}", "HolderList", "secrets/list on db" },
		{ "{\"op\":\"block\",\"principal\":\"user:5\"}", "PrincipalBlock", "only an administrator" },
		{ "{\"op\":\"unblock\",\"principal\":\"user:5\"}", "PrincipalUnblock", "only an administrator" },
		{ "{\"op\":\"blocks\"}", "BindingList", "bindings/list on the vault" },
		{ "{\"op\":\"role-create\",\"name\":\"x\",\"actions\":[\"secrets/get\"]}", "RoleCreate",
		  "roles/create on the vault" },
		{ "{\"op\":\"can-i\",\"action\":\"secrets/get\",\"name\":\"db\",\"as\":\"user:5\"}", "CanI",
		  "bindings/list on db" },
		{ "{\"op\":\"status\"}", "VaultStatus", "vault/status on the vault" },
		{ "{\"op\":\"seal\"}", "VaultSeal", "vault/seal on the vault" },
		{ "{\"op\":\"vault\",\"value_max\":1}", "VaultUpdate", "vault/update on the vault" },
	};
	struct identity root = alice;

	make_identity(&root, 0); /* uid 0 in a container: a number, not a right */
	root.host = root.policy.host = false;
	ok(put(&admin, "db", "one"));
	v.changed = 0;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		json_t *a = change(&root, t[i].line);
		/* who can help, and how; a block is for administrators themselves */
		ck_assert_ptr_nonnull(strstr(string(a, "hint"), "administrator"));
		ck_assert(strstr(string(a, "hint"), "coffer grant ") || !strncmp(t[i].action, "only", 4));
		fails(a, "EACCES", EXIT_DENIED, t[i].action);
		recorded(t[i].operation, "deny", NULL, 0);
		fails(change(&bob, t[i].line), "EACCES", EXIT_DENIED, t[i].action);
		recorded(t[i].operation, "deny", NULL, 1001);
	}
	ck_assert_uint_eq(v.changed + v.sealings, 0);
}
END_TEST

static json_t *put_set_as(const struct identity *who, unsigned id)
{
	static const char line[] = "{\"op\":\"put-set\",\"value_length\":7,\"items\":[{\"name\":\"db\",\"value_"
				   "length\":3},{\"name\":\"none\",\"value_length\":0},"
				   "{\"name\":\"web\",\"value_length\":4}]}";
	char buf[512];

	with_id(line, id, buf, sizeof(buf));
	return execute(who, buf, strlen(buf), stage("onetwo2", 7), 7);
}

START_TEST(a_set_is_one_transaction_and_happens_once)
{
	uint64_t epoch;
	json_t *a;
	size_t records;

	ok(put(&admin, "db", "old"));
	epoch = store_epoch(v.store);
	records = n_records();
	for (int again = 0; again < 2; again++) {
		a = must(put_set_as(&admin, 4711));
		ck_assert_uint_eq(store_epoch(v.store), epoch + 1);
		ck_assert_uint_eq((uint64_t)number(a, "epoch"), epoch + 1);
		ck_assert_uint_eq(json_array_size(json_object_get(a, "secrets")), 3);
		json_decref(a);
		value_is("db", 2, "one");
		value_is("none", 1, "");
		value_is("web", 1, "two2");
		ck_assert_uint_eq(n_records(), records + 3);
	}
	recorded("SecretSet", "allow", "web", 0);
}
END_TEST

START_TEST(a_set_with_one_name_that_fails_stores_nothing)
{
	uint64_t epoch;

	ok(put(&admin, "web", "old"));
	grant("secrets-officer", "user:1000", "db");
	grant("secrets-officer", "user:1000", "none");
	epoch = store_epoch(v.store);
	fails(put_set_as(&alice, 4711), "EACCES", EXIT_DENIED, "secrets/set on web");
	recorded("SecretSet", "deny", "web", 1000);
	ck_assert_uint_eq(store_epoch(v.store), epoch);
	ok(change(&admin, "{\"op\":\"disable\",\"name\":\"web\"}"));
	epoch = store_epoch(v.store);
	fails(put_set_as(&admin, 4712), "EACCES", EXIT_DENIED, "web is disabled");
	ck_assert_uint_eq(store_epoch(v.store), epoch);
	fails(ask(&admin, "{\"op\":\"show\",\"name\":\"db\"}"), "ENOENT", EXIT_NOT_FOUND, "db");
}
END_TEST

START_TEST(a_block_is_made_once_and_denies_from_then_on)
{
	json_t *a;

	grant("secrets-officer", "user:1000", "*");
	grant("administrator", "user:1001", "*");
	ok(put(&admin, "db", "one"));
	a = change(&bob, "{\"op\":\"block\",\"principal\":\"user:1000\",\"reason\":\"leak\"}");
	ck_assert_int_gt(json_integer_value(json_object_get(a, "block")), 0);
	ok(a);
	recorded("PrincipalBlock", "allow", NULL, 1001);
	fails(put(&alice, "db", "two"), "EACCES", EXIT_DENIED, "block");
	fails(change(&bob, "{\"op\":\"block\",\"principal\":\"user:1000\"}"), "EEXIST", EXIT_CONFLICT,
	      "blocked already");
	fails(change(&bob, "{\"op\":\"block\",\"principal\":\"user:1001\"}"), "EBUSY", EXIT_CONFLICT, "yourself");
	fails(change(&bob, "{\"op\":\"block\",\"principal\":\"everyone\",\"force\":true}"), "EBUSY", EXIT_CONFLICT,
	      "nobody would be left");
	fails(change(&bob, "{\"op\":\"block\",\"principal\":\"user:7,host\"}"), "EINVAL", EXIT_USAGE, "host");
	fails(change(&bob, "{\"op\":\"unblock\"}"), "EINVAL", EXIT_USAGE, "either");
	fails(change(&bob, "{\"op\":\"unblock\",\"principal\":\"user:9\"}"), "ENOENT", EXIT_NOT_FOUND, "not blocked");
	a = ask(&alice, "{\"op\":\"can-i\",\"action\":\"secrets/get\",\"name\":\"db\"}");
	ck_assert(json_is_false(json_object_get(a, "allowed")));
	ck_assert(json_is_integer(json_object_get(a, "block")));
	ck_assert_ptr_nonnull(strstr(string(a, "grant"), "coffer unblock "));
	ok(a);
	ok(change(&bob, "{\"op\":\"unblock\",\"principal\":\"user:1000\"}"));
	ok(put(&alice, "db", "two"));
}
END_TEST

START_TEST(who_administers_bindings_alone_makes_no_block)
{
	grant("data-access-administrator", "user:1001", "*");
	fails(change(&bob, "{\"op\":\"block\",\"principal\":\"user:1000\"}"), "EACCES", EXIT_DENIED, "administrator");
	recorded("PrincipalBlock", "deny", NULL, 1001);
}
END_TEST

START_TEST(another_request_under_the_same_id_is_a_conflict)
{
	ok(put_value_as(&admin, "db", "one", 3, 77));
	fails(put_value_as(&admin, "db", "two", 3, 77), "EEXIST", EXIT_CONFLICT, "id");
	fails(put_value_as(&admin, "xx", "one", 3, 77), "EEXIST", EXIT_CONFLICT, "id");
	value_is("db", 1, "one");
}
END_TEST

START_TEST(ids_of_other_users_do_not_meet)
{
	grant("secrets-officer", "user:1000", "*");
	ok(put_value_as(&admin, "db", "one", 3, 77));
	ok(put_value_as(&alice, "db", "two", 3, 77));
	value_is("db", 2, "two");
}
END_TEST

START_TEST(a_repeat_after_revocation_is_denied)
{
	json_t *a;

	a = must(change(&admin,
			"{\"op\":\"grant\",\"role\":\"secrets-officer\",\"principal\":\"user:1000\",\"on\":\"db\"}"));
	ok(put_value_as(&alice, "db", "one", 3, 77));
	json_decref(a);
	ok(change(&admin,
		  "{\"op\":\"revoke\",\"role\":\"secrets-officer\",\"principal\":\"user:1000\",\"on\":\"db\"}"));
	fails(put_value_as(&alice, "db", "one", 3, 77), "EACCES", EXIT_DENIED, "secrets/set");
	recorded("SecretSet", "deny", "db", 1000);
}
END_TEST

/* ---- looking ---- */

START_TEST(list_is_sorted_and_filtered)
{
	json_t *a, *s;

	ok(put(&admin, "web-2", "x"));
	ok(put(&admin, "db", "x"));
	ok(change(&admin, "{\"op\":\"put\",\"name\":\"web-1\",\"value_length\":0,\"tags\":{\"env\":\"prod\"},"
			  "\"expires\":\"90d\"}"));
	a = must(ask(&admin, "{\"op\":\"list\"}"));
	s = json_object_get(a, "secrets");
	ck_assert_uint_eq(json_array_size(s), 3);
	ck_assert_str_eq(string(json_array_get(s, 0), "name"), "db");
	ck_assert_str_eq(string(json_array_get(s, 1), "name"), "web-1");
	ck_assert_str_eq(string(json_array_get(s, 2), "name"), "web-2");
	ck_assert_str_eq(string(json_object_get(json_array_get(s, 1), "tags"), "env"), "prod");
	ck_assert(json_is_string(json_object_get(json_array_get(s, 1), "expires")));
	ck_assert(json_is_null(json_object_get(json_array_get(s, 0), "expires")));
	ck_assert_int_eq(number(json_array_get(s, 0), "version"), 1);
	json_decref(a);
	recorded("SecretList", "allow", NULL, 0);

	fails(ask(&alice, "{\"op\":\"list\"}"), "EACCES", EXIT_DENIED, "secrets/list");
	recorded("SecretList", "deny", NULL, 1000);
	grant("reader", "user:1000", "web-*");
	a = must(ask(&alice, "{\"op\":\"list\"}"));
	ck_assert_uint_eq(json_array_size(json_object_get(a, "secrets")), 2);
	json_decref(a);
	recorded("SecretList", "allow", NULL, 1000);
	a = must(ask(&admin, "{\"op\":\"list\",\"deleted\":true}"));
	ck_assert_uint_eq(json_array_size(json_object_get(a, "secrets")), 0);
	json_decref(a);
}
END_TEST

START_TEST(show_and_versions_need_list)
{
	json_t *a;

	ok(put(&admin, "db", "one"));
	ok(put(&admin, "db", "twotwo"));
	fails(ask(&alice, "{\"op\":\"show\",\"name\":\"db\"}"), "EACCES", EXIT_DENIED, "secrets/list");
	recorded("SecretList", "deny", "db", 1000);
	fails(ask(&alice, "{\"op\":\"versions\",\"name\":\"nothing\"}"), "EACCES", EXIT_DENIED, "secrets/list");
	recorded("SecretListVersions", "deny", "nothing", 1000);
	fails(ask(&admin, "{\"op\":\"show\",\"name\":\"nothing\"}"), "ENOENT", EXIT_NOT_FOUND, "nothing");
	recorded("SecretList", "error", "nothing", 0);
	a = must(ask(&admin, "{\"op\":\"versions\",\"name\":\"db\"}"));
	ck_assert_uint_eq(json_array_size(json_object_get(a, "versions")), 2);
	ck_assert_int_eq(number(json_array_get(json_object_get(a, "versions"), 1), "size"), 6);
	json_decref(a);
	recorded("SecretListVersions", "allow", "db", 0);
	grant("secrets-user", "user:1000", "db");
	a = must(ask(&alice, "{\"op\":\"show\",\"name\":\"db\"}"));
	ck_assert_uint_eq(json_array_size(json_object_get(json_object_get(a, "secret"), "rights")), 2);
	json_decref(a);
}
END_TEST

/* ---- attributes, service, rollback ---- */

START_TEST(attr_changes_what_it_names_only)
{
	json_t *a, *s;

	ok(change(&admin, "{\"op\":\"put\",\"name\":\"db\",\"value_length\":0,\"content_type\":\"t\",\"tags\":{\"a\":"
			  "\"1\",\"b\":\"2\"}}"));
	ok(change(&admin, "{\"op\":\"attr\",\"name\":\"db\",\"expires\":\"2200-01-01T00:00:00Z\",\"tags\":{\"a\":null,"
			  "\"c\":\"3\"}}"));
	recorded("SecretUpdate", "allow", "db", 0);
	a = must(ask(&admin, "{\"op\":\"show\",\"name\":\"db\"}"));
	s = json_object_get(a, "secret");
	ck_assert_str_eq(string(s, "content_type"), "t");
	ck_assert_str_eq(string(s, "expires"), "2200-01-01T00:00:00Z");
	ck_assert_ptr_null(json_object_get(json_object_get(s, "tags"), "a"));
	ck_assert_str_eq(string(json_object_get(s, "tags"), "b"), "2");
	ck_assert_str_eq(string(json_object_get(s, "tags"), "c"), "3");
	json_decref(a);
	ok(change(&admin, "{\"op\":\"attr\",\"name\":\"db\",\"version\":1,\"expires\":null,\"tags\":null,\"content_"
			  "type\":null}"));
	a = must(ask(&admin, "{\"op\":\"show\",\"name\":\"db\"}"));
	s = json_object_get(a, "secret");
	ck_assert(json_is_null(json_object_get(s, "content_type")));
	ck_assert(json_is_null(json_object_get(s, "expires")));
	ck_assert_uint_eq(json_object_size(json_object_get(s, "tags")), 0);
	json_decref(a);
	fails(change(&admin, "{\"op\":\"attr\",\"name\":\"db\",\"version\":9,\"expires\":null}"), "ENOENT",
	      EXIT_NOT_FOUND, "version 9");
	recorded("SecretUpdate", "error", "db", 0);
	fails(change(&alice, "{\"op\":\"attr\",\"name\":\"db\",\"expires\":null}"), "EACCES", EXIT_DENIED,
	      "secrets/update");
	recorded("SecretUpdate", "deny", "db", 1000);
}
END_TEST

START_TEST(attr_counts_tags)
{
	char line[1024] = "{\"op\":\"attr\",\"name\":\"db\",\"tags\":{";

	ok(put(&admin, "db", "x"));
	for (int i = 0; i < 16; i++)
		sprintf(line + strlen(line), "%s\"t%d\":\"x\"", i ? "," : "", i);
	strcat(line, "}}");
	fails(change(&admin, line), "EINVAL", EXIT_USAGE, "15");
}
END_TEST

START_TEST(disable_says_what_current_serves)
{
	json_t *a;

	ok(put(&admin, "db", "one"));
	ok(put(&admin, "db", "two"));
	a = must(change(&admin, "{\"op\":\"disable\",\"name\":\"db\",\"version\":2}"));
	ck_assert_int_eq(number(a, "current"), 1);
	ck_assert_int_eq(number(a, "version"), 2);
	ck_assert(json_is_false(json_object_get(a, "enabled")));
	json_decref(a);
	recorded("SecretUpdate", "allow", "db", 0);
	a = must(change(&admin, "{\"op\":\"disable\",\"name\":\"db\",\"version\":1}"));
	ck_assert(json_is_null(json_object_get(a, "current")));
	json_decref(a);
	a = must(change(&admin, "{\"op\":\"enable\",\"name\":\"db\",\"version\":2}"));
	ck_assert_int_eq(number(a, "current"), 2);
	json_decref(a);
	a = must(change(&admin, "{\"op\":\"disable\",\"name\":\"db\"}"));
	ck_assert(json_is_null(json_object_get(a, "current")));
	ck_assert_ptr_null(json_object_get(a, "version"));
	json_decref(a);
	a = must(change(&admin, "{\"op\":\"enable\",\"name\":\"db\"}"));
	ck_assert_int_eq(number(a, "current"), 2);
	json_decref(a);
	store_rdlock(v.store);
	ck_assert_uint_eq(store_find(v.store, "db")->current, 2);
	store_unlock_tables(v.store);
	fails(change(&alice, "{\"op\":\"disable\",\"name\":\"db\"}"), "EACCES", EXIT_DENIED, "secrets/update");
	fails(change(&admin, "{\"op\":\"disable\",\"name\":\"db\",\"version\":3}"), "ENOENT", EXIT_NOT_FOUND,
	      "version 3");
}
END_TEST

START_TEST(destroy_ends_a_version_for_ever)
{
	json_t *a, *list;

	ok(put(&admin, "db", "one"));
	ok(put(&admin, "db", "two"));
	grant("secrets-user", "user:1000", "db");
	fails(change(&alice, "{\"op\":\"destroy\",\"name\":\"db\",\"version\":2}"), "EACCES", EXIT_DENIED,
	      "secrets/purge");
	fails(change(&admin, "{\"op\":\"destroy\",\"name\":\"db\"}"), "EINVAL", EXIT_USAGE, "version");
	a = must(change(&admin, "{\"op\":\"destroy\",\"name\":\"db\",\"version\":2}"));
	ck_assert_int_eq(number(a, "current"), 1);
	json_decref(a);
	recorded("SecretDestroy", "allow", "db", 0);
	a = must(ask(&admin, "{\"op\":\"versions\",\"name\":\"db\"}"));
	list = json_object_get(a, "versions");
	ck_assert_uint_eq(json_array_size(list), 2);
	ck_assert(json_is_false(json_object_get(json_array_get(list, 0), "destroyed")));
	ck_assert(json_is_true(json_object_get(json_array_get(list, 1), "destroyed")));
	ck_assert(json_is_false(json_object_get(json_array_get(list, 1), "enabled")));
	json_decref(a);
	fails(change(&admin, "{\"op\":\"destroy\",\"name\":\"db\",\"version\":2}"), "ENOENT", EXIT_NOT_FOUND,
	      "was destroyed");
	fails(change(&admin, "{\"op\":\"enable\",\"name\":\"db\",\"version\":2}"), "ENOENT", EXIT_NOT_FOUND,
	      "was destroyed");
	fails(change(&admin, "{\"op\":\"attr\",\"name\":\"db\",\"version\":2,\"expires\":null}"), "ENOENT",
	      EXIT_NOT_FOUND, "was destroyed");
	fails(change(&admin, "{\"op\":\"rollback\",\"name\":\"db\",\"version\":2}"), "ENOENT", EXIT_NOT_FOUND,
	      "was destroyed");
	a = must(put(&admin, "db", "three"));
	ck_assert_int_eq(number(a, "version"), 3);
	json_decref(a);
}
END_TEST

START_TEST(purge_protection_is_switched_on_for_ever)
{
	json_t *a;

	ok(put(&admin, "db", "one"));
	ok(change(&admin, "{\"op\":\"vault\",\"purge_protection\":false}"));
	a = must(change(&admin, "{\"op\":\"vault\",\"purge_protection\":true}"));
	ck_assert(json_is_true(json_object_get(a, "purge_protection")));
	json_decref(a);
	recorded("VaultUpdate", "allow", NULL, 0);
	fails(change(&admin, "{\"op\":\"vault\",\"purge_protection\":false}"), "EPERM", EXIT_DENIED,
	      "cannot be taken back");
	a = must(change(&admin, "{\"op\":\"vault\",\"value_max\":1000}"));
	ck_assert(json_is_true(json_object_get(a, "purge_protection")));
	json_decref(a);
	fails(change(&admin, "{\"op\":\"destroy\",\"name\":\"db\",\"version\":1}"), "EPERM", EXIT_DENIED,
	      "purge protection");
	value_is("db", 1, "one");
}
END_TEST

START_TEST(dates_of_a_deleted_secret_are_for_who_can_do_something_about_it)
{
	static const char line[] = "{\"op\":\"deleted\",\"name\":\"db\"}",
			  list[] = "{\"op\":\"list\",\"deleted\":true}";
	json_t *a, *secret;

	ok(put(&admin, "db", "one"));
	ok(put(&admin, "api", "two"));
	grant("purge-operator", "user:1000", "db");
	fails(ask(&alice, line), "ENOENT", EXIT_NOT_FOUND, "no deleted secret");
	store_rdlock(v.store);
	uint32_t id = store_find(v.store, "db")->id;
	store_unlock_tables(v.store);
	ck_assert_int_eq(store_begin(v.store), 0);
	ck_assert_int_eq(store_secret_delete(v.store, id), 0);
	ck_assert_int_eq(store_commit(v.store), 0);

	a = must(ask(&alice, line));
	secret = json_object_get(a, "secret");
	ck_assert_int_eq(number(secret, "versions"), 1);
	ck_assert_int_lt(strcmp(string(secret, "deleted"), string(secret, "purge")), 0);
	ck_assert(json_is_false(json_object_get(secret, "purge_protection")));
	json_decref(a);
	recorded("SecretListDeleted", "allow", "db", 1000);
	fails(ask(&bob, line), "EACCES", EXIT_DENIED, "secrets/list");
	fails(ask(&admin, "{\"op\":\"deleted\",\"name\":\"api\"}"), "ENOENT", EXIT_NOT_FOUND, "no deleted secret");

	a = must(ask(&admin, list));
	ck_assert_uint_eq(json_array_size(json_object_get(a, "secrets")), 1);
	secret = json_array_get(json_object_get(a, "secrets"), 0);
	ck_assert_str_eq(string(secret, "name"), "db");
	ck_assert_int_eq(number(secret, "version"), 1);
	string(secret, "deleted");
	string(secret, "purge");
	json_decref(a);
	recorded("SecretListDeleted", "allow", NULL, 0);
	fails(ask(&alice, list), "EACCES", EXIT_DENIED, "secrets/list");
	a = must(ask(&admin, "{\"op\":\"list\"}"));
	ck_assert_uint_eq(json_array_size(json_object_get(a, "secrets")), 1);
	ck_assert_ptr_null(json_object_get(json_array_get(json_object_get(a, "secrets"), 0), "purge"));
	json_decref(a);
	fails(put(&admin, "db", "three"), "EEXIST", EXIT_CONFLICT, "recovered or purged");
	fails(ask(&admin, "{\"op\":\"show\",\"name\":\"db\"}"), "ENOENT", EXIT_NOT_FOUND, "is deleted");
}
END_TEST

START_TEST(rollback_brings_old_content_back)
{
	json_t *a;

	ok(put(&admin, "db", "one"));
	ok(put(&admin, "db", "two"));
	a = must(change(&admin, "{\"op\":\"rollback\",\"name\":\"db\",\"version\":1}"));
	ck_assert_int_eq(number(a, "version"), 3);
	ck_assert_int_eq(number(a, "from"), 1);
	json_decref(a);
	recorded("SecretSet", "allow", "db", 0);
	value_is("db", 3, "one");
	fails(change(&admin, "{\"op\":\"rollback\",\"name\":\"db\",\"version\":9}"), "ENOENT", EXIT_NOT_FOUND,
	      "version 9");
	ok(change(&admin, "{\"op\":\"disable\",\"name\":\"db\",\"version\":1}"));
	fails(change(&admin, "{\"op\":\"rollback\",\"name\":\"db\",\"version\":1}"), "EACCES", EXIT_DENIED, "disabled");
}
END_TEST

START_TEST(rollback_needs_get_as_well_as_set)
{
	ok(put(&admin, "db", "one"));
	ok(change(&admin, "{\"op\":\"role-create\",\"name\":\"setter\",\"actions\":[\"secrets/set\"]}"));
	grant("setter", "user:1000", "db");
	fails(change(&alice, "{\"op\":\"rollback\",\"name\":\"db\",\"version\":1}"), "EACCES", EXIT_DENIED,
	      "secrets/get");
	recorded("SecretSet", "deny", "db", 1000);
	grant("secrets-user", "user:1000", "db");
	ok(change(&alice, "{\"op\":\"rollback\",\"name\":\"db\",\"version\":1}"));
}
END_TEST

START_TEST(rollback_to_an_expired_version_is_refused_where_validity_is_enforced)
{
	ok(change(&admin, "{\"op\":\"put\",\"name\":\"db\",\"value_length\":0,\"expires\":\"2001-01-01T00:00:00Z\"}"));
	ok(change(&admin, "{\"op\":\"rollback\",\"name\":\"db\",\"version\":1}"));
	ok(change(&admin, "{\"op\":\"vault\",\"enforce_validity\":true}"));
	fails(change(&admin, "{\"op\":\"rollback\",\"name\":\"db\",\"version\":1}"), "EKEYEXPIRED", EXIT_DENIED,
	      "not valid now");
}
END_TEST

/* ---- bindings ---- */

START_TEST(grant_gives_and_revoke_takes)
{
	char line[128];
	json_t *a;
	json_int_t id;

	a = must(change(&admin, "{\"op\":\"grant\",\"role\":\"secrets-user\",\"principal\":\"host,user:1000\",\"on\":"
				"\"db-*\",\"reason\":\"night shift\",\"until\":\"12h\"}"));
	id = number(a, "binding");
	ck_assert_str_eq(string(a, "principal"), "user:1000,host");
	ck_assert_str_eq(string(a, "scope"), "db-*");
	ck_assert_ptr_null(json_object_get(a, "hint"));
	json_decref(a);
	recorded("BindingCreate", "allow", "db-*", 0);
	a = must(ask(&alice, "{\"op\":\"can-i\",\"action\":\"secrets/get\",\"name\":\"db-1\"}"));
	ck_assert(json_is_true(json_object_get(a, "allowed")));
	ck_assert_int_eq(number(a, "binding"), id);
	ck_assert_str_eq(string(a, "role"), "secrets-user");
	json_decref(a);
	fails(change(&admin, "{\"op\":\"grant\",\"role\":\"reader\",\"principal\":\"user:1000\",\"on\":\"db\","
			     "\"until\":\"0s\"}"),
	      "EINVAL", EXIT_USAGE, "until");

	snprintf(line, sizeof(line), "{\"op\":\"revoke\",\"binding\":%lld}", (long long)id);
	fails(change(&alice, line), "EACCES", EXIT_DENIED, "bindings/delete");
	recorded("BindingDelete", "deny", NULL, 1000);
	a = must(change(&admin, line));
	ck_assert_int_eq(json_integer_value(json_array_get(json_object_get(a, "bindings"), 0)), id);
	json_decref(a);
	recorded("BindingDelete", "allow", NULL, 0);
	a = must(ask(&alice, "{\"op\":\"can-i\",\"action\":\"secrets/get\",\"name\":\"db-1\"}"));
	ck_assert(json_is_false(json_object_get(a, "allowed")));
	ck_assert_str_eq(string(a, "missing"), "secrets/get on db-1");
	ck_assert_str_eq(string(a, "grant"), "coffer grant secrets-user user:1000 --on db-1");
	json_decref(a);
	fails(change(&admin, line), "ENOENT", EXIT_NOT_FOUND, "no binding");
	recorded("BindingDelete", "error", NULL, 0);
	fails(change(&bob, line), "EACCES", EXIT_DENIED, "bindings/delete");
}
END_TEST

START_TEST(the_same_binding_twice_is_a_conflict)
{
	grant("reader", "user:1000", "db");
	fails(change(&admin, "{\"op\":\"grant\",\"role\":\"reader\",\"principal\":\"user:1000\",\"on\":\"db\"}"),
	      "EEXIST", EXIT_CONFLICT, "binding");
	recorded("BindingCreate", "error", "db", 0);
	ok(change(&admin,
		  "{\"op\":\"grant\",\"role\":\"reader\",\"principal\":\"user:1000\",\"on\":\"db\",\"until\":\"1h\"}"));
	fails(change(&admin, "{\"op\":\"grant\",\"role\":\"nobody\",\"principal\":\"user:1000\",\"on\":\"db\"}"),
	      "ENOENT", EXIT_NOT_FOUND, "nobody");
}
END_TEST

START_TEST(revoke_by_words_takes_every_window)
{
	json_t *a;

	grant("reader", "user:1000", "db");
	ok(change(&admin,
		  "{\"op\":\"grant\",\"role\":\"reader\",\"principal\":\"user:1000\",\"on\":\"db\",\"until\":\"1h\"}"));
	grant("reader", "user:1000,host", "db");
	a = must(change(&admin, "{\"op\":\"revoke\",\"role\":\"reader\",\"principal\":\"user:1000\",\"on\":\"db\"}"));
	ck_assert_uint_eq(json_array_size(json_object_get(a, "bindings")), 2);
	json_decref(a);
	fails(change(&admin, "{\"op\":\"revoke\",\"role\":\"reader\",\"principal\":\"user:1000\",\"on\":\"db\"}"),
	      "ENOENT", EXIT_NOT_FOUND, "reader");
}
END_TEST

START_TEST(root_without_host_gets_a_warning)
{
	json_t *a = must(
		change(&admin, "{\"op\":\"grant\",\"role\":\"reader\",\"principal\":\"user:0\",\"on\":\"db\"}"));

	ck_assert_ptr_nonnull(strstr(string(a, "hint"), "user:0,host"));
	json_decref(a);
}
END_TEST

/* One chunk; the bytes that follow the answer's line are thrown away. */
static json_t *read_backup(const struct identity *who, const char *session, int chunk)
{
	char line[128], *answer = NULL;
	struct ctl_request request = { .line = line, .unique = v.unique++ };
	size_t len = 0;
	json_t *o;

	snprintf(line, sizeof(line), "{\"op\":\"backup-read\",\"session\":\"%s\",\"chunk\":%d}", session, chunk);
	request.len = strlen(line);
	ck_assert_int_eq(ctl_execute(&v.env, who, &request, &answer, &len), 0);
	o = json_loadb(answer, len, JSON_DISABLE_EOF_CHECK, NULL);
	ck_assert_ptr_nonnull(o);
	free(answer);
	return o;
}

START_TEST(a_revocation_or_a_block_reaches_a_backup_under_way)
{
	static const char *const ends[] = {
		"{\"op\":\"revoke\",\"role\":\"secrets-officer\",\"principal\":\"user:1000\",\"on\":\"db\"}",
		"{\"op\":\"block\",\"principal\":\"user:1000\"}"
	};
	char *value = calloc(1, VALUE_MAX + 1), session[2][BACKUP_SESSION_ID];
	json_t *a;

	ck_assert_int_eq(backups_new(&v.env.backups), 0);
	memset(value, 'x', VALUE_MAX);
	ok(put(&admin, "db", value));
	ok(put(&admin, "db", "two"));
	grant("secrets-officer", "user:1000", "db");
	for (int i = 0; i < 2; i++) {
		a = must(ask(&alice, "{\"op\":\"backup\",\"names\":[\"db\"],\"public_key\":"
				     "\"8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a\"}"));
		memcpy(session[i], string(a, "session"), BACKUP_SESSION_ID);
		json_decref(a);
	}
	ok(read_backup(&alice, session[_i], 0));
	fails(read_backup(&bob, session[_i], 1), "ESTALE", EXIT_UNAVAILABLE, "gone");
	ok(change(&admin, ends[_i]));
	fails(read_backup(&alice, session[_i], 1), "EACCES", EXIT_DENIED, _i ? "block" : "secrets/backup on db");
	recorded("SecretBackup", "deny", "db", 1000);
	fails(read_backup(&alice, session[!_i], 0), "EACCES", EXIT_DENIED, _i ? "block" : "secrets/backup on db");
	/* and what was refused is over */
	if (_i == 0) {
		grant("secrets-officer", "user:1000", "db");
		fails(read_backup(&alice, session[0], 1), "ESTALE", EXIT_UNAVAILABLE, "gone");
	}
	backups_free(v.env.backups);
	free(value);
}
END_TEST

static json_t *hand_in(const struct identity *who, unsigned restore, const char *bytes)
{
	const size_t len = strlen(bytes);
	char line[256];

	snprintf(line, sizeof(line), "{\"op\":\"restore-put\",\"restore\":\"%032x\",\"at\":0,\"value_length\":%zu}",
		 restore, len);
	return execute(who, line, strlen(line), stage(bytes, len), len);
}

START_TEST(nobody_begins_more_restores_than_his_share)
{
	unsigned n = 0;

	fails(hand_in(&alice, n, "x"), "EACCES", EXIT_DENIED, "secrets/restore");
	grant("secrets-officer", "user:1000", "db");
	grant("secrets-officer", "user:1001", "web");
	ok(hand_in(&alice, n++, "x"));
	ok(hand_in(&alice, n++, "x"));
	fails(hand_in(&alice, n, "x"), "EBUSY", EXIT_CONFLICT, "2 of one user");
	ok(hand_in(&alice, 0, "x")); /* what is there may come again, … */
	fails(hand_in(&bob, 0, "y"), "EINVAL", EXIT_USAGE, "one after the other"); /* … and is nobody else's */
	ok(hand_in(&bob, n++, "x"));
	ok(hand_in(&admin, n, "x"));
	ok(ask(&alice, "{\"op\":\"restore-drop\",\"restore\":\"00000000000000000000000000000000\"}"));
	ok(hand_in(&alice, ++n, "x"));
}
END_TEST

START_TEST(the_last_administrator_stays)
{
	fails(change(&admin,
		     "{\"op\":\"revoke\",\"role\":\"administrator\",\"principal\":\"user:0,host\",\"on\":\"*\"}"),
	      "EBUSY", EXIT_CONFLICT, "administrator");
	recorded("BindingDelete", "error", "*", 0);
	grant("administrator", "user:1000", "*");
	ok(change(&admin, "{\"op\":\"revoke\",\"role\":\"administrator\",\"principal\":\"user:0,host\",\"on\":\"*\"}"));
	fails(change(&admin, "{\"op\":\"grant\",\"role\":\"reader\",\"principal\":\"user:1\",\"on\":\"*\"}"), "EACCES",
	      EXIT_DENIED, "bindings/create");
}
END_TEST

START_TEST(a_data_access_administrator_hands_out_data_roles_only)
{
	grant("data-access-administrator", "user:1000", "db-*");
	ok(change(&alice, "{\"op\":\"grant\",\"role\":\"secrets-user\",\"principal\":\"user:1001\",\"on\":\"db-1\"}"));
	recorded("BindingCreate", "allow", "db-1", 1000);
	fails(change(&alice, "{\"op\":\"grant\",\"role\":\"secrets-user\",\"principal\":\"user:1001\",\"on\":\"web\"}"),
	      "EACCES", EXIT_DENIED, "bindings/create");
	fails(change(&alice, "{\"op\":\"grant\",\"role\":\"secrets-user\",\"principal\":\"user:1001\",\"on\":\"*\"}"),
	      "EACCES", EXIT_DENIED, "bindings/create");
	fails(change(&alice,
		     "{\"op\":\"grant\",\"role\":\"administrator\",\"principal\":\"user:1000\",\"on\":\"db-1\"}"),
	      "EACCES", EXIT_DENIED, "administrator");
	recorded("BindingCreate", "deny", "db-1", 1000);
	fails(change(&alice, "{\"op\":\"grant\",\"role\":\"auditor\",\"principal\":\"user:1000\",\"on\":\"db-1\"}"),
	      "EACCES", EXIT_DENIED, "auditor");
	ok(change(&admin,
		  "{\"op\":\"role-create\",\"name\":\"sly\",\"actions\":[\"secrets/get\",\"bindings/create\"]}"));
	fails(change(&alice, "{\"op\":\"grant\",\"role\":\"sly\",\"principal\":\"user:1000\",\"on\":\"db-1\"}"),
	      "EACCES", EXIT_DENIED, "sly");
	grant("administrator", "user:1001", "db-1");
	fails(change(&alice,
		     "{\"op\":\"revoke\",\"role\":\"administrator\",\"principal\":\"user:1001\",\"on\":\"db-1\"}"),
	      "EACCES", EXIT_DENIED, "administrator");
	ok(change(&bob, "{\"op\":\"grant\",\"role\":\"administrator\",\"principal\":\"user:1002\",\"on\":\"db-1\"}"));
	fails(change(&bob, "{\"op\":\"grant\",\"role\":\"administrator\",\"principal\":\"user:1002\",\"on\":\"*\"}"),
	      "EACCES", EXIT_DENIED, "bindings/create");
}
END_TEST

START_TEST(bindings_shows_ones_own_without_the_right)
{
	json_t *a, *list;
	size_t n;

	grant("secrets-user", "user:1000", "db");
	grant("reader", "user:1001", "db*");
	a = must(ask(&admin, "{\"op\":\"bindings\"}"));
	list = json_object_get(a, "bindings");
	ck_assert_uint_eq(json_array_size(list), 3);
	ck_assert_str_eq(string(json_array_get(list, 1), "principal"), "user:1000");
	ck_assert_str_eq(string(json_array_get(list, 1), "created_by"), "user:0");
	ck_assert(json_is_null(json_object_get(json_array_get(list, 1), "until")));
	json_decref(a);
	recorded("BindingList", "allow", NULL, 0);
	n = n_records();
	a = must(ask(&alice, "{\"op\":\"bindings\"}"));
	ck_assert_uint_eq(json_array_size(json_object_get(a, "bindings")), 1);
	json_decref(a);
	ck_assert_uint_eq(n_records(), n);
	a = must(ask(&admin, "{\"op\":\"bindings\",\"on\":\"dbx\"}"));
	ck_assert_uint_eq(json_array_size(json_object_get(a, "bindings")), 2);
	json_decref(a);
}
END_TEST

START_TEST(roles_are_made_once)
{
	json_t *a;

	ok(change(&admin, "{\"op\":\"role-create\",\"name\":\"getter\",\"actions\":[\"secrets/get\"]}"));
	recorded("RoleCreate", "allow", NULL, 0);
	fails(change(&admin, "{\"op\":\"role-create\",\"name\":\"getter\",\"actions\":[\"secrets/get\"]}"), "EEXIST",
	      EXIT_CONFLICT, "getter");
	fails(change(&admin, "{\"op\":\"role-create\",\"name\":\"reader\",\"actions\":[\"secrets/get\"]}"), "EEXIST",
	      EXIT_CONFLICT, "reader");
	fails(change(&alice, "{\"op\":\"role-create\",\"name\":\"mine\",\"actions\":[\"secrets/*\"]}"), "EACCES",
	      EXIT_DENIED, "roles/create");
	recorded("RoleCreate", "deny", NULL, 1000);
	a = must(ask(&alice, "{\"op\":\"roles\"}"));
	ck_assert_uint_eq(json_array_size(json_object_get(a, "roles")), 14);
	json_decref(a);
}
END_TEST

START_TEST(can_i_about_others_needs_bindings_list)
{
	json_t *a;

	grant("secrets-user", "group:27", "db");
	fails(ask(&alice, "{\"op\":\"can-i\",\"action\":\"secrets/get\",\"name\":\"db\",\"as\":\"user:1001\"}"),
	      "EACCES", EXIT_DENIED, "bindings/list");
	recorded("CanI", "deny", "db", 1000);
	ok(ask(&alice,
	       "{\"op\":\"can-i\",\"action\":\"secrets/get\",\"name\":\"db\",\"as\":\"user:1000,group:1000\"}"));
	fails(ask(&alice,
		  "{\"op\":\"can-i\",\"action\":\"secrets/get\",\"name\":\"db\",\"as\":\"user:1000,group:27\"}"),
	      "EACCES", EXIT_DENIED, "bindings/list");
	a = must(ask(&admin, "{\"op\":\"can-i\",\"action\":\"secrets/"
			     "get\",\"name\":\"db\",\"as\":\"user:1001,group:30,group:27\"}"));
	ck_assert(json_is_true(json_object_get(a, "allowed")));
	json_decref(a);
	recorded("CanI", "allow", "db", 0);
	a = must(ask(&admin, "{\"op\":\"can-i\",\"action\":\"vault/seal\",\"name\":\"*\",\"as\":\"user:1001\"}"));
	ck_assert_str_eq(string(a, "grant"),
			 "coffer role create vault-seal vault/seal && coffer grant vault-seal user:1001 --on '*'");
	json_decref(a);
	fails(ask(&admin, "{\"op\":\"can-i\",\"action\":\"secrets/get\",\"name\":\"db\",\"as\":\"user:1,user:2\"}"),
	      "EINVAL", EXIT_USAGE, "as");
}
END_TEST

/* alice, whom a binding lets in, asks whether she may; returns what she is told. */
static json_t *may_alice(const char *action)
{
	char line[128];

	snprintf(line, sizeof(line), "{\"op\":\"can-i\",\"action\":\"%s\",\"name\":\"db\"}", action);
	return must(ask(&alice, line));
}

static void hindered(const char *action, const char *error, const char *why, const char *hint)
{
	json_t *a = may_alice(action);

	ck_assert_msg(json_is_false(json_object_get(a, "allowed")), "%s is allowed", action);
	ck_assert_str_eq(string(a, "open"), error);
	ck_assert_str_eq(string(a, "why"), why);
	ck_assert_msg(strstr(string(a, "hint"), hint) != NULL, "%s", string(a, "hint"));
	ck_assert_str_eq(string(a, "role"), "secrets-officer");
	ck_assert(json_is_integer(json_object_get(a, "binding")));
	ck_assert(json_is_null(json_object_get(a, "missing")) && json_is_null(json_object_get(a, "grant")) &&
		  json_is_null(json_object_get(a, "until")));
	json_decref(a);
}

static void free_to(const char *action)
{
	json_t *a = may_alice(action);

	ck_assert_msg(json_is_true(json_object_get(a, "allowed")), "%s: %s", action, string(a, "why"));
	ck_assert(json_is_null(json_object_get(a, "open")) && json_is_null(json_object_get(a, "why")));
	json_decref(a);
}

START_TEST(can_i_tells_what_stands_in_the_way)
{
	json_t *a;

	grant("secrets-officer", "user:1000", "db");
	a = may_alice("secrets/get"); /* a right to a name that is not there is one, for when it is */
	ck_assert(json_is_true(json_object_get(a, "allowed")));
	ck_assert_str_eq(string(a, "open"), "ENOENT");
	ck_assert_str_eq(string(a, "why"), "db is no secret yet");
	json_decref(a);
	free_to("secrets/set");

	ok(put(&admin, "db", "one"));
	free_to("secrets/get");
	ok(change(&admin, "{\"op\":\"disable\",\"name\":\"db\"}"));
	hindered("secrets/get", "EACCES", "db is disabled", "coffer enable db");
	hindered("secrets/set", "EACCES", "db is disabled", "coffer enable db");
	free_to("secrets/update");
	ok(change(&admin, "{\"op\":\"enable\",\"name\":\"db\"}"));
	ok(change(&admin, "{\"op\":\"disable\",\"name\":\"db\",\"version\":1}"));
	hindered("secrets/get", "ENOENT", "db has no version that is enabled", "coffer enable db --version");
	free_to("secrets/set");
	ok(change(&admin, "{\"op\":\"enable\",\"name\":\"db\",\"version\":1}"));

	/* what has no right is not told */
	ok(change(&admin, "{\"op\":\"disable\",\"name\":\"db\"}"));
	a = must(ask(&bob, "{\"op\":\"can-i\",\"action\":\"secrets/get\",\"name\":\"db\"}"));
	ck_assert_str_eq(string(a, "missing"), "secrets/get on db");
	ck_assert(json_is_null(json_object_get(a, "open")) && json_is_null(json_object_get(a, "why")));
	json_decref(a);
}
END_TEST

START_TEST(can_i_knows_validity_where_it_is_enforced)
{
	json_t *a;

	grant("secrets-officer", "user:1000", "db");
	ok(put(&admin, "db", "one"));
	ok(change(&admin, "{\"op\":\"attr\",\"name\":\"db\",\"expires\":\"2001-01-01T00:00:00Z\"}"));
	free_to("secrets/get");
	ok(change(&admin, "{\"op\":\"vault\",\"enforce_validity\":true}"));
	hindered("secrets/get", "EKEYEXPIRED", "db has expired, and the vault enforces that",
		 "coffer attr db --expires TIME");
	free_to("secrets/set");
	ok(change(&admin,
		  "{\"op\":\"attr\",\"name\":\"db\",\"expires\":null,\"not_before\":\"2200-01-01T00:00:00Z\"}"));
	hindered("secrets/get", "EKEYEXPIRED", "db is not valid yet, and the vault enforces that",
		 "coffer attr db --not-before TIME");
	ok(change(&admin,
		  "{\"op\":\"attr\",\"name\":\"db\",\"expires\":\"2200-01-01T00:00:00Z\",\"not_before\":null}"));
	a = may_alice("secrets/get"); /* it ends when the version does */
	ck_assert_str_eq(string(a, "until"), "2200-01-01T00:00:00Z");
	json_decref(a);
	ok(change(&admin, "{\"op\":\"vault\",\"enforce_validity\":false}"));
	a = may_alice("secrets/get");
	ck_assert(json_is_null(json_object_get(a, "until")));
	json_decref(a);
}
END_TEST

/* ---- when something fails ---- */

/* From here on, or no longer, the log's segment is a full disk. */
static void fill_the_log(bool full)
{
	static int saved = -1;
	int r = -1, dev;

	if (full) {
		saved = dup(v.segment_fd);
		dev = open("/dev/full", O_RDWR | O_CLOEXEC);
		r = dup2(dev, v.segment_fd);
		close(dev);
	} else {
		r = dup2(saved, v.segment_fd);
		close(saved);
	}
	ck_assert_int_ge(r, 0);
}

START_TEST(nothing_is_done_that_cannot_be_recorded)
{
	uint64_t epoch;

	ok(put(&admin, "db", "one"));
	grant("secrets-officer", "user:1000", "*");
	epoch = store_epoch(v.store);
	fill_the_log(true);
	fails(put_value_as(&alice, "db", "two", 3, 5), "EIO", EXIT_ERROR, "audit log");
	fails(ask(&alice, "{\"op\":\"list\"}"), "EIO", EXIT_ERROR, "audit log");
	/* counted in memory, recorded later */
	fails(ask(&bob, "{\"op\":\"list\"}"), "EACCES", EXIT_DENIED, "secrets/list");
	ck_assert_uint_eq(store_epoch(v.store), epoch);
	fill_the_log(false);
	ok(put_value_as(&alice, "db", "two", 3, 5));
	value_is("db", 2, "two");
}
END_TEST

static void limit_file_size(rlim_t size)
{
	struct rlimit limit = { .rlim_cur = size, .rlim_max = RLIM_INFINITY };

	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Makes the WAL longer than the log, so that a limit on files stops the one and not the other: returns that limit. */
static rlim_t wal_filled(void)
{
	char wal[128], *big = calloc(1, 600001);
	struct stat st;

	memset(big, 'x', 600000);
	ok(put(&admin, "big", big));
	free(big);
	snprintf(wal, sizeof(wal), "%s/store/db/vault.db-wal", v.dir);
	ck_assert_int_eq(stat(wal, &st), 0);
	return (rlim_t)st.st_size;
}

START_TEST(a_commit_that_fails_is_recorded_after_what_it_promised)
{
	const char *line =
		"{\"op\":\"put\",\"id\":\"0123456789abcdef0123456789abcdef\",\"name\":\"db\",\"value_length\":0}";
	const rlim_t limit = wal_filled();
	json_t *list;
	size_t n;

	n = n_records();
	signal(SIGXFSZ, SIG_IGN);
	limit_file_size(limit);
	v.changed = 0;
	fails(ask(&admin, line), "EIO", EXIT_ERROR, "commit");
	limit_file_size(RLIM_INFINITY);
	ck_assert_uint_eq(v.changed, 0);
	recorded("SecretSet", "error", "db", 0);
	list = records();
	ck_assert_uint_eq(json_array_size(list), n + 2);
	ck_assert_str_eq(string(json_array_get(list, n), "result"), "allow");
	json_decref(list);
	store_rdlock(v.store);
	ck_assert_ptr_null(store_find(v.store, "db"));
	store_unlock_tables(v.store);
	ok(ask(&admin, line));
	value_is("db", 1, "");
}
END_TEST

static int run_nothing(struct vault *vault, const char *name)
{
	(void)vault;
	(void)name;
	return 0;
}

/* A mkdir or rename whose first worker was killed between record and commit, and whose second cannot commit: the second
 * must not leave the log with "allow" alone. */
START_TEST(a_file_operation_whose_commit_fails_when_it_comes_again_is_recorded_as_failed)
{
	const struct name_change c = { .request = "mkdir", .verb = VERB_SET, .name = "db", .run = run_nothing };
	struct vault vault = { .store = v.store, .audit = v.audit, .keys = v.keys, .shared = v.env.shared };
	struct call asker = { .who = &admin, .patience = WAITS_FOR_ALL, .unique = 78 };
	const rlim_t limit = wal_filled();
	struct verdict verdict;
	size_t n;

	vault_decide(&vault, &admin, ACTION_SECRETS_SET, c.name, &verdict);
	ck_assert_int_eq(vault_record(&vault, &asker, AUDIT_SECRET_SET, &verdict, NULL), 0);
	n = n_records();
	signal(SIGXFSZ, SIG_IGN);
	limit_file_size(limit);
	asker.resent = true;
	ck_assert_int_eq(name_change(&vault, &asker, &c), -EIO);
	limit_file_size(RLIM_INFINITY);
	ck_assert_uint_eq(n_records(), n + 1);
	recorded("SecretSet", "error", "db", 0);
}
END_TEST

START_TEST(a_request_that_comes_again_to_another_worker_is_recorded_once)
{
	const char *line = "{\"op\":\"show\",\"name\":\"db\"}";
	struct ctl_request request = { .line = line, .len = strlen(line), .unique = 77 };
	char *answer;
	size_t len, n;

	ok(put(&admin, "db", "one"));
	ck_assert_int_eq(ctl_execute(&v.env, &admin, &request, &answer, &len), 0);
	free(answer);
	n = n_records();
	request.resent = true;
	ck_assert_int_eq(ctl_execute(&v.env, &admin, &request, &answer, &len), 0);
	free(answer);
	ck_assert_uint_eq(n_records(), n);
}
END_TEST

START_TEST(floods_of_denials_are_held_back)
{
	const char *line = "{\"op\":\"show\",\"name\":\"db\"}";
	uint32_t delay = 0;
	struct ctl_request request = { .line = line, .len = strlen(line), .delay_ms = &delay };
	size_t n;
	char *answer;
	size_t len;

	for (int i = 0; i < 3000; i++) {
		request.unique++;
		ck_assert_int_eq(ctl_execute(&v.env, &bob, &request, &answer, &len), 0);
		free(answer);
	}
	ck_assert_uint_gt(delay, 0);
	n = n_records();
	ck_assert_uint_lt(n, 2900);
}
END_TEST

/* ---- at the same time ---- */

struct parallel {
	const struct identity *who;
	const char *line;
	char *answer;
	_Atomic int32_t tid;
	uint64_t unique;
};

static void *execute_in_thread(void *arg)
{
	struct parallel *p = arg;
	struct ctl_request request = { .line = p->line, .len = strlen(p->line), .unique = p->unique };
	size_t len;

	atomic_store(&p->tid, gettid());
	if (ctl_execute(&v.env, p->who, &request, &p->answer, &len) < 0)
		p->answer = NULL;
	return NULL;
}

START_TEST(one_id_at_the_same_time_happens_once)
{
	struct parallel p[4];
	pthread_t threads[4];
	json_t *a;

	for (size_t i = 0; i < 4; i++) {
		p[i] = (struct parallel){ .who = &admin,
					  .unique = ++v.unique,
					  .line = "{\"op\":\"put\",\"id\":\"0123456789abcdef0123456789abcdef\","
						  "\"name\":\"db\",\"value_length\":0}" };
		ck_assert_int_eq(pthread_create(&threads[i], NULL, execute_in_thread, &p[i]), 0);
	}
	for (size_t i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		ck_assert_ptr_nonnull(p[i].answer);
		ck_assert_str_eq(p[i].answer, p[0].answer);
	}
	for (size_t i = 0; i < 4; i++)
		free(p[i].answer);
	a = must(ask(&admin, "{\"op\":\"versions\",\"name\":\"db\"}"));
	ck_assert_uint_eq(json_array_size(json_object_get(a, "versions")), 1);
	json_decref(a);
}
END_TEST

/* Until the thread waits for something: here, for the transaction that the test holds. */
static void wait_until_blocked(struct parallel *p)
{
	char path[64], text[256];

	for (int quiet = 0; quiet < 20;) {
		int32_t tid = atomic_load(&p->tid);
		snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
		FILE *f = tid ? fopen(path, "r") : NULL;
		bool asleep = f && fgets(text, sizeof(text), f) && strrchr(text, ')') && strrchr(text, ')')[2] == 'S';
		if (f)
			fclose(f);
		quiet = asleep ? quiet + 1 : 0;
		sched_yield();
	}
}

START_TEST(who_is_revoked_while_waiting_is_denied)
{
	struct parallel p = { .who = &alice,
			      .unique = ++v.unique,
			      .line = "{\"op\":\"put\",\"id\":\"0123456789abcdef0123456789abcdef\",\"name\":\"db\","
				      "\"value_length\":0}" };
	pthread_t thread;
	json_t *a;
	uint64_t id;

	a = must(change(&admin,
			"{\"op\":\"grant\",\"role\":\"secrets-officer\",\"principal\":\"user:1000\",\"on\":\"*\"}"));
	id = (uint64_t)number(a, "binding");
	json_decref(a);
	ck_assert_int_eq(store_begin(v.store), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, execute_in_thread, &p), 0);
	wait_until_blocked(&p);
	ck_assert_int_eq(store_binding_remove(v.store, id), 0);
	ck_assert_int_eq(store_commit(v.store), 0);
	pthread_join(thread, NULL);
	a = json_loads(p.answer, 0, NULL);
	free(p.answer);
	fails(a, "EACCES", EXIT_DENIED, "secrets/set");
	recorded("SecretSet", "deny", "db", 1000);
}
END_TEST

START_TEST(a_rollback_never_brings_the_content_of_a_secret_that_had_the_name_before)
{
	struct parallel p = { .who = &admin,
			      .unique = ++v.unique,
			      .line = "{\"op\":\"rollback\",\"id\":\"0123456789abcdef0123456789abcdef\",\"name\":"
				      "\"db\",\"version\":1}" };
	struct version_attributes none = { .expires = INT64_MAX };
	struct catalog_secret before;
	uint32_t id, version;
	pthread_t thread;

	ok(put(&admin, "db", "old"));
	store_rdlock(v.store);
	before = *store_find(v.store, "db");
	store_unlock_tables(v.store);
	ck_assert_int_eq(store_begin(v.store), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, execute_in_thread, &p), 0);
	wait_until_blocked(&p);
	ck_assert_int_eq(store_secret_delete(v.store, before.id), 0);
	ck_assert_int_eq(store_secret_purge(v.store, before.id), 0);
	ck_assert_int_eq(store_commit(v.store), 0);
	ck_assert_int_eq(store_begin(v.store), 0);
	ck_assert_int_eq(store_secret_create(v.store, "db", &id), 0);
	ck_assert_int_eq(store_version_add(v.store, id, "new", 3, &none, &version), 0);
	ck_assert_int_eq(store_commit(v.store), 0);
	pthread_join(thread, NULL);
	ck_assert_ptr_nonnull(p.answer);
	/* it was so late that it read the new one only */
	if (strstr(p.answer, "\"ok\": true") || strstr(p.answer, "\"ok\":true"))
		value_is("db", 2, "new");
	free(p.answer);
}
END_TEST

/* jansson's n-th allocation from now fails; 0: none does. */
static unsigned failing_allocation;

static void *failing_malloc(size_t size)
{
	return failing_allocation && --failing_allocation == 0 ? NULL : malloc(size);
}

/* Runs the line with each single allocation failing: it is done, or refused in words or by -ENOMEM, and never half.
 * Returns the number of tries. */
static unsigned fail_each_allocation(const struct identity *who, const char *line, unsigned first_id)
{
	char buf[4096], *answer;
	unsigned n = 1, left;
	size_t len;
	int r;

	do {
		with_id(line, first_id + n, buf, sizeof(buf));
		struct ctl_request request = { .line = buf, .len = strlen(buf), .unique = v.unique++ };
		failing_allocation = n++;
		r = ctl_execute(&v.env, who, &request, &answer, &len);
		left = failing_allocation;
		failing_allocation = 0;
		if (r == 0) {
			json_t *o = json_loadb(answer, len, 0, NULL);
			ck_assert_msg(json_is_object(o), "%s", answer);
			if (json_is_false(json_object_get(o, "ok")))
				ck_assert_msg(!strcmp(string(o, "errno"), "ENOMEM") ||
						      !strcmp(string(o, "errno"), "EINVAL") || who == &bob,
					      "%s", answer);
			else
				ck_assert_msg(left != 0 || strstr(line, "\"put\"") == NULL ||
						      strstr(answer, "version") != NULL,
					      "%s", answer);
			json_decref(o);
			free(answer);
		} else {
			ck_assert_int_eq(r, -ENOMEM);
		}
	} while (left == 0 && n < 2000);
	return n;
}

START_TEST(every_failing_allocation_is_an_error_and_no_more)
{
	json_t *a;

	ok(change(&admin, "{\"op\":\"put\",\"name\":\"db\",\"value_length\":0,\"tags\":{\"a\":\"b\"}}"));
	ck_assert_uint_gt(fail_each_allocation(&admin, "{\"op\":\"show\",\"name\":\"db\"}", 1000), 20);
	ck_assert_uint_gt(fail_each_allocation(&admin, "{\"op\":\"versions\",\"name\":\"db\"}", 1000), 20);
	ck_assert_uint_gt(fail_each_allocation(&admin, "{\"op\":\"bindings\"}", 1000), 10);
	ck_assert_uint_gt(fail_each_allocation(&admin, "{\"op\":\"status\"}", 1000), 20);
	ck_assert_uint_gt(fail_each_allocation(&alice, "{\"op\":\"whoami\"}", 1000), 10);
	ck_assert_uint_gt(fail_each_allocation(&bob, "{\"op\":\"show\",\"name\":\"db\"}", 1000), 10);
	ck_assert_uint_gt(
		fail_each_allocation(&admin, "{\"op\":\"attr\",\"name\":\"db\",\"tags\":{\"c\":\"d\"}}", 2000), 20);
	ck_assert_uint_gt(
		fail_each_allocation(
			&admin, "{\"op\":\"grant\",\"role\":\"reader\",\"principal\":\"user:7\",\"on\":\"db\"}", 3000),
		20);
	a = must(ask(&admin, "{\"op\":\"show\",\"name\":\"db\"}"));
	ck_assert_str_eq(string(json_object_get(json_object_get(a, "secret"), "tags"), "a"), "b");
	json_decref(a);
}
END_TEST

/* ---- the vault ---- */

START_TEST(a_sealed_vault_answers_enokey)
{
	json_t *a;
	char line[128];

	ok(put(&admin, "db", "one"));
	fails(change(&alice, "{\"op\":\"seal\"}"), "EACCES", EXIT_DENIED, "vault/seal");
	with_id("{\"op\":\"seal\"}", 99, line, sizeof(line));
	a = must(ask(&admin, line));
	ck_assert(json_is_true(json_object_get(a, "sealed")));
	json_decref(a);
	ck_assert_uint_eq(v.sealings, 1);
	recorded("VaultSeal", "allow", NULL, 0);
	ok(ask(&admin, line));
	ck_assert_uint_eq(v.sealings, 1);
	fails(put(&admin, "db", "two"), "ENOKEY", EXIT_UNAVAILABLE, "sealed");
	recorded("SecretSet", "error", "db", 0);
	fails(ask(&admin, "{\"op\":\"list\"}"), "ENOKEY", EXIT_UNAVAILABLE, "sealed");
	strcpy(v.env.shared->keeper.mount, "/mnt/x");
	a = ask(&admin, "{\"op\":\"list\"}");
	ck_assert_ptr_nonnull(strstr(string(a, "hint"), "coffer -m /mnt/x unseal"));
	json_decref(a);
	ok(ask(&alice, "{\"op\":\"whoami\"}"));
	a = must(ask(&alice, "{\"op\":\"roles\"}"));
	ck_assert_uint_eq(json_array_size(json_object_get(a, "roles")), 13);
	json_decref(a);
	a = must(ask(&admin, "{\"op\":\"status\"}"));
	ck_assert(json_is_true(json_object_get(a, "sealed")));
	json_decref(a);
	fails(ask(&alice, "{\"op\":\"status\"}"), "ENOKEY", EXIT_UNAVAILABLE, "sealed");
}
END_TEST

START_TEST(status_has_what_the_manual_lists)
{
	static const char *const fields[] = { "vault",  "sealed", "serving", "epoch", "secrets",   "versions",
					      "mount",  "store",  "kek",     "audit", "processes", "restarts",
					      "signer", "memory", "version", "uptime" };
	json_t *a;

	ok(put(&admin, "db", "one"));
	strcpy(v.env.shared->keeper.mount, "/vault");
	atomic_store(&v.env.shared->keeper.worker, 42);
	v.env.shared->keeper.started = time_now();
	fails(ask(&alice, "{\"op\":\"status\"}"), "EACCES", EXIT_DENIED, "vault/status");
	recorded("VaultStatus", "deny", NULL, 1000);
	a = must(ask(&admin, "{\"op\":\"status\"}"));
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		ck_assert_msg(json_object_get(a, fields[i]) != NULL, "%s", fields[i]);
	ck_assert_str_eq(string(a, "vault"), "test");
	ck_assert_int_eq(number(a, "secrets"), 1);
	ck_assert_int_eq(number(json_object_get(a, "processes"), "worker"), 42);
	ck_assert(json_is_null(json_object_get(json_object_get(a, "processes"), "standby")));
	ck_assert_str_eq(string(json_object_get(a, "kek"), "provider"), "file");
	ck_assert_uint_eq(strlen(string(json_object_get(a, "audit"), "head")), 64);
	json_decref(a);
	recorded("VaultStatus", "allow", NULL, 0);
}
END_TEST

START_TEST(whoami_says_what_is_held)
{
	json_t *a;
	char *text;
	size_t len;

	grant("secrets-user", "user:1000", "db");
	grant("secrets-user", "user:1000", "web");
	ck_assert_int_eq(text_whoami(&v.env, &alice, &text, &len), 0);
	ck_assert_uint_eq(strlen(text), len);
	a = json_loads(text, 0, NULL);
	free(text);
	ck_assert_int_eq(number(a, "uid"), 1000);
	ck_assert(json_is_null(json_object_get(a, "container")));
	ck_assert_uint_eq(json_array_size(json_object_get(a, "roles")), 1);
	ck_assert_uint_eq(json_array_size(json_object_get(a, "bindings")), 2);
	json_decref(a);
}
END_TEST

START_TEST(metrics_are_well_formed)
{
	static const char *const names[] = { "coffer_opens_total",
					     "coffer_denials_total",
					     "coffer_reads_total",
					     "coffer_secrets",
					     "coffer_versions",
					     "coffer_sealed",
					     "coffer_worker_restarts_total",
					     "coffer_audit_seq",
					     "coffer_audit_failing",
					     "coffer_audit_headroom_ratio",
					     "coffer_build_info" };
	char *text, *rest, *line;
	size_t len;

	ck_assert_int_eq(text_metrics(&v.env, &text, &len), 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char type[128];
		snprintf(type, sizeof(type), "# TYPE %s ", names[i]);
		ck_assert_msg(strstr(text, type) != NULL, "%s", names[i]);
	}
	rest = text;
	while ((line = strsep(&rest, "\n")) && *line) {
		char name[128], *end;
		if (*line == '#')
			continue;
		ck_assert_int_eq(sscanf(line, "%127[a-z_]", name), 1);
		strtod(strrchr(line, ' '), &end);
		ck_assert_int_eq(*end, '\0');
	}
	free(text);
}
END_TEST

START_TEST(error_answers_without_a_request)
{
	char *text;
	size_t len;
	json_t *a;

	ck_assert_int_eq(ctl_error_answer(-EFBIG, "cut in a char\xc3", &text, &len), 0);
	a = json_loads(text, 0, NULL);
	free(text);
	ck_assert_str_eq(string(a, "message"), "cut in a char?");
	fails(a, "EFBIG", EXIT_ERROR, "cut");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ctl");
	TCase *tc = tcase_create("ctl");
	SRunner *sr;
	int failed;

	json_set_alloc_funcs(failing_malloc, free);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, refuses_lines_that_are_no_request);
	tcase_add_test(tc, refuses_values_of_changes_that_make_no_sense);
	tcase_add_test(tc, reads_the_length_of_the_value_that_follows);
	tcase_add_test(tc, refuses_lines_that_are_too_long);
	tcase_add_test(tc, put_makes_secret_and_versions);
	tcase_add_test(tc, put_keeps_attributes);
	tcase_add_test(tc, put_without_the_right_is_denied_and_recorded);
	tcase_add_test(tc, put_beyond_the_vaults_limit_names_it);
	tcase_add_test(tc, put_to_a_disabled_secret_is_denied);
	tcase_add_test(tc, put_takes_a_large_value);
	tcase_add_test(tc, a_repeated_request_happens_once);
	tcase_add_test(tc, a_request_that_comes_again_after_its_commit_happens_once);
	tcase_add_test(tc, every_change_that_is_repeated_gives_the_first_answer);
	tcase_add_test(tc, a_change_that_takes_its_own_right_away_is_answered_when_it_comes_again);
	tcase_add_test(tc, a_seal_that_comes_again_seals);
	tcase_add_test(tc, every_operation_that_asks_denies_who_has_no_binding);
	tcase_add_test(tc, a_block_is_made_once_and_denies_from_then_on);
	tcase_add_test(tc, a_set_is_one_transaction_and_happens_once);
	tcase_add_test(tc, a_set_with_one_name_that_fails_stores_nothing);
	tcase_add_test(tc, who_administers_bindings_alone_makes_no_block);
	tcase_add_test(tc, another_request_under_the_same_id_is_a_conflict);
	tcase_add_test(tc, ids_of_other_users_do_not_meet);
	tcase_add_test(tc, a_repeat_after_revocation_is_denied);
	tcase_add_test(tc, list_is_sorted_and_filtered);
	tcase_add_test(tc, show_and_versions_need_list);
	tcase_add_test(tc, attr_changes_what_it_names_only);
	tcase_add_test(tc, attr_counts_tags);
	tcase_add_test(tc, disable_says_what_current_serves);
	tcase_add_test(tc, destroy_ends_a_version_for_ever);
	tcase_add_test(tc, purge_protection_is_switched_on_for_ever);
	tcase_add_test(tc, dates_of_a_deleted_secret_are_for_who_can_do_something_about_it);
	tcase_add_test(tc, rollback_brings_old_content_back);
	tcase_add_test(tc, rollback_needs_get_as_well_as_set);
	tcase_add_test(tc, rollback_to_an_expired_version_is_refused_where_validity_is_enforced);
	tcase_add_test(tc, grant_gives_and_revoke_takes);
	tcase_add_test(tc, the_same_binding_twice_is_a_conflict);
	tcase_add_test(tc, revoke_by_words_takes_every_window);
	tcase_add_test(tc, root_without_host_gets_a_warning);
	tcase_add_loop_test(tc, a_revocation_or_a_block_reaches_a_backup_under_way, 0, 2);
	tcase_add_test(tc, nobody_begins_more_restores_than_his_share);
	tcase_add_test(tc, the_last_administrator_stays);
	tcase_add_test(tc, a_data_access_administrator_hands_out_data_roles_only);
	tcase_add_test(tc, bindings_shows_ones_own_without_the_right);
	tcase_add_test(tc, roles_are_made_once);
	tcase_add_test(tc, can_i_about_others_needs_bindings_list);
	tcase_add_test(tc, can_i_tells_what_stands_in_the_way);
	tcase_add_test(tc, can_i_knows_validity_where_it_is_enforced);
	tcase_add_test(tc, nothing_is_done_that_cannot_be_recorded);
	tcase_add_test(tc, a_commit_that_fails_is_recorded_after_what_it_promised);
	tcase_add_test(tc, a_file_operation_whose_commit_fails_when_it_comes_again_is_recorded_as_failed);
	tcase_add_test(tc, a_request_that_comes_again_to_another_worker_is_recorded_once);
	tcase_add_test(tc, floods_of_denials_are_held_back);
	tcase_add_test(tc, one_id_at_the_same_time_happens_once);
	tcase_add_test(tc, who_is_revoked_while_waiting_is_denied);
	tcase_add_test(tc, a_rollback_never_brings_the_content_of_a_secret_that_had_the_name_before);
	tcase_add_test(tc, every_failing_allocation_is_an_error_and_no_more);
	tcase_add_test(tc, a_sealed_vault_answers_enokey);
	tcase_add_test(tc, status_has_what_the_manual_lists);
	tcase_add_test(tc, whoami_says_what_is_held);
	tcase_add_test(tc, metrics_are_well_formed);
	tcase_add_test(tc, error_answers_without_a_request);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
