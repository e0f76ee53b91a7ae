#include "fs/resolver.h"

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
struct running { int proc_fd, theirs[2], ours[2], status; pthread_t thread; };

static void *run(void *arg)
{
	struct running *r = arg;

	r->status = resolver_run(r->proc_fd, r->theirs, 2);
	return NULL;
}

static void start(struct running *r, int proc_fd)
{
	r->proc_fd = proc_fd;
	r->status = -1;
	for (int i = 0; i < 2; i++) {
		int pair[2];
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
		r->theirs[i] = pair[0];
		r->ours[i] = pair[1];
	}
	ck_assert_int_eq(pthread_create(&r->thread, NULL, run, r), 0);
}

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
	ck_assert_int_eq(resolver_ask(client, tid, now_ns() + INT64_C(5000000000), &a), 0);
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

/* ---- what is init, on machines of all kinds ---- */

static void in_a_pid_namespace(struct fake_proc *p) { fake_namespace(p, "self", "pid", 4026532000u); }
static void in_a_user_namespace(struct fake_proc *p) { fake_namespace(p, "self", "user", 4026532000u); }
static void in_a_cgroup_namespace(struct fake_proc *p) { fake_namespace(p, "self", "cgroup", 4026532000u); }
static void in_a_mount_namespace(struct fake_proc *p) { fake_namespace(p, "self", "mnt", 4026532000u); }
static void in_a_container(struct fake_proc *p) { fake_file(p, "self", "cgroup", "0::/lxc.payload.a\n"); }
static void without_cgroups(struct fake_proc *p) { fake_remove(p, "self/cgroup"); fake_remove(p, "self/ns/cgroup"); }
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

static const struct { void (*change)(struct fake_proc *p); uint32_t known; } machines[] = {
	{ as_it_is, 1 }, { in_a_mount_namespace, 1 }, { without_cgroups, 1 }, { init_closed, 1 },
	{ in_a_pid_namespace, 0 }, { in_a_user_namespace, 0 }, { in_a_cgroup_namespace, 0 }, { in_a_container, 0 }, { without_self, 0 }, { init_elsewhere, 0 },
	{ init_closed_and_no_kthreadd, 0 }, { init_closed_and_a_child_as_second, 0 },
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
	int fd = openat(p->fd, path, O_RDWR | O_CLOEXEC);	/* a writer: those who wait in open go on, … */

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, "x", 1), 1);
	close(fd);						/* … and read to the end */
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
	ck_assert_int_eq(ask(&r, 78).error, -ETIMEDOUT);	/* all hang: no thread is left, and the client hears so */
	for (int tries = 0; tries < 100 && (a = ask(&r, 78)).error != 0; tries++)
		unhang(&p, "77/stat");
	ck_assert_int_eq(a.error, 0);				/* they came back */
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

struct one { struct resolver_client *client; pid_t tid; int r; struct resolver_answer got; };

static void *ask_one(void *arg)
{
	struct one *o = arg;
	o->r = resolver_ask(o->client, o->tid, now_ns() + INT64_C(10000000000), &o->got);
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
	ck_assert_int_eq(resolver_ask(client, 1, began + 20000000, &got), -ETIMEDOUT);
	ck_assert_int_ge(now_ns() - began, 20000000);
	close(pair[0]);
	ck_assert_int_eq(resolver_ask(client, 1, now_ns() + 1000000000, &got), -EPIPE);
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
	tcase_add_loop_test(t, knows_init_only_from_the_initial_namespaces, 0, (int)(sizeof(machines) / sizeof(machines[0])));
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
