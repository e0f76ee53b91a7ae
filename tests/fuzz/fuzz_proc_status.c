#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "fs/caller/caller.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Mutations of noise seldom make a status: each input is tried as it is, and as the lines around the groups of a sound
 * one. */
static void parse(const char *text, size_t len)
{
	struct proc_status s, before;

	memset(&s, 0xa5, sizeof(s));
	before = s;
	if (proc_status_parse(text, len, &s) < 0) {
		assert(memcmp(&s, &before, sizeof(s)) == 0);
		return;
	}
	assert(s.tgid > 0 && s.ppid >= 0);
	assert((s.n_groups == 0) == (s.groups == NULL) && s.n_groups <= 65536);
	assert(strnlen(s.comm, sizeof(s.comm)) < sizeof(s.comm));
	free(s.groups);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char head[] = "Name:\tx\nTgid:\t7\nPPid:\t1\nUid:\t1\t2\t3\t4\nGid:\t1\t2\t3\t4\nGroups:\t",
			  tail[] = "\nThreads:\t1\n";
	size_t len = sizeof(head) - 1 + size + sizeof(tail) - 1;
	char *text = malloc(len);

	parse((const char *)data, size);
	if (!text)
		return 0;
	memcpy(text, head, sizeof(head) - 1);
	memcpy(text + sizeof(head) - 1, data, size);
	memcpy(text + sizeof(head) - 1 + size, tail, sizeof(tail) - 1);
	parse(text, len);
	free(text);
	return 0;
}
