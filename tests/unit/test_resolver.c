#include "fs/caller/resolver.h"

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "fake_proc.h"

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* A resolver in a thread, with two clients. */
struct running {
	int proc_fd, etc_fd, theirs[2], ours[2], status;
	pthread_t thread;
};

static void *run(void *arg)
{
	struct running *r = arg;

	r->status = resolver_run(r->proc_fd, r->etc_fd, r->theirs, 2);
	return NULL;
}

static void start_with(struct running *r, int proc_fd, int etc_fd)
{
	r->proc_fd = proc_fd;
	r->etc_fd = etc_fd;
	r->status = -1;
	for (int i = 0; i < 2; i++) {
		int pair[2];
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
		r->theirs[i] = pair[0];
		r->ours[i] = pair[1];
	}
	ck_assert_int_eq(pthread_create(&r->thread, NULL, run, r), 0);
}

static void start(struct running *r, int proc_fd) { start_with(r, proc_fd, -1); }

static void stop(struct running *r)
{
	for (int i = 0; i < 2; i++)
		close(r->ours[i]);
	pthread_join(r->thread, NULL);
	for (int i = 0; i < 2; i++)
		close(r->theirs[i]);
	ck_assert_int_eq(r->status, EXIT_SUCCESS);
}

static struct resolver_answer ask(const struct running *r, pid_t tid)
{
	struct resolver_client *client;
	struct resolver_answer a;

	memset(&a, 0x55, sizeof(a));
	ck_assert_int_eq(resolver_client_new(dup(r->ours[0]), &client), 0);
	ck_assert_int_eq(resolver_ask(client, tid, 1000, now_ns() + INT64_C(5000000000), &a), 0);
	resolver_client_free(client);
	return a;
}

static uint64_t namespace_of(const char *who, const char *type)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%s/ns/%s", who, type);
	return stat(path, &st) == 0 ? st.st_ino : 0;
}

static int open_proc(void)
{
	int fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

/* ---- real processes ---- */

START_TEST(answers_for_a_living_process)
{
	struct running r;
	int proc_fd = open_proc();
	char exe[RESOLVER_EXE_MAX] = "";

	/* a name that looks like the fields behind it */
	prctl(PR_SET_NAME, "a) S 1 (b 2) 3");
	start(&r, proc_fd);
	struct resolver_answer a = ask(&r, getpid());
	ck_assert_int_eq(a.error, 0);
	ck_assert_uint_eq(a.user_ns, namespace_of("self", "user"));
	ck_assert_uint_eq(a.pid_ns, namespace_of("self", "pid"));
	ck_assert_uint_eq(a.mnt_ns, namespace_of("self", "mnt"));
	ck_assert_int_gt(readlink("/proc/self/exe", exe, sizeof(exe) - 1), 0);
	ck_assert_str_eq(a.exe, exe);
	ck_assert_uint_gt(a.start_time, 0);
	prctl(PR_SET_NAME, "plain");
	ck_assert_uint_eq(ask(&r, getpid()).start_time, a.start_time);
	stop(&r);
	close(proc_fd);
}
END_TEST

static void *ask_for_this_thread(void *arg)
{
	const struct running *r = arg;
	struct resolver_answer mine = ask(r, (pid_t)syscall(SYS_gettid)), leader = ask(r, getpid());

	ck_assert_int_eq(mine.error, 0);
	ck_assert_uint_eq(mine.start_time, leader.start_time);
	return NULL;
}

START_TEST(a_thread_has_the_start_time_of_its_leader)
{
	struct running r;
	int proc_fd = open_proc();
	pthread_t thread;

	start(&r, proc_fd);
	ck_assert_int_eq(pthread_create(&thread, NULL, ask_for_this_thread, &r), 0);
	pthread_join(thread, NULL);
	stop(&r);
	close(proc_fd);
}
END_TEST

START_TEST(says_that_a_thread_is_gone)
{
	struct running r;
	int proc_fd = open_proc();
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	waitpid(pid, NULL, 0);
	start(&r, proc_fd);
	ck_assert_int_eq(ask(&r, pid).error, -ESRCH);
	ck_assert_int_eq(ask(&r, 0).error, -EINVAL);
	ck_assert_int_eq(ask(&r, -1).error, -EINVAL);
	stop(&r);
	close(proc_fd);
}
END_TEST

START_TEST(sees_a_user_namespace)
{
	struct running r;
	int proc_fd = open_proc(), ready[2], end[2];
	char c;

	ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(end, O_CLOEXEC), 0);
	pid_t pid = fork();
	if (pid == 0) {
		c = unshare(CLONE_NEWUSER) == 0;
		close(end[1]);
		if (write(ready[1], &c, 1) != 1 || read(end[0], &c, 1) != 0)
			_exit(1);
		_exit(0);
	}
	ck_assert_int_eq(read(ready[0], &c, 1), 1);
	if (c) {
		start(&r, proc_fd);
		struct resolver_answer a = ask(&r, pid);
		ck_assert_int_eq(a.error, 0);
		ck_assert_uint_ne(a.user_ns, namespace_of("self", "user"));
		ck_assert_uint_eq(a.pid_ns, namespace_of("self", "pid"));
		if (a.init_known)
			ck_assert_uint_ne(a.user_ns, a.init_user_ns);
		stop(&r);
	}
	close(end[1]);
	waitpid(pid, NULL, 0);
	close(proc_fd);
}
END_TEST

