#include "fs/serve/temporary.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/ctl/hindrance.h"
#include "fs/serve/kind_files.h"
#include "fs/serve/changed.h"
#include "fs/common/clock.h"
#include "fs/serve/holds.h"
#include "fs/serve/links.h"
#include "fs/common/log.h"
#include "fs/serve/read.h"
#include "fs/serve/recheck.h"
#include "fs/serve/record.h"
#include "fs/serve/staged.h"
#include "fs/shared/temps.h"
#include "store/core/requests.h"
#include "store/core/tables.h"
#include "store/core/transaction.h"
#include "store/keys/envelope.h"
#include "store/objects/objects.h"
#include "store/objects/stages.h"

/* ---- whose it is ---- */

static uint64_t id_of(uint64_t ino)
{
	struct inode i;

	return inode_unpack(ino, &i) && i.type == INODE_TEMP ? (uint64_t)i.secret << 28 | i.low : 0;
}

static uint64_t ino_of(uint64_t id)
{
	return inode_pack(&(struct inode){
		.type = INODE_TEMP, .secret = (uint32_t)(id >> 28), .low = (uint32_t)(id & INODE_LOW_MAX) });
}

static bool owns(const struct call *a, const struct temp *t)
{
	const struct identity *who = a ? call_trusted(a) : NULL;

	return who && !memcmp(who->digest, t->owner, IDENTITY_DIGEST);
}

/* May the call set the secret now, and does that change anything? */
static void judge(struct vault *v, const struct call *a, uint32_t secret, struct verdict *j)
{
	store_rdlock(v->store);
	const struct catalog_secret *s = store_get(v->store, secret);
	j->secret = secret;
	j->valid_until = INT64_MAX;
	if (s)
		vault_copy_name(j->name, sizeof j->name, s->name);
	vault_decide_locked(v, call_trusted(a), kind_action(s, VERB_SET), j->name, j);
	if (!j->error && hindrance_of_newest(s, USE_WRITE, store_settings(v->store), clock_wall()))
		j->error = EACCES;
	else if (!j->error && !kind_file_typed(s, INODE_CURRENT))
		j->error = EPERM; /* nothing that it could be renamed over */
	store_unlock_tables(v->store);
}

static bool is_present(struct vault *v, const struct inode *dir)
{
	store_rdlock(v->store);
	const struct catalog_secret *s = store_get(v->store, dir->secret);
	const bool present = s && !s->deleted;
	store_unlock_tables(v->store);
	return present;
}

int temporary_check(uint64_t parent, const char *name)
{
	struct inode dir;

	if (strlen(name) > TEMP_NAME_MAX)
		return -ENAMETOOLONG;
	return inode_unpack(parent, &dir) && dir.type == INODE_SECRET && temps_name_valid(name) ? 0 : -EPERM;
}

/* ---- open ---- */

static int enter(struct vault *v, const struct call *a, const struct temp *t, const struct open_ask *ask,
		 const struct verdict *j, uint64_t *ret_fh)
{
	const struct handle_ask wanted = {
		.unique = a->unique, .neighbour = a->neighbour, .uid = a->uid, .kind = HANDLE_TEMP
	};
	struct handle *h;
	int r = handle_new(v->handles, &wanted, &h);

	if (r)
		return r;
	h->ino = ino_of(t->id);
	h->open_flags = (uint32_t)ask->flags;
	h->secret = t->secret;
	h->gid = a->gid;
	h->tgid = a->who->tgid;
	h->of.temp.id = t->id;
	h->binding = j->binding;
	h->since = clock_wall();
	memcpy(h->digest, a->who->digest, IDENTITY_DIGEST);
	memcpy(h->reader[0].digest, a->who->digest, IDENTITY_DIGEST);
	h->reader[0].may[HANDLE_MAY_SET] = (struct handle_decision){ j->epoch, j->valid_until };
	*ret_fh = handle_publish(v->handles, h);
	return 0;
}

static int cut(struct vault *v, struct temp *t, uint64_t len, uint64_t unique);

/* The entry is open once more for this; it is closed again unless all goes well. */
static int open_entry(struct vault *v, const struct call *a, struct temp *t, const struct open_ask *ask,
		      struct verdict *j, uint64_t *ret_fh)
{
	int r = 0;

