#include "fs/process/protection.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* groups can be many, and come before what is looked for: 8 KiB hold a thousand of them; a process of the daemon has
 * none */
#define STATUS_MAX 8192

/* The number that stands behind "\nName:\t". */
static int field(const char *text, const char *name, int base, uint64_t *ret_value)
{
	const size_t len = strlen(name);
	char *end;

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, len) || line[len] != ':' || line[len + 1] != '\t')
			continue;
		errno = 0;
		unsigned long long n = strtoull(line + len + 2, &end, base);
		if (errno || end == line + len + 2 || (*end != '\n' && *end != '\t'))
			return -EBADMSG;
		*ret_value = n;
		return 0;
	}
	return -ENODATA;
}

int protection_parse(const char *text, struct protection *ret_protection)
{
	uint64_t uid, caps, privs, seccomp = 0;

	if (field(text, "Uid", 10, &uid) || field(text, "CapPrm", 16, &caps) || field(text, "NoNewPrivs", 10, &privs) ||
	    uid > UINT32_MAX)
		return -EBADMSG;
	int r = field(text, "Seccomp", 10, &seccomp);
	if (r && r != -ENODATA)
		return -EBADMSG;
	*ret_protection = (struct protection){
		.uid = (uint32_t)uid, .seccomp = seccomp == 2, .no_new_privs = privs == 1, .capabilities = caps
	};
	return 0;
}

int protection_look(int proc_fd, pid_t pid, struct protection *ret_protection)
{
	char path[32], text[STATUS_MAX];
	size_t len = 0;
	ssize_t n;

	snprintf(path, sizeof path, "%d/status", (int)pid);
	int fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while ((n = read(fd, text + len, sizeof text - 1 - len)) > 0)
		len += (size_t)n;
	int r = n < 0 ? -errno : 0;
	close(fd);
	if (r)
		return r;
	text[len] = '\0';
	return protection_parse(text, ret_protection);
}
