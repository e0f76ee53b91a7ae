#include "fs/mm_holder.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "fs/sandbox.h"

#define HELD_MS 30	/* longer than a takeover takes; the next standby, which brings memory of its own, is ready later */

/* Its descriptors. */
enum { LIFE, READY, OTHERS };

/* Of the one holder that a process has. It runs on a stack of its own and else in the worker's memory, errno and such included: until it is confined the worker waits, as after vfork(2); and then it does nothing that can fail. */
static struct {
	_Alignas(16) unsigned char stack[16384];
	int life[2];	/* the worker alone can write: its death is the end of the file, a byte an orderly end */
	int ready[2];	/* the other way round: the errno of its set-up, or 0 */
	pid_t keeper;
	const _Atomic uint32_t *ending;
} holder = { .life = { -1, -1 } };

static int set_up(void)
{
	/* the table is a copy, but what is open in it stays so: the connection to the kernel, the log, the sockets */
	if (dup2(holder.life[0], LIFE) < 0 || dup2(holder.ready[1], READY) < 0 || syscall(SYS_close_range, OTHERS, ~0u, 0u))
		return -errno;
	if (prctl(PR_SET_NAME, "coffer-mm") || prctl(PR_SET_PDEATHSIG, SIGKILL) || setpriority(PRIO_PROCESS, 0, PRIO_MAX - 1))
		return -errno;
	if (getppid() != holder.keeper)		/* it died before we asked to die with it */
		return -ESRCH;
	return sandbox_wait_only();
}

/* No signal but SIGKILL and SIGSTOP reaches it. */
static int hold(void *unused)
{
	struct pollfd life = { .fd = LIFE, .events = POLLIN };
	const struct timespec a_while = { .tv_nsec = HELD_MS * 1000000L };
	int error = -set_up();

	(void)unused;
	if (write(READY, &error, sizeof error) == sizeof error && !error) {
		poll(&life, 1, -1);
		if (!(life.revents & POLLIN) && !*holder.ending)
			nanosleep(&a_while, NULL);
	}
	syscall(SYS_exit_group, 0);
	return 0;
}

static int start(void)
{
	int error;
	sigset_t all, before;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	int r = clone(hold, holder.stack + sizeof holder.stack, CLONE_VM | CLONE_PARENT | SIGCHLD, NULL) < 0 ? -errno : 0;
	close(holder.ready[1]);		/* in our table; it may not have read the number yet */
	if (!r)
		r = read(holder.ready[0], &error, sizeof error) == sizeof error ? -error : -ECHILD;
	sigprocmask(SIG_SETMASK, &before, NULL);
	return r;
}

int mm_holder_start(pid_t keeper, const _Atomic uint32_t *ending)
{
	holder.keeper = keeper;
	holder.ending = ending;
	if (pipe2(holder.life, O_CLOEXEC))
		return -errno;
	int r = pipe2(holder.ready, O_CLOEXEC) ? -errno : 0;
	if (!r) {
		r = start();
		close(holder.ready[0]);
	}
	close(holder.life[0]);
	if (r)
		close(holder.life[1]);
	if (r)
		holder.life[1] = -1;
	return r;
}

void mm_holder_end(void)
{
	if (holder.life[1] >= 0)
		(void)!write(holder.life[1], "", 1);
}
