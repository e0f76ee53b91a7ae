#include "fs/caller/caller.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "fake_proc.h"
#include "fs/caller/resolver.h"

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Callers on a procfs, with a resolver in a thread or without one. */
struct world {
	struct callers *callers;
	int proc_fd, theirs;
	pthread_t thread;
};

static void *run_resolver(void *arg)
{
	const struct world *w = arg;

	resolver_run(w->proc_fd, -1, &w->theirs, 1);
	return NULL;
}

static void world_new(struct world *w, int proc_fd, bool resolver, bool no_host)
{
	struct callers_config config = { .proc_fd = proc_fd, .resolver_fd = -1, .no_host = no_host };
	int pair[2];

	*w = (struct world){ .proc_fd = proc_fd, .theirs = -1 };
	if (resolver) {
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
		config.resolver_fd = pair[0];
		w->theirs = pair[1];
		ck_assert_int_eq(pthread_create(&w->thread, NULL, run_resolver, w), 0);
	}
	ck_assert_int_eq(callers_new(&config, &w->callers), 0);
}

static void world_free(struct world *w)
{
	callers_free(w->callers);
	if (w->theirs >= 0) {
		pthread_join(w->thread, NULL);
		close(w->theirs);
	}
}

static int open_proc(void)
{
	int fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static struct identity *resolve(struct world *w, uint32_t uid, uint32_t gid, pid_t tid)
{
	struct identity *i;
	const char *why;

	ck_assert_msg(caller_resolve(w->callers, uid, gid, tid, &i, &why) == 0, "%s", why);
	ck_assert_ptr_null(why);
	ck_assert_ptr_nonnull(i);
	return i;
}

static void assert_denied(struct world *w, uint32_t uid, uint32_t gid, pid_t tid, const char *expected)
{
	struct identity *i;
	const char *why;

	ck_assert_int_eq(caller_resolve(w->callers, uid, gid, tid, &i, &why), -EACCES);
	ck_assert_str_eq(why, expected);
	ck_assert_ptr_nonnull(i);
	ck_assert_uint_eq(i->audit.uid, uid);
	ck_assert_uint_eq(i->audit.gid, gid);
	ck_assert(!i->host && !i->policy.host && !i->full && i->policy.n_groups == 0);
	identity_unref(i);
	ck_assert_ptr_null(caller_cached(w->callers, uid, gid, tid));
}

static bool is_cached(struct world *w, uint32_t uid, uint32_t gid, pid_t tid)
{
	struct identity *i = caller_cached(w->callers, uid, gid, tid);

	identity_unref(i);
	return i != NULL;
}

/* The pidfd is asked at most once a millisecond: within a few, and long before the entry is too old, the dead one is
 * found out. */
static bool is_forgotten(struct world *w, uint32_t uid, uint32_t gid, pid_t tid)
{
	struct timespec start, now;

	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		if (!is_cached(w, uid, gid, tid))
			return true;
		sched_yield();
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 < CALLER_CACHE_MS / 5);
	return !is_cached(w, uid, gid, tid); /* we may have slept all the time since the first look */
}

/* A child that does one thing at each word, and says when it is done. */
struct child {
	pid_t pid;
	int to, from;
};

static struct child child_new(void (*const *steps)(void), size_t n)
{
	int to[2], from[2];
	struct child c;
	char word;

