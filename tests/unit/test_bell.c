#include "fs/helpers/bell.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/tmp/bell-XXXXXX";
static int root_fd, inotify_fd;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void make_file(const char *path)
{
	int fd = openat(root_fd, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	close(fd);
}

static void watch(const char *path)
{
	char whole[256];

	snprintf(whole, sizeof(whole), "%s/%s", root, path);
	ck_assert_int_ge(inotify_add_watch(inotify_fd, whole, IN_OPEN | IN_MODIFY | IN_ATTRIB | IN_CLOSE), 0);
}

static void setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(root));
	root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	ck_assert_int_eq(mkdirat(root_fd, "db", 0700), 0);
	make_file("db/current");
	make_file("outside");
}

static void teardown(void)
{
	close(root_fd);
	close(inotify_fd);
	nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void make_socket(int pair[2])
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

/* Sends, closes, lets the bell run to its end. */
static void ring(enum bell_action action, const char *path)
{
	int pair[2];

	make_socket(pair);
	ck_assert_int_eq(bell_send(pair[1], action, path, 0), 0);
	close(pair[1]);
	ck_assert_int_eq(bell_run(root_fd, pair, 1), EXIT_SUCCESS);
	close(pair[0]);
}

struct seen {
	unsigned open, modify, attrib, close_write, close_nowrite;
};

static struct seen events(void)
{
	struct seen s = { 0 };
	char buf[8192] __attribute__((aligned(8)));
	ssize_t n;

	while ((n = read(inotify_fd, buf, sizeof(buf))) > 0) {
		for (char *p = buf; p < buf + n;) {
			struct inotify_event e;
			memcpy(&e, p, sizeof(e));
			s.open += (e.mask & IN_OPEN) != 0;
			s.modify += (e.mask & IN_MODIFY) != 0;
			s.attrib += (e.mask & IN_ATTRIB) != 0;
			s.close_write += (e.mask & IN_CLOSE_WRITE) != 0;
			s.close_nowrite += (e.mask & IN_CLOSE_NOWRITE) != 0;
			p += sizeof(e) + e.len;
		}
	}
	return s;
}

START_TEST(touch_is_heard_as_a_write)
{
	struct stat before, after;

	watch("db/current");
	struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	ck_assert_int_eq(utimensat(root_fd, "db/current", old, 0), 0);
	(void)events();
	ck_assert_int_eq(fstatat(root_fd, "db/current", &before, 0), 0);
	ring(BELL_TOUCH, "db/current");
	ck_assert_int_eq(fstatat(root_fd, "db/current", &after, 0), 0);
	struct seen s = events();
	ck_assert_uint_eq(s.open, 1);
	ck_assert_uint_eq(s.close_write, 1);
	ck_assert_uint_eq(s.modify, 1);
	ck_assert_int_eq(after.st_atim.tv_sec, 1000);
	ck_assert_int_gt(after.st_mtim.tv_sec, 1000);
}
END_TEST

START_TEST(touches_a_directory_and_the_root)
{
	struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	static const char *const dirs[] = { "db", "." };
	struct stat st;

	for (size_t i = 0; i < 2; i++) {
		ck_assert_int_eq(utimensat(root_fd, dirs[i], old, 0), 0);
		ring(BELL_TOUCH_DIR, dirs[i]);
		ck_assert_int_eq(fstatat(root_fd, dirs[i], &st, 0), 0);
		ck_assert_int_eq(st.st_atim.tv_sec, 1000);
		ck_assert_int_gt(st.st_mtim.tv_sec, 1000);
	}
}
END_TEST

START_TEST(what_is_queued_twice_is_rung_once)
{
	int pair[2];

	watch("db/current");
	watch("outside");
	make_socket(pair);
	for (int n = 0; n < 20; n++)
		ck_assert_int_eq(bell_send(pair[1], BELL_TOUCH, "db/current", 0), 0);
	ck_assert_int_eq(bell_send(pair[1], BELL_TOUCH, "outside", 0), 0);
	close(pair[1]);
	ck_assert_int_eq(bell_run(root_fd, pair, 1), EXIT_SUCCESS);
	close(pair[0]);
	struct seen s = events();
	ck_assert_uint_eq(s.close_write, 2);
}
END_TEST

static const char *const bad_paths[] = { "",      "/etc/passwd", "..",     "../outside", "db/../outside",
					 "db/..", "gone",        "db/link" };

START_TEST(stays_below_its_root)
{
	ck_assert_int_eq(symlinkat("../outside", root_fd, "db/link"), 0);
	watch("outside");
	watch("db");
	ring(BELL_TOUCH, bad_paths[_i]);
	ring(BELL_HOLD, bad_paths[_i]);
	struct seen s = events();
	ck_assert(s.open == 0 && s.modify == 0);
}
END_TEST

START_TEST(ignores_messages_that_are_none)
{
	struct bell_message m = { .action = BELL_TOUCH };
	int pair[2];

	watch("db/current");
	make_socket(pair);
	ck_assert_int_eq(send(pair[1], "x", 1, 0), 1);
	memset(m.path, 'a', sizeof(m.path)); /* no end */
	ck_assert_int_eq(send(pair[1], &m, sizeof(m), 0), sizeof(m));
	memset(m.path, 0, sizeof(m.path));
	strcpy(m.path, "db/current");
	m.action = 99;
	ck_assert_int_eq(send(pair[1], &m, sizeof(m), 0), sizeof(m));
	char large[sizeof(m) + 1] = { 0 };
	m.action = BELL_TOUCH;
	memcpy(large, &m, sizeof(m));
	ck_assert_int_eq(send(pair[1], large, sizeof(large), 0), sizeof(large));
	ck_assert_uint_eq(events().open, 0);
	ck_assert_int_eq(bell_send(pair[1], BELL_TOUCH, "db/current", 0), 0);
	close(pair[1]);
	ck_assert_int_eq(bell_run(root_fd, pair, 1), EXIT_SUCCESS);
	close(pair[0]);
	ck_assert_uint_eq(events().open, 1);
}
END_TEST

START_TEST(a_full_queue_is_reported_and_nothing_blocks)
{
	int pair[2], r, n = 0;
	char path[32];

	make_socket(pair);
	do {
		snprintf(path, sizeof(path), "secret%d/current", n++);
		r = bell_send(pair[1], BELL_TOUCH, path, 0);
	} while (r == 0 && n < 100000);
	ck_assert_int_eq(r, -EAGAIN);
	close(pair[1]);
	ck_assert_int_eq(bell_run(root_fd, pair, 1), EXIT_SUCCESS);
	close(pair[0]);
}
END_TEST

START_TEST(the_client_says_what_it_cannot_send)
{
	char path[BELL_PATH_MAX + 1];
	int pair[2];

	make_socket(pair);
	memset(path, 'a', sizeof(path));
	path[BELL_PATH_MAX] = '\0';
	ck_assert_int_eq(bell_send(pair[1], BELL_TOUCH, path, 0), -ENAMETOOLONG);
	path[BELL_PATH_MAX - 1] = '\0';
	ck_assert_int_eq(bell_send(pair[1], BELL_TOUCH, path, 0), 0);
	close(pair[0]);
	ck_assert_int_lt(bell_send(pair[1], BELL_TOUCH, "db/current", 0), 0);
	close(pair[1]);
}
END_TEST

/* ---- a bell that runs beside the test ---- */

struct running {
	int fds[2];
	int r;
};

static void *run(void *arg)
{
	struct running *b = arg;

	b->r = bell_run(root_fd, b->fds, 2);
	return NULL;
}

START_TEST(goes_on_until_the_last_client_has_closed)
{
	struct running b = { .r = -1 };
	int one[2], two[2];
	pthread_t t;

	watch("db/current");
	make_socket(one);
	make_socket(two);
	b.fds[0] = one[0];
	b.fds[1] = two[0];
	ck_assert_int_eq(pthread_create(&t, NULL, run, &b), 0);
	close(one[1]);
	ck_assert_int_eq(bell_send(two[1], BELL_TOUCH, "db/current", 0), 0);
	close(two[1]);
	pthread_join(t, NULL);
	ck_assert_int_eq(b.r, EXIT_SUCCESS);
	ck_assert_uint_eq(events().open, 1);
	close(one[0]);
	close(two[0]);
}
END_TEST

static struct running beside;
static pthread_t beside_thread;
static int client;

static void start_beside(void)
{
	int one[2], two[2];

	make_socket(one);
	make_socket(two);
	beside = (struct running){ { one[0], two[0] }, -1 };
	client = one[1];
	close(two[1]);
	ck_assert_int_eq(pthread_create(&beside_thread, NULL, run, &beside), 0);
}

static void end_beside(void)
{
	close(client);
	pthread_join(beside_thread, NULL);
	ck_assert_int_eq(beside.r, EXIT_SUCCESS);
	close(beside.fds[0]);
	close(beside.fds[1]);
}

/* The next answer of this kind, of those that come. */
static struct bell_answer answer(enum bell_word word)
{
	struct bell_answer a;

	do
		ck_assert_int_eq(recv(client, &a, sizeof a, 0), (ssize_t)sizeof a);
	while (a.word != word);
	return a;
}

static int open_file(const char *path)
{
	int fd = openat(root_fd, path, O_RDONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

/* A broken lease is told by SIGIO, which would end this. */
static int take_lease(const char *path, int kind)
{
	int fd = open_file(path);

	signal(SIGIO, SIG_IGN);
	ck_assert_int_eq(fcntl(fd, F_SETLEASE, kind), 0);
	return fd;
}

static void wait_for_events(struct seen *s, unsigned modify, unsigned close_write)
{
	while (s->modify < modify || s->close_write < close_write) {
		const struct seen more = events();
		s->open += more.open;
		s->modify += more.modify;
		s->close_write += more.close_write;
		poll(NULL, 0, 1);
	}
}

static const int lease_kinds[] = { F_RDLCK, F_WRLCK };

START_TEST(what_a_lease_forbids_is_done_when_it_goes_and_others_do_not_wait)
{
	struct seen s = { 0 };

	make_file("db/other");
	int lease = take_lease("db/current", lease_kinds[_i]);
	watch("db/current");
	start_beside();
	ck_assert_int_eq(bell_send(client, BELL_LISTEN, "", 0), 0);
	ck_assert_int_eq(bell_send(client, BELL_TOUCH, "db/current", 0), 0);
	wait_for_events(&s, 1, 0); /* at once */
	ck_assert_uint_eq(s.close_write, 0);
	ck_assert_int_eq(bell_send(client, BELL_TOUCH, "db/current", 0), 0);
	watch("db/other");
	ck_assert_int_eq(bell_send(client, BELL_TOUCH, "db/other", 0), 0);
	s = (struct seen){ 0 };
	wait_for_events(&s, 1, 1); /* of the other */
	const struct bell_answer state = answer(BELL_STATE);
	ck_assert(state.waiting == 1 && state.since > 0);
	ck_assert_int_eq(fcntl(lease, F_SETLEASE, F_UNLCK), 0);
	s = (struct seen){ 0 };
	wait_for_events(&s, 1, 1);
	ck_assert_uint_eq(answer(BELL_STATE).waiting, 0);
	end_beside();
	close(lease);
}
END_TEST

START_TEST(what_is_held_has_no_lease_and_is_rung_as_ever)
{
	struct seen s = { 0 };
	int fd;

	start_beside();
	ck_assert_int_eq(bell_send(client, BELL_LISTEN, "", 0), 0);
	ck_assert_int_eq(answer(BELL_HELLO).pid, getpid());
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(bell_send(client, BELL_HOLD, "db/current", 77), 0);
		const struct bell_answer held = answer(BELL_HELD);
		ck_assert(held.ino == 77 && held.error == 0);
	}
	fd = open_file("db/current");
	for (size_t i = 0; i < 2; i++)
		ck_assert(fcntl(fd, F_SETLEASE, lease_kinds[i]) < 0 && errno == EAGAIN);
	watch("db/current");
	for (int i = 0; i < 3; i++) {
		s = (struct seen){ 0 };
		ck_assert_int_eq(bell_send(client, BELL_TOUCH, "db/current", 0), 0);
		wait_for_events(&s, 1, 1);
		ck_assert(s.open == 1 && s.modify == 1 && s.close_write == 1);
	}
	ck_assert(fcntl(fd, F_SETLEASE, F_RDLCK) < 0 && errno == EAGAIN);
	s = (struct seen){ 0 };
	ck_assert_int_eq(bell_send(client, BELL_LET_GO, "db/current", 77), 0);
	wait_for_events(&s, 1, 1);
	ck_assert_uint_eq(s.open, 0);
	while (fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
		poll(NULL, 0, 1);
	close(fd);
	ck_assert_int_eq(bell_send(client, BELL_HOLD, "db/gone", 78), 0);
	ck_assert_int_eq(answer(BELL_HELD).error, -ENOENT);
	end_beside();
}
END_TEST

START_TEST(a_file_in_the_place_of_one_that_was_held_is_not_taken_for_it)
{
	struct seen s = { 0 };

	start_beside();
	ck_assert_int_eq(bell_send(client, BELL_LISTEN, "", 0), 0);
	ck_assert_int_eq(bell_send(client, BELL_HOLD, "db/current", 77), 0);
	ck_assert_int_eq(answer(BELL_HELD).error, 0);
	ck_assert_int_eq(unlinkat(root_fd, "db/current", 0), 0);
	make_file("db/current");
	watch("db/current");
	ck_assert_int_eq(bell_send(client, BELL_TOUCH, "db/current", 0), 0);
	wait_for_events(&s, 1, 1);
	ck_assert_uint_eq(answer(BELL_LOST).ino, 77);
	end_beside();
}
END_TEST

START_TEST(asked_by_a_signal_it_gives_up_what_it_holds)
{
	struct seen s = { 0 };

	bell_catch_signal();
	start_beside();
	ck_assert_int_eq(bell_send(client, BELL_LISTEN, "", 0), 0);
	ck_assert_int_eq(bell_send(client, BELL_HOLD, "db/current", 77), 0);
	ck_assert_int_eq(answer(BELL_HELD).error, 0);
	watch("db/current");
	kill(getpid(), SIGUSR1);
	wait_for_events(&s, 1, 1);
	ck_assert_uint_eq(answer(BELL_LOST).ino, 0);
	close(take_lease("db/current", F_WRLCK));
	ck_assert_int_eq(bell_send(client, BELL_HOLD, "db/current", 77), 0); /* not so soon */
	ck_assert_int_eq(answer(BELL_HELD).error, -EBUSY);
	end_beside();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bell");
	TCase *t = tcase_create("bell");
	SRunner *r = srunner_create(s);

	suite_add_tcase(s, t);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, touch_is_heard_as_a_write);
	tcase_add_test(t, touches_a_directory_and_the_root);
	tcase_add_test(t, what_is_queued_twice_is_rung_once);
	tcase_add_loop_test(t, stays_below_its_root, 0, (int)(sizeof(bad_paths) / sizeof(bad_paths[0])));
	tcase_add_test(t, ignores_messages_that_are_none);
	tcase_add_test(t, a_full_queue_is_reported_and_nothing_blocks);
	tcase_add_test(t, the_client_says_what_it_cannot_send);
	tcase_add_test(t, goes_on_until_the_last_client_has_closed);
	tcase_add_loop_test(t, what_a_lease_forbids_is_done_when_it_goes_and_others_do_not_wait, 0, 2);
	tcase_add_test(t, what_is_held_has_no_lease_and_is_rung_as_ever);
	tcase_add_test(t, a_file_in_the_place_of_one_that_was_held_is_not_taken_for_it);
	tcase_add_test(t, asked_by_a_signal_it_gives_up_what_it_holds);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
