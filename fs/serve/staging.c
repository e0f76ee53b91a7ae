#include "fs/serve/staging.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/ctl/hindrance.h"
#include "fs/serve/changed.h"
#include "fs/common/clock.h"
#include "fs/common/log.h"
#include "fs/serve/recheck.h"
#include "fs/serve/record.h"
#include "fs/serve/staged.h"
#include "fs/shared/temps.h"
#include "store/core/tables.h"
#include "store/core/transaction.h"
#include "store/keys/envelope.h"
#include "store/objects/objects.h"
#include "store/objects/stages.h"

/* handle.of.value.marks */
#define RELEASED 1u /* RELEASE was answered */
/* bytes that were sent are not in the stage, for there were too many of them: no version comes of it */
#define TOO_BIG  2u
#define SPOILED  4u  /* the same, for another reason */
#define REFUSED  8u  /* a WRITE was refused: who wanted to write did not want an empty file */
#define STALE    32u /* another version was served when its changed copy of one was to become a version */
#define EMPTIES  16u /* RELEASE came of who opened with O_TRUNC and never wrote: an empty version comes of it */
#define EMPTY    64u /* its stage has no bytes and takes the place of the version that was opened, and of no other */

static struct handle *writable(struct vault *v, uint64_t fh)
{
	struct handle *h = handle_get(v->handles, fh);
	return h && h->kind == HANDLE_VALUE && (h->open_flags & O_ACCMODE) != O_RDONLY ? h : NULL;
}

/* WRITE needs the right of opener and writer. Where they are two, and the opener's decision has aged, he is asked for
 * again by his process. */
static int check_rights(struct vault *v, const struct call *call, struct handle *h)
{
	const bool same = call->who && !memcmp(h->digest, call->who->digest, IDENTITY_DIGEST);
	int r = access_recheck(v, call, h, VERB_SET);

	if (r || same || access_opener_stands(v, h, VERB_SET))
		return -r;
	struct call opener = { .uid = h->uid,
			       .gid = h->gid,
			       .tid = h->tgid,
			       .patience = WAITS_FOR_ALL,
			       .unique = call->unique,
			       .resent = call->resent,
			       .began = call->began };
	r = call_identify(v, &opener);
	if (r)
		return r;
	if (opener.doubt || memcmp(h->digest, opener.who->digest, IDENTITY_DIGEST))
		r = EACCES;
	else
		r = access_recheck(v, &opener, h, VERB_SET);
	call_release(&opener);
	return -r;
}

/* What the stage begins as. Bytes that are appended by who does not read are all that it needs; of who appended after
 * O_TRUNC, the first go in the place of what is there. */
static int begin_stage(struct vault *v, const struct handle *h, uint64_t stage, uint32_t version)
{
	const bool appends = h->open_flags & O_APPEND;

	if (appends && !(h->open_flags & O_TRUNC) && (h->open_flags & O_ACCMODE) == O_WRONLY)
		return store_stage_tail(v->store, stage);
	if (h->open_flags & O_TRUNC) {
		int r = appends ? store_stage_tail(v->store, stage) : 0;
		return r || !appends ? r : store_stage_truncate(v->store, stage, 0, 0);
	}
	return store_stage_copy_version(v->store, stage, h->secret, version, appends ? STAGE_APPENDS : STAGE_EDITS);
}

/* The stage is made at the first byte: shells open and flush files that they never write. */
static int ensure_stage(struct vault *v, struct handle *h)
{
	uint64_t stage;
	if (h->stage)
		return 0;
	const struct handle_shown shown = handle_begin(h); /* what it starts from does not change under it */
	const bool copies = !(h->open_flags & O_TRUNC) && shown.version;
	int r = staged_grow(v, h, copies ? shown.size : 0);
	if (!r)
		r = store_stage_new(v->store, &stage);
	if (r)
		return r;
	r = begin_stage(v, h, stage, shown.version);
	if (r) /* each try would leave another one in the database */
		store_stage_drop(v->store, stage);
	else
		h->stage = stage;
	return r == -ENOENT ? -ESTALE : r; /* the version that was opened is gone */
}

/* Of what is served, behind which the bytes will go. */
static uint64_t size_before(struct vault *v, const struct handle *h)
{
	store_rdlock(v->store);
	const struct catalog_secret *s = store_get(v->store, h->secret);
	const struct catalog_version *c = s ? catalog_version(s, s->current) : NULL;
	const uint64_t size = c ? c->size : 0;
	store_unlock_tables(v->store);
	return size;
}

