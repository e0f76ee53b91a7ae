#include "fs/ctl/kinds.h"

const struct kind object_kinds[OBJECT_KINDS] = {
	[OBJECT_SECRET] = { .name = "secret",
			    .verbs = {
				    [VERB_GET] = { ACTION_SECRETS_GET, AUDIT_SECRET_GET },
				    [VERB_LIST] = { ACTION_SECRETS_LIST, AUDIT_SECRET_LIST_VERSIONS },
				    [VERB_SET] = { ACTION_SECRETS_SET, AUDIT_SECRET_SET },
				    [VERB_DELETE] = { ACTION_SECRETS_DELETE, AUDIT_SECRET_DELETE },
				    [VERB_RECOVER] = { ACTION_SECRETS_RECOVER, AUDIT_SECRET_RECOVER },
				    [VERB_PURGE] = { ACTION_SECRETS_PURGE, AUDIT_SECRET_PURGE },
			    } },
#ifdef COFFER_TEST_HOOKS /* a kind that two rows have brought: this one and its files (fs/serve/kind_files.c) */
	[OBJECT_CERTIFICATE] = { .name = "certificate",
				 .verbs = {
					 [VERB_GET] = { ACTION_CERTIFICATES_GET, AUDIT_SECRET_GET },
					 [VERB_LIST] = { ACTION_CERTIFICATES_LIST, AUDIT_SECRET_LIST_VERSIONS },
					 [VERB_SET] = { ACTION_CERTIFICATES_CREATE, AUDIT_SECRET_SET },
					 [VERB_DELETE] = { ACTION_CERTIFICATES_DELETE, AUDIT_SECRET_DELETE },
					 [VERB_RECOVER] = { ACTION_CERTIFICATES_RECOVER, AUDIT_SECRET_RECOVER },
					 [VERB_PURGE] = { ACTION_CERTIFICATES_PURGE, AUDIT_SECRET_PURGE },
				 } },
#endif
};

bool kind_known(const struct catalog_secret *s) { return s && s->kind < OBJECT_KINDS && object_kinds[s->kind].name; }

const struct kind *kind_of(const struct catalog_secret *s)
{
	return &object_kinds[kind_known(s) ? s->kind : OBJECT_SECRET];
}

bool kinds_may_any(const struct policy *p, const struct policy_caller *caller, enum verb verb, int64_t now)
{
	for (int k = 0; k < OBJECT_KINDS; k++)
		if (object_kinds[k].name &&
		    policy_decide_any(p, caller, object_kinds[k].verbs[verb].action, now) == POLICY_ALLOW)
			return true;
	return false;
}
