#include "fs/access.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/attr.h"
#include "fs/holds.h"
#include "fs/log.h"
#include "fs/made.h"
#include "fs/measure.h"
#include "fs/staged.h"
#include "store/core/tables.h"
#include "store/lifecycle/events.h"
#include "store/objects/objects.h"

int asker_identify(struct vault *v, uint32_t uid, uint32_t gid, pid_t tid, enum patience patience, struct asker *ret_asker)
{
	struct asker a = { .uid = uid, .gid = gid, .tid = tid, .patience = patience };
	const char *why = NULL;

	a.who = caller_cached(v->callers, uid, gid, tid);
	if (!a.who) {
		if (patience < WAITS_FOR_RESOLVER)
			return -EAGAIN;
		if (caller_resolve(v->callers, uid, gid, tid, &a.who, &why)) {
			a.doubt = true;
			log_caused(LOG_WARNING, "caller %d (uid %u) is in doubt: %s", (int)tid, uid, why ? why : "memory is short");
		}
	}
	a.neighbour = a.who && !a.doubt ? vault_neighbour(a.who) : vault_neighbour_guess(v, uid);
	*ret_asker = a;
	return 0;
}

bool asker_had_answer(struct vault *v, const struct asker *a, bool resent)
{
	pid_t tgid;

	return resent && !v->shared->keeper.resend && a->doubt && a->tid > 0 && caller_tgid(v->callers, a->tid, &tgid) != 0;
}

void asker_release(struct asker *a)
{
	identity_unref(a->who);
	a->who = NULL;
}

/* ---- open ---- */

bool access_wants_hold(struct vault *v, const struct asker *asker, uint64_t ino)
{
	struct stat st;

	return !holds_ready(v->holds, ino) && !vault_is_bell(v, asker->uid, asker->tid) && !attr_fill(v, asker, ino, &st) && (st.st_mode & 0600);
}

/* A decision about reading lasts no longer than the version, where the vault enforces validity. Under the table lock. */
static void bound_by_version(struct vault *v, const struct catalog_version *c, struct verdict *j)
{
	if (c && store_settings(v->store)->enforce_validity && c->expires < j->valid_until)
		j->valid_until = c->expires;
}

/* What opening a file of a secret asks: chooses the version and decides, under one table lock, so that name, version and right belong together. */
static void judge_value(struct vault *v, const struct asker *asker, const struct open_ask *ask, struct verdict *j)
{
	const int mode = ask->flags & O_ACCMODE;
	const bool reads = mode != O_WRONLY, writes = mode != O_RDONLY;

	store_rdlock(v->store);
	const struct catalog_secret *s = store_get(v->store, ask->inode.secret);
	if (s)
		vault_copy_name(j->name, sizeof j->name, s->name);
	j->secret = ask->inode.secret;
	j->version = ask->inode.type == INODE_VERSION ? ask->inode.low : s ? s->current : 0;
	const struct catalog_version *c = s ? catalog_version(s, j->version) : NULL;
	const bool copies = writes && !(ask->flags & O_TRUNC) && c;	/* the stage starts as a copy of what is there */

	j->error = s ? 0 : ENOENT;	/* purged: a name that the kernel kept for whoever stands there */
	j->valid_until = INT64_MAX;
	if (j->error)
		goto out;
	if (writes)
		vault_decide_locked(v, asker_trusted(asker), ACTION_SECRETS_SET, j->name, j);
	j->set_binding = j->binding;
	const int64_t may_set = j->valid_until;
	if (!j->error && (reads || copies))
		vault_decide_locked(v, asker_trusted(asker), ACTION_SECRETS_GET, j->name, j);
	if (j->error)
		goto out;
	if (may_set < j->valid_until)
		j->valid_until = may_set;
	if (!s || s->deleted || (ask->inode.type == INODE_VERSION && (!c || c->destroyed)))
		j->error = ENOENT;
	else if (writes && ask->inode.type == INODE_VERSION)
		j->error = EPERM;	/* a version never changes */
	else if (v->stackable && (ask->flags & O_NOATIME))
		j->error = EPERM;	/* so opens overlayfs, for root who mounted it, what it then copies to a disk. Others that want it do without */
	else if (!writes && (ask->flags & O_TRUNC))
		j->error = EPERM;	/* the kernel would show an empty file to everybody who has it mapped */
	else if (!s->enabled || (c && !c->enabled))
		j->error = EACCES;
	else if (reads && !writes && !c)
		j->error = ENOENT;
	else if (c && (reads || copies) && !store_version_valid(store_settings(v->store), c, vault_now()))
		j->error = EKEYEXPIRED;	/* a copy would be a version that does not expire */
	if (reads)
		bound_by_version(v, c, j);
	if (c)
		j->size = c->size;
out:
	store_unlock_tables(v->store);
}

