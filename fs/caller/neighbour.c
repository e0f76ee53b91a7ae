#include "fs/caller/neighbour.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIND_SHIFT 56
#define VALUE_MASK ((UINT64_C(1) << KIND_SHIFT) - 1)

static uint64_t make(enum neighbour_kind kind, uint64_t value)
{
	return (uint64_t)kind << KIND_SHIFT | (value & VALUE_MASK);
}

void neighbour_print(uint64_t neighbour, char ret_text[NEIGHBOUR_TEXT_MAX])
{
	static const char *const kinds[NEIGHBOUR_KINDS] = {
		[NEIGHBOUR_USER] = "user",
		[NEIGHBOUR_USER_NS] = "user-namespace",
		[NEIGHBOUR_PID_NS] = "pid-namespace",
		[NEIGHBOUR_MNT_NS] = "mount-namespace",
		[NEIGHBOUR_CGROUP] = "container",
		[NEIGHBOUR_RANGE] = "subordinate-uids-from",
	};
	const uint64_t kind = neighbour >> KIND_SHIFT, value = neighbour & VALUE_MASK;

	if (kind == NEIGHBOUR_CGROUP)
		(void)snprintf(ret_text, NEIGHBOUR_TEXT_MAX, "container:%014llx", (unsigned long long)value);
	else
		(void)snprintf(ret_text, NEIGHBOUR_TEXT_MAX, "%s:%llu", kind < NEIGHBOUR_KINDS ? kinds[kind] : "?",
			       (unsigned long long)value);
}

bool neighbour_lasts(uint64_t neighbour)
{
	const uint64_t kind = neighbour >> KIND_SHIFT;

	return kind == NEIGHBOUR_USER || kind == NEIGHBOUR_CGROUP || kind == NEIGHBOUR_RANGE;
}

/* ---- of a thread ---- */

/* FNV-1a: two containers whose names fall together would share a share, and that is all. */
static uint64_t hash(const char *text)
{
	uint64_t h = UINT64_C(14695981039346656037);

	for (; *text; text++)
		h = (h ^ (uint8_t)*text) * UINT64_C(1099511628211);
	return h ^ h >> KIND_SHIFT;
}

static uint64_t of_subordinate(uint32_t uid, const struct subordinate *s)
{
	if (!s->in_range)
		return make(NEIGHBOUR_USER, uid);
	if (s->owner == SUBUID_ROOT || s->owner == SUBUID_UNKNOWN)
		return make(NEIGHBOUR_RANGE, s->first);
	return make(NEIGHBOUR_USER, s->owner);
}

/* An engine that is root put it into a container, so that whoever is in there may have any uid. A namespace of root's
 * alone does not say so: programs that are setuid root (firejail, bubblewrap) make them for any user, as many as it
 * likes. Below its manager, which the user's own unit is named after, a user gives cgroups any name. */
static bool in_roots_container(const struct neighbour_facts *f)
{
	static const char *const users[] = { "user@", "session-" };

	for (size_t i = 0; i < sizeof users / sizeof *users; i++)
		if (!strncmp(f->unit, users[i], strlen(users[i])))
			return false;
	return f->container[0] != '\0';
}

/* Root's own doing, and its pid namespace does not tell it apart. */
static uint64_t of_root(const struct neighbour_facts *f)
{
	if (in_roots_container(f) && !f->ancestry.pid_ns)
		return make(NEIGHBOUR_CGROUP, hash(f->container));
	if (f->ancestry.user_ns)
		return make(NEIGHBOUR_USER_NS, f->ancestry.user_ns);
	if (f->mnt_ns && f->our_mnt_ns && f->mnt_ns != f->our_mnt_ns)
		return make(NEIGHBOUR_MNT_NS, f->mnt_ns);
	return make(NEIGHBOUR_USER, 0);
}

uint64_t neighbour_of(const struct neighbour_facts *f)
{
	const struct ancestry *a = &f->ancestry;
	const bool roots = f->uid == 0 || in_roots_container(f);

	if (a->pid_ns && a->pid_ns_ours && roots)
		return make(NEIGHBOUR_PID_NS, a->pid_ns);
	if (a->user_ns && a->owner != 0)
		return of_subordinate(a->owner, &f->of_owner);
	if (a->user_ns && (roots || f->of_uid.in_range))
		return of_root(f);
	if (f->uid == 0 && f->answered && !f->host)
		return of_root(f);
	/* --pid=host: its cgroup says which container it is, and its mount namespace that it is one. A cgroup of a
	 * user's own can have such a name, too; but only root makes a mount namespace that is not in a user namespace.
	 */
	if (!a->user_ns && !a->pid_ns && a->mnt_ns_ours && in_roots_container(f))
		return of_root(f);
	return of_subordinate(f->uid, &f->of_uid);
}

static uint32_t owner_of(uint32_t uid, const struct subordinate *s)
{
	return !s->in_range || s->owner == SUBUID_ROOT ? uid : s->owner;
}
_Static_assert(OWNER_UNKNOWN == SUBUID_UNKNOWN, "an unknown owner is one");

uint64_t neighbour_of_cgroup(const char *container, const char *unit)
{
	const struct neighbour_facts f = { .container = container, .unit = unit };

	return of_root(&f);
}