/* Before the bytes are there. What is beyond any value is the store's to refuse. */
static int make_room(struct vault *v, struct handle *h, uint64_t offset, size_t len)
{
	struct stage_info info = { 0 };
	const bool appends = h->open_flags & O_APPEND;
	int r = appends ? store_stage_stat(v->store, h->stage, &info) : 0;
	const uint64_t end = (appends ? info.size : offset) + len;

	if (!r && (info.manner == STAGE_TAIL || (info.manner == STAGE_APPENDS && info.base != STAGE_NO_BASE)) &&
	    size_before(v, h) + end - info.start > store_settings(v->store)->value_max)
		return -EFBIG;
	return r || end > VALUE_MAX ? r : staged_grow(v, h, end);
}

/* cp that met the limit half-way closes all the same: half a key under the name of the whole one is worse than none. A
 * writer without a right spoils nothing. */
static int spoil(struct handle *h, int r)
{
	if (r)
		h->of.value.marks |= r == -EFBIG ? TOO_BIG : SPOILED;
	return r;
}

int staging_write(struct vault *v, const struct call *call, uint64_t fh, uint64_t offset, const void *data, size_t len)
{
	struct handle *h = writable(v, fh);
	if (!h)
		return -EBADF;
	int r = check_rights(v, call, h);
	if (!r)
		r = spoil(h, ensure_stage(v, h));
	if (!r)
		r = spoil(h, make_room(v, h, offset, len));
	if (!r)
		r = spoil(h, store_stage_write(v->store, h->stage, call->unique,
					       h->open_flags & O_APPEND ? STAGE_APPEND : offset, data, len));
	if (r)
		h->of.value.marks |= REFUSED;
	else
		h->of.value.marks &= ~EMPTY;
	return r;
}

void staging_lost(struct vault *v, uint64_t fh, uint32_t uid)
{
	struct handle *h = writable(v, fh);
	if (h && h->uid == uid)
		spoil(h, -EIO);
}

int staging_truncate(struct vault *v, const struct call *call, uint64_t fh, uint64_t len)
{
	struct handle *h = writable(v, fh);
	if (!h)
		return -EBADF;
	int r = check_rights(v, call, h);
	if (!r)
		r = ensure_stage(v, h);
	if (!r && len <= VALUE_MAX)
		r = staged_grow(v, h, len);
	if (!r && len && (h->open_flags & O_APPEND))
		r = store_stage_gather(v->store, h->stage, h->secret);
	if (!r)
		r = store_stage_truncate(v->store, h->stage, call->unique, len);
	if (!r)
		h->of.value.marks &= ~EMPTY;
	return r;
}

int staging_read(struct vault *v, const struct call *call, uint64_t fh, uint64_t offset, struct secbuf *ret)
{
	struct handle *h = writable(v, fh);
	size_t got = 0;
	if (!h)
		return -EBADF;
	if (!h->stage && !(h->open_flags & O_TRUNC) && handle_shown(h).version)
		return -ENOENT;
	/* the stage may have begun as a copy: the right to write it is none to see it */
	int r = -access_recheck(v, call, h, VERB_GET);
	if (!r && h->stage)
		r = store_stage_read(v->store, h->stage, offset, secbuf_data(ret), secbuf_capacity(ret), &got);
	return r ? r : secbuf_set_len(ret, got);
}

static int speaks_of(const struct block *b, void *arg) { return block_speaks_of(b, arg); }

/* Of an opener's groups and namespaces nothing is known any more after another worker took over: doubt denies. */
static bool opener_blocked(struct vault *v, const struct policy *p, const struct handle *h, uint64_t fh)
{
	const struct identity *opener = v->openers[(uint32_t)fh];
	struct policy_caller left = { .uid = h->uid, .gid = h->gid, .account = POLICY_ACCOUNT_UNKNOWN };

	if (opener)
		return policy_blocked(p, &opener->policy) != NULL;
	left.owner = neighbours_owner(callers_neighbours(v->callers), h->uid, NULL);
	return policy_each_block(p, speaks_of, &left) != 0;
}

/* At RELEASE nobody asks: what was written was written with a right. Whether that right still stands is told by its
 * binding. */
