#include "fs/cli/common/harmless.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* One character of UTF-8 (RFC 3629): how many bytes it has; 0: what stands here is none. */
static size_t decode(const unsigned char *p, uint32_t *ret_code)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const size_t n = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;
	uint32_t code = n == 1 ? p[0] : n ? p[0] & (0x7fu >> n) : 0;

	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80) /* the end of the text, too */
			return 0;
		code = code << 6 | (p[i] & 0x3f);
	}
	if (n == 0 || code < least[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return 0;
	*ret_code = code;
	return n;
}

/* What a terminal obeys (C0, DEL, C1), or what makes it show a line in another order than it has, or on two (Unicode:
 * Bidi_Control, line and paragraph separators). */
static bool obeyed(uint32_t code)
{
	return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x61c || code == 0x200e || code == 0x200f ||
	       (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

void make_harmless(char *text)
{
	uint32_t code = 0;
	size_t n;

	for (char *p = text; *p; p += n) {
		n = decode((const unsigned char *)p, &code);
		if (n == 0 || obeyed(code)) {
			n = n ? n : 1;
			memset(p, '?', n);
		}
	}
}

/* What a terminal obeys stands only in strings, where it may be written as \u. Newlines and the like between them are
 * ours; in strings they are escaped already. */
void put_harmless_json(FILE *out, const char *text)
{
	uint32_t code = 0;
	size_t n;

	for (const char *p = text; *p; p += n) {
		n = decode((const unsigned char *)p, &code);
		if (n > 0 && code >= 0x7f && obeyed(code))
			fprintf(out, "\\u%04x", code);
		else
			fwrite(p, 1, n ? n : 1, out);
		n = n ? n : 1;
	}
}
