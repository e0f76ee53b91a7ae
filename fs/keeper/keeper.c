#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "fs/common/clock.h"
#include "fs/keeper/children.h"
#include "fs/keeper/internal.h"
#include "fs/keeper/successors.h"
#include "fs/keeper/turns.h"
#include "fs/common/log.h"
#include "fs/process/sandbox.h"

#define STOP_TIMEOUT_MS 8000
#define REMOUNT_WAIT_MS 5000
#define OUTLIVED_MS     (60 * 60000) /* what is open when the mount is taken away is served for so long */

/* ---- set-up ---- */

static int make_signals(struct keeper *k)
{
	sigset_t set;
	sigemptyset(&set);
	const int wanted[] = { SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGUSR1 };
	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
		sigaddset(&set, wanted[i]);
	signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -errno;
	k->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return k->signal_fd < 0 ? -errno : 0;
}

/* ---- the loop ---- */

static int sooner(int a, int b) { return a < 0 || (b >= 0 && b < a) ? b : a; }

/* Somebody has taken the mount away. */
static bool unmounted(struct keeper *k)
{
	if (!k->attached || k->outlived)
		return false;
	if (!mount_attached(k->mount))
		return true;
	if (mount_place(k->mount)[0] && strcmp(mount_place(k->mount), k->options.mount)) {
		log_info("%s was moved to %s", k->options.mount, mount_place(k->mount));
		snprintf(k->options.mount, sizeof k->options.mount, "%s", mount_place(k->mount));
		memory_sign(k);
	}
	return false;
}

/* Waits for something to happen and deals with it. Returns the signal that asks us to end, or 0. */
static int step(struct keeper *k, int timeout_ms)
{
	struct pollfd p[] = {
		{ .fd = k->signal_fd, .events = POLLIN },
		{ .fd = k->attached ? mount_list_fd(k->mount) : -1, .events = POLLPRI },
		{ .fd = k->seats[0].control, .events = POLLIN },
		{ .fd = k->seats[1].control, .events = POLLIN },
		{ .fd = k->asked_fd, .events = POLLIN },
		{ .fd = k->taker_fd, .events = POLLIN },
	};

	/* it may have been taken away between two polls */
	int n = poll(p, sizeof p / sizeof *p, unmounted(k) ? 0 : timeout_ms);
	if (n < 0)
		return k->stop;
	if (p[1].revents)
		mount_list_changed(k->mount);
	if (p[0].revents) {
		struct signalfd_siginfo s;
		while (read(k->signal_fd, &s, sizeof s) == sizeof s)
			if (s.ssi_signo == SIGTERM || s.ssi_signo == SIGINT)
				k->stop = (int)s.ssi_signo;
			else if (s.ssi_signo == SIGHUP)
				k->reload = true;
			else if (s.ssi_signo == SIGUSR1 && k->helpers[HELPER_BELL].pid)
				/* what it has open for writing would keep the mount from becoming read-only */
				kill(k->helpers[HELPER_BELL].pid, SIGUSR1);
		children_reap(k);
	}
	for (int i = 0; i < SEATS; i++)
		if (p[2 + i].revents && k->seats[i].control == p[2 + i].fd)
			control_read(k, i);
	if (p[4].revents && k->attached && k->giver_fd < 0)
		handover_accept(k);
	if (p[5].revents && k->taker_fd == p[5].fd)
		k->handed_over = handover_read(k);
	return k->stop;
}

/* Waits until the first worker serves. 0, or the exit status with the line in k->fatal. */
static int wait_ready(struct keeper *k)
{
	int64_t end = clock_ms() + START_TIMEOUT_MS;

	while (k->active < 0 || k->seats[k->active].state != SEAT_SERVING) {
		if (step(k, 200)) {
			snprintf(k->fatal, sizeof k->fatal, "ended by a signal before the mount was up");
			return 1;
		}
		if (k->fatal[0])
			return k->fatal_status;
		if (unmounted(k)) {
			snprintf(k->fatal, sizeof k->fatal, "somebody unmounted it meanwhile; start again");
			return 1;
		}
		if ((k->seats[0].state == SEAT_EMPTY && k->seats[1].state == SEAT_EMPTY) || clock_ms() > end) {
			snprintf(k->fatal, sizeof k->fatal, "the worker did not start; cofferd -f shows why");
			return 1;
		}
	}
	return 0;
}