/* ---- where namespaces come from ---- */

struct nested {
	pid_t pid;
	bool made;
};

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	const bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return done;
}

/* A child, as uid, in `depth` user namespaces one within the other, each with uid and gid mapped to themselves. */
static struct nested nested_new(uid_t uid, int depth)
{
	int ready[2];
	char c = 0, map[64];

	ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
	pid_t pid = fork();
	if (pid == 0) {
		c = uid == 0 || (setresgid(uid, uid, uid) == 0 && setresuid(uid, uid, uid) == 0);
		prctl(PR_SET_DUMPABLE, 1);
		snprintf(map, sizeof(map), "%u %u 1", uid, uid);
		for (int i = 0; i < depth && c; i++)
			c = unshare(CLONE_NEWUSER) == 0 && write_text("/proc/self/uid_map", map) &&
			    write_text("/proc/self/setgroups", "deny") && write_text("/proc/self/gid_map", map);
		(void)!write(ready[1], &c, 1);
		for (;;)
			pause();
	}
	ck_assert_int_eq(read(ready[0], &c, 1), 1);
	close(ready[0]);
	close(ready[1]);
	return (struct nested){ .pid = pid, .made = c };
}

static void nested_free(const struct nested *n)
{
	kill(n->pid, SIGKILL);
	waitpid(n->pid, NULL, 0);
}

static struct resolver_answer ask_as(const struct running *r, pid_t tid, uint32_t uid)
{
	struct resolver_client *client;
	struct resolver_answer a;

	ck_assert_int_eq(resolver_client_new(dup(r->ours[0]), &client), 0);
	ck_assert_int_eq(resolver_ask(client, tid, uid, now_ns() + INT64_C(5000000000), &a), 0);
	resolver_client_free(client);
	return a;
}

START_TEST(finds_who_made_the_outermost_user_namespace)
{
	struct running r;
	int proc_fd = open_proc();

	if (geteuid() != 0)
		return;
	start(&r, proc_fd);
	struct resolver_answer a = ask(&r, getpid());
	ck_assert(a.ancestry.known && a.ancestry.user_ns == 0 && a.ancestry.pid_ns == 0 && a.ancestry.owner == 0);
	struct nested one = nested_new(1234, 1), three = nested_new(1234, 3), roots = nested_new(0, 2);
	ck_assert(three.made == one.made && roots.made);
	if (one.made) {
		a = ask(&r, one.pid);
		ck_assert(a.ancestry.known && a.ancestry.user_ns == a.user_ns && a.ancestry.owner == 1234 &&
			  a.ancestry.pid_ns == 0);
		a = ask(&r, three.pid);
		ck_assert(a.ancestry.known && a.ancestry.user_ns != a.user_ns && a.ancestry.user_ns != 0 &&
			  a.ancestry.owner == 1234);
		a = ask(&r, roots.pid);
		ck_assert(a.ancestry.known && a.ancestry.user_ns != a.user_ns && a.ancestry.user_ns != 0 &&
			  a.ancestry.owner == 0);
	}
	nested_free(&one);
	nested_free(&three);
	nested_free(&roots);
	stop(&r);
	close(proc_fd);
}
END_TEST

