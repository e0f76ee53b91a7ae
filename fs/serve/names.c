#include "fs/serve/names.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fs/common/clock.h"
#include "fs/serve/appear.h"
#include "fs/serve/at.h"
#include "fs/serve/entries.h"
#include "fs/serve/kind_files.h"
#include "fs/serve/name_change.h"
#include "fs/serve/recheck.h"
#include "fs/serve/record.h"
#include "fs/serve/temporary.h"
#include "store/core/tables.h"
#include "store/objects/objects.h"

#define REQUEST_NAME_LEN 14u

/* "3", but not "03", "+3" or "3x". 0: not a version's name. */
static uint32_t parse_version(const char *name)
{
	uint32_t n = 0;
	if (*name == '0')
		return 0;
	for (; *name; name++) {
		if (*name < '0' || *name > '9' || n > INODE_LOW_MAX / 10)
			return 0;
		n = n * 10 + (uint32_t)(*name - '0');
	}
	return n <= INODE_LOW_MAX ? n : 0;
}

/* 14 hex digits, as the bits of a request's inode. */
static int lookup_request(const char *name, struct inode *ret)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < REQUEST_NAME_LEN; i++) {
		const char c = name[i];
		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
			return -ENOENT;
		bits = bits << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
	}
	if (name[REQUEST_NAME_LEN])
		return -ENOENT;
	*ret = (struct inode){ .type = INODE_REQUEST,
			       .secret = (uint32_t)(bits >> 28),
			       .low = (uint32_t)(bits & INODE_LOW_MAX) };
	return 0;
}

static struct inode secret_dir(const struct catalog_secret *s)
{
	return (struct inode){ .type = INODE_SECRET, .secret = s->id };
}

/* Of a deleted secret too: what is bound or stood in goes on resolving, and is whole again when it is recovered. OPEN
 * is what refuses it. Of one that is purged nothing is found. */
static int lookup_in_secret(struct vault *v, const struct inode *dir, const char *name, struct inode *ret)
{
	const struct catalog_secret *s = store_get(v->store, dir->secret);
	const struct catalog_version *c;
	struct temp temp;
	uint32_t place;

	if (!kind_known(s))
		return -ENOENT;
	if (dir->type == INODE_SECRET && kind_file_named(s, name, &place)) {
		*ret = kind_file_inode(s, place);
	} else if (dir->type == INODE_VERSIONS && (c = catalog_version(s, parse_version(name))) && !c->destroyed) {
		*ret = (struct inode){ .type = INODE_VERSION, .secret = s->id, .low = c->number };
	} else if (dir->type == INODE_SECRET && temps_find(v->temps, s->id, name, &temp)) {
		*ret = (struct inode){ .type = INODE_TEMP,
				       .secret = (uint32_t)(temp.id >> 28),
				       .low = (uint32_t)(temp.id & INODE_LOW_MAX) };
	} else {
		return -ENOENT;
	}
	return 0;
}

static int lookup_in_root(struct vault *v, const char *name, struct inode *ret)
{
	if (!strcmp(name, ".coffer")) {
		*ret = (struct inode){ .type = INODE_OWN, .low = OWN_DIR };
		return 0;
	}
	const struct catalog_secret *s = store_find(v->store, name);
	if (!kind_known(s))
		return -ENOENT;
	*ret = secret_dir(s);
	return 0;
}

static int lookup_in_deleted(struct vault *v, const char *name, struct inode *ret)
{
	const struct catalog_secret *s = store_find_deleted(v->store, name);
	if (!kind_known(s))
		return -ENOENT;
	*ret = secret_dir(s);
	return 0;
}