	ck_assert_int_eq(pipe2(to, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(from, O_CLOEXEC), 0);
	c.pid = fork();
	if (c.pid == 0) {
		close(to[1]);
		for (size_t i = 0; i < n && read(to[0], &word, 1) == 1; i++) {
			steps[i]();
			if (write(from[1], "x", 1) != 1)
				_exit(1);
		}
		_exit(read(to[0], &word, 1) == 0 ? 0 : 1);
	}
	close(to[0]);
	close(from[1]);
	c.to = to[1];
	c.from = from[0];
	return c;
}

static void child_step(const struct child *c)
{
	char word;

	ck_assert_int_eq(write(c->to, "x", 1), 1);
	ck_assert_int_eq(read(c->from, &word, 1), 1);
}

static void child_end(const struct child *c)
{
	close(c->to);
	close(c->from);
	waitpid(c->pid, NULL, 0);
}

/* ---- real processes ---- */

START_TEST(knows_this_process)
{
	struct world w;
	int proc_fd = open_proc();
	char exe[PATH_MAX] = "";

	world_new(&w, proc_fd, true, false);
	struct identity *i = resolve(&w, geteuid(), getegid(), getpid());
	ck_assert_int_gt(readlink("/proc/self/exe", exe, sizeof(exe) - 1), 0);
	ck_assert(i->uid == geteuid() && i->gid == getegid() && i->policy.uid == geteuid() &&
		  i->policy.gid == getegid());
	ck_assert(i->tid == getpid() && i->tgid == getpid() && i->audit.pid == getpid());
	ck_assert(i->full && i->start_time != 0 && i->user_ns != 0 && i->pid_ns != 0 && i->mnt_ns != 0);
	ck_assert_str_eq(i->audit.exe, exe);
	ck_assert_str_eq(i->audit.comm, "test_caller");
	ck_assert_uint_gt(i->audit.json_len, 0);
	identity_unref(i);
	world_free(&w);
	close(proc_fd);
}
END_TEST

static void set_some_groups(void)
{
	gid_t g[] = { 900, 5, 900, 30 };
	if (setgroups(4, g) < 0)
		_exit(1);
}
static void set_other_groups(void)
{
	gid_t g[] = { 30 };
	if (setgroups(1, g) < 0)
		_exit(1);
}
static void set_no_groups(void)
{
	if (setgroups(0, NULL) < 0)
		_exit(1);
}

START_TEST(sees_groups_change)
{
	static void (*const steps[])(void) = { set_some_groups, set_other_groups, set_no_groups, set_some_groups };
	struct world w;
	int proc_fd = open_proc();
	uint8_t first[IDENTITY_DIGEST];

	if (geteuid() != 0)
		return;
	struct child c = child_new(steps, 4);
	world_new(&w, proc_fd, false, false);

	child_step(&c);
	struct identity *i = resolve(&w, 0, getegid(), c.pid);
	ck_assert_uint_eq(i->policy.n_groups, 3);
	ck_assert(i->policy.groups[0] == 5 && i->policy.groups[1] == 30 && i->policy.groups[2] == 900);
	memcpy(first, i->digest, sizeof(first));
	identity_unref(i);

	child_step(&c);
	i = resolve(&w, 0, getegid(), c.pid);
	ck_assert(i->policy.n_groups == 1 && i->policy.groups[0] == 30);
	ck_assert_mem_ne(i->digest, first, sizeof(first));
	struct identity *cached = caller_cached(w.callers, 0, getegid(), c.pid);
	ck_assert(!cached || cached == i); /* never the one before */
	identity_unref(cached);
	identity_unref(i);

	child_step(&c);
	i = resolve(&w, 0, getegid(), c.pid);
	ck_assert_uint_eq(i->policy.n_groups, 0);
	identity_unref(i);

	child_step(&c);
	i = resolve(&w, 0, getegid(), c.pid);
	ck_assert_mem_eq(i->digest, first, sizeof(first));
	identity_unref(i);
	child_end(&c);
	world_free(&w);
	close(proc_fd);
}
END_TEST

static void become_fsuid_1000(void) { syscall(SYS_setfsuid, 1000); }
static void become_fsgid_1000(void) { syscall(SYS_setfsgid, 1000); }

START_TEST(the_header_must_agree_with_the_thread)
{
	static void (*const steps[])(void) = { become_fsuid_1000, become_fsgid_1000 };
	struct world w;
	int proc_fd = open_proc();

	if (geteuid() != 0)
		return;
	struct child c = child_new(steps, 2);
	world_new(&w, proc_fd, false, false);
	child_step(&c);
	assert_denied(&w, 0, 0, c.pid, "credentials differ");
	struct identity *i = resolve(&w, 1000, 0, c.pid);
	ck_assert_uint_eq(i->policy.uid, 1000);
	identity_unref(i);
	child_step(&c);
	assert_denied(&w, 0, 0, c.pid, "credentials differ");
	assert_denied(&w, 0, 1000, c.pid, "credentials differ");
	i = resolve(&w, 1000, 1000, c.pid);
	ck_assert_uint_eq(i->policy.gid, 1000);
	identity_unref(i);
	child_end(&c);
	world_free(&w);
	close(proc_fd);
}
END_TEST

START_TEST(refuses_the_kernel)
{
	struct world w;
	int proc_fd = open_proc();
	char text[64] = "";
	int fd = open("/proc/2/stat", O_RDONLY | O_CLOEXEC);

	world_new(&w, proc_fd, false, false);
	if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 && !strncmp(text, "2 (kthreadd)", 12))
		assert_denied(&w, 0, 0, 2, "kernel thread");
	assert_denied(&w, 0, 0, 0, "pid 0");
	assert_denied(&w, 0, 0, -1, "pid 0");
	assert_denied(&w, UINT32_MAX, 0, getpid(), "id -1");
	assert_denied(&w, 0, UINT32_MAX, getpid(), "id -1");
	if (fd >= 0)
		close(fd);
	world_free(&w);
	close(proc_fd);
}
END_TEST