/* A pid namespace holds for children: the child of one that has made one. */
static pid_t child_of(pid_t pid)
{
	char path[64], text[32] = "";

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	if (fd >= 0)
		close(fd);
	return (pid_t)atoi(text);
}

START_TEST(finds_who_made_the_outermost_pid_namespace)
{
	static const struct {
		int user, ours;
	} made[] = { { 0, 1 }, { CLONE_NEWUSER, 0 } };
	int proc_fd = open_proc(), ready[2];
	struct running r;
	char c;

	if (geteuid() != 0)
		return;
	start(&r, proc_fd);
	for (size_t i = 0; i < 2; i++) {
		ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
		pid_t pid = fork();
		if (pid == 0) {
			if (unshare(CLONE_NEWPID | made[i].user) == 0 && fork() == 0) {
				/* and one more inside, which changes nothing */
				c = unshare(CLONE_NEWPID) == 0;
				(void)!write(ready[1], &c, 1);
				pause();
			}
			pause();
		}
		ck_assert_int_eq(read(ready[0], &c, 1), 1);
		const pid_t inside = child_of(pid);
		ck_assert_int_gt(inside, 0);
		struct resolver_answer a = ask(&r, inside);
		ck_assert(a.ancestry.known && a.ancestry.pid_ns == a.pid_ns &&
			  a.ancestry.pid_ns_ours == (bool)made[i].ours);
		ck_assert((a.ancestry.user_ns != 0) == (made[i].user != 0));
		kill(inside, SIGKILL);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		close(ready[0]);
		close(ready[1]);
	}
	stop(&r);
	close(proc_fd);
}
END_TEST

START_TEST(where_a_namespace_comes_from_is_not_guessed)
{
	struct fake_proc p;
	struct running r;

	fake_proc_new(&p);
	fake_machine(&p);
	fake_process(&p, "77", "x", 1);
	fake_process(&p, "78", "x", 1);
	fake_namespace(&p, "77", "user", 4026532000u);
	start(&r, p.fd);
	struct resolver_answer a = ask(&r, 77);
	ck_assert(a.error == 0 && !a.ancestry.known && a.ancestry.user_ns == 0);
	ck_assert(ask(&r, 78).ancestry.known);
	stop(&r);
	fake_proc_free(&p);
}
END_TEST

/* ---- subordinate uids ---- */

START_TEST(says_whose_uids_these_are)
{
	struct fake_proc p, etc;
	struct running r;
	struct subuid_table t;
	struct resolver_client *client;
	uint32_t number, again;
	char text[8192];
	size_t len = 0;

	fake_proc_new(&p);
	fake_machine(&p);
	fake_process(&p, "77", "x", 1);
	fake_proc_new(&etc);
	for (unsigned i = 0; i < 200; i++) /* more than fit into one answer */
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%u:%u:100\n", 1000 + i, 100000 + 200 * i);
	fake_file(&etc, ".", "subuid", text);
	start_with(&r, p.fd, etc.fd);
	struct resolver_answer a = ask_as(&r, 77, 100205);
	ck_assert(a.of_uid.in_range && a.of_uid.owner == 1001 && a.of_uid.first == 100200);
	ck_assert(!ask_as(&r, 77, 100199).of_uid.in_range);

	ck_assert_int_eq(resolver_client_new(dup(r.ours[0]), &client), 0);
	ck_assert_int_eq(resolver_ask_ranges(client, 0, now_ns() + INT64_C(5000000000), &t, &number), 0);
	ck_assert_uint_eq(t.n, 200);
	for (unsigned i = 0; i < 200; i++)
		ck_assert(t.ranges[i].first == 100000 + 200 * i && t.ranges[i].last == 100099 + 200 * i &&
			  t.ranges[i].owner == 1000 + i);
	free(t.ranges);
	ck_assert_int_eq(resolver_ask_ranges(client, number, now_ns() + INT64_C(5000000000), &t, &again), -EALREADY);
	resolver_client_free(client);
	stop(&r);
	fake_proc_free(&etc);
	fake_proc_free(&p);
}
END_TEST

/* ---- what is init, on machines of all kinds ---- */

