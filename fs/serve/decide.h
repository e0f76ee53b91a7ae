/* A decision, with what the audit record needs of it. */
#ifndef COFFER_FS_SERVE_DECIDE_H
#define COFFER_FS_SERVE_DECIDE_H

#include "fs/serve/vault.h"
#include "fs/ctl/kinds.h"

/* A decision with what the audit record needs of it, copied out of the tables so that no lock is held. */
struct verdict {
	int error; /* 0: go on; positive errno otherwise */
	enum policy_decision decision;
	uint64_t binding;
	uint64_t set_binding; /* of an open for writing: what lets in its commits */
	int64_t valid_until;
	uint64_t epoch;
	char role[ROLE_NAME_MAX];
	struct principal principal; /* whom the binding speaks of */
	char name[NAME_LEN_MAX + 1];
	uint32_t secret, version, size;
	bool newest; /* version is what current serves */
};

/* Copies a name into a fixed field: what snprintf does, without its price on the read path. */
void vault_copy_name(char *ret, size_t room, const char *name);

/* Asks the policy about an action on a name (NULL: the vault). who may be NULL: denied. */
void vault_decide(struct vault *v, const struct identity *who, enum action action, const char *name,
		  struct verdict *ret_verdict);
/* The same under a table lock that the caller holds. */
void vault_decide_locked(struct vault *v, const struct identity *who, enum action action, const char *name,
			 struct verdict *ret_verdict);

/* May this one do so to some object of some kind? NULL, and anybody while the vault is sealed: no. Under a table lock
 * that the caller holds. */
bool vault_may_any(struct vault *v, const struct identity *who, enum verb verb);

/* One who must be able to act when others have used up what there is: whoever may grant, and root of the host (a sealed
 * vault knows no policy). */
bool vault_is_administrator(struct vault *v, const struct identity *who);

#endif