int names_lookup(struct vault *v, uint64_t parent, const char *name, uint64_t *ret_ino)
{
	struct inode dir, found;
	int r = -ENOENT;

	if (strlen(name) > NAME_LEN_MAX)
		return -ENAMETOOLONG;
	if (!inode_unpack(parent, &dir))
		return -ENOENT;
	if (dir.type == INODE_OWN && dir.low == OWN_DIR) {
		for (enum inode_own k = OWN_DIR + 1; k < OWN_END; k++)
			if (entries[k].name && !strcmp(name, entries[k].name)) {
				*ret_ino = inode_own(k);
				return 0;
			}
		return -ENOENT;
	}
	if (dir.type == INODE_OWN && dir.low == OWN_REQUESTS) {
		r = lookup_request(name, &found);
		if (!r)
			*ret_ino = inode_pack(&found);
		return r;
	}
	store_rdlock(v->store);
	if (dir.type == INODE_ROOT)
		r = lookup_in_root(v, name, &found);
	else if (dir.type == INODE_OWN && dir.low == OWN_DELETED)
		r = lookup_in_deleted(v, name, &found);
	else if ((dir.type == INODE_OWN && dir.low == OWN_AT) || at_is_volatile(&dir))
		r = at_lookup(v, &dir, name, &found);
	else if (dir.type == INODE_SECRET || dir.type == INODE_VERSIONS)
		r = lookup_in_secret(v, &dir, name, &found);
	store_unlock_tables(v->store);
	if (!r && dir.type == INODE_ROOT && found.type == INODE_SECRET && appear_is_hidden(v, found.secret))
		r = -ENOENT;
	if (!r)
		*ret_ino = inode_pack(&found);
	return r;
}

/* ---- listing ---- */

typedef int (*entry_fn)(const struct names_entry *e, void *arg);

/* Offsets: 0 is ".", 1 is "..", n + 2 stands behind what has the number n. */
static int list_dots(uint64_t ino, uint64_t *offset, entry_fn fn, void *arg)
{
	int r = 0;
	if (*offset == 0) {
		r = fn(&(struct names_entry){ ".", ino, 1 }, arg);
		*offset = 1;
	}
	if (!r && *offset == 1) {
		r = fn(&(struct names_entry){ "..", ino, 2 }, arg);
		*offset = 2;
	}
	return r;
}

/* Of the vault's directory, or of .coffer/deleted. */
static void list_secrets(struct vault *v, const struct identity *who, bool deleted, uint64_t offset, entry_fn fn,
			 void *arg)
{
	const int64_t now = clock_wall();
	const uint32_t mark = deleted ? UINT32_MAX : appear_mark(v);
	const struct policy *p = store_policy(v->store);
	struct policy_answer a;

	if (!vault_may_any(v, who, VERB_LIST))
		return;
	for (const struct catalog_secret *s = store_next(v->store, (uint32_t)(offset - 2), deleted); s;
	     s = store_next(v->store, s->id, deleted)) {
		if (!kind_known(s) || appear_unlisted(v, mark, s->id))
			continue;
		policy_decide(p, &who->policy, kind_action(s, VERB_LIST), s->name, now, &a);
		struct inode i = secret_dir(s);
		if (a.decision == POLICY_ALLOW &&
		    fn(&(struct names_entry){ s->name, inode_pack(&i), (uint64_t)s->id + 2 }, arg))
			return;
	}
}

static int list_versions(struct vault *v, const struct identity *who, const struct inode *dir, uint64_t offset,
			 entry_fn fn, void *arg)
{
	const struct catalog_secret *s = store_get(v->store, dir->secret);
	char name[16];

	if (!s)
		return 0;
	if (!who)
		return -EACCES;
	if (store_sealed(v->store))
		return -ENOKEY;
	action_set can = policy_actions(store_policy(v->store), &who->policy, s->name, clock_wall());
	if (!(can & (ACTION_BIT(kind_action(s, VERB_LIST)) | ACTION_BIT(kind_action(s, VERB_GET)))))
		return -EACCES;
	for (uint32_t k = 0; k < s->n_versions; k++) {
		uint32_t n = s->versions[k].number;
		if (s->versions[k].destroyed)
			continue;
		struct inode i = { .type = INODE_VERSION, .secret = s->id, .low = n };
		snprintf(name, sizeof name, "%u", n);
		if ((uint64_t)n + 2 > offset && fn(&(struct names_entry){ name, inode_pack(&i), (uint64_t)n + 2 }, arg))
			return 0;
	}
	return 0;
}

static int list_fixed(const struct names_entry *given, size_t n, uint64_t offset, entry_fn fn, void *arg)
{
	for (size_t k = 0; k < n; k++)
		if (k + 3 > offset) {
			struct names_entry e = { given[k].name, given[k].ino, k + 3 };
			if (fn(&e, arg))
				return 0;
		}
	return 0;
}

struct stopping {
	entry_fn fn;
	void *arg;
	bool *full;
};

