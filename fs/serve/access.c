#include "fs/serve/access.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fs/common/clock.h"
#include "fs/common/log.h"
#include "fs/ctl/hindrance.h"
#include "fs/serve/attr.h"
#include "fs/serve/entries.h"
#include "fs/serve/holds.h"
#include "fs/serve/kind_files.h"
#include "fs/serve/made.h"
#include "fs/serve/measure.h"
#include "fs/serve/recheck.h"
#include "fs/serve/record.h"
#include "fs/serve/staged.h"
#include "store/core/tables.h"
#include "store/lifecycle/events.h"
#include "store/objects/objects.h"

/* ---- open ---- */

bool access_wants_hold(struct vault *v, const struct call *call, uint64_t ino)
{
	struct stat st;

	return !holds_ready(v->holds, ino) && !vault_is_bell(v, call->uid, call->tid) &&
	       !attr_fill(v, call, ino, &st) && (st.st_mode & 0600);
}

/* What opening a file of a secret asks: chooses the version and decides, under one table lock, so that name, version
 * and right belong together. */
static void judge_value(struct vault *v, const struct call *call, const struct open_ask *ask, struct verdict *j,
			const struct kind **ret_kind)
{
	const int mode = ask->flags & O_ACCMODE;
	const bool reads = mode != O_WRONLY, writes = mode != O_RDONLY;

	store_rdlock(v->store);
	const struct catalog_secret *s = store_get(v->store, ask->inode.secret);
	if (s)
		vault_copy_name(j->name, sizeof j->name, s->name);
	*ret_kind = kind_of(s);
	j->secret = ask->inode.secret;
	j->version = ask->inode.type == INODE_VERSION ? ask->inode.low : s ? s->current : 0;
	const struct catalog_version *c = s ? catalog_version(s, j->version) : NULL;
	/* the stage starts as a copy of what is there */
	const bool copies = writes && !(ask->flags & O_TRUNC) && c;

	/* purged: a name that the kernel kept for whoever stands there */
	j->error = kind_file_typed(s, ask->inode.type == INODE_VERSION ? INODE_VERSIONS : INODE_CURRENT) ? 0 : ENOENT;
	j->valid_until = INT64_MAX;
	if (j->error)
		goto out;
	if (writes)
		vault_decide_locked(v, call_trusted(call), kind_action(s, VERB_SET), j->name, j);
	j->set_binding = j->binding;
	const int64_t may_set = j->valid_until;
	if (!j->error && (reads || copies))
		vault_decide_locked(v, call_trusted(call), kind_action(s, VERB_GET), j->name, j);
	if (j->error)
		goto out;
	if (may_set < j->valid_until)
		j->valid_until = may_set;
	const bool named = ask->inode.type == INODE_VERSION;
	const enum use use = reads ? (writes ? USE_READ_WRITE : USE_READ) : copies ? USE_COPY : USE_WRITE;
	const struct store_settings *settings = store_settings(v->store);
	const enum hindrance hindrance = named ? hindrance_of_version(s, c, use, settings, clock_wall())
					       : hindrance_of_newest(s, use, settings, clock_wall());

	if (hindrance_is_absence(hindrance))
		j->error = hindrance_errno(hindrance);
	else if (writes && named)
		j->error = EPERM; /* a version never changes */
	else if (v->stackable && (ask->flags & O_NOATIME))
		/* so opens overlayfs, for root who mounted it, what it then copies to a disk. Others that want it do
		 * without */
		j->error = EPERM;
	else if (!writes && (ask->flags & O_TRUNC))
		j->error = EPERM; /* the kernel would show an empty file to everybody who has it mapped */
	else
		j->error = hindrance_errno(hindrance);
	if (reads)
		access_bound_by_version(v, c, j);
	if (c)
		j->size = c->size;
out:
	store_unlock_tables(v->store);
}

/* The same of a view, which is read only. */
static void judge_view(struct vault *v, const struct call *call, const struct open_ask *ask, struct verdict *j,
		       enum audit_operation *ret_operation)
{
	store_rdlock(v->store);
	const struct catalog_secret *s = store_get(v->store, ask->inode.secret);
	const struct kind_file *f = kind_view(v, &ask->inode);
	const struct catalog_version *c = s ? catalog_version(s, s->current) : NULL;

