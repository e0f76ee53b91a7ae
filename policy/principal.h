/* Who a binding speaks of: a conjunction of conditions on the caller.
 *
 *   principal = condition *( "," condition )        at most PRINCIPAL_CONDITIONS, no condition twice, at most one user
 *   condition = "user:" ID | "group:" ID | "host" | "everyone"
 *
 * Commas narrow: "user:1000,host" is uid 1000 outside every container. A group condition holds for the caller's primary
 * group and each supplementary one. Several group conditions must all hold. ID is decimal; names are resolved by the
 * caller of principal_parse through a callback, because the number is what is kept. Two users are refused rather than
 * kept: nobody is both, and who writes "user:1,user:2" means something that commas do not say. */
#ifndef COFFER_POLICY_PRINCIPAL_H
#define COFFER_POLICY_PRINCIPAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PRINCIPAL_CONDITIONS 8
#define PRINCIPAL_TEXT_MAX   256 /* bytes with the NUL, of the canonical text */

/* What else is known of whose process it is, for what refuses (policy/block.h). */
enum policy_account {
	POLICY_ACCOUNT_OWN = 0, /* uid and groups say all */
	/* in a user namespace, or by a subordinate uid: owner and account_groups say the rest */
	POLICY_ACCOUNT_KNOWN,
	POLICY_ACCOUNT_UNKNOWN, /* the same, and its groups could not be looked up */
};
#define POLICY_OWNER_UNKNOWN UINT32_MAX

/* What is known of the process that asks. Groups are borrowed, sorted ascending, without duplicates, and need not
 * contain gid. host is true only where it was established; doubt is false. */
struct policy_caller {
	uint32_t uid;
	uint32_t gid;
	const uint32_t *groups;
	size_t n_groups;
	bool host;
	enum policy_account account;
	/* but for OWN: the user of the machine whose process it is, or POLICY_OWNER_UNKNOWN */
	uint32_t owner;
	const uint32_t *account_groups; /* KNOWN: every group that the owner's and the uid's accounts are in */
	size_t n_account_groups;
};

enum principal_kind {
	PRINCIPAL_NONE = 0, /* matches nobody: zeroed memory denies */
	PRINCIPAL_EVERYONE,
	PRINCIPAL_USER,
	PRINCIPAL_GROUP,
	PRINCIPAL_HOST,
#ifdef COFFER_TEST_HOOKS
	PRINCIPAL_TEST,
#endif
	PRINCIPAL_KINDS
};

struct principal_condition {
	enum principal_kind kind;
	uint32_t id; /* USER, GROUP */
};

struct principal {
	size_t n;
	struct principal_condition conditions[PRINCIPAL_CONDITIONS];
};

/* Turns a user's or group's name into its number: 0 and *ret_id, or a negative errno. */
typedef int (*principal_resolve_fn)(enum principal_kind kind, const char *name, void *arg, uint32_t *ret_id);

/* Parses text. resolve may be NULL: names then are an error. The id 4294967295 (-1) and numbers with a leading zero are
 * refused. 0, -EINVAL (form, empty, too many, twice, two users), or what resolve returned (-ENOENT: a name that it does
 * not know); *ret_principal is written only on success, in canonical order. */
int principal_parse(const char *text, principal_resolve_fn resolve, void *arg, struct principal *ret_principal);

/* True for what principal_parse could have returned, in any order: 1 to PRINCIPAL_CONDITIONS conditions of known kinds,
 * none twice, at most one user, ids below 4294967295, and 0 where the kind has none. */
bool principal_valid(const struct principal *p);

/* Prints the canonical text: conditions in the order user, group (ascending), host, everyone; numbers; equal principals
 * print equal. Always NUL-terminated. */
void principal_print(const struct principal *p, char ret_text[PRINCIPAL_TEXT_MAX]);

/* True when every condition holds and there is at least one. Says nothing of the caller's account: who gives a right
 * asks this. */
bool principal_match(const struct principal *p, const struct policy_caller *caller);

/* Is a group among the caller's own? Among these, sorted? */
bool principal_in_group(const struct policy_caller *caller, uint32_t gid);
bool principal_has_group(const uint32_t *groups, size_t n, uint32_t gid);

#endif