static int until_full(const struct names_entry *e, void *arg)
{
	const struct stopping *s = arg;
	const int r = s->fn(e, s->arg);

	*s->full = r != 0;
	return r;
}

/* Behind what each secret has; the place in the table is the offset. */
#define TEMPS_FROM 16u
_Static_assert(KIND_FILES + 2 < TEMPS_FROM, "files are numbered from 3");

static int list_temps(struct vault *v, const struct call *call, const struct catalog_secret *s, uint64_t offset,
		      entry_fn fn, void *arg)
{
	const struct identity *who = call_trusted(call);
	uint32_t at = offset > TEMPS_FROM ? (uint32_t)(offset - TEMPS_FROM) : 0;
	struct temp t;
	int may_set = -1; /* not asked yet */

	while (who && offset < TEMPS_FROM + TEMPS_MAX && temps_next(v->temps, s->id, &at, &t)) {
		if (may_set < 0)
			may_set = (policy_actions(store_policy(v->store), &who->policy, s->name, clock_wall()) &
				   ACTION_BIT(kind_action(s, VERB_SET))) != 0;
		if (!temporary_listed(call, &t, may_set))
			continue;
		struct inode i = { .type = INODE_TEMP,
				   .secret = (uint32_t)(t.id >> 28),
				   .low = (uint32_t)(t.id & INODE_LOW_MAX) };
		if (fn(&(struct names_entry){ t.name, inode_pack(&i), TEMPS_FROM + at }, arg))
			return 0;
	}
	return 0;
}

static int list_secret(struct vault *v, const struct call *call, const struct inode *dir, uint64_t offset, entry_fn fn,
		       void *arg)
{
	const struct catalog_secret *s = store_get(v->store, dir->secret);
	if (!s)
		return 0;
	struct names_entry e[KIND_FILES];
	const struct kind_file *f;
	size_t n = 0;
	for (; (f = kind_file_at(s, (uint32_t)n)); n++) {
		const struct inode i = kind_file_inode(s, (uint32_t)n);
		e[n] = (struct names_entry){ f->name, inode_pack(&i), 0 };
	}
	bool full = false;
	struct stopping stopping = { fn, arg, &full };
	if (offset < TEMPS_FROM)
		list_fixed(e, n, offset, until_full, &stopping);
	return full ? 0 : list_temps(v, call, s, offset, fn, arg);
}

static int list_own(uint64_t offset, entry_fn fn, void *arg)
{
	struct names_entry e[OWN_END];
	size_t n = 0;

	for (enum inode_own k = OWN_DIR + 1; k < OWN_END; k++)
		if (entries[k].name && !entries[k].hidden)
			e[n++] = (struct names_entry){ entries[k].name, inode_own(k), 0 };
	return list_fixed(e, n, offset, fn, arg);
}

static bool is_deleted(const struct inode *dir) { return dir->type == INODE_OWN && dir->low == OWN_DELETED; }

static bool is_recorded(const struct inode *dir)
{
	return dir->type == INODE_ROOT || dir->type == INODE_VERSIONS || dir->type == INODE_EPOCH || is_deleted(dir);
}

uint64_t names_opendir(struct vault *v, uint32_t uid, uint32_t gid, pid_t tid, uint64_t ino, uint64_t unique,
		       bool resent)
{
	struct handle *h;
	struct inode dir;
	uint64_t fh;

	if (!inode_unpack(ino, &dir) || !is_recorded(&dir))
		return 0;
	if (resent && handle_by_unique(v->handles, unique, &fh))
		return fh;
	const struct handle_ask wanted = {
		.unique = unique, .neighbour = vault_neighbour_guess(v, uid), .uid = uid, .kind = HANDLE_DIR
	};
	if (handle_new(v->handles, &wanted, &h))
		return 0; /* without one each piece of the listing has a record of its own */
	h->ino = ino;
	h->gid = gid;
	h->tgid = tid;
	return handle_publish(v->handles, h);
}

static void judge_listing(struct vault *v, const struct call *call, const struct inode *dir, struct verdict *j)
{
	const struct identity *who = call_trusted(call);

	if (dir->type == INODE_VERSIONS) {
		const struct catalog_secret *s = store_get(v->store, dir->secret);
		if (!s)
			return;
		vault_copy_name(j->name, sizeof j->name, s->name);
		vault_decide_locked(v, who, kind_action(s, VERB_LIST), s->name, j);
		if (j->error == EACCES)
			vault_decide_locked(v, who, kind_action(s, VERB_GET), s->name, j);
		return;
	}
	j->error = store_sealed(v->store) ? ENOKEY : EACCES;
	if (vault_may_any(v, who, VERB_LIST)) {
		j->error = 0;
		j->decision = POLICY_ALLOW;
	}
}