static void decide_by_binding(struct vault *v, const struct handle *h, uint64_t fh, struct verdict *j)
{
	const int64_t now = clock_wall();
	store_rdlock(v->store);
	const struct catalog_secret *s = store_get(v->store, h->secret);
	const struct policy *p = store_policy(v->store);
	const struct binding *b = policy_binding(p, h->binding);
	const struct role *role = b ? policy_role(p, b->role) : NULL;
	j->error = store_sealed(v->store) ? ENOKEY : EACCES;
	j->decision = POLICY_DENY;
	if (s)
		vault_copy_name(j->name, sizeof j->name, s->name);
	if (b && role && s && !opener_blocked(v, p, h, fh) && (role->actions & ACTION_BIT(kind_action(s, VERB_SET))) &&
	    scope_covers(b->scope, s->name) && now >= b->from && now < b->until) {
		j->error = 0;
		j->decision = POLICY_ALLOW;
		j->binding = b->id;
		j->principal = b->principal;
		snprintf(j->role, sizeof j->role, "%s", role->name);
	}
	store_unlock_tables(v->store);
}

/* joins: its bytes go behind what is served. */
static void judge_commit(struct vault *v, const struct call *call, const struct handle *h, uint64_t fh, bool joins,
			 struct verdict *j)
{
	if (!call) {
		decide_by_binding(v, h, fh, j);
	} else {
		store_rdlock(v->store);
		const struct catalog_secret *s = store_get(v->store, h->secret);
		if (s)
			vault_copy_name(j->name, sizeof j->name, s->name);
		vault_decide_locked(v, call_trusted(call), kind_action(s, VERB_SET), j->name, j);
		store_unlock_tables(v->store);
	}
	store_rdlock(v->store);
	const struct catalog_secret *s = store_get(v->store, h->secret);
	if (!j->error) /* a copy would be a version that does not expire */
		j->error = hindrance_errno(
			hindrance_of_newest(s, joins ? USE_COPY : USE_WRITE, store_settings(v->store), clock_wall()));
	store_unlock_tables(v->store);
}

/* The file was emptied when it was opened. Another version that came since then was written after that, and stays. */
static bool serves_opened(struct vault *v, const struct handle *h)
{
	store_rdlock(v->store);
	const struct catalog_secret *s = store_get(v->store, h->secret);
	const bool same = s && !s->deleted && s->current == h->of.value.opened;
	store_unlock_tables(v->store);
	return same;
}

/* A stage on its way to a version. */
struct commit {
	const struct call *call; /* who asks; NULL: nobody, at RELEASE */
	struct handle *h;
	uint64_t fh;
	bool joins;           /* its bytes go behind what is served */
	struct call by;       /* whom the record names */
	struct identity gone; /* of an opener of whom only the handle tells any more */
	struct verdict j;
};

/* Is there something to make a version of? 1; 0; or negative errno. */
static int look_at_stage(struct vault *v, const struct handle *h, struct stage_info *ret_info)
{
	const int r = store_stage_stat(v->store, h->stage, ret_info);

	if (r || !ret_info->dirty)
		return r == -ENOENT ? 0 : r;
	if (h->of.value.marks & STALE)
		return -ESTALE;
	if (h->of.value.marks & (TOO_BIG | SPOILED))
		return h->of.value.marks & TOO_BIG ? -EFBIG : -EIO;
	return 1;
}

/* Who acts, for the record: at RELEASE, and at a FLUSH, the opener; after another worker took over only what stands in
 * the handle is left of it. */
static void name_actor(struct vault *v, struct commit *c, uint64_t unique, bool resent)
{
	struct identity *actor = c->call ? c->call->who : v->openers[(uint32_t)c->fh];

	c->gone.audit = (struct audit_caller){ .neighbour = neighbours_guess(callers_neighbours(v->callers), c->h->uid),
					       .uid = c->h->uid,
					       .gid = c->h->gid,
					       .pid = c->h->tgid,
					       .loginuid = -1 };
	if (!actor) {
		actor = &c->gone;
		audit_caller_render(&c->gone.audit);
	}
	c->by = (struct call){
		.who = actor, .unique = unique, .resent = resent, .began = c->call ? c->call->began : clock_wall()
	};
}

/* r is what became of it; negative. */
static int record_failure(struct vault *v, struct commit *c, const struct call *by, int r)
{
	c->j.error = -r;
	vault_record(v, by, AUDIT_SECRET_SET, &c->j, NULL);
	return r;
}

static int note_stale(struct commit *c)
{
	c->h->of.value.marks |= STALE;
	log_caused(LOG_WARNING,
		   "what uid %u changed in a copy of version %u of %s is not kept: another version is served by now",
		   c->h->uid, handle_shown(c->h).version, c->j.name);
	return -ESTALE;
}