	if (ask->flags & O_TRUNC) {
		if (t->stage && a->patience < WAITS_FOR_ALL)
			r = -EAGAIN;
		else if (t->stage)
			r = cut(v, t, 0, 0);
	}
	if (!r && vault_record(v, a, AUDIT_SECRET_SET, j, NULL))
		r = -EIO;
	if (!r)
		r = enter(v, a, t, ask, j, ret_fh);
	if (r)
		temps_close(v->temps, t->id, clock_monotonic());
	return r;
}

static int refuse(struct vault *v, const struct call *a, struct verdict *j, int error)
{
	j->error = error;
	vault_record(v, a, AUDIT_SECRET_SET, j, NULL);
	return -error;
}

static bool had_fh(struct vault *v, uint64_t unique, bool resent, uint64_t *ret_ino, uint64_t *ret_fh)
{
	const struct handle *h = resent ? handle_by_unique(v->handles, unique, ret_fh) : NULL;

	if (h)
		*ret_ino = h->ino;
	return h;
}

int temporary_create(struct vault *v, const struct call *a, const struct temporary_ask *ask, uint64_t *ret_ino,
		     uint64_t *ret_fh)
{
	const struct open_ask as_open = {
		.flags = ask->flags,
	};
	const int64_t now = clock_wall();
	struct temp *t, other;
	struct verdict j = { 0 };
	struct inode dir;
	int r = temporary_check(ask->parent, ask->name);

	if (r || had_fh(v, a->unique, a->resent, ret_ino, ret_fh))
		return r;
	if (a->patience < vault_record_waits(v))
		return -EAGAIN;
	inode_unpack(ask->parent, &dir);
	judge(v, a, dir.secret, &j);
	if (!j.error && !is_present(v, &dir))
		j.error = EACCES;
	if (j.error)
		return refuse(v, a, &j, j.error);
	struct temp what = {
		.secret = dir.secret,
		.unique = a->unique,
		.neighbour = a->neighbour,
		.mode = ask->mode & 0777,
		.modified = now,
		.accessed = now,
		.used = clock_monotonic(),
	};
	memcpy(what.owner, a->who->digest, IDENTITY_DIGEST);
	vault_copy_name(what.name, sizeof what.name, ask->name);
	r = temps_add(v->temps, &what, &t);
	if (r == -EDQUOT && a->patience < WAITS_FOR_ALL)
		return -EAGAIN;
	if (r == -EDQUOT) { /* what has ended, and waits for its time, is no reason to refuse */
		temporary_tick(v);
		r = temps_add(v->temps, &what, &t);
	}
	if (r == -EEXIST && !(ask->flags & O_EXCL) && temps_find(v->temps, dir.secret, ask->name, &other))
		r = owns(a, &other) && (t = temps_open(v->temps, other.id)) ? 0 : -EACCES;
	if (r)
		return refuse(v, a, &j, -r);
	*ret_ino = ino_of(t->id);
	r = open_entry(v, a, t, &as_open, &j, ret_fh);
	if (r && r != -EAGAIN && t->unique == a->unique)
		temps_end(v->temps, id_of(*ret_ino), TEMP_UNLINKED);
	return r;
}

int temporary_open(struct vault *v, const struct call *a, const struct open_ask *ask, uint64_t *ret_fh)
{
	struct verdict j = { 0 };
	struct temp *t;
	uint64_t ino;

	if (had_fh(v, a->unique, a->resent, &ino, ret_fh))
		return 0;
	if (a->patience < vault_record_waits(v))
		return -EAGAIN;
	t = temps_open(v->temps, id_of(ask->ino));
	if (!t)
		return -ENOENT;
	judge(v, a, t->secret, &j);
	if (!j.error && !owns(a, t))
		j.error = EACCES;
	if (!j.error && atomic_load(&t->state) != TEMP_LIVE)
		j.error = ENOENT;
	if (!j.error)
		return open_entry(v, a, t, ask, &j, ret_fh);
	temps_close(v->temps, t->id, t->used); /* who is refused keeps nothing alive */
	return refuse(v, a, &j, j.error);
}

