#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "fs/caller/caller.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char head[] = "0::/docker/" ID "/", tail[] = "\n";
	char unit[256], container[288], small[3];
	size_t len = sizeof(head) - 1 + size + sizeof(tail) - 1;
	char *text = malloc(len);

	proc_cgroup_parse((const char *)data, size, unit, sizeof(unit), container, sizeof(container));
	assert(strnlen(unit, sizeof(unit)) < sizeof(unit) && strnlen(container, sizeof(container)) < sizeof(container));
	proc_cgroup_parse((const char *)data, size, small, sizeof(small), small, 1);
	assert(small[0] == '\0');
	if (!text)
		return 0;
	/* whatever a container makes below itself, it stays the container that it is */
	memcpy(text, head, sizeof(head) - 1);
	memcpy(text + sizeof(head) - 1, data, size);
	memcpy(text + sizeof(head) - 1 + size, tail, sizeof(tail) - 1);
	if (!memchr(data, '\n', size)) {
		proc_cgroup_parse(text, len, unit, sizeof(unit), container, sizeof(container));
		assert(strcmp(container, "docker:" ID) == 0);
	}
	free(text);
	return 0;
}
