/* What each part of an open costs by itself, in nanoseconds: the rooms called in a loop, without FUSE.
 *
 *   bench_parts SCRATCH [REPETITIONS]
 *
 * SCRATCH is a directory of the caller's own: a store and a log are made in it. Each line is "NAME NANOSECONDS", the
 * median of the repetitions. run.sh sets them against the cycle. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fs/caller/caller.h"
#include "fs/shared/handle.h"
#include "policy/policy.h"
#include "store/audit/head.h"
#include "store/core/transaction.h"
#include "store/crypto/secbuf.h"
#include "store/keys/envelope.h"
#include "store/keys/kek.h"
#include "store/keys/keys.h"
#include "store/keys/vaultconf.h"
#include "store/objects/objects.h"
#include "store/store.h"

#define ARENA           (32u << 20)
#define REPETITIONS_MAX 101
#define UID             1000u

static const size_t sizes[] = { 256, 4096, 65536 };
#define N_SIZES (sizeof sizes / sizeof *sizes)

static unsigned repetitions = 11;
static const char *scratch;

__attribute__((noreturn)) static void die(const char *what, int r, const char *why)
{
	fprintf(stderr, "bench_parts: %s: %s%s%s\n", what, strerror(-r), why && *why ? ": " : "", why ? why : "");
	exit(1);
}

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t wall(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* fn does its act n times. */
static void measure(const char *name, unsigned n, void (*fn)(void *arg, unsigned n), void *arg)
{
	double ns[REPETITIONS_MAX];

	fn(arg, n / 4 + 1);
	for (unsigned i = 0; i < repetitions; i++) {
		int64_t t = now();
		fn(arg, n);
		ns[i] = (double)(now() - t) / n;
	}
	qsort(ns, repetitions, sizeof *ns, compare);
	printf("%s %.0f\n", name, ns[repetitions / 2]);
	fflush(stdout);
}

/* ---- policy ---- */

struct asked {
	struct policy *policy;
	struct policy_caller who;
	int64_t at;
};

static void ask(void *arg, unsigned n)
{
	struct asked *a = arg;
	struct policy_answer answer;

	for (unsigned i = 0; i < n; i++) {
		policy_decide(a->policy, &a->who, ACTION_SECRETS_GET, "s000042", a->at, &answer);
		if (answer.decision != POLICY_ALLOW)
			die("policy_decide", -EACCES, NULL);
	}
}

/* One binding lets the caller in; the others speak of other users, groups and names. */
static struct policy *policy_of(unsigned bindings)
{
	struct policy_change *changes = calloc(bindings, sizeof *changes);
	struct policy *empty = policy_new(), *full;
	const struct role *role = role_builtin_find("secrets-user");

	if (!changes || !empty || !role)
		die("policy", -ENOMEM, NULL);
	for (unsigned i = 0; i < bindings; i++) {
		struct binding *b = &changes[i].binding;

		changes[i].kind = POLICY_ADD_BINDING;
		*b = (struct binding){ .id = i + 1, .role = role->id, .from = INT64_MIN, .until = BINDING_FOREVER };
		b->principal.n = 1;
		b->principal.conditions[0] = i == 0 ? (struct principal_condition){ PRINCIPAL_USER, UID }
						    : (struct principal_condition){ i % 2 ? PRINCIPAL_USER
											  : PRINCIPAL_GROUP,
										    10000 + i };
		if (i == 0)
			snprintf(b->scope, sizeof b->scope, "*");
		else
			snprintf(b->scope, sizeof b->scope, i % 3 ? "s%06u" : "s%06u*", i);
	}
	int r = policy_apply(empty, changes, bindings, &full);
	if (r < 0)
		die("policy_apply", r, NULL);
	policy_unref(empty);
	free(changes);
	return full;
}

static void policy_parts(void)
{
	static const uint32_t groups[] = { 1000, 1001, 1002 };
	static const unsigned counts[] = { 10, 10000 };

	for (size_t i = 0; i < 2; i++) {
		char name[64];
		struct asked a = { .policy = policy_of(counts[i]),
				   .at = wall(),
				   .who = { .uid = UID, .gid = UID, .groups = groups, .n_groups = 3, .host = true } };

		snprintf(name, sizeof name, "policy_decide/%u", counts[i]);
		measure(name, 20000, ask, &a);
		policy_unref(a.policy);
	}
}

/* ---- caller ---- */

static void callers_cached(void *arg, unsigned n)
{
	uint32_t uid = geteuid(), gid = getegid();
	pid_t tid = gettid();

	for (unsigned i = 0; i < n; i++) {
		struct identity *who = caller_cached(arg, uid, gid, tid);
		const char *why = NULL;

		/* once in 50 ms, as in the daemon */
		if (!who) {
			int r = caller_resolve(arg, uid, gid, tid, &who, &why);
			if (r < 0)
				die("caller_resolve", r, why);
		}
		identity_unref(who);
	}
}

