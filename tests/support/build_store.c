/* build_store DIR --secrets N --bindings M [--value BYTES] [--prefix NAME] [--age SECONDS] [--expires SECONDS]
 * Fills an initialised store with N secrets named s000000, s000001 … (or NAME000000 …) and M bindings (secrets-user for
 * user:100000+i on one secret each) in one transaction, through the store's own calls, for benchmarks and start-up
 * tests, and for tests of what time does: secrets made AGE ago that expire that long from now (or, negative, did).
 * Reads the KEK as vault.conf says: as root. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "open_store.h"
#include "policy/binding.h"
#include "policy/role.h"
#include "store/core/database.h"
#include "store/core/transaction.h"
#include "store/grants/grants.h"
#include "store/objects/objects.h"

struct amounts {
	unsigned long secrets, bindings, value;
	const char *prefix;
	long age, expires;
	bool ends;
};

static int64_t then;

/* The store's clock stands at the time at which its secrets are made. */
static int64_t stopped_clock(void) { return then; }

static int add_secrets(struct store *s, const struct amounts *a)
{
	char *value = malloc(a->value + 1), name[NAME_LEN_MAX + 1];
	struct version_attributes attributes = { .not_before = INT64_MIN, .expires = INT64_MAX };
	uint32_t id, version;
	int r = value ? 0 : -ENOMEM;

	if (a->ends)
		attributes.expires = then + (a->age + a->expires) * (int64_t)NS_PER_S;

	for (unsigned long i = 0; i < a->secrets && r == 0; i++) {
		snprintf(name, sizeof name, "%s%06lu", a->prefix, i);
		for (unsigned long j = 0; j < a->value; j++)
			value[j] = (char)('a' + (i + j) % 26);
		r = store_secret_create(s, name, &id);
		if (r == 0)
			r = store_version_add(s, id, value, a->value, &attributes, &version);
	}
	free(value);
	return r;
}

static int add_bindings(struct store *s, const struct amounts *a)
{
	struct binding b = { .from = INT64_MIN, .until = BINDING_FOREVER };
	uint64_t id;
	int r = 0;

	b.role = role_builtin_find("secrets-user")->id;
	b.principal.n = 1;
	for (unsigned long i = 0; i < a->bindings && r == 0; i++) {
		b.principal.conditions[0] = (struct principal_condition){ PRINCIPAL_USER, (uint32_t)(100000 + i) };
		snprintf(b.scope, sizeof b.scope, "s%06lu", a->secrets ? i % a->secrets : i);
		r = store_binding_add(s, &b, NULL, NULL, &id);
	}
	return r;
}

static int fill(struct store *s, const struct amounts *a)
{
	int r = store_begin(s);

	if (r < 0)
		return r;
	r = add_secrets(s, a);
	if (r == 0)
		r = add_bindings(s, a);
	if (r == 0)
		return store_commit(s);
	store_rollback(s);
	return r;
}

static int build(const char *dir, const struct amounts *a, char *why, size_t why_len)
{
	struct opened o;
	int r = open_store(dir, &o, why, why_len);

	if (r == 0 && (a->age || a->ends)) {
		then = store_now(o.store) - a->age * (int64_t)NS_PER_S;
		o.store->clock = stopped_clock;
	}
	if (r == 0)
		r = fill(o.store, a);
	open_store_end(&o);
	return r;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "secrets", required_argument, NULL, 's' },
		{ "bindings", required_argument, NULL, 'b' },
		{ "value", required_argument, NULL, 'v' },
		{ "prefix", required_argument, NULL, 'p' },
		{ "age", required_argument, NULL, 'a' },
		{ "expires", required_argument, NULL, 'e' },
		{ 0 },
	};
	struct amounts a = { .value = 256, .prefix = "s" };
	char why[512] = "";
	int c, r;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 's')
			a.secrets = strtoul(optarg, NULL, 10);
		else if (c == 'b')
			a.bindings = strtoul(optarg, NULL, 10);
		else if (c == 'v')
			a.value = strtoul(optarg, NULL, 10);
		else if (c == 'p')
			a.prefix = optarg;
		else if (c == 'a')
			a.age = strtol(optarg, NULL, 10);
		else if (c == 'e') {
			a.expires = strtol(optarg, NULL, 10);
			a.ends = true;
		} else
			return 2;
	}
	if (optind != argc - 1) {
		fprintf(stderr, "usage: build_store DIR --secrets N --bindings M [--value BYTES] [--prefix NAME] "
				"[--age SECONDS] [--expires SECONDS]\n");
		return 2;
	}
	r = build(argv[optind], &a, why, sizeof why);
	if (r < 0)
		fprintf(stderr, "build_store: %s%s%s\n", strerror(-r), why[0] ? ": " : "", why);
	return r < 0;
}
