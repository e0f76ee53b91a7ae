#include "policy/scope.h"

#include <string.h>

enum { LATER = 1, FIRST = 2 };

/* What a byte may be in a name. A table, not isalnum(3): a locale must not widen what a name is; and every open asks.
 */
static const unsigned char classes[256] = {
	['0' ... '9'] = FIRST | LATER,
	['A' ... 'Z'] = FIRST | LATER,
	['a' ... 'z'] = FIRST | LATER,
	['.'] = LATER,
	['_'] = LATER,
	['-'] = LATER,
};

/* The length of the longest start of text that could be a name or begin one; 0 when there is none. Stops one byte after
 * NAME_LEN_MAX at the latest, so that an endless text costs no more than a long one. */
static size_t name_span(const char *text)
{
	size_t n = 0;

	if (!(classes[(unsigned char)text[0]] & FIRST))
		return 0;
	while (n <= NAME_LEN_MAX && (classes[(unsigned char)text[n]] & LATER))
		n++;
	return n;
}

bool name_valid(const char *name)
{
	size_t n = name_span(name);

	return n > 0 && n <= NAME_LEN_MAX && name[n] == '\0';
}

bool scope_valid(const char *scope)
{
	size_t n = name_span(scope);

	if (scope[n] == '*')
		/* room for at least one byte in place of the star */
		return n < NAME_LEN_MAX && scope[n + 1] == '\0';
	return n > 0 && n <= NAME_LEN_MAX && scope[n] == '\0';
}

bool scope_covers(const char *scope, const char *resource)
{
	if (!scope_valid(scope))
		return false;
	if (!resource)
		return !strcmp(scope, "*");
	if (!scope_valid(resource))
		return false;
	size_t n = strlen(scope);
	if (scope[n - 1] == '*')
		return !strncmp(scope, resource, n - 1);
	return !strcmp(scope, resource);
}