START_TEST(refuses_a_thread_that_is_gone)
{
	struct child c = child_new(NULL, 0);
	struct world w;
	int proc_fd = open_proc();

	child_end(&c);
	world_new(&w, proc_fd, false, false);
	assert_denied(&w, geteuid(), getegid(), c.pid, "no such thread");
	world_free(&w);
	close(proc_fd);
}
END_TEST

START_TEST(the_cache_forgets_a_process_when_it_dies)
{
	struct child c = child_new(NULL, 0);
	struct world w;
	int proc_fd = open_proc();
	siginfo_t info;

	world_new(&w, proc_fd, false, false);
	do {
		identity_unref(resolve(&w, geteuid(), getegid(), c.pid));
	} while (!is_cached(&w, geteuid(), getegid(), c.pid));
	ck_assert(!is_cached(&w, geteuid() + 1, getegid(), c.pid));
	ck_assert(!is_cached(&w, geteuid(), getegid() + 1, c.pid));
	ck_assert(!is_cached(&w, geteuid(), getegid(), c.pid + 1));
	kill(c.pid, SIGKILL);
	ck_assert_int_eq(waitid(P_PID, (id_t)c.pid, &info, WEXITED | WNOWAIT), 0);
	ck_assert(is_forgotten(&w, geteuid(), getegid(), c.pid));
	child_end(&c);
	world_free(&w);
	close(proc_fd);
}
END_TEST

START_TEST(the_cache_forgets_in_time)
{
	struct world w;
	int proc_fd = open_proc();
	int64_t began, asked;
	bool hit;
	unsigned hits = 0;

	world_new(&w, proc_fd, false, false);
	began = now_ns();
	identity_unref(resolve(&w, geteuid(), getegid(), getpid()));
	int64_t known = now_ns();
	do {
		asked = now_ns();
		hit = is_cached(&w, geteuid(), getegid(), getpid());
		hits += hit;
		ck_assert(!hit || asked - known <= CALLER_CACHE_MS * INT64_C(1000000));
	} while (hit);
	ck_assert(hits > 0 || asked - began > CALLER_CACHE_MS * INT64_C(1000000));
	world_free(&w);
	close(proc_fd);
}
END_TEST

/* ---- threads ---- */

struct other {
	pthread_t thread;
	_Atomic pid_t tid;
	pthread_barrier_t *end;
};

static void *wait_for_end(void *arg)
{
	struct other *o = arg;

	o->tid = (pid_t)syscall(SYS_gettid);
	pthread_barrier_wait(o->end);
	return NULL;
}

static void other_new(struct other *o, pthread_barrier_t *end)
{
	pthread_attr_t attr;

	o->end = end;
	o->tid = 0;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 128 * 1024);
	ck_assert_int_eq(pthread_create(&o->thread, &attr, wait_for_end, o), 0);
	pthread_attr_destroy(&attr);
	while (o->tid == 0)
		sched_yield();
}

