/* Identities: made of what was found of a thread, and shared. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "fs/caller/caller.h"
#include "fs/caller/findings.h"
#include "store/crypto/aead.h"

struct identity *identity_ref(struct identity *i)
{
	atomic_fetch_add_explicit(&i->refs, 1, memory_order_relaxed);
	return i;
}

void identity_unref(struct identity *i)
{
	if (i && atomic_fetch_sub_explicit(&i->refs, 1, memory_order_acq_rel) == 1)
		free(i);
}

static char *append(char **at, const char *text)
{
	size_t n = strlen(text) + 1;
	char *copy;

	if (n == 1)
		return NULL;
	copy = memcpy(*at, text, n);
	*at += n;
	return copy;
}

/* One block: the struct, the groups, the strings. */
struct identity *identity_new(const struct findings *f)
{
	const struct proc_status *s = &f->status;
	const char *strings[] = { s->comm, f->answer.exe, f->unit, f->container };
	size_t size = sizeof(struct identity) + (s->n_groups + f->n_account_groups) * sizeof(uint32_t);
	struct identity *i;

	for (size_t k = 0; k < sizeof(strings) / sizeof(strings[0]); k++)
		size += strlen(strings[k]) + 1;
	i = calloc(1, size);
	if (!i)
		return NULL;
	uint32_t *groups = (uint32_t *)(i + 1);
	uint32_t *account_groups = groups + s->n_groups;
	char *at = (char *)(account_groups + f->n_account_groups);
	if (s->n_groups > 0)
		memcpy(groups, s->groups, s->n_groups * sizeof(*groups));
	if (f->n_account_groups > 0)
		memcpy(account_groups, f->account_groups, f->n_account_groups * sizeof(*account_groups));
	atomic_init(&i->refs, 1);
	i->uid = f->uid;
	i->gid = f->gid;
	i->tid = f->tid;
	i->tgid = s->tgid ? s->tgid : f->tid;
	i->start_time = f->answer.start_time;
	i->user_ns = f->answer.user_ns;
	i->pid_ns = f->answer.pid_ns;
	i->mnt_ns = f->answer.mnt_ns;
	i->host = f->host;
	i->neighbour = f->neighbour;
	i->owner = f->owner;
	i->full = f->full;
	i->policy = (struct policy_caller){ .uid = f->uid,
					    .gid = f->gid,
					    .groups = groups,
					    .n_groups = s->n_groups,
					    .host = f->host,
					    .account = f->account,
					    .owner = f->owner,
					    .account_groups = account_groups,
					    .n_account_groups = f->n_account_groups };
	i->audit.uid = f->uid;
	i->audit.gid = f->gid;
	i->audit.pid = i->tgid;
	i->audit.loginuid = f->loginuid;
	i->audit.has_owner = f->owner != f->uid && f->owner != OWNER_UNKNOWN;
	i->audit.owner = f->owner;
	i->audit.neighbour = f->neighbour;
	i->audit.comm = append(&at, s->comm);
	i->audit.exe = append(&at, f->answer.exe);
	i->audit.unit = append(&at, f->unit);
	i->audit.container = append(&at, f->container);
	i->audit.groups_known = true;
	i->audit.groups = groups;
	i->audit.n_groups = s->n_groups;
	audit_caller_render(&i->audit);
	return i;
}

/* The digest of an identity is the first 16 bytes of SHA-256 over
 *
 *   "coffer identity 2" NUL | uid u32 | gid u32 | host u32 | owner u32 | number of groups u32 | groups u32… | user_ns
 *   u64 | pid_ns u64 | mnt_ns u64 | unit NUL | container NUL
 *
 * with integers as they lie in memory (a digest never leaves the machine) and groups sorted without duplicates. Neither
 * string can hold a NUL, and every count stands before what it counts: no two identities have one encoding. */
int identity_digest(struct identity *i, const struct findings *f)
{
	static const char label[] = "coffer identity 2";
	uint32_t head[5] = { i->uid, i->gid, i->host, i->owner, (uint32_t)i->policy.n_groups };
	uint64_t ns[3] = { i->user_ns, i->pid_ns, i->mnt_ns };
	struct bytes parts[] = {
		{ label, sizeof(label) },
		{ head, sizeof(head) },
		{ i->policy.groups, i->policy.n_groups * sizeof(uint32_t) },
		{ ns, sizeof(ns) },
		{ f->unit, strlen(f->unit) + 1 },
		{ f->container, strlen(f->container) + 1 },
	};
	uint8_t digest[DIGEST_LEN];
	int r;

	r = sha256(parts, sizeof(parts) / sizeof(parts[0]), digest);
	if (r == 0)
		memcpy(i->digest, digest, sizeof(i->digest));
	return r;
}

/* What the log may fold is of one process with one identity: the first bytes of SHA-256 over digest | tgid | start time
 * | executable. Of a process that nobody could look at nothing is folded. */
int identity_origin(struct identity *i)
{
	const char *exe = i->audit.exe ? i->audit.exe : "";
	const int64_t tgid = i->tgid;
	const struct bytes parts[] = { { i->digest, sizeof(i->digest) },
				       { &tgid, sizeof(tgid) },
				       { &i->start_time, sizeof(i->start_time) },
				       { exe, strlen(exe) } };
	uint8_t digest[DIGEST_LEN];

	if (!i->full || !i->start_time)
		return 0;
	int r = sha256(parts, sizeof(parts) / sizeof(parts[0]), digest);
	if (r == 0)
		memcpy(i->audit.origin, digest, sizeof(i->audit.origin));
	return r;
}
