#include "fs/keeper_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fs/log.h"
#include "fs/sandbox.h"

#define START_TIMEOUT_MS 120000		/* a store of a million secrets is verified in this time, and more */
#define STOP_TIMEOUT_MS  8000

int64_t keeper_now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void keeper_trouble(struct keeper *k, const char *format, ...)
{
	struct shared_keeper *s = &k->shared->keeper;
	struct timespec t;
	va_list ap;

	va_start(ap, format);
	vsnprintf(s->trouble, sizeof s->trouble, format, ap);
	va_end(ap);
	clock_gettime(CLOCK_REALTIME, &t);
	s->trouble_at = t.tv_sec * 1000000000 + t.tv_nsec;
	log_warn("%s", s->trouble);
}

/* ---- set-up ---- */

/* The kernel's name for this boot. Where it cannot be read, one that holds for this daemon: time without it is then not counted. */
static int read_boot(uint8_t ret[16])
{
	char text[64] = "";
	size_t n = 0;
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		(void)!read(fd, text, sizeof text - 1);
		close(fd);
	}
	for (const char *p = text; *p && n < 16; p++)
		if (sscanf(p, "%2hhx", &ret[n]) == 1 && p[1]) {
			n++;
			p++;
		}
	return n == 16 || getrandom(ret, 16, 0) == 16 ? 0 : -EIO;
}