START_TEST(knows_the_process_of_a_thread)
{
	struct world w;
	int proc_fd = open_proc(), pidfd = (int)syscall(SYS_pidfd_open, getpid(), O_EXCL);
	pthread_barrier_t end;
	struct other o;
	pid_t tgid = 0;

	pthread_barrier_init(&end, NULL, 2);
	other_new(&o, &end);
	world_new(&w, proc_fd, true, false);
	struct identity *mine = resolve(&w, geteuid(), getegid(), getpid()),
			*its = resolve(&w, geteuid(), getegid(), o.tid);
	ck_assert_int_ne(o.tid, getpid());
	ck_assert(its->tid == o.tid && its->tgid == getpid());
	ck_assert_uint_eq(its->start_time, mine->start_time);
	ck_assert_mem_eq(its->digest, mine->digest, IDENTITY_DIGEST);
	ck_assert_int_eq(caller_tgid(w.callers, o.tid, &tgid), 0);
	ck_assert_int_eq(tgid, getpid());
	identity_unref(mine);
	identity_unref(its);
	while (pidfd >= 0 && !is_cached(&w, geteuid(), getegid(), o.tid))
		identity_unref(resolve(&w, geteuid(), getegid(), o.tid));
	if (pidfd < 0) /* no pidfds of threads: what cannot be watched is not cached */
		ck_assert(!is_cached(&w, geteuid(), getegid(), o.tid));
	pthread_barrier_wait(&end);
	pthread_join(o.thread, NULL);
	/* join returns before the kernel has let go of the thread; its directory in /proc goes with it */
	while (caller_tgid(w.callers, o.tid, &tgid) == 0)
		sched_yield();
	ck_assert(is_forgotten(&w, geteuid(), getegid(), o.tid));
	if (pidfd >= 0)
		close(pidfd);
	world_free(&w);
	close(proc_fd);
	pthread_barrier_destroy(&end);
}
END_TEST