static void judge_own(struct vault *v, const struct asker *asker, const struct open_ask *ask, struct verdict *j, enum audit_operation *ret_operation, enum handle_kind *ret_kind)
{
	const struct identity *who = asker_trusted(asker);
	*ret_operation = 0;
	*ret_kind = HANDLE_TEXT;
	j->error = who ? 0 : EACCES;
	j->decision = who ? POLICY_ALLOW : POLICY_DENY;
	switch (ask->inode.low) {
	case OWN_CTL:			/* each request is judged by itself; so that one can be made, anybody may open */
		*ret_kind = HANDLE_CTL;
		break;
	case OWN_WHOAMI:
		break;
	case OWN_STATUS:
		*ret_operation = AUDIT_VAULT_STATUS;
		vault_decide(v, who, ACTION_VAULT_STATUS, NULL, j);
		if (j->error == ENOKEY && who && who->uid == 0)
			j->error = 0;	/* somebody must be able to see that it is sealed */
		break;
	case OWN_METRICS:
		*ret_operation = AUDIT_VAULT_METRICS;
		vault_decide(v, who, ACTION_VAULT_METRICS, NULL, j);
		break;
	case OWN_AUDIT:
		*ret_operation = AUDIT_AUDIT_READ;
		*ret_kind = HANDLE_AUDIT;
		vault_decide(v, who, ACTION_AUDIT_READ, NULL, j);
		break;
	case OWN_EVENTS:		/* names of all secrets, and who has rights on them: as much as the log tells */
		*ret_operation = AUDIT_EVENTS_READ;
		*ret_kind = HANDLE_EVENTS;
		vault_decide(v, who, ACTION_AUDIT_READ, NULL, j);
		break;
	default:
		j->error = EISDIR;
	}
	if (!j->error && *ret_kind != HANDLE_CTL && ((ask->flags & O_ACCMODE) != O_RDONLY || (ask->flags & O_TRUNC)))
		j->error = EACCES;
}

static void fill_handle(struct handle *h, const struct asker *asker, const struct open_ask *ask, const struct verdict *j, enum handle_kind kind)
{
	h->ino = ask->ino;
	h->kind = kind;
	h->open_flags = (uint32_t)ask->flags;
	h->secret = j->secret;
	h->uid = asker->uid;
	h->gid = asker->gid;
	h->tid = asker->tid;
	h->tgid = asker->who ? asker->who->tgid : asker->tid;
	if (asker->who) {
		h->start_time = asker->who->start_time;
		h->user_ns = asker->who->user_ns;
		h->pid_ns = asker->who->pid_ns;
		h->mnt_ns = asker->who->mnt_ns;
		memcpy(h->digest, asker->who->digest, IDENTITY_DIGEST);
		memcpy(h->reader[0].digest, asker->who->digest, IDENTITY_DIGEST);
	}
	h->binding = j->set_binding ? j->set_binding : j->binding;
	h->since = vault_now();
	h->opened = vault_monotonic();
	if (asker->who && asker->who->audit.comm)
		vault_copy_name(h->comm, sizeof h->comm, asker->who->audit.comm);
	if (kind == HANDLE_VALUE) {
		const struct handle_decision decision = { j->epoch, j->valid_until };
		const int mode = ask->flags & O_ACCMODE;
		if (mode != O_WRONLY)
			h->reader[0].may[HANDLE_MAY_GET] = decision;
		if (mode != O_RDONLY)
			h->reader[0].may[HANDLE_MAY_SET] = decision;
		h->extra = j->version;
		handle_show(h, j->version, j->size);	/* a version's size never changes */
		if (ask->inode.type == INODE_CURRENT && mode != O_WRONLY)
			h->object = j->secret;
	} else if (kind == HANDLE_TEXT) {
		h->object = HANDLE_OWN + ask->inode.low;
	}
}

