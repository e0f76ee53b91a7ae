#include "fs/serve/removal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fs/serve/appear.h"
#include "fs/serve/changed.h"
#include "fs/common/clock.h"
#include "fs/serve/decide.h"
#include "fs/common/log.h"
#include "fs/serve/name_change.h"
#include "store/core/clock.h"
#include "store/core/scrub.h"
#include "store/core/tables.h"
#include "store/core/transaction.h"
#include "store/objects/objects.h"

/* ---- what is done in the transaction ---- */

/* 0: there is none. */
static uint32_t find(struct vault *v, const char *name, bool deleted)
{
	store_rdlock(v->store);
	const struct catalog_secret *s = deleted ? store_find_deleted(v->store, name) : store_find(v->store, name);
	uint32_t id = s ? s->id : 0;
	store_unlock_tables(v->store);
	return id;
}

static int run_delete(struct vault *v, const char *name)
{
	uint32_t id = find(v, name, false);
	return id ? store_secret_delete(v->store, id) : -ENOENT;
}

static int run_remove(struct vault *v, const char *name)
{
	uint32_t id = find(v, name, false);
	return id ? store_secret_remove(v->store, id) : -ENOENT;
}

static int run_recover(struct vault *v, const char *name)
{
	uint32_t id = find(v, name, true);
	return id ? store_secret_recover(v->store, id) : -ENOENT;
}

static int run_purge(struct vault *v, const char *name)
{
	uint32_t id = find(v, name, true);
	return id ? store_secret_purge(v->store, id) : -ENOENT;
}

/* The bell removes names of what a scheduled purge has destroyed, and nothing else. */
static int run_forget(struct vault *v, const char *name)
{
	store_rdlock(v->store);
	const struct catalog_secret *s = store_find_deleted(v->store, name);
	const uint32_t id = s && catalog_emptied(s) ? s->id : 0;
	store_unlock_tables(v->store);
	return id ? store_secret_purge(v->store, id) : -EPERM;
}

/* As everywhere: a directory goes only when nothing is in it. Said at once: find -delete asks it of every secret. */
static int check_empty(struct vault *v, const char *name)
{
	store_rdlock(v->store);
	const struct catalog_secret *s = store_find(v->store, name);
	const int r = s && s->n_versions ? -ENOTEMPTY : 0;
	store_unlock_tables(v->store);
	return r;
}

/* ---- requests ---- */

static bool is_deleted_dir(uint64_t ino) { return ino == inode_own(OWN_DELETED); }

static bool is_root(uint64_t ino)
{
	struct inode i;
	return inode_unpack(ino, &i) && i.type == INODE_ROOT;
}

int removal_check_rmdir(uint64_t parent, const char *name)
{
	return name_valid(name) && (is_deleted_dir(parent) || is_root(parent)) ? 0 : -EPERM;
}

int removal_check_rename(const struct rename *n)
{
	const bool deletes = is_root(n->from) && is_deleted_dir(n->to),
		   recovers = is_deleted_dir(n->from) && is_root(n->to);

	return (deletes || recovers) && !strcmp(n->name, n->to_name) && !(n->flags & ~(unsigned)RENAME_NOREPLACE) &&
			       name_valid(n->name)
		       ? 0
		       : -EPERM;
}

int removal_rmdir(struct vault *v, const struct call *call, uint64_t parent, const char *name)
{
	static const struct name_change remove = {
		.request = "remove",
		.verb = VERB_DELETE,
		.check = check_empty,
		.run = run_remove,
	};
	static const struct name_change purge = {
		.request = "purge", .verb = VERB_PURGE, .deleted = true, .run = run_purge
	};
	static const struct name_change forget = { .request = "forget", .own = true, .run = run_forget };
	struct name_change c = remove;
	int r = removal_check_rmdir(parent, name);

	if (r)
		return r;
	if (is_deleted_dir(parent))
		c = vault_is_bell(v, call->uid, call->tid) ? forget : purge;
	c.name = name;
	return name_change(v, call, &c);
}

/* Nothing is kept of what never had a version: its name goes as soon as the kernel has heard that it moved. */
static void forget_empty(struct vault *v, const char *name)
{
	char path[BELL_PATH_MAX];

	store_rdlock(v->store);
	const struct catalog_secret *s = store_find_deleted(v->store, name);
	const bool empty = s && catalog_emptied(s);
	store_unlock_tables(v->store);
	snprintf(path, sizeof path, ".coffer/deleted/%s", name);
	if (empty)
		vault_ring(v, BELL_RMDIR, path);
}

