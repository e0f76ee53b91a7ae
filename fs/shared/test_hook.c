#include "fs/shared/test_hook.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "fs/process/control.h"
#include "fs/common/log.h"
#include "fs/shared/shared.h"

#define PIECE      16
#define MARKER_MAX 16384

static uint8_t flipped[MARKER_MAX];
static size_t pieces;
/* Pieces by the first two bytes that they have in memory, chained: index + 1 of the first, and of the next with the
 * same beginning. One that begins with zeros, as most of memory does, must not cost more. */
static uint16_t first[65536], next[MARKER_MAX / PIECE];

static bool here(const uint8_t *at)
{
	for (uint16_t i = first[(uint16_t)(at[0] << 8 | at[1])]; i; i = next[i - 1]) {
		const uint8_t *piece = flipped + (i - 1) * PIECE;
		size_t k = 0;
		while (k < PIECE && at[k] + piece[k] == 0xff)
			k++;
		if (k == PIECE)
			return true;
	}
	return false;
}

static void look(void)
{
	char line[512], mode[5];
	unsigned long long from, to, looked = 0, found = 0;
	FILE *maps = fopen("/proc/self/maps", "re");

	while (maps && fgets(line, sizeof line, maps)) {
		if (sscanf(line, "%llx-%llx %4s", &from, &to, mode) != 3 || mode[0] != 'r' || strstr(line, "[v"))
			continue;
		unsigned long long here_found = 0;
		for (uint64_t at = from; at + PIECE <= to; at++)
			here_found += here((const uint8_t *)(uintptr_t)at);
		if (here_found)
			log_warn("test hook: %llu found in %s", here_found, line);
		found += here_found;
		looked += to - from;
	}
	if (maps)
		fclose(maps);
	log_info("test hook: %llu of %zu pieces found in all, in %llu bytes", found, pieces, looked);
}

static void load(void)
{
	const char *path = getenv("COFFER_TEST_MARKER");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	ssize_t n = fd < 0 ? -1 : read(fd, flipped, sizeof flipped);

	if (fd >= 0)
		close(fd);
	pieces = n < 0 ? 0 : (size_t)n / PIECE;
	memset(first, 0, sizeof first);
	for (size_t i = 0; i < pieces; i++) {
		uint16_t *head = &first[(uint16_t)((flipped[i * PIECE] ^ 0xff) << 8 | (flipped[i * PIECE + 1] ^ 0xff))];
		next[i] = *head;
		*head = (uint16_t)(i + 1);
	}
	if (!pieces)
		log_warn("test hook: no marker in %s", path ? path : "the environment");
}

static void *wait_for_signal(void *arg)
{
	sigset_t set;
	int signal;

	(void)arg;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	while (!sigwait(&set, &signal)) {
		load();
		look();
	}
	return NULL;
}

int test_hook_place(const char *path) { return path ? open(path, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1; }

/* ---- the cell ---- */

static struct test_cell cell;

static int answer(long r) { return r < 0 ? -errno : 0; }

static int read_a_file(void) { return answer(open("/etc/passwd", O_RDONLY | O_CLOEXEC)); }
static int read_the_kek(void) { return answer(open(cell.kek, O_RDONLY | O_CLOEXEC)); }
static int make_a_file(void) { return answer(open("/tmp/coffer-cell", O_WRONLY | O_CREAT | O_CLOEXEC, 0600)); }
static int make_a_socket(void) { return answer(socket(AF_INET, SOCK_STREAM, 0)); }
static int make_a_local_socket(void) { return answer(socket(AF_UNIX, SOCK_DGRAM, 0)); }
static int write_the_log(void)
{
	return answer(openat(cell.audit_dir, "audit-00000001.jsonl", O_WRONLY | O_APPEND | O_CLOEXEC));
}
static int remove_the_log(void) { return answer(unlinkat(cell.audit_dir, "audit-00000001.jsonl", 0)); }
static int run_a_program(void) { return answer(execl("/bin/true", "true", (char *)NULL)); }
static int fork_a_process(void) { return answer(syscall(SYS_fork)); }
static int trace_the_keeper(void) { return answer(ptrace(PTRACE_ATTACH, cell.keeper, NULL, NULL)); }
static int read_the_keepers_memory(void)
{
	char to[16];
	const struct iovec local = { to, sizeof to }, remote = { (void *)4096, sizeof to };
	return answer(process_vm_readv(cell.keeper, &local, 1, &remote, 1, 0));
}
static int signal_the_keeper(void) { return answer(kill(cell.keeper, SIGKILL)); }
static int run_new_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p == MAP_FAILED ? -errno : 0;
}
static int become_root(void) { return answer(setuid(0)); }
static int mount_something(void) { return answer(syscall(SYS_mount, "none", "/mnt", "tmpfs", 0, NULL)); }
static int use_io_uring(void) { return answer(syscall(425 /* io_uring_setup */, 1, NULL)); }