static void in_a_pid_namespace(struct fake_proc *p) { fake_namespace(p, "self", "pid", 4026532000u); }
static void in_a_user_namespace(struct fake_proc *p) { fake_namespace(p, "self", "user", 4026532000u); }
static void in_a_cgroup_namespace(struct fake_proc *p) { fake_namespace(p, "self", "cgroup", 4026532000u); }
static void in_a_mount_namespace(struct fake_proc *p) { fake_namespace(p, "self", "mnt", 4026532000u); }
static void in_a_container(struct fake_proc *p) { fake_file(p, "self", "cgroup", "0::/lxc.payload.a\n"); }
static void without_cgroups(struct fake_proc *p)
{
	fake_remove(p, "self/cgroup");
	fake_remove(p, "self/ns/cgroup");
}
static void without_self(struct fake_proc *p) { fake_remove(p, "self/ns/pid"); }
static void init_elsewhere(struct fake_proc *p) { fake_namespace(p, "1", "pid", 4026532000u); }
static void init_closed(struct fake_proc *p) { fake_remove(p, "1/ns/user"); }
static void init_closed_and_no_kthreadd(struct fake_proc *p)
{
	init_closed(p);
	fake_file(p, "2", "stat", "2 (kthreadd) S 0 0 0 0 -1 4194560 0 0 0 0 0 1 0 0 20 0 1 0 27 0 0\n");
}
static void init_closed_and_a_child_as_second(struct fake_proc *p)
{
	init_closed(p);
	fake_file(p, "2", "stat", "2 (kthreadd) S 1 0 0 0 -1 2129984 0 0 0 0 0 1 0 0 20 0 1 0 27 0 0\n");
}
static void as_it_is(struct fake_proc *p) { (void)p; }

static const struct {
	void (*change)(struct fake_proc *p);
	uint32_t known;
} machines[] = {
	{ as_it_is, 1 },
	{ in_a_mount_namespace, 1 },
	{ without_cgroups, 1 },
	{ init_closed, 1 },
	{ in_a_pid_namespace, 0 },
	{ in_a_user_namespace, 0 },
	{ in_a_cgroup_namespace, 0 },
	{ in_a_container, 0 },
	{ without_self, 0 },
	{ init_elsewhere, 0 },
	{ init_closed_and_no_kthreadd, 0 },
	{ init_closed_and_a_child_as_second, 0 },
};

START_TEST(knows_init_only_from_the_initial_namespaces)
{
	struct fake_proc p;
	struct running r;

	fake_proc_new(&p);
	fake_machine(&p);
	fake_process(&p, "77", "x", 4711);
	machines[_i].change(&p);
	start(&r, p.fd);
	struct resolver_answer a = ask(&r, 77);
	stop(&r);
	ck_assert_int_eq(a.error, 0);
	ck_assert_uint_eq(a.start_time, 4711);
	ck_assert_str_eq(a.exe, "/usr/bin/fake");
	ck_assert_uint_eq(a.init_known, machines[_i].known);
	ck_assert_uint_eq(a.init_mnt_ns, machines[_i].known ? FAKE_INIT_MNT : 0);
	fake_proc_free(&p);
}
END_TEST

START_TEST(answers_with_what_could_be_read)
{
	struct fake_proc p;
	struct running r;
	struct resolver_answer a;

	fake_proc_new(&p);
	fake_machine(&p);
	fake_process(&p, "77", "x", 4711);
	start(&r, p.fd);
	fake_remove(&p, "77/exe");
	a = ask(&r, 77);
	ck_assert_int_eq(a.error, -ENOENT);
	ck_assert_uint_eq(a.start_time, 4711);
	ck_assert_uint_eq(a.mnt_ns, FAKE_INIT_MNT);
	ck_assert_str_eq(a.exe, "");
	fake_remove(&p, "77/ns/mnt");
	ck_assert_int_eq(symlinkat("mnt:[12x]", p.fd, "77/ns/mnt"), 0);
	a = ask(&r, 77);
	ck_assert_int_eq(a.error, -EBADMSG);
	ck_assert_uint_eq(a.mnt_ns, 0);
	fake_file(&p, "77", "stat", "77 (x) S 1\n");
	ck_assert_uint_eq(ask(&r, 77).start_time, 0);
	stop(&r);
	fake_proc_free(&p);
}
END_TEST

