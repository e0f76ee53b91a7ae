#include "fs/cli/common/tar.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK        512u
#define EXTENDED_MAX (64u << 10) /* bytes of an extended header */

/* The header's fields that matter here, by offset and length (POSIX.1-2001, pax, "ustar Interchange Format"). */
enum {
	NAME_AT = 0,
	NAME_LEN = 100,
	SIZE_AT = 124,
	SIZE_LEN = 12,
	SUM_AT = 148,
	SUM_LEN = 8,
	TYPE_AT = 156,
	MAGIC_AT = 257,
	PREFIX_AT = 345,
	PREFIX_LEN = 155
};

/* 0; -EBADMSG: the archive ends before. */
static int read_full(int fd, void *ret, size_t n)
{
	char *p = ret;

	while (n > 0) {
		ssize_t got = read(fd, p, n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -EBADMSG;
		p += got;
		n -= (size_t)got;
	}
	return 0;
}

/* Octal digits, ended by a blank or NUL or the field's end; or, as GNU writes large ones, the highest bit and a binary
 * number. */
static int parse_number(const unsigned char *p, size_t n, uint64_t *ret)
{
	uint64_t v = 0;
	bool digits = false;

	if (p[0] & 0x80) {
		v = p[0] & 0x7f;
		for (size_t i = 1; i < n; i++) {
			if (v >> 48)
				return -EBADMSG;
			v = v << 8 | p[i];
		}
		*ret = v;
		return 0;
	}
	for (size_t i = 0; i < n && p[i]; i++) {
		if (p[i] == ' ' && !digits)
			continue;
		if (p[i] == ' ')
			break;
		if (p[i] < '0' || p[i] > '7')
			return -EBADMSG;
		v = v << 3 | (uint64_t)(p[i] - '0');
		digits = true;
	}
	*ret = v;
	return digits ? 0 : -EBADMSG;
}

/* The sum of all bytes, with blanks in the sum's own place. */
static bool sum_is_right(const unsigned char *block)
{
	uint64_t want, sum = 0;

	if (parse_number(block + SUM_AT, SUM_LEN, &want) < 0)
		return false;
	for (size_t i = 0; i < BLOCK; i++)
		sum += i >= SUM_AT && i < SUM_AT + SUM_LEN ? ' ' : block[i];
	return sum == want;
}

static bool is_zero(const unsigned char *block)
{
	for (size_t i = 0; i < BLOCK; i++)
		if (block[i])
			return false;
	return true;
}

static int set_path(char ret[TAR_PATH_MAX], const char *path, size_t len)
{
	if (len >= TAR_PATH_MAX)
		return -ENAMETOOLONG;
	if (memchr(path, '\0', len))
		return -EBADMSG;
	memcpy(ret, path, len);
	ret[len] = '\0';
	return 0;
}

static int header_path(const unsigned char *block, char ret[TAR_PATH_MAX])
{
	const char *name = (const char *)block + NAME_AT, *prefix = (const char *)block + PREFIX_AT;
	/* GNU's own has a blank there, and other things in the prefix's place */
	bool ustar = !memcmp(block + MAGIC_AT, "ustar\0", 6);
	char path[PREFIX_LEN + 1 + NAME_LEN + 1];

	if (ustar && *prefix)
		snprintf(path, sizeof(path), "%.*s/%.*s", PREFIX_LEN, prefix, NAME_LEN, name);
	else
		snprintf(path, sizeof(path), "%.*s", NAME_LEN, name);
	return set_path(ret, path, strlen(path));
}

/* "LENGTH key=value\n" after each other; the last path counts. Each length includes itself. */
static int pax_path(const char *data, size_t len, char ret[TAR_PATH_MAX])
{
	while (len > 0) {
		char *end;
		unsigned long n = strtoul(data, &end, 10);
		size_t head = (size_t)(end - data) + 1;

		if (end == data || *end != ' ' || n > len || n <= head || data[n - 1] != '\n')
			return -EBADMSG;
		if (n - head > 5 && !memcmp(data + head, "path=", 5)) {
			int r = set_path(ret, data + head + 5, n - head - 6);
			if (r < 0)
				return r;
		}
		data += n;
		len -= n;
	}
	return 0;
}

/* What a header of its own says of the entry behind it: a path into ret (left alone when it says none). */
static int read_extended(int fd, char type, const struct tar_entry *e, char ret[TAR_PATH_MAX])
{
	char *data;
	int r;

	if (e->size > EXTENDED_MAX)
		return -EBADMSG;
	data = malloc(e->size + 1);
	if (!data)
		return -ENOMEM;
	r = read_full(fd, data, e->size);
	data[e->size] = '\0';
	if (r == 0 && type == 'x')
		r = pax_path(data, e->size, ret);
	else if (r == 0 && type == 'L')
		r = set_path(ret, data, strnlen(data, e->size));
	free(data);
	return r < 0 ? r : tar_skip(fd, e, e->size);
}

int tar_next(int fd, struct tar_entry *ret_entry)
{
	unsigned char block[BLOCK];
	struct tar_entry e;
	char path[TAR_PATH_MAX] = "";
	int r;

	for (;;) {
		r = read_full(fd, block, sizeof(block));
		if (r < 0)
			return r;
		if (is_zero(block))
			return 0;
		e = (struct tar_entry){ 0 };
		if (!sum_is_right(block) || parse_number(block + SIZE_AT, SIZE_LEN, &e.size) < 0)
			return -EBADMSG;
		char type = (char)block[TYPE_AT];
		if (type != 'x' && type != 'g' && type != 'L' && type != 'K') {
			e.type = type == '0' || type == '\0' || type == '7' ? TAR_FILE
				 : type == '5'                              ? TAR_DIRECTORY
									    : TAR_OTHER;
			break;
		}
		r = read_extended(fd, type, &e, path);
		if (r < 0)
			return r;
	}
	r = path[0] ? set_path(e.path, path, strlen(path)) : header_path(block, e.path);
	if (r < 0)
		return r;
	*ret_entry = e;
	return 1;
}

int tar_skip(int fd, const struct tar_entry *e, uint64_t taken)
{
	uint64_t left = (e->size + BLOCK - 1) / BLOCK * BLOCK - taken;
	char scrap[BLOCK];
	int r = 0;

	while (r == 0 && left > 0) {
		size_t n = left < sizeof(scrap) ? (size_t)left : sizeof(scrap);

		r = read_full(fd, scrap, n);
		left -= n;
	}
	explicit_bzero(scrap, sizeof(scrap));
	return r;
}