	*ret_operation = kind_operation(s, VERB_GET);
	j->secret = ask->inode.secret;
	j->version = s ? s->current : 0;
	j->error = f ? 0 : ENOENT;
	if (!f)
		goto out;
	vault_copy_name(j->name, sizeof j->name, s->name);
	vault_decide_locked(v, call_trusted(call), kind_action(s, f->verb), j->name, j);
	if (j->error)
		goto out;
	const enum hindrance hindrance = hindrance_of_newest(s, USE_READ, store_settings(v->store), clock_wall());
	if (!hindrance_is_absence(hindrance) && ((ask->flags & O_ACCMODE) != O_RDONLY || (ask->flags & O_TRUNC)))
		j->error = EACCES;
	else
		j->error = hindrance_errno(hindrance);
	access_bound_by_version(v, c, j);
out:
	store_unlock_tables(v->store);
}

static void judge_own(struct vault *v, const struct call *call, const struct open_ask *ask, struct verdict *j,
		      enum audit_operation *ret_operation, enum handle_kind *ret_kind)
{
	const struct identity *who = call_trusted(call);
	const struct entry *e = entry_of(&ask->inode);
	*ret_operation = e ? e->operation : 0;
	*ret_kind = e ? e->kind : HANDLE_NONE;
	j->error = !e || e->directory ? EISDIR : who ? 0 : EACCES;
	j->decision = who ? POLICY_ALLOW : POLICY_DENY;
	if (e && !e->directory && e->needs)
		vault_decide(v, who, e->action, NULL, j);
	if (e && e->sealed && j->error == ENOKEY && who && who->uid == 0)
		j->error = 0;
	if (!j->error && *ret_kind != HANDLE_CTL && ((ask->flags & O_ACCMODE) != O_RDONLY || (ask->flags & O_TRUNC)))
		j->error = EACCES;
}

static void fill_handle(struct handle *h, const struct call *call, const struct open_ask *ask, const struct verdict *j,
			enum handle_kind kind)
{
	h->ino = ask->ino;
	h->kind = kind;
	h->open_flags = (uint32_t)ask->flags;
	h->secret = j->secret;
	h->uid = call->uid;
	h->gid = call->gid;
	h->tid = call->tid;
	h->tgid = call->who ? call->who->tgid : call->tid;
	if (call->who) {
		h->start_time = call->who->start_time;
		h->user_ns = call->who->user_ns;
		h->pid_ns = call->who->pid_ns;
		h->mnt_ns = call->who->mnt_ns;
		memcpy(h->digest, call->who->digest, IDENTITY_DIGEST);
		memcpy(h->reader[0].digest, call->who->digest, IDENTITY_DIGEST);
	}
	h->binding = j->set_binding ? j->set_binding : j->binding;
	h->since = clock_wall();
	h->opened = clock_monotonic();
	if (call->who && call->who->audit.comm)
		vault_copy_name(h->comm, sizeof h->comm, call->who->audit.comm);
	const struct handle_decision decision = { j->epoch, j->valid_until };
	if (kind == HANDLE_VALUE) {
		const int mode = ask->flags & O_ACCMODE;
		if (mode != O_WRONLY)
			h->reader[0].may[HANDLE_MAY_GET] = decision;
		if (mode != O_RDONLY)
			h->reader[0].may[HANDLE_MAY_SET] = decision;
		h->of.value.opened = j->version;
		handle_show(h, j->version, j->size); /* a version's size never changes */
		if (ask->inode.type == INODE_CURRENT && mode != O_WRONLY)
			h->object = j->secret;
	} else if (kind == HANDLE_TEXT) {
		h->object = made_object(&ask->inode);
		if (ask->inode.type == INODE_VIEW) {
			h->reader[0].may[HANDLE_MAY_GET] = decision;
			handle_show(h, j->version, 0);
		}
	}
}

