#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/caller/subuid.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever the two files hold: ranges that are ascending and apart, none of them with uid 0, and an end to each
 * question. */
static void check(const struct subuid_table *t)
{
	const struct subuid_range *range;

	for (size_t i = 0; i < t->n; i++) {
		const struct subuid_range *r = &t->ranges[i];
		assert(r->first > 0 && r->first <= r->last && r->last < UINT32_MAX);
		assert(i == 0 || t->ranges[i - 1].last < r->first);
		(void)subuid_owner(t, r->first, &range);
		assert(range == r);
		(void)subuid_owner(t, r->last, &range);
		assert(range == r);
		(void)subuid_owner(t, r->owner, &range);
	}
	assert(subuid_owner(t, 0, &range) == 0 && !range);
}

/* Bytes in fours as good lines, and whose each uid is found by looking at every line. */
#define LINES_MAX 64
static const struct {
	const char *name;
	uint32_t owner;
} people[] = {
	{ "alice", 1000 }, { "bob", 1001 }, { "root", SUBUID_ROOT }, { "1000", 1000 }, { "nobody-here", SUBUID_UNKNOWN }
};
#define PEOPLE (sizeof(people) / sizeof(people[0]))

static void compare(const uint8_t *data, size_t size, const char *passwd, size_t passwd_len)
{
	char text[LINES_MAX * 40];
	const size_t n = size / 4 < LINES_MAX ? size / 4 : LINES_MAX;
	struct subuid_faults faults;
	struct subuid_table t;
	size_t len = 0;

	for (size_t i = 0; i < n; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s:%u:%u\n", people[data[4 * i] % PEOPLE].name,
					data[4 * i + 1] * 2u, data[4 * i + 2] % 64u);
	if (subuid_parse(text, len, passwd, passwd_len, &t, &faults) < 0)
		return;
	check(&t);
	for (uint32_t uid = 1; uid < 600; uid++) {
		uint32_t owner = 0;
		bool roots = false, users = false, several = false;

		for (size_t i = 0; i < n; i++) {
			const uint32_t first = data[4 * i + 1] * 2u, count = data[4 * i + 2] % 64u,
				       who = people[data[4 * i] % PEOPLE].owner;
			if (uid < first || uid - first >= count)
				continue;
			roots |= who == SUBUID_ROOT;
			if (who == SUBUID_ROOT)
				continue;
			several |= users && (who != owner || who == SUBUID_UNKNOWN);
			users = true;
			owner = who;
		}
		const struct subuid_range *r = subuid_find(&t, uid);
		assert((r != NULL) == (roots || users));
		assert(!r || r->owner == (!users ? SUBUID_ROOT : several ? SUBUID_UNKNOWN : owner));
	}
	free(t.ranges);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char passwd[] = "alice:x:1000:\nbob:x:1001:\nroot:x:0:\n";
	const char *text = (const char *)data;
	struct subuid_faults faults;
	struct subuid_table t;

	if (subuid_parse(text, size, passwd, sizeof(passwd) - 1, &t, &faults) == 0) {
		check(&t);
		free(t.ranges);
	}
	compare(data, size, passwd, sizeof(passwd) - 1);
	/* the same bytes as accounts, too */
	if (subuid_parse(text, size, text, size, &t, &faults) == 0) {
		check(&t);
		free(t.ranges);
	}
	return 0;
}
