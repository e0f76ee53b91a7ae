/* The tables in memory: locks, looking things up, what was touched. */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "store/core/catalog.h"
#include "store/core/database.h"

void store_why(char *why, size_t why_len, const char *format, ...)
{
	va_list args;

	if (!why || why_len == 0)
		return;
	va_start(args, format);
	vsnprintf(why, why_len, format, args);
	va_end(args);
}

int64_t store_now(const struct store *s) { return s->clock(); }

/* A writer may wait for the key holder and the disk: longer than both together is a fault, and nobody may hang for it.
 */
#define MUTEX_WAIT_MS 10000
#define SOON_MS       100

static int lock_bounded(pthread_mutex_t *m, int64_t ms)
{
	struct timespec until;
	int64_t ns;

	clock_gettime(CLOCK_MONOTONIC, &until);
	ns = until.tv_nsec + ms * 1000000;
	until.tv_sec += ns / NS_PER_S;
	until.tv_nsec = ns % NS_PER_S;
	return pthread_mutex_clocklock(m, CLOCK_MONOTONIC, &until) == 0 ? 0 : -ETIMEDOUT;
}

int store_lock_writer(struct store *s) { return lock_bounded(&s->write_mutex, MUTEX_WAIT_MS); }

int store_lock_reader(struct store *s) { return lock_bounded(&s->read_mutex, MUTEX_WAIT_MS); }

int store_lock_writer_soon(struct store *s) { return lock_bounded(&s->write_mutex, SOON_MS); }

/* ---- the tables ---- */

#ifndef NDEBUG
static __thread unsigned tables_held;
#endif

void store_rdlock(struct store *s)
{
	/* the lock prefers writers: a thread that takes it twice hangs when one comes between */
	assert(tables_held++ == 0);
	pthread_rwlock_rdlock(&s->tables_lock);
}

void store_unlock_tables(struct store *s)
{
	assert(tables_held-- == 1);
	pthread_rwlock_unlock(&s->tables_lock);
}

const struct catalog_secret *store_find(const struct store *s, const char *name)
{
	const struct catalog_secret *c = catalog_find(s->tables.catalog, name);

	return c && !c->deleted ? c : NULL;
}

const struct catalog_secret *store_find_deleted(const struct store *s, const char *name)
{
	const struct catalog_secret *c = catalog_find(s->tables.catalog, name);

	return c && c->deleted ? c : NULL;
}

const struct catalog_secret *store_get(const struct store *s, uint32_t id)
{
	return catalog_get(s->tables.catalog, id);
}

const struct catalog_secret *store_next(const struct store *s, uint32_t after, bool deleted)
{
	return catalog_next(s->tables.catalog, after, deleted);
}

uint64_t store_epoch(const struct store *s) { return atomic_load(&s->epoch); }

const struct policy *store_policy(const struct store *s) { return s->tables.policy; }

const struct store_settings *store_settings(const struct store *s) { return &s->tables.settings; }

void store_counts(const struct store *s, struct store_counts *ret)
{
	*ret = (struct store_counts){ .bindings = s->tables.n_bindings,
				      .roles = s->tables.n_roles,
				      .blocks = s->tables.n_blocks };
	catalog_counts(s->tables.catalog, ret);
}

const uint8_t *store_vault_id(const struct store *s) { return s->vault; }

bool store_sealed(const struct store *s) { return atomic_load(&s->sealed); }

void stir(struct store *s, uint32_t id)
{
	if (s->n_stirred == STIRRED_MAX)
		s->stirred_all = true;
	else
		s->stirred[s->n_stirred++] = id;
}

size_t store_stirred(struct store *s, uint32_t ret_ids[STIRRED_MAX], bool *ret_all)
{
	size_t n;

	pthread_rwlock_wrlock(&s->tables_lock);
	n = s->n_stirred;
	memcpy(ret_ids, s->stirred, n * sizeof *ret_ids);
	*ret_all = s->stirred_all;
	s->n_stirred = 0;
	s->stirred_all = false;
	pthread_rwlock_unlock(&s->tables_lock);
	return n;
}