START_TEST(cuts_a_long_path)
{
	struct fake_proc p;
	struct running r;
	char path[1000];

	fake_proc_new(&p);
	fake_machine(&p);
	fake_process(&p, "77", "x", 1);
	memset(path, 'x', sizeof(path) - 1);
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	fake_remove(&p, "77/exe");
	ck_assert_int_eq(symlinkat(path, p.fd, "77/exe"), 0);
	start(&r, p.fd);
	struct resolver_answer a = ask(&r, 77);
	ck_assert_int_eq(a.error, 0);
	ck_assert_uint_eq(strlen(a.exe), RESOLVER_EXE_MAX - 1);
	stop(&r);
	fake_proc_free(&p);
}
END_TEST

/* ---- reads that hang: a FIFO without a writer does what the exec lock does ---- */

static void hang(struct fake_proc *p, const char *path)
{
	unlinkat(p->fd, path, 0);
	ck_assert_int_eq(mkfifoat(p->fd, path, 0600), 0);
}

static void unhang(struct fake_proc *p, const char *path)
{
	int fd = openat(p->fd, path, O_RDWR | O_CLOEXEC); /* a writer: those who wait in open go on, … */

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, "x", 1), 1);
	close(fd); /* … and read to the end */
}

START_TEST(a_read_that_hangs_delays_nobody_else)
{
	struct fake_proc p;
	struct running r;
	struct resolver_question q = { .number = 1, .tid = 77 };
	struct resolver_answer a;
	int64_t began;

	fake_proc_new(&p);
	fake_machine(&p);
	fake_process(&p, "77", "x", 1);
	fake_process(&p, "78", "y", 2);
	hang(&p, "77/stat");
	start(&r, p.fd);
	began = now_ns();
	ck_assert_int_eq(send(r.ours[1], &q, sizeof(q), 0), sizeof(q));
	ck_assert_int_eq(ask(&r, 78).error, 0);
	ck_assert_int_lt(now_ns() - began, RESOLVER_PATIENCE_MS * INT64_C(1000000));
	ck_assert_int_eq(recv(r.ours[1], &a, sizeof(a), 0), sizeof(a));
	ck_assert_int_ge(now_ns() - began, RESOLVER_PATIENCE_MS * INT64_C(1000000));
	ck_assert_uint_eq(a.number, 1);
	ck_assert_int_eq(a.error, -ETIMEDOUT);
	ck_assert_uint_eq(a.start_time, 0);
	unhang(&p, "77/stat");
	stop(&r);
	fake_proc_free(&p);
}
END_TEST

START_TEST(more_hanging_reads_than_threads_still_get_answers)
{
	enum { N = RESOLVER_THREADS_MAX + 8 };
	struct fake_proc p;
	struct running r;
	struct resolver_answer a;

	fake_proc_new(&p);
	fake_machine(&p);
	fake_process(&p, "77", "x", 1);
	fake_process(&p, "78", "y", 2);
	hang(&p, "77/stat");
	start(&r, p.fd);
	for (int round = 0; round < RESOLVER_THREADS_MAX / RESOLVER_THREADS; round++) {
		for (uint64_t n = 0; n < N; n++) {
			struct resolver_question q = { .number = n, .tid = 77 };
			ck_assert_int_eq(send(r.ours[1], &q, sizeof(q), 0), sizeof(q));
		}
		for (uint64_t n = 0; n < N; n++) {
			ck_assert_int_eq(recv(r.ours[1], &a, sizeof(a), 0), sizeof(a));
			ck_assert_int_eq(a.error, -ETIMEDOUT);
		}
	}
	/* all hang: no thread is left, and the client hears so */
	ck_assert_int_eq(ask(&r, 78).error, -ETIMEDOUT);
	for (int tries = 0; tries < 100 && (a = ask(&r, 78)).error != 0; tries++)
		unhang(&p, "77/stat");
	ck_assert_int_eq(a.error, 0); /* they came back */
	ck_assert_uint_eq(a.start_time, 2);
	for (int n = 0; n < N; n++)
		unhang(&p, "77/stat");
	stop(&r);
	fake_proc_free(&p);
}
END_TEST