/* A test read through the detached mount, by a process of its own: the keeper must never wait for its own file system.
 */
static int probe(struct keeper *k)
{
	struct role_args a = { .role = "probe",
			       .uid = k->store.users.helper,
			       .gid = k->store.users.helper_gid,
			       .log_stderr = k->options.foreground,
			       .n_fds = 1 };
	a.fds[0] = (struct role_fd){ "root", mount_root_fd(k->mount) };
	int r = role_spawn(k->self_fd, &a, &k->probe);
	if (r)
		return r;
	for (int64_t end = clock_ms() + 10000; k->probe && clock_ms() < end && !step(k, 100);)
		;
	if (!k->probe)
		return WIFEXITED(k->probe_status) && WEXITSTATUS(k->probe_status) == 0 ? 0 : -EIO;
	kill(k->probe, SIGKILL);
	return -ETIMEDOUT;
}

static void stop_workers(struct keeper *k, int64_t patience_ms)
{
	for (int i = 0; i < SEATS; i++) /* a standby has nothing to finish */
		if (k->seats[i].pid)
			children_stop_worker(k, i, i == k->active ? patience_ms : 0);
}

static void shut_down(struct keeper *k)
{
	upgrade_abandon(k, "the daemon is ending");
	handover_refuse(k, "the daemon is ending");
	k->shared->keeper.ending = 1;
	/* the bell's view of the mount would keep the file system alive */
	children_stop_helper(k, HELPER_BELL);
	if (k->clone_fd >= 0)
		close(k->clone_fd);
	k->clone_fd = -1;
	if (k->attached && mount_detach(k->mount))
		log_error("%s cannot be unmounted: %s", k->options.mount, strerror(errno));
	stop_workers(k, STOP_TIMEOUT_MS);
	if (k->mount)
		mount_abort(k->mount);
	children_stop_helper(k, HELPER_RUNNER);
	children_stop_helper(k, HELPER_RESOLVER);
	children_stop_helper(k, HELPER_KEYHOLDER);
	children_end_holders(k, true);
	children_await_rest();
	if (k->attached)
		/* an administrator may move or remove the store again */
		audit_protect(k->store.audit_dir, false);
	leftovers_forget(k);
}

/* A detached mount that a worker serves. 0, or the exit status with the line in k->fatal. */
static int make_served_mount(struct keeper *k)
{
	int r = mount_new(&k->options, &k->shared->init, &k->mount, k->fatal, sizeof k->fatal);
	if (r)
		return 1;
	k->resend = mount_can_resend(&k->shared->init) && !k->options.noresend;
	if (children_start_worker(k)) {
		snprintf(k->fatal, sizeof k->fatal, "the daemon's processes cannot be started");
		return 1;
	}
	r = wait_ready(k);
	if (!r && probe(k)) {
		snprintf(k->fatal, sizeof k->fatal,
			 k->stop ? "ended by a signal before the mount was up"
				 : "the mount does not answer a test read; cofferd -f shows why");
		r = 1;
	}
	return r;
}

static int bring_up(struct keeper *k)
{
	leftovers_end(k);
	if (mount_clear_dead(k->options.mount, k->options.store))
		log_warn("a dead mount of this store was at %s; it is detached", k->options.mount);
	int r = mount_point_check(k->options.mount, k->fatal, sizeof k->fatal);
	if (r)
		return r == -EBUSY ? 5 : 1;
	k->proc_fd = mount_private_proc();
	if (k->proc_fd < 0 || children_start_helper(k, HELPER_KEYHOLDER) || children_start_helper(k, HELPER_RESOLVER) ||
	    children_start_helper(k, HELPER_RUNNER)) {
		snprintf(k->fatal, sizeof k->fatal, "the daemon's processes cannot be started");
		return 1;
	}
	r = make_served_mount(k);
	if (r)
		return r;
	if (mount_attach(k->mount, k->options.mount, &k->clone_fd, k->fatal, sizeof k->fatal))
		return 1;
	k->attached = true;
	/* from now on nobody, a captured worker included, can cut off what is in the log; where the file system has no
	 * such attribute, status says so */
	if (audit_protect(k->store.audit_dir, true))
		log_info("the log's file system has no append-only attribute");
	return 0;
}

