#include "fs/keeper.h"

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
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fs/control.h"
#include "fs/keeper_store.h"
#include "fs/log.h"
#include "fs/mount.h"
#include "fs/role.h"
#include "fs/sandbox.h"
#include "fs/shared.h"

#define START_TIMEOUT_MS 120000		/* a store of a million secrets is verified in this time, and more */
#define STOP_TIMEOUT_MS  8000

enum child_kind { CHILD_KEYHOLDER, CHILD_RESOLVER, CHILD_BELL, CHILD_WORKER, CHILDREN };

static const char *const child_roles[CHILDREN] = { "keyholder", "resolver", "bell", "worker" };

/* A channel between the worker and a helper: both ends stay the keeper's, so that either side can be started again on it. */
struct channel { int worker_end, helper_end; };

struct child {
	pid_t pid;
	int64_t started_ms;
	int64_t not_before_ms;		/* back-off: not to be started again before this */
	unsigned failures;		/* deaths in a row without a good minute */
};

struct keeper {
	struct options options;
	struct keeper_store store;
	struct shared *shared;
	struct mount *mount;
	int shared_fd, self_fd, proc_fd, signal_fd, clone_fd;
	int control;			/* our end to the present worker */
	bool worker_ready, attached;
	struct channel channels[3];	/* keys, resolver, bell */
	struct child children[CHILDREN];
	int64_t next_segment_ms;	/* when a segment may be begun though the last is not full */
	pid_t probe;			/* the test read under way, 0: none; then its wait status */
	int probe_status;
	char fatal[CONTROL_TEXT_MAX];
	int fatal_status;
};

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
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
	snprintf(s->vault, sizeof s->vault, "%s", k->store.conf.name);
	snprintf(s->mount, sizeof s->mount, "%s", k->options.mount);
	snprintf(s->store, sizeof s->store, "%s", k->options.store);
	k->shared->size = sizeof(struct shared);
	k->shared->magic = SHARED_MAGIC;
	return 0;
}

static int make_channels(struct keeper *k)
{
	for (size_t i = 0; i < 3; i++) {
		int pair[2];
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
			return -errno;
		k->channels[i] = (struct channel){ pair[0], pair[1] };
	}
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

/* ---- children ---- */

static int start_worker(struct keeper *k, struct role_args *a)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	a->uid = k->store.users.worker;
	a->gid = k->store.users.worker_gid;
	const struct role_fd fds[] = {
		{ "shared", k->shared_fd }, { "fuse", mount_fuse_fd(k->mount) }, { "control", pair[1] }, { "store", k->store.dir },
		{ "proc", k->proc_fd }, { "audit", k->store.audit_dir }, { "head", k->store.audit_head },
		{ "keys", k->channels[CHILD_KEYHOLDER].worker_end }, { "resolver", k->channels[CHILD_RESOLVER].worker_end },
		{ "bell", k->channels[CHILD_BELL].worker_end },
	};
	memcpy(a->fds, fds, sizeof fds);
	a->n_fds = sizeof fds / sizeof *fds;
	/* a worker that does not take its answers must not stop the one who would start another */
	int r = fcntl(pair[0], F_SETFL, O_NONBLOCK) ? -errno : role_spawn(k->self_fd, a, &k->children[CHILD_WORKER].pid);
	close(pair[1]);
	if (r) {
		close(pair[0]);
		return r;
	}
	if (k->control >= 0)
		close(k->control);
	k->control = pair[0];
	k->worker_ready = false;
	return 0;
}

static int start_helper(struct keeper *k, enum child_kind kind, struct role_args *a)
{
	const struct keeper_users *u = &k->store.users;
	size_t n = 0;

	a->uid = kind == CHILD_KEYHOLDER ? u->keys : u->helper;
	a->gid = kind == CHILD_KEYHOLDER ? u->keys_gid : u->helper_gid;
	a->fds[n++] = (struct role_fd){ "client", k->channels[kind].helper_end };
	if (kind == CHILD_KEYHOLDER) {
		a->fds[n++] = (struct role_fd){ "store", k->store.dir };
		a->fds[n++] = (struct role_fd){ "unseal", k->store.unseal };
		if (k->store.kek >= 0)
			a->fds[n++] = (struct role_fd){ "kek", k->store.kek };
	} else if (kind == CHILD_RESOLVER) {
		a->fds[n++] = (struct role_fd){ "proc", k->proc_fd };
	} else {
		a->fds[n++] = (struct role_fd){ "root", k->clone_fd };
	}
	a->n_fds = n;
	return role_spawn(k->self_fd, a, &k->children[kind].pid);
}

static void publish_pids(struct keeper *k)
{
	struct shared_keeper *s = &k->shared->keeper;
	s->keyholder = k->children[CHILD_KEYHOLDER].pid;
	s->resolver = k->children[CHILD_RESOLVER].pid;
	s->bell = k->children[CHILD_BELL].pid;
	s->worker = k->children[CHILD_WORKER].pid;
}

