#include "fs/caller/accounts.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/common/clock.h"

#define ACCOUNTS  256u /* users of the machine: a namespace's owner, never a uid that a caller can choose */
#define SECOND    INT64_C(1000000000)
#define FRESH_NS  (60 * SECOND)
#define USABLE_NS (600 * SECOND)
#define FAILED_NS (10 * SECOND) /* until a look that failed is tried again */

enum look { LOOK_NONE = 0, LOOK_WANTED, LOOK_BEGUN };

struct account {
	uint32_t uid;
	bool used, known;
	enum look look;
	int64_t asked, looked, retry;
	uint32_t *groups;
	size_t n;
};

struct accounts {
	void (*wake)(void *arg);
	void *arg;
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t found;
	bool waiting;
	struct account of[ACCOUNTS];
};

int accounts_new(void (*wake)(void *arg), void *arg, struct accounts **ret_accounts)
{
	struct accounts *a = calloc(1, sizeof *a);
	pthread_condattr_t attr;

	if (!a)
		return -ENOMEM;
	a->wake = wake;
	a->arg = arg;
	pthread_mutex_init(&a->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&a->found, &attr);
	pthread_condattr_destroy(&attr);
	*ret_accounts = a;
	return 0;
}

void accounts_free(struct accounts *a)
{
	if (!a)
		return;
	for (size_t i = 0; i < ACCOUNTS; i++)
		free(a->of[i].groups);
	pthread_cond_destroy(&a->found);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

static struct account *find(struct accounts *a, uint32_t uid)
{
	for (size_t i = 0; i < ACCOUNTS; i++)
		if (a->of[i].used && a->of[i].uid == uid)
			return &a->of[i];
	return NULL;
}

/* A free place, or that of whoever was not asked for the longest; one that is being looked up stays. NULL: all are. */
static struct account *make(struct accounts *a, uint32_t uid)
{
	struct account *best = NULL;

	for (size_t i = 0; i < ACCOUNTS; i++) {
		struct account *x = &a->of[i];
		if (x->used && x->look != LOOK_NONE)
			continue;
		if (!best || (best->used && (!x->used || x->asked < best->asked)))
			best = x;
	}
	if (!best)
		return NULL;
	free(best->groups);
	*best = (struct account){ .uid = uid, .used = true };
	return best;
}

static bool want(struct account *x, int64_t now)
{
	if (x->look != LOOK_NONE || now < x->retry || (x->known && now - x->looked < FRESH_NS))
		return false;
	x->look = LOOK_WANTED;
	return true;
}

/* With the lock. One thread at a time: a name service that hangs must not take the others along. */
static struct account *wait_for(struct accounts *a, uint32_t uid, int64_t deadline)
{
	const struct timespec until = { .tv_sec = deadline / SECOND, .tv_nsec = deadline % SECOND };
	struct account *x = find(a, uid);

	a->waiting = true;
	while (x && x->look != LOOK_NONE && pthread_cond_timedwait(&a->found, &a->lock, &until) == 0)
		x = find(a, uid);
	a->waiting = false;
	return find(a, uid);
}

static enum policy_account copy(const struct account *x, int64_t now, uint32_t **ret_groups, size_t *ret_n)
{
	uint32_t *groups = NULL;

	if (!x || !x->known || now - x->looked >= USABLE_NS)
		return POLICY_ACCOUNT_UNKNOWN;
	if (x->n > 0) {
		groups = malloc(x->n * sizeof *groups);
		if (!groups)
			return POLICY_ACCOUNT_UNKNOWN;
		memcpy(groups, x->groups, x->n * sizeof *groups);
	}
	*ret_groups = groups;
	*ret_n = x->n;
	return POLICY_ACCOUNT_KNOWN;
}

enum policy_account accounts_groups(struct accounts *a, uint32_t uid, bool may_wait, uint32_t **ret_groups,
				    size_t *ret_n)
{
	const int64_t now = clock_monotonic();
	enum policy_account r;

	pthread_mutex_lock(&a->lock);
	struct account *x = find(a, uid);
	if (!x)
		x = make(a, uid);
	if (x) {
		x->asked = now;
		if (want(x, now))
			a->wake(a->arg);
		if (may_wait && !x->known && x->look != LOOK_NONE && !a->waiting)
			x = wait_for(a, uid, now + ACCOUNT_WAIT_MS * (SECOND / 1000));
	}
	r = copy(x, now, ret_groups, ret_n);
	pthread_mutex_unlock(&a->lock);
	return r;
}

bool accounts_next(struct accounts *a, uint32_t *ret_uid)
{
	struct account *x = NULL;

	pthread_mutex_lock(&a->lock);
	for (size_t i = 0; i < ACCOUNTS && !x; i++)
		if (a->of[i].used && a->of[i].look == LOOK_WANTED)
			x = &a->of[i];
	if (x) {
		x->look = LOOK_BEGUN;
		*ret_uid = x->uid;
	}
	pthread_mutex_unlock(&a->lock);
	return x != NULL;
}

static int compare(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* 0; -ENOMEM. */
static int set_groups(struct account *x, const uint32_t *groups, size_t n)
{
	uint32_t *sorted = n ? malloc(n * sizeof *sorted) : NULL;
	size_t kept = 0;

	if (n && !sorted)
		return -ENOMEM;
	if (n)
		memcpy(sorted, groups, n * sizeof *sorted);
	if (n)
		qsort(sorted, n, sizeof *sorted, compare);
	for (size_t i = 0; i < n; i++)
		if (!kept || sorted[i] != sorted[kept - 1])
			sorted[kept++] = sorted[i];
	free(x->groups);
	x->groups = sorted;
	x->n = kept;
	return 0;
}

void accounts_found(struct accounts *a, uint32_t uid, int error, const uint32_t *groups, size_t n)
{
	const int64_t now = clock_monotonic();

	pthread_mutex_lock(&a->lock);
	struct account *x = find(a, uid);
	if (x) {
		x->look = LOOK_NONE;
		if (error == 0)
			error = set_groups(x, groups, n);
		x->retry = error ? now + FAILED_NS : 0;
		if (error == 0) {
			x->known = true;
			x->looked = now;
		}
	}
	pthread_cond_broadcast(&a->found);
	pthread_mutex_unlock(&a->lock);
}
