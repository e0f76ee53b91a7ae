/* A service manager for tests, as far as a service of Type=notify sees one: sd_notify(3)'s socket, and a store of
 * descriptors that outlives the service.
 *
 *   manager SOCKET SAID COMMAND…
 *
 * Runs COMMAND with NOTIFY_SOCKET. Each message is a line of the file SAID ("|" between its lines). Descriptors that
 * come with FDSTORE=1 are kept under their FDNAME until FDSTOREREMOVE=1. A service that a signal ended is started
 * again, with what is kept (LISTEN_FDS, LISTEN_FDNAMES); one that exits ends this program, with its status. SIGTERM
 * goes to the service. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEPT_MAX 64
#define FIRST_FD 3

static struct {
	char name[64];
	int fd;
} kept[KEPT_MAX];
static size_t n_kept;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int listen_at(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
	unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a))
		die(path);
	return fd;
}

/* In the child: what is kept becomes descriptors 3, 4 …; first all of it out of the way. */
static void pass_kept(void)
{
	char text[16], names[KEPT_MAX * 65] = "";
	int aside[KEPT_MAX];

	for (size_t i = 0; i < n_kept; i++)
		aside[i] = fcntl(kept[i].fd, F_DUPFD, 200);
	for (size_t i = 0; i < n_kept; i++) {
		dup2(aside[i], FIRST_FD + (int)i);
		close(aside[i]);
		strcat(strcat(names, i ? ":" : ""), kept[i].name);
	}
	if (n_kept == 0)
		return;
	snprintf(text, sizeof text, "%d", (int)getpid());
	setenv("LISTEN_PID", text, 1);
	snprintf(text, sizeof text, "%zu", n_kept);
	setenv("LISTEN_FDS", text, 1);
	setenv("LISTEN_FDNAMES", names, 1);
}

static pid_t run(char **command)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid > 0)
		return pid;
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	pass_kept();
	execvp(command[0], command);
	die(command[0]);
	return -1;
}

static bool value_of(const char *text, const char *name, char ret[64])
{
	const char *at = strstr(text, name);

	if (!at || (at != text && at[-1] != '\n'))
		return false;
	snprintf(ret, 64, "%.*s", (int)strcspn(at + strlen(name), "\n"), at + strlen(name));
	return true;
}

static void forget(const char *name)
{
	for (size_t i = 0; i < n_kept;)
		if (!strcmp(kept[i].name, name)) {
			close(kept[i].fd);
			kept[i] = kept[--n_kept];
		} else {
			i++;
		}
}

static void hear(int socket, FILE *said)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u;
	char text[4096], name[64] = "", word[64];
	struct iovec iov = { text, sizeof text - 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.buf, .msg_controllen = sizeof u.buf };
	ssize_t n = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
	int fd = -1;

	if (n < 0)
		return;
	text[n] = '\0';
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (c)
		memcpy(&fd, CMSG_DATA(c), sizeof fd);
	(void)value_of(text, "FDNAME=", name);
	if (value_of(text, "FDSTOREREMOVE=", word))
		forget(name);
	else if (value_of(text, "FDSTORE=", word) && fd >= 0 && n_kept < KEPT_MAX) {
		snprintf(kept[n_kept].name, sizeof kept[n_kept].name, "%s", name);
		kept[n_kept++].fd = fd;
	} else if (fd >= 0) {
		close(fd);
	}
	for (char *p = text; *p; p++)
		if (*p == '\n')
			*p = '|';
	fprintf(said, "%s\n", text);
	fflush(said);
}

int main(int argc, char **argv)
{
	struct signalfd_siginfo info;
	sigset_t set;
	int status;

	if (argc < 4)
		return 2;
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	int socket = listen_at(argv[1]);
	FILE *said = fopen(argv[2], "ae");
	if (!said)
		die(argv[2]);
	setenv("NOTIFY_SOCKET", argv[1], 1);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int signals = signalfd(-1, &set, SFD_CLOEXEC);
	pid_t service = run(argv + 3);
	for (;;) {
		struct pollfd p[] = { { .fd = socket, .events = POLLIN }, { .fd = signals, .events = POLLIN } };
		poll(p, 2, -1);
		if (p[0].revents) /* first: what it still said counts */
			hear(socket, said);
		else if (read(signals, &info, sizeof info) == sizeof info && info.ssi_signo == SIGTERM)
			kill(service, SIGTERM);
		else if (waitpid(service, &status, WNOHANG) == service) {
			if (WIFEXITED(status))
				return WEXITSTATUS(status);
			service = run(argv + 3);
		}
	}
}