static int start_child(struct keeper *k, enum child_kind kind)
{
	struct role_args a = { .role = child_roles[kind], .log_stderr = k->options.foreground, .require_sandbox = k->options.require_sandbox };
	int r = kind == CHILD_WORKER ? start_worker(k, &a) : start_helper(k, kind, &a);

	if (r)
		log_error("%s cannot be started: %s", child_roles[kind], strerror(-r));
	k->children[kind].started_ms = now_ms();
	publish_pids(k);
	return r;
}

#define FREE_RESTARTS 5

/* Deaths in a row are answered with growing patience: 0, 50, 100, 200 … 5,000 ms. A minute of service forgives them; one that has served at all was no failure to start, and its callers are waiting. */
static void schedule_restart(struct child *c, bool served)
{
	int64_t now = now_ms();
	if (served || now - c->started_ms > 60000)
		c->failures = 0;
	/* the first few come back at once: callers are waiting */
	int64_t delay = c->failures < FREE_RESTARTS ? 0 : (int64_t)50 << (c->failures - FREE_RESTARTS < 7 ? c->failures - FREE_RESTARTS : 7);
	c->failures++;
	c->not_before_ms = now + (delay > 5000 ? 5000 : delay);
}

static void child_died(struct keeper *k, enum child_kind kind, int status)
{
	struct child *c = &k->children[kind];

	if (WIFSIGNALED(status))
		log_warn("%s (%d) was ended by signal %d", child_roles[kind], (int)c->pid, WTERMSIG(status));
	else
		log_warn("%s (%d) ended with status %d", child_roles[kind], (int)c->pid, WEXITSTATUS(status));
	c->pid = 0;
	publish_pids(k);
	if (kind == CHILD_WORKER) {
		k->shared->keeper.restarts++;
		/* what it had read and not answered goes back to the queue for the next one */
		if (k->shared->keeper.resend && mount_resend(k->mount))
			log_error("unanswered requests cannot be sent again: %s", strerror(errno));
		if (!k->worker_ready)
			log_error("it never became ready; see the lines above");
	}
	schedule_restart(c, kind == CHILD_WORKER && k->worker_ready);
}

static void reap(struct keeper *k)
{
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == k->probe) {
			k->probe = 0;
			k->probe_status = status;
		}
		for (int i = 0; i < CHILDREN; i++)
			if (k->children[i].pid == pid)
				child_died(k, (enum child_kind)i, status);
	}
}

/* Starts what should run and does not. Returns how long until something is due (ms), -1: nothing is. */
static int restart_due(struct keeper *k)
{
	int64_t now = now_ms(), wait = -1;
	for (int i = 0; i < CHILDREN; i++) {
		struct child *c = &k->children[i];
		if (c->pid || (i == CHILD_BELL && !k->attached))
			continue;
		if (c->not_before_ms <= now && start_child(k, (enum child_kind)i))
			schedule_restart(c, false);
		if (!c->pid && (wait < 0 || c->not_before_ms - now < wait))
			wait = c->not_before_ms > now ? c->not_before_ms - now : 1;
	}
	return (int)wait;
}

/* ---- the worker's requests ---- */

/* A new segment pushes out the oldest one in the end: a worker that is somebody else's by now gets one only when the last is full or old, or was taken away, and else one a minute. */
static bool may_create(struct keeper *k, uint32_t number)
{
	const uint64_t full = k->options.audit_segment_size ? k->options.audit_segment_size : AUDIT_SEGMENT_SIZE;
	struct stat st;
	char name[32];

	snprintf(name, sizeof name, "audit-%08u.jsonl", number - 1);
	if (number > 1 && !fstatat(k->store.audit_dir, name, &st, AT_SYMLINK_NOFOLLOW) && (uint64_t)st.st_size < full && now_ms() < k->next_segment_ms)
		return false;
	k->next_segment_ms = now_ms() + 60000;
	return true;
}

static void answer_segment(struct keeper *k, const struct control_message *m)
{
	struct control_message answer = { .type = CONTROL_SEGMENT, .number = m->number };
	int fd = -1;

	if (m->create && !may_create(k, m->number))
		answer.error = -EAGAIN;
	else
		answer.error = audit_segment_open_at(k->store.audit_dir, m->number, m->create, k->store.users.worker_gid, &fd);
	/* before the answer: the segment's first record says which one is the oldest */
	if (!answer.error && m->create)
		audit_retain(k->store.audit_dir, k->options.audit_keep_bytes, k->options.audit_keep_seconds);
	if (control_send(k->control, &answer, fd))
		log_warn("the worker did not take its log segment");
	if (fd >= 0)
		close(fd);
}