/* Whoever aborted the connection (fusectl, umount -f of a busy mount) has ended every open file and every bind mount of
 * it; the vault itself comes back. */
static void remount(struct keeper *k)
{
	struct mount *dead = k->mount;

	upgrade_abandon(k, "the connection to the kernel was aborted meanwhile; reload again");
	handover_refuse(k, "the connection to the kernel was aborted");
	keeper_trouble(
		k,
		"the connection to the kernel was aborted from outside: mounting again; files that were open are lost");
	stop_workers(k, STOP_TIMEOUT_MS);
	children_stop_helper(k, HELPER_BELL);
	close(k->clone_fd);
	k->clone_fd = -1;
	/* of the others, what has died meanwhile: a worker does not get ready without the key holder */
	children_start_due(k);
	k->mount = NULL;
	k->fatal[0] = '\0';
	k->attached = false;
	int r = memory_reset(k);
	if (!r)
		r = make_served_mount(k);
	if (!r)
		r = mount_replace(k->mount, dead, &k->clone_fd, k->fatal, sizeof k->fatal);
	k->attached = true;
	if (!r) {
		mount_free(dead);
		k->aborted = false;
		kept_give(k);
		log_info("%s is mounted at %s again", k->options.store, k->options.mount);
		return;
	}
	keeper_trouble(k, "it cannot be mounted again: %.200s; tried again in %d s", k->fatal, REMOUNT_WAIT_MS / 1000);
	stop_workers(k, 0);
	mount_free(k->mount);
	k->mount = dead;
	k->next_remount_ms = clock_ms() + REMOUNT_WAIT_MS;
}

/* ---- beginnings and the end ---- */

static struct keeper *keeper_new(const struct options *options)
{
	struct keeper *k = calloc(1, sizeof *k);
	if (!k)
		return NULL;
	if (options)
		k->options = *options;
	k->notify.fd = -1;
	k->shared_fd = k->self_fd = k->proc_fd = k->signal_fd = k->clone_fd = k->next_fd = k->before_fd = k->asked_fd =
		k->taker_fd = k->giver_fd = k->giver_worker = -1;
	for (int i = 0; i < SEATS; i++)
		k->seats[i].control = -1;
	k->active = -1;
	return k;
}

/* The binary that runs, and where the next one will be: by the name that it was started under, where an upgrade will
 * put another. */
static int find_binary(struct keeper *k)
{
	static const char gone[] = " (deleted)";
	ssize_t n = readlink("/proc/self/exe", k->exe, sizeof k->exe - 1);

	k->exe[n > 0 ? n : 0] = '\0';
	if (n > (ssize_t)sizeof gone && !strcmp(k->exe + n - (sizeof gone - 1), gone))
		k->exe[n - (ssize_t)(sizeof gone - 1)] = '\0';
	k->self_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	return k->self_fd < 0 ? -errno : 0;
}

/* It maps what callers write and read: nobody looks into it either. */
static int confine(uint32_t entered)
{
	int r = role_harden();
	return r ? r : sandbox_keeper(entered);
}

static int set_up(struct keeper *k)
{
	int r = confine(0);
	if (!r)
		r = make_signals(k);
	if (!r)
		r = children_make_channels(k);
	return r;
}

/* With the mount that the service manager kept when the keeper before us was killed. */
static int go_on(struct keeper *k)
{
	int status = keeper_store_open(&k->options, &k->store, k->fatal, sizeof k->fatal);
	if (status)
		return status;
	leftovers_end(k);
	int r = set_up(k);
	if (!r)
		r = kept_adopt(k);
	if (r) {
		snprintf(
			k->fatal, sizeof k->fatal,
			"what the service manager kept of the mount cannot be used (%s) and is given back; start again",
			strerror(-r));
		return 1;
	}
	log_info("going on with the mount that the service manager kept");
	k->proc_fd = mount_private_proc();
	takeover_after_death(k);
	if (k->proc_fd < 0 || children_start_helper(k, HELPER_KEYHOLDER) || children_start_helper(k, HELPER_RESOLVER) ||
	    children_start_worker(k)) {
		snprintf(k->fatal, sizeof k->fatal, "the daemon's processes cannot be started");
		return 1;
	}
	status = wait_ready(k);
	if (!status && handover_listen(k))
		log_warn("no other keeper can take over: %s", strerror(errno));
	return status;
}