static int enter(struct vault *v, const struct asker *asker, const struct open_ask *ask, const struct verdict *j, enum handle_kind kind, struct handle **ret_handle)
{
	struct handle *h = NULL;
	struct handle_ask wanted = { .unique = ask->unique, .neighbour = asker->neighbour, .uid = asker->uid, .kind = kind, .reserved = kind == HANDLE_BELL };
	int r = handle_new(v->handles, &wanted, &h);
	if (r == -ENFILE && vault_is_administrator(v, asker_trusted(asker))) {
		wanted.reserved = true;
		r = handle_new(v->handles, &wanted, &h);
	}
	if (r == -ENFILE)
		r = access_take_back(v, &wanted, &h);
	if (r)
		return r;
	fill_handle(h, asker, ask, j, kind);
	if (kind == HANDLE_EVENTS) {	/* its offsets count from the oldest event that there was when it was opened */
		uint64_t end;
		store_events_range(v->store, &h->extra, &end);
	}
	if (kind == HANDLE_AUDIT) {
		uint32_t base = 0;
		r = audit_first_segment(v->audit, &base);
		h->extra = base;
		if (r) {
			handle_abandon(v->handles, h);
			return r;
		}
	}
	*ret_handle = h;
	return 0;
}

int access_open(struct vault *v, const struct asker *asker, const struct open_ask *ask, struct open_grant *ret_grant)
{
	struct verdict j = { 0 };
	struct handle *h = NULL;
	enum handle_kind kind = HANDLE_VALUE;
	enum audit_operation operation;
	const bool writes = (ask->flags & O_ACCMODE) != O_RDONLY;
	const int64_t began = vault_now();

	ret_grant->writable = writes;
	if (ask->resent) {
		h = handle_by_unique(v->handles, ask->unique, &ret_grant->fh);
		if (h) {
			ret_grant->kind = (enum handle_kind)h->kind;
			return 0;
		}
	}
	if (vault_is_bell(v, asker->uid, asker->tid)) {	/* what it has open needs no entry: it is asked for nothing but times */
		ret_grant->kind = HANDLE_BELL;
		ret_grant->fh = 0;
		return 0;
	}
	if (ask->inode.type == INODE_OWN) {
		judge_own(v, asker, ask, &j, &operation, &kind);
	} else {
		judge_value(v, asker, ask, &j);
		operation = writes ? AUDIT_SECRET_SET : AUDIT_SECRET_GET;
	}
	if (!j.error) {
		int r = enter(v, asker, ask, &j, kind, &h);
		if (r)
			j.error = -r;
	}
	atomic_fetch_add_explicit(&v->shared->opens, 1, memory_order_relaxed);
	if (operation == AUDIT_SECRET_SET && !j.error) {
		if ((ask->flags & O_ACCMODE) == O_RDWR)
			operation = AUDIT_SECRET_GET;	/* it can read; the new version gets a record of its own */
		else
			j.version = 0;
	}
	if (operation && vault_record(v, operation, asker->who, &j, ask->unique, ask->resent, began, &ret_grant->delay_ms) && !j.error)
		j.error = EIO;
	if (j.error) {
		if (h)
			handle_abandon(v->handles, h);
		return -j.error;
	}
	ret_grant->kind = kind;
	ret_grant->fh = handle_publish(v->handles, h);
	if (kind == HANDLE_VALUE)
		vault_note_known(v, asker->neighbour);
	if (writes && kind == HANDLE_VALUE && asker->who)
		v->openers[(uint32_t)ret_grant->fh] = identity_ref(asker->who);
	return 0;
}

