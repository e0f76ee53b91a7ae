#include "fs/caller/caller.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "fs/common/clock.h"
#include "fs/caller/resolver.h"
#include "fs/common/shares.h"
#include "store/crypto/aead.h"

#define NS_PER_MS INT64_C(1000000)

#define CACHE_SETS 128u /* times CACHE_WAYS: how many pidfds are held at most */
#define CACHE_WAYS 4u

#define STATUS_FIRST      4096u
#define STATUS_MAX        (1u << 20) /* 65536 groups of up to ten digits */
#define CGROUP_MAX        16384u
#define UNIT_MAX          256
#define RESOLVER_PAUSE_MS 10 /* before a question is put again to a resolver that is busy */
#define CONTAINER_MAX     288
#define MAP_MAX           64 /* of the initial user namespace: one line of three numbers */

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

/* ---- identities ---- */

struct identity *identity_ref(struct identity *i)
{
	atomic_fetch_add_explicit(&i->refs, 1, memory_order_relaxed);
	return i;
}

void identity_unref(struct identity *i)
{
	if (i && atomic_fetch_sub_explicit(&i->refs, 1, memory_order_acq_rel) == 1)
		free(i);
}

/* What was found out of a thread, before it becomes an identity. */
struct findings {
	uint32_t uid, gid;
	pid_t tid;
	struct proc_status status; /* groups owned */
	int64_t loginuid;
	bool cgroup_known, answered, full, host;
	char unit[UNIT_MAX], container[CONTAINER_MAX];
	struct resolver_answer answer;
	uint64_t neighbour;
	uint32_t owner;
	enum policy_account account;
	uint32_t *account_groups; /* owned */
	size_t n_account_groups;
};

static char *append(char **at, const char *text)
{
	size_t n = strlen(text) + 1;
	char *copy;

	if (n == 1)
		return NULL;
	copy = memcpy(*at, text, n);
	*at += n;
	return copy;
}

/* One block: the struct, the groups, the strings. */
static struct identity *identity_new(const struct findings *f)
{
	const struct proc_status *s = &f->status;
	const char *strings[] = { s->comm, f->answer.exe, f->unit, f->container };
	size_t size = sizeof(struct identity) + (s->n_groups + f->n_account_groups) * sizeof(uint32_t);
	struct identity *i;

	for (size_t k = 0; k < sizeof(strings) / sizeof(strings[0]); k++)
		size += strlen(strings[k]) + 1;
	i = calloc(1, size);
	if (!i)
		return NULL;
	uint32_t *groups = (uint32_t *)(i + 1);
	uint32_t *account_groups = groups + s->n_groups;
	char *at = (char *)(account_groups + f->n_account_groups);
	if (s->n_groups > 0)
		memcpy(groups, s->groups, s->n_groups * sizeof(*groups));
	if (f->n_account_groups > 0)
		memcpy(account_groups, f->account_groups, f->n_account_groups * sizeof(*account_groups));
	atomic_init(&i->refs, 1);
	i->uid = f->uid;
	i->gid = f->gid;
	i->tid = f->tid;
	i->tgid = s->tgid ? s->tgid : f->tid;
	i->start_time = f->answer.start_time;
	i->user_ns = f->answer.user_ns;
	i->pid_ns = f->answer.pid_ns;
	i->mnt_ns = f->answer.mnt_ns;
	i->host = f->host;
	i->neighbour = f->neighbour;
	i->owner = f->owner;
	i->full = f->full;
	i->policy = (struct policy_caller){ .uid = f->uid,
					    .gid = f->gid,
					    .groups = groups,
					    .n_groups = s->n_groups,
					    .host = f->host,
					    .account = f->account,
					    .owner = f->owner,
					    .account_groups = account_groups,
					    .n_account_groups = f->n_account_groups };
	i->audit.uid = f->uid;
	i->audit.gid = f->gid;
	i->audit.pid = i->tgid;
	i->audit.loginuid = f->loginuid;
	i->audit.has_owner = f->owner != f->uid && f->owner != OWNER_UNKNOWN;
	i->audit.owner = f->owner;
	i->audit.neighbour = f->neighbour;
	i->audit.comm = append(&at, s->comm);
	i->audit.exe = append(&at, f->answer.exe);
	i->audit.unit = append(&at, f->unit);
	i->audit.container = append(&at, f->container);
	i->audit.groups_known = true;
	i->audit.groups = groups;
	i->audit.n_groups = s->n_groups;
	audit_caller_render(&i->audit);
	return i;
}

