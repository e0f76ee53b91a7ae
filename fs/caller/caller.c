#include "fs/caller/caller.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "fs/caller/findings.h"
#include "fs/common/clock.h"
#include "fs/caller/resolver.h"
#include "fs/common/shares.h"

#define NS_PER_MS INT64_C(1000000)

#define CACHE_SETS 128u /* times CACHE_WAYS: how many pidfds are held at most */
#define CACHE_WAYS 4u

#define RESOLVER_PAUSE_MS 10 /* before a question is put again to a resolver that is busy */

/* pidfd_open(2): PIDFD_THREAD (Linux 6.9) is O_EXCL; older headers do not have the word. */
#define PIDFD_OF_THREAD ((unsigned)O_EXCL)

struct entry {
	pid_t tid;
	uint32_t uid, gid;
	int pidfd;
	int64_t born, checked;
	struct identity *identity; /* NULL: empty */
};

struct set {
	pthread_mutex_t lock;
	struct entry entries[CACHE_WAYS];
} __attribute__((aligned(64)));

struct callers {
	int proc_fd;
	struct resolver_client *resolver; /* NULL: there is none */
	bool no_host;
	bool pidfd_thread; /* the kernel has pidfds of single threads */
	struct neighbours *neighbours;
	struct accounts *accounts;
	char initial_map[MAP_MAX]; /* this process's own map of uids, as /proc shows it to this process */
	int64_t follow_at;         /* when the table of subordinate uids is asked for again */
	/* the last one who asked the resolver got no answer in all the time that he had */
	atomic_bool silent;
	_Atomic uint32_t sweep;
	struct set sets[CACHE_SETS];
};

/* ---- the cache ---- */

static struct set *set_of(struct callers *c, uint32_t uid, uint32_t gid, pid_t tid)
{
	uint64_t key = ((uint64_t)(uint32_t)tid << 32 | uid) ^ (uint64_t)gid << 16;

	return &c->sets[(key * 0x9e3779b97f4a7c15u) >> 57];
}
_Static_assert(CACHE_SETS == 1u << (64 - 57), "set_of takes the top bits of the product");

static void entry_clear(struct entry *e)
{
	if (!e->identity)
		return;
	close(e->pidfd);
	identity_unref(e->identity);
	*e = (struct entry){ 0 };
}

/* A thread's number is given out again only when the kernel has gone round all others (pid_max is at least 301): not
 * within a millisecond of its end. So the pidfd is asked once in that time. */
#define PID_REUSE_NS NS_PER_MS

static bool entry_fresh(const struct entry *e, int64_t now)
{
	return e->identity && now - e->born < CALLER_CACHE_MS * NS_PER_MS;
}

/* A pidfd is readable when its process, or thread, has ended: the number may then be somebody else's. */
static bool pidfd_alive(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return poll(&p, 1, 0) == 0;
}

struct identity *caller_cached(struct callers *c, uint32_t uid, uint32_t gid, pid_t tid)
{
	struct set *set = set_of(c, uid, gid, tid);
	struct identity *found = NULL;
	int64_t now = clock_monotonic();

	pthread_mutex_lock(&set->lock);
	for (size_t i = 0; i < CACHE_WAYS; i++) {
		struct entry *e = &set->entries[i];
		if (e->tid != tid || e->uid != uid || e->gid != gid || !entry_fresh(e, now))
			continue;
		if (now - e->checked >= PID_REUSE_NS) {
			if (!pidfd_alive(e->pidfd)) {
				entry_clear(e);
				break;
			}
			e->checked = now;
		}
		found = identity_ref(e->identity);
		break;
	}
	pthread_mutex_unlock(&set->lock);
	return found;
}

/* An entry for the key: its own, an empty or stale one, else the oldest. */
static struct entry *victim(struct set *set, const struct identity *i, int64_t now)
{
	struct entry *best = &set->entries[0];

	for (size_t k = 0; k < CACHE_WAYS; k++) {
		struct entry *e = &set->entries[k];
		if (e->identity && e->tid == i->tid && e->uid == i->uid && e->gid == i->gid)
			return e;
		if (!entry_fresh(e, now) || (entry_fresh(best, now) && e->born < best->born))
			best = e;
	}
	return best;
}