static int make_first(struct keeper *k)
{
	int status = keeper_store_open(&k->options, &k->store, k->fatal, sizeof k->fatal);
	if (status)
		return status;
	int r = set_up(k);
	if (!r)
		r = memory_make(k);
	if (r) {
		snprintf(k->fatal, sizeof k->fatal, "set-up of shared memory and signals: %s", strerror(-r));
		return 1;
	}
	status = bring_up(k);
	if (!status && handover_listen(k))
		log_warn("no other keeper can take over: %s", strerror(errno));
	return status;
}

/* Until one of our own stands ready, nothing of what we were given is changed. */
static int prepare_to_take(struct keeper *k)
{
	int64_t end = clock_ms() + START_TIMEOUT_MS;

	k->proc_fd = mount_private_proc();
	if (k->proc_fd < 0 || children_start_helper(k, HELPER_KEYHOLDER) || children_start_helper(k, HELPER_RESOLVER) ||
	    children_start_helper(k, HELPER_RUNNER) || children_start_worker(k)) {
		snprintf(k->fatal, sizeof k->fatal, "the daemon's processes cannot be started");
		return 1;
	}
	while (k->seats[0].state != SEAT_PREPARED) {
		if (unmounted(k)) {
			snprintf(k->fatal, sizeof k->fatal,
				 "the mount is gone, or was made again, before it could be taken over; try again");
			return 5;
		}
		if (step(k, 200) || k->seats[0].state == SEAT_EMPTY || clock_ms() > end) {
			if (!k->fatal[0])
				snprintf(k->fatal, sizeof k->fatal, "the worker did not start; cofferd -f shows why");
			return k->fatal_status ? k->fatal_status : 1;
		}
	}
	return 0;
}

static int take_from_other(struct keeper *k)
{
	if (geteuid() != 0) {
		snprintf(k->fatal, sizeof k->fatal,
			 "cofferd needs root to mount and to start its processes under their own users");
		return 1;
	}
	int r = handover_ask(k, k->fatal, sizeof k->fatal);
	if (r)
		return r == -EINVAL ? 2 : r == -EBUSY ? 5 : 7;
	r = set_up(k);
	if (r) {
		snprintf(k->fatal, sizeof k->fatal, "set-up of signals and sockets: %s", strerror(-r));
		return 1;
	}
	r = prepare_to_take(k);
	if (!r) {
		r = handover_finish(k, k->fatal, sizeof k->fatal);
		r = r == -EBUSY ? 5 : r ? 1 : 0;
	}
	if (r)
		return r;
	memory_sign(k);
	keeper_store_sign(&k->store);
	k->shared->keeper.upgrades++;
	takeover_from_other(k);
	if (!mount_is_here(k->mount))
		log_warn("%s is not to be seen in this mount namespace: it is served, and whoever sees it must unmount "
			 "it",
			 k->options.mount);
	return 0;
}

/* The mount is another keeper's: what is ours goes, and nothing of the mount's. */
static void abandon(struct keeper *k)
{
	stop_workers(k, 0);
	for (int i = 0; i < HELPERS; i++)
		children_stop_helper(k, (enum helper)i);
}

static void report(int fd, int status, const char *text)
{
	if (fd < 0)
		return;
	dprintf(fd, "%d%s", status, text);
	close(fd);
}

static void turn(struct keeper *k)
{
	if (k->aborted && !k->outlived && clock_ms() >= k->next_remount_ms)
		remount(k);
	if (k->reload && !k->outlived)
		upgrade_begin(k);
	k->reload = false;
	const bool serving = k->active >= 0 && k->seats[k->active].state == SEAT_SERVING;
	int wait = sooner(children_start_due(k), watch(k));
	wait = sooner(wait, notify_alive(&k->notify, serving, clock_ms()));
	wait = sooner(wait, sooner(upgrade_watch(k), handover_watch(k)));
	wait = sooner(wait, children_end_holders(k, false));
	step(k, wait);
}

/* As every file system does: what was open when the mount went is served until it is closed. The kernel ends the
 * connection with the last of it, which may be at once. */