static unsigned open_fds(void)
{
	unsigned n = 0;
	DIR *d = opendir("/proc/self/fd");

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

START_TEST(the_cache_is_bounded)
{
	enum { N = 700 };
	static struct other o[N];
	struct world w;
	int proc_fd = open_proc();
	pthread_barrier_t end;
	unsigned before;

	pthread_barrier_init(&end, NULL, N + 1);
	for (int n = 0; n < N; n++)
		other_new(&o[n], &end);
	world_new(&w, proc_fd, false, false);
	before = open_fds();
	for (int n = 0; n < N; n++)
		identity_unref(resolve(&w, geteuid(), getegid(), o[n].tid));
	ck_assert_uint_le(open_fds() - before, 512);
	/* stale ones go as others come */
	int64_t wait = now_ns() + CALLER_CACHE_MS * INT64_C(1000000);
	while (now_ns() < wait || is_cached(&w, geteuid(), getegid(), o[N - 1].tid))
		sched_yield();
	for (int n = 0; n < 160; n++)
		identity_unref(resolve(&w, geteuid(), getegid(), getpid()));
	ck_assert_uint_le(open_fds() - before, 8);
	pthread_barrier_wait(&end);
	for (int n = 0; n < N; n++)
		pthread_join(o[n].thread, NULL);
	world_free(&w);
	ck_assert_uint_le(open_fds(), before);
	close(proc_fd);
	pthread_barrier_destroy(&end);
}
END_TEST

static void *ask_often(void *arg)
{
	struct world *w = arg;

	for (int n = 0; n < 3000; n++) {
		struct identity *i = caller_cached(w->callers, geteuid(), getegid(), getpid());
		if (!i)
			i = resolve(w, geteuid(), getegid(), getpid());
		if (i->tgid != getpid() || i->policy.uid != geteuid())
			return arg;
		identity_unref(i);
		if (n % 100 == 0)
			identity_unref(resolve(w, geteuid(), getegid(), getpid()));
	}
	return NULL;
}

START_TEST(threads_may_ask_at_one_time)
{
	struct world w;
	int proc_fd = open_proc();
	pthread_t t[4];
	void *failed;

	world_new(&w, proc_fd, true, false);
	for (int n = 0; n < 4; n++)
		ck_assert_int_eq(pthread_create(&t[n], NULL, ask_often, &w), 0);
	for (int n = 0; n < 4; n++) {
		pthread_join(t[n], &failed);
		ck_assert_ptr_null(failed);
	}
	world_free(&w);
	close(proc_fd);
}
END_TEST

/* May be forbidden on this machine: the test then sees no other namespace. */
static void enter_user_namespace(void)
{
	if (unshare(CLONE_NEWUSER) < 0)
		return;
}

START_TEST(a_user_namespace_is_not_the_host)
{
	static void (*const steps[])(void) = { enter_user_namespace };
	struct world w;
	int proc_fd = open_proc();
	struct child c = child_new(steps, 1);

	world_new(&w, proc_fd, true, false);
	struct identity *before = resolve(&w, geteuid(), getegid(), c.pid);
	child_step(&c);
	struct identity *after = resolve(&w, geteuid(), getegid(), c.pid);
	if (after->user_ns != before->user_ns) {
		ck_assert(after->full && !after->host);
		ck_assert_mem_ne(before->digest, after->digest, IDENTITY_DIGEST);
	}
	identity_unref(before);
	identity_unref(after);
	child_end(&c);
	world_free(&w);
	close(proc_fd);
}
END_TEST

/* ---- what makes a host, on machines of all kinds ---- */

static void as_it_is(struct fake_proc *p) { (void)p; }
static void user_namespace(struct fake_proc *p) { fake_namespace(p, "77", "user", 4026532999u); }
static void pid_namespace(struct fake_proc *p) { fake_namespace(p, "77", "pid", 4026532999u); }
static void mount_namespace(struct fake_proc *p) { fake_namespace(p, "77", "mnt", 4026532999u); }
static void container(struct fake_proc *p) { fake_file(p, "77", "cgroup", "0::/lxc.payload.a\n"); }
static void hidden_container(struct fake_proc *p)
{
	fake_file(p, "77", "cgroup", "3:devices:/lxc.payload.a\n0::/system.slice/fake.service\n");
}
static void other_unit(struct fake_proc *p) { fake_file(p, "77", "cgroup", "0::/system.slice/other.service\n"); }
static void no_cgroups(struct fake_proc *p) { fake_remove(p, "77/cgroup"); }
static void cgroup_unreadable(struct fake_proc *p)
{
	fake_remove(p, "77/cgroup");
	ck_assert_int_eq(mkdirat(p->fd, "77/cgroup", 0700), 0);
}
static void no_exe(struct fake_proc *p) { fake_remove(p, "77/exe"); }
static void init_unknown(struct fake_proc *p) { fake_namespace(p, "self", "user", 4026532999u); }
static void status_is(struct fake_proc *p, const char *tail)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "Name:\tx\nTgid:\t77\nPPid:\t1\nUid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\n%s", tail);
	fake_file(p, "77", "status", text);
}
static void nested_pid(struct fake_proc *p)
{
	status_is(p, "Groups:\t20 30 \nNSpid:\t77\t1\nKthread:\t0\nThreads:\t1\n");
}
static void other_groups(struct fake_proc *p)
{
	status_is(p, "Groups:\t20 30 31 \nNSpid:\t77\nKthread:\t0\nThreads:\t1\n");
}
static void same_groups(struct fake_proc *p)
{
	status_is(p, "Groups:\t20 20 20 30 \nNSpid:\t77\nKthread:\t0\nThreads:\t1\n");
}

enum { WITHOUT_RESOLVER = 1, NO_HOST = 2 };
static const struct {
	void (*change)(struct fake_proc *p);
	int flags;
	bool host, full, same;
} cases[] = {
	{ as_it_is, 0, true, true, true },
	{ same_groups, 0, true, true, true },
	{ no_cgroups, 0, true, true, false },
	{ other_unit, 0, true, true, false },
	{ other_groups, 0, true, true, false },
	{ user_namespace, 0, false, true, false },
	{ pid_namespace, 0, false, true, false },
	{ mount_namespace, 0, false, true, false },
	{ container, 0, false, true, false },
	{ hidden_container, 0, false, true, false },
	{ cgroup_unreadable, 0, false, true, false },
	{ nested_pid, 0, false, true, false },
	{ init_unknown, 0, false, true, false },
	{ no_exe, 0, false, false, false },
	{ as_it_is, WITHOUT_RESOLVER, false, false, false },
	{ as_it_is, NO_HOST, false, true, false },
};