/* ---- read ---- */

/* An error that says to an open file's reader what became of his right. */
static int lost_right(const struct handle *h, const struct asker *asker, const struct verdict *j)
{
	if (j->error == ENOKEY || j->error == ETIMEDOUT)
		return j->error;
	return asker->who && !memcmp(h->digest, asker->who->digest, IDENTITY_DIGEST) ? EKEYREVOKED : EACCES;
}

/* Of handle.reader, which the threads share: an identity and its decisions are compared, and changed, together. */
static pthread_mutex_t reader_lock = PTHREAD_MUTEX_INITIALIZER;

static enum handle_right right_of(enum action action)
{
	return action == ACTION_SECRETS_GET ? HANDLE_MAY_GET : HANDLE_MAY_SET;
}

static bool stands(struct vault *v, const struct handle_decision *d, int64_t now)
{
	return d->epoch == store_epoch(v->store) && now < d->valid_until && !store_sealed(v->store);
}

bool access_opener_stands(struct vault *v, const struct handle *h, enum action action)
{
	pthread_mutex_lock(&reader_lock);
	const struct handle_decision d = h->reader[0].may[right_of(action)];
	pthread_mutex_unlock(&reader_lock);
	return stands(v, &d, vault_now());
}

/* The last decision about this identity and action; valid_until 0: there was none. */
static struct handle_decision last_decision(struct handle *h, const struct identity *who, enum action action)
{
	struct handle_decision d = { 0 };

	pthread_mutex_lock(&reader_lock);
	for (int i = 0; who && i < 2; i++)
		if (!memcmp(h->reader[i].digest, who->digest, IDENTITY_DIGEST))
			d = h->reader[i].may[right_of(action)];
	pthread_mutex_unlock(&reader_lock);
	return d;
}

static void keep_decision(struct handle *h, const struct identity *who, enum action action, const struct verdict *j)
{
	pthread_mutex_lock(&reader_lock);
	struct handle_reader *x = &h->reader[memcmp(h->reader[0].digest, who->digest, IDENTITY_DIGEST) ? 1 : 0];
	if (memcmp(x->digest, who->digest, IDENTITY_DIGEST)) {
		*x = (struct handle_reader){ 0 };
		memcpy(x->digest, who->digest, IDENTITY_DIGEST);
	}
	x->may[right_of(action)] = (struct handle_decision){ j->epoch, j->valid_until };
	pthread_mutex_unlock(&reader_lock);
}

bool access_looked(struct handle *h, const struct identity *who)
{
	return last_decision(h, who, ACTION_SECRETS_GET).valid_until != 0;
}

void access_note_look(struct handle *h, const struct identity *who)
{
	keep_decision(h, who, ACTION_SECRETS_GET, &(struct verdict){ .valid_until = 1 });
}

int access_recheck(struct vault *v, const struct asker *asker, struct handle *h, enum action action, uint64_t unique, bool resent)
{
	const struct identity *who = asker_trusted(asker);
	const int64_t began = vault_now();
	const struct handle_decision last = last_decision(h, who, action);

	if (stands(v, &last, began))
		return 0;

	struct verdict j = { .secret = h->secret, .version = handle_shown(h).version };
	store_rdlock(v->store);
	const struct catalog_secret *s = store_get(v->store, h->secret);
	const struct catalog_version *c = s ? catalog_version(s, j.version) : NULL;
	if (s)
		vault_copy_name(j.name, sizeof j.name, s->name);
	vault_decide_locked(v, who, action, j.name, &j);
	if (!j.error && (!s || s->deleted || !s->enabled || (j.version && action == ACTION_SECRETS_GET && (!c || !c->enabled))))
		j.error = EACCES;
	else if (!j.error && c && action == ACTION_SECRETS_GET && !store_version_valid(store_settings(v->store), c, began))
		j.error = EKEYEXPIRED;
	if (action == ACTION_SECRETS_GET)
		bound_by_version(v, c, &j);
	store_unlock_tables(v->store);

	/* another identity's first read, and every refusal, are accesses of their own */
	if (!last.valid_until || j.error) {
		enum audit_operation operation = action == ACTION_SECRETS_GET ? AUDIT_SECRET_GET : AUDIT_SECRET_SET;
		if (vault_record(v, operation, asker->who, &j, unique, resent, began, NULL) && !j.error)
			j.error = EIO;
	}
	if (j.error)
		return j.error == EIO || j.error == EKEYEXPIRED ? j.error : lost_right(h, asker, &j);
	keep_decision(h, who, action, &j);
	return 0;
}

