/* Archives that anybody may have made, on their way into `coffer put --set`: as they are, and as headers with right
 * sums around what the input says. Whatever they are, an end is found, and paths are whole strings. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fs/cli/common/tar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BLOCK 512u

static uint8_t archive[1 << 16];
static size_t archive_len;

static void add(const uint8_t *data, size_t size)
{
	size_t room = sizeof archive - archive_len;

	size = size < room ? size : room;
	if (size)
		memcpy(archive + archive_len, data, size);
	archive_len += size;
}

static void put_sum(uint8_t block[BLOCK])
{
	unsigned sum = 0;

	memset(block + 148, ' ', 8);
	for (size_t i = 0; i < BLOCK; i++)
		sum += block[i];
	snprintf((char *)block + 148, 8, "%06o", sum);
}

/* An entry of what the input holds: how, type, size, name's length, then name and content. Returns what it took. */
static size_t put_entry(const uint8_t *data, size_t size)
{
	static const char types[] = { '0', '5', 'x', 'g', 'L', 'K', '2', '7' };
	uint8_t block[BLOCK] = { 0 };
	size_t taken = 5, length, name, content;

	if (size < taken)
		return size;
	block[156] = data[0] & 8 ? data[0] : (uint8_t)types[data[0] & 7];
	length = (size_t)data[1] << 8 | data[2];
	name = data[3] < size - taken ? data[3] : size - taken;
	memcpy(block, data + taken, name < 100 ? name : 100);
	if (data[0] & 16)
		memcpy(block + 257, "ustar\0", 6);
	if (data[0] & 32)
		memcpy(block + 345, data + taken, name < 155 ? name : 155);
	taken += name;
	if (data[0] & 64) { /* as GNU writes large numbers */
		block[124] = 0x80;
		for (size_t i = 0; i < 8; i++)
			block[128 + i] = (uint8_t)(data[4] & 1 << i ? data[4] : 0);
		block[134] = data[1];
		block[135] = data[2];
	} else {
		snprintf((char *)block + 124, 12, "%011zo", length);
	}
	put_sum(block);
	add(block, BLOCK);
	content = length < size - taken ? length : size - taken;
	add(data + taken, content);
	if (!(data[0] & 128)) { /* to the end of the block */
		static const uint8_t zeros[BLOCK];
		add(zeros, (BLOCK - archive_len % BLOCK) % BLOCK);
	}
	return taken + content;
}

static void walk(int fd)
{
	struct tar_entry e;
	uint8_t first;
	int r;

	if (ftruncate(fd, 0) || pwrite(fd, archive, archive_len, 0) != (ssize_t)archive_len || lseek(fd, 0, SEEK_SET))
		abort();
	while ((r = tar_next(fd, &e)) > 0) {
		if (strnlen(e.path, TAR_PATH_MAX) == TAR_PATH_MAX ||
		    (e.type != TAR_FILE && e.type != TAR_DIRECTORY && e.type != TAR_OTHER))
			abort();
		uint64_t taken = e.size > 0 && read(fd, &first, 1) == 1;
		if (tar_skip(fd, &e, taken) < 0)
			return;
	}
	if (r < 0 && r != -EBADMSG && r != -ENAMETOOLONG)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;

	if (fd < 0)
		fd = memfd_create("archive", MFD_CLOEXEC);
	archive_len = 0;
	add(data, size);
	walk(fd);
	archive_len = 0;
	while (size > 0) {
		size_t n = put_entry(data, size);
		data += n;
		size -= n;
	}
	walk(fd);
	return 0;
}