/* Each entry that is made pays for the clearing of one set, so that pidfds of the past are not kept. */
static void sweep_one(struct callers *c, int64_t now)
{
	struct set *set = &c->sets[atomic_fetch_add_explicit(&c->sweep, 1, memory_order_relaxed) % CACHE_SETS];

	pthread_mutex_lock(&set->lock);
	for (size_t i = 0; i < CACHE_WAYS; i++)
		if (!entry_fresh(&set->entries[i], now))
			entry_clear(&set->entries[i]);
	pthread_mutex_unlock(&set->lock);
}

/* Takes pidfd. born is the time before the first look at /proc. */
static void cache_put(struct callers *c, struct identity *i, int pidfd, int64_t born)
{
	struct set *set = set_of(c, i->uid, i->gid, i->tid);
	struct entry *e;

	sweep_one(c, clock_monotonic());
	pthread_mutex_lock(&set->lock);
	e = victim(set, i, clock_monotonic());
	entry_clear(e);
	*e = (struct entry){
		.tid = i->tid, .uid = i->uid, .gid = i->gid, .pidfd = pidfd, .born = born, .identity = identity_ref(i)
	};
	pthread_mutex_unlock(&set->lock);
}

/* A pidfd that ends with this thread; -1: there is none, and the thread must not be cached. Older kernels have them of
 * thread group leaders alone. */
static int thread_pidfd(const struct callers *c, pid_t tid)
{
	return (int)syscall(SYS_pidfd_open, tid, c->pidfd_thread ? PIDFD_OF_THREAD : 0u);
}

/* ---- resolving ---- */

/* A user namespace shows in a thread's map of uids, which anybody may read: in the same one the map looks as our own
 * does. It tells less than the resolver does, but it tells when that is silent. */
static bool in_our_user_namespace(const struct callers *c, pid_t tid)
{
	char map[MAP_MAX];
	int fd = findings_open_thread(c->proc_fd, tid);
	const bool same = fd >= 0 && c->initial_map[0] && findings_read_map(fd, map) && !strcmp(map, c->initial_map);

	if (fd >= 0)
		close(fd);
	return same;
}

/* One question, until deadline. 0: the resolver has spoken; -EPIPE: there is none; else a later question may have
 * better luck. */
static int ask_once(struct callers *c, struct findings *f, int64_t deadline)
{
	int r = resolver_ask(c->resolver, f->tid, f->uid, deadline, &f->answer);

	return r == 0 && (f->answer.error == -ETIMEDOUT || f->answer.error == -EBUSY) ? f->answer.error : r;
}

/* An administrator who is not known as the host's is refused: a resolver that is slow, or that took the question along
 * when it died, is asked again. Once nothing has come out of it for as long as a caller waits, the next ones wait only
 * for one question, until it speaks again. */
static void ask_resolver(struct callers *c, struct findings *f)
{
	const int64_t began = clock_monotonic(),
		      end = began + (c->silent ? RESOLVER_DEADLINE_MS : RESOLVER_RETRY_MS) * NS_PER_MS;
	int r = -EPIPE;

	if (!c->resolver)
		return;
	for (int64_t now = began; now < end; now = clock_monotonic()) {
		const int64_t deadline = now + RESOLVER_DEADLINE_MS * NS_PER_MS;
		r = ask_once(c, f, deadline < end ? deadline : end);
		if (r == 0 || r == -EPIPE)
			break;
		if (clock_monotonic() < deadline) /* it had no time for the question, and said so at once */
			poll(NULL, 0, RESOLVER_PAUSE_MS);
	}
	c->silent = r < 0;
	f->answered = r == 0;
	f->full = f->answered && f->answer.error == 0;
}

/* For what refuses: does the uid say whose process it is, and are its groups those that it was given? */
static void find_account(struct callers *c, struct findings *f)
{
	const struct ancestry *a = &f->answer.ancestry;
	const bool known = f->answered && a->known;
	bool in_range;

	if (!known && in_our_user_namespace(c, f->tid)) { /* the resolver is silent: by what is known here */
		f->owner = neighbours_owner(c->neighbours, f->uid, &in_range);
		f->account = in_range || f->owner != f->uid ? POLICY_ACCOUNT_UNKNOWN : POLICY_ACCOUNT_OWN;
		return;
	}
	f->account = POLICY_ACCOUNT_UNKNOWN;
	if (!known)
		return;
	if (!a->user_ns && f->owner == f->uid)
		f->account = POLICY_ACCOUNT_OWN;
	else if (a->user_ns && a->owner == 0 && f->answer.of_uid.in_range && f->answer.of_uid.owner == SUBUID_ROOT)
		f->account = POLICY_ACCOUNT_KNOWN; /* root's container, and no account has this uid */
	else if (c->accounts && f->owner != OWNER_UNKNOWN && !(a->pid_ns && a->pid_ns_ours) &&
		 !(a->user_ns && a->owner == 0 && !f->answer.of_uid.in_range))
		f->account = accounts_groups(c->accounts, f->owner, true, &f->account_groups, &f->n_account_groups);
}