/* sendfile, splice and mmap fill the page cache, which knows no callers: only what is newest and allowed to this caller now may go there. */
static int judge_page_cache(struct vault *v, const struct handle *h, uint32_t version)
{
	bool newest;
	struct inode inode;

	if (v->options->nopagecache || !inode_unpack(h->ino, &inode))
		return EINVAL;
	/* who has it open for both could write to a page that others map or splice, past policy and log. His own OPEN dropped the pages, and his own faults are refused: so there are none, while there are
	 * none for anybody. */
	if (inode.type == INODE_CURRENT && (handle_read_writers(v->handles, h->secret) || measure_told_older(v, h->secret)))
		return EINVAL;
	store_rdlock(v->store);
	const struct catalog_secret *s = store_get(v->store, h->secret);
	newest = s && (inode.type == INODE_VERSION || s->current == version);
	store_unlock_tables(v->store);
	return newest ? 0 : EINVAL;
}

/* A reader that takes the whole value at once, as cat does, needs no copy of it to be kept: it is decrypted where the answer is sent from. Unless it comes again and again. */
static int read_whole(struct vault *v, uint32_t secret, const struct handle_shown *shown, const struct read_ask *ask, struct read_result *ret)
{
	if (ask->offset != 0 || ask->size < shown->size || plain_hot(v->plain, secret, shown->version))
		return -EAGAIN;
	int r = store_version_read_into(v->store, secret, shown->version, ask->room, ask->size, &ret->len);
	if (!r)
		ret->data = ask->room;
	return r == -ENOBUFS ? -EIO : r;
}

static int read_value(struct vault *v, const struct asker *asker, struct handle *h, const struct read_ask *ask, bool may_block, struct read_result *ret)
{
	struct plain *x;
	const struct handle_shown shown = handle_begin(h);
	int r = access_recheck(v, asker, h, ACTION_SECRETS_GET, ask->unique, ask->resent);
	if (!r && ask->page_cache)
		r = judge_page_cache(v, h, shown.version);
	if (r)
		return -r;
	if (ask->offset >= shown.size) {	/* nothing to decrypt for the read that finds the end */
		handle_end(h);
		return 0;
	}
	ret->secret = true;
	ret->drop = ask->page_cache ? h->ino : 0;
	x = plain_get(v->plain, h->secret, shown.version);
	if (!x) {
		r = read_whole(v, h->secret, &shown, ask, ret);
		if (r != -EAGAIN)
			return r == -EBADMSG ? -EIO : r;
		if (!may_block && !store_version_ready(v->store, h->secret, shown.version))
			return -EAGAIN;
		r = plain_load(v->plain, v->store, h->secret, shown.version, &x);
		if (r)
			return r == -ENOMEM || r == -EBADMSG || r == -ENOENT ? -EIO : r;
	}
	const struct secbuf *b = plain_buf(x);
	size_t len = secbuf_len(b);
	ret->plain = x;
	if (ask->offset < len) {
		ret->data = secbuf_cdata(b) + ask->offset;
		ret->len = len - (size_t)ask->offset < ask->size ? len - (size_t)ask->offset : ask->size;
	}
	return 0;
}