/* ---- the client ---- */

/* Answers two questions in the other order, among answers to nobody's. */
static void *run_fake(void *arg)
{
	const int fd = *(const int *)arg;
	struct resolver_question q[2];
	struct resolver_answer a = { .error = -EIO };

	for (int n = 0; n < 2; n++)
		ck_assert_int_eq(recv(fd, &q[n], sizeof(q[n]), 0), sizeof(q[n]));
	for (int n = 1; n >= 0; n--) {
		a = (struct resolver_answer){ .number = q[n].number + 2, .error = -EIO };
		ck_assert_int_eq(send(fd, &a, sizeof(a), 0), sizeof(a));
		ck_assert_int_eq(send(fd, "short", 5, 0), 5);
		a = (struct resolver_answer){ .number = q[n].number, .mnt_ns = (uint64_t)q[n].tid };
		memset(a.exe, 'x', sizeof(a.exe));
		ck_assert_int_eq(send(fd, &a, sizeof(a), 0), sizeof(a));
	}
	return NULL;
}

struct one {
	struct resolver_client *client;
	pid_t tid;
	int r;
	struct resolver_answer got;
};

static void *ask_one(void *arg)
{
	struct one *o = arg;
	o->r = resolver_ask(o->client, o->tid, 0, now_ns() + INT64_C(10000000000), &o->got);
	return NULL;
}

START_TEST(the_client_gives_each_its_own_answer)
{
	struct resolver_client *client;
	struct one ones[2] = { { .tid = 7 }, { .tid = 8 } };
	pthread_t fake, asker;
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(resolver_client_new(pair[1], &client), 0);
	ones[0].client = ones[1].client = client;
	ck_assert_int_eq(pthread_create(&fake, NULL, run_fake, &pair[0]), 0);
	ck_assert_int_eq(pthread_create(&asker, NULL, ask_one, &ones[0]), 0);
	ask_one(&ones[1]);
	pthread_join(asker, NULL);
	pthread_join(fake, NULL);
	for (int n = 0; n < 2; n++) {
		ck_assert_int_eq(ones[n].r, 0);
		ck_assert_uint_eq(ones[n].got.mnt_ns, (uint64_t)ones[n].tid);
		ck_assert_uint_eq(strlen(ones[n].got.exe), sizeof(ones[n].got.exe) - 1);
	}
	resolver_client_free(client);
	close(pair[0]);
}
END_TEST

START_TEST(the_client_keeps_its_deadline)
{
	int64_t began = now_ns();
	struct resolver_client *client;
	struct resolver_answer got;
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(resolver_client_new(pair[1], &client), 0);
	ck_assert_int_eq(resolver_ask(client, 1, 0, began + 20000000, &got), -ETIMEDOUT);
	ck_assert_int_ge(now_ns() - began, 20000000);
	close(pair[0]);
	ck_assert_int_eq(resolver_ask(client, 1, 0, now_ns() + 1000000000, &got), -EPIPE);
	resolver_client_free(client);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("resolver");
	TCase *t = tcase_create("resolver");
	SRunner *r = srunner_create(s);

	suite_add_tcase(s, t);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, answers_for_a_living_process);
	tcase_add_test(t, a_thread_has_the_start_time_of_its_leader);
	tcase_add_test(t, says_that_a_thread_is_gone);
	tcase_add_test(t, sees_a_user_namespace);
	tcase_add_test(t, finds_who_made_the_outermost_user_namespace);
	tcase_add_test(t, finds_who_made_the_outermost_pid_namespace);
	tcase_add_test(t, where_a_namespace_comes_from_is_not_guessed);
	tcase_add_test(t, says_whose_uids_these_are);
	tcase_add_loop_test(t, knows_init_only_from_the_initial_namespaces, 0,
			    (int)(sizeof(machines) / sizeof(machines[0])));
	tcase_add_test(t, answers_with_what_could_be_read);
	tcase_add_test(t, cuts_a_long_path);
	tcase_add_test(t, a_read_that_hangs_delays_nobody_else);
	tcase_add_test(t, more_hanging_reads_than_threads_still_get_answers);
	tcase_add_test(t, the_client_gives_each_its_own_answer);
	tcase_add_test(t, the_client_keeps_its_deadline);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
