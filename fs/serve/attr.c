#include "fs/serve/attr.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "fs/common/clock.h"
#include "fs/serve/at.h"
#include "fs/serve/decide.h"
#include "fs/serve/entries.h"
#include "fs/serve/kind_files.h"
#include "fs/serve/links.h"
#include "fs/serve/temporary.h"
#include "store/core/served.h"
#include "store/lifecycle/events.h"
#include "store/objects/stages.h"

static struct timespec to_timespec(int64_t ns)
{
	return (struct timespec){ .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
}

static void set_times(struct stat *st, int64_t ns) { st->st_atim = st->st_mtim = st->st_ctim = to_timespec(ns); }

static void fill_dir(struct stat *st, int64_t ns)
{
	st->st_mode = S_IFDIR | 0755;
	st->st_nlink = 2;
	set_times(st, ns);
}

/* Who may use the file sees itself as its owner, so that ssh and databases take it as it is; anybody else sees root and
 * nothing. */
static void fill_file(struct stat *st, const struct call *call, bool can_read, bool can_write)
{
	st->st_mode = S_IFREG;
	st->st_nlink = 1;
	st->st_blksize = 4096;
	st->st_blocks = (st->st_size + 511) / 512;
	if (!call || (!can_read && !can_write))
		return;
	st->st_mode |= (can_read ? 0400u : 0) | (can_write ? 0200u : 0);
	st->st_uid = call->uid;
	st->st_gid = call->gid;
}

/* Of the vault's own. They belong to root, whoever looks: the kernel gives a lease, which keeps others' opens waiting,
 * to whoever a file belongs to. */
static void fill_own_file(struct stat *st, mode_t mode)
{
	fill_file(st, NULL, false, false);
	st->st_mode |= mode;
}

static void fill_marker(struct stat *st)
{
	fill_file(st, NULL, false, false);
	st->st_mode = S_IFLNK | 0777;
	st->st_size = sizeof BELL_MARKER_LEADS - 1;
}

static action_set actions_on(struct vault *v, const struct call *call, const char *name)
{
	const struct identity *who = call ? call_trusted(call) : NULL;
	return who ? policy_actions(store_policy(v->store), &who->policy, name, clock_wall()) : 0;
}

/* A version has always been as it is. current has been what it serves since it serves it: make, rsync and cp -u see
 * that it serves an older one again. */
static int64_t since(const struct vault *v, const struct inode *i, const struct catalog_secret *s,
		     const struct catalog_version *c)
{
	if (i->type == INODE_CURRENT && (!c || c->number == s->current))
		return store_served_since(store_settings(v->store), s, clock_wall());
	return c ? c->created : s->created;
}

static action_set uses_of(struct vault *v, const struct call *call, const struct catalog_secret *s)
{
	const action_set uses = ACTION_BIT(kind_action(s, VERB_GET)) | ACTION_BIT(kind_action(s, VERB_SET)) |
				ACTION_BIT(kind_action(s, VERB_LIST));

	return s->deleted ? 0 : actions_on(v, call, s->name) & uses; /* nobody opens what is deleted */
}

/* A version never grows a right to write. */
static void fill_value(struct vault *v, const struct call *call, const struct inode *i, const struct catalog_secret *s,
		       const struct catalog_version *c, struct stat *st)
{
	const action_set can = uses_of(v, call, s);
	st->st_size = c ? c->size : 0;
	/* since when there is a version is for those who may read or write it: what others see says nothing */
	set_times(st, !can ? v->shared->keeper.started : since(v, i, s, c));
	fill_file(st, call, can & ACTION_BIT(kind_action(s, VERB_GET)),
		  i->type == INODE_CURRENT && (can & ACTION_BIT(kind_action(s, VERB_SET))));
	if (i->type == INODE_CURRENT)
		st->st_nlink = links_of(v, s->id);
}

static int fill_own(struct vault *v, const struct call *call, const struct inode *i, struct stat *st)
{
	const struct entry *e = entry_of(i);

	if (!e)
		return -ENOENT;
	struct entry_shown shown = { e->size, v->shared->keeper.started };
	if (e->measure)
		e->measure(v, &shown);
	if (e->directory) {
		fill_dir(st, shown.changed);
		st->st_mode = S_IFDIR | e->mode;
		return 0;
	}
	set_times(st, shown.changed);
	st->st_size = (off_t)shown.size;
	fill_own_file(st, entry_may_open(v, call, e) ? e->mode : 0);
	if (!e->measure && !e->render)
		st->st_blocks = 0;
	return 0;
}

/* As the vault's own files: it belongs to root. */
static void fill_view(struct vault *v, const struct call *call, const struct inode *i, const struct kind_file *f,
		      const struct catalog_secret *s, struct stat *st)
{
	const action_set can = uses_of(v, call, s);

	set_times(st, !can ? v->shared->keeper.started : since(v, i, s, catalog_version(s, s->current)));
	st->st_size = MADE_SIZE;
	fill_own_file(st, can & ACTION_BIT(kind_action(s, f->verb)) ? 0444 : 0);
}

static int fill_secret(struct vault *v, const struct call *call, const struct inode *i, struct stat *st)
{
	const struct catalog_secret *s = store_get(v->store, i->secret);
	const struct catalog_version *c = NULL;

	if (i->type == INODE_SECRET || i->type == INODE_VERSIONS) {
		/* One that is purged still answers: somebody may stand in it. Whoever asks: when a secret last changed
		 * is not for everybody. */
		fill_dir(st, v->shared->keeper.started);
		return 0;
	}
	if (!s)
		return -ENOENT;
	if (i->type == INODE_VIEW) {
		const struct kind_file *f = kind_view(v, i);
		if (f)
			fill_view(v, call, i, f, s, st);
		return f ? 0 : -ENOENT;
	}
	c = catalog_version(s, i->type == INODE_VERSION ? i->low : s->current);
	if (i->type == INODE_VERSION && (!c || c->destroyed))
		return -ENOENT;
	fill_value(v, call, i, s, c, st);
	return 0;
}

int attr_fill_locked(struct vault *v, const struct call *call, uint64_t ino, struct stat *ret_stat)
{
	struct stat st = { .st_ino = inode_shown(ino, v->options && v->options->ino32) };
	struct inode i;
	int r = 0;

	if (!inode_unpack(ino, &i))
		return -ENOENT;
	if (i.type == INODE_ROOT)
		fill_dir(&st, vault_names_time(v));
	else if (at_is_volatile(&i))
		fill_dir(&st, v->shared->keeper.started);
	else if (i.type == INODE_TEMP)
		r = temporary_stat(v, call, ino, &st);
	else if (i.type == INODE_MARKER)
		fill_marker(&st);
	else if (i.type == INODE_REQUEST)
		r = fill_own(v, call, &(struct inode){ .type = INODE_OWN, .low = OWN_CTL }, &st);
	else if (i.type == INODE_OWN)
		r = fill_own(v, call, &i, &st);
	else
		r = fill_secret(v, call, &i, &st);
	if (!r)
		*ret_stat = st;
	return r;
}

int attr_fill(struct vault *v, const struct call *call, uint64_t ino, struct stat *ret_stat)
{
	store_rdlock(v->store);
	int r = attr_fill_locked(v, call, ino, ret_stat);
	store_unlock_tables(v->store);
	return r;
}

/* Of an older version, under the table lock. */
static int fill_version(struct vault *v, const struct call *call, uint64_t ino, uint32_t version, struct stat *ret_stat)
{
	struct stat st = { .st_ino = inode_shown(ino, v->options && v->options->ino32) };
	struct inode i;
	const struct catalog_secret *s = inode_unpack(ino, &i) ? store_get(v->store, i.secret) : NULL;

	if (!s)
		return -ENOENT;
	fill_value(v, call, &i, s, catalog_version(s, version), &st);
	*ret_stat = st;
	return 0;
}

int attr_fill_shown(struct vault *v, const struct call *call, uint64_t ino, const struct attr_shown *shown,
		    struct stat *ret_stat)
{
	store_rdlock(v->store);
	int r = shown->version ? fill_version(v, call, ino, shown->version, ret_stat)
			       : attr_fill_locked(v, call, ino, ret_stat);
	store_unlock_tables(v->store);
	if (!r && (shown->version || shown->size)) {
		ret_stat->st_size = shown->size;
		ret_stat->st_blocks = (ret_stat->st_size + 511) / 512;
	}
	return r;
}

int64_t attr_born(struct vault *v, const struct call *call, uint64_t ino)
{
	struct inode i;

	if (!inode_unpack(ino, &i) ||
	    (i.type != INODE_SECRET && i.type != INODE_VERSIONS && i.type != INODE_CURRENT && i.type != INODE_VERSION))
		return INT64_MIN;
	int64_t born = v->shared->keeper.started;
	store_rdlock(v->store);
	const struct catalog_secret *s = store_get(v->store, i.secret);
	const struct catalog_version *c = s && i.type == INODE_VERSION ? catalog_version(s, i.low) : NULL;
	if (s && uses_of(v, call, s) && (i.type != INODE_VERSION || (c && !c->destroyed)))
		born = c ? c->created : s->created;
	store_unlock_tables(v->store);
	return born;
}

bool attr_may_set(struct vault *v, const struct call *call, uint64_t ino)
{
	const struct identity *who = call_trusted(call);
	const struct catalog_secret *s;
	struct inode i;
	bool may = false;

	if (!who || !inode_unpack(ino, &i))
		return false;
	store_rdlock(v->store);
	if (i.type == INODE_ROOT)
		may = vault_may_any(v, who, VERB_SET);
	else if (i.type != INODE_OWN && i.type != INODE_TEMP && i.type != INODE_VIEW && !at_is_volatile(&i) &&
		 (s = store_get(v->store, i.secret)))
		may = actions_on(v, call, s->name) & ACTION_BIT(kind_action(s, VERB_SET));
	store_unlock_tables(v->store);
	return may;
}

/* What a listing would say: there is something to list for the caller, or could be. Indexers (plocate) believe it. */
static bool may_list(struct vault *v, const struct call *call, const struct inode *i)
{
	const struct identity *who = call_trusted(call);
	const struct catalog_secret *s;
	bool may = false;

	store_rdlock(v->store);
	if (i->type == INODE_VERSIONS)
		may = (s = store_get(v->store, i->secret)) &&
		      (actions_on(v, call, s->name) &
		       (ACTION_BIT(kind_action(s, VERB_LIST)) | ACTION_BIT(kind_action(s, VERB_GET))));
	else if (i->type == INODE_ROOT || i->type == INODE_EPOCH || (i->type == INODE_OWN && i->low == OWN_DELETED))
		may = vault_may_any(v, who, VERB_LIST);
	else
		may = i->type != INODE_OWN || i->low != OWN_REQUESTS;
	store_unlock_tables(v->store);
	return may;
}

int attr_access(struct vault *v, const struct call *call, uint64_t ino, int mask)
{
	struct stat st;
	struct inode i;
	int r = attr_fill(v, call, ino, &st);

	if (r || !inode_unpack(ino, &i))
		return r ? r : -ENOENT;
	if (inode_is_dir(&i)) {
		if ((mask & R_OK) && !may_list(v, call, &i))
			return -EACCES;
		if (!(mask & W_OK))
			return 0;
		return (i.type == INODE_ROOT || i.type == INODE_SECRET) && attr_may_set(v, call, ino) ? 0 : -EACCES;
	}
	if (((mask & R_OK) && !(st.st_mode & 0400)) || ((mask & W_OK) && !(st.st_mode & 0200)) || (mask & X_OK))
		return -EACCES;
	return 0;
}
