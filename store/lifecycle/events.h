/* Events: one stream of lines of JSON, written in the transaction of what they tell of. */
#ifndef COFFER_STORE_LIFECYCLE_EVENTS_H
#define COFFER_STORE_LIFECYCLE_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/core/rules_table.h"

int events_range(struct db *db, uint64_t *ret_first, uint64_t *ret_end);
/* In the transaction: where the next event's line begins. */
int events_position(struct store *s, uint64_t *ret_at);
int events_prune(struct store *s); /* the writer's mutex is held, no transaction open */

const char *event_name(enum event_kind kind);                 /* "NewVersionCreated", … */
int event_parse(const char *name, enum event_kind *ret_kind); /* 0 or -EINVAL */

#define EVENT_LINE_MAX   1024 /* bytes of a line, with its newline */
#define EVENT_DETAIL_MAX 256
#define EVENTS_KEPT      (16u << 20)  /* bytes of the stream: the oldest lines beyond go, … */
#define EVENTS_KEPT_MOST (256u << 20) /* … unless a hook has yet to hear of them: a restore can make more at once */

struct event {
	enum event_kind kind;
	uint32_t secret, version; /* 0: none */
	const char *name;         /* a secret's name, or a scope */
	const char *detail;       /* for a person; NULL: none. Never of a value */
	bool same;                /* of a new version: its value is the one that was served before */
};
/* In the transaction of what it tells of. */
int store_event_add(struct store *s, const struct event *e);
/* The same about an object, by its name. */
int store_event_add_of(struct store *s, enum event_kind kind, uint32_t id, uint32_t version, bool same);

/* The stream: bytes [first, end) of all that ever was. Atomic, no lock needed. */
void store_events_range(const struct store *s, uint64_t *ret_first, uint64_t *ret_end);
/* Its bytes from `at` on, each line verified. *ret_read 0: the end. -ESTALE: it went already; -EBADMSG; -ENOKEY. */
int store_events_read(struct store *s, uint64_t at, void *ret, size_t len, size_t *ret_read);

struct event_row {
	uint64_t at, next; /* where its line begins, and the line after it */
	int64_t time;
	enum event_kind kind;
	uint32_t secret, version;
	bool same;
	char name[NAME_LEN_MAX + 2];
};
/* At most n events from `at` on, or from the oldest if that is later. */
int store_events_next(struct store *s, uint64_t at, struct event_row *ret_rows, size_t n, size_t *ret_n);

#endif