static void find_neighbour(struct callers *c, struct findings *f)
{
	const struct resolver_answer *a = &f->answer;
	const struct neighbour_facts facts = {
		.uid = f->uid,
		.host = f->host,
		.answered = f->answered,
		.ancestry = a->ancestry,
		.of_uid = a->of_uid,
		.of_owner = a->of_owner,
		.mnt_ns = a->mnt_ns,
		.our_mnt_ns = a->own_mnt_ns,
		.container = f->container,
		.unit = f->unit,
	};

	f->owner = neighbour_owner(&facts);
	f->neighbour = f->answered ? neighbour_of(&facts) : neighbours_guess(c->neighbours, f->uid);
	if (f->answered)
		neighbours_learn(c->neighbours, f->uid, f->neighbour, clock_monotonic());
}

/* Every sign must be there: one that is missing is a container. */
static bool is_host(const struct callers *c, const struct findings *f)
{
	const struct resolver_answer *a = &f->answer;

	return !c->no_host && f->full && a->init_known && a->user_ns != 0 && a->pid_ns != 0 && a->mnt_ns != 0 &&
	       a->user_ns == a->init_user_ns && a->pid_ns == a->init_pid_ns && a->mnt_ns == a->init_mnt_ns &&
	       f->cgroup_known && f->container[0] == '\0' && f->status.n_nspid <= 1;
}

/* NULL: this thread may be asked of the policy; else why not. */
static const char *look(struct callers *c, struct findings *f)
{
	struct proc_status *s = &f->status;
	const char *why = NULL;
	int fd, r;

	fd = findings_open_thread(c->proc_fd, f->tid);
	if (fd < 0)
		return errno == ENOENT ? "no such thread" : "thread unreadable";
	r = findings_read_status(fd, s);
	if (r < 0)
		why = r == -EBADMSG || r == -EFBIG ? "status malformed"
		      : r == -ENOMEM               ? "out of memory"
						   : "status unreadable";
	else if (s->kthread)
		why = "kernel thread";
	else if (s->uid[3] != f->uid || s->gid[3] != f->gid)
		why = "credentials differ";
	if (!why) {
		findings_sort_groups(s);
		findings_read_cgroup(fd, f);
		f->loginuid = findings_read_loginuid(fd);
	}
	close(fd);
	return why;
}

/* For the log alone: what the header says, and the name if it could be read. */
static struct identity *minimal(const struct callers *c, const struct findings *f)
{
	struct findings m = { .uid = f->uid,
			      .gid = f->gid,
			      .tid = f->tid,
			      .loginuid = -1,
			      .owner = OWNER_UNKNOWN,
			      .neighbour = neighbours_guess(c->neighbours, f->uid) };

	m.status.tgid = f->status.tgid;
	memcpy(m.status.comm, f->status.comm, sizeof(m.status.comm));
	return identity_new(&m);
}

static const char *resolve(struct callers *c, struct findings *f, struct identity **ret_identity)
{
	int64_t born = clock_monotonic();
	struct identity *i;
	const char *why;
	int pidfd;

	/* The pidfd first: what is read then is of the thread that it names, if that still lives at the end. */
	pidfd = thread_pidfd(c, f->tid);
	why = look(c, f);
	if (why)
		goto out;
	ask_resolver(c, f);
	f->host = is_host(c, f);
	find_neighbour(c, f);
	find_account(c, f);
	why = "out of memory";
	i = identity_new(f);
	if (!i)
		goto out;
	why = "no digest";
	if (identity_digest(i, f) < 0 || identity_origin(i) < 0) {
		identity_unref(i);
		goto out;
	}
	why = NULL;
	*ret_identity = i;
	/* whom the resolver said nothing about is asked for again at his next request, and not taken for a container's
	 * until then */
	if ((f->answered || !c->resolver) && pidfd >= 0 && pidfd_alive(pidfd)) {
		cache_put(c, i, pidfd, born);
		pidfd = -1;
	}
out:
	if (pidfd >= 0)
		close(pidfd);
	return why;
}