START_TEST(host_needs_every_sign)
{
	struct fake_proc p;
	struct world w;
	uint8_t plain[IDENTITY_DIGEST];

	fake_proc_new(&p);
	fake_machine(&p);
	fake_process(&p, "77", "x", 4711);
	world_new(&w, p.fd, true, false);
	struct identity *i = resolve(&w, 1000, 1000, 77);
	memcpy(plain, i->digest, sizeof(plain));
	identity_unref(i);
	world_free(&w);

	cases[_i].change(&p);
	world_new(&w, p.fd, !(cases[_i].flags & WITHOUT_RESOLVER), cases[_i].flags & NO_HOST);
	i = resolve(&w, 1000, 1000, 77);
	ck_assert_int_eq(i->host, cases[_i].host);
	ck_assert_int_eq(i->policy.host, cases[_i].host);
	ck_assert_int_eq(i->full, cases[_i].full);
	ck_assert_int_eq(memcmp(i->digest, plain, sizeof(plain)) == 0, cases[_i].same);
	identity_unref(i);
	world_free(&w);
	fake_proc_free(&p);
}
END_TEST

/* A status that is not whole is nobody's. */
static void cut(struct fake_proc *p) { status_is(p, "Groups:\t20 30 \n"); }
static void cut_in_groups(struct fake_proc *p) { status_is(p, "Groups:\t20 3"); }
static void empty(struct fake_proc *p) { fake_file(p, "77", "status", ""); }
static void unreadable(struct fake_proc *p) { fake_remove(p, "77/status"); }
static void kernel_thread(struct fake_proc *p) { status_is(p, "Groups:\t \nKthread:\t1\nThreads:\t1\n"); }
static void kernel_thread_of_old(struct fake_proc *p) { status_is(p, "Groups:\t \nThreads:\t1\n"); }

static const struct {
	void (*change)(struct fake_proc *p);
	const char *why;
} doubts[] = {
	{ cut, "status malformed" },        { cut_in_groups, "status malformed" },
	{ empty, "status malformed" },      { unreadable, "status unreadable" },
	{ kernel_thread, "kernel thread" }, { kernel_thread_of_old, "kernel thread" },
};

START_TEST(doubt_is_denial)
{
	struct fake_proc p;
	struct world w;

	fake_proc_new(&p);
	fake_machine(&p);
	fake_process(&p, "77", "x", 4711);
	doubts[_i].change(&p);
	world_new(&w, p.fd, true, false);
	assert_denied(&w, 1000, 1000, 77, doubts[_i].why);
	world_free(&w);
	fake_proc_free(&p);
}
END_TEST

START_TEST(a_dead_resolver_makes_nobody_host)
{
	struct fake_proc p;
	struct callers_config config;
	struct world w = { 0 };
	int pair[2];

	fake_proc_new(&p);
	fake_machine(&p);
	fake_process(&p, "77", "x", 4711);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	config = (struct callers_config){ .proc_fd = p.fd, .resolver_fd = pair[0] };
	ck_assert_int_eq(callers_new(&config, &w.callers), 0);
	int64_t began = now_ns();
	struct identity *i = resolve(&w, 1000, 1000, 77); /* it does not answer */
	ck_assert_int_ge(now_ns() - began, RESOLVER_RETRY_MS * INT64_C(1000000));
	ck_assert(!i->host && !i->full);
	identity_unref(i);
	ck_assert(!is_cached(&w, 1000, 1000, 77));
	close(pair[1]);
	i = resolve(&w, 1000, 1000, 77); /* it is gone */
	ck_assert(!i->host && !i->full);
	identity_unref(i);
	callers_free(w.callers);
	fake_proc_free(&p);
}
END_TEST

/* A resolver that answers questions about the table, and none about threads. */
static void *run_half_resolver(void *arg)
{
	const int fd = *(const int *)arg;
	struct resolver_question q;

	while (recv(fd, &q, sizeof(q), 0) == (ssize_t)sizeof(q)) {
		struct resolver_answer a = { .number = q.number,
					     .table = 3,
					     .n_ranges = 1,
					     .all_ranges = 1,
					     .ranges = { { 100000, 165535, 1000 } } };
		if (q.kind == RESOLVER_RANGES)
			ck_assert_int_eq(send(fd, &a, sizeof(a), 0), sizeof(a));
	}
	return NULL;
}

