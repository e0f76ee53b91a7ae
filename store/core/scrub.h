/* What a destroying commit leaves in the database's log. */
#ifndef COFFER_STORE_CORE_SCRUB_H
#define COFFER_STORE_CORE_SCRUB_H

struct store;

/* Content that was destroyed may stand in the database's log for as long as somebody else reads an older state of it,
 * or when a process died right after its commit. Empties it. 0: nothing is left, or was; -EAGAIN: try again. Cheap when
 * there is nothing to do. */
int store_scrub(struct store *s);

/* The writer's mutex is held, no transaction open. */
int scrub(struct store *s);

#endif