static bool move(struct vault *v, const struct asker *asker, struct handle *h, uint64_t fh, uint64_t unique, bool resent)
{
	const struct identity *who = asker_trusted(asker);
	const int64_t began = vault_now();
	struct verdict j = { 0 };

	if (!who || memcmp(h->digest, who->digest, IDENTITY_DIGEST))
		return false;
	const struct open_ask again = { .inode = { .type = INODE_CURRENT, .secret = h->secret }, .ino = h->ino, .flags = (int)h->open_flags };
	const uint32_t before = handle_shown(h).version;
	judge_value(v, asker, &again, &j);
	/* the record before the move: what may be read from then on is known. A refusal is none: the file stays what it is, and its next read is judged */
	if (j.error || !j.version || vault_record(v, AUDIT_SECRET_GET, asker->who, &j, unique, resent, began, NULL) || !handle_move(v->handles, fh, j.version, j.size))
		return false;
	keep_decision(h, who, ACTION_SECRETS_GET, &j);
	access_forget_plain(v, HANDLE_VALUE, j.secret, before);
	return true;
}

bool access_move(struct vault *v, const struct asker *asker, uint64_t fh, uint64_t unique, bool resent)
{
	struct handle *h = handle_hold(v->handles, fh);
	const bool moved = h && move(v, asker, h, fh, unique, resent);

	if (h)
		handle_let(v->handles, h);
	return moved;
}

/* The right to the log and the events, asked at each read, and room for what is read. */
static int begin_stream(struct vault *v, const struct asker *asker, struct handle *h, const struct read_ask *ask, bool may_block, struct read_result *ret)
{
	struct verdict j = { 0 };
	if (!may_block)
		return -EAGAIN;
	vault_decide(v, asker_trusted(asker), ACTION_AUDIT_READ, NULL, &j);
	if (j.error)
		return -lost_right(h, asker, &j);
	ret->text = malloc(ask->size ? ask->size : 1);
	if (!ret->text)
		return -ENOMEM;
	ret->data = ret->text;
	return 0;
}

static int read_audit(struct vault *v, const struct asker *asker, struct handle *h, const struct read_ask *ask, bool may_block, struct read_result *ret)
{
	int r = begin_stream(v, asker, h, ask, may_block, ret);

	return r ? r : audit_read(v->audit, (uint32_t)h->extra, ask->offset, ret->text, ask->size, &ret->len);
}

static int read_events(struct vault *v, const struct asker *asker, struct handle *h, const struct read_ask *ask, bool may_block, struct read_result *ret)
{
	int r = begin_stream(v, asker, h, ask, may_block, ret);

	if (!r)
		r = store_events_read(v->store, h->extra + ask->offset, ret->text, ask->size, &ret->len);
	return r == -EBADMSG ? -EIO : r;
}

int access_read(struct vault *v, const struct asker *asker, const struct read_ask *ask, bool may_block, struct read_result *ret_result)
{
	struct handle *h = handle_hold(v->handles, ask->fh);
	int r;

	*ret_result = (struct read_result){ .data = "" };
	if (!h)
		return handle_gone(v->handles, ask->fh);
	switch ((enum handle_kind)h->kind) {
	case HANDLE_VALUE:
		atomic_fetch_add_explicit(&v->shared->reads, 1, memory_order_relaxed);
		r = read_value(v, asker, h, ask, may_block, ret_result);
		break;
	case HANDLE_TEXT:
		r = ask->page_cache ? -EINVAL : made_read(v, asker, h, ask, may_block, ret_result);
		break;
	case HANDLE_AUDIT:
		r = ask->page_cache ? -EINVAL : read_audit(v, asker, h, ask, may_block, ret_result);
		break;
	case HANDLE_EVENTS:
		r = ask->page_cache ? -EINVAL : read_events(v, asker, h, ask, may_block, ret_result);
		break;
	case HANDLE_BELL:
	case HANDLE_TEMP:
	case HANDLE_CTL:
	case HANDLE_DIR:
	case HANDLE_NONE:
	default:
		r = -EACCES;
	}
	handle_let(v->handles, h);
	if (r)
		read_done(v, ret_result);
	return r;
}

void read_done(struct vault *v, struct read_result *r)
{
	if (r->plain)
		plain_put(v->plain, r->plain);
	free(r->text);
	if (r->drop)
		drops_add(v->drops, r->drop);
	*r = (struct read_result){ .data = "" };
}
