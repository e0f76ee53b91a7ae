#include "fs/common/sizefmt.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

static int suffix_shift(char c)
{
	switch (c) {
	case '\0':
		return 0;
	case 'K':
	case 'k':
		return 10;
	case 'M':
	case 'm':
		return 20;
	case 'G':
	case 'g':
		return 30;
	default:
		return -EINVAL;
	}
}

int size_parse(const char *text, uint64_t *ret_size)
{
	unsigned long long n;
	char *end;
	int shift;

	if (!isdigit((unsigned char)*text)) /* strtoull takes spaces and signs */
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	shift = suffix_shift(*end);
	if (errno || shift < 0 || (*end && end[1]) || n > SIZE_PARSE_MAX >> shift)
		return -EINVAL;
	*ret_size = (uint64_t)n << shift;
	return 0;
}