int removal_rename(struct vault *v, const struct call *call, const struct rename *n)
{
	/* the kernel tells watchers of the directories; those of `current` itself hear nothing of it */
	static const struct name_change delete = {
		.request = "delete",
		.verb = VERB_DELETE,
		.run = run_delete,
		.rings = true,
	};
	static const struct name_change recover = {
		.request = "recover",
		.verb = VERB_RECOVER,
		.deleted = true,
		.run = run_recover,
		.rings = true,
	};
	struct name_change c = is_root(n->from) ? delete : recover;
	int r = removal_check_rename(n);

	if (r)
		return r;
	c.name = n->name;
	r = name_change(v, call, &c);
	if (!r && is_root(n->to))
		appear_at_once(v, find(v, n->name, false));
	if (!r && is_deleted_dir(n->to))
		forget_empty(v, n->name);
	return r;
}

/* ---- by itself ---- */

#define BATCH     64          /* secrets a tick */
#define LOOK_NS   1000000000  /* between two looks at what is deleted */
#define FAILED_NS 60000000000 /* likewise, after a failure */
#define AGAIN_NS  5000000000  /* between two rings for a name that is mounted on */

struct due {
	uint32_t id;
	char name[NAME_LEN_MAX + 1];
};

/* What is due, and names that are left of what was: of each the first BATCH. */
static size_t look(struct vault *v, struct due due[BATCH], struct due left[BATCH], size_t *ret_left)
{
	const struct catalog_secret *s;
	size_t n = 0, n_left = 0;
	uint32_t after = 0;
	bool more = true;

	while (more) {
		store_rdlock(v->store);
		for (int i = 0; i < 1024 && more; i++) {
			s = store_next(v->store, after, true);
			more = s && (n < BATCH || n_left < BATCH);
			if (!more)
				break;
			after = s->id;
			struct due *at = NULL;
			if (catalog_emptied(s))
				at = n_left < BATCH ? &left[n_left++] : NULL;
			else if (store_purge_left(v->store, s) <= 0)
				at = n < BATCH ? &due[n++] : NULL;
			if (!at)
				continue;
			at->id = s->id;
			vault_copy_name(at->name, sizeof at->name, s->name);
		}
		store_unlock_tables(v->store);
	}
	*ret_left = n_left;
	return n;
}

static int record_purge(struct vault *v, const char *name, int error)
{
	const struct audit_event e = {
		.operation = AUDIT_SECRET_PURGE,
		.result = error ? AUDIT_ERROR : AUDIT_ALLOW,
		.error = error,
		.secret = name,
		.detail = "scheduled",
		.privileged = true,
	};
	return audit_append(v->audit, &e, NULL) ? -EIO : 0;
}

static int destroy(struct vault *v, const struct due *due, size_t n)
{
	int r = store_begin(v->store);

	if (r)
		return r;
	for (size_t i = 0; i < n && !r; i++) {
		r = store_secret_empty(v->store, due[i].id);
		if (r == -ENOENT || r == -EAGAIN) /* recovered, or purged, meanwhile */
			r = 0;
		else if (!r)
			r = record_purge(v, due[i].name, 0);
	}
	if (r) {
		store_rollback(v->store);
		return r;
	}
	r = vault_commit(v);
	for (size_t i = 0; i < n && r; i++)
		record_purge(v, due[i].name, -r);
	return r;
}

static void ring_for(struct vault *v, const struct due *left, size_t n)
{
	char path[BELL_PATH_MAX];

	for (size_t i = 0; i < n; i++) {
		snprintf(path, sizeof path, ".coffer/deleted/%s", left[i].name);
		vault_ring(v, BELL_RMDIR, path);
	}
}

void removal_tick(struct vault *v)
{
	struct due due[BATCH], left[BATCH];
	const int64_t now = clock_monotonic();
	size_t n, n_left;

	if (store_sealed(v->store))
		return;
	if (now >= v->removal.next_look) {
		v->removal.next_look = now + LOOK_NS;
		n = look(v, due, left, &n_left);
		int r = n ? destroy(v, due, n) : 0;
		if (r) {
			log_warn("a scheduled purge has to wait: %s", strerror(-r));
			v->removal.next_look = now + FAILED_NS;
		} else if (n) {
			vault_changed(v, RINGS_NONE);
			ring_for(v, due, n);
			v->removal.next_look = now; /* there may be more */
		}
		if (n_left && now >= v->removal.next_ring) {
			v->removal.next_ring = now + AGAIN_NS;
			ring_for(v, left, n_left);
		}
	}
	store_scrub(v->store); /* -EAGAIN: the next tick tries again */
}