/* 0, or -EIO: it would list names, and that cannot be logged. */
static int record_listing(struct vault *v, const struct call *call, const struct inode *dir)
{
	struct verdict j = { 0 };

	store_rdlock(v->store);
	judge_listing(v, call, dir, &j);
	store_unlock_tables(v->store);
	if (dir->type == INODE_VERSIONS && !j.name[0]) /* a secret that is gone: nothing to list */
		return 0;
	const enum audit_operation operation = is_deleted(dir)               ? AUDIT_SECRET_LIST_DELETED
					       : dir->type == INODE_VERSIONS ? AUDIT_SECRET_LIST_VERSIONS
									     : AUDIT_SECRET_LIST;
	return vault_record(v, call, operation, &j, NULL) && !j.error ? -EIO : 0;
}

/* seekdir(3) lists from anywhere: so it is not the offset that says whether this one was recorded. */
static int record_once(struct vault *v, const struct call *call, const struct inode *dir, uint64_t fh, uint64_t ino,
		       uint64_t offset)
{
	struct handle *h = fh ? handle_get(v->handles, fh) : NULL;

	if (h && (h->kind != HANDLE_DIR || h->ino != ino))
		h = NULL;
	if (h && call->who && offset != 0 && access_looked(h, call->who))
		return 0;
	int r = record_listing(v, call, dir);
	if (!r && h && call->who)
		access_note_look(h, call->who);
	return r;
}

int names_list(struct vault *v, const struct call *call, uint64_t fh, uint64_t ino, uint64_t offset, entry_fn fn,
	       void *arg)
{
	struct inode dir;
	int r = 0;

	if (!inode_unpack(ino, &dir) || !inode_is_dir(&dir))
		return -ENOTDIR;
	if (is_recorded(&dir))
		r = record_once(v, call, &dir, fh, ino, offset);
	if (r) /* no name is given away that the log does not know of */
		return r;
	if (list_dots(ino, &offset, fn, arg))
		return 0;
	store_rdlock(v->store);
	if (dir.type == INODE_ROOT || is_deleted(&dir))
		list_secrets(v, call_trusted(call), is_deleted(&dir), offset, fn, arg);
	else if ((dir.type == INODE_OWN && dir.low == OWN_AT) || at_is_volatile(&dir))
		at_list(v, call_trusted(call), &dir, offset, fn, arg);
	else if (dir.type == INODE_OWN)
		r = list_own(offset, fn, arg);
	else if (dir.type == INODE_VERSIONS)
		r = list_versions(v, call_trusted(call), &dir, offset, fn, arg);
	else
		r = list_secret(v, call, &dir, offset, fn, arg);
	store_unlock_tables(v->store);
	return r;
}

/* ---- mkdir ---- */

static uint32_t find_live(struct vault *v, const char *name)
{
	store_rdlock(v->store);
	const struct catalog_secret *s = store_find(v->store, name);
	const uint32_t id = s ? s->id : 0;
	store_unlock_tables(v->store);
	return id;
}

static int run_mkdir(struct vault *v, const char *name)
{
	uint32_t id;
	return store_secret_create(v->store, name, &id);
}

int names_check_mkdir(uint64_t parent, const char *name)
{
	struct inode dir;

	if (strlen(name) > NAME_LEN_MAX)
		return -ENAMETOOLONG;
	return inode_unpack(parent, &dir) && dir.type == INODE_ROOT && name_valid(name) ? 0 : -EPERM;
}

int names_mkdir(struct vault *v, const struct call *call, uint64_t parent, const char *name, uint64_t *ret_ino)
{
	const struct name_change c = { .request = "mkdir", .verb = VERB_SET, .name = name, .run = run_mkdir };
	int r = names_check_mkdir(parent, name);

	if (!r)
		r = name_change(v, call, &c);
	if (r)
		return r;
	appear_at_once(v, find_live(v, name));
	return names_lookup(v, parent, name, ret_ino);
}
