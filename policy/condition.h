/* The kinds of condition, a row each: how it is written, whom it lets through, and whom it could. Parsing, printing,
 * validity, the index of the snapshot, decisions and blocks all go by the rows; another condition over what is known of
 * a caller (struct policy_caller) is a number and a row. For the files of policy/, and for whoever supposes a caller
 * (can-i). */
#ifndef COFFER_POLICY_CONDITION_H
#define COFFER_POLICY_CONDITION_H

#include "policy/principal.h"

/* The ids at which bindings or blocks could stand that speak of a caller by one kind of condition. */
struct condition_ids {
	bool one;
	uint32_t id;            /* if one */
	const uint32_t *sorted; /* borrowed from the caller; ascending, without duplicates */
	size_t n;
	bool all; /* it is not known which: any could */
};

/* A caller that somebody asks about and that need not exist. */
#define SUPPOSED_GROUPS 1024
struct supposed_caller {
	struct policy_caller caller;
	bool has_user;
	uint32_t groups[SUPPOSED_GROUPS]; /* caller.n_groups of them, as they were supposed */
};

struct condition_kind {
	const char *word; /* NULL: no such kind */
	bool has_id;      /* behind the word comes an id */
	bool once;        /* a principal has at most one: nobody is two of them */
	bool blocks;      /* a block may have it (policy/block.h) */
	uint8_t rank;     /* from 1, what lets the fewest through: the canonical order, and where a binding stands */
	/* Does it hold for this caller? Asked by what gives. */
	bool (*holds)(const struct policy_caller *caller, uint32_t id);
	/* Could it, by all that is known of the account behind the caller? Asked by what refuses: doubt is yes. */
	bool (*could_hold)(const struct policy_caller *caller, uint32_t id);
	/* The ids for which it holds; and those, besides, for which it could. */
	struct condition_ids (*ids)(const struct policy_caller *caller);
	struct condition_ids (*account_ids)(const struct policy_caller *caller);
	/* Makes it hold. 0, or -EINVAL: there is another already, or too many. */
	int (*suppose)(struct supposed_caller *to, uint32_t id);
};

/* NULL: the number is no kind's. */
const struct condition_kind *condition_kind(enum principal_kind kind);

/* Somebody for whom nothing holds but what holds for everyone; condition after condition; and then its groups in order.
 */
void supposed_begin(struct supposed_caller *s);
int supposed_add(struct supposed_caller *s, const struct principal_condition *c);
void supposed_end(struct supposed_caller *s);

#endif