static void serve_what_is_open(struct keeper *k)
{
	const int64_t end = clock_ms() + OUTLIVED_MS;

	upgrade_abandon(k, "the mount is gone");
	handover_refuse(k, "the mount is gone");
	kept_forget(k);
	k->shared->keeper.ending = 1;
	k->outlived = true;
	/* the bell's view of the mount would keep the file system alive */
	children_stop_helper(k, HELPER_BELL);
	if (k->clone_fd >= 0)
		close(k->clone_fd);
	k->clone_fd = -1;
	for (int i = 0; i < 25 && !mount_aborted(k->mount); i++)
		poll(NULL, 0, 2);
	if (mount_aborted(k->mount))
		return;
	log_info("%s is unmounted; what is open is served until it is closed, for %d minutes at most", k->options.mount,
		 OUTLIVED_MS / 60000);
	while (!k->stop && !mount_aborted(k->mount) && clock_ms() < end)
		turn(k);
}

static void serve(struct keeper *k)
{
	while (!k->stop && !k->handed_over && mount_attached(k->mount))
		turn(k);
	if (!k->stop && !k->handed_over)
		serve_what_is_open(k);
	if (k->handed_over) {
		log_info("another keeper serves; ending");
		return;
	}
	log_info(k->stop ? "ending on signal %d" : "the mount is gone; ending", k->stop);
	notify_say(&k->notify, "STOPPING=1");
	kept_forget(k);
	shut_down(k);
	handover_forget(k);
	mount_free(k->mount);
	keeper_store_close(&k->store);
}

int keeper_run(const struct options *options, int report_fd)
{
	struct keeper *k = keeper_new(options);
	int status = 1;

	if (!k)
		return 1;
	/* what we were started with is nobody else's: roles get the descriptors that they are given by name. Before
	 * Linux 5.11 they inherit the rest. */
	(void)close_range(STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC);
	log_open("keeper", options->foreground);
	notify_open(&k->notify);
	const bool kept = kept_take(k);
	if (find_binary(k))
		snprintf(k->fatal, sizeof k->fatal, "/proc is not mounted");
	else
		status = options->takeover ? take_from_other(k) : kept ? go_on(k) : make_first(k);
	if (!status) {
		kept_give(k);
		notify_say(&k->notify, "READY=1\nSTATUS=The vault is mounted.");
		report(report_fd, 0, "");
		log_info("%s is mounted at %s", options->store, options->mount);
		serve(k);
		free(k);
		return 0;
	}
	if (kept)
		kept_forget(k);
	if (options->takeover) {
		abandon(k);
	} else {
		if (k->mount)
			shut_down(k);
		mount_free(k->mount);
		keeper_store_close(&k->store);
	}
	/* last: whoever hears that it failed may try again, and must not find us still there */
	report(report_fd, status, k->fatal);
	if (options->foreground)
		fprintf(stderr, "cofferd: %s\n", k->fatal);
	free(k);
	return status;
}

int keeper_resume(int state_fd)
{
	static struct keeper_state s;
	int *fds[STATE_FDS];
	struct keeper *k = keeper_new(NULL);
	int r = k ? state_from_memfd(state_fd, &s) : -ENOMEM;

	if (!r) {
		const size_t n = state_descriptors(&s, fds);
		for (size_t i = 0; i < n; i++)
			if (*fds[i] >= 0)
				fcntl(*fds[i], F_SETFD, FD_CLOEXEC);
		log_open("keeper", s.options.foreground);
		r = state_restore(k, &s);
	}
	close(state_fd);
	if (!r)
		r = find_binary(k);
	if (!r) {
		memcpy(k->exe, s.exe, sizeof k->exe);
		r = confine(s.list);
	}
	if (!r) {
		r = make_signals(k);
	}
	if (r) {
		log_error("the keeper cannot go on after its upgrade: %s", strerror(-r));
		return 1;
	}
	log_info("the keeper goes on as version " COFFER_VERSION);
	notify_open(&k->notify);
	kept_give(k); /* in this version's words */
	children_reap(k);
	if (k->active >= 0 && k->seats[k->active].state == SEAT_SERVING)
		control_close_segments(k);
	serve(k);
	free(k);
	return 0;
}
