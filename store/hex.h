/* Bytes as lower-case hex digits. Not for secrets: it looks up by value. */
#ifndef COFFER_STORE_HEX_H
#define COFFER_STORE_HEX_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

/* ret_text holds 2 * n + 1. */
static inline void hex_print(const uint8_t *bytes, size_t n, char *ret_text)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		ret_text[2 * i] = digits[bytes[i] >> 4];
		ret_text[2 * i + 1] = digits[bytes[i] & 15];
	}
	ret_text[2 * n] = '\0';
}

static inline int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -EINVAL;
}

/* Exactly n bytes from exactly 2 * n digits: 0 or -EINVAL. */
static inline int hex_parse(const char *text, size_t len, uint8_t *ret, size_t n)
{
	if (len != 2 * n)
		return -EINVAL;
	for (size_t i = 0; i < len; i++)
		if (hex_digit(text[i]) < 0)
			return -EINVAL;
	for (size_t i = 0; i < n; i++)
		ret[i] = (uint8_t)(hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1]));
	return 0;
}

#endif