/* The digest of an identity is the first 16 bytes of SHA-256 over
 *
 *   "coffer identity 2" NUL | uid u32 | gid u32 | host u32 | owner u32 | number of groups u32 | groups u32… | user_ns
 *   u64 | pid_ns u64 | mnt_ns u64 | unit NUL | container NUL
 *
 * with integers as they lie in memory (a digest never leaves the machine) and groups sorted without duplicates. Neither
 * string can hold a NUL, and every count stands before what it counts: no two identities have one encoding. */
static int identity_digest(struct identity *i, const struct findings *f)
{
	static const char label[] = "coffer identity 2";
	uint32_t head[5] = { i->uid, i->gid, i->host, i->owner, (uint32_t)i->policy.n_groups };
	uint64_t ns[3] = { i->user_ns, i->pid_ns, i->mnt_ns };
	struct bytes parts[] = {
		{ label, sizeof(label) },
		{ head, sizeof(head) },
		{ i->policy.groups, i->policy.n_groups * sizeof(uint32_t) },
		{ ns, sizeof(ns) },
		{ f->unit, strlen(f->unit) + 1 },
		{ f->container, strlen(f->container) + 1 },
	};
	uint8_t digest[DIGEST_LEN];
	int r;

	r = sha256(parts, sizeof(parts) / sizeof(parts[0]), digest);
	if (r == 0)
		memcpy(i->digest, digest, sizeof(i->digest));
	return r;
}

/* What the log may fold is of one process with one identity: the first bytes of SHA-256 over digest | tgid | start time
 * | executable. Of a process that nobody could look at nothing is folded. */
static int identity_origin(struct identity *i)
{
	const char *exe = i->audit.exe ? i->audit.exe : "";
	const int64_t tgid = i->tgid;
	const struct bytes parts[] = { { i->digest, sizeof(i->digest) },
				       { &tgid, sizeof(tgid) },
				       { &i->start_time, sizeof(i->start_time) },
				       { exe, strlen(exe) } };
	uint8_t digest[DIGEST_LEN];

	if (!i->full || !i->start_time)
		return 0;
	int r = sha256(parts, sizeof(parts) / sizeof(parts[0]), digest);
	if (r == 0)
		memcpy(i->audit.origin, digest, sizeof(i->audit.origin));
	return r;
}

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

/* ---- reading /proc ---- */

/* Reads a file to its end into a growing block, at most max bytes. 0 and a block to free, or negative errno. */
static int read_all(int dir_fd, const char *name, size_t max, char **ret_text, size_t *ret_len)
{
	size_t len = 0, size = STATUS_FIRST;
	char *text = NULL;
	ssize_t n = -1;
	int r = -ENOMEM, fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	text = malloc(size);
	while (text && n != 0) {
		if (len == size) {
			char *more = size < max ? realloc(text, size * 2) : NULL;
			if (!more) {
				r = size < max ? -ENOMEM : -EFBIG;
				goto out;
			}
			text = more;
			size *= 2;
		}
		n = read(fd, text + len, size - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			r = -errno;
			goto out;
		}
		len += (size_t)n;
	}
	if (!text)
		goto out;
	*ret_text = text;
	*ret_len = len;
	text = NULL;
	r = 0;
out:
	free(text);
	close(fd);
	return r;
}