void temporary_close(struct vault *v, uint64_t fh)
{
	const struct handle *h = handle_get(v->handles, fh);
	const uint64_t id = h ? h->of.temp.id : 0;

	access_close(v, fh);
	temps_close(v->temps, id, clock_monotonic());
}

/* ---- bytes ---- */

/* Its maker, with the right to set still there. 0 or negative errno. */
static int admit(struct vault *v, const struct call *a, uint64_t fh, struct temp **ret_temp)
{
	struct handle *h = handle_get(v->handles, fh);
	struct temp *t = h && h->kind == HANDLE_TEMP ? temps_get(v->temps, h->of.temp.id) : NULL;

	if (!t)
		return -EBADF;
	if (!owns(a, t))
		return -EACCES;
	*ret_temp = t;
	return -access_recheck(v, a, h, VERB_SET);
}

/* Room for so many bytes; those of what has ended are given back first. */
static int grow(struct vault *v, struct temp *t, uint64_t end)
{
	int r = staged_grow_of(v, &t->staged, t->neighbour, end);

	if (r == -EDQUOT)
		temporary_tick(v);
	return r == -EDQUOT ? staged_grow_of(v, &t->staged, t->neighbour, end) : r;
}

static int ensure_stage(struct vault *v, struct temp *t)
{
	uint64_t stage;
	int r = t->stage ? 0 : store_stage_new(v->store, &stage);

	if (!r && !t->stage)
		t->stage = stage;
	return r;
}

/* What the stage has become; and whether what was written can still be a version. */
static int settle(struct vault *v, struct temp *t, int r)
{
	struct stage_info info;

	if (r) {
		t->spoiled = 1;
		return r;
	}
	r = store_stage_stat(v->store, t->stage, &info);
	if (!r) {
		t->size = info.size;
		t->modified = clock_wall();
	}
	return r;
}

static int cut(struct vault *v, struct temp *t, uint64_t len, uint64_t unique)
{
	int r = ensure_stage(v, t);

	if (!r && len <= VALUE_MAX)
		r = grow(v, t, len);
	if (!r)
		r = store_stage_truncate(v->store, t->stage, unique, len);
	if (!r && !len)
		t->spoiled = 0;
	return settle(v, t, r);
}

int temporary_write(struct vault *v, const struct call *a, uint64_t fh, uint64_t offset, const void *data, size_t len)
{
	const struct handle *h = handle_get(v->handles, fh);
	struct temp *t;
	int r = admit(v, a, fh, &t);

	if (r)
		return r;
	if ((h->open_flags & O_ACCMODE) == O_RDONLY)
		return -EBADF;
	if (atomic_load(&t->state) == TEMP_REPLACED)
		return -ESTALE; /* it is a version by now, which never changes */
	const bool appends = h->open_flags & O_APPEND;
	const uint64_t end = (appends ? t->size : offset) + len;
	r = ensure_stage(v, t);
	if (!r && end <= VALUE_MAX)
		r = grow(v, t, end);
	if (!r)
		r = store_stage_write(v->store, t->stage, a->unique, appends ? STAGE_APPEND : offset, data, len);
	return settle(v, t, r);
}

int temporary_read(struct vault *v, const struct call *a, const struct read_ask *ask, struct secbuf *ret)
{
	struct temp *t;
	size_t got = 0;
	int r = admit(v, a, ask->fh, &t);

	if (!r && (handle_get(v->handles, ask->fh)->open_flags & O_ACCMODE) == O_WRONLY)
		r = -EBADF;
	if (!r && t->stage)
		r = store_stage_read(v->store, t->stage, ask->offset, secbuf_data(ret), secbuf_capacity(ret), &got);
	return r ? r : secbuf_set_len(ret, got);
}

void temporary_lost(struct vault *v, uint64_t fh, uint32_t uid)
{
	const struct handle *h = handle_get(v->handles, fh);
	struct temp *t = h && h->kind == HANDLE_TEMP && h->uid == uid ? temps_get(v->temps, h->of.temp.id) : NULL;

	if (t)
		t->spoiled = 1;
}

/* The nearest that ns since 1970 can say: a caller may ask for any second. */
static int64_t time_of(struct timespec at)
{
	const int64_t most = INT64_MAX / 1000000000 - 1, s = at.tv_sec;

	return (s > most ? most : s < 0 ? 0 : s) * 1000000000 + at.tv_nsec;
}