/* In the transaction. 0: the version is made and recorded; -EALREADY: there is nothing to make. */
static int make_version(struct vault *v, struct commit *c)
{
	static const struct version_attributes plain_attributes = { .not_before = INT64_MIN, .expires = INT64_MAX };

	/* what was allowed before the wait for the transaction may have been revoked by the one before */
	judge_commit(v, c->call, c->h, c->fh, c->joins, &c->j);
	if (c->j.error)
		return -c->j.error;
	if ((c->h->of.value.marks & EMPTY) && !serves_opened(v, c->h))
		return -EALREADY;
	/* -EALREADY: the worker before us did it */
	const int r = store_stage_commit(v->store, c->h->stage, c->h->secret, &plain_attributes, &c->j.version);
	return r == -ESTALE ? note_stale(c) : r;
}

static int commit(struct vault *v, struct commit *c)
{
	int r = store_begin(v->store);

	if (r)
		return r;
	r = make_version(v, c);
	if (r) {
		store_rollback(v->store);
		return r == -EALREADY ? 0 : record_failure(v, c, &c->by, r);
	}
	if (vault_record(v, &c->by, AUDIT_SECRET_SET, &c->j, NULL)) {
		store_rollback(v->store);
		return -EIO;
	}
	r = vault_commit(v);
	if (r) /* a record of its own, beside the one that promised it */
		return record_failure(v, c, &(struct call){ .who = c->by.who, .began = c->by.began }, r);
	return 1;
}

int staging_commit(struct vault *v, const struct call *call, uint64_t fh, uint64_t unique, bool resent, bool ring)
{
	struct handle *h = writable(v, fh);
	struct stage_info info;

	if (!h)
		return -EBADF;
	int r = h->stage ? look_at_stage(v, h, &info) : 0;
	if (r <= 0)
		return r;
	/* a RELEASE, which does not come again: whoever finishes it knows the record by the last WRITE, which may have
	 * one of its own */
	if (!unique)
		unique = info.unique + (UINT64_C(1) << AUDIT_PART_SHIFT);
	struct commit c = { .call = call,
			    .h = h,
			    .fh = fh,
			    .joins = info.manner == STAGE_TAIL || info.manner == STAGE_APPENDS,
			    .j = { .secret = h->secret } };
	name_actor(v, &c, unique, resent);
	judge_commit(v, call, h, fh, c.joins, &c.j);
	if (c.j.error)
		return record_failure(v, &c, &c.by, -c.j.error);
	r = commit(v, &c);
	if (r > 0)
		vault_changed(v, ring ? RINGS_ALL : RINGS_MARKER);
	return r > 0 ? 0 : r;
}

/* ---- emptying: opened with O_TRUNC, and never written ---- */

static _Atomic uint32_t *emptying(struct vault *v, uint32_t secret)
{
	return &v->emptying.secrets[secret % (sizeof v->emptying.secrets / sizeof v->emptying.secrets[0])];
}

static bool empties(struct vault *v, const struct handle *h)
{
	return (h->open_flags & O_TRUNC) && !h->stage && !(h->of.value.marks & (TOO_BIG | SPOILED | REFUSED)) &&
	       serves_opened(v, h);
}

/* A stage of no bytes that is to become a version. The request is known by the OPEN, which has a record of its own. */
static int empty(struct vault *v, struct handle *h)
{
	int r = ensure_stage(v, h);

	h->of.value.marks |= EMPTY;
	return r ? r : store_stage_truncate(v->store, h->stage, h->unique, 0);
}

bool staging_to_sync(struct vault *v, const struct handle *h)
{
	return h->kind == HANDLE_VALUE && (h->open_flags & O_ACCMODE) != O_RDONLY && (h->stage || empties(v, h));
}

int staging_sync(struct vault *v, const struct call *call, uint64_t fh)
{
	struct handle *h = writable(v, fh);
	int r = h ? 0 : -EBADF;

	if (!r && empties(v, h)) {
		r = check_rights(v, call, h);
		if (!r)
			r = empty(v, h);
	}
	return r ? r : staging_commit(v, call, fh, call->unique, call->resent, true);
}

bool staging_emptying(struct vault *v, uint64_t ino)
{
	struct inode i;

	return inode_unpack(ino, &i) && i.type == INODE_CURRENT && atomic_load(emptying(v, i.secret));
}