static void callers_resolved(void *arg, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct identity *who;
		const char *why = NULL;
		int r = caller_resolve(arg, geteuid(), getegid(), gettid(), &who, &why);

		if (r < 0)
			die("caller_resolve", r, why);
		identity_unref(who);
	}
}

static void caller_parts(void)
{
	struct callers_config config = { .proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC),
					 .resolver_fd = -1 };
	struct callers *callers;
	int r = callers_new(&config, &callers);

	if (r < 0)
		die("callers_new", r, NULL);
	measure("caller_cached", 20000, callers_cached, callers);
	measure("caller_resolve", 500, callers_resolved, callers);
	callers_free(callers);
}

/* ---- handle ---- */

static void handles_open_close(void *arg, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct handle *e;
		int r = handle_new(arg,
				   &(struct handle_ask){
					   .unique = 2ull * i + 2, .neighbour = UID, .uid = UID, .kind = HANDLE_VALUE },
				   &e);

		if (r < 0)
			die("handle_new", r, NULL);
		e->secret = 42;
		handle_show(e, 1, 0);
		handle_release(arg, handle_publish(arg, e));
	}
}

static void handle_parts(void)
{
	struct handle_table *table = mmap(NULL, sizeof *table, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
					  0);
	struct handles *handles;

	if (table == MAP_FAILED)
		die("handle table", -errno, NULL);
	int r = handles_new(table, &handles);
	if (r < 0)
		die("handles_new", r, NULL);
	measure("handle", 20000, handles_open_close, handles);
	handles_free(handles);
	munmap(table, sizeof *table);
}

/* ---- audit ---- */

static int segment_open(void *arg, uint32_t number, bool create, int *ret_fd)
{
	return audit_segment_open_at(*(int *)arg, number, create, getegid(), ret_fd);
}

/* Each open has its record; or, of one process that goes on and on, is counted. */
static bool one_process;

static void append(void *arg, unsigned n)
{
	static uint32_t process;
	static struct audit_caller who = { .uid = UID,
					   .gid = UID,
					   .pid = 4711,
					   .loginuid = UID,
					   .comm = "cat",
					   .exe = "/usr/bin/cat",
					   .unit = "user@1000.service",
					   .container = "" };
	struct audit_event e = { .operation = AUDIT_SECRET_GET,
				 .result = AUDIT_ALLOW,
				 .secret = "s000042",
				 .version = 1,
				 .caller = &who,
				 .binding = 11,
				 .role = "secrets-user",
				 .duration_us = 7 };

	if (who.json_len == 0)
		audit_caller_render(&who);
	for (unsigned i = 0; i < n; i++) {
		e.unique = 2ull * i + 2;
		if (!one_process)
			process++;
		memcpy(who.origin, &process, sizeof process);
		who.origin[15] = 1;
		int r = audit_append(arg, &e, NULL);
		if (r < 0)
			die("audit_append", r, NULL);
	}
}

static void audit_parts(const char *store)
{
	static struct audit_head head;
	char path[4096], why[512] = "";
	struct audit *audit;
	int dir, r;

	snprintf(path, sizeof path, "%s/bench.verify", scratch);
	r = audit_create(store, path, "bench", getegid(), why, sizeof why);
	if (r < 0)
		die("audit_create", r, why);
	snprintf(path, sizeof path, "%s/audit", store);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct audit_config config = { .dir_fd = dir,
				       .head_fd = openat(dir, "head", O_RDWR | O_CLOEXEC),
				       .head = &head,
				       .vault = "bench",
				       .host = "localhost",
				       .segment_open = segment_open,
				       .keep_bytes = 1 << 30,
				       .keep_seconds = 30 * 86400,
				       .arg = &dir };
	r = audit_open(&config, &audit, why, sizeof why);
	if (r < 0)
		die("audit_open", r, why);
	measure("audit_append", 3000, append, audit);
	one_process = true;
	measure("audit_append/counted", 3000, append, audit);
	audit_close(audit);
}

/* ---- envelope ---- */

struct sealed {
	uint8_t key[KEY_LEN];
	struct envelope_context context;
	uint8_t *bytes;
	size_t len;
};

static void envelopes_open(void *arg, unsigned n)
{
	struct sealed *s = arg;

	for (unsigned i = 0; i < n; i++) {
		struct secbuf *plain;
		int r = secbuf_new(s->len - ENVELOPE_OVERHEAD, &plain);

		if (r < 0)
			die("secbuf_new", r, NULL);
		r = envelope_open(s->key, &s->context, s->bytes, s->len, plain);
		if (r < 0)
			die("envelope_open", r, NULL);
		secbuf_free(plain);
	}
}

