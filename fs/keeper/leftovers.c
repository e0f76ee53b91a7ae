/* What a dead keeper left: its children die with it, but one may have been started a moment before, or wait in the
 * kernel. They are written down in STORE/children, so that the next keeper can end them before it starts any. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs/common/clock.h"
#include "fs/keeper/children.h"
#include "fs/keeper/internal.h"
#include "fs/keeper/successors.h"
#include "fs/common/log.h"

#define FILE_NAME   "children"
#define BOOT_LEN    37
#define END_WAIT_MS 5000

static bool boot_id(char ret[BOOT_LEN])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, BOOT_LEN - 1);

	if (fd >= 0)
		close(fd);
	ret[n > 0 ? n : 0] = '\0';
	return n == BOOT_LEN - 1;
}

/* Field 22 of /proc/PID/stat: when it was started, in ticks since the machine was. 0: there is no such process. */
static unsigned long long start_time(pid_t pid)
{
	char path[64], text[1024];
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	const char *at = strrchr(text, ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at + 1, NULL, 10) : 0;
}

static bool is_cofferd(pid_t pid)
{
	char path[64], exe[4096];
	snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
	ssize_t n = readlink(path, exe, sizeof exe - 1);
	exe[n > 0 ? n : 0] = '\0';
	const char *slash = strrchr(exe, '/');
	return slash && !strncmp(slash + 1, "cofferd", 7);
}

static size_t append(char *text, size_t len, size_t room, pid_t pid)
{
	if (!pid)
		return len;
	int n = snprintf(text + len, room - len, "%d %llu\n", (int)pid, start_time(pid));
	return n > 0 && (size_t)n < room - len ? len + (size_t)n : len;
}

void leftovers_note(struct keeper *k)
{
	char text[BOOT_LEN + (HELPERS + SEATS + 1) * 40];

	if (!boot_id(text))
		return;
	size_t len = strlen(text);
	text[len++] = '\n';
	for (int i = 0; i < HELPERS; i++)
		len = append(text, len, sizeof text, k->helpers[i].pid);
	for (int i = 0; i < SEATS; i++)
		len = append(text, len, sizeof text, k->seats[i].pid);
	len = append(text, len, sizeof text, k->lingering);
	/* a courtesy to the next keeper: a full disk must not stop this one */
	int fd = openat(k->store.dir, FILE_NAME, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return;
	if (pwrite(fd, text, len, 0) == (ssize_t)len && ftruncate(fd, (off_t)len))
		(void)0;
	close(fd);
}

void leftovers_forget(struct keeper *k) { unlinkat(k->store.dir, FILE_NAME, 0); }

/* 0; -EINPROGRESS: it was killed, and is left behind; -ETIMEDOUT. One that waits in the kernel may wait for what only
 * we bring, as the bell for an answer of the mount: it can do nothing any more, and is not waited for. */
static int wait_for_end(int fd, pid_t pid)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	for (int64_t since = clock_ms(), waited = 0; waited < END_WAIT_MS; waited = clock_ms() - since) {
		if (poll(&p, 1, UNREAPABLE_MS / 2) == 1)
			return 0;
		if (waited >= UNREAPABLE_MS && dying_cannot_act(pid))
			return -EINPROGRESS;
	}
	return -ETIMEDOUT;
}

/* Is it left behind? */
static bool end(pid_t pid, unsigned long long started)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	/* looked at after it is held: the number could have changed hands before */
	if (fd < 0 || start_time(pid) != started || !is_cofferd(pid)) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	log_warn("process %d is left of a daemon that died; it is ended", (int)pid);
	int r = syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) && errno != ESRCH ? -errno : wait_for_end(fd, pid);
	if (r && r != -EINPROGRESS)
		log_error("process %d does not end: %s", (int)pid, strerror(-r));
	close(fd);
	return r == -EINPROGRESS;
}

void leftovers_end(struct keeper *k)
{
	char boot[BOOT_LEN], line[128];
	int fd = openat(k->store.dir, FILE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	unsigned long long started;
	bool left_behind = false;
	int pid;

	if (!f) {
		if (fd >= 0)
			close(fd);
		return;
	}
	if (boot_id(boot) && fgets(line, sizeof line, f) && !strncmp(line, boot, BOOT_LEN - 1))
		while (fgets(line, sizeof line, f))
			if (sscanf(line, "%d %llu", &pid, &started) == 2 && pid > 1 && started)
				left_behind |= end(pid, started);
	fclose(f);
	if (left_behind)
		index_free(k);
}
