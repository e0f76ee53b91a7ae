/* What a clock has caused already, per secret, and how far each hook has come in the stream of events. Both are written
 * in the transaction that they belong to, so that whatever dies, nothing is told, or rotated, twice. */
#ifndef COFFER_STORE_LIFECYCLE_MARKS_H
#define COFFER_STORE_LIFECYCLE_MARKS_H

#include <stdint.h>

#include "store/core/tables.h"

struct rotation;

int mark_forget(struct store *s, uint32_t secret); /* in the transaction */

#define HOOK_WHY_MAX 256
enum { TOLD_NEAR = 1, TOLD_EXPIRED = 2, TOLD_ROTATION = 4 };

/* About the version that current serves. It holds for that version and expiry alone. */
struct mark {
	uint32_t secret, version;
	int64_t expires;
	uint32_t told;     /* TOLD_… */
	uint32_t failures; /* rotations that failed in a row … */
	int64_t retry;     /* … and when the next is tried, ns */
};
/* Secrets without a mark have a zeroed one. */
int store_mark_get(struct store *s, uint32_t secret, struct mark *ret);
int store_marks_each(struct store *s, int (*fn)(const struct mark *m, void *arg), void *arg);
int store_mark_put(struct store *s, const struct mark *m); /* in the transaction */

/* What is due next for a secret by its policy (NULL: none), its current version (NULL: none) and its mark. */
enum due_kind { DUE_NOTHING = 0, DUE_NEAR_EXPIRY, DUE_EXPIRED, DUE_NOTIFY, DUE_ROTATE };
struct due {
	enum due_kind kind;
	int64_t at; /* ns; INT64_MAX: never */
};
struct due lifecycle_due(const struct rotation *policy, const struct catalog_version *current, const struct mark *mark,
			 uint32_t near_days);

/* How far a hook has come: everything before `delivered` is done with. */
struct hook_place {
	uint64_t delivered;
	uint32_t attempts;      /* of what comes next, that failed */
	int64_t retry;          /* ns */
	char why[HOOK_WHY_MAX]; /* of the last one that failed; "": none. Nothing that a program said */
};
int store_hook_place(struct store *s, uint64_t hook, struct hook_place *ret);             /* -ENOENT */
int store_hook_place_put(struct store *s, uint64_t hook, const struct hook_place *place); /* in the transaction */

#endif