int caller_resolve(struct callers *c, uint32_t uid, uint32_t gid, pid_t tid, struct identity **ret_identity,
		   const char **ret_why)
{
	struct findings *f;
	const char *why;

	*ret_identity = NULL;
	*ret_why = "out of memory";
	f = calloc(1, sizeof(*f));
	if (!f)
		return -EACCES;
	f->uid = uid;
	f->gid = gid;
	f->tid = tid;
	if (tid <= 0)
		why = "pid 0"; /* outside our pid namespace, or the kernel itself */
	else if (uid == UINT32_MAX || gid == UINT32_MAX)
		why = "id -1"; /* an id that the mount's user namespace does not have */
	else
		why = resolve(c, f, ret_identity);
	if (why)
		*ret_identity = minimal(c, f);
	*ret_why = why;
	free(f->status.groups);
	free(f->account_groups);
	free(f);
	return why ? -EACCES : 0;
}

uint64_t caller_guess_root(struct callers *c, pid_t tid)
{
	struct findings f = { 0 };
	const int fd = tid > 0 ? findings_open_thread(c->proc_fd, tid) : -1;

	if (fd < 0)
		return NEIGHBOUR_ROOT;
	findings_read_cgroup(fd, &f);
	close(fd);
	return neighbour_of_cgroup(f.container, f.unit);
}

int caller_tgid(struct callers *c, pid_t tid, pid_t *ret_tgid)
{
	struct proc_status status;
	int fd, r;

	if (tid <= 0)
		return -ESRCH;
	fd = findings_open_thread(c->proc_fd, tid);
	if (fd < 0)
		return -ESRCH;
	r = findings_read_status(fd, &status);
	close(fd);
	if (r < 0)
		return -ESRCH;
	free(status.groups);
	*ret_tgid = status.tgid;
	return 0;
}

/* ---- set-up ---- */

static bool kernel_has_pidfd_thread(void)
{
	int fd = (int)syscall(SYS_pidfd_open, (pid_t)syscall(SYS_gettid), PIDFD_OF_THREAD);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static void find_map(struct callers *c)
{
	int fd = openat(c->proc_fd, "self", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || !findings_read_map(fd, c->initial_map))
		c->initial_map[0] = '\0';
	if (fd >= 0)
		close(fd);
}

int callers_new(const struct callers_config *config, struct callers **ret_callers)
{
	struct callers *c;
	int r;

	c = aligned_alloc(64, sizeof(*c));
	if (!c)
		return -ENOMEM;
	memset(c, 0, sizeof(*c));
	r = neighbours_new(&c->neighbours);
	if (r == 0 && config->resolver_fd >= 0)
		r = resolver_client_new(config->resolver_fd, &c->resolver);
	if (r < 0) {
		neighbours_free(c->neighbours);
		free(c);
		return r;
	}
	c->proc_fd = config->proc_fd;
	c->no_host = config->no_host;
	c->accounts = config->accounts;
	c->pidfd_thread = kernel_has_pidfd_thread();
	find_map(c);
	for (size_t i = 0; i < CACHE_SETS; i++)
		pthread_mutex_init(&c->sets[i].lock, NULL);
	*ret_callers = c;
	return 0;
}

void callers_free(struct callers *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < CACHE_SETS; i++) {
		for (size_t k = 0; k < CACHE_WAYS; k++)
			entry_clear(&c->sets[i].entries[k]);
		pthread_mutex_destroy(&c->sets[i].lock);
	}
	resolver_client_free(c->resolver);
	neighbours_free(c->neighbours);
	free(c);
}

struct neighbours *callers_neighbours(struct callers *c) { return c->neighbours; }

#define FOLLOW_NS (1000 * NS_PER_MS)

void callers_follow(struct callers *c, int wait_ms)
{
	const uint32_t known = neighbours_ranges(c->neighbours);
	const int64_t now = clock_monotonic();
	struct subuid_table table;
	uint32_t number;
	int r;

	if (!c->resolver || now < c->follow_at)
		return;
	r = resolver_ask_ranges(c->resolver, known, now + wait_ms * NS_PER_MS, &table, &number);
	if (r == 0)
		neighbours_set_ranges(c->neighbours, &table, number);
	/* one that is silent is not waited for each time; but without a table nothing is known */
	c->follow_at = r == 0 || r == -EALREADY ? now + FOLLOW_NS : known ? now + 5 * FOLLOW_NS : 0;
}