static int read_status(int thread_fd, struct proc_status *ret_status)
{
	char *text;
	size_t len;
	int r = read_all(thread_fd, "status", STATUS_MAX, &text, &len);

	if (r < 0)
		return r;
	r = proc_status_parse(text, len, ret_status);
	free(text);
	return r;
}

static void read_cgroup(int thread_fd, struct findings *f)
{
	char *text;
	size_t len;
	int r = read_all(thread_fd, "cgroup", CGROUP_MAX, &text, &len);

	/* ENOENT: a kernel without cgroups, and so without containers by that sign */
	f->cgroup_known = r == 0 || r == -ENOENT;
	if (r < 0)
		return;
	proc_cgroup_parse(text, len, f->unit, sizeof(f->unit), f->container, sizeof(f->container));
	free(text);
}

static int64_t read_loginuid(int thread_fd)
{
	char text[16] = "", *end;
	int fd = openat(thread_fd, "loginuid", O_RDONLY | O_CLOEXEC);
	ssize_t n;
	unsigned long uid;

	if (fd < 0)
		return -1;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return -1;
	uid = strtoul(text, &end, 10);
	return end == text || uid >= UINT32_MAX ? -1 : (int64_t)uid;
}

/* False: it could not be read, or is longer than the initial one's ever is. */
static bool read_map(int thread_fd, char ret[MAP_MAX])
{
	int fd = openat(thread_fd, "uid_map", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, MAP_MAX);

	if (fd >= 0)
		close(fd);
	if (n <= 0 || n == MAP_MAX)
		return false;
	ret[n] = '\0';
	return true;
}

static int open_thread(const struct callers *c, pid_t tid)
{
	char path[16];

	(void)snprintf(path, sizeof(path), "%d", tid);
	return openat(c->proc_fd, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* A user namespace shows in a thread's map of uids, which anybody may read: in the same one the map looks as our own
 * does. It tells less than the resolver does, but it tells when that is silent. */
static bool in_our_user_namespace(const struct callers *c, pid_t tid)
{
	char map[MAP_MAX];
	int fd = open_thread(c, tid);
	const bool same = fd >= 0 && c->initial_map[0] && read_map(fd, map) && !strcmp(map, c->initial_map);

	if (fd >= 0)
		close(fd);
	return same;
}

static int compare_groups(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* The kernel gives them sorted, but may give one twice. */
static void sort_groups(struct proc_status *s)
{
	uint32_t n = 0;

	if (s->n_groups == 0)
		return;
	qsort(s->groups, s->n_groups, sizeof(*s->groups), compare_groups);
	for (uint32_t i = 1; i < s->n_groups; i++)
		if (s->groups[i] != s->groups[n])
			s->groups[++n] = s->groups[i];
	s->n_groups = n + 1;
}

/* ---- resolving ---- */

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

	fd = open_thread(c, f->tid);
	if (fd < 0)
		return errno == ENOENT ? "no such thread" : "thread unreadable";
	r = read_status(fd, s);
	if (r < 0)
		why = r == -EBADMSG || r == -EFBIG ? "status malformed"
		      : r == -ENOMEM               ? "out of memory"
						   : "status unreadable";
	else if (s->kthread)
		why = "kernel thread";
	else if (s->uid[3] != f->uid || s->gid[3] != f->gid)
		why = "credentials differ";
	if (!why) {
		sort_groups(s);
		read_cgroup(fd, f);
		f->loginuid = read_loginuid(fd);
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
	const int fd = tid > 0 ? open_thread(c, tid) : -1;

	if (fd < 0)
		return NEIGHBOUR_ROOT;
	read_cgroup(fd, &f);
	close(fd);
	return neighbour_of_cgroup(f.container, f.unit);
}

int caller_tgid(struct callers *c, pid_t tid, pid_t *ret_tgid)
{
	struct proc_status status;
	int fd, r;

	if (tid <= 0)
		return -ESRCH;
	fd = open_thread(c, tid);
	if (fd < 0)
		return -ESRCH;
	r = read_status(fd, &status);
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

	if (fd < 0 || !read_map(fd, c->initial_map))
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
