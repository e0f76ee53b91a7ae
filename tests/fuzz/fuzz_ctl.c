/* Request lines of .coffer/ctl: whatever comes, a line is refused with one line of words, or its fields have been
 * checked. */
#include <stdlib.h>
#include <string.h>

#include "fs/ctl/internal.h"

static const char *const seeds[] = {
	"{\"op\":\"put\",\"id\":\"00112233445566778899aabbccddeeff\",\"name\":\"db\",\"value_length\":5,\"tags\":{"
	"\"a\":\"b\"},\"expires\":\"90d\"}",
	"{\"op\":\"attr\",\"id\":\"00112233445566778899aabbccddeeff\",\"name\":\"db\",\"version\":2,\"not_before\":"
	"\"2026-01-01T00:00:00+01:00\"}",
	"{\"op\":\"grant\",\"id\":\"00112233445566778899aabbccddeeff\",\"role\":\"reader\",\"principal\":\"user:1000,"
	"host\",\"on\":\"db-*\",\"until\":null}",
	"{\"op\":\"can-i\",\"action\":\"secrets/get\",\"name\":\"*\",\"as\":\"user:1,group:2\"}",
	"{\"op\":\"role-create\",\"id\":\"00112233445566778899aabbccddeeff\",\"name\":\"x\",\"actions\":[\"secrets/"
	"*\"]}",
};

static void one(const char *line, size_t len)
{
	struct ctl_request request = { .line = line, .len = len };
	struct ctl_env env = { 0 };
	struct ctl c = { .env = &env, .request = &request, .now = 1790000000000000000 };
	char why[256], *answer;
	uint64_t value_len;
	size_t answer_len;

	if (ctl_check_line(&c) < 0) {
		if (!c.error || !*c.message || strchr(c.message, '\n'))
			abort();
		if (ctl_error_answer(c.error, c.message, &answer, &answer_len) < 0)
			abort();
		free(answer);
	} else if (ctl_value_length(line, len, &value_len, why, sizeof(why)) < 0 || value_len != c.args.value_length) {
		abort();
	} else if (c.args.name && !name_valid(c.args.name)) {
		abort();
	}
	ctl_done(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input itself; and, because random bytes are hardly ever JSON, a good line with a piece of it replaced. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char line[512];

	one((const char *)data, size);
	if (size >= 3) {
		const char *seed = seeds[data[0] % (sizeof(seeds) / sizeof(seeds[0]))];
		size_t len = strlen(seed), at = data[1] % len, n = data[2] % 8, piece = size - 3 < 32 ? size - 3 : 32;
		if (n > len - at)
			n = len - at;
		memcpy(line, seed, at);
		memcpy(line + at, data + 3, piece);
		memcpy(line + at + piece, seed + at + n, len - at - n);
		one(line, len - n + piece);
	}
	return 0;
}