/* The segment that is written to: what looks like it, a file that is appended to. */
static int log_fd(void)
{
	for (int fd = 3; fd < 1024; fd++) {
		struct stat st;
		int flags = fcntl(fd, F_GETFL);
		if (flags >= 0 && (flags & O_APPEND) && !fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size > 0)
			return fd;
	}
	return -1;
}

static int shorten_the_log(void)
{
	struct stat st;
	int fd = log_fd();

	return fd < 0 || fstat(fd, &st) ? -ENOENT : answer(ftruncate(fd, st.st_size - 1));
}

/* Where the file system has no append-only attribute, O_APPEND is what keeps a write from going over what is there. */
static int write_over_the_log(void) { return answer(fcntl(log_fd(), F_SETFL, 0)); }
static int punch_the_log(void)
{
	return answer(fallocate(log_fd(), 3 /* FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE */, 0, 4096));
}
static int map_the_log(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, log_fd(), 0);
	return p == MAP_FAILED ? -errno : 0;
}

static int make_memory_executable(void)
{
	static _Alignas(4096) char page[4096];
	return answer(mprotect(page, sizeof page, PROT_READ | PROT_EXEC));
}

static int make_a_program(void) { return answer(memfd_create("program", 0)); }
static int list_the_root(void) { return answer(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)); }
static int write_the_settings(void) { return answer(open(cell.conf, O_WRONLY | O_CLOEXEC)); }
static int trace_as_a_debugger(void) { return answer(open(cell.memory, O_RDONLY | O_CLOEXEC)); }

/* A datagram goes where its address says, whatever the socket. */
static int send_elsewhere(void)
{
	const struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };
	return answer(sendto(cell.control, "x", 1, 0, (const struct sockaddr *)&to, sizeof to));
}

/* Whoever is in the cell could else answer SIGSYS himself, and go on. */
static int catch_the_guard(void) { return answer(syscall(SYS_rt_sigaction, SIGSYS, NULL, NULL, 8)); }

static int ask_for_segment(uint32_t number, bool create)
{
	struct control_message m = { .type = CONTROL_SEGMENT, .number = number, .create = create };
	int fd = -1, r = control_send(cell.control, &m, -1);

	if (!r)
		r = control_receive(cell.control, &m, &fd, 5000);
	if (fd >= 0)
		close(fd);
	return r ? r : m.error;
}

/* A segment far ahead: the gap would hide that others were there. */
static int skip_segments(void) { return ask_for_segment(1000, true); }
/* To cut it, where the file system has no append-only attribute. */
static int open_an_old_segment(void) { return ask_for_segment(1, false); }

/* All of the shared memory is a worker's to write. */
static int spoil_the_options(void)
{
	cell.shared->keeper.options.plain_pool = SIZE_MAX / 2;
	return 0;
}

/* Those who wait for an answer would wait for ever, and cannot be killed. */
static int lose_the_requests(void)
{
	cell.shared->keeper.resend = 0;
	for (size_t i = 0; i < SLOTS; i++) {
		memset(cell.shared->slots[i].data, 0, sizeof(struct fuse_in_header));
		cell.shared->slots[i].len = 0;
	}
	return 0;
}

/* How much is in them already is where the next worker goes on. */
static int spoil_the_buffers(void)
{
	for (size_t i = 0; i < CTL_BUFFERS; i++) {
		cell.shared->ctl[i].len = UINT32_MAX - 4095;
		cell.shared->ctl[i].value_got = UINT64_MAX - 7;
	}
	return 0;
}

/* The socket's other end answers to each, or it reads none of them; each of them could have a line in the log. */
static int speak_without_end(void)
{
	struct control_message m = { .type = CONTROL_FATAL, .text = "a lie" };
	int r = 0;

	for (int i = 0; i < 2000 && !r; i++) {
		m.type = i % 2 ? CONTROL_FATAL : CONTROL_RETAIN;
		r = control_send(cell.control, &m, -1);
	}
	return r;
}

#define ATTEMPT(function)           \
	{                           \
#function, function \
	}
