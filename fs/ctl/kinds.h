/* The kinds of object that a vault keeps, a row each: what their verbs are called in the policy and in the log. Secrets
 * are the first. A kind that has no row here is one that a newer coffer made: nothing of it is served. */
#ifndef COFFER_FS_CTL_KINDS_H
#define COFFER_FS_CTL_KINDS_H

#include "policy/policy.h"
#include "store/audit/record.h"
#include "store/core/catalog.h"

/* What is done with any object through the file system. */
enum verb { VERB_GET, VERB_LIST, VERB_SET, VERB_DELETE, VERB_RECOVER, VERB_PURGE, VERBS };

struct kind {
	const char *name;
	struct {
		enum action action;
		enum audit_operation operation;
	} verbs[VERBS];
};

extern const struct kind object_kinds[OBJECT_KINDS];

/* Is it of a kind that has a row? NULL: no object, no. */
bool kind_known(const struct catalog_secret *s);
/* Its row; of no object, and of one that has none: the secrets' row, so that a question about a name that is not there
 * has an answer. */
const struct kind *kind_of(const struct catalog_secret *s);
static inline enum action kind_action(const struct catalog_secret *s, enum verb verb)
{
	return kind_of(s)->verbs[verb].action;
}
static inline enum audit_operation kind_operation(const struct catalog_secret *s, enum verb verb)
{
	return kind_of(s)->verbs[verb].operation;
}
/* May the caller do this to some object of some kind? */
bool kinds_may_any(const struct policy *p, const struct policy_caller *caller, enum verb verb, int64_t now);

#endif