uint32_t neighbour_owner(const struct neighbour_facts *f)
{
	if (!f->answered || !f->ancestry.known)
		return OWNER_UNKNOWN;
	if (f->ancestry.user_ns && f->ancestry.owner != 0)
		return owner_of(f->ancestry.owner, &f->of_owner);
	return owner_of(f->uid, &f->of_uid);
}

/* ---- of a uid ---- */

#define SETS   512u
#define WAYS   8u
#define OLD_NS INT64_C(60000000000) /* what was not learned again for so long is no longer believed */

struct learned {
	uint32_t uid;
	bool used;
	int64_t at;
	uint64_t neighbour;
};
struct set {
	struct learned of[WAYS];
};

struct neighbours {
	pthread_mutex_t lock;
	struct subuid_table ranges;
	uint32_t number;
	int64_t now; /* the last time that somebody came with the time */
	struct set sets[SETS];
};

int neighbours_new(struct neighbours **ret_neighbours)
{
	struct neighbours *n = calloc(1, sizeof *n);

	if (!n)
		return -ENOMEM;
	pthread_mutex_init(&n->lock, NULL);
	*ret_neighbours = n;
	return 0;
}

void neighbours_free(struct neighbours *n)
{
	if (!n)
		return;
	pthread_mutex_destroy(&n->lock);
	free(n->ranges.ranges);
	free(n);
}

static struct set *set_of(struct neighbours *n, uint32_t uid) { return &n->sets[uid * 0x9e3779b9u >> 23]; }
_Static_assert(SETS == 1u << (32 - 23), "set_of takes the top bits of the product");

static uint64_t by_range(const struct neighbours *n, uint32_t uid)
{
	const struct subuid_range *range;
	const uint32_t owner = subuid_owner(&n->ranges, uid, &range);
	const struct subordinate s = { .in_range = range != NULL, .owner = owner, .first = range ? range->first : 0 };

	return of_subordinate(uid, &s);
}

static bool fresh(const struct neighbours *n, const struct learned *l) { return l->used && n->now - l->at < OLD_NS; }

static struct learned *find(struct neighbours *n, struct set *set, uint32_t uid)
{
	for (size_t i = 0; i < WAYS; i++)
		if (set->of[i].uid == uid && fresh(n, &set->of[i]))
			return &set->of[i];
	return NULL;
}

uint64_t neighbours_guess(struct neighbours *n, uint32_t uid)
{
	if (uid == 0)
		return make(NEIGHBOUR_USER, 0);
	pthread_mutex_lock(&n->lock);
	const struct learned *l = find(n, set_of(n, uid), uid);
	const uint64_t guess = l ? l->neighbour : by_range(n, uid);
	pthread_mutex_unlock(&n->lock);
	return guess;
}

uint32_t neighbours_owner(struct neighbours *n, uint32_t uid, bool *ret_in_range)
{
	const struct subuid_range *range;

	pthread_mutex_lock(&n->lock);
	uint32_t owner = subuid_owner(&n->ranges, uid, &range);
	const struct subordinate s = { .in_range = range != NULL, .owner = owner };
	owner = n->number ? owner_of(uid, &s) : OWNER_UNKNOWN;
	pthread_mutex_unlock(&n->lock);
	if (ret_in_range)
		*ret_in_range = s.in_range;
	return owner;
}

static unsigned places_of(const struct neighbours *n, const struct set *set, uint64_t neighbour)
{
	unsigned count = 0;

	for (size_t i = 0; i < WAYS; i++)
		count += fresh(n, &set->of[i]) && set->of[i].neighbour == neighbour;
	return count;
}

/* A free place, else the oldest of whoever has the most here. NULL: each neighbour has one, and keeps it. */
static struct learned *place_for(struct neighbours *n, struct set *set)
{
	struct learned *best = NULL;
	unsigned most = 1;

	for (size_t i = 0; i < WAYS; i++) {
		struct learned *l = &set->of[i];
		if (!fresh(n, l))
			return l;
		const unsigned has = places_of(n, set, l->neighbour);
		if (has > most || (best && has == most && l->at < best->at)) {
			best = l;
			most = has;
		}
	}
	return best;
}

void neighbours_learn(struct neighbours *n, uint32_t uid, uint64_t neighbour, int64_t now_ns)
{
	if (uid == 0)
		return;
	pthread_mutex_lock(&n->lock);
	if (now_ns > n->now)
		n->now = now_ns;
	struct set *set = set_of(n, uid);
	struct learned *l = find(n, set, uid);
	if (by_range(n, uid) == neighbour) {
		if (l)
			l->used = false;
	} else {
		if (!l)
			l = place_for(n, set);
		if (l)
			*l = (struct learned){ .uid = uid, .used = true, .at = n->now, .neighbour = neighbour };
	}
	pthread_mutex_unlock(&n->lock);
}

void neighbours_set_ranges(struct neighbours *n, struct subuid_table *table, uint32_t number)
{
	struct subuid_range *old;

	pthread_mutex_lock(&n->lock);
	old = n->ranges.ranges;
	n->ranges = *table;
	n->number = number;
	pthread_mutex_unlock(&n->lock);
	free(old);
	*table = (struct subuid_table){ 0 };
}

uint32_t neighbours_ranges(struct neighbours *n)
{
	pthread_mutex_lock(&n->lock);
	const uint32_t number = n->number;
	pthread_mutex_unlock(&n->lock);
	return number;
}