static int make_shared(struct keeper *k)
{
	struct timespec t;

	k->shared_fd = memfd_create("coffer-shared", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (k->shared_fd < 0 || ftruncate(k->shared_fd, sizeof(struct shared)) ||
	    fcntl(k->shared_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return -errno;
	void *p = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, k->shared_fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	k->shared = p;
	/* what holds plaintext or keys stays in memory for as long as the keeper lives */
	if (mlock(k->shared->slots, sizeof k->shared->slots) || mlock(k->shared->stage_key, KEY_LEN) ||
	    mlock(&k->shared->audit_head, sizeof k->shared->audit_head) || madvise(p, sizeof(struct shared), MADV_DONTDUMP))
		return -errno;
	if (getrandom(k->shared->stage_key, KEY_LEN, 0) != KEY_LEN)
		return -EIO;
	struct shared_keeper *s = &k->shared->keeper;
	if (read_boot(s->boot))
		return -EIO;
	clock_gettime(CLOCK_REALTIME, &t);
	s->started = t.tv_sec * 1000000000 + t.tv_nsec;
	s->keeper = getpid();
	s->bell_uid = k->store.users.helper;
	s->options = k->options;
	s->fresh = 1;
	snprintf(s->vault, sizeof s->vault, "%s", k->store.conf.name);
	snprintf(s->mount, sizeof s->mount, "%s", k->options.mount);
	snprintf(s->store, sizeof s->store, "%s", k->options.store);
	k->shared->size = sizeof(struct shared);
	k->shared->magic = SHARED_MAGIC;
	return 0;
}

static int make_signals(struct keeper *k)
{
	sigset_t set;
	sigemptyset(&set);
	const int wanted[] = { SIGCHLD, SIGTERM, SIGINT, SIGHUP };
	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
		sigaddset(&set, wanted[i]);
	signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -errno;
	k->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return k->signal_fd < 0 ? -errno : 0;
}

/* ---- the loop ---- */

/* Waits for something to happen and deals with it. Returns the signal that asks us to end, or 0. */
static int step(struct keeper *k, int timeout_ms)
{
	int mounts = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	struct pollfd p[] = {
		{ .fd = k->signal_fd, .events = POLLIN }, { .fd = mounts, .events = POLLPRI },
		{ .fd = k->seats[0].control, .events = POLLIN }, { .fd = k->seats[1].control, .events = POLLIN },
	};
	int stop = 0;

	if (k->attached && !mount_attached(k->mount)) {	/* between two polls */
		close(mounts);
		return 0;
	}
	int n = poll(p, 4, timeout_ms);
	if (mounts >= 0)
		close(mounts);
	if (n < 0)
		return 0;
	if (p[0].revents) {
		struct signalfd_siginfo s;
		while (read(k->signal_fd, &s, sizeof s) == sizeof s)
			if (s.ssi_signo == SIGTERM || s.ssi_signo == SIGINT)
				stop = (int)s.ssi_signo;
		children_reap(k);
	}
	for (int i = 0; i < SEATS; i++)
		if (p[2 + i].revents && k->seats[i].control == p[2 + i].fd)
			control_read(k, i);
	return stop;
}

/* Waits until the first worker serves. 0, or the exit status with the line in k->fatal. */
static int wait_ready(struct keeper *k)
{
	int64_t end = keeper_now_ms() + START_TIMEOUT_MS;

	while (k->active < 0 || k->seats[k->active].state != SEAT_SERVING) {
		if (step(k, 200)) {
			snprintf(k->fatal, sizeof k->fatal, "ended by a signal before the mount was up");
			return 1;
		}
		if (k->fatal[0])
			return k->fatal_status;
		if (k->seats[0].state == SEAT_EMPTY || keeper_now_ms() > end) {
			snprintf(k->fatal, sizeof k->fatal, "the worker did not start; cofferd -f shows why");
			return 1;
		}
	}
	return 0;
}

/* A test read through the detached mount, by a process of its own: the keeper must never wait for its own file system. */
static int probe(struct keeper *k)
{
	struct role_args a = { .role = "probe", .uid = k->store.users.helper, .gid = k->store.users.helper_gid, .log_stderr = k->options.foreground, .n_fds = 1 };
	a.fds[0] = (struct role_fd){ "root", mount_root_fd(k->mount) };
	int r = role_spawn(k->self_fd, &a, &k->probe);
	if (r)
		return r;
	for (int64_t end = keeper_now_ms() + 10000; k->probe && keeper_now_ms() < end;)
		step(k, 100);
	if (!k->probe)
		return WIFEXITED(k->probe_status) && WEXITSTATUS(k->probe_status) == 0 ? 0 : -EIO;
	kill(k->probe, SIGKILL);
	return -ETIMEDOUT;
}

static void shut_down(struct keeper *k)
{
	k->shared->keeper.ending = 1;
	/* the bell's view of the mount would keep the file system alive */
	children_stop_helper(k, HELPER_BELL);
	if (k->clone_fd >= 0)
		close(k->clone_fd);
	k->clone_fd = -1;
	if (k->attached && mount_detach(k->mount))
		log_error("%s cannot be unmounted: %s", k->options.mount, strerror(errno));
	for (int i = 0; i < SEATS; i++)	/* a standby has nothing to finish */
		if (k->seats[i].pid)
			children_stop_worker(k, i, i == k->active ? STOP_TIMEOUT_MS : 0);
	children_stop_helper(k, HELPER_RUNNER);
	children_stop_helper(k, HELPER_RESOLVER);
	children_stop_helper(k, HELPER_KEYHOLDER);
	if (k->attached)
		audit_protect(k->store.audit_dir, false);	/* an administrator may move or remove the store again */
}

static void report(int fd, int status, const char *text)
{
	if (fd < 0)
		return;
	dprintf(fd, "%d%s", status, text);
	close(fd);
}

static int bring_up(struct keeper *k)
{
	int r = mount_point_check(k->options.mount, k->fatal, sizeof k->fatal);
	if (r)
		return r == -EBUSY ? 5 : 1;
	r = mount_new(k->options.store, &k->shared->init, &k->mount, k->fatal, sizeof k->fatal);
	if (r)
		return 1;
	k->shared->keeper.resend = mount_can_resend(&k->shared->init) && !k->options.noresend;
	k->proc_fd = mount_private_proc();
	if (k->proc_fd < 0 || children_start_helper(k, HELPER_KEYHOLDER) || children_start_helper(k, HELPER_RESOLVER) || children_start_helper(k, HELPER_RUNNER) || children_start_worker(k)) {
		snprintf(k->fatal, sizeof k->fatal, "the daemon's processes cannot be started");
		return 1;
	}
	r = wait_ready(k);
	if (r)
		return r;
	if (probe(k)) {
		snprintf(k->fatal, sizeof k->fatal, "the mount does not answer a test read; cofferd -f shows why");
		return 1;
	}
	if (mount_attach(k->mount, k->options.mount, &k->clone_fd, k->fatal, sizeof k->fatal))
		return 1;
	k->attached = true;
	/* from now on nobody, a captured worker included, can cut off what is in the log; where the file system has no such attribute, status says so */
	if (audit_protect(k->store.audit_dir, true))
		log_info("the log's file system has no append-only attribute");
	return 0;
}

static int set_up(struct keeper *k)
{
	int r;
	k->shared_fd = k->self_fd = k->proc_fd = k->signal_fd = k->clone_fd = -1;
	for (int i = 0; i < SEATS; i++)
		k->seats[i].control = -1;
	k->active = -1;
	k->self_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (k->self_fd < 0)
		return -errno;
	r = sandbox_keeper();
	if (!r)
		r = make_signals(k);
	if (!r)
		r = children_make_channels(k);
	if (!r)
		r = make_shared(k);
	return r;
}

int keeper_run(const struct options *options, int report_fd)
{
	struct keeper *k = calloc(1, sizeof *k);
	char why[CONTROL_TEXT_MAX] = "";
	int status = 1;

	if (!k)
		return 1;
	k->options = *options;
	log_open("keeper", options->foreground);
	status = keeper_store_open(options->store, &k->store, why, sizeof why);
	if (status) {
		report(report_fd, status, why);
		if (options->foreground)
			fprintf(stderr, "cofferd: %s\n", why);
		free(k);
		return status;
	}
	int r = set_up(k);
	if (r) {
		status = 1;
		snprintf(k->fatal, sizeof k->fatal, "set-up of shared memory and signals: %s", strerror(-r));
	} else {
		status = bring_up(k);
	}
	const bool failed = status != 0;
	if (!failed) {
		report(report_fd, 0, "");
		log_info("%s is mounted at %s", options->store, options->mount);
		int signal = 0;
		while (!signal && mount_attached(k->mount))
			signal = step(k, children_start_due(k));
		log_info(signal ? "ending on signal %d" : "the mount is gone; ending", signal);
	}
	if (k->mount)
		shut_down(k);
	mount_free(k->mount);
	keeper_store_close(&k->store);
	/* last: whoever hears that it failed may try again, and must not find us still there */
	if (failed) {
		report(report_fd, status, k->fatal);
		if (options->foreground)
			fprintf(stderr, "cofferd: %s\n", k->fatal);
	}
	free(k);
	return status;
}