int temporary_set(struct vault *v, const struct call *a, uint64_t ino, const struct stat *want, int to_set)
{
	struct verdict j = { 0 };
	struct temp *t = temps_open(v->temps, id_of(ino));
	int r = 0;

	if (!t)
		return -ENOENT;
	judge(v, a, t->secret, &j);
	if (j.error || !owns(a, t))
		r = j.error == ENOKEY ? -ENOKEY : -EPERM;
	else if ((to_set & TEMPORARY_SIZE) && a->patience < WAITS_FOR_ALL)
		r = -EAGAIN;
	else if ((to_set & TEMPORARY_SIZE) && atomic_load(&t->state) == TEMP_REPLACED)
		r = -ESTALE;
	if (!r && (to_set & TEMPORARY_SIZE))
		r = cut(v, t, (uint64_t)want->st_size, a->unique);
	if (!r && (to_set & TEMPORARY_MODE))
		t->mode = want->st_mode & 0777;
	if (!r && (to_set & TEMPORARY_ATIME))
		t->accessed = time_of(want->st_atim);
	if (!r && (to_set & TEMPORARY_MTIME))
		t->modified = time_of(want->st_mtim);
	temps_close(v->temps, t->id, r ? t->used : clock_monotonic());
	return r;
}

/* ---- names ---- */

/* An administrator may take another's away: a lock that is held by a process whose user may not set any more, and whom
 * nobody can ask, is in the way of all who may. */
static int take_away(struct vault *v, const struct call *a, uint32_t secret)
{
	struct verdict j = { 0 };

	if (a->patience < vault_record_waits(v))
		return -EAGAIN;
	judge(v, a, secret, &j);
	if (j.error || strcmp(j.role, "administrator"))
		return -EPERM;
	return vault_record(v, a, AUDIT_SECRET_SET, &j, NULL) ? -EIO : 0;
}

int temporary_unlink(struct vault *v, const struct call *a, uint64_t parent, const char *name)
{
	struct inode dir;
	struct temp t;

	int r = 0;

	if (!inode_unpack(parent, &dir) || dir.type != INODE_SECRET || !temps_find(v->temps, dir.secret, name, &t))
		return a->resent && !temporary_check(parent, name) ? 0 : -EPERM; /* the worker before us did it */
	if (!owns(a, &t))
		r = take_away(v, a, dir.secret);
	if (!r)
		temps_end(v->temps, t.id, TEMP_UNLINKED);
	return r;
}

bool temporary_is_rename(struct vault *v, uint64_t parent, const char *name, uint64_t to, const char *to_name,
			 unsigned flags)
{
	(void)v;
	return parent == to && !temporary_check(parent, name) && !strcmp(to_name, "current") && !flags;
}

/* The kernel sends a request again when a worker died on it: its own unique, within this mount, says whether it was
 * done. */
static struct request_key key_of(struct vault *v, const struct call *a)
{
	struct request_key key = { .uid = UINT32_MAX,
				   .user_ns = v->shared->audit_head.connection,
				   .neighbour = a->neighbour };

	memcpy(key.id, "replace", 8);
	memcpy(key.id + 8, &a->unique, sizeof a->unique);
	return key;
}

/* What never was written is an empty value. */
static int make_ready(struct vault *v, struct temp *t)
{
	struct stage_info info;
	int r = ensure_stage(v, t);

	if (!r)
		r = store_stage_stat(v->store, t->stage, &info);
	if (!r && !info.dirty)
		r = store_stage_truncate(v->store, t->stage, 0, info.size);
	return r;
}

/* In the transaction, up to its end. *ret_promised: it is recorded as allowed, whatever came of it. */
static int replace(struct vault *v, const struct call *a, const struct temp *t, const struct request_key *key,
		   const uint8_t digest[DIGEST_LEN], struct verdict *j, bool *ret_promised)
{
	static const struct version_attributes plain = { .not_before = INT64_MIN, .expires = INT64_MAX };
	int r = store_begin(v->store);

	if (r)
		return r;
	/* what was allowed before the wait for the transaction may have been revoked by the one before */
	judge(v, a, t->secret, j);
	r = -j->error;
	if (!r)
		r = store_stage_commit(v->store, t->stage, t->secret, &plain, &j->version);
	if (!r)
		r = store_request_put(v->store, key, digest, "{}");
	if (!r)
		r = vault_record(v, a, AUDIT_SECRET_SET, j, NULL);
	if (r) {
		store_rollback(v->store);
		return r;
	}
	*ret_promised = true;
	r = vault_commit(v);
	if (!r)
		vault_changed(v, RINGS_ALL);
	return r;
}