static void read_control(struct keeper *k)
{
	struct control_message m;
	int r = control_receive(k->control, &m, NULL, 0);

	if (r == -ETIMEDOUT)
		return;
	if (r) {			/* it died; SIGCHLD says so too */
		close(k->control);
		k->control = -1;
		return;
	}
	switch (m.type) {
	case CONTROL_READY:
		k->worker_ready = true;
		if (k->attached)
			log_info("worker %d serves", (int)k->children[CHILD_WORKER].pid);
		break;
	case CONTROL_SEGMENT:
		answer_segment(k, &m);
		break;
	case CONTROL_FATAL:
		log_error("worker: %s", m.text);
		snprintf(k->fatal, sizeof k->fatal, "%s", m.text);
		k->fatal_status = m.number ? (int)m.number : 1;
		break;
	default:
		log_warn("the worker sent a message of unknown type %u", m.type);
	}
}

/* ---- the loop ---- */

/* Waits for something to happen and deals with it. Returns the signal that asks us to end, or 0. */
static int step(struct keeper *k, int timeout_ms)
{
	int mounts = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	struct pollfd p[] = {
		{ .fd = k->signal_fd, .events = POLLIN }, { .fd = k->control, .events = POLLIN }, { .fd = mounts, .events = POLLPRI },
	};
	int stop = 0;

	if (k->attached && !mount_attached(k->mount)) {	/* between two polls */
		close(mounts);
		return 0;
	}
	int n = poll(p, 3, timeout_ms);
	if (mounts >= 0)
		close(mounts);
	if (n < 0)
		return 0;
	if (p[1].revents)
		read_control(k);
	if (p[0].revents) {
		struct signalfd_siginfo s;
		while (read(k->signal_fd, &s, sizeof s) == sizeof s)
			if (s.ssi_signo == SIGTERM || s.ssi_signo == SIGINT)
				stop = (int)s.ssi_signo;
		reap(k);
	}
	return stop;
}

/* Waits until the first worker is ready. 0, or the exit status with the line in k->fatal. */
static int wait_ready(struct keeper *k)
{
	int64_t end = now_ms() + START_TIMEOUT_MS;

	while (!k->worker_ready) {
		if (step(k, 200)) {
			snprintf(k->fatal, sizeof k->fatal, "ended by a signal before the mount was up");
			return 1;
		}
		if (k->fatal[0])
			return k->fatal_status;
		if (!k->children[CHILD_WORKER].pid || now_ms() > end) {
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
	for (int64_t end = now_ms() + 10000; k->probe && now_ms() < end;)
		step(k, 100);
	if (!k->probe)
		return WIFEXITED(k->probe_status) && WEXITSTATUS(k->probe_status) == 0 ? 0 : -EIO;
	kill(k->probe, SIGKILL);
	return -ETIMEDOUT;
}

static void stop_child(struct keeper *k, enum child_kind kind, int64_t patience_ms)
{
	struct child *c = &k->children[kind];
	int status;

	for (int64_t end = now_ms() + patience_ms; c->pid && now_ms() < end;) {
		kill(c->pid, SIGTERM);	/* again and again: it may have been between its check and its read */
		struct pollfd p = { .fd = k->control, .events = POLLIN };
		if (kind == CHILD_WORKER && k->control >= 0 && poll(&p, 1, 20) > 0)
			read_control(k);	/* a last segment, perhaps */
		else
			poll(NULL, 0, 10);
		if (waitpid(c->pid, &status, WNOHANG) == c->pid)
			c->pid = 0;
	}
	if (c->pid) {
		kill(c->pid, SIGKILL);
		waitpid(c->pid, &status, 0);
		c->pid = 0;
	}
	publish_pids(k);
}

static void shut_down(struct keeper *k)
{
	/* the bell's view of the mount would keep the file system alive */
	stop_child(k, CHILD_BELL, 0);
	if (k->clone_fd >= 0)
		close(k->clone_fd);
	k->clone_fd = -1;
	if (k->attached && mount_detach(k->mount))
		log_error("%s cannot be unmounted: %s", k->options.mount, strerror(errno));
	stop_child(k, CHILD_WORKER, STOP_TIMEOUT_MS);
	stop_child(k, CHILD_RESOLVER, 0);
	stop_child(k, CHILD_KEYHOLDER, 0);
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
	if (k->proc_fd < 0 || start_child(k, CHILD_KEYHOLDER) || start_child(k, CHILD_RESOLVER) || start_child(k, CHILD_WORKER)) {
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
	k->shared_fd = k->self_fd = k->proc_fd = k->signal_fd = k->clone_fd = k->control = -1;
	k->self_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (k->self_fd < 0)
		return -errno;
	r = role_harden();		/* it maps what callers write and read */
	if (!r)
		r = sandbox_keeper();
	if (!r)
		r = make_signals(k);
	if (!r)
		r = make_channels(k);
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
	status = keeper_store_open(options, &k->store, why, sizeof why);
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
			signal = step(k, restart_due(k));
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