static const struct {
	const char *name;
	int (*make)(void);
} attempts[] = {
	ATTEMPT(read_a_file),
	ATTEMPT(list_the_root),
	ATTEMPT(read_the_kek),
	ATTEMPT(trace_as_a_debugger),
	ATTEMPT(write_the_settings),
	ATTEMPT(make_a_file),
	ATTEMPT(make_a_socket),
	ATTEMPT(make_a_local_socket),
	ATTEMPT(send_elsewhere),
	ATTEMPT(write_the_log),
	ATTEMPT(remove_the_log),
	ATTEMPT(shorten_the_log),
	ATTEMPT(write_over_the_log),
	ATTEMPT(punch_the_log),
	ATTEMPT(map_the_log),
	ATTEMPT(run_a_program),
	ATTEMPT(fork_a_process),
	ATTEMPT(trace_the_keeper),
	ATTEMPT(read_the_keepers_memory),
	ATTEMPT(signal_the_keeper),
	ATTEMPT(run_new_code),
	ATTEMPT(make_memory_executable),
	ATTEMPT(make_a_program),
	ATTEMPT(become_root),
	ATTEMPT(mount_something),
	ATTEMPT(use_io_uring),
	ATTEMPT(catch_the_guard),
	ATTEMPT(skip_segments),
	ATTEMPT(open_an_old_segment),
	ATTEMPT(spoil_the_options),
	ATTEMPT(spoil_the_buffers),
	ATTEMPT(lose_the_requests),
	ATTEMPT(speak_without_end),
};

static void *wait_for_order(void *arg)
{
	sigset_t set;
	siginfo_t info;

	(void)arg;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	for (;;) {
		if (sigwaitinfo(&set, &info) < 0 || info.si_value.sival_int < 0)
			continue;
		const size_t n = (size_t)info.si_value.sival_int;
		if (n >= sizeof attempts / sizeof *attempts) {
			log_info("test hook: there are %zu attempts", sizeof attempts / sizeof *attempts);
			continue;
		}
		log_info("test hook: %s begins", attempts[n].name);
		int r = attempts[n].make();
		log_info("test hook: %s was answered %s", attempts[n].name, r ? strerrorname_np(-r) : "done");
	}
	return NULL;
}

static int start(void *(*run)(void *arg))
{
	pthread_t thread;
	int r = -pthread_create(&thread, NULL, run, NULL);

	if (!r)
		pthread_detach(thread);
	return r;
}

int test_hook_start(const struct test_cell *given)
{
	sigset_t set;

	cell = *given;
	/* both, before either thread: one that does not block a signal which the other waits for would take it, and die
	 * of it */
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	int r = -pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (!r)
		r = start(wait_for_signal);
	return r ? r : start(wait_for_order);
}

/* ---- where to die ---- */

static int die_fd = -1, stuck_fd = -1;

static void until_empty(void)
{
	char c;

	while (pread(die_fd, &c, 1, 0) == 1)
		poll(NULL, 0, 5);
}

void test_hook_point(const char *point, unsigned number)
{
	char text[64] = "", word[32];
	unsigned wanted, times;

	if (die_fd < 0 || pread(die_fd, text, sizeof text - 1, 0) <= 0 ||
	    sscanf(text, "%31s %u %u", word, &wanted, &times) != 3 || !times || wanted != number)
		return;
	const bool before = !strcmp(point, "before"), hang = before && !strcmp(word, "hang"),
		   crash = before && !strcmp(word, "crash");
	const bool stuck = before && !strcmp(word, "stuck"), stuck_writing = before && !strcmp(word, "stuck-writing"),
		   stuck_placing = before && !strcmp(word, "stuck-placing");
	const bool answered = !strcmp(point, "after") && !strcmp(word, "answered");
	const bool until = before && !strcmp(word, "until");
	if (!until && !answered && !hang && !crash && !stuck && !stuck_writing && !stuck_placing && strcmp(word, point))
		return;
	/* as long as before, and in one piece: another thread may end this process here */
	const int width = snprintf(NULL, 0, "%u", times);
	const int n = snprintf(text, sizeof text, "%s %u %*u\n", word, wanted, width, times - 1);
	if (pwrite(die_fd, text, (size_t)n, 0) != n)
		log_warn("test hook: %s", strerror(errno));
	if (stuck)
		(void)!pread(stuck_fd, text, sizeof text, 0);
	else if (stuck_writing)
		(void)!write(stuck_fd, text, sizeof text);
	else if (stuck_placing)
		(void)!pwrite(stuck_fd, text, sizeof text, 0);
	else if (until)
		until_empty();
	else if (!hang && !answered)
		raise(crash ? SIGSEGV : SIGKILL);
	while (!until)
		poll(NULL, 0, -1);
}

void test_hook_open(void)
{
	const char *die = getenv("COFFER_TEST_DIE"), *stuck = getenv("COFFER_TEST_STUCK");
	if (die)
		die_fd = open(die, O_RDWR | O_CLOEXEC);
	if (stuck)
		stuck_fd = open(stuck, O_RDWR | O_CLOEXEC);
}