/* For what refuses: by the map of uids, and what was known of subordinate ones before. */
START_TEST(a_silent_resolver_leaves_who_is_in_the_initial_namespace_its_account)
{
	static const struct {
		uint32_t uid;
		const char *map;
		enum policy_account account;
		uint32_t owner;
	} silent[] = {
		{ 1000, "0 0 4294967295\n", POLICY_ACCOUNT_OWN, 1000 },
		{ 1000, "0 1000 1\n", POLICY_ACCOUNT_UNKNOWN, OWNER_UNKNOWN },
		{ 100005, "0 0 4294967295\n", POLICY_ACCOUNT_UNKNOWN, 1000 },
	};
	struct callers_config config;
	struct fake_proc p;
	struct world w = { 0 };
	pthread_t thread;
	char status[512];
	int pair[2];

	fake_proc_new(&p);
	fake_machine(&p);
	fake_process(&p, "77", "x", 4711);
	fake_file(&p, "self", "uid_map", "0 0 4294967295\n");
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, run_half_resolver, &pair[1]), 0);
	config = (struct callers_config){ .proc_fd = p.fd, .resolver_fd = pair[0] };
	ck_assert_int_eq(callers_new(&config, &w.callers), 0);
	callers_follow(w.callers, 5000);
	ck_assert_uint_eq(neighbours_guess(callers_neighbours(w.callers), 100005), 1000);
	for (size_t n = 0; n < sizeof(silent) / sizeof(silent[0]); n++) {
		const unsigned uid = silent[n].uid;
		fake_file(&p, "77", "uid_map", silent[n].map);
		snprintf(status, sizeof(status),
			 "Name:\tx\nTgid:\t77\nPid:\t77\nPPid:\t1\nUid:\t%u\t%u\t%u\t%u\nGid:\t5\t5\t5\t5\nGroups:"
			 "\t\nKthread:\t0\nThreads:\t1\n",
			 uid, uid, uid, uid);
		fake_file(&p, "77", "status", status);
		struct identity *i = resolve(&w, uid, 5, 77);
		ck_assert(!i->full && !i->host);
		ck_assert_int_eq(i->policy.account, silent[n].account);
		ck_assert_uint_eq(i->policy.owner, silent[n].owner);
		identity_unref(i);
	}
	shutdown(pair[1], SHUT_RDWR);
	pthread_join(thread, NULL);
	callers_free(w.callers);
	close(pair[1]);
	fake_proc_free(&p);
}
END_TEST

/* A resolver that loses the first question, as one does that is killed over it, has no time for the second, and answers
 * the third. */
static void *run_late_resolver(void *arg)
{
	const int fd = *(const int *)arg;
	struct resolver_question q;

	for (int n = 1; recv(fd, &q, sizeof(q), 0) == (ssize_t)sizeof(q); n++) {
		struct resolver_answer a = { .number = q.number, .error = -EBUSY };
		if (n > 2)
			a = (struct resolver_answer){ .number = q.number,
						      .init_known = 1,
						      .user_ns = 1,
						      .pid_ns = 2,
						      .mnt_ns = 3,
						      .start_time = 4,
						      .init_user_ns = 1,
						      .init_pid_ns = 2,
						      .init_mnt_ns = 3 };
		if (n > 1)
			ck_assert_int_eq(send(fd, &a, sizeof(a), 0), sizeof(a));
	}
	return NULL;
}

START_TEST(a_late_answer_still_makes_a_host)
{
	struct callers_config config;
	struct fake_proc p;
	struct world w = { 0 };
	pthread_t thread;
	int pair[2];

	fake_proc_new(&p);
	fake_machine(&p);
	fake_process(&p, "77", "x", 4711);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, run_late_resolver, &pair[1]), 0);
	config = (struct callers_config){ .proc_fd = p.fd, .resolver_fd = pair[0] };
	ck_assert_int_eq(callers_new(&config, &w.callers), 0);
	struct identity *i = resolve(&w, 1000, 1000, 77);
	ck_assert(i->host && i->full);
	identity_unref(i);
	callers_free(w.callers);
	pthread_join(thread, NULL);
	close(pair[1]);
	fake_proc_free(&p);
}
END_TEST

