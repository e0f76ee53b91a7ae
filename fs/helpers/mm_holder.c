#include "fs/helpers/mm_holder.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs/process/sandbox.h"

/* Its descriptors. */
enum { WORKER, OTHERS };

/* Of the one holder that a process has. It runs on a stack of its own and else in the worker's memory, errno and such
 * included: until it is confined the worker waits, as after vfork(2); and then it is in the kernel for good. */
static struct {
	_Alignas(16) unsigned char stack[16384];
	/* a pair: it says the errno of its set-up, or 0; the worker, that the keeper knows of it */
	int worker, its;
	pid_t keeper;
} holder = { .worker = -1 };

static int set_up(void)
{
	/* the table is a copy, but what is open in it stays so: the connection to the kernel, the log, the sockets */
	if (dup2(holder.its, WORKER) < 0 || syscall(SYS_close_range, OTHERS, ~0u, 0u))
		return -errno;
	if (prctl(PR_SET_NAME, "coffer-mm") || prctl(PR_SET_PDEATHSIG, SIGKILL) ||
	    setpriority(PRIO_PROCESS, 0, PRIO_MAX - 1))
		return -errno;
	if (getppid() != holder.keeper) /* it died before we asked to die with it */
		return -ESRCH;
	return sandbox_wait_only();
}

/* Once the keeper knows of it, it waits for SIGKILL, and comes back from the kernel for nothing else: what a worker
 * that is somebody else's may write to this stack is never run, for a worker that is dead could go on writing to the
 * memory that outlives it. A worker that dies before takes it along. */
static int hold(void *unused)
{
	struct pollfd worker = { .fd = WORKER, .events = POLLIN };
	int error = -set_up();

	(void)unused;
	if (write(WORKER, &error, sizeof error) == sizeof error && !error && poll(&worker, 1, -1) == 1 &&
	    !(worker.revents & POLLHUP))
		for (;;)
			/* libc's poll would note in the worker's memory, which has threads by now, that it can be
			 * cancelled */
			syscall(SYS_ppoll, NULL, 0, NULL, NULL, 0);
	syscall(SYS_exit_group, 0);
	return 0;
}

static pid_t start(void)
{
	int error;
	sigset_t all, before;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	const pid_t pid = clone(hold, holder.stack + sizeof holder.stack, CLONE_VM | CLONE_PARENT | SIGCHLD, NULL);
	int r = pid < 0 ? -errno : 0;
	close(holder.its); /* in our table; it may not have read the number yet */
	if (!r)
		r = read(holder.worker, &error, sizeof error) == sizeof error ? -error : -ECHILD;
	sigprocmask(SIG_SETMASK, &before, NULL);
	return r ? r : pid;
}

pid_t mm_holder_start(pid_t keeper)
{
	int pair[2];

	holder.keeper = keeper;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -errno;
	holder.worker = pair[0];
	holder.its = pair[1];
	return start();
}

void mm_holder_keep(void) { (void)!write(holder.worker, "", 1); }
