/* A new log: its directory, first key, head file and first segment. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/audit/format.h"
#include "store/audit/head.h"
#include "store/audit/segment.h"
#include "store/crypto/secbuf.h"

/* Two lines of text for a person to move elsewhere, and the key. */
static int verify_key_write(int fd, const char *vault, const uint8_t key[KEY_LEN])
{
	char text[6 * AUDIT_VAULT_MAX + AUDIT_HEX_LEN + 64], *p = text;
	int r;

	p = stpcpy(p, "coffer audit verify key 1\nvault ");
	p += audit_escape(p, 6 * AUDIT_VAULT_MAX, vault, AUDIT_VAULT_MAX);
	p = stpcpy(p, "\nkey ");
	audit_hex(p, key);
	p = stpcpy(p + AUDIT_HEX_LEN, "\n");
	r = audit_write(fd, text, (size_t)(p - text));
	if (r == 0 && fsync(fd) < 0)
		r = -EIO;
	secmem_wipe(text, sizeof text);
	return r;
}

static int64_t own_loginuid(void)
{
	char text[16] = "";
	int fd = open("/proc/self/loginuid", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);

	if (fd >= 0)
		close(fd);
	int64_t uid = n > 0 ? strtoll(text, NULL, 10) : -1;
	return uid == UINT32_MAX ? -1 : uid;
}

static int record_write(int fd, struct audit_position *at, const struct audit_names *names, const struct audit_event *e)
{
	char line[AUDIT_LINE_MAX];
	struct audit_clock clock = { 0 };
	struct audit_position next;
	size_t len, body_len = audit_render(line, names, &clock, audit_now(), at->seq, 1, e, at->prev);
	int r = audit_seal(line, body_len, at, &next, &len);

	if (r == 0)
		r = audit_write(fd, line, len);
	if (r == 0) {
		next.size = at->size + len;
		*at = next;
	}
	secmem_wipe(&next, sizeof next);
	return r;
}

static int records_write(int fd, struct audit_position *at, const char *vault)
{
	char host[HOST_NAME_MAX + 1] = "", exe[PATH_MAX], detail[64];
	ssize_t exe_len = readlink("/proc/self/exe", exe, sizeof exe - 1);
	struct audit_caller who = {
		.uid = getuid(),
		.gid = getgid(),
		.pid = getpid(),
		.loginuid = own_loginuid(),
		.comm = program_invocation_short_name,
		.exe = exe_len > 0 ? exe : NULL,
	};
	struct audit_event segment = { .operation = AUDIT_SEGMENT, .result = AUDIT_ALLOW, .detail = detail };
	struct audit_event create = { .operation = AUDIT_VAULT_CREATE, .result = AUDIT_ALLOW, .caller = &who };
	struct audit_names names;
	int r;

	exe[exe_len > 0 ? exe_len : 0] = '\0';
	(void)gethostname(host, sizeof host - 1);
	audit_names_set(&names, vault, host, 0);
	snprintf(detail, sizeof detail, AUDIT_SEGMENT_DETAIL, at->segment, at->segment);
	r = record_write(fd, at, &names, &segment);
	if (r == 0)
		r = record_write(fd, at, &names, &create);
	if (r == 0 && fsync(fd) < 0)
		r = -EIO;
	return r;
}

static int head_create(int dir_fd, const struct audit_position *at)
{
	static const uint8_t zeros[AUDIT_HEADFILE_SIZE];
	int fd = openat(dir_fd, "head", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), r;

	if (fd < 0)
		return -errno;
	r = audit_write(fd, zeros, sizeof zeros);
	if (r == 0)
		r = audit_headfile_write(fd, at, 1);
	if (r == 0 && fsync(fd) < 0)
		r = -EIO;
	close(fd);
	return r;
}

/* The directory is root's; the group, the worker's, may look. */
static int directory_create(const char *path, uint32_t group, int *ret_fd)
{
	int fd;

	if (mkdir(path, 0700) < 0)
		return -errno;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fchown(fd, (uid_t)-1, group) < 0 || fchmod(fd, 0750) < 0) {
		int r = -errno;
		if (fd >= 0)
			close(fd);
		rmdir(path);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

static int log_create(int dir_fd, const char *vault, uint32_t group, int verify_fd)
{
	struct audit_position at = { .segment = 1, .oldest = 1, .opened = audit_now() };
	int fd = -1, r = random_bytes(at.key, sizeof at.key);

	if (r < 0)
		goto out;
	r = verify_key_write(verify_fd, vault, at.key);
	if (r < 0)
		goto out;
	r = audit_segment_open_at(dir_fd, 1, true, group, &fd);
	if (r < 0)
		goto out;
	r = records_write(fd, &at, vault);
	if (r < 0)
		goto out;
	r = head_create(dir_fd, &at);
	if (r == 0 && fsync(dir_fd) < 0)
		r = -EIO;
out:
	if (fd >= 0)
		close(fd);
	secmem_wipe(&at, sizeof at);
	return r;
}

int audit_create(const char *store_dir, const char *verify_path, const char *vault, uint32_t group, char *why,
		 size_t why_len)
{
	char path[PATH_MAX], first[AUDIT_SEGMENT_NAME_LEN];
	int dir_fd = -1, verify_fd, r;

	audit_why(why, why_len, "%s", "");
	if (snprintf(path, sizeof path, "%s/audit", store_dir) >= (int)sizeof path)
		return -ENAMETOOLONG;
	/* First, and never over another: the key of an older log would be lost. */
	verify_fd = open(verify_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (verify_fd < 0) {
		r = -errno;
		audit_why(why, why_len, "the verify key %s cannot be made: %s", verify_path, strerror(-r));
		return r;
	}
	r = directory_create(path, group, &dir_fd);
	if (r < 0) {
		audit_why(why, why_len, "%s cannot be made: %s", path, strerror(-r));
		goto out;
	}
	r = log_create(dir_fd, vault, group, verify_fd);
	if (r < 0) {
		audit_why(why, why_len, "the audit log in %s cannot be made: %s", path, strerror(-r));
		audit_segment_name(1, first);
		unlinkat(dir_fd, first, 0);
		unlinkat(dir_fd, "head", 0);
		rmdir(path);
	}
out:
	if (dir_fd >= 0)
		close(dir_fd);
	close(verify_fd);
	if (r < 0)
		unlink(verify_path);
	return r;
}
