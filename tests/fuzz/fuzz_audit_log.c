/* The verifier and a worker's takeover on a segment that an attacker wrote. The input edits a true log: (line, action,
 * byte)s; verify must say no, unless nothing was changed, and neither may read outside its buffers. */
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/audit/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TEXT_MAX 65536

static struct {
	char dir[64], verify[128], segment[128];
	int dir_fd, head_fd;
	char text[TEXT_MAX];
	size_t len;
	uint8_t head_block[AUDIT_HEADFILE_SIZE];
} base;

static int segment_open(void *arg, uint32_t number, bool create, int *ret_fd)
{
	(void)arg;
	return audit_segment_open_at(base.dir_fd, number, create, (uint32_t)getgid(), ret_fd);
}

static int take_over(struct audit_head *head, struct audit **ret)
{
	struct audit_config config = { .dir_fd = base.dir_fd,
				       .head_fd = base.head_fd,
				       .head = head,
				       .vault = "fuzz",
				       .host = "box",
				       .segment_open = segment_open };

	return audit_open(&config, ret, NULL, 0);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st, (void)kind, (void)ftw;
	return remove(path);
}

static void clean(void) { nftw(base.dir, remove_one, 8, FTW_DEPTH | FTW_PHYS); }

static void set_up(void)
{
	struct audit_head *head = calloc(1, sizeof *head);
	struct audit_event e = { .operation = AUDIT_SECRET_GET, .result = AUDIT_ALLOW, .secret = "db" };
	struct audit *a;
	char path[128];

	/* in memory where that is to be had: each round writes and syncs files */
	snprintf(base.dir, sizeof base.dir, "%s/coffer-fuzz-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!head || !mkdtemp(base.dir))
		abort();
	atexit(clean);
	snprintf(base.verify, sizeof base.verify, "%s/key", base.dir);
	if (audit_create(base.dir, base.verify, "fuzz", (uint32_t)getgid(), NULL, 0) < 0)
		abort();
	snprintf(path, sizeof path, "%s/audit", base.dir);
	base.dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	base.head_fd = openat(base.dir_fd, "head", O_RDWR | O_CLOEXEC);
	snprintf(base.segment, sizeof base.segment, "%s/audit/audit-00000001.jsonl", base.dir);
	if (take_over(head, &a) < 0)
		abort();
	for (int i = 0; i < 12; i++)
		if (audit_append(a, &e, NULL) < 0)
			abort();
	audit_close(a);
	free(head);
	int fd = open(base.segment, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, base.text, sizeof base.text);
	close(fd);
	if (n <= 0 || audit_pread_full(base.head_fd, base.head_block, sizeof base.head_block, 0) < 0)
		abort();
	base.len = (size_t)n;
}

static size_t edit(char *text, size_t len, const uint8_t *data, size_t size)
{
	for (size_t i = 0; i + 4 <= size && i < 64 && len > 1; i += 4) {
		size_t at = (size_t)(data[i] << 8 | data[i + 1]) % len, line = at;
		while (line > 0 && text[line - 1] != '\n')
			line--;
		const char *end = memchr(text + line, '\n', len - line);
		size_t line_len = end ? (size_t)(end - (text + line)) + 1 : len - line;
		switch (data[i + 2] % 6) {
		case 0:
			text[at] = (char)data[i + 3];
			break;
		case 1:
			text[at] ^= (char)(1 << data[i + 3] % 8);
			break;
		case 2:
			len = at;
			break;
		case 3:
			memmove(text + line, text + line + line_len, len - line - line_len);
			len -= line_len;
			break;
		case 4:
			if (len + line_len <= TEXT_MAX) {
				memmove(text + line + line_len, text + line, len - line);
				len += line_len;
			}
			break;
		default:
			if (len < TEXT_MAX)
				text[len++] = (char)data[i + 3];
		}
	}
	return len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char text[TEXT_MAX];
	struct audit_verify_report report;
	char why[256];

	if (!base.len)
		set_up();
	memcpy(text, base.text, base.len);
	size_t len = edit(text, base.len, data, size);
	int fd = open(base.segment, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0 || pwrite(fd, text, len, 0) != (ssize_t)len ||
	    pwrite(base.head_fd, base.head_block, sizeof base.head_block, 0) != sizeof base.head_block)
		abort();
	close(fd);
	/* what follows the last record without a newline is not yet one */
	bool whole = len >= base.len && !memcmp(text, base.text, base.len) &&
		     !memchr(text + base.len, '\n', len - base.len);
	int r = audit_verify(base.dir, base.verify, &report, why, sizeof why);
	if ((r == 0) != whole)
		abort();

	/* Verify costs a moment, taking over a sync: now and then only. */
	if (size > 0 && data[0] % 64 == 0) {
		struct audit_head *head = calloc(1, sizeof *head);
		struct audit *a = NULL;
		if (!head)
			abort();
		r = take_over(head, &a);
		/* the record before the head */
		bool intact = len >= base.len && !memcmp(text + base.len - 700, base.text + base.len - 700, 700);
		if (intact && r < 0)
			abort();
		if (len < base.len && r == 0)
			abort();
		audit_close(a);
		if (whole && audit_verify(base.dir, base.verify, &report, why, sizeof why) < 0)
			abort();
		free(head);
	}
	return 0;
}
