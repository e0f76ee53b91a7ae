/* Who waits for the bell: an open of what it does not hold yet, and for a moment one that comes before it has greeted.
 */
#include "fs/serve/holds.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/serve/vault.h"
#include "fs/serve/waits.h"
#include "suite.h"

#define FIRST_BELL 42
#define NEXT_BELL  43

static struct vault v;
static int bell_fd;
static uint64_t whoami;

static void setup(void)
{
	int pair[2];

	memset(&v, 0, sizeof v);
	v.shared = mmap(NULL, sizeof *v.shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(v.shared, MAP_FAILED);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	v.bell_fd = pair[0];
	bell_fd = pair[1];
	whoami = inode_own(OWN_WHOAMI);
	ck_assert_int_eq(holds_new(&v, &v.holds), 0);
}

static void teardown(void)
{
	holds_free(v.holds);
	munmap(v.shared, sizeof *v.shared);
	close(v.bell_fd);
	close(bell_fd);
}

static void say(struct bell_answer a)
{
	a.pid = v.shared->keeper.bell;
	ck_assert_int_eq(send(bell_fd, &a, sizeof a, MSG_NOSIGNAL), (ssize_t)sizeof a);
}

/* A bell by that number, which is asked and answers, until the file is held. */
static void serve_as(int32_t pid)
{
	struct bell_message m;

	v.shared->keeper.bell = pid;
	say((struct bell_answer){ .word = BELL_HELLO });
	do {
		ck_assert_int_eq(recv(bell_fd, &m, sizeof m, 0), (ssize_t)sizeof m);
		if (m.action == BELL_LISTEN)
			say((struct bell_answer){ .word = BELL_HELLO });
		else if (m.action == BELL_HOLD)
			say((struct bell_answer){ .word = BELL_HELD, .ino = m.ino });
	} while (m.action != BELL_HOLD || m.ino != whoami);
}

static void *open_it(void *arg)
{
	holds_take(v.holds, whoami);
	return arg;
}

static void becomes_ready(void)
{
	for (int i = 0; i < 60000 && !holds_ready(v.holds, whoami); i++)
		poll(NULL, 0, 1);
	ck_assert(holds_ready(v.holds, whoami));
}

START_TEST(an_open_waits_for_a_bell_that_is_being_started)
{
	pthread_t opener;

	ck_assert(!holds_ready(v.holds, whoami));
	ck_assert_int_eq(pthread_create(&opener, NULL, open_it, NULL), 0);
	serve_as(FIRST_BELL);
	ck_assert_int_eq(pthread_join(opener, NULL), 0);
	becomes_ready();
	ck_assert_uint_ge(v.shared->holds.n, 1);
}
END_TEST

START_TEST(what_a_dead_bell_held_waits_for_the_next_one)
{
	serve_as(FIRST_BELL);
	becomes_ready();
	v.shared->keeper.bell = NEXT_BELL;
	ck_assert(!holds_ready(v.holds, whoami));
	serve_as(NEXT_BELL);
	becomes_ready();
	ck_assert_int_eq(v.shared->holds.bell, NEXT_BELL);
}
END_TEST

START_TEST(a_bell_that_does_not_come_is_waited_for_a_moment_only)
{
	holds_take(v.holds, whoami); /* which returns */
	becomes_ready();
	ck_assert_uint_eq(v.shared->holds.n, 0);
}
END_TEST

static int waiting, waits;

static void wait_begins(void)
{
	waiting++;
	waits++;
}

static void wait_ends(void) { waiting--; }

START_TEST(whoever_waits_for_the_bell_says_so)
{
	static const struct waits told = { wait_begins, wait_ends };

	waits_of_thread(&told);
	holds_take(v.holds, whoami);
	ck_assert_int_eq(waits, 1);
	holds_look(v.holds, whoami);
	ck_assert_int_eq(waits, 2);
	ck_assert_int_eq(waiting, 0);
	waits_of_thread(NULL);
	holds_take(v.holds, whoami);
	ck_assert_int_eq(waits, 2);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("holds");
	TCase *t = tcase_create("bell");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, an_open_waits_for_a_bell_that_is_being_started);
	tcase_add_test(t, what_a_dead_bell_held_waits_for_the_next_one);
	tcase_add_test(t, a_bell_that_does_not_come_is_waited_for_a_moment_only);
	tcase_add_test(t, whoever_waits_for_the_bell_says_so);
	suite_add_tcase(s, t);
	return run_suite(s);
}
