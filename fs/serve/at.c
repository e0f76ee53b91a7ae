#include "fs/serve/at.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fs/common/clock.h"
#include "fs/serve/decide.h"
#include "fs/serve/kind_files.h"
#include "store/core/tables.h"

/* "7", but not "07", "0" or "+7". 0: not an epoch's name. */
static uint32_t parse_epoch(const char *name)
{
	uint64_t n = 0;

	if (*name == '0')
		return 0;
	for (; *name; name++) {
		if (*name < '0' || *name > '9' || n > INODE_EPOCH_MAX / 10)
			return 0;
		n = n * 10 + (uint64_t)(*name - '0');
	}
	return n <= INODE_EPOCH_MAX ? (uint32_t)n : 0;
}

/* What was current then, or NULL: the secret was not there yet, had no version, or is deleted now; or that version's
 * content is gone, and an older one would be no part of that epoch. */
static const struct catalog_version *version_at(const struct catalog_secret *s, uint32_t epoch)
{
	const bool serves = s && !s->deleted && kind_file_typed(s, INODE_CURRENT);
	const struct catalog_version *c = serves ? catalog_version_at(s, epoch) : NULL;

	return c && !c->destroyed ? c : NULL;
}

int at_lookup(struct vault *v, const struct inode *dir, const char *name, struct inode *ret)
{
	const struct catalog_secret *s;
	const struct catalog_version *c;
	uint32_t epoch;

	switch ((int)dir->type) {
	case INODE_OWN:
		epoch = parse_epoch(name);
		if (!epoch || epoch > store_epoch(v->store))
			return -ENOENT;
		*ret = (struct inode){ .type = INODE_EPOCH, .low = epoch };
		return 0;
	case INODE_EPOCH:
		s = store_find(v->store, name);
		if (!version_at(s, dir->low))
			return -ENOENT;
		*ret = (struct inode){ .type = INODE_AT, .secret = s->id, .low = dir->low };
		return 0;
	case INODE_AT:
		c = version_at(store_get(v->store, dir->secret), dir->low);
		if (!c || strcmp(name, "current") != 0)
			return -ENOENT;
		*ret = (struct inode){ .type = INODE_VERSION, .secret = dir->secret, .low = c->number };
		return 0;
	default:
		return -ENOENT;
	}
}

/* Offsets as everywhere: n + 2 stands behind what has the number n. */
static void list_epoch(struct vault *v, const struct identity *who, uint32_t epoch, uint64_t offset,
		       int (*fn)(const struct names_entry *e, void *arg), void *arg)
{
	const int64_t now = clock_wall();
	const struct policy *p = store_policy(v->store);
	struct policy_answer a;

	if (!vault_may_any(v, who, VERB_LIST))
		return;
	for (const struct catalog_secret *s = store_next(v->store, (uint32_t)(offset - 2), false); s;
	     s = store_next(v->store, s->id, false)) {
		const struct inode i = { .type = INODE_AT, .secret = s->id, .low = epoch };
		if (!version_at(s, epoch))
			continue;
		policy_decide(p, &who->policy, kind_action(s, VERB_LIST), s->name, now, &a);
		if (a.decision == POLICY_ALLOW &&
		    fn(&(struct names_entry){ s->name, inode_pack(&i), (uint64_t)s->id + 2 }, arg))
			return;
	}
}

void at_list(struct vault *v, const struct identity *who, const struct inode *dir, uint64_t offset,
	     int (*fn)(const struct names_entry *e, void *arg), void *arg)
{
	uint64_t now = store_epoch(v->store);
	char name[24] = "current";
	struct inode i;

	if (dir->type == INODE_EPOCH) {
		list_epoch(v, who, dir->low, offset, fn, arg);
		return;
	}
	if (offset > 2)
		return;
	if (dir->type == INODE_AT) {
		const struct catalog_version *c = version_at(store_get(v->store, dir->secret), dir->low);
		if (!c)
			return;
		i = (struct inode){ .type = INODE_VERSION, .secret = dir->secret, .low = c->number };
	} else {
		if (now > INODE_EPOCH_MAX)
			return;
		snprintf(name, sizeof name, "%llu", (unsigned long long)now);
		i = (struct inode){ .type = INODE_EPOCH, .low = (uint32_t)now };
	}
	fn(&(struct names_entry){ name, inode_pack(&i), 3 }, arg);
}