static void envelope_parts(void)
{
	for (size_t i = 0; i < N_SIZES; i++) {
		char name[64];
		struct sealed s = { .context = { .secret = 42, .version = 1 }, .len = sizes[i] + ENVELOPE_OVERHEAD };
		uint8_t *plain = calloc(1, sizes[i]);

		s.bytes = malloc(s.len);
		if (!plain || !s.bytes)
			die("envelope", -ENOMEM, NULL);
		int r = random_bytes(s.key, sizeof s.key);
		if (r == 0)
			r = envelope_seal(s.key, &s.context, plain, sizes[i], s.bytes);
		if (r < 0)
			die("envelope_seal", r, NULL);
		snprintf(name, sizeof name, "envelope_open/%zu", sizes[i]);
		measure(name, sizes[i] > 10000 ? 500 : 5000, envelopes_open, &s);
		free(plain);
		free(s.bytes);
	}
}

/* ---- value: what a first READ of a handle asks of the store ---- */

struct stored {
	struct store *store;
	uint32_t id;
};

static void values_read(void *arg, unsigned n)
{
	struct stored *s = arg;

	for (unsigned i = 0; i < n; i++) {
		struct secbuf *plain;
		int r = store_version_read(s->store, s->id, 1, &plain);

		if (r < 0)
			die("store_version_read", r, NULL);
		secbuf_free(plain);
	}
}

static struct keys *keys_make(struct vaultconf *conf)
{
	char why[512] = "";
	uint8_t vault_key[KEY_LEN];
	struct kek *kek;
	struct keys *keys;

	snprintf(conf->name, sizeof conf->name, "bench");
	snprintf(conf->kek, sizeof conf->kek, "file:%.1000s/bench.kek", scratch);
	int r = random_bytes(conf->id, sizeof conf->id);
	if (r < 0)
		die("random_bytes", r, NULL);
	struct kek_source source = { .uri = conf->kek, .fd = -1 };
	r = kek_create(&source, conf->kek_params, &kek, why, sizeof why);
	if (r < 0)
		die("kek_create", r, why);
	r = keys_new_local(kek, &keys);
	if (r < 0)
		die("keys_new_local", r, NULL);
	struct wrap_context context = { .type = WRAP_VAULT_KEY };
	memcpy(context.vault, conf->id, sizeof conf->id);
	r = keys_wrap_new(keys, &context, vault_key, conf->vault_record, &conf->vault_record_len);
	secmem_wipe(vault_key, sizeof vault_key);
	if (r < 0)
		die("keys_wrap_new", r, NULL);
	return keys;
}

static uint32_t secret_make(struct store *store, size_t size)
{
	struct version_attributes attributes = { .not_before = INT64_MIN, .expires = INT64_MAX };
	char name[64];
	uint32_t id, version;
	void *value = calloc(1, size);

	snprintf(name, sizeof name, "v%zu", size);
	int r = value ? store_begin(store) : -ENOMEM;
	if (r == 0)
		r = store_secret_create(store, name, &id);
	if (r == 0)
		r = store_version_add(store, id, value, size, &attributes, &version);
	if (r == 0)
		r = store_commit(store);
	if (r < 0)
		die("storing a value", r, NULL);
	free(value);
	return id;
}

static void store_parts(const char *dir)
{
	struct store_settings settings = { .retention_days = 90, .value_max = VALUE_MAX };
	struct principal admin = { .n = 1, .conditions = { { PRINCIPAL_USER, geteuid() } } };
	struct vaultconf conf = { .name = "" };
	char why[512] = "";
	struct keys *keys = keys_make(&conf);
	int r = store_create(dir, &conf, keys, &settings, &admin, 1, geteuid(), getegid(), why, sizeof why);

	if (r < 0)
		die("store_create", r, why);
	struct store_config config = { .dir = dir, .conf = &conf };
	struct stored s;
	r = store_open(&config, &s.store, why, sizeof why);
	if (r == 0)
		r = store_unlock(s.store, keys, why, sizeof why);
	if (r < 0)
		die("store_open", r, why);
	for (size_t i = 0; i < N_SIZES; i++) {
		char name[64];

		s.id = secret_make(s.store, sizes[i]);
		snprintf(name, sizeof name, "store_version_read/%zu", sizes[i]);
		measure(name, sizes[i] > 10000 ? 500 : 5000, values_read, &s);
	}
	store_close(s.store);
	keys_free(keys);
}

int main(int argc, char **argv)
{
	char dir[2048];
	int r;

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: bench_parts SCRATCH [REPETITIONS]\n");
		return 2;
	}
	scratch = argv[1];
	if (argc == 3)
		repetitions = (unsigned)strtoul(argv[2], NULL, 10);
	if (repetitions == 0 || repetitions > REPETITIONS_MAX)
		repetitions = 11;
	snprintf(dir, sizeof dir, "%s/store", scratch);
	if (mkdir(dir, 0755) < 0)
		die(dir, -errno, NULL);
	r = secmem_init(ARENA, SECMEM_AUTO);
	if (r == 0)
		r = crypto_init();
	if (r < 0)
		die("locked memory", r, NULL);
	policy_parts();
	caller_parts();
	handle_parts();
	envelope_parts();
	audit_parts(dir);
	store_parts(dir);
	return 0;
}