/* ---- the end of an open file ---- */

bool staging_mark_released(struct vault *v, uint64_t fh)
{
	struct handle *h = writable(v, fh);
	if (!h)
		return false;
	if (h->of.value.marks & RELEASED)
		return true;
	if (!h->stage && !empties(v, h))
		return false;
	if (!h->stage) {
		atomic_fetch_add(emptying(v, h->secret), 1);
		h->of.value.marks |= EMPTIES;
	}
	h->of.value.marks |= RELEASED;
	return true;
}

static void finish(struct vault *v, uint64_t fh, struct handle *h, bool again)
{
	int r = h->of.value.marks & EMPTIES ? empty(v, h) : 0;

	if (!r)
		r = staging_commit(v, NULL, fh, 0, again, true);
	if (r && r != -ESTALE) /* which is said already */
		log_caused(LOG_WARNING, "what uid %u wrote before closing secret %u is lost: %s", h->uid, h->secret,
			   strerror(-r));
	if (h->stage)
		store_stage_drop(v->store, h->stage);
	access_close(v, fh);
}

static void release(struct vault *v, uint64_t fh, bool again)
{
	struct handle *h = writable(v, fh);
	if (!h)
		return;
	if (!(h->of.value.marks & EMPTIES)) {
		finish(v, fh, h, again);
		return;
	}
	/* whoever opens the file next does it, too */
	pthread_mutex_lock(&v->emptying.lock);
	h = writable(v, fh);
	if (h) {
		const uint32_t secret = h->secret;
		finish(v, fh, h, again);
		if (!again) /* what another worker marked, another worker counted */
			atomic_fetch_sub(emptying(v, secret), 1);
	}
	pthread_mutex_unlock(&v->emptying.lock);
}

void staging_release(struct vault *v, uint64_t fh) { release(v, fh, false); }

static void collect(uint64_t fh, struct handle *h, void *arg)
{
	struct {
		uint64_t fhs[64];
		size_t n;
	} *list = arg;
	if (h->kind == HANDLE_VALUE && (h->of.value.marks & RELEASED) && list->n < 64)
		list->fhs[list->n++] = fh;
}

static void collect_emptying(uint64_t fh, struct handle *h, void *arg)
{
	if (h->of.value.marks & EMPTIES)
		collect(fh, h, arg);
}

void staging_settle(struct vault *v, uint64_t ino)
{
	struct {
		uint64_t fhs[64];
		size_t n;
	} list = { .n = 0 };
	struct inode i;

	if (!inode_unpack(ino, &i))
		return;
	handle_each(v->handles, i.secret, collect_emptying, &list);
	for (size_t k = 0; k < list.n; k++)
		release(v, list.fhs[k], false);
}

struct stages {
	uint64_t *ids;
	size_t n, room;
	bool short_of_memory;
};

static void collect_id(struct stages *s, uint64_t stage)
{
	if (!stage || s->short_of_memory)
		return;
	if (s->n == s->room) {
		size_t room = s->room ? 2 * s->room : 64;
		uint64_t *grown = realloc(s->ids, room * sizeof *grown);
		s->short_of_memory = !grown;
		if (!grown)
			return;
		s->ids = grown;
		s->room = room;
	}
	s->ids[s->n++] = stage;
}

static void collect_stage(uint64_t fh, struct handle *h, void *arg)
{
	(void)fh;
	collect_id(arg, h->stage);
}

static void collect_stage_of_temp(struct temp *t, void *arg) { collect_id(arg, t->stage); }

/* Whoever made a stage and died before he noted it in the handle left one that nobody will ever drop. */
static void drop_orphans(struct vault *v)
{
	struct stages s = { 0 };
	handle_each(v->handles, 0, collect_stage, &s);
	temps_each(v->temps, collect_stage_of_temp, &s);
	int r = s.short_of_memory ? -ENOMEM : store_stages_retain(v->store, s.ids, s.n);
	if (r)
		log_warn("bytes that a worker left behind stay in the store until the next start: %s", strerror(-r));
	free(s.ids);
}

void staging_recover(struct vault *v)
{
	struct {
		uint64_t fhs[64];
		size_t n;
	} list;
	do {
		list.n = 0;
		handle_each(v->handles, 0, collect, &list);
		for (size_t i = 0; i < list.n; i++)
			release(v, list.fhs[i], true);
	} while (list.n == 64);
	drop_orphans(v);
}
