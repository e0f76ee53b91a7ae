#include "fs/helpers/bell.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fs/common/clock.h"
#include "fs/helpers/bell_internal.h"

static volatile sig_atomic_t asked_to_let_go;

static void on_signal(int signal)
{
	(void)signal;
	asked_to_let_go = 1;
}

void bell_catch_signal(void)
{
	const struct sigaction a = { .sa_handler = on_signal };
	sigset_t set;

	sigaction(SIGUSR1, &a, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	/* but while the main thread waits: an act is not to be interrupted */
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

/* The bell has the rights of its user on the mount and nowhere else; a message is still not trusted to stay there. */
static bool path_allowed(const char path[BELL_PATH_MAX])
{
	size_t len = strnlen(path, BELL_PATH_MAX);

	if (len == 0 || len == BELL_PATH_MAX || path[0] == '/')
		return false;
	for (const char *p = path; p;) {
		size_t n = strcspn(p, "/");
		if (n == 2 && p[0] == '.' && p[1] == '.')
			return false;
		p = p[n] == '/' ? p + n + 1 : NULL;
	}
	return true;
}

/* ---- answers ---- */

static void tell(struct bell *b, enum bell_word word, uint64_t ino, int error)
{
	const struct bell_answer a = { .word = word, .error = error, .ino = ino, .pid = getpid() };

	if (b->client >= 0)
		(void)!send(b->client, &a, sizeof a, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* What waits, where that has changed. */
static void tell_state(struct bell *b)
{
	const int64_t now = clock_ms();
	struct bell_answer a = { .word = BELL_STATE, .pid = getpid() };
	int64_t first = now;

	if (!b->first && !b->n_busy && !b->said.waiting)
		return;
	for (size_t i = 0; i < BUCKETS; i++)
		for (const struct path *p = b->buckets[i]; p; p = p->next_in_bucket)
			if ((p->queued || p->busy) && now - p->since_ms > SLOW_MS) {
				a.waiting++;
				first = p->since_ms < first ? p->since_ms : first;
			}
	if (a.waiting) {
		struct timespec t;
		clock_gettime(CLOCK_REALTIME, &t);
		a.since = t.tv_sec * INT64_C(1000000000) + t.tv_nsec - (now - first) * 1000000;
	}
	/* clocks differ by a little each time */
	if (a.waiting == b->said.waiting && (a.since == 0) == (b->said.since == 0))
		return;
	if (b->client >= 0 && send(b->client, &a, sizeof a, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof a)
		b->said = a;
}

/* ---- the acts ---- */

static const struct timespec mtime_now[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_NOW } };

/* Errors that pass. For any other nothing is left to do: a file may be gone by now, the mount read-only. */
static bool passes(int error)
{
	static const int errors[] = { EAGAIN, EBUSY, EINTR, ENFILE, EMFILE, ENOMEM, ENOBUFS, ETIMEDOUT };

	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
		if (error == errors[i])
			return true;
	return false;
}

/* While an open for writing waits for a lease to go, the kernel gives nobody another; one that only tried would be late
 * each time. So it waits, in one of a few threads. */
static int open_past_lease(struct bell *b, const char *name)
{
	bool may;
	int fd = -1;

	pthread_mutex_lock(&b->lock);
	may = b->n_leases < LEASES && !b->ending;
	b->n_leases += may;
	pthread_mutex_unlock(&b->lock);
	errno = EAGAIN;
	if (!may)
		return -1;
	fd = openat(b->root_fd, name, O_WRONLY | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
	const int error = errno;
	pthread_mutex_lock(&b->lock);
	b->n_leases--;
	pthread_mutex_unlock(&b->lock);
	errno = error;
	return fd;
}

/* What one thread does for a path, without the lock: what was asked for, and what is held; then what became of it. */
struct act {
	char name[BELL_PATH_MAX];
	bool touch, attrib, mark, touch_dir, remove, make, hold, let_go, look, heard;
	int held;
	uint64_t ino; /* then: */
	int error, look_error;
	bool lost;
};

static int open_for_writing(struct bell *b, struct act *a)
{
	int fd = openat(b->root_fd, a->name, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);

	if (fd >= 0 || errno != EWOULDBLOCK)
		return fd;
	/* somebody has a lease, which does not forbid this */
	if (a->touch && !a->heard)
		a->heard = utimensat(b->root_fd, a->name, mtime_now, AT_SYMLINK_NOFOLLOW) == 0;
	return open_past_lease(b, a->name);
}

/* Is what is held still what the path names? */
static bool is_same(int held, int fd)
{
	struct stat a, b;

	return held >= 0 && !fstat(held, &a) && !fstat(fd, &b) && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

/* A ring, after which the file is held, or not, as was asked. Where it is held the new descriptor takes the place of
 * the old one, whose close is the CLOSE_WRITE. */
static void ring(struct bell *b, struct act *a)
{
	const bool keep = !a->let_go && (a->hold || a->held >= 0);
	int fd;

	if (a->let_go && a->held >= 0) {
		(void)futimens(a->held, mtime_now);
		close(a->held);
		a->held = -1;
		return;
	}
	if (!a->touch && (a->held >= 0 || a->let_go))
		return;
	fd = open_for_writing(b, a);
	if (fd < 0) {
		a->error = errno;
		return;
	}
	if (a->touch)
		(void)futimens(fd, mtime_now);
	a->lost = a->held >= 0 && !is_same(a->held, fd);
	if (a->held >= 0)
		close(a->held);
	a->held = -1;
	if (keep && !a->lost)
		a->held = fd;
	else
		close(fd);
}

/* An answer that was on its way before may come to the kernel between ours and its effect, and then ours has none. So
 * it is asked for what it knows by now: whoever looks wants it to know of two links. */
static int look(struct bell *b, const char *name)
{
	struct statx known;

	for (int i = 0; i < LOOKS; i++)
		if (statx(b->root_fd, name, AT_SYMLINK_NOFOLLOW | AT_STATX_FORCE_SYNC, STATX_NLINK, &known) ||
		    statx(b->root_fd, name, AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC, STATX_NLINK, &known) ||
		    known.stx_nlink >= 2)
			return 0;
	return -EAGAIN;
}

/* Twice: the kernel may have forgotten the new one by the time that it is to be renamed. */
static void mark(struct bell *b, const char *name)
{
	const char *base = strrchr(name, '/');
	char from[BELL_PATH_MAX + sizeof BELL_MARKER_NEW], to[sizeof from];
	const int dir = base ? (int)(base - name) : 0;

	snprintf(from, sizeof from, "%.*s/%s", dir, name, BELL_MARKER_NEW);
	snprintf(to, sizeof to, "%.*s/%s", dir, name, BELL_MARKER);
	for (int i = 0; i < 2; i++)
		if ((symlinkat(BELL_MARKER_LEADS, b->root_fd, from) && errno != EEXIST) ||
		    !renameat(b->root_fd, from, b->root_fd, to))
			return;
}

static void do_act(struct bell *b, struct act *a)
{
	if (a->look)
		a->look_error = look(b, a->name);
	if (a->mark)
		mark(b, a->name);
	if (a->attrib)
		(void)utimensat(b->root_fd, a->name, NULL, AT_SYMLINK_NOFOLLOW);
	if (a->make) /* EEXIST: the kernel knows it already */
		(void)mkdirat(b->root_fd, a->name, 0755);
	if (a->remove) /* EBUSY while something is mounted there */
		(void)unlinkat(b->root_fd, a->name, AT_REMOVEDIR);
	if (a->touch_dir && utimensat(b->root_fd, a->name, mtime_now, AT_SYMLINK_NOFOLLOW) && passes(errno))
		a->error = errno;
	if (a->touch || a->hold || a->let_go)
		ring(b, a);
}

/* ---- threads ---- */

static struct act begin(struct bell *b, struct path *p)
{
	struct act a = { .touch = p->touch,
			 .attrib = p->attrib,
			 .mark = p->mark,
			 .touch_dir = p->touch_dir,
			 .remove = p->remove,
			 .make = p->make,
			 .hold = p->hold && clock_ms() >= b->paused_ms,
			 .let_go = p->let_go,
			 .look = p->look,
			 .heard = p->heard,
			 .held = p->fd,
			 .ino = p->ino };

	memcpy(a.name, p->name, sizeof a.name);
	if (a.hold && a.held < 0 && b->n_held >= BELL_HOLDS)
		a.hold = false;
	if (p->hold && !a.hold)
		tell(b, BELL_HELD, p->ino, p->fd >= 0 ? 0 : -EBUSY);
	b->making |= p->make;
	b->n_marking += p->mark;
	b->n_makes -= p->make;
	p->touch = p->attrib = p->mark = p->touch_dir = p->remove = p->make = p->hold = p->let_go = p->look = p->heard =
		false;
	p->busy = true;
	return a;
}

/* What was asked for meanwhile is still to be done; so is what could not be done and can be later. */
static void end(struct bell *b, struct path *p, const struct act *a)
{
	p->busy = false;
	if (a->make)
		b->making = false;
	b->n_marking -= a->mark;
	b->n_held -= p->fd >= 0;
	p->fd = a->held;
	b->n_held += p->fd >= 0;
	b->done_ms = clock_ms();
	if (a->look)
		tell(b, BELL_LOOKED, a->ino, a->look_error);
	if (a->lost)
		tell(b, BELL_LOST, a->ino, 0);
	if (a->hold && !passes(a->error))
		tell(b, BELL_HELD, a->ino, -a->error);
	if (passes(a->error)) {
		p->heard |= a->heard && !p->touch;
		p->touch |= a->touch;
		p->touch_dir |= a->touch_dir;
		p->hold |= a->hold;
		p->again_ms = clock_ms() + RETRY_MS;
	} else {
		p->since_ms = clock_ms();
		p->again_ms = 0;
	}
	if (bell_path_has_work(p))
		bell_path_enqueue(b, p);
	else if (p->fd < 0)
		bell_path_forget(b, p);
}

static void *serve(void *arg)
{
	struct bell *b = arg;
	struct path *p;

	pthread_mutex_lock(&b->lock);
	while (!b->ending) {
		p = bell_path_take(b);
		if (!p) {
			b->n_idle++;
			pthread_cond_wait(&b->work, &b->lock);
			b->n_idle--;
			continue;
		}
		struct act a = begin(b, p);
		b->n_busy++;
		pthread_mutex_unlock(&b->lock);
		do_act(b, &a);
		pthread_mutex_lock(&b->lock);
		b->n_busy--;
		end(b, p, &a);
	}
	b->n_threads--;
	pthread_mutex_unlock(&b->lock);
	return NULL;
}

static bool is_due(const struct bell *b)
{
	const int64_t now = clock_ms();

	for (const struct path *p = b->first; p; p = p->next)
		if (bell_path_can_begin(b, p, now))
			return true;
	return false;
}

/* Wakes a thread for what is due; makes one where all hang. */
static void employ(struct bell *b)
{
	pthread_attr_t attr;
	pthread_t t;

	if (!is_due(b))
		return;
	if (b->n_idle) {
		pthread_cond_signal(&b->work);
		return;
	}
	if (b->n_threads >= THREADS || (b->n_threads >= THREADS_BUSY && clock_ms() - b->done_ms < STALLED_MS))
		return;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (!pthread_create(&t, &attr, serve, b)) {
		b->n_threads++;
		b->done_ms = clock_ms();
	}
	pthread_attr_destroy(&attr);
}

/* ---- messages ---- */

/* Ten rotations of one file in a burst are one event: watchers read the file, not the event. */
static void take_message(struct bell *b, const struct bell_message *m, int from)
{
	struct path *p;

	if (m->action == BELL_LISTEN) {
		b->client = from;
		b->said = (struct bell_answer){ 0 };
		tell(b, BELL_HELLO, 0, 0);
		return;
	}
	if (m->action < BELL_TOUCH || m->action > BELL_LISTEN || !path_allowed(m->path))
		return;
	if ((m->action == BELL_MAKE && b->n_makes >= MAKES) || (m->action == BELL_MARK && b->n_marking >= MARKS))
		return;
	p = bell_path_find(b, m->path);
	if (!p)
		return;
	if (m->action == BELL_HOLD && p->fd >= 0 && !p->busy && !p->let_go && p->ino == m->ino) {
		tell(b, BELL_HELD, m->ino, 0);
		return;
	}
	if (!bell_path_has_work(p) && !p->busy)
		p->since_ms = clock_ms();
	p->touch |= m->action == BELL_TOUCH;
	p->attrib |= m->action == BELL_ATTRIB;
	p->mark |= m->action == BELL_MARK;
	p->touch_dir |= m->action == BELL_TOUCH_DIR;
	p->remove |= m->action == BELL_RMDIR;
	b->n_makes += m->action == BELL_MAKE && !p->make;
	p->make |= m->action == BELL_MAKE;
	p->let_go |= m->action == BELL_LET_GO;
	if (m->action == BELL_LOOK) {
		p->look = true;
		p->ino = m->ino;
	}
	if (m->action == BELL_TOUCH)
		p->heard = false;
	if (m->action == BELL_HOLD) {
		p->let_go = false;
		p->hold = true;
		p->ino = m->ino;
	}
	if (p->again_ms && m->action == BELL_TOUCH) /* at once, for the MODIFY that it raises */
		p->again_ms = 0;
	bell_path_enqueue(b, p);
}

/* Takes up what one client has sent, as far as there is room. False: it has closed. */
static bool drain(struct bell *b, int fd)
{
	while (b->n_paths < PATHS) {
		struct bell_message m;
		ssize_t n = recv(fd, &m, sizeof(m), MSG_DONTWAIT | MSG_TRUNC);
		if (n == (ssize_t)sizeof(m))
			take_message(b, &m, fd);
		else if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNRESET))
			/* ECONNRESET: it closed without reading our last answer, which is said once, and before what it
			 * had sent */
			return false;
		else if (n < 0 && errno == EAGAIN)
			return true;
	}
	return true;
}

/* Whoever wants the mount read-only must find nothing open for writing. */
static void let_go_of_all(struct bell *b)
{
	b->paused_ms = clock_ms() + BELL_PAUSE_MS;
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct path *p = b->buckets[i]; p; p = p->next_in_bucket)
			if (p->fd >= 0) {
				p->let_go = true;
				bell_path_enqueue(b, p);
			}
	tell(b, BELL_LOST, 0, 0);
}

static size_t open_clients(const struct bell *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n_clients; i++)
		n += b->clients[i].fd >= 0;
	return n;
}

/* How long the main thread may sleep: it wakes the others for what is due later, and makes more of them. */
static int patience(const struct bell *b)
{
	if (b->first && is_due(b) && !b->n_idle)
		return STALLED_MS;
	return b->first || b->n_busy ? RETRY_MS / 4 : -1;
}

static void listen_to_clients(struct bell *b)
{
	while (open_clients(b) > 0) {
		const bool full = b->n_paths >= PATHS;
		const int wait = full ? STALLED_MS : patience(b);
		const struct timespec time = { .tv_sec = wait / 1000, .tv_nsec = wait % 1000 * 1000000 };
		pthread_mutex_unlock(&b->lock);
		int n = ppoll(b->clients, full ? 0 : (nfds_t)b->n_clients, wait < 0 ? NULL : &time, &b->signals);
		const int error = errno;
		pthread_mutex_lock(&b->lock);
		if (n < 0 && error != EINTR)
			break;
		if (asked_to_let_go) {
			asked_to_let_go = 0;
			let_go_of_all(b);
		}
		for (size_t i = 0; i < b->n_clients; i++)
			if (b->clients[i].fd >= 0 && !drain(b, b->clients[i].fd))
				b->clients[i].fd = -1;
		employ(b);
		tell_state(b);
	}
}

/* What is under way, and what can be done now, is done. A thread that hangs keeps all of this, for it comes back to it.
 */
static void finish(struct bell *b)
{
	const int64_t until = clock_ms() + QUIET_MS;

	while (clock_ms() < until && (is_due(b) || b->n_busy)) {
		employ(b);
		pthread_mutex_unlock(&b->lock);
		poll(NULL, 0, 1);
		pthread_mutex_lock(&b->lock);
	}
	b->ending = true;
	while (clock_ms() < until && b->n_threads) {
		pthread_cond_broadcast(&b->work);
		pthread_mutex_unlock(&b->lock);
		poll(NULL, 0, 1);
		pthread_mutex_lock(&b->lock);
	}
	const bool gone = !b->n_threads;
	pthread_mutex_unlock(&b->lock);
	if (!gone)
		return;
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct path *p = b->buckets[i], *next; p; p = next) {
			next = p->next_in_bucket;
			if (p->fd >= 0)
				close(p->fd);
			free(p);
		}
	pthread_cond_destroy(&b->work);
	pthread_mutex_destroy(&b->lock);
	free(b);
}

int bell_run(int root_fd, const int *clients, size_t n_clients)
{
	struct bell *b;

	if (n_clients > CLIENTS_MAX)
		return EXIT_FAILURE;
	b = calloc(1, sizeof(*b));
	if (!b)
		return EXIT_FAILURE;
	b->root_fd = root_fd;
	b->client = -1;
	b->last = &b->first;
	pthread_sigmask(SIG_SETMASK, NULL, &b->signals);
	sigdelset(&b->signals, SIGUSR1);
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->work, NULL);
	b->n_clients = n_clients;
	pthread_mutex_lock(&b->lock);
	for (size_t i = 0; i < n_clients; i++) {
		b->clients[i] = (struct pollfd){ .fd = clients[i], .events = POLLIN };
		/* whoever is active now asks for the rest */
		b->client = clients[i];
		tell(b, BELL_HELLO, 0, 0);
	}
	b->client = -1;
	listen_to_clients(b);
	finish(b);
	return EXIT_SUCCESS;
}

int bell_send(int fd, enum bell_action action, const char *path, uint64_t ino)
{
	struct bell_message m = { .action = action, .ino = ino };
	size_t len = strlen(path);

	if (len >= sizeof(m.path))
		return -ENAMETOOLONG;
	memcpy(m.path, path, len);
	if (send(fd, &m, sizeof(m), MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof(m))
		return 0;
	return errno == EWOULDBLOCK || errno == ENOBUFS || errno == ENOMEM ? -EAGAIN : -errno;
}
