/* May a caller act through an open file: asked again whenever the decision has aged, or another one acts. */
#ifndef COFFER_FS_SERVE_RECHECK_H
#define COFFER_FS_SERVE_RECHECK_H

#include "fs/serve/call.h"
#include "fs/serve/decide.h"
#include "fs/ctl/kinds.h"
#include "store/core/tables.h"

/* May this call act through a handle that somebody else opened, or whose decision has aged? Decides again if need be.
 * 0, or positive errno. */
int access_recheck(struct vault *v, const struct call *call, struct handle *h, enum verb verb);
/* Of an open directory: has this identity been recorded as one who lists it? And: it was. */
bool access_looked(struct handle *h, const struct identity *who);
void access_note_look(struct handle *h, const struct identity *who);
/* Does the opener's own decision about this verb still stand, without asking again? */
bool access_opener_stands(struct vault *v, const struct handle *h, enum verb verb);

/* A decision about reading lasts no longer than the version, where the vault enforces validity. Under the table lock.
 */
void access_bound_by_version(struct vault *v, const struct catalog_version *c, struct verdict *j);
/* The error, positive, that says to the reader of an open file what became of its right. */
int access_lost_right(const struct handle *h, const struct call *call, const struct verdict *j);
/* The decision about this identity and verb holds for what it was made for: the next reads need not ask. */
void access_keep_decision(struct handle *h, const struct identity *who, enum verb verb, const struct verdict *j);

#endif