/* At FLUSH the caller may hold its exec lock: reading anything but status would hang. */
START_TEST(tgid_reads_nothing_but_status)
{
	static const char *const locked[] = { "77/stat", "77/exe", "77/cgroup", "77/loginuid" };
	struct fake_proc p;
	struct world w;
	pid_t tgid = 0;

	fake_proc_new(&p);
	fake_process(&p, "77", "x", 4711);
	for (size_t n = 0; n < sizeof(locked) / sizeof(locked[0]); n++) {
		fake_remove(&p, locked[n]);
		ck_assert_int_eq(mkfifoat(p.fd, locked[n], 0600), 0);
	}
	world_new(&w, p.fd, false, false);
	ck_assert_int_eq(caller_tgid(w.callers, 77, &tgid), 0);
	ck_assert_int_eq(tgid, 77);
	ck_assert_int_eq(caller_tgid(w.callers, 78, &tgid), -ESRCH);
	ck_assert_int_eq(caller_tgid(w.callers, 0, &tgid), -ESRCH);
	world_free(&w);
	fake_proc_free(&p);
}
END_TEST

START_TEST(records_what_a_log_wants)
{
	struct fake_proc p;
	struct world w;

	fake_proc_new(&p);
	fake_machine(&p);
	fake_process(&p, "77", "x y", 4711);
	fake_file(&p, "77", "loginuid", "1007");
	fake_file(&p, "77", "cgroup", "0::/system.slice/web.service/lxc.payload.a\n");
	world_new(&w, p.fd, true, false);
	struct identity *i = resolve(&w, 1000, 1000, 77);
	ck_assert_str_eq(i->audit.comm, "x y");
	ck_assert_str_eq(i->audit.exe, "/usr/bin/fake");
	ck_assert_str_eq(i->audit.unit, "web.service");
	ck_assert_str_eq(i->audit.container, "lxc:a");
	ck_assert_int_eq(i->audit.loginuid, 1007);
	ck_assert_uint_eq(i->start_time, 4711);
	identity_unref(i);
	fake_file(&p, "77", "loginuid", "4294967295");
	fake_file(&p, "77", "cgroup", "0::/\n");
	i = resolve(&w, 1000, 1000, 77);
	ck_assert_int_eq(i->audit.loginuid, -1);
	ck_assert_ptr_null(i->audit.unit);
	ck_assert_ptr_null(i->audit.container);
	identity_unref(i);
	world_free(&w);
	fake_proc_free(&p);
}
END_TEST

START_TEST(an_identity_outlives_the_cache)
{
	struct world w;
	int proc_fd = open_proc();

	world_new(&w, proc_fd, false, false);
	struct identity *i = resolve(&w, geteuid(), getegid(), getpid());
	world_free(&w);
	ck_assert_ptr_eq(identity_ref(i), i);
	identity_unref(i);
	ck_assert_int_eq(i->tgid, getpid());
	identity_unref(i);
	identity_unref(NULL);
	close(proc_fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("caller");
	TCase *t = tcase_create("caller");
	SRunner *r = srunner_create(s);

	suite_add_tcase(s, t);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, knows_this_process);
	tcase_add_test(t, sees_groups_change);
	tcase_add_test(t, the_header_must_agree_with_the_thread);
	tcase_add_test(t, refuses_the_kernel);
	tcase_add_test(t, refuses_a_thread_that_is_gone);
	tcase_add_test(t, the_cache_forgets_a_process_when_it_dies);
	tcase_add_test(t, the_cache_forgets_in_time);
	tcase_add_test(t, knows_the_process_of_a_thread);
	tcase_add_test(t, the_cache_is_bounded);
	tcase_add_test(t, threads_may_ask_at_one_time);
	tcase_add_test(t, a_user_namespace_is_not_the_host);
	tcase_add_loop_test(t, host_needs_every_sign, 0, (int)(sizeof(cases) / sizeof(cases[0])));
	tcase_add_loop_test(t, doubt_is_denial, 0, (int)(sizeof(doubts) / sizeof(doubts[0])));
	tcase_add_test(t, a_dead_resolver_makes_nobody_host);
	tcase_add_test(t, a_silent_resolver_leaves_who_is_in_the_initial_namespace_its_account);
	tcase_add_test(t, a_late_answer_still_makes_a_host);
	tcase_add_test(t, tgid_reads_nothing_but_status);
	tcase_add_test(t, records_what_a_log_wants);
	tcase_add_test(t, an_identity_outlives_the_cache);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