static int enter(struct vault *v, const struct call *call, const struct open_ask *ask, const struct verdict *j,
		 enum handle_kind kind, struct handle **ret_handle)
{
	struct handle *h = NULL;
	struct handle_ask wanted = { .unique = call->unique,
				     .neighbour = call->neighbour,
				     .uid = call->uid,
				     .kind = kind,
				     .reserved = kind == HANDLE_BELL };
	int r = handle_new(v->handles, &wanted, &h);
	if (r == -ENFILE && vault_is_administrator(v, call_trusted(call))) {
		wanted.reserved = true;
		r = handle_new(v->handles, &wanted, &h);
	}
	if (r == -ENFILE)
		r = access_take_back(v, &wanted, &h);
	if (r)
		return r;
	fill_handle(h, call, ask, j, kind);
	if (kind == HANDLE_EVENTS) { /* its offsets count from the oldest event that there was when it was opened */
		uint64_t end;
		store_events_range(v->store, &h->of.events.first, &end);
	}
	if (kind == HANDLE_AUDIT) {
		uint32_t base = 0;
		r = audit_first_segment(v->audit, &base);
		h->of.audit.first = base;
		if (r) {
			handle_abandon(v->handles, h);
			return r;
		}
	}
	*ret_handle = h;
	return 0;
}

int access_open(struct vault *v, const struct call *call, const struct open_ask *ask, struct open_grant *ret_grant)
{
	struct verdict j = { 0 };
	struct handle *h = NULL;
	enum handle_kind kind = HANDLE_VALUE;
	const struct kind *object = NULL; /* of a value */
	enum audit_operation operation;
	const bool writes = (ask->flags & O_ACCMODE) != O_RDONLY;

	ret_grant->writable = writes;
	if (call->resent) {
		h = handle_by_unique(v->handles, call->unique, &ret_grant->fh);
		if (h) {
			ret_grant->kind = (enum handle_kind)h->kind;
			return 0;
		}
	}
	/* what it has open needs no entry: it is asked for nothing but times */
	if (vault_is_bell(v, call->uid, call->tid)) {
		ret_grant->kind = HANDLE_BELL;
		ret_grant->fh = 0;
		return 0;
	}
	if (ask->inode.type == INODE_OWN) {
		judge_own(v, call, ask, &j, &operation, &kind);
	} else if (ask->inode.type == INODE_VIEW) {
		judge_view(v, call, ask, &j, &operation);
		kind = HANDLE_TEXT;
	} else {
		judge_value(v, call, ask, &j, &object);
		operation = object->verbs[writes ? VERB_SET : VERB_GET].operation;
	}
	if (!j.error) {
		int r = enter(v, call, ask, &j, kind, &h);
		if (r)
			j.error = -r;
	}
	atomic_fetch_add_explicit(&v->shared->opens, 1, memory_order_relaxed);
	if (object && writes && !j.error) {
		if ((ask->flags & O_ACCMODE) == O_RDWR) /* it can read; the new version gets a record of its own */
			operation = object->verbs[VERB_GET].operation;
		else
			j.version = 0;
	}
	if (operation && vault_record(v, call, operation, &j, &ret_grant->delay_ms) && !j.error)
		j.error = EIO;
	if (j.error) {
		if (h)
			handle_abandon(v->handles, h);
		return -j.error;
	}
	ret_grant->kind = kind;
	ret_grant->fh = handle_publish(v->handles, h);
	if (kind == HANDLE_VALUE)
		vault_note_known(v, call->neighbour);
	if (writes && kind == HANDLE_VALUE && call->who)
		v->openers[(uint32_t)ret_grant->fh] = identity_ref(call->who);
	return 0;
}

static bool move(struct vault *v, const struct call *call, struct handle *h, uint64_t fh)
{
	const struct identity *who = call_trusted(call);
	struct verdict j = { 0 };

	if (!who || memcmp(h->digest, who->digest, IDENTITY_DIGEST))
		return false;
	const struct open_ask again = { .inode = { .type = INODE_CURRENT, .secret = h->secret },
					.ino = h->ino,
					.flags = (int)h->open_flags };
	const uint32_t before = handle_shown(h).version;
	const struct kind *object;
	judge_value(v, call, &again, &j, &object);
	/* the record before the move: what may be read from then on is known. A refusal is none: the file stays what it
	 * is, and its next read is judged */
	if (j.error || !j.version || vault_record(v, call, object->verbs[VERB_GET].operation, &j, NULL) ||
	    !handle_move(v->handles, fh, j.version, j.size))
		return false;
	access_keep_decision(h, who, VERB_GET, &j);
	access_forget_plain(v, HANDLE_VALUE, j.secret, before);
	return true;
}

bool access_move(struct vault *v, const struct call *call, uint64_t fh)
{
	struct handle *h = handle_hold(v->handles, fh);
	const bool moved = h && move(v, call, h, fh);

	if (h)
		handle_let(v->handles, h);
	return moved;
}