int temporary_rename(struct vault *v, const struct call *a, uint64_t parent, const char *name)
{
	const struct request_key key = key_of(v, a);
	const struct bytes parts[] = { { &parent, sizeof parent }, { name, strlen(name) } };
	uint8_t digest[DIGEST_LEN];
	struct verdict j = { 0 };
	struct inode dir;
	struct temp found, *t;
	char *answer = NULL;
	bool promised = false;
	int r;

	if (a->patience < WAITS_FOR_ALL)
		return -EAGAIN;
	inode_unpack(parent, &dir);
	t = temps_find(v->temps, dir.secret, name, &found) ? temps_open(v->temps, found.id) : NULL;
	r = sha256(parts, 2, digest);
	/* the worker before us did it */
	if (!r && a->resent && !store_request_find(v->store, &key, digest, &answer)) {
		free(answer);
		links_begin(v, dir.secret, a->unique);
		goto out;
	}
	judge(v, a, dir.secret, &j);
	if (!r && !j.error)
		links_begin(v, dir.secret, a->unique);
	if (!r)
		r = j.error                                     ? -j.error
		    : !is_present(v, &dir) || !t || !owns(a, t) ? -EACCES
		    : t->spoiled                                ? -EIO
								: make_ready(v, t);
	if (!r)
		r = replace(v, a, t, &key, digest, &j, &promised);
	if (r) {
		j.error = -r;
		struct call failed = *a;
		failed.resent = a->resent && !promised;
		vault_record(v, &failed, AUDIT_SECRET_SET, &j, NULL);
	}
out:
	if (t && !r)
		temps_end(v->temps, t->id, TEMP_REPLACED);
	if (t)
		temps_close(v->temps, t->id, clock_monotonic());
	return r;
}

/* ---- what is seen of it ---- */

int temporary_stat(struct vault *v, const struct call *a, uint64_t ino, struct stat *st)
{
	struct temp t;

	if (!temps_copy(v->temps, id_of(ino), &t))
		return -ENOENT;
	st->st_mode = S_IFREG;
	st->st_nlink = 1;
	st->st_size = (off_t)t.size;
	st->st_blksize = 4096;
	st->st_blocks = (st->st_size + 511) / 512;
	st->st_mtim = st->st_ctim = (struct timespec){ .tv_sec = t.modified / 1000000000,
						       .tv_nsec = t.modified % 1000000000 };
	st->st_atim = (struct timespec){ .tv_sec = t.accessed / 1000000000, .tv_nsec = t.accessed % 1000000000 };
	/* the size is the kernel's, one for everybody; when somebody works at it is not for strangers */
	if (!owns(a, &t))
		st->st_atim = st->st_mtim = st->st_ctim = (struct timespec){ .tv_sec = v->shared->keeper.started /
										       1000000000 };
	if (owns(a, &t)) {
		st->st_mode |= t.mode;
		st->st_uid = a->uid;
		st->st_gid = a->gid;
	}
	return 0;
}

bool temporary_listed(const struct call *a, const struct temp *t, bool may_set)
{
	return owns(a, t) || (may_set && temps_is_lock(t->name));
}

/* ---- by itself ---- */

void temporary_tick(struct vault *v)
{
	struct temp *t;

	pthread_mutex_lock(&v->temps_lock); /* whoever waits for it finds all of it done */
	while ((t = temps_due(v->temps, clock_monotonic()))) {
		if (t->stage && store_stage_drop(v->store, t->stage) == -ETIMEDOUT)
			log_caused(LOG_WARNING, "bytes of a temporary file stay in the store until the next start");
		staged_drop_of(v, &t->staged, t->neighbour);
		temps_drop(v->temps, t);
	}
	pthread_mutex_unlock(&v->temps_lock);
}
